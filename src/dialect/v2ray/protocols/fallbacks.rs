//! `fallbacks` of `vless` and `trojan` inbounds: `[{name, alpn, path, dest, type, xver}]`.

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::address::{Destination, Host};
use crate::dialect::v2ray::json::{Node, Object};
use crate::protocol::FallbackSettings;
use crate::seam::{Fallback, FallbackTarget, ProxyVersion};

/// The most that the system takes for the name of a unix socket, without a zero.
const MAX_NAME: usize = 107;

pub(super) fn read(settings: &Object) -> Option<Vec<FallbackSettings>> {
    if let Some(node) = settings.get("fallback") {
        node.error("expected `fallbacks: [{…}]` in its place, as in V2Ray");
    }
    let nodes = settings.array("fallbacks");
    let all: Vec<_> = nodes.iter().map(fallback).collect();
    let all: Vec<_> = all.into_iter().collect::<Option<_>>()?;
    let mut met = HashSet::new();
    for (node, entry) in nodes.iter().zip(&all) {
        if !met.insert((&entry.name, &entry.alpn, &entry.path)) {
            node.warn(
                "another entry has the same name, alpn and path, the last one counts, as in V2Ray",
            );
        }
    }
    let for_all = |entry: &FallbackSettings| {
        entry.name.is_empty() && entry.alpn.is_empty() && entry.path.is_empty()
    };
    if let Some(node) = settings.get("fallbacks")
        && !all.is_empty()
        && !all.iter().any(for_all)
    {
        node.warn(
            "no entry is for all others (without `name`, `alpn` and `path`), nobody answers them",
        );
    }
    Some(all)
}

fn fallback(node: &Node) -> Option<FallbackSettings> {
    let object = node.object()?;
    let name: Option<String> = object.read("name");
    let alpn: Option<String> = object.read("alpn");
    let path: Option<String> = object.read("path");
    if let Some(path) = &path
        && !path.is_empty()
        && !path.starts_with('/')
        && let Some(node) = object.get("path")
    {
        node.error(format!(
            "`{}` does not begin with `/`, as the path of a request does",
            path.escape_debug()
        ));
    }
    let kind: String = object.read_or("type", String::new());
    let to = match object.get("dest") {
        Some(node) => dest(&node, &kind),
        None => {
            node.error("`dest` is missing, expected a port, `HOST:PORT`, `/path` or `@name`");
            None
        }
    };
    let proxy_header = xver(&object);
    object.finish();
    Some(FallbackSettings {
        name: name.unwrap_or_default(),
        alpn: alpn.unwrap_or_default(),
        path: path.unwrap_or_default(),
        fallback: Fallback {
            to: to?,
            proxy_header: proxy_header?,
        },
    })
}

/// `xver`: which PROXY header goes in front, if one does.
pub(in crate::dialect::v2ray) fn xver(object: &Object) -> Option<Option<ProxyVersion>> {
    match object.read_or("xver", 0_u32) {
        0 => Some(None),
        1 => Some(Some(ProxyVersion::One)),
        2 => Some(Some(ProxyVersion::Two)),
        other => {
            let text = format!("{other} is no version of the PROXY protocol, expected 0, 1 or 2");
            object.require_node("xver")?.error(text);
            None
        }
    }
}

fn dest(node: &Node, kind: &str) -> Option<FallbackTarget> {
    let text = match node.value {
        Value::Number(number) => number.to_string(),
        _ => node.read()?,
    };
    match target(kind, text.trim()) {
        Ok(to) => Some(to),
        // V2Ray starts with it, and closes what it leads there.
        Err(_) if text == "serve-ws-none" => {
            node.unbuilt("`serve-ws-none` leads nowhere, in V2Ray and Xray neither: write the port of a `ws` inbound");
            None
        }
        Err(text) => {
            node.error(text);
            None
        }
    }
}

/// What `type` and `dest` mean.
pub(in crate::dialect) fn target(kind: &str, dest: &str) -> Result<FallbackTarget, String> {
    let shown = dest.escape_debug();
    let is_unix = dest.starts_with(['/', '@']);
    match kind {
        "" => {}
        "tcp" if !is_unix => {}
        "unix" if is_unix => {}
        "tcp" | "unix" => return Err(format!("`{shown}` is not of the type `{kind}`")),
        other => {
            let other = other.escape_debug();
            return Err(format!(
                "the type `{other}` is unknown, expected `tcp` or `unix`"
            ));
        }
    }
    if is_unix {
        return unix(dest);
    }
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    if let Some(port) = port(dest.strip_prefix(':').unwrap_or(dest)) {
        return Ok(FallbackTarget::Port(port));
    }
    let wrong = || {
        format!(
            "`{shown}` leads nowhere, expected a port, `HOST:PORT`, `/path/of/socket` or `@name`"
        )
    };
    let (host, at) = dest.rsplit_once(':').ok_or_else(wrong)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(wrong());
    }
    let host = Host::parse(host).map_err(|_| wrong())?;
    let port = port(at).ok_or_else(wrong)?;
    Ok(FallbackTarget::Tcp(Destination::new(host, port)))
}

