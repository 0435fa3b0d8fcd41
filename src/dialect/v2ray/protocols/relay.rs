//! `settings` of the `relay` inbound and outbound.

use super::accounts;
use super::servers::servers;
use crate::address::Destination;
use crate::dialect::v2ray::json::{Node, Object, PortRanges, StringList, one_of};
use crate::dialect::v2ray::mws;
use crate::protocol::relay::{BindSettings, InboundSettings, OutboundSettings, Service, Udp};
use crate::smux::MAX_STREAMS;

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let level = settings.read_or("userLevel", 0);
    let wants_users = settings.first(&["users", "accounts"]);
    let accounts = accounts::of_inbound(settings);
    if let Some(node) = wants_users.filter(|_| accounts.is_empty()) {
        node.error("there is no user, expected `[{user, pass}]`; without this key anybody may use the inbound");
        return None;
    }
    let hidden = settings.read_or("hidden", false);
    let forward = settings.get("forward");
    let connect = settings.get("connect");
    let bind = bind(settings);
    let service = match forward {
        Some(forward) => {
            for key in ["connect", "bind"] {
                if let Some(node) = settings.get(key) {
                    node.error("with `forward` every session goes there, whatever its request says: remove this key");
                    return None;
                }
            }
            Service::Forward(targets(&forward)?)
        }
        None => Service::AsAsked {
            connect: match connect {
                Some(node) => node.read()?,
                None => true,
            },
            bind: bind?,
        },
    };
    Some(InboundSettings {
        accounts,
        level,
        service,
        hidden,
        stranger: None,
    })
}

/// `bind` and `allowPorts`.
fn bind(settings: &Object) -> Option<Option<BindSettings>> {
    let bind = settings.read_or("bind", false);
    let ports = settings.get("allowPorts");
    let visitors = settings.get("maxVisitors");
    if let Some(node) = visitors.as_ref().filter(|_| !bind) {
        node.error("nobody comes without `bind: true`");
        return None;
    }
    let version = settings.get("muxVersion");
    if let Some(node) = version.as_ref().filter(|_| !bind) {
        node.error("nobody is led to a client without `bind: true`");
        return None;
    }
    let default = BindSettings {
        mux: mws::version(&version),
        ..BindSettings::default()
    };
    let visitors = match visitors {
        Some(node) => match node.read::<u32>()? as usize {
            n @ 1..=MAX_STREAMS => n,
            n => {
                node.error(format!(
                    "{n} visitors are here, expected 1 to {MAX_STREAMS}"
                ));
                return None;
            }
        },
        None => default.visitors,
    };
    match (bind, ports) {
        (true, None) => Some(Some(BindSettings {
            visitors,
            ..default
        })),
        (true, Some(node)) => {
            let PortRanges(ports) = node.read()?;
            Some(Some(BindSettings {
                ports,
                visitors,
                ..default
            }))
        }
        (false, None) => Some(None),
        (false, Some(node)) => {
            node.error("no port is opened for anybody without `bind: true`");
            None
        }
    }
}

/// Where a forwarder leads: `host:port`, or several.
fn targets(node: &Node) -> Option<Vec<Destination>> {
    let StringList(texts) = node.read()?;
    let mut targets = Vec::new();
    for text in &texts {
        match text.trim().parse::<Destination>() {
            Ok(to) if to.port != 0 => targets.push(to),
            Ok(_) => {
                node.error(format!(
                    "`{}` has port 0, expected 1 to 65535",
                    text.escape_debug()
                ));
            }
            Err(e) => node.error(e),
        }
    }
    if texts.is_empty() {
        node.error("there is no target, expected `host:port`");
    }
    (!targets.is_empty() && targets.len() == texts.len()).then_some(targets)
}

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let words = [("connect", Udp::Connect), ("associate", Udp::Associate)];
    let udp = match settings.get("udp") {
        Some(node) => one_of(&node, &words)?,
        None => Udp::default(),
    };
    Some(OutboundSettings {
        servers: servers(settings)?,
        udp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings::read;
    use serde_json::{Value, json};

    fn inbound_says(value: &Value) -> Vec<String> {
        read(value, |object| inbound(object).is_some()).1
    }

    #[test]
    fn what_a_relay_inbound_does_is_read() {
        let (settings, said) = read(
            &json!({"users": [{"user": "u", "pass": "pw"}], "userLevel": 1, "connect": false}),
            inbound,
        );
        assert_eq!(said, [""; 0]);
        let settings = settings.unwrap();
        assert_eq!(settings.accounts[0].user, "u");
        let service = Service::AsAsked {
            connect: false,
            bind: None,
        };
        assert_eq!(settings.service, service);
        for forward in [
            json!("a.test:22,[::1]:80"),
            json!(["a.test:22", "[::1]:80"]),
        ] {
            let (settings, said) = read(&json!({"forward": forward}), inbound);
            assert_eq!(said, [""; 0]);
            let targets = ["a.test:22", "[::1]:80"].map(|text| text.parse().unwrap());
            assert_eq!(settings.unwrap().service, Service::Forward(targets.into()));
        }
    }

    #[test]
    fn what_cannot_work_is_an_error() {
        for (settings, text) in [
            (
                json!({"users": []}),
                "users: there is no user, expected `[{user, pass}]`; without this key anybody may use the inbound",
            ),
            (
                json!({"forward": "a.test"}),
                "forward: `a.test` has no port, expected `host:port`",
            ),
            (
                json!({"forward": ["a.test:0"]}),
                "forward: `a.test:0` has port 0, expected 1 to 65535",
            ),
            (
                json!({"forward": "a.test:1", "connect": true}),
                "connect: with `forward` every session goes there, whatever its request says: remove this key",
            ),
        ] {
            assert_eq!(inbound_says(&settings), [text]);
        }
    }

    #[test]
    fn an_outbound_has_servers_and_a_way_for_datagrams() {
        let value = json!({"servers": [{"address": "::1", "port": 8443, "users": [{"user": "u", "pass": "pw"}]}], "udp": "associate"});
        let (settings, said) = read(&value, outbound);
        assert_eq!(said, [""; 0]);
        let settings = settings.unwrap();
        assert_eq!(settings.udp, Udp::Associate);
        assert_eq!(settings.servers[0].accounts[0].user, "u");
        let value = json!({"address": "::1", "port": 1, "udp": "bind"});
        let said = read(&value, |object| outbound(object).is_some()).1;
        assert!(said[0].starts_with("udp: `bind` is unknown"), "{said:?}");
    }
}
