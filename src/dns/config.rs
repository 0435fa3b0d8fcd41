//! `dns` of V2Ray 4 and 5: servers, hosts, strategies.

use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;

use super::channel::{Channel, Over};
use super::dial::Way;
use super::hosts::{Hosts, Value};
use super::https::{self, Https};
use super::resolver::Fallback;
use super::server::{Reach, Server};
use super::{Families, Resolver, Strategy};
use crate::address::{Destination, Host};
use crate::json::{Node, Object, Port, did_you_mean, either, found, one_of};
use crate::routing::config::{networks, patterns, patterns_of_text, wrong_kind};
use crate::routing::{Domains, Geodata, Pattern};

/// What the whole section says to each of its servers.
struct Common {
    client: Option<IpAddr>,
    tag: Option<Arc<str>>,
    caches: bool,
}

/// Reads the section; every mistake is reported.
pub fn read(dns: &Object, geodata: &Geodata) -> Resolver {
    let disable_cache = dns.read_or("disableCache", false);
    let common = Common {
        client: dns.first(&["clientIp"]).and_then(|node| ip(&node)),
        tag: tag(dns),
        caches: caches(dns).unwrap_or(!disable_cache),
    };
    let mut servers = Vec::new();
    for node in dns.array("servers").iter().chain(&dns.array("nameServer")) {
        servers.extend(server(node, &common, geodata).map(Arc::new));
    }
    let mut resolver = Resolver::new(hosts(dns, geodata), servers);
    if let Some(families) = query_strategy(dns) {
        resolver.families = families;
    }
    resolver.fallback = fallback(dns);
    // How V2Ray 5 makes its tables; and V2Ray's own fake addresses.
    dns.silent(&["domainMatcher"]);
    dns.no_effect(&["fakeDns"]);
    resolver
}

/// The tags that rules may name as inbounds.
pub fn tags(dns: &Node) -> Vec<String> {
    let of = |value: &serde_json::Value| {
        let object = value.as_object()?;
        let tag = object.iter().find(|(k, _)| k.eq_ignore_ascii_case("tag"));
        tag.and_then(|(_, tag)| tag.as_str())
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
    };
    let lists = ["servers", "nameServer"].map(|key| dns.value.get(key));
    let servers = lists.into_iter().flatten().filter_map(|v| v.as_array());
    let servers = servers.flatten();
    of(dns.value)
        .into_iter()
        .chain(servers.filter_map(of))
        .collect()
}

impl Strategy {
    /// A `domainStrategy` in V2Ray 4's spelling (`UseIPv4`) or V2Ray 5's (`USE_IP4`).
    pub fn read(node: &Node) -> Option<Self> {
        const NAMES: [&str; 6] = [
            "AsIs",
            "UseIP",
            "UseIPv4",
            "UseIPv6",
            "PreferIPv4",
            "PreferIPv6",
        ];
        let text: String = node.read()?;
        Some(match plain(&text).as_str() {
            "asis" | "" => Self::AsIs,
            "useip" => Self::UseIp,
            "useipv4" | "useip4" => Self::UseIpv4,
            "useipv6" | "useip6" => Self::UseIpv6,
            "preferipv4" | "preferip4" => Self::PreferIpv4,
            "preferipv6" | "preferip6" => Self::PreferIpv6,
            _ => {
                node.error(format!(
                    "`{}` is unknown, expected {}{}",
                    text.escape_debug(),
                    either(&NAMES),
                    did_you_mean(&text, NAMES.into_iter())
                ));
                return None;
            }
        })
    }
}

fn plain(word: &str) -> String {
    word.to_ascii_lowercase().replace(['_', '-'], "")
}

fn query_strategy(object: &Object) -> Option<Families> {
    const NAMES: [&str; 3] = ["UseIP", "UseIPv4", "UseIPv6"];
    let node = object.get("queryStrategy")?;
    let text: String = node.read()?;
    Some(match plain(&text).as_str() {
        "useip" | "" => Families::BOTH,
        "useipv4" | "useip4" => Families::V4,
        "useipv6" | "useip6" => Families::V6,
        _ => {
            node.error(format!(
                "`{}` is unknown, expected {}{}",
                text.escape_debug(),
                either(&NAMES),
                did_you_mean(&text, NAMES.into_iter())
            ));
            return None;
        }
    })
}

