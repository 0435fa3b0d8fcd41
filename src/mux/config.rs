//! `mux` of an outbound.

use super::outbound::{Outbound, Pool};
use crate::json::{Object, one_of};

/// Sessions that share a connection, unless `concurrency` says otherwise; V2Ray's number.
const CONCURRENCY: usize = 8;

/// V2Ray's documented limit of `concurrency`.
const MAX_CONCURRENCY: usize = 1024;

/// What becomes of datagrams to port 443, which are QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Udp443 {
    /// They are dropped, so that browsers fall back to TCP.
    Reject,
    Allow,
    /// They go past mux, as the protocol itself carries UDP.
    Skip,
}

/// `packetEncoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    None,
    Xudp,
    PacketAddr,
}

/// How datagrams are carried.
#[derive(Debug)]
pub(super) enum Udp {
    /// As the protocol itself does.
    Native,
    /// As sessions among the streams, one for each destination.
    Shared,
    /// With addresses in the frames: one session for all destinations.
    Xudp(Pool),
    /// With addresses in the datagrams.
    PacketAddr,
}

impl Outbound {
    /// `None` when it is off.
    pub fn read(mux: &Object) -> Option<Self> {
        let enabled = mux.read_or("enabled", false);
        let streams = concurrency(mux, "concurrency");
        let xudp = concurrency(mux, "xudpConcurrency");
        let udp_443 = mux.get("xudpProxyUDP443").and_then(|node| {
            let words = [
                ("", Udp443::Reject),
                ("reject", Udp443::Reject),
                ("allow", Udp443::Allow),
                ("skip", Udp443::Skip),
            ];
            one_of(&node, &words)
        });
        let encoding = mux.get("packetEncoding").and_then(|node| {
            let words = [
                ("", Encoding::None),
                ("none", Encoding::None),
                ("xudp", Encoding::Xudp),
                ("packetaddr", Encoding::PacketAddr),
                // V2Ray 5's name in its protobuf enum.
                ("packet", Encoding::PacketAddr),
            ];
            one_of(&node, &words)
        });
        if !enabled {
            return None;
        }
        let streams = match streams.unwrap_or(Sessions::Default) {
            Sessions::Off => None,
            Sessions::Default => Some(Pool::shared(CONCURRENCY)),
            Sessions::AtMost(n) => Some(Pool::shared(n)),
        };
        let udp = match (encoding, xudp) {
            (Some(Encoding::PacketAddr), _) => Udp::PacketAddr,
            (_, Some(Sessions::AtMost(n))) => Udp::Xudp(Pool::shared(n)),
            (Some(Encoding::Xudp), _) => Udp::Xudp(Pool::single()),
            (_, Some(Sessions::Off)) => Udp::Native,
            _ if streams.is_none() => Udp::Native,
            _ => Udp::Shared,
        };
        // The default of a config in Xray's words is Xray's.
        let default = if xudp.is_some() {
            Udp443::Reject
        } else {
            Udp443::Allow
        };
        Some(Self::new(streams, udp, udp_443.unwrap_or(default)))
    }
}

/// `concurrency` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sessions {
    Off,
    Default,
    AtMost(usize),
}

fn concurrency(mux: &Object, key: &'static str) -> Option<Sessions> {
    let node = mux.get(key)?;
    let n: i64 = node.read()?;
    // V2Ray keeps it in 16 bits.
    if i16::try_from(n).is_err() {
        node.error(format!(
            "{n} is out of range, expected 1 to {MAX_CONCURRENCY}, 0 for the default or -1 for off"
        ));
        return None;
    }
    Some(match usize::try_from(n) {
        Err(_) => Sessions::Off,
        Ok(0) => Sessions::Default,
        Ok(n) if n > MAX_CONCURRENCY => {
            node.warn(format!(
                "at most {MAX_CONCURRENCY} sessions share a connection"
            ));
            Sessions::AtMost(MAX_CONCURRENCY)
        }
        Ok(n) => Sessions::AtMost(n),
    })
}
