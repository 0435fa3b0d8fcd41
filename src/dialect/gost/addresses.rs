//! Where services listen, and what they forward to.

use std::net::{IpAddr, Ipv4Addr};

use super::part::check_keys;
use super::{Problems, selector};
use crate::address::{Destination, Host};
use crate::dialect::names::Names;
use crate::dialect::tree::Node;

/// `forwarder`.
pub(super) fn targets(node: &Node, problems: &Problems) -> Vec<Destination> {
    let Some(forwarder) = node.get("forwarder") else {
        return Vec::new();
    };
    check_keys(forwarder, &["name", "nodes", "selector"], problems);
    if let Some(selector) = forwarder.get("selector") {
        selector::read(Some(selector), problems);
    }
    let nodes = forwarder.get("nodes").map(Node::items).unwrap_or_default();
    let target = |node: &Node| {
        check_keys(node, &["name", "addr", "network"], problems);
        let addr = node.get("addr").and_then(Node::as_text).unwrap_or_default();
        let to = destination(addr);
        to.map_err(|text| problems.error(&node.at, &text)).ok()
    };
    nodes.iter().filter_map(target).collect()
}

/// Where a service listens; without a host on every address, and without a port on any that is free.
pub(super) fn listen(addr: &str, names: &mut Names) -> Result<(IpAddr, u16), String> {
    let (host, port) = addr.rsplit_once(':').unwrap_or(("", addr));
    let number = match port {
        "" => 0,
        port => port.parse().map_err(|_| bad_port(port))?,
    };
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if host.is_empty() {
        return Ok((everywhere, number));
    }
    let wrong = |e: String| format!("`{}` is no address to listen on: {e}", host.escape_debug());
    match Host::parse(host) {
        Ok(Host::Ip(ip)) => Ok((ip, number)),
        Ok(Host::Domain(name)) => {
            let ip = names.find(&name).map_err(wrong)?;
            Ok((ip, number))
        }
        Err(e) => Err(wrong(e.to_string())),
    }
}

/// `host:port`; without a host it is this machine.
pub(super) fn destination(addr: &str) -> Result<Destination, String> {
    let Some((host, port)) = addr.rsplit_once(':') else {
        let text = addr.escape_debug();
        return Err(format!("`{text}` has no port, expected `host:port`"));
    };
    let port = port.parse().ok().filter(|port| *port > 0);
    let port: u16 = port.ok_or_else(|| bad_port(addr.rsplit(':').next().unwrap_or_default()))?;
    let host = match host {
        "" => Host::Ip(Ipv4Addr::LOCALHOST.into()),
        host => Host::parse(host).map_err(|e| {
            let host = host.escape_debug();
            format!("`{host}` is neither an address nor a name: {e}")
        })?,
    };
    Ok(Destination::new(host, port))
}

fn bad_port(text: &str) -> String {
    format!("`{}` is no port, expected 1 to 65535", text.escape_debug())
}
