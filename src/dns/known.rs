//! What is known of the addresses of a session's destination before anybody dials it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Strategy;
use crate::address::{Destination, Host};

/// The addresses of a name, if rules needed them. The name may have others a moment later, so the same addresses are
/// dialled: otherwise a name could pass a rule about addresses and then lead elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// No rule needed them; they are resolved when they are dialled.
    #[default]
    Unasked,
    /// All of them.
    Ips(Arc<[IpAddr]>),
    /// There is none, for this reason.
    Missing(Arc<str>),
}

impl Known {
    /// From the result of a lookup.
    pub fn new(found: io::Result<Vec<SocketAddr>>) -> Self {
        match found {
            Ok(addrs) => Self::Ips(addrs.iter().map(|addr| addr.ip().to_canonical()).collect()),
            Err(e) => Self::Missing(e.to_string().into()),
        }
    }

    /// The addresses (perhaps none), or `None` if nothing was looked up.
    pub fn ips(&self) -> Option<&[IpAddr]> {
        match self {
            Self::Unasked => None,
            Self::Ips(ips) => Some(ips),
            Self::Missing(_) => Some(&[]),
        }
    }

    /// The addresses to dial for `to`: those that `strategy` allows, in its order; never an empty list.
    pub fn choose(&self, to: &Destination, strategy: Strategy) -> io::Result<Vec<SocketAddr>> {
        let missing = |text: String| Err(io::Error::new(io::ErrorKind::NotFound, text));
        match (&to.host, self) {
            (Host::Ip(ip), _) => Ok(vec![SocketAddr::new(*ip, to.port)]),
            (_, Self::Missing(reason)) => missing(reason.to_string()),
            (name, known) => {
                let ips = known.ips().unwrap_or_default();
                match strategy.pick(ips.to_vec(), to.port) {
                    addrs if addrs.is_empty() => missing(format!(
                        "cannot resolve {name}: it has {}",
                        strategy.missing()
                    )),
                    addrs => Ok(addrs),
                }
            }
        }
    }

    /// The first of them in the place of the name in `to`, if there is one.
    pub fn put(&self, to: Destination, strategy: Strategy) -> Destination {
        match self {
            Self::Ips(_) => {
                let addrs = self.choose(&to, strategy).unwrap_or_default();
                addrs.first().map_or(to, |addr| (*addr).into())
            }
            Self::Unasked | Self::Missing(_) => to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dialled_is_among_what_was_seen() {
        let found = ["1.1.1.1:0", "[::1]:0", "[::ffff:2.2.2.2]:0"].map(|a| a.parse().unwrap());
        let known = Known::new(Ok(found.to_vec()));
        let to: Destination = "a.example:80".parse().unwrap();
        let chosen = |strategy| {
            let addrs = known.choose(&to, strategy).unwrap();
            addrs.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            chosen(Strategy::AsIs),
            ["1.1.1.1:80", "[::1]:80", "2.2.2.2:80"]
        );
        assert_eq!(chosen(Strategy::UseIpv6), ["[::1]:80"]);
        assert_eq!(chosen(Strategy::PreferIpv6)[0], "[::1]:80");
        let put = known.put(to.clone(), Strategy::UseIpv6);
        assert_eq!(put.to_string(), "[::1]:80");
        let only_v4 = Known::new(Ok(vec!["1.1.1.1:0".parse().unwrap()]));
        let error = only_v4.choose(&to, Strategy::UseIpv6).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot resolve a.example: it has no IPv6 address"
        );
        let missing = Known::new(Err(io::Error::other("cannot resolve a.example: no")));
        assert_eq!(missing.ips(), Some(&[][..]));
        let error = missing.choose(&to, Strategy::AsIs).unwrap_err();
        assert_eq!(error.to_string(), "cannot resolve a.example: no");
        assert_eq!(missing.put(to.clone(), Strategy::AsIs), to);
    }
}
