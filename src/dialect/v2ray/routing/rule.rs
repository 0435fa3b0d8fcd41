//! One rule, in the words of V2Ray 4 or 5.

use serde_json::{Map, Value};

use super::{lists, target};
use crate::address::Network;
use crate::dialect::v2ray::json::{Node, Object, PortList, PortRange, StringList, did_you_mean};
use crate::matching::{Domains, Geodata, Networks, Pattern, Regex};
use crate::report::Placed;
use crate::routing::attrs::Expression;
use crate::routing::{Conditions, ProgramTest, Rule, UserTest, is_this_system};

/// Every mistake is reported; a rule that has one, or nowhere to lead, is left out.
pub(super) fn read(object: Object, unbuilt: &[String], geodata: &Geodata) -> Option<Rule> {
    let before = object.node.report().count();
    let mut takes_nothing = false;
    kind(&object);
    let target = target(&object, unbuilt);
    let (domains, also_domains) = domains(&object, geodata);
    let conditions = Conditions {
        domains,
        also_domains,
        ips: addresses(object.get("ip"), object.get("geoip"), geodata),
        no_resolve: object.read_or("noResolve", false),
        ports: ports(&object, &["port", "portList"], &mut takes_nothing),
        networks: networks(&object, &mut takes_nothing),
        sources: addresses(
            object.in_place_of("sourceIP", "source"),
            object.get("sourceGeoip"),
            geodata,
        ),
        source_ports: ports(
            &object,
            &["sourcePort", "sourcePortList"],
            &mut takes_nothing,
        ),
        users: users(&object, &mut takes_nothing),
        inbounds: inbounds(&object, &mut takes_nothing),
        protocols: protocols(&object, &mut takes_nothing),
        attrs: attrs(&object),
        locals: addresses(object.get("localIP"), None, geodata),
        local_ports: ports(&object, &["localPort"], &mut takes_nothing),
        vless_routes: ports(&object, &["vlessRoute"], &mut takes_nothing),
        programs: programs(&object, &mut takes_nothing),
    };
    let names_system = system(&object, &mut takes_nothing);
    // A condition that could not be read is none, and yet was asked for.
    let asks_nothing = !names_system && conditions.ask_nothing();
    if !takes_nothing && asks_nothing && object.node.report().count() == before {
        object.node.error(
            "the rule asks for nothing, expected `domain`, `ip`, `port`, `network`, `source`, `user`, `inboundTag`, `protocol` or `attrs`",
        );
    }
    let tag: Option<String> = object.read("ruleTag");
    // `id` is what V2RayN knows the rule by.
    object.silent(&["domainMatcher", "id"]);
    object.no_effect(&["webhook"]);
    // V2RayN leaves a rule out that it has switched off, and the key in.
    if let Some(node) = object.get("enabled")
        && node.read() == Some(false)
    {
        node.warn(
            "V2Ray does not know this key, and the rule holds; leave the rule out to switch it off",
        );
    }
    object.finish();
    if takes_nothing {
        return None;
    }
    Some(Rule {
        tag: tag.unwrap_or_default(),
        conditions,
        target: target?,
    })
}

/// V2Ray 4 wants `"type": "field"`; V2Ray 5 has no other kind, and no key.
fn kind(object: &Object) {
    let Some(node) = object.get("type") else {
        return;
    };
    let Some(name) = node.read::<String>() else {
        return;
    };
    let (key, list) = match name.to_ascii_lowercase().as_str() {
        "field" | "" => return,
        "chinaip" => ("ip", "geoip:cn"),
        "chinasites" => ("domain", "geosite:cn"),
        // Xray looks at no kind.
        _ => {
            let name = name.escape_debug();
            return node.warn(format!(
                "`{name}` is not a kind of rule, and is passed over, as in Xray (V2Ray does not start), expected `field`"
            ));
        }
    };
    let text = format!("`{name}` is not a kind of rule, expected `field` (with `{key}`: `{list}`)");
    match object.get(key) {
        Some(_) => node.warn(text),
        None => node.error(text),
    }
}

