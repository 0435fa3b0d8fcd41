//! `proxy.dns.Config`, V2Ray's.

use super::port;
use crate::address::{Host, Network};
use crate::dialect::messages::at::At;
use crate::dialect::messages::host;
use crate::protocol::dns::{Act, OutboundSettings};
use crate::wire::common::net::{Endpoint, Network as WireNetwork};
use crate::wire::proxy;

pub(super) fn outbound(config: &proxy::dns::Config, at: &At) -> Option<OutboundSettings> {
    let others = match &*config.non_ip_query {
        "" | "skip" => Act::Forward,
        "drop" => Act::Drop,
        other => {
            let other = other.escape_debug();
            let text = format!("`{other}` is unknown, expected `drop` or `skip`");
            return at.key("non_IP_query").error(text);
        }
    };
    let (network, host, port) = server(config.server.as_ref(), &at.key("server"))?;
    Some(OutboundSettings {
        network,
        host,
        port,
        others,
        ttl: config.override_response_ttl.then_some(config.response_ttl),
        ..OutboundSettings::default()
    })
}

/// Where questions go that are not answered here, as far as it is not where they were sent.
pub(in super::super) fn server(
    message: Option<&Endpoint>,
    at: &At,
) -> Option<(Option<Network>, Option<Host>, Option<u16>)> {
    let Some(message) = message else {
        return Some((None, None, None));
    };
    let network = match message.network() {
        WireNetwork::Tcp | WireNetwork::RawTcp => Some(Network::Tcp),
        WireNetwork::Udp => Some(Network::Udp),
        WireNetwork::Unknown => None,
        WireNetwork::Unix => return at.key("network").error("expected TCP or UDP"),
    };
    let host = match &message.address {
        Some(address) => Some(host(address, &at.key("address"))?),
        None => None,
    };
    let port = port(message.port, &at.key("port"))?;
    Some((network, host, Some(port).filter(|port| *port != 0)))
}
