//! What runs, and is hardly meant: ids that everybody knows, the port of HTTPS without TLS, UDP beside its transport.

use std::net::SocketAddr;

use uuid::{Uuid, uuid};

use super::exposure::{is_here, outside};
use super::{Inbound, Listen, Outbound};
use crate::address::{Destination, Host};
use crate::protocol::InboundSettings;
use crate::report::Report;
use crate::routing;
use crate::seam::FallbackTarget;
use crate::transport::{ServerCarrier, site};

/// Ids of the documentation and of published examples.
const PUBLISHED: [Uuid; 8] = [
    uuid!("b831381d-6324-4d53-ad4f-8cda48b30811"),
    uuid!("27848739-7e62-4138-9fd3-098a63964b6b"),
    uuid!("23ad6b10-8d1a-40f7-8ad0-e3e35cd38297"),
    uuid!("10354ac4-9ec1-4864-ba3e-f5fd35869ef8"),
    uuid!("5783a3e7-e373-51cd-8642-c83782b807c5"),
    uuid!("66ad4540-b58c-4ad2-9926-ea63445a9b57"),
    uuid!("e55c8d17-2cf3-b21a-bcf1-eeacb011ed79"),
    uuid!("a3482e88-686a-4a58-8126-99c9df64b7bf"),
];

/// Ports of a door that lead to each other before one leads out.
const LONGEST_WAY: usize = 16;

pub(crate) fn warn_of_inbound(inbound: &Inbound, report: &Report) {
    let Some(ids) = inbound.protocol.ids() else {
        return;
    };
    if let Some(id) = ids.iter().find(|id| PUBLISHED.contains(id)) {
        let text = format!(
            "the id `{id}` stands in V2Ray's documentation and everybody knows it: make one with `mobula uuid`"
        );
        report.warn(&inbound.at.key("settings"), text);
    }
    let is_https = inbound
        .ports
        .iter()
        .any(|range| (range.from..=range.to).contains(&443));
    if is_https && inbound.transport.security.is_none() && outside(&inbound.listen).is_some() {
        let text =
            "listens on port 443 without TLS, is `security: tls` missing in `streamSettings`?";
        report.warn(&inbound.at, text);
    }
}

/// A door that leads to itself. Only a rule that takes its connections elsewhere ends that: one that names it is meant to.
pub(crate) fn warn_of_door(inbound: &Inbound, routing: &routing::Settings, report: &Report) {
    let is_named = |tag: &str| {
        let mut rules = routing.rules.iter();
        rules.any(|rule| {
            rule.conditions
                .inbounds
                .value
                .iter()
                .any(|name| name == tag)
        })
    };
    if inbound.tag.as_deref().is_some_and(is_named) {
        return;
    }
    let (InboundSettings::Dokodemo(door), Listen::Ip(ip)) = (&inbound.protocol, &inbound.listen)
    else {
        return;
    };
    let is_own = |to: &Destination| {
        let is_there = match &to.host {
            Host::Ip(to) if ip.is_unspecified() => {
                to.to_canonical().is_loopback() && (ip.is_ipv6() || to.to_canonical().is_ipv4())
            }
            Host::Ip(to) => to.to_canonical() == ip.to_canonical(),
            host => is_here(host) && (ip.is_unspecified() || ip.to_canonical().is_loopback()),
        };
        is_there && inbound.ports.iter().any(|range| range.contains(to.port))
    };
    let next = |port| {
        let to = door.at(Some(SocketAddr::new(*ip, port)));
        to.filter(is_own).map(|to| to.port)
    };
    let mut ports = inbound.ports.iter().flat_map(|range| range.iter());
    // A port may lead to another one, which leads out.
    let round = ports.find(|port| {
        let mut way = std::iter::successors(next(*port), |port| next(*port));
        way.by_ref().take(LONGEST_WAY).any(|to| to == *port)
    });
    if let Some(port) = round {
        let text = format!(
            "what comes to port {port} leads to this inbound again, round in a circle, unless a rule takes it elsewhere: give it another `address`, or every port a target in `portMap`"
        );
        report.warn(&inbound.at.key("settings"), text);
    }
}

