//! Who the client is, according to the proxies in front.
//!
//! Every proxy on the way writes down whom it saw: it appends that address to `X-Forwarded-For` (RFC 7239 calls
//! the same header `Forwarded`), or puts it into a header of its own (`CF-Connecting-IP`). A client may send
//! such headers too. So it is not the header that is believed but its writer: a peer with a loopback, private or
//! link-local address or on a unix socket (the reverse proxy next door), or one that `trustedProxies` lists.
//! V2Ray 4 believes everyone.
//!
//! ```text
//! client ──▶ CDN ──▶ nginx ──▶ mobula      X-Forwarded-For: [what the client says,] client, CDN
//! ```
//!
//! * Without `trustedProxies` the first address counts, as in V2Ray. Behind a proxy that appends it is the
//!   client's to choose.
//! * With `trustedProxies` the list is read from its end, and the first address that is none of them is the client:
//!   it was written by one of them. A list that names nobody else leaves its nearest known proxy; an empty
//!   `trustedProxies` believes nobody.
//! * `realIpHeader` names headers that hold the client alone. They count before the list, unless the list shows that
//!   somebody came around the CDN.
//!
//! * Xray's `trustedXForwardedFor` names headers by which a request of the CDN's is known.
//!
//! With `acceptProxyProtocol` the peer is whom the PROXY header names.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::published;
use crate::address::is_nearby;
use crate::session::Source;

/// Whose word about the client counts, and in which header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Whose word counts.
    pub trusted: Trusted,
    /// `realIpHeader`: the first one that is there and holds an address.
    pub headers: Vec<HeaderName>,
    /// `trustedXForwardedFor`, Xray's: where there are any, a request with one of these headers is believed whoever
    /// brings it, and one without is not. A `trustedProxies` beside it decides alone.
    pub marks: Vec<HeaderName>,
}

/// `trustedProxies`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trusted {
    /// Loopback, private and link-local addresses, and unix sockets.
    #[default]
    Nearby,
    /// These, and unix sockets if there are any.
    Listed(Vec<Net>),
}

/// `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    ip: IpAddr,
    prefix: u8,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Forwarded {
    /// The client's address that `headers` name, if `peer` is one to believe. Its port is 0.
    pub(crate) fn client(&self, headers: &HeaderMap, peer: Source) -> Option<Source> {
        let marked = |name: &HeaderName| headers.contains_key(name);
        let is_believed = match (&self.trusted, &self.marks[..]) {
            (Trusted::Nearby, marks @ [_, ..]) => marks.iter().any(marked),
            _ => self.trusted.believes(peer),
        };
        if !is_believed {
            return None;
        }
        let ip = self.named(headers).or_else(|| match &self.trusted {
            Trusted::Nearby => first(headers),
            Trusted::Listed(_) => self.last(&X_FORWARDED_FOR, headers),
        })?;
        Some(Source::from(SocketAddr::new(ip, 0)))
    }

    /// Whether headers of a request from `peer` may be believed.
    pub(crate) fn may_believe(&self, peer: Source) -> bool {
        match (&self.trusted, &self.marks[..]) {
            (Trusted::Nearby, [_, ..]) => true,
            _ => self.trusted.believes(peer),
        }
    }

    /// Whether many people may come from `source`: a proxy or a CDN whose headers did not say who it was.
    pub(crate) fn is_shared(&self, source: Source) -> bool {
        match source {
            Source::Unix => true,
            Source::Ip(addr) => {
                let is_listed = match &self.trusted {
                    Trusted::Nearby => addr.ip().is_loopback(),
                    Trusted::Listed(_) => self.trusted.believes(source),
                };
                is_listed || published::is_of_any(addr.ip())
            }
        }
    }

    /// What a header of `realIpHeader` says.
    fn named(&self, headers: &HeaderMap) -> Option<IpAddr> {
        if self.headers.is_empty() || self.came_around(headers) {
            return None;
        }
        let mut named = self.headers.iter();
        named.find_map(|name| self.last(name, headers))
    }

    /// Whether the proxy next to us saw somebody who is none of the others that are listed: only they write
    /// such a header.
    fn came_around(&self, headers: &HeaderMap) -> bool {
        let Trusted::Listed(nets) = &self.trusted else {
            return false;
        };
        let lists_others = nets.iter().any(|net| !is_nearby(net.ip));
        let saw = elements(&X_FORWARDED_FOR, headers).pop();
        lists_others && saw.is_some_and(|saw| address(&saw).is_some_and(|ip| !self.trusted.has(ip)))
    }

    /// From the end of a list: the first address that is no trusted proxy's, else that of the farthest one. What is
    /// no address ends the list, for what stands before it was written by nobody we know.
    fn last(&self, name: &HeaderName, headers: &HeaderMap) -> Option<IpAddr> {
        let mut farthest = None;
        for element in elements(name, headers).iter().rev() {
            let Some(ip) = address(element) else { break };
            farthest = Some(ip);
            if !self.trusted.has(ip) {
                break;
            }
        }
        farthest
    }
}

