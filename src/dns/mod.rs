//! The built-in DNS: V2Ray's `dns` section, for all that resolve names by it (routing, `freedom` with
//! `UseIP`, the `dns` outbound).
//!
//! ```text
//! name ─▶ hosts ─▶ order of servers ─▶ server: cache ─▶ the same question under way ─▶ ask, 4 s
//!                        ▲                                                       UDP │ TCP │ HTTPS
//!                        └── no answer, or none that `expectIPs` holds: the next one
//! ```
//!
//! An answer ends the search even when it holds no address, as in V2Ray 4.45: only silence, a broken
//! connection and unexpected addresses go on to the next server. A client that asks through a `dns` outbound may be
//! given a made-up address ([`FakePools`]); nobody else is. hickory-proto reads and writes the
//! messages. How servers are reached is lent to this room ([`Dialer`]): most questions go through
//! routing, as sessions of an inbound with the tag of `dns.tag`.

mod asker;
mod cache;
mod channel;
pub mod codec;
mod dial;
mod failing;
mod fake;
mod framed;
mod hosts;
mod hosts_file;
mod https;
mod known;
mod resolver;
mod server;
mod settings;
mod shares;
mod system;
mod system_hosts;
#[cfg(test)]
mod tests;

pub use asker::{asker, asking, is_on_its_way, on_its_way};
pub use dial::{DialFuture, Dialer, Inside, Via};
pub use fake::{Fake, FakePools};
pub use framed::Framed;
pub use known::Known;
pub use resolver::{Lookup, LookupError, Resolver};
pub use settings::{
    FakePool, FakePoolError, Fallback, HostEntry, HostNames, HostValue, Server, Settings, Upstream,
};
pub use system::resolve;
pub use system_hosts::HOSTS_FILE;

use std::net::{IpAddr, SocketAddr};

use codec::Family;

/// Which addresses of a name may be used; V2Ray's `domainStrategy` of an outbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    #[default]
    AsIs,
    UseIp,
    UseIpv4,
    UseIpv6,
    PreferIpv4,
    PreferIpv6,
}

/// Which families of addresses are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    v4: bool,
    v6: bool,
}

impl Strategy {
    fn families(self) -> Families {
        match self {
            Self::UseIpv4 => Families::V4,
            Self::UseIpv6 => Families::V6,
            Self::AsIs | Self::UseIp | Self::PreferIpv4 | Self::PreferIpv6 => Families::BOTH,
        }
    }

    /// Those of `ips` that may be used, in the order to try them, once each.
    fn pick(self, ips: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
        let families = self.families();
        let mut addrs: Vec<SocketAddr> = Vec::new();
        for ip in ips.into_iter().filter(|ip| families.allow(*ip)) {
            let addr = SocketAddr::new(ip, port);
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        match self {
            Self::PreferIpv4 => addrs.sort_by_key(|addr| !addr.is_ipv4()),
            Self::PreferIpv6 => addrs.sort_by_key(|addr| !addr.is_ipv6()),
            Self::AsIs | Self::UseIp | Self::UseIpv4 | Self::UseIpv6 => {}
        }
        addrs
    }

    /// What to say of a name without a usable address.
    fn missing(self) -> &'static str {
        match self.families() {
            Families {
                v4: true,
                v6: false,
            } => "no IPv4 address",
            Families {
                v4: false,
                v6: true,
            } => "no IPv6 address",
            _ => "no address",
        }
    }
}

impl Families {
    pub const BOTH: Self = Self { v4: true, v6: true };
    pub const V4: Self = Self {
        v4: true,
        v6: false,
    };
    pub const V6: Self = Self {
        v4: false,
        v6: true,
    };
    pub const NONE: Self = Self {
        v4: false,
        v6: false,
    };

    /// Those of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            v4: self.v4 && other.v4,
            v6: self.v6 && other.v6,
        }
    }

    fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    fn allow(self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }
}

impl Default for Families {
    fn default() -> Self {
        Self::BOTH
    }
}

impl From<Family> for Families {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}
