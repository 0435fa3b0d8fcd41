//! `api`: the gRPC service for panels, in V2Ray 5 `commander` among the `services`.

use std::net::SocketAddr;

use super::inbound::unix;
use crate::config::exposure::warn_of_open_api;
use crate::config::{Api, ApiListen, Listen, Services};
use crate::dialect::v2ray::json::{Node, Object, did_you_mean};

const NAMES: [&str; 6] = [
    "HandlerService",
    "LoggerService",
    "ObservatoryService",
    "ReflectionService",
    "RoutingService",
    "StatsService",
];

/// What V2Ray 5 calls them.
const FIVE: [&str; 5] = ["observatory", "proxyman", "reflection", "router", "stats"];

pub(super) fn read(root: &Object) -> Option<Api> {
    let commander = commander(root);
    let of_four = root.object("api");
    let is_of_five = of_four.is_none();
    let object = of_four.or(commander)?;
    let tag = object
        .require::<String>("tag")
        .filter(|tag| !tag.is_empty());
    if tag.is_none() {
        object
            .node
            .error("`tag` is empty, expected a tag for rules to lead to");
    }
    let mut services = Services::default();
    match is_of_five {
        true => {
            for node in object.array("name") {
                add_of_five(&mut services, &node);
            }
        }
        false => {
            for node in object.array("services") {
                add(&mut services, &node);
            }
        }
    }
    if services == Services::default() {
        object.node.warn(match is_of_five {
            true => "no service is named in `name`, so none is answered",
            false => "no service is named in `services`, so none is answered",
        });
    }
    let listen = object.get("listen").and_then(|node| {
        let place = listen(&node)?;
        if let Some(ip) = place.outside() {
            warn_of_open_api(&node.path, ip, node.report());
        }
        Some(place)
    });
    let at = (&object.node.path).into();
    object.finish();
    Some(Api {
        tag: tag?.into(),
        services,
        listen,
        at,
    })
}

/// V2Ray 5's `{"tag": "api", "name": ["stats", "proxyman"]}`.
fn commander<'a>(root: &Object<'a>) -> Option<Object<'a>> {
    let services = root.get("services").filter(|node| node.value.is_object())?;
    services.object()?.object("commander")
}

/// As Xray reads it; an empty one is none. Without a host, all addresses are meant.
pub(super) fn listen(node: &Node) -> Option<ApiListen> {
    let text: String = node.read()?;
    if text.is_empty() {
        return None;
    }
    if text.starts_with(['@', '/']) {
        return match unix(node, &text)? {
            Listen::Unix(path) => Some(ApiListen::Unix(path)),
            Listen::Abstract(name) => Some(ApiListen::Abstract(name)),
            Listen::Ip(_) | Listen::Published => None,
        };
    }
    let named = match text.split_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => format!("127.0.0.1:{port}"),
        _ => text.clone(),
    };
    let Ok(address) = named.parse::<SocketAddr>() else {
        let text = text.escape_debug();
        node.error(format!(
            "`{text}` is not an address, expected such as `127.0.0.1:10085`, `/run/api.sock` or `@name`"
        ));
        return None;
    };
    Some(ApiListen::Tcp(address))
}

fn add(services: &mut Services, node: &Node) {
    let Some(name) = node.read::<String>() else {
        return;
    };
    match name.to_ascii_lowercase().as_str() {
        "handlerservice" => services.handler = true,
        "loggerservice" => services.logger = true,
        "observatoryservice" => services.observatory = true,
        "reflectionservice" => services.reflection = true,
        "routingservice" => services.routing = true,
        "statsservice" => services.stats = true,
        _ => node.warn(format!(
            "no service is called `{}`{}",
            name.escape_debug(),
            did_you_mean(&name, NAMES.into_iter())
        )),
    }
}

