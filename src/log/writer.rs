//! The thread that writes the lines; it begins with the first one.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::file::LogFile;
use super::settings::{Settings, Target};

/// Lines on their way; more than these are dropped.
const QUEUED: usize = 4096;

/// Lines that a slow follower may be behind.
const FOLLOWED: usize = 1024;

/// How long the end of the process waits for its last lines.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    to_thread: Sender<Order>,
    /// What the thread needs, until it begins.
    idle: Mutex<Option<Thread>>,
    dropped: AtomicU64,
    access: bool,
    error: bool,
    followers: broadcast::Sender<String>,
}

struct Thread {
    orders: Receiver<Order>,
    access: Sink,
    error: Sink,
}

enum Order {
    Access(String),
    Error(String),
    Reopen,
    Flush(SyncSender<()>),
}

enum Sink {
    None,
    Console,
    File(LogFile),
}

impl Writer {
    pub(super) fn start(settings: &Settings) -> Result<Self, String> {
        let access = Sink::open("log.access", &settings.access)?;
        let error = Sink::open("log.error", &settings.error)?;
        let (to_thread, orders) = channel(QUEUED);
        Ok(Self {
            to_thread,
            dropped: AtomicU64::new(0),
            access: !matches!(access, Sink::None),
            error: !matches!(error, Sink::None),
            followers: broadcast::Sender::new(FOLLOWED),
            idle: Mutex::new(Some(Thread {
                orders,
                access,
                error,
            })),
        })
    }

    pub(super) fn has_access(&self) -> bool {
        self.access
    }

    pub(super) fn has_error(&self) -> bool {
        self.error
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<String> {
        self.followers.subscribe()
    }

    fn tell(&self, line: &str) {
        if self.followers.receiver_count() > 0 {
            let _ = self.followers.send(line.to_owned());
        }
    }

    pub(super) fn access(&self, line: String) {
        self.tell(&line);
        self.send(Order::Access(line));
    }

    pub(super) fn error(&self, line: String) {
        self.tell(&line);
        self.send(Order::Error(line));
    }

    pub(super) fn reopen(&self) {
        self.send(Order::Reopen);
    }

    pub(super) fn flush(&self) {
        if self.idle().is_some() {
            return;
        }
        let (done, wait) = sync_channel(1);
        if self.to_thread.try_send(Order::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_LIMIT);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Option<Thread>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        if let Some(thread) = self.idle().take() {
            let name = "log".to_owned();
            // Without a thread the queue is closed: lines are dropped, and nobody waits for them.
            let _ = std::thread::Builder::new()
                .name(name)
                .spawn(|| write(thread));
        }
    }

    fn send(&self, order: Order) {
        self.begin();
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            let note = format!(
                "{} [Warning] {dropped} log lines were dropped",
                super::format::now()
            );
            if self.to_thread.try_send(Order::Error(note)).is_ok() {
                self.dropped.fetch_sub(dropped, Ordering::Relaxed);
            }
        }
        if self.to_thread.try_send(order).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(thread: Thread) {
    let Thread {
        mut orders,
        mut access,
        mut error,
    } = thread;
    // A log that cannot be written to must not end the service, and there is nobody to tell.
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Access(line) => access.line(line),
            Order::Error(line) => error.line(line),
            Order::Reopen => {
                access.reopen();
                error.reopen();
            }
            Order::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

impl Sink {
    fn open(key: &str, target: &Target) -> Result<Self, String> {
        Ok(match target {
            Target::None => Self::None,
            Target::Console => Self::Console,
            Target::File(path) => Self::File(
                LogFile::open(path)
                    .map_err(|e| format!("{key}: cannot open {}: {e}", path.display()))?,
            ),
        })
    }

    fn line(&mut self, mut line: String) {
        line.push('\n');
        match self {
            Self::None => {}
            Self::Console => {
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }
            Self::File(file) => file.write(line.as_bytes()),
        }
    }

    fn reopen(&mut self) {
        if let Self::File(file) = self {
            file.reopen();
        }
    }
}
