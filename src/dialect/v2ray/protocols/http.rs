//! `settings` of the `http` inbound and outbound.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::accounts;
use super::servers::servers;
use crate::dialect::v2ray::json::{Node, Object, found};
use crate::protocol::http::{InboundSettings, OutboundSettings};

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let level = settings.read_or("userLevel", 0);
    let accounts = accounts::of_inbound(settings);
    let asked = ["accounts", "users"]
        .iter()
        .any(|key| !settings.array(key).is_empty());
    if asked && accounts.is_empty() {
        settings
            .node
            .dead("no account can be used, and without one the proxy would be open to everybody");
    }
    let transparent = settings.read_or("allowTransparent", false);
    let wait: Option<bool> = settings.read("waitForConnect");
    // V2RayN writes the keys of SOCKS here as well.
    settings.silent(&["timeout", "auth", "udp"]);
    Some(InboundSettings {
        accounts,
        level,
        transparent,
        udp_tunnel: settings.read_or("udpTunnel", false),
        grant: wait.map(Into::into).unwrap_or_default(),
    })
}

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let headers = settings.get("headers").map(|node| headers(&node));
    settings.no_effect(&["h1SkipWaitForReply"]);
    Some(OutboundSettings {
        servers: servers(settings)?,
        headers: headers.unwrap_or_default(),
        udp_tunnel: settings.read_or("udpTunnel", false),
    })
}

/// Headers for every CONNECT: an object whose values are strings or lists of strings.
fn headers(node: &Node) -> HeaderMap {
    let mut map = HeaderMap::new();
    let Value::Object(entries) = node.value else {
        node.error(format!("{} is not an object", found(node.value)));
        return map;
    };
    for (name, value) in entries {
        let at = Node::at(node.path.key(name), value, node.report());
        let Ok(header) = HeaderName::try_from(name) else {
            at.error("this is not the name of a header");
            continue;
        };
        let values = match value {
            Value::Null => continue,
            Value::Array(_) => at.array(),
            _ => vec![at],
        };
        for value in values {
            let Some(text) = value.read::<String>() else {
                continue;
            };
            match HeaderValue::try_from(text) {
                Ok(text) => {
                    map.append(header.clone(), text);
                }
                Err(_) => value.error("a header's value cannot hold control characters"),
            }
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use serde_json::json;

    #[test]
    fn mistakes_are_reported_where_they_are() {
        let value = json!({
            "address": "proxy", "port": 3128,
            "headers": {"X-A": "1", "X B": "2", "X-C": ["3", 4], "X-D": "a\nb", "X-E": null},
        });
        let report = Report::default();
        let settings = Node::root(&value, &report).object().unwrap();
        let outbound = outbound(&settings).unwrap();
        settings.finish();
        let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "headers[\"X B\"]: this is not the name of a header",
                "headers.X-C[1]: the number 4 is not a string",
                "headers.X-D: a header's value cannot hold control characters",
            ]
        );
        assert_eq!(report.warnings(), []);
        assert_eq!(outbound.headers.len(), 2);
    }

    #[test]
    fn an_inbound_needs_no_settings() {
        let value = json!({});
        let report = Report::default();
        assert!(inbound(&Node::root(&value, &report).object().unwrap()).is_some());
        assert!(!report.has_errors());
    }
}