/// V2Ray 5's `cacheStrategy`.
fn caches(object: &Object) -> Option<bool> {
    let node = object.get("cacheStrategy")?;
    let words = [
        ("Enabled", true),
        ("CacheEnabled", true),
        ("Disabled", false),
        ("CacheDisabled", false),
    ];
    one_of(&node, &words)
}

fn fallback(dns: &Object) -> Fallback {
    let never = dns.read_or("disableFallback", false);
    let without_match = dns.read_or("disableFallbackIfMatch", false);
    let words = [
        ("Enabled", Fallback::Always),
        ("Disabled", Fallback::Never),
        ("DisabledIfAnyMatch", Fallback::WithoutMatch),
    ];
    let strategy = dns.get("fallbackStrategy");
    let strategy = strategy.and_then(|node| one_of(&node, &words));
    match (strategy, never, without_match) {
        (_, true, _) => Fallback::Never,
        (_, _, true) => Fallback::WithoutMatch,
        (Some(strategy), ..) => strategy,
        (None, ..) => Fallback::Always,
    }
}

fn tag(object: &Object) -> Option<Arc<str>> {
    let tag: Option<String> = object.read("tag");
    tag.filter(|tag| !tag.is_empty()).map(Into::into)
}

fn ip(node: &Node) -> Option<IpAddr> {
    let text: String = node.read()?;
    if text.is_empty() {
        return None;
    }
    match Host::parse(text.trim()) {
        Ok(Host::Ip(ip)) => Some(ip),
        _ => {
            node.error(format!("`{}` is not an IP address", text.escape_debug()));
            None
        }
    }
}

fn server(node: &Node, common: &Common, geodata: &Geodata) -> Option<Server> {
    if node.value.is_string() {
        let text: String = node.read()?;
        let (client, way) = (common.client, Way::Routed(common.tag.clone()));
        let mut server = reach(node, &text, None, client, way)?;
        server.caches = common.caches;
        server.domains = Domains::ranked(own_domains(&server)).ok();
        return Some(server);
    }
    if !node.value.is_object() {
        node.error(format!(
            "{} is not a server, expected an address or an object",
            found(node.value)
        ));
        return None;
    }
    let object = node.object()?;
    let client = object.get("clientIp").and_then(|node| ip(&node));
    let tag = tag(&object).or_else(|| common.tag.clone());
    let server = address(&object).and_then(|(at, text, port)| {
        let client = client.or(common.client);
        reach(&at, &text, port, client, Way::Routed(tag))
    });
    let domains = domains(&object, geodata);
    let expected = ["expectIPs", "geoip"].map(|key| object.get(key));
    let expected: Vec<Node> = expected.into_iter().flatten().collect();
    let expected = networks(&expected, geodata);
    let skip_fallback = object.read_or("skipFallback", false);
    let families = query_strategy(&object);
    let caches = caches(&object).unwrap_or(common.caches);
    object.silent(&["originalRules"]);
    object.no_effect(&["fallbackStrategy", "fakeDns"]);
    object.finish();
    let mut server = server?;
    let domains = domains.into_iter().chain(own_domains(&server));
    server.domains = Domains::ranked(domains).map_err(|e| node.error(e)).ok();
    server.expected = expected;
    server.skip_fallback = skip_fallback;
    server.families = families.unwrap_or(Families::BOTH);
    server.caches = caches;
    Some(server)
}

