//! `sniffing` of an inbound.

use super::routing::lists::patterns;
use crate::dialect::v2ray::json::{Node, Object, StringList, did_you_mean, either};
use crate::matching::{Domains, Geodata, geodata};
use crate::sniffing::{Protocol, Settings};

/// Reads `sniffing`, or what it was called before; `None` when nothing is to be looked for.
pub(super) fn read(inbound: &Object) -> Option<Settings> {
    let old = inbound.get("domainOverride");
    let Some(object) = inbound.object("sniffing") else {
        let overriding = protocols(&old?);
        return (!overriding.is_empty()).then(|| Settings {
            overriding,
            ..Settings::default()
        });
    };
    let enabled = object.read_or("enabled", false);
    let over = object.get("destOverride");
    let route_only = object.read_or("routeOnly", false);
    let no_resolve = object.read_or("noResolve", false);
    let settings = Settings {
        overriding: over.map(|node| protocols(&node)).unwrap_or_default(),
        route_only,
        resolves_named: route_only && !no_resolve,
        excluded: object.get("domainsExcluded").and_then(|n| excluded(&n)),
        metadata_only: object.read_or("metadataOnly", false),
    };
    if enabled {
        object.refuse(
            "ipsExcluded",
            "exceptions by address are not built, and sessions to these would go by the sniffed name",
        );
    }
    object.silent(&["ipsExcluded"]);
    if let (true, true, Some(node)) = (
        enabled,
        settings.metadata_only && !settings.names_fakes(),
        object.get("metadataOnly"),
    ) {
        node.warn("only `fakedns` needs no content, and `destOverride` does not hold it: nothing is sniffed");
    }
    object.finish();
    enabled.then_some(settings)
}

/// Each under V2Ray's names for it.
fn protocols(node: &Node) -> Vec<Protocol> {
    const KNOWN: [&str; 5] = ["http", "tls", "quic", "fakedns", "fakedns+others"];
    let StringList(words) = node.read().unwrap_or_default();
    let mut over = Vec::new();
    for word in words {
        match protocol(&word) {
            Some(protocol) => over.push(protocol),
            None => node.error(format!(
                "`{}` is not known, expected {}{}",
                word.escape_debug(),
                either(&KNOWN),
                did_you_mean(&word, KNOWN.into_iter())
            )),
        }
    }
    over
}

/// V2Ray's name for it.
pub(in crate::dialect) fn word(protocol: &Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Tls => "tls",
        Protocol::Quic => "quic",
        Protocol::FakeDns => "fakedns",
        Protocol::FakeDnsAndOthers => "fakedns+others",
    }
}

/// By any of V2Ray's names, in any case.
pub(in crate::dialect) fn protocol(word: &str) -> Option<Protocol> {
    Some(match word.to_ascii_lowercase().as_str() {
        "http" => Protocol::Http,
        "tls" | "https" | "ssl" => Protocol::Tls,
        "quic" => Protocol::Quic,
        "fakedns" => Protocol::FakeDns,
        "fakedns+others" => Protocol::FakeDnsAndOthers,
        _ => return None,
    })
}

/// Names as rules of Xray have them: a text without a word in front is a part of a name.
fn excluded(node: &Node) -> Option<Domains> {
    let geodata = Geodata::new(geodata::folders());
    let patterns = patterns(node, &geodata)?;
    // Each expression was fit to be read; all together may still be too large.
    Domains::new(patterns)
        .map_err(|e| node.error(e.to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use crate::matching::Pattern;
    use serde_json::{Value, json};

    #[test]
    fn every_key_has_its_meaning() {
        let settings = read_one(json!({
            "enabled": true, "destOverride": ["HTTP", "ssl", "quic", "FakeDNS", "fakedns+others"], "routeOnly": true, "metadataOnly": true,
            "domainsExcluded": ["full:a.example", "domain:b.example", "c", "keyword:c", "regexp:^d", "dotless:e"]
        }));
        let excluded = [
            Pattern::Full("a.example".into()),
            Pattern::Domain("b.example".into()),
            // As in Xray 26; before, a name by itself stood for itself.
            Pattern::Keyword("c".into()),
            Pattern::Keyword("c".into()),
            Pattern::Regex("^d".into()),
            Pattern::Regex("^[^.]*e[^.]*$".into()),
        ];
        let expected = Settings {
            overriding: vec![
                Protocol::Http,
                Protocol::Tls,
                Protocol::Quic,
                Protocol::FakeDns,
                Protocol::FakeDnsAndOthers,
            ],
            excluded: Some(Domains::new(excluded).unwrap()),
            route_only: true,
            resolves_named: true,
            metadata_only: true,
        };
        assert_eq!(settings, Some(expected));
    }

    #[test]
    fn it_may_be_switched_on_without_a_destination_to_override() {
        let settings = read_one(json!({"enabled": true}));
        assert_eq!(settings, Some(Settings::default()));
        for off in [
            json!({}),
            json!({"enabled": false, "destOverride": ["tls"]}),
        ] {
            assert_eq!(read_one(off.clone()), None, "{off}");
        }
    }

    #[test]
    fn the_old_name_of_it_is_understood() {
        let settings = read_inbound(&json!({"domainOverride": ["tls", "http"]})).unwrap();
        assert_eq!(settings.overriding, [Protocol::Tls, Protocol::Http]);
        let both = json!({"domainOverride": ["tls"], "sniffing": {"enabled": false}});
        assert_eq!(read_inbound(&both), None);
    }

    fn read_one(sniffing: Value) -> Option<Settings> {
        read_inbound(&json!({ "sniffing": sniffing }))
    }

    fn read_inbound(inbound: &Value) -> Option<Settings> {
        let report = Report::default();
        let settings = read(&Node::root(inbound, &report).object().unwrap());
        assert!(!report.has_errors());
        settings
    }
}
