//! What a config says about sniffing.

#![warn(missing_docs)]

use super::aim::{Aim, MadeUp};
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
    /// `routeOnly`: the name is for rules, and the session goes where it asked to go.
    pub route_only: bool,
    /// With `route_only`: where rules about addresses want those of a name, they are asked about those of the name that was found, as in
    /// Xray. In other programs they are asked about where the session goes.
    pub resolves_named: bool,
    /// `metadataOnly`: the content is not looked at; what remains is `fakedns`.
    pub metadata_only: bool,
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
    /// The name that a made-up address stands for; where it is forgotten, what is found in the content.
    FakeDns,
    /// Another word for it: V2Ray looks into the content only with this one, Xray with either.
    FakeDnsAndOthers,
}

impl Settings {
    /// Whether made-up addresses become names again.
    pub fn names_fakes(&self) -> bool {
        let fake = |p: &Protocol| matches!(p, Protocol::FakeDns | Protocol::FakeDnsAndOthers);
        self.overriding.iter().any(fake)
    }

    /// What becomes of `asked` in a session that was `found` to be something, if it was.
    pub fn aim(&self, found: Option<&Found>, asked: Destination) -> Aim {
        let host = found.and_then(|found| {
            let host = found.host.as_ref()?;
            self.takes(found, host).then(|| host.clone())
        });
        let named = host.map(|host| Destination::new(host, asked.port));
        Aim::new(asked, named, self.route_only).resolving_named(self.resolves_named)
    }

    /// As [`Settings::aim`], where `asked` is a made-up address. That is nowhere: neither `routeOnly` nor a name that is
    /// left out keeps a session there, and any name is taken.
    pub fn aim_of_fake(&self, made_up: MadeUp, found: Option<&Found>, asked: Destination) -> Aim {
        let host = match made_up {
            MadeUp::Named(host) => Some(host),
            // A client that was given the address may write it into its request.
            MadeUp::Forgotten => found
                .and_then(|found| found.host.clone())
                .filter(|host| matches!(host, Host::Domain(_))),
        };
        let named = host.map(|host| Destination::new(host, asked.port));
        Aim::of_fake(asked, named)
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
            // Nothing that is found in the content.
            Self::FakeDns | Self::FakeDnsAndOthers => return false,
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
            ..Settings::default()
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

    #[test]
    fn a_made_up_address_is_its_name_or_nowhere() {
        let settings = Settings {
            overriding: vec![Protocol::FakeDns],
            excluded: Some(Domains::new([Pattern::Full("a.example".into())]).unwrap()),
            route_only: true,
            ..Settings::default()
        };
        assert!(settings.names_fakes());
        let aim = |made_up, host: Option<&str>| {
            let found = Found {
                protocol: "tls",
                host: host.map(|name| Host::parse(name).unwrap()),
            };
            settings.aim_of_fake(made_up, Some(&found), to())
        };
        let named = || MadeUp::Named(Host::Domain("a.example".to_owned()));
        for (made_up, said, expected) in [
            (named(), Some("b.example"), Some("a.example:8443")),
            (named(), None, Some("a.example:8443")),
            (MadeUp::Forgotten, Some("b.example"), Some("b.example:8443")),
            (MadeUp::Forgotten, Some("192.0.2.1"), None),
            (MadeUp::Forgotten, None, None),
        ] {
            let aim = aim(made_up, said);
            assert_eq!(aim.is_lost(), expected.is_none(), "{said:?}");
            assert_eq!(aim.name_of_fake().is_some(), expected.is_some());
            assert_eq!(aim.asked(), &to());
            let expected = expected.map_or(to(), |to| to.parse().unwrap());
            assert_eq!((aim.dialled(), aim.ruled()), (&expected, &expected));
            assert_eq!(aim.to(), expected);
        }
        let found = Found {
            protocol: "fakedns",
            host: Some(Host::Domain("a.example".to_owned())),
        };
        let aim = settings.aim(Some(&found), to());
        assert_eq!((aim.ruled(), aim.is_lost()), (&to(), false));
    }

    fn aimed(settings: &Settings, protocol: &'static str, host: Option<&str>) -> Aim {
        let host = host.map(|name| Host::parse(name).unwrap());
        settings.aim(Some(&Found { protocol, host }), to())
    }

    fn to() -> Destination {
        "192.0.2.1:8443".parse().unwrap()
    }
}
