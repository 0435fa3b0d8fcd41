//! From a domain name to addresses, by the system's resolver.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::address::{Destination, Host};

/// Which addresses of a name may be used; V2Ray's `domainStrategy` of an outbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    #[default]
    AsIs,
    UseIp,
    UseIpv4,
    UseIpv6,
}

/// The addresses of `to`, in the resolver's order of preference; never empty.
pub async fn resolve(to: &Destination, strategy: Strategy) -> io::Result<Vec<SocketAddr>> {
    let name = match &to.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, to.port)]),
        Host::Domain(name) => name,
    };
    let found = tokio::net::lookup_host((name.as_str(), to.port)).await?;
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for addr in found.filter(|a| strategy.allows(a.ip())) {
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    if addrs.is_empty() {
        let wanted = match strategy {
            Strategy::UseIpv4 => "no IPv4 address",
            Strategy::UseIpv6 => "no IPv6 address",
            Strategy::AsIs | Strategy::UseIp => "no address",
        };
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("`{name}` has {wanted}"),
        ));
    }
    Ok(addrs)
}

impl Strategy {
    fn allows(self, ip: IpAddr) -> bool {
        match self {
            Self::AsIs | Self::UseIp => true,
            Self::UseIpv4 => ip.is_ipv4(),
            Self::UseIpv6 => ip.is_ipv6(),
        }
    }
}
