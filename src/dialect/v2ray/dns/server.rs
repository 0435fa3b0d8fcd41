//! One server: how it is reached, for which names it is asked, which answers it may give.

use std::time::Duration;

use http::Uri;

use super::super::routing::{patterns_or_any, preferred};
use super::{Common, caches, fake, ip, query_strategy, tag, typed_pattern};
use crate::address::{Destination, Host};
use crate::dialect::v2ray::json::{
    Node, Object, Port, did_you_mean, either, found, from_environment,
};
use crate::dns::{FakePool, Families, Server, Upstream, Via};
use crate::matching::{Domains, Geodata, Pattern};

pub(super) fn read(node: &Node, common: &Common, geodata: &Geodata) -> Option<Server> {
    if node.value.is_string() {
        let text: String = node.read()?;
        let via = Via::Routed(common.tag.clone());
        let mut server = server(node, &text, None, via)?;
        server.client_ip = common.client_ip;
        server.caches = common.caches;
        if server.upstream == Upstream::Fake {
            server.fakes = fakes(common, None, Families::BOTH);
        }
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
    let client_ip = object.get("clientIp").and_then(|node| ip(&node));
    let tag = tag(&object).or_else(|| common.tag.clone());
    let server =
        address(&object).and_then(|(at, text, port)| server(&at, &text, port, Via::Routed(tag)));
    let domains = domains(&object, geodata);
    let expected = object.in_place_of("expectedIPs", "expectIPs");
    let expected: Vec<Node> = expected.into_iter().chain(object.get("geoip")).collect();
    let (expected, prefers_expected) = preferred(&expected, geodata);
    let unexpected: Vec<Node> = object.get("unexpectedIPs").into_iter().collect();
    let (unexpected, prefers_others) = preferred(&unexpected, geodata);
    let skip_fallback = object.read_or("skipFallback", false);
    let families = query_strategy(&object);
    let is_cacheless = object.read("disableCache").map(|off: bool| !off);
    let caches = caches(&object).or(is_cacheless).unwrap_or(common.caches);
    let fallback = super::fallback_strategy(&object);
    let is_last = object.read_or("finalQuery", false);
    object.silent(&["originalRules"]);
    let own_fakes = object.get("fakeDns").and_then(|n| fake::of_server(&n));
    let patience: Option<u32> = object.read("timeoutMs");
    object.no_effect(&["serveStale", "serveExpiredTTL"]);
    object.finish();
    let mut server = server?;
    server.client_ip = client_ip.or(common.client_ip);
    server.domains = domains.and_then(|all| {
        let all = Domains::ranked(all);
        all.map_err(|e| node.error(e.to_string())).ok()
    });
    // 0 is none, as in Xray.
    if let Some(ms) = patience.filter(|ms| *ms > 0) {
        server.patience = Duration::from_millis(ms.into());
    }
    server.expected = expected;
    server.prefers_expected = prefers_expected;
    server.unexpected = unexpected;
    server.prefers_others = prefers_others;
    server.skip_fallback = skip_fallback;
    server.fallback = fallback;
    server.is_last = is_last;
    server.families = families.unwrap_or(Families::BOTH);
    server.caches = caches;
    if server.upstream == Upstream::Fake || own_fakes.is_some() {
        server.fakes = fakes(common, own_fakes.flatten(), server.families);
    }
    Some(server)
}

/// Out of which a server's names are given addresses: its own pools, those of all, or the usual ones.
fn fakes(common: &Common, own: Option<Vec<FakePool>>, families: Families) -> Vec<FakePool> {
    let usual = || FakePool::usual(common.families.and(families));
    let said = own.filter(|own| !own.is_empty());
    said.or_else(|| common.fakes.clone()).unwrap_or_else(usual)
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

/// The server at `text`.
fn server(node: &Node, text: &str, port: Option<u16>, via: Via) -> Option<Server> {
    let text = from_environment(text.trim());
    let text = &*text.map_err(|e| node.error(e)).ok()?;
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Server {
            via,
            ..Server::new(text, Upstream::System)
        });
    }
    if text.eq_ignore_ascii_case("fakedns") {
        return Some(Server {
            via,
            ..Server::new("fakedns", Upstream::Fake)
        });
    }
    let server = match text.split_once("://") {
        Some((scheme, rest)) => {
            let server = by_url(scheme, rest, text, via);
            if server.is_ok() && port.is_some() {
                node.warn("a URL names its port itself, `port` has no effect");
            }
            server
        }
        None => by_address(text, port, via),
    };
    match server {
        Ok(server) => Some(server),
        // V2Ray starts with it, and asks the next one when it has no answer.
        Err(Wrong::Name(why)) => {
            node.warn(format!("{why}; it is left out"));
            None
        }
        Err(Wrong::Unbuilt(why)) => {
            node.error(why);
            None
        }
    }
}