/// V2Ray's choice.
fn first(headers: &HeaderMap) -> Option<IpAddr> {
    let list = headers.get(X_FORWARDED_FOR)?.to_str().ok()?;
    address(list.split(',').next()?.trim())
}

/// The elements of a list in all lines of its header, without empty ones; of `Forwarded` what is behind `for=`.
fn elements(name: &HeaderName, headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(name).iter();
    // What is no text is no address either, and stays in its place.
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    let elements = lines.flat_map(|line| {
        let parts = line.split(',').map(|part| part.trim().to_owned());
        parts.collect::<Vec<_>>()
    });
    let elements = elements.filter(|element| !element.is_empty());
    if *name != FORWARDED {
        return elements.collect();
    }
    let node = |element: String| {
        let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let mut nodes = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case("for"));
        let (_, node) = nodes.next().unwrap_or_default();
        node.trim().trim_matches('"').to_owned()
    };
    elements.map(node).collect()
}

/// `1.2.3.4`, `1.2.3.4:567`, `2001:db8::1`, `[2001:db8::1]:567`, and a zone behind `%`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let zoned = || text.split_once('%')?.0.parse().ok();
    let ip: IpAddr = text
        .parse()
        .ok()
        .or_else(|| text.parse().ok().map(|addr: SocketAddr| addr.ip()))
        .or_else(bare)
        .or_else(zoned)?;
    Some(ip.to_canonical())
}

impl Trusted {
    fn believes(&self, peer: Source) -> bool {
        match (self, peer) {
            (Self::Nearby, Source::Unix) => true,
            // Whoever may open the socket is on this machine; who lists nobody trusts nobody.
            (Self::Listed(nets), Source::Unix) => !nets.is_empty(),
            (_, Source::Ip(addr)) => self.has(addr.ip()),
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        match self {
            Self::Nearby => is_nearby(ip),
            Self::Listed(nets) => nets.iter().any(|net| net.contains(ip)),
        }
    }
}

impl Net {
    /// Names for networks that are published.
    pub const NAMES: [&str; 4] = published::NAMES;

    /// An address, a network, or a name for several.
    pub fn read(text: &str) -> Option<Vec<Self>> {
        let named = published::named(text);
        let all = |texts: Vec<&str>| texts.into_iter().map(Self::parse).collect();
        named.map_or_else(|| Some(vec![Self::parse(text)?]), all)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        if prefix > longest {
            return None;
        }
        // An IPv4 network written as a part of IPv6.
        match ip.to_canonical() {
            IpAddr::V4(ip) if longest == 128 => Some(Self {
                ip: ip.into(),
                prefix: prefix.checked_sub(96)?,
            }),
            _ => Some(Self { ip, prefix }),
        }
    }

    pub(crate) fn contains(self, ip: IpAddr) -> bool {
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
#[path = "forwarded_tests.rs"]
mod tests;
