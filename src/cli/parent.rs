//! The process that started this one.

use std::io::stdin;
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The parent, as it was at the start.
pub(super) struct Parent {
    id: u32,
    gone_already: bool,
}

/// Whoever has lost its parent belongs to this one.
const INIT: u32 = 1;

impl Parent {
    /// To be asked first of all.
    pub(super) fn now() -> Self {
        let id = parent_id();
        Self {
            id,
            // ss-local ends at once when its own port is taken. In a container it may be `INIT` itself, and lives as
            // long as it holds the pipe that we would read from.
            gone_already: id == INIT && input_has_ended(),
        }
    }

    /// Waits until it is gone: the system then gives us another parent.
    ///
    /// The pipe would say so at once, but there are programs that close it and live on. Linux's signal for this
    /// (`PR_SET_PDEATHSIG`) comes when the thread ends that has started us, and a thread may end early.
    pub(super) async fn gone(&self) {
        while !self.gone_already && parent_id() == self.id {
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// Short enough for a port to be free when it is needed again.
const PERIOD: Duration = Duration::from_millis(500);

/// Whether standard input is a pipe that nobody can write to any more. (`/dev/null` is none.)
fn input_has_ended() -> bool {
    let input = stdin();
    let mut polled = [PollFd::new(input.as_fd(), PollFlags::empty())];
    let ready = poll(&mut polled, PollTimeout::ZERO);
    let said = polled[0].revents().unwrap_or(PollFlags::empty());
    ready.is_ok() && said.contains(PollFlags::POLLHUP)
}
