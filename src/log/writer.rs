//! The thread that writes the lines.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::broadcast;

use super::file::LogFile;
use super::settings::{Settings, Target};

/// Lines on their way; more than these are dropped.
const QUEUED: usize = 4096;

/// Lines that a slow follower may be behind.
const FOLLOWED: usize = 1024;

/// How long the end of the process waits for its last lines.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    to_thread: SyncSender<Order>,
    dropped: AtomicU64,
    access: bool,
    error: bool,
    followers: broadcast::Sender<String>,
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
        let (to_thread, orders) = sync_channel(QUEUED);
        let writer = Self {
            to_thread,
            dropped: AtomicU64::new(0),
            access: !matches!(access, Sink::None),
            error: !matches!(error, Sink::None),
            followers: broadcast::Sender::new(FOLLOWED),
        };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&orders, access, error))
            .map_err(|e| format!("cannot start the log's thread: {e}"))?;
        Ok(writer)
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
        let (done, wait) = sync_channel(1);
        if self.to_thread.try_send(Order::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_LIMIT);
        }
    }

    fn send(&self, order: Order) {
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

fn write(orders: &Receiver<Order>, mut access: Sink, mut error: Sink) {
    // A log that cannot be written to must not end the service, and there is nobody to tell.
    while let Ok(order) = orders.recv() {
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