/// `address` and `port`; V2Ray 5 has both, and `network`, in an object of their own.
fn address<'a>(object: &Object<'a>) -> Option<(Node<'a>, String, Option<u16>)> {
    let node = object.require_node("address")?;
    let port = |object: &Object| object.read::<Port>("port").map(|Port(port)| port);
    let outer = port(object);
    if !node.value.is_object() {
        let text = node.read()?;
        return Some((node, text, outer.filter(|port| *port != 0)));
    }
    let endpoint = node.object()?;
    let text: Option<String> = endpoint.require("address");
    let inner = port(&endpoint).or(outer);
    let network: Option<String> = endpoint.read("network");
    endpoint.finish();
    let text = match network.unwrap_or_default().to_ascii_lowercase().as_str() {
        "tcp" => format!("tcp://{}:{}", text?, inner.unwrap_or(53)),
        _ => text?,
    };
    Some((node, text, inner.filter(|port| *port != 0)))
}

/// How the server at `text` is reached.
fn reach(
    node: &Node,
    text: &str,
    port: Option<u16>,
    client: Option<IpAddr>,
    way: Way,
) -> Option<Server> {
    let text = text.trim();
    let named = |reach| Some(Server::new(text.to_owned(), reach));
    if text.eq_ignore_ascii_case("localhost") {
        return named(Reach::System);
    }
    if text.eq_ignore_ascii_case("fakedns") {
        node.warn("made-up addresses are not built yet, this server is left out");
        return None;
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let (kind, way) = match scheme.to_ascii_lowercase().as_str() {
            "tcp" => ("tcp", way),
            "tcp+local" => ("tcp", Way::Direct),
            "https" => ("https", way),
            "https+local" => ("https", Way::Direct),
            "quic+local" => {
                node.error("DNS over QUIC is not built, expected an IP address, `tcp://`, `tcp+local://`, `https://`, `https+local://` or `localhost`");
                return None;
            }
            other => {
                let known = ["tcp", "tcp+local", "https", "https+local"];
                let guess = did_you_mean(other, known.into_iter());
                let other = other.escape_debug();
                node.error(format!(
                    "`{other}://` is unknown, expected {}{guess}",
                    either(&known)
                ));
                return None;
            }
        };
        if port.is_some() {
            node.warn("a URL names its port itself, `port` has no effect");
        }
        let url = format!("{kind}://{rest}").parse::<Uri>();
        let url = url.map_err(|e| format!("`{}` is not a URL: {e}", text.escape_debug()));
        let server = url.and_then(|url| match kind {
            "tcp" => {
                let to = https::destination(&url, 53)?;
                let channel = Channel::new(Over::Tcp, to, way, client);
                Ok(Reach::Tcp(channel))
            }
            _ => {
                let to = https::destination(&url, 443)?;
                Ok(Reach::Https(Https::new(url, to, way, client)))
            }
        });
        return match server {
            Ok(reach) => named(reach),
            Err(e) => {
                node.error(e);
                None
            }
        };
    }
    let to = match Host::parse(text) {
        Ok(host) => Ok(Destination::new(host, port.unwrap_or(53))),
        // V2Ray 5 also writes `1.1.1.1:53`.
        Err(e) => text.parse::<Destination>().map_err(|_| e),
    };
    match to {
        Ok(to) => {
            let channel = |over| Channel::new(over, to.clone(), way.clone(), client);
            let reach = Reach::Udp(channel(Over::Udp), channel(Over::Tcp));
            let shown = match port {
                Some(_) => to.to_string(),
                None => text.to_owned(),
            };
            Some(Server::new(shown, reach))
        }
        Err(e) => {
            node.error(format!("`{}` is not a server: {e}", text.escape_debug()));
            None
        }
    }
}

/// V2Ray 4's `domains`; V2Ray 5's `prioritizedDomain` and `geoDomain`.
fn domains(object: &Object, geodata: &Geodata) -> Vec<Pattern> {
    let mut all = Vec::new();
    for node in [object.get("domains"), object.get("geoDomain")] {
        let read = node.and_then(|node| patterns(&node, geodata));
        all.extend(read.into_iter().flatten());
    }
    for node in object.array("prioritizedDomain") {
        let Some(entry) = node.object() else { continue };
        all.extend(typed_pattern(&entry));
        entry.finish();
    }
    all
}