/// Addresses, in V2Ray 4's form and in V2Ray 5's. A list with nothing in it is none, and an empty text is no address.
fn addresses(four: Option<Node>, five: Option<Node>, geodata: &Geodata) -> Option<Networks> {
    let nodes: Vec<Node> = four.into_iter().chain(five).collect();
    for node in nodes.iter().filter(|node| is_blank(node)) {
        node.error("an empty text is no address, leave the key out");
    }
    lists::networks(&nodes, geodata)
}

/// Whether a value is an empty text, or a list of nothing else. V2Ray and Xray keep such a condition, and it is never
/// met.
fn is_blank(node: &Node) -> bool {
    match node.value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => {
            !items.is_empty() && items.iter().all(|item| item.as_str() == Some(""))
        }
        _ => false,
    }
}

/// What is said of a condition that is never met.
fn never_met(node: &Node, takes_nothing: &mut bool) {
    node.warn("this is empty, so the rule takes nothing, as in V2Ray; leave the key out where it should not count");
    *takes_nothing = true;
}

/// The two lists of V2Ray 5, of which each has to hold; V2Ray 4 has all in one.
fn domains(object: &Object, geodata: &Geodata) -> (Option<Domains>, Option<Domains>) {
    let named = object.in_place_of("domains", "domain");
    let named = named.and_then(|node| names(&node, object, geodata));
    let sites = object.get("geoDomain");
    let sites = sites.and_then(|node| names(&node, object, geodata));
    match named {
        Some(named) => (Some(named), sites),
        None => (sites, None),
    }
}

fn names(node: &Node, object: &Object, geodata: &Geodata) -> Option<Domains> {
    let patterns = lists::patterns_or_any(node, geodata);
    // Each expression was fit to be read; all together may still be too large.
    Domains::new(patterns?)
        .map_err(|e| object.node.error(e.to_string()))
        .ok()
}

