//! A set of IP addresses: sorted ranges, found by bisection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use thiserror::Error;

use crate::address::reached;

/// Why a text is not a network.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NetworkError {
    #[error("`{0}` is not an IP address")]
    NotAnAddress(String),
    #[error("`{0}` is not a network, expected 0 to {1} behind the `/`")]
    Length(String, u8),
}

/// A set of addresses of both families. A copy shares its ranges.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ips {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// The addresses of `ip` or `source`: those in any of these sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    pub inside: Ips,
    /// Written with `!`: all addresses that are not in the set, of a family that the set has some of, as in Xray.
    pub outside: Vec<Ips>,
}

/// First and last of each range; they neither touch nor overlap.
type Ranges<T> = Arc<[(T, T)]>;

/// The addresses with the same first `len` bits as `ip`; `None` when there are not as many bits. An IPv4 network mapped
/// into IPv6 is the IPv4 network.
pub fn network(ip: IpAddr, len: u8) -> Option<IpNet> {
    let (ip, len) = match (ip, ip.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(mapped)) if len >= 96 => (mapped.into(), len - 96),
        _ => (ip, len),
    };
    IpNet::new(ip, len).ok()
}

/// Reads `1.2.3.4`, `10.0.0.0/8` or `2001:db8::/32`.
///
/// # Errors
///
/// When the text is none of these.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    let text = text.trim();
    let (ip, len) = match text.split_once('/') {
        Some((ip, len)) => (ip, Some(len)),
        None => (text, None),
    };
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let ip: IpAddr = bare
        .unwrap_or(ip)
        .parse()
        .map_err(|_| NetworkError::NotAnAddress(ip.escape_debug().to_string()))?;
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let found = match len {
        None => network(ip, bits),
        Some(len) => len.parse().ok().and_then(|len| network(ip, len)),
    };
    found.ok_or_else(|| NetworkError::Length(text.escape_debug().to_string(), bits))
}

impl Networks {
    pub fn contain(&self, ip: IpAddr) -> bool {
        self.inside.contains(ip) || self.outside.iter().any(|ips| ips.miss(ip))
    }

    /// The same addresses as networks, for who has no word for all others.
    pub fn networks(&self) -> Vec<IpNet> {
        let outside = self.outside.iter().map(Ips::all_others);
        let all = outside.chain([self.inside.clone()]);
        all.flat_map(|ips| ips.networks()).collect()
    }

    /// Whether a connection to `ip` ends at one of these. A connection to `0.0.0.0` ends at `127.0.0.1`, and a rule may
    /// name either.
    pub fn reach(&self, ip: IpAddr) -> bool {
        let forms = [ip, reached(ip)];
        let misses = |ips: &Ips| forms.iter().all(|ip| ips.miss(*ip));
        forms.iter().any(|ip| self.inside.contains(*ip)) || self.outside.iter().any(misses)
    }
}

impl Ips {
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => is_in(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => is_in(&self.v6, ip.to_bits()),
        }
    }

    /// Whether it is none of these, which are of its family.
    fn miss(&self, ip: IpAddr) -> bool {
        let is_empty = match ip.to_canonical() {
            IpAddr::V4(_) => self.v4.is_empty(),
            IpAddr::V6(_) => self.v6.is_empty(),
        };
        !is_empty && !self.contains(ip)
    }
}

impl Ips {
    /// The fewest networks that have these addresses and no others.
    fn networks(&self) -> Vec<IpNet> {
        let v4 = self.v4.iter().flat_map(|(first, last)| {
            let (first, last) = (Ipv4Addr::from_bits(*first), Ipv4Addr::from_bits(*last));
            Ipv4Subnets::new(first, last, 0)
        });
        let v6 = self.v6.iter().flat_map(|(first, last)| {
            let (first, last) = (Ipv6Addr::from_bits(*first), Ipv6Addr::from_bits(*last));
            Ipv6Subnets::new(first, last, 0)
        });
        v4.map(IpNet::V4).chain(v6.map(IpNet::V6)).collect()
    }

    fn all_others(&self) -> Self {
        Self {
            v4: gaps(
                &self.v4,
                u32::MAX,
                |n| n.checked_add(1),
                |n| n.checked_sub(1),
            ),
            v6: gaps(
                &self.v6,
                u128::MAX,
                |n| n.checked_add(1),
                |n| n.checked_sub(1),
            ),
        }
    }
}