/// What is wrong with a server's address.
enum Wrong {
    /// It is none.
    Name(String),
    /// Questions would go elsewhere.
    Unbuilt(String),
}

/// `tcp://`, `tls://`, `https://`, and the same with `+local`, which go past the rules.
fn by_url(scheme: &str, rest: &str, text: &str, via: Via) -> Result<Server, Wrong> {
    const KNOWN: [&str; 8] = [
        "tcp",
        "tcp+local",
        "tls",
        "tls+local",
        "https",
        "https+local",
        "h2c",
        "h2c+local",
    ];
    let scheme = scheme.to_ascii_lowercase();
    let (kind, via) = match scheme.as_str() {
        "tcp" => ("tcp", via),
        "tcp+local" => ("tcp", Via::Direct),
        // mobula's own.
        "tls" => ("tls", via),
        "tls+local" => ("tls", Via::Direct),
        "https" => ("https", via),
        "https+local" => ("https", Via::Direct),
        // Of Xray: the same without TLS.
        "h2c" => ("http", via),
        "h2c+local" => ("http", Via::Direct),
        "quic+local" => return Err(Wrong::Unbuilt("DNS over QUIC is not built, expected an IP address, `tcp://`, `tcp+local://`, `https://`, `https+local://` or `localhost`".to_owned())),
        other => {
            let guess = did_you_mean(other, KNOWN.into_iter());
            let (other, known) = (other.escape_debug(), either(&KNOWN));
            return Err(Wrong::Name(format!("`{other}://` is unknown, expected {known}{guess}")));
        }
    };
    let url = format!("{kind}://{rest}").parse::<Uri>();
    let url =
        url.map_err(|e| Wrong::Name(format!("`{}` is not a URL: {e}", text.escape_debug())))?;
    let upstream = match kind {
        "tcp" => Upstream::Tcp(destination(&url, 53)?),
        "tls" => Upstream::Tls(destination(&url, 853)?),
        _ => {
            let to = destination(&url, 443)?;
            Upstream::Https { url, to }
        }
    };
    Ok(Server {
        via,
        ..Server::new(text, upstream)
    })
}

/// Over UDP, and over TCP what has no room in a datagram. V2Ray 5 also writes `1.1.1.1:53`.
fn by_address(text: &str, port: Option<u16>, via: Via) -> Result<Server, Wrong> {
    let to = match Host::parse(text) {
        Ok(host) => Ok(Destination::new(host, port.unwrap_or(53))),
        Err(e) => text.parse::<Destination>().map_err(|_| e),
    };
    let to =
        to.map_err(|e| Wrong::Name(format!("`{}` is not a server: {e}", text.escape_debug())))?;
    let shown = match port {
        Some(_) => to.to_string(),
        None => text.to_owned(),
    };
    Ok(Server {
        via,
        ..Server::new(shown, Upstream::Udp(to))
    })
}

/// The destination of a URL, whose port is `port` unless it says another.
fn destination(url: &Uri, port: u16) -> Result<Destination, Wrong> {
    let host = url.host().unwrap_or_default();
    let host =
        Host::parse(host).map_err(|e| Wrong::Name(format!("`{url}` is not a server: {e}")))?;
    Ok(Destination::new(host, url.port_u16().unwrap_or(port)))
}

/// V2Ray 4's `domains`; V2Ray 5's `prioritizedDomain` and `geoDomain`.
fn domains(object: &Object, geodata: &Geodata) -> Option<Vec<Pattern>> {
    let mut all = Vec::new();
    for node in [object.get("domains"), object.get("geoDomain")] {
        let read = node.and_then(|node| patterns_or_any(&node, geodata));
        all.extend(read.into_iter().flatten());
    }
    for node in object.array("prioritizedDomain") {
        let Some(entry) = node.object() else { continue };
        all.extend(typed_pattern(&entry));
        entry.finish();
    }
    (!all.is_empty()).then_some(all)
}

/// One that has no answer, as those that V2Ray cannot reach: `invalid` is nobody's name (RFC 6761, section 6.4).
pub(super) fn nobody() -> Server {
    let to = Destination::new(Host::Domain("invalid".to_owned()), 53);
    Server::new("nobody", Upstream::Udp(to))
}
