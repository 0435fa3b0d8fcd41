//! The end of a stream that was cut off, so that nobody takes its part for the whole.
//!
//! A TCP socket that is dropped ends as if all had been said (FIN). With `SO_LINGER` 0 the peer is told of a
//! reset (RST) instead, but what it has not yet acknowledged is thrown away. Much of a slow peer's download
//! may wait there, sent by a target that was reset only afterwards; so the reset waits for it.
//!
//! `TCP_INFO` says how much waits: `tcpi_unacked` segments are on their way, and `tcpi_notsent_bytes` have
//! yet to be sent (Linux 4.6, struct `tcp_info` in `linux/tcp.h`).

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{Io, Link};

/// How long a peer may take over what was written for it; then it loses the rest.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

const FIRST_LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_millis(250);

sockopt_impl!(
    /// The front of it, up to `tcpi_notsent_bytes`.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u32; NOT_SENT + 1]
);

/// Where the two numbers stand, in words.
const UNACKED: usize = 6;
const NOT_SENT: usize = 36;

/// An older kernel's struct is shorter, which nix takes for a mistake.
static HAS_INFO: LazyLock<bool> = LazyLock::new(|| {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(4), Some(6))
});

impl Link {
    /// From now on the peer of a socket is told of a reset if the link goes before all was said, be it with the
    /// whole process: the kernel closes what a killed one leaves behind.
    pub fn begun(&self) {
        if let Some(stream) = self.tcp() {
            begun(stream);
        }
    }

    /// All was said: the link may go in order, and the kernel delivers what is still on its way.
    pub fn finished(&self) {
        if let Some(stream) = self.tcp() {
            let _ = SockRef::from(stream).set_linger(None);
        }
    }

    /// Ends a link whose stream has broken off. A bare socket is reset; layers with words of their own for it
    /// say so when they are dropped.
    pub async fn abort(self) {
        let Some(stream) = self.tcp() else { return };
        let until = Instant::now() + DELIVERY_LIMIT;
        let mut pause = FIRST_LOOK;
        while is_delivering(stream) && Instant::now() < until {
            sleep(pause).await;
            pause = (2 * pause).min(LAST_LOOK);
        }
        self.begun();
    }
}

/// What is known of a peer without reading from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Here,
    /// It says nothing more; it may still listen.
    Done,
    /// The connection is no more.
    Gone,
}

impl Presence {
    /// Whether a peer by TCP is still there; without a socket it is taken to be.
    pub fn at(socket: Option<&TcpStream>) -> Self {
        // Of `include/net/tcp_states.h`.
        const CLOSE: u8 = 7;
        const CLOSE_WAIT: u8 = 8;
        let info = socket.filter(|_| *HAS_INFO);
        let info = info.and_then(|socket| getsockopt(socket, TcpInfo).ok());
        match info.map(|info| info[0].to_ne_bytes()[0]) {
            Some(CLOSE) => Self::Gone,
            Some(CLOSE_WAIT) => Self::Done,
            _ => Self::Here,
        }
    }
}

/// [`Link::begun`], of a bare socket.
pub fn begun(stream: &TcpStream) {
    // Where it cannot be set the socket ends as it always did.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn is_delivering(stream: &TcpStream) -> bool {
    *HAS_INFO
        && getsockopt(stream, TcpInfo).is_ok_and(|info| info[UNACKED] > 0 || info[NOT_SENT] > 0)
}
