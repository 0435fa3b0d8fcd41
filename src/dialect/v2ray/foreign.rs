//! What a text is that is no config of V2Ray's, and what to do with it.

use serde_json::{Map, Value};

use crate::dialect::links::{SCHEMES, links_in};

/// What becomes of the other forms.
const ALONE: &str =
    "`mobula run -c` takes it by itself, and `mobula convert` makes a config.json of it";

const BY_HAND: &str = "write its parts into `outbounds` of a config, as docs/config.md shows them";

/// Of a text that is no JSON.
pub(super) fn of_text(text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Some(said) = of_link(text) {
        return Some(said);
    }
    let lower = text.get(..512).unwrap_or(text).to_ascii_lowercase();
    if lower.starts_with("<!doctype") || lower.starts_with("<html") || lower.starts_with("<?xml") {
        return Some(
            "this is a web page (HTML), expected a config: was it fetched from where one has to log in?".to_owned(),
        );
    }
    // In a comment or a text they may stand.
    let first_key = text.strip_prefix('{').unwrap_or(text).trim_start();
    if first_key.starts_with(['“', '”', '‘', '’']) {
        return Some(
            "its quotes are typographic (`“`), expected `\"`: a word processor has changed them"
                .to_owned(),
        );
    }
    if is_subscription(text) {
        return Some(format!(
            "this is a subscription (links in base64), not a config: {ALONE}"
        ));
    }
    let lines = || {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    let first = lines().next()?;
    if first.starts_with('{') || first.starts_with("//") || first.starts_with("/*") {
        return None;
    }
    if lines().any(|line| line == "proxies:" || line == "proxy-groups:") {
        return Some(format!(
            "this is a config of Clash (YAML), expected V2Ray's JSON: {ALONE}"
        ));
    }
    let is_section =
        |line: &str| line.starts_with('[') && line.ends_with(']') && !line.contains(',');
    if lines().any(is_section) && lines().any(|line| line.contains(" = ") || line.contains('=')) {
        let of_tunnel = ["bind_port", "server_addr", "auth_key"];
        if lines().any(|line| of_tunnel.iter().any(|key| line.starts_with(key))) {
            return Some(
                "this is a file of a tunnel: `mobula tunnel server FILE` or `mobula tunnel client FILE` runs it"
                    .to_owned(),
            );
        }
        return Some(format!(
            "this is TOML, expected V2Ray's JSON: {WRITES_JSON}"
        ));
    }
    let is_entry = |line: &str| {
        let line = line.trim_start_matches("- ");
        let key = line.split_once(':').map(|(key, _)| key);
        key.is_some_and(|key| {
            !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))
        })
    };
    if first == "---" || is_entry(first) {
        return Some(format!(
            "this is YAML, expected V2Ray's JSON: {WRITES_JSON}"
        ));
    }
    None
}

const WRITES_JSON: &str = "`v2ray convert` of V2Ray 5 writes it";

/// Of a link, or the address of a page, in the place of a config or of the name of its file.
pub(super) fn of_link(text: &str) -> Option<String> {
    const OTHERS: [&str; 3] = ["ssr", "hysteria2", "tuic"];
    let (scheme, _) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if SCHEMES.contains(&&*scheme) {
        return Some(format!(
            "this is a `{scheme}://` link, not a config: `mobula link` prints the outbound for one"
        ));
    }
    if OTHERS.contains(&&*scheme) {
        return Some(format!(
            "this is a `{scheme}://` link, not a config: {BY_HAND}"
        ));
    }
    let is_page = scheme == "http" || scheme == "https";
    is_page.then(|| {
        "this is an address on the web, expected a config: fetch it into a file first".to_owned()
    })
}

fn is_subscription(text: &str) -> bool {
    let is_link = |line: &String| of_link(line).is_some_and(|said| said.contains("link"));
    !text.contains("://") && links_in(text).iter().any(is_link)
}

/// Of JSON that somebody else's program reads.
pub(super) fn of_object(map: &Map<String, Value>) -> Option<String> {
    if is_of_sing_box(map) {
        return Some(
            "this is a config of sing-box, expected V2Ray's: `type` is `protocol` there, `route` is `routing`, and the keys of a protocol stand in `settings`".to_owned() + "; " + ALONE,
        );
    }
    let is_v2ray = has_a_part(map);
    if is_v2ray {
        return None;
    }
    if map.contains_key("add") && map.contains_key("aid") {
        return Some(format!(
            "this is the inside of a `vmess://` link, not a config: {BY_HAND}, or give the whole link to `mobula link`"
        ));
    }
    let has = |key: &str| map.contains_key(key);
    let whose = if has("proxies") || has("proxy-providers") {
        "Clash"
    } else if has("server") && has("server_port") || map.get("servers").is_some_and(Value::is_array)
    {
        "Shadowsocks"
    } else {
        return None;
    };
    Some(format!(
        "this is a config of {whose}, expected V2Ray's with `inbounds` and `outbounds`: {ALONE}"
    ))
}

/// Whether this is a config of sing-box.
pub(in crate::dialect) fn is_of_sing_box(map: &Map<String, Value>) -> bool {
    let parts = ["inbounds", "outbounds"]
        .iter()
        .filter_map(|key| map.get(*key)?.as_array());
    let parts: Vec<&Value> = parts.flatten().collect();
    let has = |key: &str| parts.iter().any(|part| part.get(key).is_some());
    !has("protocol") && (has("type") || (map.contains_key("route") && !has_a_part(map)))
}

/// Whether a part of a config of V2Ray's is there.
pub(in crate::dialect) fn has_a_part(map: &Map<String, Value>) -> bool {
    [
        "inbound",
        "outbound",
        "routing",
        "log",
        "inbounds",
        "outbounds",
    ]
    .iter()
    .any(|key| map.contains_key(*key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    #[test]
    fn files_of_others_are_called_by_their_names() {
        let links = STANDARD.encode("vmess://abc\nvless://def\n");
        for (text, part) in [
            ("vmess://eyJ2IjoiMiJ9", "`mobula link`"),
            ("hysteria2://x", "write its parts into `outbounds`"),
            ("https://example.com/sub", "an address on the web"),
            ("<!DOCTYPE html>\n<html>", "a web page"),
            ("{“log”: {}}", "typographic"),
            (&*links, "a subscription"),
            ("port: 7890\nproxies:\n  - name: a\n", "Clash"),
            ("[log]\nlevel = \"info\"\n", "TOML"),
            ("log:\n  loglevel: info\n", "YAML"),
            ("---\nlog: {}\n", "YAML"),
        ] {
            let said = of_text(text).unwrap_or_default();
            assert!(said.contains(part), "{text}: {said}");
        }
        for text in ["{\"log\": {}", "// a\n{", "nonsense", ""] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }

    #[test]
    fn json_of_others_is_called_by_its_name() {
        let said = |value: Value| of_object(value.as_object().unwrap()).unwrap_or_default();
        let sing_box = json!({"outbounds": [{"type": "vmess", "server": "a"}], "route": {}});
        assert!(said(sing_box).contains("sing-box"));
        assert!(said(json!({"add": "a", "aid": "0", "port": "443"})).contains("vmess://"));
        assert!(said(json!({"server": "a", "server_port": 1})).contains("Shadowsocks"));
        assert!(said(json!({"version": 1, "servers": []})).contains("Shadowsocks"));
        assert!(said(json!({"port": 1, "proxies": []})).contains("Clash"));
        assert_eq!(said(json!({"outbounds": [{"protocol": "freedom"}]})), "");
    }
}
