//! `X-Forwarded-For`: who the client is, according to a proxy in front.
//!
//! V2Ray 4 believes this header from anyone, so that any client can write any address into the access
//! log and past rules about sources. Here it counts only from a peer that may set it: by default one
//! with a loopback, private or link-local address or on a unix socket (the reverse proxy on the same
//! machine or network), or those in `trustedProxies`, a list of addresses and networks of ours; an
//! empty list trusts nobody. As in V2Ray the first address of the list is taken, with port 0.
//!
//! With `acceptProxyProtocol` the peer is whom the PROXY header names. HAProxy in front of a CDN's
//! addresses, for instance: the header that the CDN sets counts when the CDN is in `trustedProxies`,
//! and one that a client of HAProxy invents does not.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::session::Source;

/// Whose `X-Forwarded-For` counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trusted {
    /// Loopback, private and link-local addresses, and unix sockets.
    Nearby,
    Listed(Vec<Net>),
}

/// `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Net {
    ip: IpAddr,
    prefix: u8,
}

/// The client's address that `headers` name, if `peer` is one to believe.
pub(super) fn client(headers: &HeaderMap, peer: Source, trusted: &Trusted) -> Option<Source> {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let list = headers.get(FORWARDED_FOR)?.to_str().ok()?;
    let first = list.split(',').next()?;
    if !trusted.believes(peer) {
        return None;
    }
    address(first.trim()).map(|ip| Source::from(SocketAddr::new(ip, 0)))
}

/// `1.2.3.4`, `1.2.3.4:567`, `2001:db8::1` or `[2001:db8::1]:567`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|addr: SocketAddr| addr.ip()))
        .or_else(bare)
}

impl Trusted {
    fn believes(&self, peer: Source) -> bool {
        match (self, peer) {
            (Self::Nearby, Source::Unix) => true,
            (Self::Nearby, Source::Ip(addr)) => is_nearby(addr.ip()),
            (Self::Listed(_), Source::Unix) => false,
            (Self::Listed(nets), Source::Ip(addr)) => nets.iter().any(|n| n.contains(addr.ip())),
        }
    }
}

fn is_nearby(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

impl Net {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        (prefix <= longest).then_some(Self { ip, prefix })
    }

    fn contains(self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let differing = u32::from(net) ^ u32::from(ip);
                differing
                    .checked_shr(32 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let differing = u128::from(net) ^ u128::from(ip);
                differing
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(value: &str, peer: &str, trusted: &Trusted) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", value.parse().unwrap());
        let peer = Source::from(SocketAddr::new(peer.parse().unwrap(), 4000));
        client(&headers, peer, trusted).map(|source| source.to_string())
    }

    #[test]
    fn the_first_address_counts_however_it_is_written() {
        for (value, ip) in [
            ("203.0.113.9", Some("203.0.113.9:0")),
            ("203.0.113.9, 10.0.0.1", Some("203.0.113.9:0")),
            (" 203.0.113.9:567 ", Some("203.0.113.9:0")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:5,1.2.3.4", Some("[2001:db8::1]:0")),
            ("::ffff:203.0.113.9", Some("203.0.113.9:0")),
            ("unknown, 203.0.113.9", None),
            ("", None),
        ] {
            let found = client_of(value, "127.0.0.1", &Trusted::Nearby);
            assert_eq!(found.as_deref(), ip, "{value}");
        }
    }

    #[test]
    fn only_some_peers_are_believed() {
        let listed = Trusted::Listed(
            ["198.51.100.0/24", "2001:db8::/32", "192.0.2.7"]
                .iter()
                .map(|text| Net::parse(text).unwrap())
                .collect(),
        );
        let everyone = Trusted::Listed(vec![Net::parse("0.0.0.0/0").unwrap()]);
        let nobody = Trusted::Listed(Vec::new());
        for (trusted, peer, believed) in [
            (&Trusted::Nearby, "127.0.0.2", true),
            (&Trusted::Nearby, "192.168.3.4", true),
            (&Trusted::Nearby, "fe80::1", true),
            (&Trusted::Nearby, "fd00::1", true),
            (&Trusted::Nearby, "::1", true),
            (&Trusted::Nearby, "198.51.100.3", false),
            (&Trusted::Nearby, "2001:db8::5", false),
            (&listed, "198.51.100.3", true),
            (&listed, "198.51.101.3", false),
            (&listed, "2001:db8::5", true),
            (&listed, "192.0.2.7", true),
            (&listed, "192.0.2.8", false),
            (&listed, "127.0.0.1", false),
            (&everyone, "8.8.8.8", true),
            (&nobody, "127.0.0.1", false),
        ] {
            let found = client_of("203.0.113.9", peer, trusted);
            assert_eq!(found.is_some(), believed, "{peer}");
        }
    }

    #[test]
    fn a_network_has_an_address_and_a_fitting_prefix() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "example.com",
            "10.0.0.0/x",
        ] {
            assert_eq!(Net::parse(text), None, "{text}");
        }
    }
}
