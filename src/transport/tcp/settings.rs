//! The options of sockets.

use std::net::IpAddr;
use std::time::Duration;

/// `sockopt`, and `sendThrough` of an outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SockOpt {
    /// `sendThrough`: the local address of outgoing connections and datagrams.
    pub send_through: Option<IpAddr>,
    /// `tcpFastOpen`.
    pub fast_open: FastOpen,
    /// `tcpKeepAliveIdle` and `tcpKeepAliveInterval`.
    pub keep_alive: KeepAlive,
    /// `mark`: `SO_MARK`, for policy routing.
    pub mark: Option<u32>,
    /// `bindToDevice`: `SO_BINDTODEVICE`, the name of a network interface.
    pub device: Option<String>,
    /// `mptcp`: Multipath TCP where the kernel has it.
    pub mptcp: bool,
    /// `rcvLowat: false`, ours: connections are read as soon as a byte has come, even in the middle of a burst.
    pub every_arrival: bool,
    /// `tproxy`, and `followRedirect` of an inbound.
    pub tproxy: Tproxy,
}

/// How the packet filter brings a transparent inbound what was meant for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tproxy {
    /// It brings nothing.
    #[default]
    Off,
    /// Its `REDIRECT` writes our address into the packets and remembers the one that stood there.
    Redirect,
    /// Its `TPROXY` hands over packets as they are.
    Tproxy,
}

/// TCP Fast Open (RFC 7413).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FastOpen {
    /// As the system does it.
    #[default]
    Default,
    /// Never.
    Off,
    /// With the number of half-open connections that a listener may hold.
    On(u32),
}

impl FastOpen {
    /// How many half-open connections V2Ray's `true` lets a listener hold.
    pub const QUEUE: u32 = 4096;
}

/// TCP keep-alive probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// Never.
    Off,
    /// After `idle` of silence, every `interval`.
    On {
        /// The silence before the first probe.
        idle: Duration,
        /// The silence between two.
        interval: Duration,
    },
}

impl Default for KeepAlive {
    /// What Go, and so V2Ray, does when nothing is said.
    fn default() -> Self {
        Self::On {
            idle: Duration::from_secs(15),
            interval: Duration::from_secs(15),
        }
    }
}

impl SockOpt {
    /// `followRedirect` without `tproxy` means `redirect`, as in V2Ray.
    pub fn follow_redirect(&mut self) {
        if self.tproxy == Tproxy::Off {
            self.tproxy = Tproxy::Redirect;
        }
    }
}
