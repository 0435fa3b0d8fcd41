//! `settings` of a `dns` outbound.

use super::host;
use crate::address::Network;
use crate::dialect::v2ray::json::{Object, Port, did_you_mean, one_of};
use crate::protocol::dns::{Others, OutboundSettings};

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    // An empty text is as good as none.
    let get = |key| {
        let node = settings.get(key);
        node.filter(|node| node.value.as_str() != Some(""))
    };
    let networks = [("tcp", Network::Tcp), ("udp", Network::Udp)];
    // Xray puts `rewrite` in front of them.
    let first = |keys: [&'static str; 2]| {
        let found = keys.map(get);
        found.into_iter().flatten().next()
    };
    let network = first(["network", "rewriteNetwork"]).and_then(|n| {
        let text = n.value.as_str().unwrap_or_default().to_ascii_lowercase();
        if !text.is_empty() && networks.iter().all(|(word, _)| *word != text) {
            n.warn(format!(
                "`{}` is unknown, questions go by the network that they came by, expected `tcp` or `udp`{}",
                text.escape_debug(),
                did_you_mean(&text, ["tcp", "udp"].into_iter())
            ));
            return None;
        }
        one_of(&n, &networks)
    });
    let address = first(["address", "rewriteAddress"]);
    let port: Option<Port> = settings
        .first(&["port", "rewritePort"])
        .and_then(|node| node.read());
    for key in ["rules", "blockTypes"] {
        settings.refuse(
            key,
            "a choice by the kind of a question is not built, all would be answered: `nonIPQuery` drops or refuses what asks for no address",
        );
    }
    let others = [
        ("skip", Others::Forward),
        ("drop", Others::Drop),
        ("reject", Others::Refuse),
    ];
    let others = get("nonIPQuery").and_then(|n| one_of(&n, &others));
    let ttl = settings.read_or("responseTTL", 0);
    let overrides = settings.read_or("overrideResponseTTL", false);
    // A level names nothing that this outbound waits for.
    settings.silent(&["userLevel"]);
    Some(OutboundSettings {
        network,
        host: address.and_then(host),
        port: port.map(|Port(port)| port).filter(|port| *port != 0),
        others: others.unwrap_or_default(),
        ttl: overrides.then_some(ttl),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use serde_json::{Value, json};

    #[test]
    fn the_settings_replace_the_parts_they_name() {
        let to = "8.8.8.8:5353".parse().unwrap();
        for (settings, network, server) in [
            (json!({}), Network::Udp, "8.8.8.8:5353"),
            (json!({"network": "tcp"}), Network::Tcp, "8.8.8.8:5353"),
            (json!({"address": "1.1.1.1"}), Network::Udp, "1.1.1.1:5353"),
            (json!({"port": 53}), Network::Udp, "8.8.8.8:53"),
        ] {
            let outbound = read(&settings).0.unwrap();
            let (over, at) = outbound.server(Network::Udp, &to);
            assert_eq!((over, at.to_string()), (network, server.to_owned()));
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (settings, text) in [
            (
                json!({"network": "ucp"}),
                "network: `ucp` is unknown, questions go by the network that they came by, expected `tcp` or `udp`, did you mean `tcp`?",
            ),
            (
                json!({"nonIPQuery": "block"}),
                "nonIPQuery: `block` is unknown, expected `skip`, `drop` or `reject`",
            ),
        ] {
            assert_eq!(read(&settings).1, [text]);
        }
    }

    fn read(value: &Value) -> (Option<OutboundSettings>, Vec<String>) {
        settings::read(value, outbound)
    }
}
