//! `settings` of a `dokodemo-door` inbound.

use super::{host, networks};
use crate::address::Destination;
use crate::dialect::v2ray::json::{Object, Port};
use crate::protocol::dokodemo::InboundSettings;

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let follow = settings.read_or("followRedirect", false);
    let address = settings.first(&["address", "rewriteAddress"]);
    let fixed = address.is_some();
    if !fixed && !follow {
        settings
            .node
            .dead("`address` is missing, or `followRedirect` for a transparent proxy");
    }
    let host = address.and_then(host);
    let port = port(settings);
    refuse_port_map(settings);
    let (tcp, udp) = networks::read(settings);
    let level = settings.read_or("userLevel", 0);
    // V2RayN writes keys of `socks` and `http` here as well.
    settings.silent(&["timeout", "udp", "allowTransparent"]);
    let to = match fixed {
        true => Some(Destination::new(host?, port?)),
        false if follow => None,
        false => return None,
    };
    Some(InboundSettings {
        to,
        follow_redirect: follow,
        tcp,
        udp,
        level,
    })
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

/// Passed over, it would send sessions elsewhere than they were meant to go.
fn refuse_port_map(settings: &Object) {
    if let Some(node) = settings.get("portMap")
        && node.value.as_object().is_none_or(|map| !map.is_empty())
    {
        node.unbuilt("a map of ports is not built, make an inbound for each port");
    }
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
                "config: `address` is missing, or `followRedirect` for a transparent proxy",
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
        let mapped = json!({"address": "a", "port": 1, "portMap": {"5": "b:6"}});
        assert_eq!(
            read(&mapped).1,
            ["portMap: a map of ports is not built, make an inbound for each port"]
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