fn unix(dest: &str) -> Result<FallbackTarget, String> {
    let name = match dest.strip_prefix('@') {
        None => dest,
        Some(name) => name.strip_prefix('@').unwrap_or(name),
    };
    if name.trim_end_matches('\0').is_empty() {
        return Err("`@` has no name behind it, expected `@name`".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "the name of a unix socket has at most {MAX_NAME} bytes"
        ));
    }
    Ok(match dest.strip_prefix('@') {
        None => FallbackTarget::Unix(PathBuf::from(dest)),
        // HAProxy's form: the name fills its place, with zeros.
        Some(name) if name.starts_with('@') => {
            let mut padded = name.as_bytes()[1..].to_vec();
            padded.resize(MAX_NAME, 0);
            FallbackTarget::Abstract(padded)
        }
        Some(name) => FallbackTarget::Abstract(name.as_bytes().to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use serde_json::json;

    fn read_all(fallbacks: &Value) -> (Option<Vec<FallbackSettings>>, Vec<String>) {
        settings::read(&json!({"fallbacks": fallbacks}), read)
    }

    fn said(fallbacks: &Value) -> Vec<String> {
        read_all(fallbacks).1
    }

    #[test]
    fn every_dest_is_read() {
        let to = |dest: Value| {
            let (all, said) = read_all(&json!([{"dest": dest}]));
            assert_eq!(said, [""; 0], "{dest}");
            all.unwrap().remove(0).fallback.to
        };
        for port in [json!(80), json!("80"), json!(":80")] {
            assert_eq!(to(port), FallbackTarget::Port(80));
        }
        for (text, shown) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("site.example:8080", "site.example:8080"),
        ] {
            assert_eq!(to(json!(text)).to_string(), shown);
        }
        let path = PathBuf::from("/dev/shm/h1.sock");
        assert_eq!(to(json!("/dev/shm/h1.sock")), FallbackTarget::Unix(path));
        assert_eq!(to(json!("@h1")), FallbackTarget::Abstract(b"h1".to_vec()));
        let FallbackTarget::Abstract(padded) = to(json!("@@h1")) else {
            panic!("it is abstract");
        };
        assert_eq!((padded.len(), &padded[..3]), (107, &b"h1\0"[..]));
        assert_eq!(FallbackTarget::Abstract(padded).to_string(), "@h1");
    }

    #[test]
    fn an_entry_has_its_conditions() {
        let (all, said) = read_all(&json!([
            {"dest": 80},
            {"name": "a.example", "alpn": "h2", "path": "/x", "dest": 81, "type": "tcp", "xver": 2},
        ]));
        assert_eq!(said, [""; 0]);
        let entry = all.unwrap().remove(1);
        assert_eq!(
            (&*entry.name, &*entry.alpn, &*entry.path),
            ("a.example", "h2", "/x")
        );
        assert_eq!(entry.fallback.proxy_header, Some(ProxyVersion::Two));
    }

    #[test]
    fn what_leads_nowhere_is_said() {
        let wrong = |text: &str| {
            format!(
                "fallbacks[0].dest: `{text}` leads nowhere, expected a port, `HOST:PORT`, `/path/of/socket` or `@name`"
            )
        };
        for (dest, shown) in [
            (json!("site"), "site"),
            (json!(70000), "70000"),
            (json!(0), "0"),
            (json!(-1), "-1"),
            (json!(80.5), "80.5"),
            (json!("a:b"), "a:b"),
            (json!("::1:80"), "::1:80"),
        ] {
            assert_eq!(said(&json!([{"dest": dest}])), [wrong(shown)]);
        }
        for (entry, told) in [
            (
                json!({}),
                "fallbacks[0]: `dest` is missing, expected a port, `HOST:PORT`, `/path` or `@name`",
            ),
            (
                json!({"dest": 80, "xver": 3}),
                "fallbacks[0].xver: 3 is no version of the PROXY protocol, expected 0, 1 or 2",
            ),
            (
                json!({"dest": "@"}),
                "fallbacks[0].dest: `@` has no name behind it, expected `@name`",
            ),
            (
                json!({"dest": 80, "type": "unix"}),
                "fallbacks[0].dest: `80` is not of the type `unix`",
            ),
            (
                json!({"dest": 80, "type": "udp"}),
                "fallbacks[0].dest: the type `udp` is unknown, expected `tcp` or `unix`",
            ),
            (
                json!({"dest": "serve-ws-none"}),
                "fallbacks[0].dest: `serve-ws-none` leads nowhere, in V2Ray and Xray neither: write the port of a `ws` inbound",
            ),
        ] {
            assert_eq!(said(&json!([entry])), [told]);
        }
        let path = json!([{"dest": 80, "path": "x"}, {"dest": 80}]);
        assert_eq!(
            said(&path),
            ["fallbacks[0].path: `x` does not begin with `/`, as the path of a request does"]
        );
    }

    #[test]
    fn what_is_hardly_meant_is_told() {
        assert_eq!(
            said(&json!([{"dest": 80, "path": "/a"}])),
            [
                "fallbacks: no entry is for all others (without `name`, `alpn` and `path`), nobody answers them"
            ]
        );
        assert_eq!(
            said(&json!([{"dest": 80}, {"dest": 81}])),
            [
                "fallbacks[1]: another entry has the same name, alpn and path, the last one counts, as in V2Ray"
            ]
        );
        let (_, said) = settings::read(&json!({"fallback": {"dest": 80}}), |object| {
            read(object).is_some()
        });
        assert_eq!(
            said,
            ["fallback: expected `fallbacks: [{…}]` in its place, as in V2Ray"]
        );
    }
}
