//! The other way: settings as messages in Xray's form, for whoever asks what there is, and for whoever adds it elsewhere.
//!
//! What Xray's messages have no word for is left out. Reading what was written tells whether something was.

mod dns;
mod protocols;
mod stream;
#[cfg(test)]
mod tests;
mod v2ray;

use std::net::IpAddr;

use crate::address::{Host, PortRange};
use crate::config::{self, Listen};
use crate::dialect::v2ray::sniffing::word;
use crate::dns::Strategy;
use crate::mux::{self, Udp, Udp443};
use crate::sniffing;
use crate::wire::common::net::ip_or_domain::Address;
use crate::wire::common::net::{self as wire_net, IpOrDomain};
use crate::wire::transport::internet::ProxyConfig;
use crate::wire::typed::seal_xray;
use crate::wire::xray::app::proxyman::{
    MultiplexingConfig, ReceiverConfig, SenderConfig, SniffingConfig,
};
use crate::wire::xray::common::net::PortList;
use crate::wire::xray::transport::internet::DomainStrategy;
use crate::wire::{InboundHandlerConfig, OutboundHandlerConfig, net};

pub use protocols::user as write_user;
pub use v2ray::{v2ray_inbound, v2ray_outbound};

/// Whether private keys are among what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// To somebody who has them.
    Told,
    /// They are this server's own.
    Kept,
}

/// An inbound.
pub fn write_inbound(inbound: &config::Inbound, keys: Keys) -> InboundHandlerConfig {
    let (listen, ports) = match &inbound.listen {
        Listen::Ip(ip) => (ip_address(*ip), Some(ports(&inbound.ports))),
        Listen::Unix(path) => (domain(&path.to_string_lossy()), None),
        Listen::Abstract(name) => (domain(&format!("@{}", String::from_utf8_lossy(name))), None),
        // Of another machine, which no message has a word for.
        Listen::Published => (domain(""), None),
    };
    let receiver = ReceiverConfig {
        port_list: ports,
        listen: Some(listen),
        stream_settings: stream::server(&inbound.transport, keys),
        receive_original_destination: inbound.protocol.traits().follows_redirect,
        sniffing_settings: inbound.sniffing.as_ref().map(sniffed),
    };
    InboundHandlerConfig {
        tag: tag(inbound.tag.as_deref()),
        receiver_settings: Some(seal_xray("app.proxyman.ReceiverConfig", &receiver)),
        proxy_settings: protocols::inbound(&inbound.protocol),
    }
}

/// An outbound.
pub fn write_outbound(outbound: &config::Outbound, keys: Keys) -> OutboundHandlerConfig {
    let through = outbound.through.as_ref();
    let sender = SenderConfig {
        via: outbound.transport.sockopt.send_through.map(ip_address),
        stream_settings: stream::client(&outbound.transport, keys),
        proxy_settings: through.map(|through| ProxyConfig {
            tag: through.tag.to_string(),
            transport_layer_proxy: false,
        }),
        multiplex_settings: outbound.mux.as_ref().map(sharing),
        via_cidr: String::new(),
        target_strategy: strategy(outbound.strategy).into(),
    };
    OutboundHandlerConfig {
        tag: tag(outbound.tag.as_deref()),
        sender_settings: Some(seal_xray("app.proxyman.SenderConfig", &sender)),
        proxy_settings: protocols::outbound(&outbound.protocol),
        ..OutboundHandlerConfig::default()
    }
}

fn tag(tag: Option<&str>) -> String {
    tag.unwrap_or_default().to_owned()
}

fn ports(ports: &[PortRange]) -> PortList {
    let range = ports.iter().map(|range| wire_net::PortRange {
        from: range.from.into(),
        to: range.to.into(),
    });
    PortList {
        range: range.collect(),
    }
}

fn ip_address(ip: IpAddr) -> IpOrDomain {
    let address = Some(Address::Ip(net::bytes(ip)));
    IpOrDomain { address }
}

fn domain(name: &str) -> IpOrDomain {
    let address = Some(Address::Domain(name.to_owned()));
    IpOrDomain { address }
}

fn host(host: &Host) -> IpOrDomain {
    match host {
        Host::Ip(ip) => ip_address(*ip),
        Host::Domain(name) => domain(name),
    }
}

fn sniffed(sniffing: &sniffing::Settings) -> SniffingConfig {
    let words = sniffing.overriding.iter().map(word);
    SniffingConfig {
        enabled: true,
        destination_override: words.map(str::to_owned).collect(),
        route_only: sniffing.route_only,
        metadata_only: sniffing.metadata_only,
        ..SniffingConfig::default()
    }
}

fn sharing(mux: &mux::Settings) -> MultiplexingConfig {
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    MultiplexingConfig {
        enabled: true,
        concurrency: mux.concurrency.map_or(-1, number),
        xudp_concurrency: match mux.udp {
            Udp::Native => -1,
            Udp::Xudp(Some(n)) => number(n),
            Udp::Xudp(None) | Udp::Shared | Udp::PacketAddr | Udp::PacketStream => 0,
        },
        xudp_proxy_udp443: match mux.udp_443 {
            Udp443::Reject => "reject",
            Udp443::Allow => "allow",
            Udp443::Skip => "skip",
        }
        .to_owned(),
    }
}

fn strategy(strategy: Strategy) -> DomainStrategy {
    match strategy {
        Strategy::AsIs => DomainStrategy::AsIs,
        Strategy::UseIp => DomainStrategy::UseIp,
        Strategy::UseIpv4 => DomainStrategy::UseIp4,
        Strategy::UseIpv6 => DomainStrategy::UseIp6,
        Strategy::PreferIpv4 => DomainStrategy::UseIp46,
        Strategy::PreferIpv6 => DomainStrategy::UseIp64,
    }
}
