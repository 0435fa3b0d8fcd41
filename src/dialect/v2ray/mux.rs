//! `mux` of an outbound.

use crate::dialect::v2ray::json::{Node, Object, one_of};
use crate::mux::{MAX_CONCURRENCY, Settings, Udp, Udp443};

/// `packetEncoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    None,
    Xudp,
    PacketAddr,
    PacketStream,
}

/// `None` when it is off.
pub(super) fn read(mux: &Object) -> Option<Settings> {
    let enabled = mux.read_or("enabled", false);
    let streams = concurrency(mux, "concurrency");
    let xudp = concurrency(mux, "xudpConcurrency");
    let udp_443 = written(mux, "xudpProxyUDP443").and_then(|node| {
        let words = [
            ("reject", Udp443::Reject),
            ("allow", Udp443::Allow),
            ("skip", Udp443::Skip),
        ];
        one_of(&node, &words)
    });
    let encoding = written(mux, "packetEncoding").and_then(|node| {
        let words = [
            ("none", Encoding::None),
            ("xudp", Encoding::Xudp),
            ("packetaddr", Encoding::PacketAddr),
            // V2Ray 5's name in its protobuf enum.
            ("packet", Encoding::PacketAddr),
            ("stream", Encoding::PacketStream),
        ];
        one_of(&node, &words)
    });
    if !enabled {
        return None;
    }
    let streams = match streams.unwrap_or(Sessions::Default) {
        Sessions::Off => None,
        Sessions::Default => Settings::default().concurrency,
        Sessions::AtMost(n) => Some(n),
    };
    let udp = match (encoding, xudp) {
        (Some(Encoding::PacketAddr), _) => Udp::PacketAddr,
        (Some(Encoding::PacketStream), _) => Udp::PacketStream,
        (_, Some(Sessions::AtMost(n))) => Udp::Xudp(Some(n)),
        (Some(Encoding::Xudp), _) => Udp::Xudp(None),
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
    Some(Settings {
        concurrency: streams,
        udp,
        udp_443: udp_443.unwrap_or(default),
    })
}

/// The word under `key`; `""` is none.
fn written<'a>(mux: &Object<'a>, key: &'static str) -> Option<Node<'a>> {
    mux.get(key).filter(|node| node.value != "")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use crate::mux::{Outbound, UdpMode};
    use serde_json::{Value, json};

    #[test]
    fn mux_that_is_not_enabled_is_off() {
        assert!(read(json!({"enabled": false, "concurrency": 8})).is_none());
        assert!(read(json!({"concurrency": 8})).is_none());
    }

    #[test]
    fn v2rays_words() {
        let mux = read(json!({"enabled": true})).unwrap();
        assert!(mux.has_streams());
        assert_eq!(
            ways(&mux),
            [UdpMode::Session, UdpMode::Session, UdpMode::Session]
        );
        let off = read(json!({"enabled": true, "concurrency": -1})).unwrap();
        assert!(!off.has_streams());
        assert_eq!(
            ways(&off),
            [UdpMode::Native, UdpMode::Native, UdpMode::Native]
        );
    }

    #[test]
    fn xrays_words() {
        let mux = |udp_443: &str| {
            let value = json!({"enabled": true, "xudpConcurrency": 16, "xudpProxyUDP443": udp_443});
            ways(&read(value).unwrap())
        };
        assert_eq!(mux(""), [UdpMode::Xudp, UdpMode::Xudp, UdpMode::Dropped]);
        assert_eq!(mux("allow"), [UdpMode::Xudp, UdpMode::Xudp, UdpMode::Xudp]);
        assert_eq!(mux("skip"), [UdpMode::Xudp, UdpMode::Xudp, UdpMode::Native]);
        let off = read(json!({"enabled": true, "xudpConcurrency": -1})).unwrap();
        assert!(off.has_streams());
        assert_eq!(ways(&off)[0], UdpMode::Native);
    }

    #[test]
    fn packet_encodings() {
        let mux = |encoding: &str| {
            let value = json!({"enabled": true, "packetEncoding": encoding});
            ways(&read(value).unwrap())
        };
        assert_eq!(
            mux("none"),
            [UdpMode::Session, UdpMode::Session, UdpMode::Session]
        );
        assert_eq!(mux("xudp"), [UdpMode::Xudp, UdpMode::Xudp, UdpMode::Xudp]);
        let ways = mux("packetaddr");
        assert_eq!(
            ways,
            [UdpMode::PacketAddr, UdpMode::Native, UdpMode::PacketAddr]
        );
    }

    /// To an address, to a name, to port 443.
    fn ways(mux: &Outbound) -> [UdpMode; 3] {
        ["192.0.2.1:53", "example.com:53", "192.0.2.1:443"].map(|to| mux.way(&to.parse().unwrap()))
    }

    fn read(value: Value) -> Option<Outbound> {
        let report = Report::default();
        let object = Node::root(&value, &report).object().unwrap();
        let mux = super::read(&object);
        assert!(!report.has_errors());
        mux.map(Outbound::new)
    }
}
