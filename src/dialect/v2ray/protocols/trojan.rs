//! `settings` of a `trojan` inbound or outbound.
//!
//! Inbound: `clients` or `users`, objects or bare passwords. Outbound: `servers: [{address, port, password}]`, or the keys
//! of one server in `settings` itself, as V2Ray 5 and Xray write it.

use super::servers::destination;
use super::{clients, fallbacks};
use crate::dialect::v2ray::json::{Node, Object, one_of_or};
use crate::protocol::servers::ServerSettings;
use crate::protocol::trojan::{AccountSettings, InboundSettings, OutboundSettings, UserSettings};

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let users = clients::read(settings, user);
    let flow = clients::no_flow(settings);
    let fallbacks = fallbacks::read(settings);
    // Datagrams name their peers in any case, so there is nothing to choose.
    if let Some(node) = settings.get("packetEncoding") {
        let words = [("none", ()), ("", ()), ("packet", ())];
        one_of_or(&node, &words, "none");
    }
    flow?;
    Some(InboundSettings {
        users: users?,
        fallbacks: fallbacks?,
    })
}

pub(super) fn user(node: &Node) -> Option<UserSettings> {
    if node.value.is_string() {
        return Some(UserSettings {
            password: guessed(node, node.read()?).into(),
            ..UserSettings::default()
        });
    }
    let object = node.object()?;
    let password = match object.get("password") {
        Some(node) => node.read().map(|password| guessed(&node, password)),
        None => Some(guessed(&object.node, String::new())),
    };
    let email = object.read("email");
    let level = object.read_or("level", 0);
    let flow = clients::no_flow(&object);
    // Programs that write VLESS and Trojan alike leave it.
    object.silent(&["id"]);
    clients::pass_over_notes(&object);
    object.finish();
    flow?;
    Some(UserSettings {
        password: password?.into(),
        email: email.filter(|email: &String| !email.is_empty()),
        level,
    })
}

/// A user's password. V2Ray starts with one that is empty or left out.
fn guessed(node: &Node, password: String) -> String {
    if password.is_empty() {
        node.warn("the password is empty: whoever tries that may use this proxy");
    }
    password
}

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let Some(list) = settings.get("servers") else {
        let servers = vec![server(settings)?];
        return Some(OutboundSettings { servers });
    };
    let nodes = list.array();
    if nodes.is_empty() && list.value.is_array() {
        list.error("there is no server, expected `[{address, port, password}]`");
    }
    let each = nodes.iter().map(|node| {
        let object = node.object()?;
        let server = server(&object);
        object.finish();
        server
    });
    let servers: Vec<_> = each.collect();
    let servers: Vec<_> = servers.into_iter().collect::<Option<_>>()?;
    (!servers.is_empty()).then_some(OutboundSettings { servers })
}

fn server(object: &Object) -> Option<ServerSettings<AccountSettings>> {
    let to = destination(object);
    let node = object.require_node("password");
    let password: Option<String> = node.as_ref().and_then(Node::read);
    if let (Some(node), Some("")) = (&node, password.as_deref()) {
        node.error("the password is empty");
    }
    let level = object.read_or("level", 0);
    let flow = clients::no_flow(object);
    let _: Option<String> = object.read("email");
    // Programs that write Shadowsocks and Trojan alike leave these.
    object.silent(&["method", "ota", "uot", "UoTVersion"]);
    let account = AccountSettings {
        at: node?.path.into(),
        password: password.filter(|password| !password.is_empty())?.into(),
        level,
    };
    flow?;
    Some(ServerSettings {
        to: to?,
        accounts: vec![account],
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

    fn outbound_says(value: &Value) -> Vec<String> {
        read(value, |object| outbound(object).is_some()).1
    }

    #[test]
    fn every_spelling_is_read() {
        for value in [
            json!({"clients": [{"password": "p", "level": 1, "email": "a@b", "flow": ""}]}),
            json!({"clients": [], "users": [{"password": "p"}], "fallbacks": [], "packetEncoding": "Packet"}),
            json!({"users": ["p"], "packetEncoding": ""}),
        ] {
            let (settings, said) = read(&value, inbound);
            assert_eq!(said, [""; 0], "{value}");
            assert_eq!(*settings.unwrap().users[0].password, "p");
        }
        for value in [
            json!({"servers": [{"address": "a.example", "port": 443, "password": "p", "email": "a@b",
                "level": 0, "method": "chacha20", "ota": false}]}),
            json!({"address": "::1", "port": "443", "password": "p", "level": 0}),
        ] {
            let (settings, said) = read(&value, outbound);
            assert_eq!(said, [""; 0], "{value}");
            let servers = settings.unwrap().servers;
            assert_eq!(*servers[0].accounts[0].password, "p");
        }
    }

    #[test]
    fn an_empty_password_is_told_as_no_secret() {
        let told = "the password is empty: whoever tries that may use this proxy";
        for (client, at) in [
            (json!({}), "clients[0]"),
            (json!({"password": ""}), "clients[0].password"),
            (json!(""), "clients[0]"),
        ] {
            let said = inbound_says(&json!({"clients": [client]}));
            assert_eq!(said, [format!("{at}: {told}")]);
        }
        let said = outbound_says(&json!({"address": "a", "port": 1, "password": ""}));
        assert_eq!(said, ["password: the password is empty"]);
    }

    #[test]
    fn what_is_missing_or_twice_is_said() {
        assert_eq!(
            outbound_says(&json!({"servers": [{"address": "a", "port": 1}]})),
            ["servers[0]: `password` is missing"]
        );
        assert_eq!(
            outbound_says(&json!({"servers": []})),
            ["servers: there is no server, expected `[{address, port, password}]`"]
        );
        let twice = json!({"clients": [
            {"password": "p", "email": "a"}, {"password": "q", "email": "A"}, {"password": "p"},
        ]});
        assert_eq!(
            inbound_says(&twice),
            [
                "clients[1]: another user has the email `A`",
                "clients[2]: another user has the same password, the last one counts, as in V2Ray",
            ]
        );
    }

    #[test]
    fn what_is_not_built_is_refused_with_the_cure() {
        let cure = "the flow `xtls-rprx-direct` is not built: remove `flow` at both ends, TLS alone seals the connection as well";
        let flow = "xtls-rprx-direct";
        let said = inbound_says(&json!({"clients": [{"password": "p", "flow": flow}]}));
        assert_eq!(said, [format!("clients[0].flow: {cure}")]);
        let said =
            outbound_says(&json!({"address": "a", "port": 1, "password": "p", "flow": flow}));
        assert_eq!(said, [format!("flow: {cure}")]);
    }
}
