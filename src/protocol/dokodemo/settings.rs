//! What a `dokodemo-door` inbound can be told.

#![warn(missing_docs)]

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::address::{AddressError, Destination, Host};
use crate::mux;
use crate::protocol::InboundTraits;

/// `settings` of a `dokodemo-door` inbound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundSettings {
    /// `address` and `port`: where all goes; with `follow_redirect`, what was meant for the door itself.
    pub to: Option<Destination>,
    /// Nobody has said an address: in place of the one in `to`, which is `localhost`, all goes to the loopback address of the
    /// family that was come to, as in Xray. The name itself is for unix sockets.
    pub loopback: bool,
    /// Port 0 in `to` is the port that was come to, as in Xray.
    pub same_port: bool,
    /// Xray's `portMap`: what differs from `to` at these ports of ours; nothing where `follow_redirect` is on.
    pub port_map: BTreeMap<u16, Mapped>,
    /// `followRedirect`: what a packet filter brings goes to where it was meant to go.
    pub follow_redirect: bool,
    /// `network`: whether TCP connections are listened for.
    pub tcp: bool,
    /// Whether a UDP port is listened on as well.
    pub udp: bool,
    /// `userLevel`: index into `policy.levels`.
    pub level: u32,
    /// `promptEnd`: where a link has one end for both directions clients hear of that of an answer at once; GOST's lose nothing by it.
    pub prompt_end: bool,
}

/// A value of `portMap`, `host:port`: each part that is not written is that of `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// In place of the address.
    pub host: Option<Host>,
    /// In place of the port.
    pub port: Option<u16>,
}

/// Why an entry of `portMap` is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PortMapError {
    /// A key that no port is called.
    #[error("`{}` is not a port, expected one from 1 to 65535", .0.escape_debug())]
    Key(String),
    /// There is no colon, or an IPv6 address has no brackets.
    #[error(
        "`{}` is not a target, expected `host:port`, `:port`, `host:` or `[IPv6]:port`",
        .0.escape_debug()
    )]
    Form(String),
    /// What stands in front of the colon.
    #[error(transparent)]
    Host(#[from] AddressError),
    /// What stands behind it.
    #[error("`{}` is not a port to go to, expected one from 1 to 65535", .0.escape_debug())]
    Port(String),
}

/// V2Ray listens for TCP alone unless it is told otherwise.
impl Default for InboundSettings {
    fn default() -> Self {
        Self {
            to: None,
            loopback: false,
            same_port: false,
            port_map: BTreeMap::new(),
            follow_redirect: false,
            tcp: true,
            udp: false,
            level: 0,
            prompt_end: false,
        }
    }
}

impl InboundSettings {
    /// Where what came to this address of ours goes; a unix socket has none.
    pub(crate) fn at(&self, local: Option<SocketAddr>) -> Option<Destination> {
        let mut to = self.to.clone()?;
        let port = local.map(|local| local.port());
        if let Some(local) = local.filter(|_| self.loopback) {
            to.host = Host::Ip(match local.ip().to_canonical() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        if self.same_port && to.port == 0 {
            to.port = port.unwrap_or(0);
        }
        let mapped = port.and_then(|port| self.port_map.get(&port));
        if let Some(mapped) = mapped.filter(|_| !self.follow_redirect) {
            if let Some(host) = &mapped.host {
                to.host = host.clone();
            }
            to.port = mapped.port.unwrap_or(to.port);
        }
        Some(to)
    }

    /// What follows from the settings for others.
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            handshake_level: None,
            streams: self.tcp,
            datagrams: self.udp,
            follows_redirect: self.follow_redirect,
            // V2Ray's API inbound is written without a port: what it leads to dials nothing.
            // The name of mux is no place, so it needs no port.
            lacks_port: !self.follow_redirect
                && !self.same_port
                && self
                    .to
                    .as_ref()
                    .is_some_and(|to| to.port == 0 && !mux::is_meant(to)),
            ..InboundTraits::default()
        }
    }
}

