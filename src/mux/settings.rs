//! What `mux` of an outbound can be told.

#![warn(missing_docs)]

/// V2Ray's documented limit of `concurrency`.
pub const MAX_CONCURRENCY: usize = 1024;

/// `mux` of an outbound, switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams that share a connection, 1 to 1024; `None`: they share none.
    pub concurrency: Option<usize>,
    /// How datagrams are carried.
    pub udp: Udp,
    /// `xudpProxyUDP443`.
    pub udp_443: Udp443,
}

/// How datagrams are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Udp {
    /// As the protocol itself does.
    Native,
    /// As sessions among the streams, one for each destination.
    Shared,
    /// With addresses in the frames: one session for all destinations, and so many sessions in a connection. `None`:
    /// each has a connection of its own.
    Xudp(Option<usize>),
    /// With addresses in the datagrams.
    PacketAddr,
    /// The same in a stream.
    PacketStream,
}

/// What becomes of datagrams to port 443, which are QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Udp443 {
    /// They are dropped, so that browsers fall back to TCP.
    Reject,
    /// They are carried like all others.
    Allow,
    /// They go past mux, as the protocol itself carries UDP.
    Skip,
}

impl Settings {
    /// v2ray-plugin's `mux=N`. V2Ray gives a connection to 128 over its life, so more is the same.
    pub fn plugin(shares: u32) -> Self {
        let concurrency = usize::try_from(shares).unwrap_or(MAX_CONCURRENCY);
        Self {
            concurrency: Some(concurrency.min(MAX_CONCURRENCY)),
            ..Self::default()
        }
    }
}

/// V2Ray's.
impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: Some(8),
            udp: Udp::Shared,
            udp_443: Udp443::Allow,
        }
    }
}
