//! `settings` of a `dokodemo-door` inbound.

use std::collections::BTreeMap;

use super::{host, networks};
use crate::address::{Destination, Host};
use crate::dialect::v2ray::json::{Node, Object, Port};
use crate::protocol::dokodemo::{InboundSettings, Mapped};

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let follow = settings.read_or("followRedirect", false);
    let address = settings.first(&["address", "rewriteAddress"]);
    // Without an address all goes to this machine, or to the one at which the outbound ends. In V2Ray it goes nowhere; an API is
    // often told of by a door about which nothing is said.
    let fixed = address.is_some() || !follow;
    let loopback = fixed && address.is_none();
    if loopback && !is_xrays(settings) && settings.get("port").is_some() {
        let text = "`address` is missing, so what comes in goes to this machine, as in Xray; V2Ray leads it nowhere";
        settings.node.warn(text);
    }
    let is_xrays = is_xrays(settings) || loopback;
    let host = match address {
        Some(node) => host(node),
        // What it is in Xray where nothing was come to that has an address.
        None => Some(Host::Domain("localhost".to_owned())),
    };
    let port = port(settings);
    let port_map = port_map(settings, follow);
    let (tcp, udp) = networks::read(settings);
    let level = settings.read_or("userLevel", 0);
    // V2RayN writes keys of `socks` and `http` here as well.
    settings.silent(&["timeout", "udp", "allowTransparent"]);
    let to = match fixed {
        true => Some(Destination::new(host?, port?)),
        false => None,
    };
    Some(InboundSettings {
        loopback,
        same_port: is_xrays && to.as_ref().is_some_and(|to| to.port == 0),
        to,
        port_map: port_map?,
        follow_redirect: follow,
        tcp,
        udp,
        level,
        prompt_end: settings.read_or("promptEnd", false),
    })
}

/// Whether port 0 is meant as Xray means it. In V2Ray a door without a port leads nowhere, but for the API.
fn is_xrays(settings: &Object) -> bool {
    let words = ["rewriteAddress", "rewritePort", "allowedNetwork", "portMap"];
    let zero = settings.get("port");
    words.iter().any(|key| settings.get(key).is_some())
        || zero.is_some_and(|node| node.value.as_u64() == Some(0))
}

/// In Xray `rewritePort` counts where `port` is 0 or missing.
fn port(settings: &Object) -> Option<u16> {
    let mut port = Some(0);
    for key in ["port", "rewritePort"] {
        if let Some(node) = settings.get(key)
            && port == Some(0)
        {
            port = node.read().map(|Port(port)| port);
        }
    }
    port
}

/// `portMap`, whole or not at all: passed over, an entry would send sessions elsewhere than they were meant to go.
fn port_map(settings: &Object, follow: bool) -> Option<BTreeMap<u16, Mapped>> {
    let Some(node) = settings.get("portMap") else {
        return Some(BTreeMap::new());
    };
    node.object()?;
    let map = node.value.as_object()?;
    if follow && !map.is_empty() {
        node.warn("it has no effect beside `followRedirect`, in Xray neither");
    }
    let entries = map.iter().map(|(key, value)| {
        let node = Node::at(node.path.key(key), value, node.report());
        let value: String = node.read()?;
        let entry = Mapped::parse(key, &value);
        entry.map_err(|e| node.error(e.to_string())).ok()
    });
    let entries: Vec<_> = entries.collect();
    entries.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use serde_json::{Value, json};

    #[test]
    fn networks_are_a_list_or_one_string() {
        for (network, expected) in [
            (json!(null), (true, false)),
            (json!("udp"), (false, true)),
            (json!("TCP, udp"), (true, true)),
            (json!(["udp", "tcp"]), (true, true)),
        ] {
            let settings = json!({"address": "::1", "port": 53, "network": network});
            let (inbound, said) = read(&settings);
            let inbound = inbound.unwrap();
            assert_eq!((inbound.tcp, inbound.udp), expected);
            assert!(said.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_said() {
        for (settings, text) in [
            (
                json!({"port": 1}),
                "config: `address` is missing, so what comes in goes to this machine, as in Xray; V2Ray leads it nowhere",
            ),
            (
                json!({"address": "a", "port": 1, "network": "tpc,udp"}),
                "network: `tpc` is unknown and passed over, expected `tcp`, `udp` or `tcp,udp`, did you mean `tcp`?",
            ),
        ] {
            assert_eq!(read(&settings).1, [text]);
        }
    }

    #[test]
    fn the_keys_of_xrays_tunnel_mean_the_same() {
        for (settings, to) in [
            (
                json!({"rewriteAddress": "a", "rewritePort": 53, "allowedNetwork": "tcp,udp"}),
                "a:53",
            ),
            (
                json!({"address": "a", "rewriteAddress": "b", "port": 1, "rewritePort": 2, "allowedNetwork": "tcp,udp"}),
                "a:1",
            ),
            (
                json!({"address": "a", "port": 0, "rewritePort": 2, "allowedNetwork": "tcp,udp", "portMap": {}}),
                "a:2",
            ),
        ] {
            let (inbound, said) = read(&settings);
            let inbound = inbound.unwrap();
            assert!(inbound.tcp && inbound.udp);
            assert_eq!(inbound.to.unwrap().to_string(), to);
            assert!(said.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn a_port_map_is_read_whole_and_needs_no_address() {
        let told = json!({"portMap": {"5": "b:6", "7": ":8"}});
        let (inbound, said) = read(&told);
        let inbound = inbound.unwrap();
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(inbound.to.unwrap().to_string(), "localhost:0");
        assert!(inbound.loopback && inbound.same_port && inbound.port_map.len() == 2);
        for (map, text) in [
            (
                json!({"5": "b:6", "x": "b:6"}),
                "portMap.x: `x` is not a port, expected one from 1 to 65535",
            ),
            (
                json!({"5": "b"}),
                "portMap.5: `b` is not a target, expected `host:port`, `:port`, `host:` or `[IPv6]:port`",
            ),
        ] {
            let (inbound, said) = read(&json!({"address": "a", "port": 1, "portMap": map}));
            assert!(inbound.is_none());
            assert_eq!(said, [text]);
        }
        let follows = json!({"followRedirect": true, "portMap": {"5": "b:6"}});
        assert_eq!(
            read(&follows).1,
            ["portMap: it has no effect beside `followRedirect`, in Xray neither"]
        );
    }

    #[test]
    fn a_transparent_door_needs_no_address() {
        for (settings, to) in [
            (json!({"followRedirect": true}), None),
            (json!({"followRedirect": true, "port": 53}), None),
            (
                json!({"followRedirect": true, "address": "a", "port": 53}),
                Some("a:53"),
            ),
        ] {
            let (inbound, said) = read(&settings);
            let inbound = inbound.unwrap();
            assert!(inbound.follow_redirect && said.is_empty(), "{said:?}");
            let fixed = inbound.to.map(|to| to.to_string());
            assert_eq!(fixed.as_deref(), to);
        }
    }

    fn read(value: &Value) -> (Option<InboundSettings>, Vec<String>) {
        settings::read(value, inbound)
    }
}
