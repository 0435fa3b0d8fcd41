//! `sniffing` of an inbound.

use super::codec::Found;
use crate::address::{Destination, Host};
use crate::json::{Node, Object, StringList, did_you_mean, either};
use crate::matching::{Domains, Name, Pattern};

/// Sniffing that is switched on.
pub struct Sniffing {
    /// Protocols whose name for the target becomes the destination.
    over: Vec<&'static str>,
    excluded: Option<Domains>,
    /// The name is for rules alone.
    route_only: bool,
}

/// What became of the destination that a session asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    asked: Destination,
    /// With the name that was found.
    named: Option<Destination>,
    route_only: bool,
}

impl Sniffing {
    /// Reads `sniffing`, or what it was called before; `None` when nothing is to be looked for.
    pub fn read(inbound: &Object) -> Option<Self> {
        let old = inbound.get("domainOverride");
        let Some(object) = inbound.object("sniffing") else {
            let over = protocols(&old?);
            return (!over.is_empty()).then(|| Self::new(over));
        };
        let enabled = object.read_or("enabled", false);
        let over = object.get("destOverride");
        let mut sniffing = Self::new(over.map(|node| protocols(&node)).unwrap_or_default());
        sniffing.route_only = object.read_or("routeOnly", false);
        sniffing.excluded = object.get("domainsExcluded").and_then(|n| excluded(&n));
        let metadata = object.get("metadataOnly");
        let metadata = metadata.filter(|node| node.read() == Some(true));
        if let (true, Some(node)) = (enabled, &metadata) {
            node.warn("only `fakedns` needs no content, and it is not built: nothing is sniffed");
        }
        object.finish();
        (enabled && metadata.is_none()).then_some(sniffing)
    }

    fn new(over: Vec<&'static str>) -> Self {
        Self {
            over,
            excluded: None,
            route_only: false,
        }
    }

    /// What becomes of `asked` in a session that was `found` to be something.
    pub fn aim(&self, found: &Found, asked: Destination) -> Aim {
        let host = found.host.as_ref().filter(|host| self.takes(found, host));
        Aim {
            named: host.map(|host| Destination::new(host.clone(), asked.port)),
            route_only: self.route_only,
            asked,
        }
    }

    /// As in V2Ray the beginning of a protocol's name is enough: `http1` is `http`.
    fn takes(&self, found: &Found, host: &Host) -> bool {
        let excluded = match (&self.excluded, host) {
            (Some(names), Host::Domain(name)) => names.contains(&Name::new(name)),
            _ => false,
        };
        !excluded && self.over.iter().any(|p| found.protocol.starts_with(p))
    }
}

impl Aim {
    /// With the name that rules are asked about.
    pub fn ruled(&self) -> &Destination {
        self.named.as_ref().unwrap_or(&self.asked)
    }

    /// The name that rules are asked about, where the session goes elsewhere. Rules about addresses ask that
    /// place, as in Xray: a client may write any name into its first bytes.
    pub fn name_for_rules(&self) -> Option<&str> {
        match &self.named.as_ref().filter(|_| self.route_only)?.host {
            Host::Domain(name) => Some(name),
            Host::Ip(_) => None,
        }
    }

    /// Where the session goes, if that is not where it asked to go.
    pub fn replaced(&self) -> Option<&Destination> {
        self.named.as_ref().filter(|_| !self.route_only)
    }

    /// Where the session goes.
    pub fn dialled(&self) -> &Destination {
        self.replaced().unwrap_or(&self.asked)
    }

    pub fn asked(&self) -> &Destination {
        &self.asked
    }

    /// Where the session goes.
    pub fn to(self) -> Destination {
        match self.named {
            Some(named) if !self.route_only => named,
            _ => self.asked,
        }
    }
}

impl From<Destination> for Aim {
    /// Nothing was found.
    fn from(asked: Destination) -> Self {
        Self {
            asked,
            named: None,
            route_only: false,
        }
    }
}

/// Each under V2Ray's names for it.
fn protocols(node: &Node) -> Vec<&'static str> {
    const KNOWN: [&str; 5] = ["http", "tls", "quic", "fakedns", "fakedns+others"];
    let StringList(words) = node.read().unwrap_or_default();
    let mut over = Vec::new();
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "http" => over.push("http"),
            "tls" | "https" | "ssl" => over.push("tls"),
            "quic" => over.push("quic"),
            "fakedns" | "fakedns+others" => {
                node.warn(format!("`{word}` is not built yet, it has no effect"));
            }
            _ => node.error(format!(
                "`{}` is not known, expected {}{}",
                word.escape_debug(),
                either(&KNOWN),
                did_you_mean(&word, KNOWN.into_iter())
            )),
        }
    }
    over
}

