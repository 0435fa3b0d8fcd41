//! `policy` and `stats`: V2Ray 4's at the top level, V2Ray 5's under `services`.

use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, Rate, found};
use crate::policy::{Counted, Level, MIN_BUFFER, Policy, Rates, Seconds, System};

/// The policy, and whether `stats` switches the counters on.
pub(super) fn read(root: &Object) -> (Policy, bool) {
    let mut policy = Policy::default();
    if let Some(object) = service(root, "policy") {
        for (level, node) in levels(&object) {
            if let Some(object) = node.object() {
                policy.levels.insert(level, read_level(&object));
                object.finish();
            }
        }
        if let Some(object) = object.object("system") {
            policy.system = read_system(&object);
            object.finish();
        }
        object.finish();
    }
    // Here `{}` is what switches it on.
    let stats = service(root, "stats");
    let on = stats.is_some();
    if let Some(stats) = stats {
        stats.finish();
    } else if policy.counts() {
        root.node
            .warn("`policy` asks for counters, and without `stats` nothing is counted");
    }
    (policy, on)
}

/// A part of the service, where V2Ray 4 or V2Ray 5 has it.
fn service<'a>(root: &Object<'a>, key: &'static str) -> Option<Object<'a>> {
    if let Some(node) = root.get(key) {
        return node.object();
    }
    let services = root.get("services")?;
    services.value.is_object().then_some(())?;
    services.object()?.object(key)
}

/// The levels by number; V2Ray 5 says `level`.
fn levels<'a>(policy: &Object<'a>) -> Vec<(u32, Node<'a>)> {
    let Some(node) = policy.first(&["levels", "level"]) else {
        return Vec::new();
    };
    let Value::Object(entries) = node.value else {
        node.error(format!("{} is not an object", found(node.value)));
        return Vec::new();
    };
    let mut levels = Vec::new();
    for (name, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
        let at = Node::at(node.path.key(name), value, node.report());
        match name.parse() {
            Ok(level) => levels.push((level, at)),
            Err(_) => at.error(format!(
                "`{}` is not a level, expected a whole number such as `0`",
                name.escape_debug()
            )),
        }
    }
    levels
}

fn read_level(object: &Object) -> Level {
    let mut level = Level::default();
    // V2Ray 5 has them in an object of their own, one of them under a longer name.
    let timeout = object.object("timeout");
    let read = |key: &'static str, longer: &'static str| {
        let inner = timeout.as_ref();
        let inner = inner.and_then(|timeout| timeout.get(longer));
        let node = object.get(key).or(inner)?;
        let secs = seconds(&node)?;
        Some((node, secs))
    };
    if let Some((node, secs)) = read("handshake", "handshake") {
        level.handshake = Seconds(secs).into();
        if secs == 0 {
            node.warn("0 leaves no time for any handshake");
        }
    }
    let limits = &mut level.limits;
    if let Some((node, secs)) = read("connIdle", "connectionIdle") {
        limits.idle = Seconds(secs);
        if secs == 0 {
            node.warn("0 ends every session at once");
        }
    }
    if let Some((_, secs)) = read("uplinkOnly", "uplinkOnly") {
        limits.uplink_only = Seconds(secs);
    }
    if let Some((_, secs)) = read("downlinkOnly", "downlinkOnly") {
        limits.downlink_only = Seconds(secs);
    }
    level.online = object.read_or("statsUserOnline", false);
    level.counted = Counted {
        uplink: object.read_or("statsUserUplink", false),
        downlink: object.read_or("statsUserDownlink", false),
    };
    if let Some(stats) = object.object("stats") {
        level.counted.uplink |= flag(&stats, "userUplink");
        level.counted.downlink |= flag(&stats, "userDownlink");
        stats.finish();
    }
    if let Some(kib) = object.get("bufferSize").and_then(|node| size(&node)) {
        level.buffer = buffer(kib.saturating_mul(1024));
    }
    if let Some(inner) = object.object("buffer") {
        if let Some(bytes) = inner.get("connection").and_then(|node| size(&node)) {
            level.buffer = buffer(bytes);
        }
        inner.finish();
    }
    level.connections = object.read_or("connections", 0);
    let rate = |key| object.read(key).map_or(0, |Rate(bytes)| bytes);
    level.rates = Rates {
        uplink: rate("uplinkRate"),
        downlink: rate("downlinkRate"),
    };
    if let Some(timeout) = timeout {
        timeout.finish();
    }
    level
}