/// A range that ends before it begins holds nothing; with no other one the rule takes nothing, as in V2Ray.
pub(super) fn ports(
    object: &Object,
    keys: &[&'static str],
    takes_nothing: &mut bool,
) -> Vec<PortRange> {
    let Some(node) = object.first(keys) else {
        return Vec::new();
    };
    if is_blank(&node) {
        never_met(&node, takes_nothing);
        return Vec::new();
    }
    let Some(PortList(mut ranges)) = node.read() else {
        return Vec::new();
    };
    let all = ranges.len();
    ranges.retain(|range| range.from <= range.to);
    if ranges.len() < all {
        let fate = match ranges.is_empty() {
            true => "the rule takes nothing",
            false => "it is passed over",
        };
        node.warn(format!("a range ends before it begins, {fate}"));
        *takes_nothing |= ranges.is_empty();
    }
    ranges
}

pub(super) fn networks(object: &Object, takes_nothing: &mut bool) -> Vec<Network> {
    let Some(node) = object.first(&["network", "networks"]) else {
        return Vec::new();
    };
    if is_blank(&node) {
        never_met(&node, takes_nothing);
        return Vec::new();
    }
    let StringList(words) = node.read().unwrap_or_default();
    let mut networks = Vec::new();
    // An element of the list may be a list with commas itself.
    for word in words.iter().flat_map(|word| word.split(',')) {
        match word.trim().to_ascii_lowercase().as_str() {
            "tcp" => networks.push(Network::Tcp),
            "udp" => networks.push(Network::Udp),
            "" => {}
            _ => node.warn(format!(
                "`{}` is not a network and is passed over, expected `tcp`, `udp` or `tcp,udp`",
                word.escape_debug()
            )),
        }
    }
    if networks.is_empty() && words.iter().any(|word| !word.is_empty()) {
        node.warn("the rule takes nothing");
        *takes_nothing = true;
    }
    networks
}

fn users(object: &Object, takes_nothing: &mut bool) -> Vec<UserTest> {
    let Some(node) = object.first(&["user", "userEmail"]) else {
        return Vec::new();
    };
    if is_blank(&node) {
        never_met(&node, takes_nothing);
    }
    let StringList(emails) = node.read().unwrap_or_default();
    let test = |email: String| match email.strip_prefix("regexp:") {
        None => Some(UserTest::Email(email)),
        Some(text) => match Regex::new(text) {
            Ok(regex) => Some(UserTest::Regex(regex)),
            Err(e) => {
                let shown = email.escape_debug();
                node.warn(format!(
                    "`{shown}`: {e}, it is taken as an email, as in V2Ray"
                ));
                Some(UserTest::Email(email))
            }
        },
    };
    emails
        .into_iter()
        .filter(|e| !e.is_empty())
        .filter_map(test)
        .collect()
}

fn inbounds(object: &Object, takes_nothing: &mut bool) -> Placed<Vec<String>> {
    let Some(node) = object.get("inboundTag") else {
        return Placed::default();
    };
    if is_blank(&node) {
        never_met(&node, takes_nothing);
    }
    let StringList(tags) = node.read().unwrap_or_default();
    let tags = tags.into_iter().filter(|tag| !tag.is_empty());
    Placed::new(tags.collect(), node.path)
}

/// What sniffing finds, what an `http` inbound calls a plain request, and what questions of the built-in DNS are.
const FOUND: [&str; 11] = [
    "http1",
    "http/1.1",
    "tls",
    "quic",
    "bittorrent",
    "dns",
    "ssh",
    "rdp",
    "stun",
    "dtls",
    "ntp",
];

fn protocols(object: &Object, takes_nothing: &mut bool) -> Placed<Vec<String>> {
    let Some(node) = object.get("protocol") else {
        return Placed::default();
    };
    if is_blank(&node) {
        never_met(&node, takes_nothing);
    }
    let StringList(words) = node.read().unwrap_or_default();
    for word in words.iter().filter(|word| !word.is_empty()) {
        if !FOUND.iter().any(|found| found.starts_with(word)) {
            let guess = did_you_mean(word, FOUND.into_iter());
            node.warn(format!(
                "no session is ever found to be `{}`{guess}",
                word.escape_debug()
            ));
        }
    }
    let words = words.into_iter().filter(|word| !word.is_empty());
    Placed::new(words.collect(), node.path)
}

fn programs(object: &Object, takes_nothing: &mut bool) -> Vec<ProgramTest> {
    let Some(node) = object.get("process") else {
        return Vec::new();
    };
    if is_blank(&node) {
        never_met(&node, takes_nothing);
    }
    let StringList(texts) = node.read().unwrap_or_default();
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.map(|text| ProgramTest::parse(text)).collect()
}

/// Whether the rule is one for some systems alone.
fn system(object: &Object, takes_nothing: &mut bool) -> bool {
    let Some(node) = object.get("localOS") else {
        return false;
    };
    let StringList(names) = node.read().unwrap_or_default();
    *takes_nothing |= !names.is_empty() && !names.iter().any(|name| is_this_system(name));
    !names.is_empty()
}

fn attrs(object: &Object) -> Option<Expression> {
    let node = object.first(&["attrs", "attributes"])?;
    if let Some(map) = node.value.as_object() {
        return attrs_of_xray(&node, map);
    }
    let text: String = node.read()?;
    if text.is_empty() {
        return None;
    }
    Expression::parse(&text)
        .map_err(|e| node.error(e.to_string()))
        .ok()
}

/// Xray's `{":method": "GET", "accept": "html"}`: names and regular expressions.
fn attrs_of_xray(node: &Node, map: &Map<String, Value>) -> Option<Expression> {
    let mut named = Vec::new();
    for (name, value) in map {
        let at = Node::at(node.path.key(name), value, node.report());
        let pattern: String = at.read()?;
        if let Err(e) = Regex::new(&pattern) {
            at.error(format!("`{}`: {e}", pattern.escape_debug()));
            return None;
        }
        named.push((name.as_str(), pattern));
    }
    let named = named
        .iter()
        .map(|(name, pattern)| (*name, pattern.as_str()));
    let each = Expression::of_each(named).map_err(|e| node.error(e.to_string()));
    each.ok().flatten()
}

/// One pattern that must be readable by itself.
pub(super) fn checked(pattern: Pattern) -> Result<Pattern, String> {
    match (pattern.check(), &pattern) {
        (Err(e), Pattern::Regex(text)) => Err(format!("`{}`: {e}", text.escape_debug())),
        _ => Ok(pattern),
    }
}