/// Fallbacks that never get what they seem to be for, or that go round in a circle.
pub(crate) fn check_fallbacks(inbound: &Inbound, report: &Report) {
    let all = inbound.protocol.fallbacks();
    let at = inbound.at.key("settings").key("fallbacks");
    let transport = &inbound.transport;
    if !all.is_empty() && transport.carrier != ServerCarrier::Raw {
        report.warn(
            &at,
            "get what comes inside the tunnel's carrier alone: a request for another path is refused before, expected `network: tcp`",
        );
    }
    let offered = transport.security.as_ref().map(|tls| &tls.alpn);
    for (i, entry) in all.iter().enumerate() {
        let is_offered = |name: &str| offered.is_some_and(|all| all.iter().any(|one| one == name));
        if !entry.alpn.is_empty() && !is_offered(&entry.alpn.to_ascii_lowercase()) {
            let text = format!(
                "TLS never agrees on `{}` here, it is not in `tlsSettings.alpn`",
                entry.alpn.escape_debug()
            );
            report.warn(&at.index(i).key("alpn"), text);
        }
        if let Some(port) = own_port(inbound, &entry.fallback.to) {
            report.error(&at.index(i).key("dest"), circle(port));
        }
    }
    if let Some(site::Settings::Upstream(upstream)) = &transport.site
        && let Some(port) = own_port(inbound, &upstream.to)
    {
        let at = inbound.at.key("streamSettings").key("fallback");
        report.error(&at, circle(port));
    }
}

fn circle(port: u16) -> String {
    format!("port {port} is this inbound's own, it would go round in a circle")
}

/// The port of `inbound` itself that a fallback leads to.
fn own_port(inbound: &Inbound, to: &FallbackTarget) -> Option<u16> {
    let (port, is_here) = match to {
        FallbackTarget::Port(port) => (*port, true),
        FallbackTarget::Tcp(to) => (to.port, is_here(&to.host)),
        FallbackTarget::Unix(_) | FallbackTarget::Abstract(_) => return None,
    };
    let listens = match inbound.listen {
        Listen::Ip(ip) => ip.is_unspecified() || ip.to_canonical().is_loopback(),
        Listen::Unix(_) | Listen::Abstract(_) | Listen::Published => false,
    };
    let is_own = inbound.ports.iter().any(|range| range.contains(port));
    (is_here && listens && is_own).then_some(port)
}

pub(crate) fn warn_of_outbound(outbound: &Outbound, report: &Report) {
    let mut servers = outbound.protocol.tunnel_servers().into_iter();
    let is_open = !outbound.transport.has_tls() && !outbound.transport.stays_here();
    if servers.any(|server| server.port == 443) && is_open {
        let text = "goes to port 443 without TLS, is `security: tls` missing in `streamSettings`?";
        report.warn(&outbound.at, text);
    }
    let is_beside = outbound.protocol.sends_datagrams() && outbound.mux.is_none();
    if is_beside && !outbound.transport.is_bare() {
        let text = "`streamSettings` are for TCP: UDP goes to the same port of the server as datagrams, as in V2Ray; with `mux` it goes inside";
        report.warn(&outbound.at, text);
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::v2ray::{Format, Input, load};
    use serde_json::{Value, json};

    #[test]
    fn a_door_that_leads_to_itself_is_told() {
        let said = |listen: &str, settings: Value| {
            let inbound = json!({"listen": listen, "port": "1000-1010", "protocol": "tunnel", "settings": settings});
            let text = Input::Text {
                name: "c.json".to_owned(),
                text: json!({"inbounds": [inbound], "outbounds": [{"protocol": "freedom"}]})
                    .to_string(),
            };
            let loaded = load(&[text], Format::V4);
            assert_eq!(loaded.errors, []);
            let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
            warnings.join("; ")
        };
        let open = json!({"allowedNetwork": "tcp"});
        let round = |port: u16| format!("inbounds[0].settings: what comes to port {port} leads to");
        for (listen, settings, port) in [
            (
                "127.0.0.1",
                &json!({"portMap": {"1000": "a.test:1", "1001": ":1000"}}),
                1002,
            ),
            (
                "127.0.0.1",
                &json!({"address": "localhost", "port": 80, "portMap": {"1003": ":1004", "1004": ":1003"}}),
                1003,
            ),
            (
                "127.0.0.1",
                &json!({"address": "127.0.0.1", "port": 1007}),
                1007,
            ),
        ] {
            let told = said(listen, settings.clone());
            assert!(told.starts_with(&round(port)), "{settings}: {told}");
        }
        for listen in ["0.0.0.0", "127.0.0.1", "::"] {
            let told = said(listen, open.clone());
            assert!(told.contains("THE INBOUND IS LEFT OUT"), "{listen}: {told}");
        }
        for (listen, settings) in [
            ("127.0.0.2", &open),
            ("192.0.2.1", &open),
            ("127.0.0.1", &json!({"rewritePort": 80})),
            ("127.0.0.1", &json!({"address": "127.0.0.2", "port": 0})),
            (
                "127.0.0.1",
                &json!({"address": "127.0.0.1", "port": 1007, "portMap": {"1007": ":80"}}),
            ),
        ] {
            assert_eq!(said(listen, settings.clone()), "", "{listen} {settings}");
        }
    }
}