fn read_system(object: &Object) -> System {
    let mut system = System {
        inbounds: Counted {
            uplink: object.read_or("statsInboundUplink", false),
            downlink: object.read_or("statsInboundDownlink", false),
        },
        outbounds: Counted {
            uplink: object.read_or("statsOutboundUplink", false),
            downlink: object.read_or("statsOutboundDownlink", false),
        },
        override_access_log_dest: flag(object, "overrideAccessLogDest"),
    };
    if let Some(stats) = object.object("stats") {
        system.inbounds.uplink |= flag(&stats, "inboundUplink");
        system.inbounds.downlink |= flag(&stats, "inboundDownlink");
        system.outbounds.uplink |= flag(&stats, "outboundUplink");
        system.outbounds.downlink |= flag(&stats, "outboundDownlink");
        stats.finish();
    }
    system
}

/// A switch of V2Ray 5's.
fn flag(object: &Object, key: &'static str) -> bool {
    object.read_or(key, false)
}

/// `5`, or `{"value": 5}` as V2Ray 5 writes it.
fn seconds(node: &Node) -> Option<u32> {
    if !node.value.is_object() {
        return node.read();
    }
    let object = node.object()?;
    let secs = object.read_or("value", 0);
    object.finish();
    Some(secs)
}

/// A size; below zero it has no bound.
fn size(node: &Node) -> Option<i64> {
    node.read::<i64>()
}

/// What a bound of so many bytes means here.
fn buffer(bytes: i64) -> usize {
    match usize::try_from(bytes) {
        Ok(bytes) => bytes.max(MIN_BUFFER),
        Err(_) => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use crate::policy::Limits;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn both_spellings_say_the_same() {
        let four = json!({"stats": {}, "policy": {
            "levels": {"0": {"connIdle": 5}, "1": {
                "handshake": 4, "connIdle": 300, "uplinkOnly": 2, "downlinkOnly": 0,
                "statsUserUplink": true, "statsUserDownlink": true, "bufferSize": 32,
            }},
            "system": {"statsInboundUplink": true, "statsOutboundDownlink": true},
        }});
        let five = json!({"services": {"stats": {}, "policy": {
            "level": {"0": {"timeout": {"connection_idle": {"value": 5}}}, "1": {
                "timeout": {"handshake": {"value": 4}, "connectionIdle": {"value": 300},
                    "uplinkOnly": {"value": 2}, "downlinkOnly": {}},
                "stats": {"userUplink": true, "user_downlink": true},
                "buffer": {"connection": 32768},
            }},
            "system": {"stats": {"inboundUplink": true, "outbound_downlink": true}},
        }}});
        let (policy, said) = read_all(&four);
        assert!(said.is_empty(), "{said:?}");
        let level = policy.0.level(1);
        let secs = Duration::from_secs;
        assert_eq!((level.handshake, level.buffer), (secs(4), 32 * 1024));
        let limits = Limits {
            idle: Seconds(300),
            uplink_only: Seconds(2),
            downlink_only: Seconds(0),
        };
        assert_eq!(level.limits, limits);
        assert!(level.counted.uplink && level.counted.downlink);
        assert_eq!(policy.0.level(0).limits.idle, Seconds(5));
        assert_eq!(policy.0.level(0).handshake, secs(60));
        assert_eq!(read_all(&five), (policy, vec![]));
    }

    #[test]
    fn a_buffer_holds_a_chunk_at_least() {
        for (kib, bytes) in [
            (-1, usize::MAX),
            (0, MIN_BUFFER),
            (4, MIN_BUFFER),
            (64, 64 * 1024),
            (10240, 10240 * 1024),
        ] {
            let value = json!({"policy": {"levels": {"0": {"bufferSize": kib}}}});
            assert_eq!(read_all(&value).0.0.level(0).buffer, bytes, "{kib}");
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        let value = json!({"policy": {
            "levels": {"a": {}, "0": {"handshake": -4, "conIdle": 5}, "1": {"connIdle": 0}},
            "system": {"statsInboundUplink": "yes"},
        }});
        assert_eq!(
            read_all(&value).1,
            [
                "policy.levels.0.handshake: the number -4 is not a whole number from 0 to 4294967295",
                "policy.levels.a: `a` is not a level, expected a whole number such as `0`",
                "policy.system.statsInboundUplink: the string `yes` is not `true` or `false`",
                "policy.levels.0.conIdle: unknown key, it has no effect, did you mean `connIdle`?",
                "policy.levels.1.connIdle: 0 ends every session at once",
            ]
        );
    }

    #[test]
    fn counters_need_both_keys() {
        let level = json!({"policy": {"levels": {"0": {"statsUserUplink": true}}}});
        let said = read_all(&level).1;
        assert!(said[0].contains("without `stats`"), "{said:?}");
    }

    fn read_all(value: &Value) -> ((Policy, bool), Vec<String>) {
        let report = Report::default().with_protobuf_names(true);
        let root = Node::root(value, &report).object().unwrap();
        let read = read(&root);
        let mut problems = report.errors();
        problems.sort_by_key(ToString::to_string);
        problems.extend(report.warnings());
        (read, problems.iter().map(ToString::to_string).collect())
    }
}
