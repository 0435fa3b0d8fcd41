//! The system's resolver: the hosts file, the servers of `resolv.conf`, whatever else it asks.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::Strategy;
use crate::address::{Destination, Host};

/// All addresses of a name.
pub(super) async fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut ips = Vec::new();
    let found = tokio::net::lookup_host((name, 0));
    for addr in found
        .await
        .map_err(|e| io::Error::new(e.kind(), reason(&e)))?
    {
        if !ips.contains(&addr.ip()) {
            ips.push(addr.ip());
        }
    }
    Ok(ips)
}

/// Whether the resolver may know more later: its own servers did not answer. The standard library
/// keeps the resolver's code to itself, so its words (glibc's and musl's) must do.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("emporary failure") || text.contains("ry again") || text.contains("ystem error")
}

/// The addresses of `to`, in the resolver's order of preference; never empty.
pub async fn resolve(to: &Destination, strategy: Strategy) -> io::Result<Vec<SocketAddr>> {
    let name = match &to.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, to.port)]),
        Host::Domain(name) => name,
    };
    let found = addresses(name)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot resolve {name}: {e}")))?;
    let addrs = strategy.pick(found, to.port);
    if addrs.is_empty() {
        let text = format!("cannot resolve {name}: it has {}", strategy.missing());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
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
