//! Which form a text has.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Form;
use crate::dialect::links::decode;
use crate::dialect::v2ray::foreign;
use crate::dialect::v2ray::json::Text;

/// Which form a text has, and the text without the base64 around it.
pub fn recognise(text: &str) -> (Form, Cow<'_, str>) {
    let text = text.trim_start_matches('\u{feff}');
    if !text.contains("://")
        && let Some(bytes) = decode(text.trim())
        // The name of a link may be in another encoding.
        && let inner = String::from_utf8_lossy(&bytes)
        && let form = of_plain(&inner)
        && form != Form::V2ray
    {
        return (form, inner.into_owned().into());
    }
    (of_plain(text), text.into())
}

fn of_plain(text: &str) -> Form {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let begins = text.trim_start();
    if begins.starts_with(['{', '/', '#']) {
        // V2Ray refuses a comma behind the last value, and its own reader tells of it.
        if let Ok((Value::Object(map), _)) = Text::new(text.to_owned()).parse() {
            return of_object(&map);
        }
        if let Ok((Value::Object(map), _)) = Text::with_commas(text.to_owned()).parse() {
            return of_object(&map);
        }
    }
    if begins.starts_with('[')
        && let Ok((Value::Array(items), _)) = Text::with_commas(text.to_owned()).parse()
    {
        return of_array(&items);
    }
    // Keys of YAML's top level, which JSON and links have not.
    let keys = ["proxies:", "proxy-groups:", "proxy-providers:", "Proxy:"];
    if lines().any(|line| keys.iter().any(|key| line.starts_with(key))) {
        return Form::Clash;
    }
    let is_comment = |line: &&str| line.starts_with('#') || *line == "---";
    let begins_list = |line: &str| line.starts_with("- ");
    let of_server = |line: &str| line.contains("server:") && line.starts_with([' ', '-']);
    if lines()
        .find(|line| !is_comment(line))
        .is_some_and(begins_list)
        && lines().any(of_server)
    {
        return Form::Clash;
    }
    let of_gost =
        |key: &str| lines().any(|line| line.trim_start_matches([' ', '-', '\t']).starts_with(key));
    if lines().any(|line| line.starts_with("services:"))
        && (of_gost("handler:") || of_gost("listener:"))
    {
        return Form::Gost;
    }
    match lines().any(is_link) {
        true => Form::Links,
        false => Form::V2ray,
    }
}

/// A list of what stands in a config of that form otherwise.
fn of_array(items: &[Value]) -> Form {
    let mut maps = items.iter().filter_map(Value::as_object);
    match maps.next() {
        Some(map) if map.contains_key("outbounds") => Form::V2rayList,
        Some(map) if is_shadowsocks(map) => Form::Shadowsocks,
        Some(map) if map.contains_key("type") && map.contains_key("cipher") => Form::Clash,
        Some(map) if map.contains_key("type") && map.contains_key("server_port") => Form::SingBox,
        Some(map) if map.contains_key("type") && map.contains_key("server") => Form::Clash,
        _ => Form::V2ray,
    }
}

fn is_shadowsocks(map: &Map<String, Value>) -> bool {
    let is_typed = map.contains_key("type");
    map.contains_key("server")
        && map.contains_key("server_port")
        && map.contains_key("method")
        && !is_typed
}

fn of_object(map: &Map<String, Value>) -> Form {
    // SIP008's list, whatever is in it: V2Ray has no such key.
    // V2Ray 5's is a map.
    let services = map.get("services").and_then(Value::as_array);
    let of_gost = |one: &Value| one.get("handler").or(one.get("listener")).is_some();
    if services.is_some_and(|all| all.iter().any(of_gost) || !foreign::has_a_part(map)) {
        return Form::Gost;
    }
    let is_list = map.get("servers").is_some_and(Value::is_array) && !foreign::has_a_part(map);
    if foreign::is_of_sing_box(map) {
        Form::SingBox
    } else if map.contains_key("proxies") || map.contains_key("proxy-providers") {
        Form::Clash
    } else if is_list || is_shadowsocks(map) {
        Form::Shadowsocks
    } else {
        Form::V2ray
    }
}

/// Whether this is a share link, one that is not built among them.
pub fn is_link(text: &str) -> bool {
    let scheme = text.trim().split_once("://");
    scheme.is_some_and(|(scheme, _)| LINKS.contains(&&*scheme.to_ascii_lowercase()))
}

/// Schemes of links, those that are not built among them.
const LINKS: [&str; 22] = [
    "vmess",
    "vless",
    "trojan",
    "ss",
    "ssr",
    "socks",
    "socks5",
    "hysteria",
    "hysteria2",
    "hy2",
    "tuic",
    "anytls",
    "wireguard",
    "snell",
    "trojan-go",
    "naive+https",
    "naive+quic",
    "juicity",
    "brook",
    "mierus",
    "socks4",
    "wg",
];
