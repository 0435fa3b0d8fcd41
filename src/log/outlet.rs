//! Where lines go: a queue, and the thread behind it that writes them to one place.
//!
//! Whoever has a line leaves it in the queue and goes on, whatever the disk does. The queue is bounded; lines that
//! find no room are counted, and the count is said when there is room again. Half of it is for lines that matter, so
//! that what a debugging log or strangers have to say takes nobody else's room.

use std::collections::VecDeque;
use std::io::Write;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Zoned;
use tokio::sync::broadcast;

use super::file::LogFile;
use super::limits::Limits;
use super::line::{Kind, Line, Style};
use super::lost::Lost;
use super::rate_limit::Count;
use super::settings::Target;

/// Lines on their way; more than these are dropped.
const QUEUED: usize = 8192;

/// The same, for lines that matter less.
const QUEUED_MINOR: usize = QUEUED / 2;

/// What is written at once.
const WRITE_LEN: usize = 64 * 1024;

/// How close lines follow each other that are written together: a write and the thread's waking for each would cost a
/// busy server more than the lines themselves.
const CLOSE: Duration = Duration::from_millis(5);

/// How long the start waits for a log file to open.
const OPEN_LIMIT: Duration = Duration::from_secs(1);

/// The pause before a file that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// A place for lines; clones are the same place.
#[derive(Clone)]
pub(super) struct Outlet(Arc<Shared>);

struct Shared {
    target: Target,
    style: Style,
    followers: broadcast::Sender<String>,
    state: Mutex<State>,
    /// The thread waits for work.
    work: Condvar,
    /// Somebody waits for the thread to have done it.
    rest: Condvar,
}

struct State {
    lines: VecDeque<String>,
    dropped: u64,
    limits: Limits,
    /// Where lost lines are told of; here, if there is no other place.
    complaints: Option<Outlet>,
    reopen: bool,
    /// Nothing more is said here.
    ended: bool,
    has_thread: bool,
    /// The thread is writing.
    busy: bool,
    /// The thread has nothing to do, and is woken when it has.
    waits: bool,
}

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Major,
    Minor,
}

/// How the opening of a log file went.
enum Opening {
    Done,
    Failed(std::io::Error),
    Unread,
}

impl Outlet {
    /// A place that begins with its first line; a file is opened before, and what keeps it from that is a warning.
    pub(super) fn start(
        key: &str,
        target: &Target,
        style: Style,
        followers: broadcast::Sender<String>,
    ) -> Result<(Self, Option<String>), String> {
        let outlet = Self(Arc::new(Shared {
            target: target.clone(),
            style,
            followers,
            state: Mutex::new(State {
                lines: VecDeque::new(),
                dropped: 0,
                limits: Limits::default(),
                complaints: None,
                reopen: false,
                ended: false,
                has_thread: false,
                busy: false,
                waits: false,
            }),
            work: Condvar::new(),
            rest: Condvar::new(),
        }));
        let Target::File(path) = target else {
            return Ok((outlet, None));
        };
        let (opening, opened) = sync_channel(2);
        outlet.begin(&mut outlet.lock(), Some((path.clone(), opening)));
        let path = path.display();
        let warning = match opened.recv_timeout(OPEN_LIMIT) {
            Ok(Opening::Done) => None,
            Ok(Opening::Failed(e)) => return Err(format!("{key}: cannot open {path}: {e}")),
            Ok(Opening::Unread) => Some(format!(
                "{key}: {path} is a pipe that nobody reads, lines wait until somebody does"
            )),
            Err(_) => Some(format!(
                "{key}: {path} does not open within {} s, lines wait until it does",
                OPEN_LIMIT.as_secs()
            )),
        };
        Ok((outlet, warning))
    }

    /// Whether lines for `target` would go the same way.
    pub(super) fn is_for(&self, target: &Target, style: Style) -> bool {
        self.0.target == *target && self.0.style == style
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Lost lines are told of there; `None` is here.
    pub(super) fn complain_to(&self, other: Option<Self>) {
        self.lock().complaints = other;
    }

    /// Nothing more is said here; what was said is written, and then the file is closed.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        self.wake(&mut state);
    }

    /// Leaves a line to be written.
    pub(super) fn push(&self, line: &Line, weight: Weight) {
        let line = self.written(line, None);
        let mut state = self.lock();
        if state.ended {
            return;
        }
        let room = match weight {
            Weight::Major => QUEUED,
            Weight::Minor => QUEUED_MINOR,
        };
        if state.lines.len() >= room {
            state.dropped += 1;
            return;
        }
        state.lines.push_back(line);
        self.begin(&mut state, None);
        self.wake(&mut state);
    }

