//! Several inbounds on one place: which may be, and what contradicts.

use crate::config::{Inbound, Listen};
use crate::report::{Path, Report};
use crate::transport::Asked;
use crate::transport::tls::{self, KeyPair, SelfSigned, Versions, acme};

/// Puts inbounds that share a place behind the first of them.
pub fn share(inbounds: Vec<Inbound>) -> Vec<Inbound> {
    let mut shared: Vec<Inbound> = Vec::new();
    for inbound in inbounds {
        match shared.iter_mut().find(|first| may_share(first, &inbound)) {
            Some(first) => first.beside.push(inbound),
            None => shared.push(inbound),
        }
    }
    shared
}

/// Whether two inbounds are on the same place, and their requests can be told apart: both carriers begin with HTTP.
pub(super) fn may_share(a: &Inbound, b: &Inbound) -> bool {
    let begins_with_http = |x: &Inbound| {
        let traits = x.protocol.traits();
        traits.streams && !traits.datagrams && x.transport.carrier.forwarded().is_some()
    };
    let is_chosen = matches!(a.listen, Listen::Ip(_)) && a.ports.iter().any(|range| range.to == 0);
    a.listen == b.listen
        && a.ports == b.ports
        // Each gets a port of its own.
        && !is_chosen
        && begins_with_http(a)
        && begins_with_http(b)
}

/// One of two inbounds that share a place, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Sharer<'a> {
    pub(super) at: &'a Path,
    pub(super) inbound: &'a Inbound,
}

impl Sharer<'_> {
    fn stream(&self) -> Path {
        self.at.key("streamSettings")
    }

    fn tls(&self) -> Path {
        self.stream().key("tlsSettings")
    }
}

/// What stands in front of all requests of `place` is one for all.
pub(super) fn check_front(first: Sharer<'_>, later: Sharer<'_>, place: &str, report: &Report) {
    let (a, b) = (&first.inbound.transport, &later.inbound.transport);
    let differs = |first: Path, later: Path| {
        let text =
            format!("is not as {first} has it, and both listen on {place}: expected the same");
        report.error(&later, text);
    };
    if a.sockopt != b.sockopt {
        differs(first.stream().key("sockopt"), later.stream().key("sockopt"));
    }
    if first.inbound.limits != later.inbound.limits {
        differs(first.at.key("limits"), later.at.key("limits"));
    }
    if a.accept_proxy_protocol != b.accept_proxy_protocol {
        let text = format!(
            "`acceptProxyProtocol` is not as {} has it, and both listen on {place}: expected the same",
            first.stream()
        );
        report.error(&later.stream(), text);
    }
    if let (Some(x), Some(y)) = (&a.site, &b.site)
        && x != y
    {
        differs(
            first.stream().key("fallback"),
            later.stream().key("fallback"),
        );
    }
    match (&a.security, &b.security) {
        (Some(x), Some(y)) => {
            let versions = match [x.versions, y.versions].contains(&Versions::Only13) {
                true => "minVersion",
                false => "maxVersion",
            };
            for (is_other, key) in [
                (x.client_auth != y.client_auth, "verifyClientCertificate"),
                (
                    x.reject_unknown_sni != y.reject_unknown_sni,
                    "rejectUnknownSni",
                ),
                (x.versions != y.versions, versions),
                (x.early_data != y.early_data, "earlyData"),
            ] {
                if is_other {
                    differs(first.tls().key(key), later.tls().key(key));
                }
            }
        }
        (None, None) => {}
        _ => differs(
            first.stream().key("security"),
            later.stream().key("security"),
        ),
    }
}

/// Requests, and the names of certificates, can be told apart.
pub(super) fn check_requests(a: Sharer<'_>, b: Sharer<'_>, place: &str, report: &Report) {
    let earlier = a.inbound.transport.carrier.asked();
    for asked in b.inbound.transport.carrier.asked() {
        let Some(before) = earlier.iter().find(|before| before.is_as(&asked)) else {
            continue;
        };
        let at = |one: Sharer<'_>, asked: &Asked| {
            let [settings, key] = match asked.network {
                "ws" => ["wsSettings", "path"],
                "mws" => ["mwsSettings", "path"],
                "httpupgrade" => ["httpupgradeSettings", "path"],
                "grpc" => ["grpcSettings", "serviceName"],
                _ => ["httpSettings", "path"],
            };
            one.stream().key(settings).key(key)
        };
        let host = asked.host.as_ref().map(|host| format!(" for {host}"));
        let text = format!(
            "`{}`{} over `{}` is that of {} as well, and both listen on {place}: expected another path, host or transport",
            asked.path.escape_debug(),
            host.unwrap_or_default(),
            asked.network,
            at(a, before)
        );
        report.error(&at(b, &asked), text);
        break;
    }
    let (Some(x), Some(y)) = (&a.inbound.transport.security, &b.inbound.transport.security) else {
        return;
    };
    if let (Some(own), Some(other)) = (&x.self_signed, &y.self_signed)
        && own == other
    {
        let text = format!(
            "one certificate is made for {place}, that of {}: its hash is the one for clients",
            a.tls().key("selfSigned")
        );
        report.warn(&b.tls().key("selfSigned"), text);
    }
    let earlier = certificates(x);
    for (later, key) in certificates(y) {
        for (other, other_key) in &earlier {
            let Some(name) = contradicts(other, &later) else {
                continue;
            };
            let text = format!(
                "another certificate {name} is at {}, and both listen on {place}: expected one",
                a.tls().key(other_key)
            );
            report.error(&b.tls().key(key), text);
            return;
        }
    }
}

/// A certificate of a server.
enum Certificate<'a> {
    Pair(&'a KeyPair),
    Made(&'a SelfSigned),
    Issued(&'a acme::Settings),
}

/// Those of a server, and where they stand.
fn certificates(tls: &tls::ServerSettings) -> Vec<(Certificate<'_>, &'static str)> {
    let pairs = tls.certificates.iter();
    let pairs = pairs.map(|pair| (Certificate::Pair(pair), "certificates"));
    let made = tls.self_signed.iter();
    let issued = tls.acme.iter();
    let issued = issued.map(|issued| (Certificate::Issued(issued), "acme"));
    pairs
        .chain(made.map(|made| (Certificate::Made(made), "selfSigned")))
        .chain(issued)
        .collect()
}

/// For whom both are, though they are not the same.
fn contradicts(a: &Certificate<'_>, b: &Certificate<'_>) -> Option<String> {
    let is_same = match (a, b) {
        (Certificate::Pair(a), Certificate::Pair(b)) => a.is_same(b),
        (Certificate::Made(a), Certificate::Made(b)) => a == b,
        (Certificate::Issued(a), Certificate::Issued(b)) => a == b,
        _ => false,
    };
    if is_same {
        return None;
    }
    let names = |one: &Certificate<'_>| match one {
        Certificate::Pair(pair) => pair.shown().map(|shown| shown.names),
        Certificate::Made(made) => Some(made.names.clone()),
        Certificate::Issued(issued) => Some(issued.domains.clone()),
    };
    let (a, b) = (names(a)?, names(b)?);
    match a.is_empty() && b.is_empty() {
        // Only one of them could be had by those who ask for no name.
        true => Some("for no name".to_owned()),
        false => {
            let both = a.iter().find(|name| b.contains(name));
            both.map(|name| format!("for {name}"))
        }
    }
}