/// V2Ray 5's `{"type": "Full", "domain": "example.com"}`.
fn typed_pattern(entry: &Object) -> Option<Pattern> {
    type Kind = fn(String) -> Pattern;
    let kinds: [(&str, Kind); 4] = [
        ("Full", Pattern::Full),
        ("Subdomain", Pattern::Domain),
        ("Keyword", Pattern::Keyword),
        ("Regex", Pattern::Regex),
    ];
    let make = match entry.get("type") {
        Some(node) => one_of(&node, &kinds)?,
        None => Pattern::Full,
    };
    let domain: String = entry.require("domain")?;
    let pattern = make(domain);
    let check = Domains::new([pattern.clone()]).map_err(|e| entry.node.error(e));
    check.ok().map(|_| pattern)
}

/// The names of houses and offices, which V2Ray asks the system for first wherever `localhost` is a
/// server.
fn own_domains(server: &Server) -> Vec<Pattern> {
    const LOCAL: [&str; 8] = [
        "local",
        "localdomain",
        "localhost",
        "lan",
        "home.arpa",
        "example",
        "invalid",
        "test",
    ];
    if !matches!(server.reach, Reach::System) {
        return Vec::new();
    }
    let below = LOCAL.map(|name| Pattern::Domain(name.to_owned()));
    let dotless = Pattern::Regex("^[^.]+$".to_owned());
    below.into_iter().chain([dotless]).collect()
}

/// V2Ray 4's `hosts`; V2Ray 5's `staticHosts`.
fn hosts(dns: &Object, geodata: &Geodata) -> Hosts {
    let mut hosts = Hosts::default();
    if let Some(node) = dns.get("hosts") {
        match node.value.as_object() {
            Some(entries) => {
                for (key, value) in entries {
                    let at = Node::at(node.path.key(key), value, node.report());
                    let patterns = host_pattern(&at, key, geodata);
                    let values = values(&at);
                    add(&mut hosts, &at, patterns, values);
                }
            }
            None => node.error(format!("{} is not an object", found(node.value))),
        }
    }
    for node in dns.array("staticHosts") {
        let Some(entry) = node.object() else { continue };
        let pattern = typed_pattern(&entry);
        let other = entry.get("proxiedDomain");
        let other = other.filter(|node| node.value.as_str() != Some(""));
        let to = other.or_else(|| entry.get("ip"));
        let values = to.as_ref().and_then(values);
        if to.is_none() {
            entry
                .node
                .error("neither `ip` nor `proxiedDomain` says what the name stands for");
        }
        entry.finish();
        add(&mut hosts, &node, pattern.map(|p| vec![p]), values);
    }
    hosts
}

fn add(hosts: &mut Hosts, node: &Node, patterns: Option<Vec<Pattern>>, values: Option<Vec<Value>>) {
    if let (Some(patterns), Some(values)) = (patterns, values)
        && let Err(e) = hosts.add(patterns, &values)
    {
        node.error(e);
    }
}

/// As in a rule, but a plain text is a whole name.
fn host_pattern(node: &Node, key: &str, geodata: &Geodata) -> Option<Vec<Pattern>> {
    if !key.contains(':') {
        return Some(vec![Pattern::Full(key.to_owned())]);
    }
    if let Some(guess) = wrong_kind(key) {
        node.warn(guess);
    }
    let read = patterns_of_text(key, geodata);
    read.map_err(|text| node.error(text)).ok()
}

/// An address or a name, or a list of addresses. A name in a list is the only one that counts, as in
/// V2Ray.
fn values(node: &Node) -> Option<Vec<Value>> {
    let nodes = match node.value.is_array() {
        true => node.array(),
        false => vec![node.clone()],
    };
    let mut all = Vec::new();
    for node in &nodes {
        let text: String = node.read()?;
        match Host::parse(text.trim()) {
            Ok(Host::Ip(ip)) => all.push(Value::Ip(ip.to_canonical())),
            Ok(Host::Domain(name)) => return Some(vec![Value::Name(name)]),
            Err(e) => {
                let text = text.escape_debug();
                node.error(format!("`{text}` is neither an IP address nor a name: {e}"));
                return None;
            }
        }
    }
    if all.is_empty() {
        node.error("the list is empty, expected an IP address or a name");
        return None;
    }
    Some(all)
}