impl Mapped {
    /// An entry of `portMap` as it is written.
    ///
    /// # Errors
    ///
    /// When either part of it cannot be read.
    pub fn parse(key: &str, value: &str) -> Result<(u16, Self), PortMapError> {
        let port = port(key).ok_or_else(|| PortMapError::Key(key.to_owned()))?;
        let form = || PortMapError::Form(value.to_owned());
        let (host, to) = value.rsplit_once(':').ok_or_else(form)?;
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(form());
        }
        let host = match host {
            "" => None,
            host => Some(Host::parse(host)?),
        };
        let to = match to {
            "" => None,
            to => Some(self::port(to).ok_or_else(|| PortMapError::Port(to.to_owned()))?),
        };
        Ok((port, Self { host, port: to }))
    }
}

/// As it is written.
impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_ref().map(Host::to_string);
        let port = self.port.map(|port| port.to_string());
        write!(
            f,
            "{}:{}",
            host.unwrap_or_default(),
            port.unwrap_or_default()
        )
    }
}

/// Not 0, and as short as a number is.
fn port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port != 0 && port.to_string() == text).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_as_it_is_read() {
        for value in ["1.1.1.1:7", ":8", "example.com:", "[::1]:9", ":"] {
            assert_eq!(Mapped::parse("5", value).unwrap().1.to_string(), value);
        }
    }

    #[test]
    fn a_mapped_port_has_its_own_parts_of_the_target() {
        let entries = [
            ("5555", "1.1.1.1:7777"),
            ("5556", ":8888"),
            ("5557", "example.com:"),
            ("5558", "[::1]:9"),
            ("5559", ":"),
        ];
        let settings = InboundSettings {
            to: Some("192.0.2.1:0".parse().unwrap()),
            same_port: true,
            port_map: entries
                .map(|(key, value)| Mapped::parse(key, value).unwrap())
                .into(),
            ..InboundSettings::default()
        };
        for (port, to) in [
            (5555, "1.1.1.1:7777"),
            (5556, "192.0.2.1:8888"),
            (5557, "example.com:5557"),
            (5558, "[::1]:9"),
            (5559, "192.0.2.1:5559"),
            (5560, "192.0.2.1:5560"),
        ] {
            let local = SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(settings.at(Some(local)).unwrap().to_string(), to);
        }
        assert_eq!(settings.at(None).unwrap().to_string(), "192.0.2.1:0");
        let follows = InboundSettings {
            follow_redirect: true,
            ..settings
        };
        assert_eq!(
            follows.at("[::1]:5555".parse().ok()).unwrap().to_string(),
            "192.0.2.1:5555"
        );
    }

    #[test]
    fn a_door_without_an_address_leads_to_the_loopback_of_the_family_that_was_come_to() {
        let settings = InboundSettings {
            to: Some("localhost:0".parse().unwrap()),
            loopback: true,
            same_port: true,
            port_map: [Mapped::parse("7", "a:8").unwrap()].into(),
            ..InboundSettings::default()
        };
        for (local, to) in [
            ("192.0.2.1:5", "127.0.0.1:5"),
            ("[::ffff:192.0.2.1]:5", "127.0.0.1:5"),
            ("[2001:db8::1]:5", "[::1]:5"),
            ("192.0.2.1:7", "a:8"),
        ] {
            let to_there = settings.at(local.parse().ok()).unwrap();
            assert_eq!(to_there.to_string(), to);
        }
        assert_eq!(settings.at(None).unwrap().to_string(), "localhost:0");
    }

    #[test]
    fn what_is_no_entry_of_a_port_map_is_said() {
        for (key, value, text) in [
            (
                "0",
                "a:1",
                "`0` is not a port, expected one from 1 to 65535",
            ),
            (
                "1-9",
                "a:1",
                "`1-9` is not a port, expected one from 1 to 65535",
            ),
            (
                "+5",
                "a:1",
                "`+5` is not a port, expected one from 1 to 65535",
            ),
            (
                "5",
                "a",
                "`a` is not a target, expected `host:port`, `:port`, `host:` or `[IPv6]:port`",
            ),
            (
                "5",
                "::1:5",
                "`::1:5` is not a target, expected `host:port`, `:port`, `host:` or `[IPv6]:port`",
            ),
            (
                "5",
                "a:0",
                "`0` is not a port to go to, expected one from 1 to 65535",
            ),
            (
                "5",
                "a b:1",
                "a domain name holds letters, digits, `-`, `.` and `_`, this one does not",
            ),
        ] {
            assert_eq!(Mapped::parse(key, value).unwrap_err().to_string(), text);
        }
    }
}
