//! `settings` of a `freedom` outbound.

use super::super::dns::domain_strategy;
use crate::address::Host;
use crate::dialect::v2ray::json::{Node, Object, found};
use crate::protocol::freedom::{OutboundSettings, Redirect};

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let strategy = settings
        .first(&["targetStrategy", "domainStrategy"])
        .and_then(|n| domain_strategy(&n));
    let redirect = settings.get("redirect").and_then(|n| redirect(&n));
    let level = settings.read_or("userLevel", 0);
    settings.silent(&["timeout"]);
    refuse(settings);
    Some(OutboundSettings {
        strategy: strategy.unwrap_or_default(),
        redirect: redirect.unwrap_or_default(),
        level,
    })
}

/// Keys of Xray's that nobody wants passed over.
fn refuse(settings: &Object) {
    for key in ["fragment", "noise", "noises"] {
        settings.refuse(
            key,
            "this disguise is not built, and without it whoever watches reads the names of targets: take the key out",
        );
    }
    for key in ["finalRules", "ipsBlocked"] {
        settings.refuse(
            key,
            "rules behind the choice of an outbound are not built, and what they hold back would pass: write them into `routing.rules`, with `domainStrategy: IPIfNonMatch` there",
        );
    }
    settings.refuse(
        "proxyProtocol",
        "a PROXY header to the target is not built, and a target that waits for one takes no connection without it",
    );
}

fn redirect(node: &Node) -> Option<Redirect> {
    let text: String = node.read()?;
    if text.is_empty() {
        return None;
    }
    let parsed = parse(&text);
    if parsed.is_none() {
        node.error(format!(
            "{} is not a target, expected `host:port`, `:port` or `[IPv6]:port`",
            found(node.value)
        ));
    }
    parsed
}

fn parse(text: &str) -> Option<Redirect> {
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    let host = match host {
        "" => None,
        host => Some(Host::parse(host).ok()?),
    };
    let port: u16 = port.parse().ok()?;
    Some(Redirect {
        host,
        port: (port != 0).then_some(port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Strategy;
    use crate::testing::settings;
    use serde_json::{Value, json};

    #[test]
    fn redirect_replaces_the_parts_it_names() {
        for (redirect, to) in [
            ("1.2.3.4:5", "1.2.3.4:5"),
            (":5", "example.com:5"),
            ("[::1]:0", "[::1]:443"),
            ("", "example.com:443"),
        ] {
            let outbound = read(&json!({"redirect": redirect})).0.unwrap();
            let target = outbound.redirect.apply(&"example.com:443".parse().unwrap());
            assert_eq!(target.to_string(), to);
        }
    }

    #[test]
    fn strategies_are_found_in_any_case() {
        for (word, expected) in [
            ("UseIP", Strategy::UseIp),
            ("useipv4", Strategy::UseIpv4),
            ("USE_IP6", Strategy::UseIpv6),
            ("prefer-ip-v6", Strategy::PreferIpv6),
            ("AsIs", Strategy::AsIs),
            ("ForceIP", Strategy::UseIp),
            ("ForceIPv4", Strategy::UseIpv4),
            ("ForceIPv6", Strategy::UseIpv6),
            ("UseIPv4v6", Strategy::PreferIpv4),
            ("forceipv6v4", Strategy::PreferIpv6),
        ] {
            let outbound = read(&json!({"domainStrategy": word})).0.unwrap();
            assert_eq!(outbound.strategy, expected);
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (settings, text) in [
            (
                json!({"domainStrategy": "UseIPv5"}),
                "domainStrategy: `UseIPv5` is unknown, `AsIs` takes its place as in V2Ray, expected `AsIs`, `UseIP`, `UseIPv4`, `UseIPv6`, `PreferIPv4` or `PreferIPv6`, did you mean `UseIPv4`?",
            ),
            (
                json!({"redirect": "::1:53"}),
                "redirect: `::1:53` is not a target, expected `host:port`, `:port` or `[IPv6]:port`",
            ),
            (
                json!({"redirect": "host"}),
                "redirect: `host` is not a target, expected `host:port`, `:port` or `[IPv6]:port`",
            ),
        ] {
            assert_eq!(read(&settings).1, [text]);
        }
    }

    fn read(value: &Value) -> (Option<OutboundSettings>, Vec<String>) {
        settings::read(value, outbound)
    }
}
