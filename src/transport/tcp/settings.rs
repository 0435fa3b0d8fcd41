//! The options of sockets.

#![warn(missing_docs)]

use std::net::IpAddr;
use std::time::Duration;

use crate::dns::Strategy;

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
    /// `domainStrategy`, Xray's: how the name that an outbound connects to becomes an address.
    pub strategy: Strategy,
    /// `happyEyeballs`, Xray's: how the addresses of a name are raced.
    pub race: Race,
    /// `V6Only`, Xray's: a listener on every address takes IPv6 alone.
    pub v6_only: bool,
    /// Of TCP.
    pub tcp: TcpOptions,
}

/// What Xray hands to the kernel for each connection; by default nothing. What the kernel does not take is left out,
/// with a warning, as in Xray.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// `tcpCongestion`: the name of an algorithm, such as `bbr`.
    pub congestion: Option<String>,
    /// `tcpUserTimeout`: how long what was sent may stay unacknowledged.
    pub user_timeout: Option<Duration>,
    /// `tcpWindowClamp`: the largest window that is advertised, in bytes.
    pub window_clamp: Option<u32>,
    /// `tcpMaxSeg`: the largest segment, in bytes.
    pub max_seg: Option<u32>,
}

/// How the addresses of a name are raced (RFC 8305).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    /// `tryDelayMs`: the head start of an attempt before the next one begins.
    pub delay: Duration,
    /// `prioritizeIPv6`: which family goes first; by default that of the first address.
    pub ipv6_first: Option<bool>,
    /// `interleave`: how many addresses of a family are tried before the other has its turn; 0 is all.
    pub interleave: usize,
    /// `maxConcurrentTry`: how many attempts may be under way.
    pub at_once: usize,
}

impl Default for Race {
    fn default() -> Self {
        Self {
            // RFC 8305's recommended "Connection Attempt Delay".
            delay: Duration::from_millis(250),
            ipv6_first: None,
            interleave: 1,
            at_once: usize::MAX,
        }
    }
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

impl KeepAlive {
    /// The longest silence that Linux waits for.
    pub const MAX_SECS: u64 = 32767;
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
