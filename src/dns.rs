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
    let found = tokio::net::lookup_host((name.as_str(), to.port))
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot resolve {name}: {}", reason(&e))))?;
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
            format!("cannot resolve {name}: it has {wanted}"),
        ));
    }
    Ok(addrs)
}

/// The resolver's own words, without what the standard library puts in front.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "the resolver gave no reason".to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ip_address_is_its_own_answer() {
        let addrs = resolve(&"[::1]:80".parse().unwrap(), Strategy::UseIpv4).await;
        assert_eq!(addrs.unwrap(), ["[::1]:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_of_the_hosts_file_is_found_once_per_address() {
        let addrs = resolve(&"localhost:80".parse().unwrap(), Strategy::UseIpv4).await;
        assert_eq!(addrs.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_is_named() {
        let error = resolve(&"nowhere.invalid:80".parse().unwrap(), Strategy::AsIs)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cannot resolve nowhere.invalid: "),
            "{text}"
        );
    }
}