impl FromIterator<IpNet> for Ips {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(all) => v4.push((all.network().to_bits(), all.broadcast().to_bits())),
                IpNet::V6(all) => v6.push((all.network().to_bits(), all.broadcast().to_bits())),
            }
        }
        Self {
            v4: joined(v4, |n| n.saturating_add(1)),
            v6: joined(v6, |n| n.saturating_add(1)),
        }
    }
}

impl fmt::Debug for Ips {
    /// How much there is; of a country there are thousands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ips({} ranges)", self.v4.len() + self.v6.len())
    }
}

/// Ranges in order, those that touch made one.
fn joined<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: fn(T) -> T) -> Ranges<T> {
    ranges.sort_unstable();
    ranges.dedup_by(|later, earlier| {
        let touch = later.0 <= next(earlier.1);
        if touch {
            earlier.1 = earlier.1.max(later.1);
        }
        touch
    });
    ranges.into()
}

/// What lies between ranges, up to `end`.
fn gaps<T: Copy + Ord + Default>(
    ranges: &[(T, T)],
    end: T,
    next: fn(T) -> Option<T>,
    last: fn(T) -> Option<T>,
) -> Ranges<T> {
    let mut gaps = Vec::new();
    // Of a family without any, none is another one.
    let mut from = (!ranges.is_empty()).then(T::default);
    for (first, end) in ranges {
        if let (Some(from), Some(last)) = (from, last(*first))
            && from <= last
        {
            gaps.push((from, last));
        }
        from = next(*end);
    }
    gaps.extend(from.map(|from| (from, end)));
    gaps.into()
}

fn is_in<T: Copy + Ord>(ranges: &[(T, T)], ip: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= ip);
    behind > 0 && ip <= ranges[behind - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_first_and_last_address() {
        let ips = set(&["10.0.0.0/8", "1.2.3.4", "2001:db8::/32", "0.0.0.0/32"]);
        for ip in [
            "10.0.0.0",
            "10.255.255.255",
            "1.2.3.4",
            "2001:db8::",
            "0.0.0.0",
            "::ffff:10.1.1.1",
        ] {
            assert!(ips.contains(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "9.255.255.255",
            "11.0.0.0",
            "1.2.3.5",
            "2001:db9::",
            "::",
            "0.0.0.1",
        ] {
            assert!(!ips.contains(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn networks_that_touch_are_one_range() {
        let ips = set(&[
            "10.0.0.0/9",
            "10.128.0.0/9",
            "10.1.0.0/16",
            "255.0.0.0/8",
            "0.0.0.0/0",
        ]);
        assert_eq!(*ips.v4, [(0, u32::MAX)]);
        assert_eq!(set(&["::/0"]).v6.len(), 1);
        assert_eq!(set(&["1.0.0.0/8", "3.0.0.0/8"]).v4.len(), 2);
    }

    #[test]
    fn bits_beyond_the_length_are_ignored_and_bad_lengths_refused() {
        assert!(set(&["192.168.1.77/24"]).contains("192.168.1.1".parse().unwrap()));
        assert!(set(&["::ffff:10.0.0.0/104"]).contains("10.9.9.9".parse().unwrap()));
        for bad in [
            "1.2.3.4/33",
            "::/129",
            "1.2.3.4/",
            "1.2.3",
            "1.2.3.4/-1",
            "example.com",
        ] {
            assert!(parse_network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_others_are_networks_too() {
        let texts = |networks: Networks| {
            let all = networks.networks().into_iter();
            all.map(|net| net.to_string()).collect::<Vec<_>>()
        };
        let inside = set(&["10.0.0.0/8", "::1"]);
        let outside = vec![set(&["128.0.0.0/1", "::/1"])];
        assert_eq!(
            texts(Networks { inside, outside }),
            ["0.0.0.0/1", "8000::/1", "10.0.0.0/8", "::1/128"]
        );
        let others = set(&["0.0.0.0/0", "1::/16"]).all_others();
        assert!(others.v4.is_empty() && !others.contains("1::5".parse().unwrap()));
        assert!(others.contains("::".parse().unwrap()) && others.contains("2::".parse().unwrap()));
    }

    fn set(texts: &[&str]) -> Ips {
        texts.iter().map(|t| parse_network(t).unwrap()).collect()
    }
}
