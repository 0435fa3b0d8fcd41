//! Protocol buffers of V2Ray and Xray: an inbound, an outbound or a user as a panel sends them to the API.
//!
//! As in a file, all mistakes are told, each with its place in the message. Users and most protocols look alike in both;
//! what differs in Xray's form is read in `xray`, and what is told about an inbound is told in that form (`write`).

mod at;
mod carriers;
mod error;
mod http2;
mod http_header;
mod protocols;
mod stream;
#[cfg(test)]
mod tests;
mod write;
mod xray;

pub use error::MessageError;
pub use protocols::{WITH_USERS, account_of};
pub use write::{Keys, v2ray_inbound, v2ray_outbound, write_inbound, write_outbound, write_user};
pub use xray::routing::routing;

use std::net::Ipv4Addr;
use std::sync::Arc;

use tracing::warn;

use at::{At, whole};

use crate::address::{Host, PortRange};
use crate::config::{self, Listen, Through, exposure};
use crate::dialect::v2ray::sniffing::protocol;
use crate::mux;
use crate::protocol::AnyUser;
use crate::report::Report;
use crate::sniffing;
use crate::transport::ClientCarrier;
use crate::wire::app::proxyman::{ReceiverConfig, SenderConfig, SniffingConfig};
use crate::wire::common::net::{self as wire_net, IpOrDomain, ip_or_domain::Address};
use crate::wire::common::protocol::User;
use crate::wire::common::serial::TypedMessage;
use crate::wire::{InboundHandlerConfig, OutboundHandlerConfig, net, typed};

/// An inbound; what it lays open is told in the log.
///
/// # Errors
///
/// When it is none that could run.
pub fn inbound(message: &InboundHandlerConfig) -> Result<config::Inbound, MessageError> {
    let report = Report::default();
    let at = At::root(&report);
    let settings = message.receiver_settings.as_ref();
    let inbound = match settings.or(message.proxy_settings.as_ref()) {
        Some(settings) if typed::is_xray(settings) => xray::inbound(message, &at),
        _ => {
            let receiver = settings.map(|settings| open(settings, "app.proxyman.ReceiverConfig"));
            let receiver: ReceiverConfig = receiver.transpose()?.unwrap_or_default();
            read_inbound(message, &receiver, &at)
        }
    };
    let inbound = whole(inbound, &report)?;
    exposure::warn_of_open_proxy(&inbound, &report);
    tell(&inbound.name, &report);
    Ok(inbound)
}

/// An outbound; what it lays open is told in the log. Whether there is an outbound of the name that it goes through
/// is for the caller to see.
///
/// # Errors
///
/// When it is none that could run.
pub fn outbound(message: &OutboundHandlerConfig) -> Result<config::Outbound, MessageError> {
    let report = Report::default();
    let at = At::root(&report);
    let settings = message.sender_settings.as_ref();
    let outbound = match settings.or(message.proxy_settings.as_ref()) {
        Some(settings) if typed::is_xray(settings) => xray::outbound(message, &at),
        _ => {
            let sender = settings.map(|settings| open(settings, "app.proxyman.SenderConfig"));
            let sender: SenderConfig = sender.transpose()?.unwrap_or_default();
            read_outbound(message, &sender, &at)
        }
    };
    let outbound = whole(outbound, &report)?;
    exposure::warn_of_readable(&outbound, &report);
    tell(&outbound.name, &report);
    Ok(outbound)
}

/// A user whose account says of which protocol it is.
///
/// # Errors
///
/// When it is of none that has users.
pub fn user(user: &User) -> Result<AnyUser, MessageError> {
    let report = Report::default();
    whole(protocols::user(user, &At::root(&report)), &report)
}

fn read_inbound(
    message: &InboundHandlerConfig,
    receiver: &ReceiverConfig,
    at: &At,
) -> Option<config::Inbound> {
    let stream = at.key("stream_settings");
    let transport = stream::server(receiver.stream_settings.as_ref(), &stream);
    // What is wrong with them is said already.
    let place = transport.as_ref().and(receiver.stream_settings.as_ref());
    let (listen, ports) = match stream::place(place, &stream) {
        Some(Some(socket)) => (Some(socket), Some(Vec::new())),
        None => (None, None),
        Some(None) => (
            listen(receiver.listen.as_ref(), &at.key("listen")),
            ports(receiver.port_range.as_ref(), &at.key("port_range")),
        ),
    };
    let proxy = at
        .key("proxy_settings")
        .required(message.proxy_settings.as_ref());
    let protocol = proxy.and_then(|proxy| protocols::inbound(proxy, at));
    let sniffed = at.key("sniffing_settings").key("destination_override");
    let sniffing = match &receiver.sniffing_settings {
        Some(message) => sniffing(message, &sniffed),
        None => Some(None),
    };
    let mut inbound = config::Inbound {
        at: Default::default(),
        name: format!("inbound `{}` of the API", message.tag),
        tag: tag(&message.tag),
        listen: listen?,
        ports: ports?,
        transport: transport?,
        protocol: protocol?,
        sniffing: sniffing?,
        limits: Default::default(),
        beside: Vec::new(),
    };
    if inbound.protocol.traits().follows_redirect {
        inbound.transport.sockopt.follow_redirect();
    }
    Some(inbound)
}

