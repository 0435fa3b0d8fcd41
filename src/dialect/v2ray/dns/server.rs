//! One server: how it is reached, for which names it is asked, which answers it may give.

use std::net::IpAddr;

use http::Uri;

use super::{Common, caches, ip, query_strategy, tag, typed_pattern};
use crate::address::{Destination, Host};
use crate::dialect::v2ray::routing::{networks, patterns};
use crate::dns::Families;
use crate::dns::channel::{Channel, Over};
use crate::dns::dial::Via;
use crate::dns::https::{self, Https};
use crate::dns::server::{Server, Upstream};
use crate::json::{Node, Object, Port, did_you_mean, either, found};
use crate::matching::{Domains, Geodata, Pattern};

pub(super) fn read(node: &Node, common: &Common, geodata: &Geodata) -> Option<Server> {
    if node.value.is_string() {
        let text: String = node.read()?;
        let (client, way) = (common.client, Via::Routed(common.tag.clone()));
        let mut server = upstream(node, &text, None, client, way)?;
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
        upstream(&at, &text, port, client, Via::Routed(tag))
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
    server.domains = Domains::ranked(domains)
        .map_err(|e| node.error(e.to_string()))
        .ok();
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
fn upstream(
    node: &Node,
    text: &str,
    port: Option<u16>,
    client: Option<IpAddr>,
    way: Via,
) -> Option<Server> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Server::new(text.to_owned(), Upstream::System));
    }
    if text.eq_ignore_ascii_case("fakedns") {
        node.warn("made-up addresses are not built yet, this server is left out");
        return None;
    }
    let server = match text.split_once("://") {
        Some((scheme, rest)) => {
            let upstream = by_url(scheme, rest, text, client, way);
            if upstream.is_ok() && port.is_some() {
                node.warn("a URL names its port itself, `port` has no effect");
            }
            upstream.map(|upstream| Server::new(text.to_owned(), upstream))
        }
        None => by_address(text, port, client, way),
    };
    server.map_err(|text| node.error(text)).ok()
}

/// `tcp://`, `https://`, and the same with `+local`, which go past the rules.
fn by_url(
    scheme: &str,
    rest: &str,
    text: &str,
    client: Option<IpAddr>,
    way: Via,
) -> Result<Upstream, String> {
    const KNOWN: [&str; 4] = ["tcp", "tcp+local", "https", "https+local"];
    let scheme = scheme.to_ascii_lowercase();
    let (kind, way) = match scheme.as_str() {
        "tcp" => ("tcp", way),
        "tcp+local" => ("tcp", Via::Direct),
        "https" => ("https", way),
        "https+local" => ("https", Via::Direct),
        "quic+local" => return Err("DNS over QUIC is not built, expected an IP address, `tcp://`, `tcp+local://`, `https://`, `https+local://` or `localhost`".to_owned()),
        other => {
            let guess = did_you_mean(other, KNOWN.into_iter());
            let (other, known) = (other.escape_debug(), either(&KNOWN));
            return Err(format!("`{other}://` is unknown, expected {known}{guess}"));
        }
    };
    let url = format!("{kind}://{rest}").parse::<Uri>();
    let url = url.map_err(|e| format!("`{}` is not a URL: {e}", text.escape_debug()))?;
    if kind == "tcp" {
        let to = https::destination(&url, 53)?;
        return Ok(Upstream::Tcp(Channel::new(Over::Tcp, to, way, client)));
    }
    let to = https::destination(&url, 443)?;
    Ok(Upstream::Https(Https::new(url, to, way, client)))
}

/// Over UDP, and over TCP what has no room in a datagram. V2Ray 5 also writes `1.1.1.1:53`.
fn by_address(
    text: &str,
    port: Option<u16>,
    client: Option<IpAddr>,
    way: Via,
) -> Result<Server, String> {
    let to = match Host::parse(text) {
        Ok(host) => Ok(Destination::new(host, port.unwrap_or(53))),
        Err(e) => text.parse::<Destination>().map_err(|_| e),
    };
    let to = to.map_err(|e| format!("`{}` is not a server: {e}", text.escape_debug()))?;
    let shown = match port {
        Some(_) => to.to_string(),
        None => text.to_owned(),
    };
    let channel = |over| Channel::new(over, to.clone(), way.clone(), client);
    let upstream = Upstream::Udp(channel(Over::Udp), channel(Over::Tcp));
    Ok(Server::new(shown, upstream))
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
    if !matches!(server.upstream, Upstream::System) {
        return Vec::new();
    }
    let below = LOCAL.map(|name| Pattern::Domain(name.to_owned()));
    let dotless = Pattern::Regex("^[^.]+$".to_owned());
    below.into_iter().chain([dotless]).collect()
}
