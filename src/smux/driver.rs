//! The task of a session: its frames into the streams' inboxes, the streams' frames out to the link.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::{debug, warn};

use super::codec::{Decoder, FrameError};
use super::frames::{Frames, socket};
use super::settings::{KeepAlive, Settings};
use super::stream::SmuxStream;
use super::table::{MAX_STREAMS, Table, strangers};
use crate::io::burst::Burst;
use crate::io::{Io, Link, coop, scratch};

/// Reads and writes of a link before other tasks get their turn.
const TURNS: usize = 8;

/// How long a session keeps the room that its frames take: to make it anew for each costs as much as a copy of them.
const REST: Duration = Duration::from_secs(1);

/// How long a link gets to send what is left and to say goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What a keepalive waits for where there is none.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Driver<D> {
    link: Link,
    table: Arc<Table>,
    settings: Settings,
    /// Who takes the streams that the peer opens; `false` when nobody does.
    door: D,
    decoder: Decoder,
    burst: Burst,
    /// Streams that the peer has opened and nobody was given yet.
    opened: VecDeque<u32>,
    /// Frames on their way down.
    output: Frames,
    unflushed: bool,
    /// When something was last written.
    spoke: Instant,
    /// When the room that frames take is given back.
    rest_due: Option<Instant>,
    /// When to look for readers that hold up the others, if the session has been full.
    jam_due: Option<Instant>,
    /// When to look whether somebody has said who they are.
    strangers_due: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<D: FnMut(Link) -> bool> Driver<D> {
    pub(super) fn new(
        mut link: Link,
        table: Arc<Table>,
        settings: Settings,
        decoder: Decoder,
        door: D,
    ) -> Self {
        link.share();
        let first = settings.keepalive.map_or(NEVER, |alive| alive.interval);
        let are_strangers = table.with(|state| state.are_strangers());
        Self {
            link,
            table,
            settings,
            door,
            decoder,
            burst: Burst::default(),
            opened: VecDeque::new(),
            output: Frames::default(),
            unflushed: false,
            spoke: Instant::now(),
            rest_due: None,
            jam_due: None,
            strangers_due: are_strangers.then(|| Instant::now() + strangers::LIMIT),
            timer: Box::pin(sleep(first)),
        }
    }

    /// Carries frames until the session is over, which ends every stream that is left; gives what broke the protocol.
    pub(super) async fn run(mut self) -> Option<FrameError> {
        let mut broken = None;
        let (kind, reason) = match poll_fn(|cx| self.poll(cx)).await {
            Ok(()) => (
                io::ErrorKind::ConnectionReset,
                "the smux session has ended".to_owned(),
            ),
            Err(e) => {
                let cause = e.get_ref().and_then(|cause| cause.downcast_ref());
                broken = cause.copied();
                (e.kind(), format!("smux: {e}"))
            }
        };
        debug!(reason, "smux session ends");
        self.table.with(|state| state.fail(kind, &reason));
        self.burst.end(&mut self.link);
        let goodbye = poll_fn(|cx| {
            ready!(self.poll_out(cx))?;
            Pin::new(&mut self.link).poll_close(cx)
        });
        // However the goodbye ends, the link is dropped.
        let _ = timeout(CLOSE_LIMIT, goodbye).await;
        broken
    }

    /// Ready when the link has ended, or nobody needs it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            // Whoever waited may have room, or be known by now.
            self.give_out();
            // Whatever makes a frame from here on wakes the task again.
            let _ = self.poll_out(cx)?;
            match self.poll_in(cx)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.poll_idle(cx),
            }
        }
        // Who is told very much says that it is there as well.
        self.poll_timer(cx)?;
        coop::yield_now(cx);
        Poll::Pending
    }

    /// Sends the frames that wait; ready when there are none.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.output.is_empty() {
                let takes_pipes = socket(&self.link).is_some();
                self.table
                    .with(|state| state.take_out(cx, takes_pipes, &mut self.output));
            }
            if self.output.is_empty() {
                break;
            }
            self.unflushed = true;
            let before = self.output.left();
            let written = self.output.poll_write(cx, &mut self.link)?;
            if self.output.left() < before {
                self.spoke = Instant::now();
            }
            ready!(written);
            self.rest_due.get_or_insert(self.spoke + REST);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.link).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// One read, and what is in it; `false` at the end of the link.
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // The reader that makes room wakes us.
        let (room, jam_due, most) = self.table.with(|state| {
            let room = state.poll_room(cx);
            (room, state.jam_due(), state.read_max())
        });
        self.jam_due = jam_due;
        ready!(room);
        let mut scratch = scratch::take();
        let mut buf = ReadBuf::new(&mut scratch[..most]);
        ready!(Pin::new(&mut self.link).poll_read(cx, &mut buf))?;
        let mut input = buf.filled();
        if input.is_empty() {
            if self.decoder.is_inside_frame() {
                let text = "the link ended inside a frame";
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(false));
        }
        self.burst.read(input.len(), &mut self.link);
        let (decoder, opened) = (&mut self.decoder, &mut self.opened);
        let taken = self.table.with(|state| {
            state.hear(Instant::now());
            while let Some(event) = decoder.next(&mut input)? {
                if let Some(version) = decoder.version() {
                    state.speak(version, &self.settings);
                }
                opened.extend(state.take(event));
            }
            Ok(())
        });
        self.give_out();
        taken.map_err(|e: FrameError| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Poll::Ready(Ok(true))
    }

    /// Gives the door the streams that the peer has opened, as far as they are served.
    fn give_out(&mut self) {
        while let Some(id) = self.opened.front().copied() {
            let waiting = self.opened.len();
            let (is_served, streams) = self
                .table
                .with(|state| (state.serves_one_more(waiting), state.streams()));
            if !is_served {
                return;
            }
            self.opened.pop_front();
            let stream = SmuxStream::new(self.table.opened(id));
            // One that nobody takes is dropped, and so ended.
            if streams <= MAX_STREAMS {
                (self.door)(Link::other(stream));
            }
        }
    }

    /// Ready when nobody needs the session, or its peer has gone.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (over, is_unused) = self.table.with(|state| {
            let is_unused = state.is_retired() && state.streams() == 0;
            (state.error(), is_unused)
        });
        if let Some(error) = over {
            return Poll::Ready(Err(error));
        }
        if is_unused && self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.poll_timer(cx)?;
        Poll::Pending
    }

    /// Does what is due, and has the task woken when something is.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(due) = self.due()
            && due < self.timer.deadline()
        {
            self.timer.as_mut().reset(due);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            self.burst.release(Instant::now(), &mut self.link);
            self.clear_jam();
            self.rest();
            self.leave_strangers()?;
            let next = match self.settings.keepalive {
                Some(alive) => self.beat(cx, alive)?,
                None => Instant::now() + NEVER,
            };
            let due = self.due();
            self.timer
                .as_mut()
                .reset(due.map_or(next, |due| due.min(next)));
        }
        Ok(())
    }

    /// When something other than a keepalive is due.
    fn due(&self) -> Option<Instant> {
        let others = [self.jam_due, self.rest_due, self.strangers_due];
        let others = others.into_iter().flatten();
        self.burst.due().into_iter().chain(others).min()
    }

    /// Ends a session that nobody uses who has said who they are.
    fn leave_strangers(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.strangers_due.is_none_or(|due| now < due) {
            return Ok(());
        }
        let table = &self.table;
        let (are_strangers, streams) = table.with(|state| (state.are_strangers(), state.streams()));
        // Those that are there have a time limit of their own.
        self.strangers_due = are_strangers.then(|| now + strangers::LOOK);
        if are_strangers && streams == 0 {
            let text = "nobody has logged in";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(())
    }

    /// Gives back the room that frames took, where none wait. Those that do will see to it when they are gone: what is due and stays
    /// so would take every turn.
    fn rest(&mut self) {
        if self.rest_due.is_some_and(|due| due <= Instant::now()) {
            self.rest_due = None;
            if self.output.is_empty() {
                self.output = Frames::default();
                self.table.with(|state| state.give_back());
            }
        }
    }

    /// Ends the streams that have held up the others for too long.
    fn clear_jam(&mut self) {
        let now = Instant::now();
        if self.jam_due.is_none_or(|due| now < due) {
            return;
        }
        let (ended, jam_due) = self
            .table
            .with(|state| (state.clear_jam(now), state.jam_due()));
        self.jam_due = jam_due;
        if ended > 0 {
            warn!(
                streams = ended,
                "streams whose readers take nothing held up the others of their smux session, and were ended"
            );
        }
    }

    /// Does what is due; when to ask again.
    fn beat(&mut self, cx: &mut Context<'_>, alive: KeepAlive) -> io::Result<Instant> {
        let now = Instant::now();
        let heard = self.table.with(|state| state.heard());
        let silence = heard.map_or(Duration::ZERO, |heard| now - heard);
        if silence >= alive.timeout {
            let text = format!("silent for {} s", silence.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        if now - self.spoke >= alive.interval {
            self.spoke = now;
            self.table.with(|state| state.keep_alive());
            let _ = self.poll_out(cx)?;
        }
        let silent = heard.unwrap_or(now) + alive.timeout;
        Ok(silent.min(self.spoke + alive.interval).max(now + TICK))
    }
}

/// The least that a keepalive waits.
const TICK: Duration = Duration::from_millis(10);

/// Whoever gives a session up before it is over leaves no stream behind that waits.
impl<D> Drop for Driver<D> {
    fn drop(&mut self) {
        let kind = io::ErrorKind::ConnectionAborted;
        let text = "the smux session was given up";
        self.table.with(|state| state.fail(kind, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smux::codec::{Command, Version, frame};
    use crate::smux::table::Sent;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    fn client(near: DuplexStream) -> (Driver<impl FnMut(Link) -> bool>, Arc<Table>) {
        let settings = Settings::default();
        let version = Some(settings.version);
        let table = Table::new(&settings, version, 1);
        let (decoder, link) = (Decoder::new(version), Link::other(near));
        let driver = Driver::new(link, table.clone(), settings, decoder, |_| false);
        (driver, table)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_rests_holds_no_buffer() {
        let (near, _far) = duplex(64 * 1024);
        let (mut driver, table) = client(near);
        let mut handle = table.open().unwrap();
        let mut room = Vec::new();
        for (pause, is_busy) in [
            (Duration::ZERO, true),
            (REST / 2, true),
            (REST / 2 + TICK, false),
        ] {
            advance(pause).await;
            if is_busy {
                let sending = poll_fn(|cx| handle.poll_send(cx, &[1; 1000]));
                sending.await.unwrap();
            }
            poll_fn(|cx| {
                assert!(driver.poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            let waiting = table.with(|state| state.room());
            room.push(driver.output.capacity() + waiting > 0);
        }
        assert_eq!(room, [true, true, false]);
    }

    /// A peer that takes nothing is waited for, without a turn of its own every moment.
    #[tokio::test(start_paused = true)]
    async fn a_session_whose_peer_takes_nothing_sleeps() {
        let (near, mut far) = duplex(64 * 1024);
        let (mut driver, table) = client(near);
        let mut handle = table.open().unwrap();
        let mut polls = 0;
        let running = async {
            let running = poll_fn(|cx| {
                polls += 1;
                driver.poll(cx)
            });
            timeout(REST * 5, running).await
        };
        let sending = async {
            poll_fn(|cx| handle.poll_send(cx, &[1; 1000]))
                .await
                .unwrap();
            sleep(Duration::from_millis(10)).await;
            poll_fn(|cx| handle.poll_send(cx, &[1; 200_000]))
                .await
                .unwrap();
            sleep(REST * 4).await;
            far.read_exact(&mut [0; 100]).await.unwrap();
        };
        let (ended, ()) = tokio::join!(running, sending);
        assert!(ended.is_err());
        assert!(polls < 50, "{polls}");
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Their peer ends the streams that were to write next, so they never do: there is room for the others all the same.
    #[tokio::test]
    async fn those_behind_streams_that_end_instead_of_writing_are_woken() {
        let (near, mut far) = duplex(1 << 20);
        let (mut driver, table) = client(near);
        let mut handles: Vec<_> = (0..7).map(|_| table.open().unwrap()).collect();
        let flags: Vec<_> = (0..7).map(|_| Arc::<Woken>::default()).collect();
        let of_driver = Arc::<Woken>::default();
        let mut poll = |n: usize| {
            let waker = Waker::from(flags[n].clone());
            handles[n].poll_send(&Context::from_waker(&waker), &[1; 200_000])
        };
        let mut drive = || {
            let waker = Waker::from(of_driver.clone());
            of_driver.0.store(false, Ordering::Relaxed);
            assert!(driver.poll(&mut Context::from_waker(&waker)).is_pending());
        };
        assert!(poll(0).is_ready());
        for n in 1..7 {
            assert!(poll(n).is_pending());
        }
        let ends = (1..5).flat_map(|n| frame(Version::One, Command::End, 3 + 2 * n));
        far.write_all(&ends.collect::<Vec<_>>()).await.unwrap();
        drive();
        for n in 1..5 {
            assert!(matches!(poll(n), Poll::Ready(Ok(Sent::Ended))));
        }
        assert!(of_driver.0.load(Ordering::Relaxed));
        drive();
        let is_woken = |n: usize| flags[n].0.load(Ordering::Relaxed);
        assert!(is_woken(5) && is_woken(6));
        assert!(poll(5).is_ready() && poll(6).is_ready());
    }
}