fn read_outbound(
    message: &OutboundHandlerConfig,
    sender: &SenderConfig,
    at: &At,
) -> Option<config::Outbound> {
    let proxy = at
        .key("proxy_settings")
        .required(message.proxy_settings.as_ref());
    let protocol = proxy.and_then(|proxy| protocols::outbound(proxy, at));
    let stream = at.key("stream_settings");
    let transport = stream::client(sender.stream_settings.as_ref(), &stream);
    let send_through = match sender.via.as_ref() {
        None => Some(None),
        Some(via) => ip(via, &at.key("via")).map(Some),
    };
    let through = sender.proxy_settings.as_ref();
    let (protocol, mut transport) = (protocol?, transport?);
    if let (ClientCarrier::Unix(socket), Some(_)) = (
        &transport.carrier,
        through.and_then(|proxy| tag(&proxy.tag)),
    ) {
        let text = format!("no outbound leads to the unix socket {socket}");
        return at.key("proxy_settings").key("tag").error(text);
    }
    transport.sockopt.send_through = send_through?;
    let multiplex = sender.multiplex_settings.filter(|mux| mux.enabled);
    let multiplex = multiplex.filter(|_| protocol.has_mux());
    Some(config::Outbound {
        at: Default::default(),
        name: format!("outbound `{}` of the API", message.tag),
        tag: tag(&message.tag),
        transport,
        protocol,
        through: through
            .and_then(|proxy| tag(&proxy.tag))
            .map(|tag| Through {
                at: Default::default(),
                tag,
            }),
        strategy: Default::default(),
        must_resolve: false,
        mux: multiplex.map(|mux| sharing(mux.concurrency)),
        plugin_mux: None,
    })
}

fn listen(message: Option<&IpOrDomain>, at: &At) -> Option<Listen> {
    match message {
        None => Some(Listen::Ip(Ipv4Addr::UNSPECIFIED.into())),
        Some(listen) => ip(listen, at).map(Listen::Ip),
    }
}

fn ports(message: Option<&wire_net::PortRange>, at: &At) -> Option<Vec<PortRange>> {
    let range = at.required(message)?;
    let (from, to) = (port(range.from, at)?, port(range.to, at)?);
    if from > to {
        return at.error(format!("{from} to {to} is no range"));
    }
    Some(vec![PortRange { from, to }])
}

fn tell(name: &str, report: &Report) {
    for warning in report.warnings() {
        warn!("{name}: {}", warning.text);
    }
}

/// `concurrency` of Mux.Cool; 0 is the default.
fn sharing(concurrency: u32) -> mux::Settings {
    let default = mux::Settings::default();
    match usize::try_from(concurrency) {
        Ok(n) if n > 0 => mux::Settings {
            concurrency: Some(n.min(mux::MAX_CONCURRENCY)),
            ..default
        },
        _ => default,
    }
}

fn sniffing(message: &SniffingConfig, at: &At) -> Option<Option<sniffing::Settings>> {
    let mut overriding = Vec::new();
    for word in &message.destination_override {
        match protocol(word) {
            Some(protocol) => overriding.push(protocol),
            None => return at.error(format!("`{}` is not known", word.escape_debug())),
        }
    }
    Some(message.enabled.then(|| sniffing::Settings {
        overriding,
        metadata_only: message.metadata_only,
        ..sniffing::Settings::default()
    }))
}

/// An empty tag is none.
fn tag(tag: &str) -> Option<Arc<str>> {
    (!tag.is_empty()).then(|| tag.into())
}

/// The message under `name`, and no other.
fn open<M: prost::Message + Default>(
    message: &TypedMessage,
    name: &'static str,
) -> Result<M, MessageError> {
    let report = Report::default();
    match typed::name(message) {
        found if found == name => Ok(typed::open(message)?),
        found => whole(misplaced(found, name, &At::root(&report)), &report),
    }
}

fn misplaced<T>(found: &str, expected: &str, at: &At) -> Option<T> {
    let found = found.escape_debug();
    at.error(format!("`{found}` stands where `{expected}` is expected"))
}

fn host(message: &IpOrDomain, at: &At) -> Option<Host> {
    match &message.address {
        Some(Address::Domain(name)) => at.ok(Host::parse(name.trim())),
        Some(Address::Ip(ip)) => net::address(ip).map(Host::Ip).or_else(|| {
            let len = ip.len();
            at.error(format!("an IP address has {len} bytes, expected 4 or 16"))
        }),
        None => at.error("it is empty"),
    }
}

fn ip(message: &IpOrDomain, at: &At) -> Option<std::net::IpAddr> {
    match host(message, at)? {
        Host::Ip(ip) => Some(ip),
        Host::Domain(name) if name.eq_ignore_ascii_case("localhost") => {
            Some(Ipv4Addr::LOCALHOST.into())
        }
        Host::Domain(name) => at.error(format!("`{name}` is not an IP address")),
    }
}

fn port(port: u32, at: &At) -> Option<u16> {
    let wrong = || at.error(format!("{port} is not a port, expected 0 to 65535"));
    u16::try_from(port).ok().or_else(wrong)
}
