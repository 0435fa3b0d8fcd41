//! What a config says about sniffing.

#![warn(missing_docs)]

use super::Aim;
use super::codec::Found;
use crate::address::{Destination, Host};
use crate::matching::{Domains, Name};

/// V2Ray's `sniffing` of an inbound, switched on. By default what is found is for the rules' `protocol` alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `destOverride`: those whose name for the target becomes the destination.
    pub overriding: Vec<Protocol>,
    /// `domainsExcluded`: names that do not become the destination.
    pub excluded: Option<Domains>,
    /// `routeOnly`: the name is for rules about names, and the session goes where it asked to go.
    pub route_only: bool,
}

/// A protocol that names its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The `Host` of a request.
    Http,
    /// The server name of a ClientHello.
    Tls,
    /// That of QUIC's.
    Quic,
}

impl Settings {
    /// What becomes of `asked` in a session that was `found` to be something.
    pub fn aim(&self, found: &Found, asked: Destination) -> Aim {
        let host = found.host.as_ref().filter(|host| self.takes(found, host));
        let named = host.map(|host| Destination::new(host.clone(), asked.port));
        Aim::new(asked, named, self.route_only)
    }

    fn takes(&self, found: &Found, host: &Host) -> bool {
        let excluded = match (&self.excluded, host) {
            (Some(names), Host::Domain(name)) => names.contains(&Name::new(name)),
            _ => false,
        };
        !excluded && self.overriding.iter().any(|protocol| protocol.is(found))
    }
}

impl Protocol {
    /// As in V2Ray the beginning of a protocol's name is enough: `http1` is `http`.
    fn is(self, found: &Found) -> bool {
        found.protocol.starts_with(match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Quic => "quic",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::Pattern;

    #[test]
    fn the_name_of_a_chosen_protocol_becomes_the_destination() {
        let settings = Settings {
            overriding: vec![Protocol::Http, Protocol::Tls],
            ..Settings::default()
        };
        let cases = [
            ("http1", Some("a.example"), "a.example:8443"),
            ("tls", Some("B.example"), "B.example:8443"),
            ("tls", Some("192.0.2.7"), "192.0.2.7:8443"),
            ("tls", None, "192.0.2.1:8443"),
            ("quic", Some("a.example"), "192.0.2.1:8443"),
            ("bittorrent", None, "192.0.2.1:8443"),
        ];
        for (protocol, host, expected) in cases {
            let aim = aimed(&settings, protocol, host);
            assert_eq!(aim.ruled().to_string(), expected, "{protocol}");
            assert_eq!(aim.asked(), &to());
            assert_eq!(aim.replaced().is_some(), expected != "192.0.2.1:8443");
            assert_eq!(aim.to().to_string(), expected, "{protocol}");
        }
    }

    #[test]
    fn names_may_be_left_out_or_kept_for_the_rules() {
        let excluded = [
            Pattern::Full("Courier.push.example".into()),
            Pattern::Domain("local.example".into()),
            Pattern::Regex("^cdn\\d+\\.".into()),
        ];
        let settings = Settings {
            overriding: vec![Protocol::Tls, Protocol::Quic],
            excluded: Some(Domains::new(excluded).unwrap()),
            route_only: true,
        };
        for name in ["courier.push.EXAMPLE", "x.local.example", "cdn12.example"] {
            let aim = aimed(&settings, "tls", Some(name));
            assert_eq!(aim.ruled(), &to(), "{name}");
        }
        let aim = aimed(&settings, "quic", Some("x.courier.push.example"));
        assert_eq!(aim.ruled().to_string(), "x.courier.push.example:8443");
        assert_eq!(aim.name_for_rules(), Some("x.courier.push.example"));
        assert_eq!((aim.replaced(), aim.dialled()), (None, &to()));
        assert_eq!(aim.to(), to());
    }

    #[test]
    fn by_default_the_destination_stays() {
        let aim = aimed(&Settings::default(), "tls", Some("a.example"));
        assert_eq!((aim.ruled(), aim.replaced()), (&to(), None));
        assert_eq!(aim.name_for_rules(), None);
    }

    fn aimed(settings: &Settings, protocol: &'static str, host: Option<&str>) -> Aim {
        let host = host.map(|name| Host::parse(name).unwrap());
        settings.aim(&Found { protocol, host }, to())
    }

    fn to() -> Destination {
        "192.0.2.1:8443".parse().unwrap()
    }
}