/// Names as Xray writes them: each for itself, or with the word in front that rules know.
fn excluded(node: &Node) -> Option<Domains> {
    let StringList(names) = node.read().unwrap_or_default();
    let pattern = |name: &String| match name.split_once(':') {
        None => Ok(Pattern::Full(name.clone())),
        Some(("full", name)) => Ok(Pattern::Full(name.to_owned())),
        Some(("domain", name)) => Ok(Pattern::Domain(name.to_owned())),
        Some(("keyword", text)) => Ok(Pattern::Keyword(text.to_owned())),
        Some(("regexp", text)) => Ok(Pattern::Regex(text.to_owned())),
        Some(_) => Err(format!(
            "`{}` is not a name, expected such as `example.com`, `domain:`, `full:`, `keyword:` or `regexp:`",
            name.escape_debug()
        )),
    };
    let mut patterns = Vec::new();
    for name in &names {
        // Each by itself first, so that an error is about one of them.
        let read = pattern(name).and_then(|pattern| {
            pattern
                .check()
                .map_err(|e| format!("`{}`: {e}", name.escape_debug()))?;
            Ok(pattern)
        });
        match read {
            Ok(pattern) => patterns.push(pattern),
            Err(e) => node.error(e),
        }
    }
    if patterns.is_empty() {
        return None;
    }
    Domains::new(patterns)
        .map_err(|e| node.error(e.to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Report;
    use serde_json::{Value, json};

    #[test]
    fn the_name_of_a_chosen_protocol_becomes_the_destination() {
        let sniffing = read(json!({"enabled": true, "destOverride": ["HTTP", "ssl"]})).unwrap();
        let cases = [
            ("http1", Some("a.example"), "a.example:8443"),
            ("tls", Some("B.example"), "B.example:8443"),
            ("tls", Some("192.0.2.7"), "192.0.2.7:8443"),
            ("tls", None, "192.0.2.1:8443"),
            ("quic", Some("a.example"), "192.0.2.1:8443"),
            ("bittorrent", None, "192.0.2.1:8443"),
        ];
        for (protocol, host, expected) in cases {
            let aim = aimed(&sniffing, protocol, host);
            assert_eq!(aim.ruled().to_string(), expected, "{protocol}");
            assert_eq!(aim.asked(), &to());
            assert_eq!(aim.replaced().is_some(), expected != "192.0.2.1:8443");
            assert_eq!(aim.to().to_string(), expected, "{protocol}");
        }
    }

    #[test]
    fn names_may_be_left_out_or_kept_for_the_rules() {
        let sniffing = json!({
            "enabled": true, "destOverride": "tls,quic", "routeOnly": true,
            "domainsExcluded": ["Courier.push.example", "domain:local.example", "regexp:^cdn\\d+\\."]
        });
        let sniffing = read(sniffing).unwrap();
        for name in ["courier.push.EXAMPLE", "x.local.example", "cdn12.example"] {
            let aim = aimed(&sniffing, "tls", Some(name));
            assert_eq!(aim.ruled(), &to(), "{name}");
        }
        let aim = aimed(&sniffing, "quic", Some("x.courier.push.example"));
        assert_eq!(aim.ruled().to_string(), "x.courier.push.example:8443");
        assert_eq!(aim.name_for_rules(), Some("x.courier.push.example"));
        assert_eq!((aim.replaced(), aim.dialled()), (None, &to()));
        assert_eq!(aim.to(), to());
    }

    #[test]
    fn it_may_be_switched_on_without_a_destination_to_override() {
        let sniffing = read(json!({"enabled": true})).unwrap();
        let aim = aimed(&sniffing, "tls", Some("a.example"));
        assert_eq!((aim.ruled(), aim.replaced()), (&to(), None));
        assert_eq!(aim.name_for_rules(), None);
        for off in [
            json!({}),
            json!({"enabled": false, "destOverride": ["tls"]}),
            json!({"enabled": true, "metadataOnly": true}),
        ] {
            assert!(read(off.clone()).is_none(), "{off}");
        }
    }

    #[test]
    fn the_old_name_of_it_is_understood() {
        let inbound = json!({"domainOverride": ["tls", "http"]});
        let report = Report::default();
        let sniffing = Sniffing::read(&Node::root(&inbound, &report).object().unwrap()).unwrap();
        assert_eq!(
            aimed(&sniffing, "http1", Some("a.example"))
                .to()
                .to_string(),
            "a.example:8443"
        );
        let both = json!({"domainOverride": ["tls"], "sniffing": {"enabled": false}});
        assert!(Sniffing::read(&Node::root(&both, &report).object().unwrap()).is_none());
    }

    fn read(sniffing: Value) -> Option<Sniffing> {
        let inbound = json!({ "sniffing": sniffing });
        let report = Report::default();
        let sniffing = Sniffing::read(&Node::root(&inbound, &report).object().unwrap());
        assert!(!report.has_errors());
        sniffing
    }

    fn aimed(sniffing: &Sniffing, protocol: &'static str, host: Option<&str>) -> Aim {
        let host = host.map(|name| Host::parse(name).unwrap());
        sniffing.aim(&Found { protocol, host }, to())
    }

    fn to() -> Destination {
        "192.0.2.1:8443".parse().unwrap()
    }
}