    /// Whether a line may be said that could come without end; it is counted if not.
    pub(super) fn allows(&self, ask: impl FnOnce(&mut Limits) -> bool) -> bool {
        let mut state = self.lock();
        let none_before = state.limits.next().is_none();
        let allowed = ask(&mut state.limits);
        if none_before {
            // The thread learns that there is a time to wake up at.
            self.begin(&mut state, None);
            self.wake(&mut state);
        }
        allowed
    }

    /// Opens the file anew, as after a rotation.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        if matches!(self.0.target, Target::File(_)) {
            state.reopen = true;
            self.wake(&mut state);
        }
    }

    /// Waits until all lines and counts so far are written, or until `deadline`.
    pub(super) fn flush(&self, deadline: Instant) {
        let mut state = self.lock();
        if !state.has_thread {
            return;
        }
        self.say_counts(&mut state, true);
        self.wake(&mut state);
        while state.busy || !state.lines.is_empty() || state.dropped > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.rest.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A line as it is written here, with its time; those who follow have it then.
    fn written(&self, line: &Line, count: Option<&Count>) -> String {
        let now = Zoned::now();
        let followers = &self.0.followers;
        if followers.receiver_count() > 0 {
            let _ = followers.send(line.written(Style::Plain, &now, count));
        }
        line.written(self.0.style, &now, count)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread if it waits.
    fn wake(&self, state: &mut State) {
        if take(&mut state.waits) {
            self.0.work.notify_one();
        }
    }

    /// Starts the thread, once.
    fn begin(&self, state: &mut State, file: Option<(PathBuf, SyncSender<Opening>)>) {
        if state.has_thread {
            return;
        }
        let outlet = self.clone();
        let thread = thread::Builder::new().name("log".to_owned());
        // Without a thread the queue fills, lines are dropped, and nobody waits for them.
        state.has_thread = thread.spawn(move || outlet.run(file)).is_ok();
    }

    fn run(&self, file: Option<(PathBuf, SyncSender<Opening>)>) {
        let mut file = match file {
            None => None,
            Some((path, opening)) => match open(&path, &opening) {
                Some(file) => Some(file),
                None => return,
            },
        };
        let mut lost = Lost::default();
        while let Some((lines, dropped, reopen)) = self.work() {
            if let Some(file) = file.as_mut().filter(|_| reopen) {
                file.reopen();
            }
            if dropped > 0 {
                self.complain(dropped);
            }
            for piece in pieces(lines) {
                match &mut file {
                    Some(file) => {
                        let written = file.write(&piece);
                        if let Some(text) = lost.note(file.path(), &piece, written) {
                            self.push(&Line::new(Kind::Warning, text), Weight::Major);
                        }
                    }
                    None if self.0.target == Target::StandardError => {
                        let _ = std::io::stderr().lock().write_all(&piece);
                    }
                    None => {
                        let mut out = std::io::stdout().lock();
                        let _ = out.write_all(&piece).and_then(|()| out.flush());
                    }
                }
            }
            // What comes meanwhile is written together.
            thread::sleep(CLOSE);
        }
    }

    /// Waits for something to do: lines, how many were dropped, and whether the file is to be opened anew. `None` when
    /// there will be nothing more.
    fn work(&self) -> Option<(VecDeque<String>, u64, bool)> {
        let mut state = self.lock();
        state.busy = false;
        loop {
            let ended = state.ended;
            self.say_counts(&mut state, ended);
            if !state.lines.is_empty() || state.dropped > 0 || state.reopen {
                state.busy = true;
                return Some((
                    take(&mut state.lines),
                    take(&mut state.dropped),
                    take(&mut state.reopen),
                ));
            }
            self.0.rest.notify_all();
            if ended {
                return None;
            }
            state.waits = true;
            state = match state.limits.next() {
                None => self
                    .0
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let left = next.saturating_duration_since(Instant::now());
                    // A little late: several counts often come due together.
                    let left = left + Duration::from_millis(20);
                    let waited = self.0.work.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waits = false;
        }
    }

    /// Puts the counts that are due, or all of them, behind the lines; they take nobody's room.
    fn say_counts(&self, state: &mut State, all: bool) {
        if !all && state.limits.next().is_none_or(|next| next > Instant::now()) {
            return;
        }
        for told in state.limits.due(Instant::now(), all) {
            let line = self.written(&told.last, Some(&told.count));
            state.lines.push_back(line);
        }
    }

    fn complain(&self, dropped: u64) {
        let text = format!(
            "{dropped} log lines were dropped, they came faster than they could be written"
        );
        let other = self.lock().complaints.clone();
        let to = other.as_ref().unwrap_or(self);
        to.push(&Line::new(Kind::Warning, text), Weight::Major);
    }
}

/// Opens a log file, and tells the start how that went; who does not wait any more cannot be told that it failed, so
/// that is tried again.
fn open(path: &Path, opening: &SyncSender<Opening>) -> Option<LogFile> {
    loop {
        let unread = || {
            let _ = opening.try_send(Opening::Unread);
        };
        match LogFile::open(path, unread) {
            Ok(file) => {
                let _ = opening.try_send(Opening::Done);
                return Some(file);
            }
            Err(e) => match opening.try_send(Opening::Failed(e)) {
                Ok(()) => return None,
                Err(_) => thread::sleep(OPEN_AGAIN),
            },
        }
    }
}

/// Lines joined for few writes.
fn pieces(mut lines: VecDeque<String>) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let mut piece = lines.pop_front()?.into_bytes();
        piece.push(b'\n');
        while lines
            .front()
            .is_some_and(|line| piece.len() + line.len() < WRITE_LEN)
            && let Some(line) = lines.pop_front()
        {
            piece.extend_from_slice(line.as_bytes());
            piece.push(b'\n');
        }
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    /// A log that is a pipe, and its path.
    fn unread() -> (tempfile::TempDir, PathBuf, Outlet) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let target = Target::File(path.clone());
        let followers = broadcast::Sender::new(1);
        let (outlet, warning) =
            Outlet::start("log.access", &target, Style::Plain, followers).unwrap();
        assert!(warning.unwrap().contains("is a pipe that nobody reads"));
        (dir, path, outlet)
    }

    fn line(text: impl ToString) -> Line {
        Line::new(Kind::Info, text.to_string())
    }

    /// What the lines say that come, up to the one that tells of lost ones.
    fn read(path: &Path) -> (Vec<String>, u64) {
        let mut lines = BufReader::new(std::fs::File::open(path).unwrap()).lines();
        let mut read = Vec::new();
        loop {
            let line = lines.next().unwrap().unwrap();
            let Some((before, _)) = line.split_once(" log lines were dropped") else {
                let (_, said) = line.split_once(" [Info] ").unwrap();
                read.push(said.to_owned());
                continue;
            };
            let lost = before.rsplit(' ').next().unwrap().parse().unwrap();
            return (read, lost);
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_the_count_is_said() {
        let (_dir, path, outlet) = unread();
        let sent = QUEUED as u64 + 500;
        (0..sent).for_each(|n| outlet.push(&line(n), Weight::Major));
        let (lines, lost) = read(&path);
        assert_eq!((lines.len() as u64 + lost, lost), (sent, 500));
        assert_eq!(lines.last().unwrap(), &(QUEUED - 1).to_string());
    }

    #[test]
    fn what_matters_less_takes_no_room_from_what_matters() {
        let (_dir, path, outlet) = unread();
        (0..2 * QUEUED).for_each(|_| outlet.push(&line("stranger"), Weight::Minor));
        (0..QUEUED_MINOR).for_each(|_| outlet.push(&line("user"), Weight::Major));
        let (lines, lost) = read(&path);
        let users = lines.iter().filter(|line| *line == "user").count();
        assert_eq!(users, QUEUED - QUEUED_MINOR);
        assert_eq!(
            lines.len() as u64 + lost,
            (2 * QUEUED + QUEUED_MINOR) as u64
        );
    }

    #[test]
    fn nobody_waits_long_for_a_log_that_is_not_read() {
        let (_dir, _path, outlet) = unread();
        outlet.push(&line("line"), Weight::Major);
        let began = Instant::now();
        outlet.flush(began + Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn lines_come_in_their_order_however_close_they_are() {
        let (_dir, path, outlet) = unread();
        let reading = thread::spawn(move || {
            let lines = BufReader::new(std::fs::File::open(path).unwrap()).lines();
            let texts = lines.map(|line| line.unwrap().rsplit(' ').next().unwrap().to_owned());
            texts.take(200).collect::<Vec<_>>()
        });
        for n in 0..200_u32 {
            outlet.push(&line(n), Weight::Major);
            // Some find the thread asleep, some writing, some collecting.
            thread::sleep(Duration::from_micros(u64::from(n % 20) * 500));
        }
        let expected: Vec<String> = (0..200).map(|n: u32| n.to_string()).collect();
        assert_eq!(reading.join().unwrap(), expected);
    }
}
