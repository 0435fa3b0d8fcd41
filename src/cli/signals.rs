//! The signals of a running service.
//!
//! SIGINT and SIGTERM end it, SIGUSR1 opens the log files anew, SIGHUP reads the config again where there are files to
//! read, SIGUSR2 has another process take over. Every other signal that somebody may send, and that would end the process by the system's default, is taken and
//! written down: an administrator's habit, a terminal that is closed or a limit that is reached must not cut tunnels off.
//! SIGPIPE is ignored by Rust itself, without a line: the system sends it for every connection that is gone. What stops a
//! process for a while (SIGTSTP), what the system sends for a mistake of our own (SIGSEGV, SIGABRT) and SIGKILL stay what
//! they are.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use nix::libc;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::log;

pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reopen: Signal,
    reload: Signal,
    succeed: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The service is to end.
    End,
    /// The config is to be read again.
    Reload,
    /// Another process is to take this one's place.
    Succeed,
}

/// What is taken and has no effect.
const IGNORED: [(libc::c_int, &str); 9] = [
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGVTALRM, "SIGVTALRM"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGIO, "SIGIO"),
    (libc::SIGPWR, "SIGPWR"),
    (libc::SIGSTKFLT, "SIGSTKFLT"),
    (libc::SIGXCPU, "SIGXCPU"),
    // A log file has come to its limit: the write fails, the process goes on.
    (libc::SIGXFSZ, "SIGXFSZ"),
];

impl Signals {
    /// Takes over all of them.
    pub(super) fn new() -> io::Result<Self> {
        let named = IGNORED
            .iter()
            .map(|(number, name)| (*number, (*name).to_owned()));
        let real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .map(|number| (number, format!("SIGRTMIN+{}", number - libc::SIGRTMIN())));
        // An emulator (qemu-user, valgrind) keeps a few for itself: those reach nobody here.
        let ignored = named
            .chain(real_time)
            .filter_map(|(number, name)| Some((signal(SignalKind::from_raw(number)).ok()?, name)));
        crate::io::spawn(ignore(ignored.collect()));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            reopen: signal(SignalKind::user_defined1())?,
            reload: signal(SignalKind::hangup())?,
            succeed: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal that asks for something; SIGUSR1 opens the log files anew meanwhile.
    pub(super) async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Asked::End,
                _ = self.terminate.recv() => return Asked::End,
                _ = self.reload.recv() => return Asked::Reload,
                _ = self.succeed.recv() => return Asked::Succeed,
                _ = self.reopen.recv() => log::reopen(),
            }
        }
    }

    /// Waits for SIGINT or SIGTERM; what else is asked for waits for its turn.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One task for all: each would be woken while the service starts.
async fn ignore(mut signals: Vec<(Signal, String)>) {
    poll_fn(|cx| {
        for (signal, name) in &mut signals {
            while let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                log::repeated(&format!(
                    "{name} is ignored; SIGTERM ends the service, SIGHUP reads the config again, SIGUSR1 opens the log files anew, SIGUSR2 has a new process take over"
                ));
            }
        }
        Poll::<()>::Pending
    })
    .await;
}