/// By the short names of V2Ray 5, or the whole ones behind `#`.
fn add_of_five(services: &mut Services, node: &Node) {
    let Some(name) = node.read::<String>() else {
        return;
    };
    let whole = name.strip_prefix("#v2ray.core.app.");
    let short = whole.and_then(|rest| rest.strip_suffix(".command.Config"));
    match short.unwrap_or(&name) {
        "proxyman" => services.handler = true,
        "log" => services.logger = true,
        "observatory" => services.observatory = true,
        "reflection" | "#v2ray.core.app.commander.ReflectionConfig" => services.reflection = true,
        "router" => services.routing = true,
        "stats" => services.stats = true,
        other => node.warn(format!(
            "no service is called `{}`{}",
            other.escape_debug(),
            did_you_mean(other, FIVE.into_iter())
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::dialect::v2ray::{Format, Input, load};

    fn warnings(api: &Value, inbounds: &Value) -> Vec<String> {
        let config = json!({
            "api": api,
            "inbounds": inbounds,
            "outbounds": [{"tag": "direct", "protocol": "freedom"}, {"tag": "api", "protocol": "freedom"}],
            "routing": {"rules": [{"type": "field", "inboundTag": ["panel"], "outboundTag": "api"}]}
        });
        let text = Input::Text {
            name: "c.json".to_owned(),
            text: config.to_string(),
        };
        let loaded = load(&[text], Format::V4);
        let config = loaded.config.expect("a good config");
        let tags = config.outbounds.iter().filter_map(|o| o.tag.as_deref());
        assert_eq!(tags.collect::<Vec<_>>(), ["direct", "api"]);
        assert!(config.api.is_some());
        loaded.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn v2ray_5_has_it_among_its_services() {
        let config = json!({
            "services": {"commander": {"tag": "cmd", "name": [
                "stats", "proxyman", "#v2ray.core.app.router.command.Config", "stat"
            ]}},
            "inbounds": [door("panel", "127.0.0.1")],
            "outbounds": [{"tag": "direct", "protocol": "freedom"}],
            "router": {"rule": [{"inboundTag": ["panel"], "tag": "cmd"}]}
        });
        let text = Input::Text {
            name: "c.json".to_owned(),
            text: config.to_string(),
        };
        let loaded = load(&[text], Format::V5);
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let unknown =
            "services.commander.name[3]: no service is called `stat`, did you mean `stats`?";
        assert!(warnings[0].starts_with(unknown), "{warnings:?}");
        let config = loaded.config.expect("a good config");
        let api = config.api.expect("an API");
        assert_eq!(&*api.tag, "cmd");
        assert!(api.services.stats && api.services.handler && api.services.routing);
        assert!(!api.services.observatory);
        // No outbound stands in for it.
        assert_eq!(config.outbounds.len(), 1);
    }

    fn door(tag: &str, listen: &str) -> Value {
        json!({
            "tag": tag, "listen": listen, "port": 10085, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1"}
        })
    }

    #[test]
    fn the_usual_api_inbound_is_nothing_to_warn_of() {
        let api = json!({"tag": "api", "services": ["StatsService"], "listen": "127.0.0.1:1"});
        assert_eq!(
            warnings(&api, &json!([door("panel", "127.0.0.1")])),
            [""; 0]
        );
        let other = warnings(&api, &json!([door("other", "127.0.0.1")]));
        let told = |w: &String| w.ends_with("connections will fail");
        assert!(other.iter().any(told), "{other:?}");
    }

    #[test]
    fn a_door_that_is_open_to_all_warns() {
        let api = json!({"tag": "api", "services": ["StatsService"], "listen": "0.0.0.0:1"});
        let all = warnings(&api, &json!([door("panel", "192.0.2.1")]));
        assert!(
            all[0].starts_with("api.listen: leads to the API and listens on 0.0.0.0"),
            "{all:?}"
        );
        assert!(
            all[1].starts_with("inbounds[0]: leads to the API and listens on 192.0.2.1"),
            "{all:?}"
        );
        let users = json!([{
            "tag": "panel", "port": 1, "protocol": "socks",
            "settings": {"auth": "password", "accounts": [{"user": "a", "pass": "b"}]}
        }]);
        let api = json!({"tag": "api", "services": ["StatsService"]});
        assert_eq!(warnings(&api, &users), [""; 0]);
    }

    #[test]
    fn a_rule_by_which_everybody_comes_warns() {
        for (condition, is_open) in [
            (json!({"port": 10085}), true),
            (json!({"ip": ["127.0.0.1"], "network": "tcp"}), true),
            (json!({"inboundTag": ["panel"]}), false),
            (json!({"user": ["ann@example.com"]}), false),
            (json!({"source": ["10.0.0.1"]}), false),
        ] {
            let mut rule = condition.clone();
            rule["outboundTag"] = "api".into();
            let config = json!({
                "api": {"tag": "api", "services": ["StatsService"]},
                "inbounds": [door("panel", "127.0.0.1")],
                "outbounds": [{"protocol": "freedom"}],
                "routing": {"rules": [rule]}
            });
            let text = Input::Text {
                name: "c.json".to_owned(),
                text: config.to_string(),
            };
            let warnings = load(&[text], Format::V4).warnings;
            let told = warnings.iter().any(|w| {
                w.to_string()
                    .starts_with("api: a rule leads sessions of every inbound here")
            });
            assert_eq!(told, is_open, "{condition}: {warnings:?}");
        }
    }

    #[test]
    fn a_service_that_nobody_has_warns() {
        let api = json!({"tag": "api", "services": ["StatService"]});
        let all = warnings(&api, &json!([door("panel", "127.0.0.1")]));
        assert_eq!(
            all,
            [
                "api.services[0]: no service is called `StatService`, did you mean `StatsService`?",
                "api: no service is named in `services`, so none is answered",
            ]
        );
    }
}
