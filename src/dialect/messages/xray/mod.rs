//! What looks otherwise in Xray's form: where an inbound listens, what carries it, rules, and a few protocols.

mod disguise;
mod dns;
mod older;
mod protocols;
pub(super) mod routing;
mod sniffing;
mod stream;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::at::At;
use super::{host, ip, misplaced, port, tag};
use crate::address::{Host, PortRange};
use crate::config::{self, Listen, Through};
use crate::dns::Strategy;
use crate::mux::{self, Udp, Udp443};
use crate::wire::common::net::IpOrDomain;
use crate::wire::common::net::ip_or_domain::Address;
use crate::wire::common::serial::TypedMessage;
use crate::wire::xray::app::proxyman::{MultiplexingConfig, ReceiverConfig, SenderConfig};
use crate::wire::xray::common::net::PortList;
use crate::wire::xray::transport::internet::DomainStrategy;
use crate::wire::{InboundHandlerConfig, OutboundHandlerConfig, typed};

pub(super) fn inbound(message: &InboundHandlerConfig, at: &At) -> Option<config::Inbound> {
    let name = "app.proxyman.ReceiverConfig";
    let receiver = open(message.receiver_settings.as_ref(), name, at);
    let receiver: ReceiverConfig = receiver?;
    let listen = listen(receiver.listen.as_ref(), &at.key("listen"));
    let ports = match listen {
        Some(Listen::Unix(_) | Listen::Abstract(_)) => Some(Vec::new()),
        _ => required_ports(receiver.port_list.as_ref(), &at.key("port_list")),
    };
    let proxy = at
        .key("proxy_settings")
        .required(message.proxy_settings.as_ref());
    let protocol = proxy.and_then(|proxy| protocols::inbound(proxy, at));
    let stream = at.key("stream_settings");
    let transport = stream::server(receiver.stream_settings.as_ref(), &stream);
    let sniffing = match &receiver.sniffing_settings {
        Some(message) => sniffing::read(message, &at.key("sniffing_settings")),
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

pub(super) fn outbound(message: &OutboundHandlerConfig, at: &At) -> Option<config::Outbound> {
    let name = "app.proxyman.SenderConfig";
    let sender: SenderConfig = match &message.sender_settings {
        None => SenderConfig::default(),
        settings => open(settings.as_ref(), name, at)?,
    };
    let proxy = at
        .key("proxy_settings")
        .required(message.proxy_settings.as_ref());
    let protocol = proxy.and_then(|proxy| protocols::outbound(proxy, at));
    let stream = at.key("stream_settings");
    let transport = stream::client(sender.stream_settings.as_ref(), &stream);
    if !sender.via_cidr.is_empty() {
        at.key("via_cidr")
            .error::<()>("addresses by chance are not built, expected `via` alone");
    }
    let via = match sender.via.as_ref() {
        None => Some(None),
        Some(via) => ip(via, &at.key("via")).map(Some),
    };
    let through = through(&sender, at);
    let multiplex = sender.multiplex_settings.as_ref();
    let multiplex = multiplex.filter(|mux| mux.enabled);
    let multiplex = multiplex.map(|mux| sharing(mux, &at.key("multiplex_settings")));
    let (protocol, mut transport) = (protocol?, transport?);
    transport.sockopt.send_through = via?;
    let has_mux = protocol.has_mux();
    Some(config::Outbound {
        at: Default::default(),
        name: format!("outbound `{}` of the API", message.tag),
        tag: tag(&message.tag),
        transport,
        protocol,
        through: through?,
        strategy: strategy(sender.target_strategy()),
        must_resolve: sender.target_strategy().as_str_name().starts_with("FORCE"),
        mux: match multiplex {
            Some(mux) => Some(mux?).filter(|_| has_mux),
            None => None,
        },
        plugin_mux: None,
    })
}

/// The message under `name`, and no other.
fn open<M: prost::Message + Default>(
    message: Option<&TypedMessage>,
    name: &str,
    at: &At,
) -> Option<M> {
    let Some(message) = message else {
        return at.error(format!("there is no `xray.{name}`"));
    };
    match typed::name(message) {
        found if found == name => at.open(message),
        found => misplaced(found, &format!("xray.{name}"), at),
    }
}

/// A path and a name of a unix socket stand where a domain would.
fn listen(message: Option<&IpOrDomain>, at: &At) -> Option<Listen> {
    let Some(message) = message else {
        return Some(Listen::Ip(Ipv4Addr::UNSPECIFIED.into()));
    };
    match &message.address {
        Some(Address::Domain(path)) if path.starts_with('/') => {
            let path = Path::new(path);
            // The kernel's `sun_path` has 108 bytes, with the zero at the end.
            if path.as_os_str().as_bytes().len() > 107 {
                return at.error("the path of a unix socket has at most 107 bytes");
            }
            Some(Listen::Unix(path.to_owned()))
        }
        Some(Address::Domain(name)) if name.len() > 1 && name.starts_with('@') => {
            Some(Listen::Abstract(name.as_bytes()[1..].to_vec()))
        }
        _ => ip(message, at).map(Listen::Ip),
    }
}

fn required_ports(message: Option<&PortList>, at: &At) -> Option<Vec<PortRange>> {
    let list = at.required(message)?;
    if list.range.is_empty() {
        return at.error("it is empty");
    }
    ports(list, at)
}

fn ports(list: &PortList, at: &At) -> Option<Vec<PortRange>> {
    let each = list.range.iter().map(|range| {
        let (from, to) = (port(range.from, at)?, port(range.to, at)?);
        if from > to {
            return at.error(format!("{from} to {to} is no range"));
        }
        Some(PortRange { from, to })
    });
    super::at::all(each)
}

/// The outbound that connections go through: `proxySettings`, or `dialerProxy` of the socket's options.
fn through(sender: &SenderConfig, at: &At) -> Option<Option<Through>> {
    let proxy = sender.proxy_settings.as_ref();
    let proxy = proxy.map_or("", |proxy| &proxy.tag);
    let stream = sender.stream_settings.as_ref();
    let socket = stream.and_then(|stream| stream.socket_settings.as_ref());
    let dialer = socket.map_or("", |socket| &socket.dialer_proxy);
    if !proxy.is_empty() && !dialer.is_empty() && proxy != dialer {
        let (proxy, dialer) = (proxy.escape_debug(), dialer.escape_debug());
        return at.error(format!(
            "`proxy_settings` names `{proxy}` and `dialer_proxy` names `{dialer}`, expected one of the two"
        ));
    }
    let named = if proxy.is_empty() { dialer } else { proxy };
    Some(tag(named).map(|tag| Through {
        at: Default::default(),
        tag,
    }))
}

fn sharing(mux: &MultiplexingConfig, at: &At) -> Option<mux::Settings> {
    let most = mux::MAX_CONCURRENCY;
    let limited = |n: i32| usize::try_from(n).ok().map(|n| n.min(most));
    let streams = match mux.concurrency {
        0 => mux::Settings::default().concurrency,
        n => limited(n),
    };
    let udp = match (limited(mux.xudp_concurrency), streams) {
        (None, _) | (Some(0), None) => Udp::Native,
        (Some(0), Some(_)) => Udp::Shared,
        (Some(n), _) => Udp::Xudp(Some(n)),
    };
    let udp_443 = match mux.xudp_proxy_udp443.as_str() {
        "reject" => Udp443::Reject,
        "skip" => Udp443::Skip,
        "" | "allow" => Udp443::Allow,
        other => {
            let other = other.escape_debug();
            let text = format!("`{other}` is unknown, expected `reject`, `allow` or `skip`");
            return at.key("xudpProxyUDP443").error(text);
        }
    };
    Some(mux::Settings {
        concurrency: streams,
        udp,
        udp_443,
    })
}

/// Xray's `Force` refuses what has no address of the kind; a name without one is not dialled here either.
fn strategy(strategy: DomainStrategy) -> Strategy {
    match strategy {
        DomainStrategy::AsIs => Strategy::AsIs,
        DomainStrategy::UseIp | DomainStrategy::ForceIp => Strategy::UseIp,
        DomainStrategy::UseIp4 | DomainStrategy::ForceIp4 => Strategy::UseIpv4,
        DomainStrategy::UseIp6 | DomainStrategy::ForceIp6 => Strategy::UseIpv6,
        DomainStrategy::UseIp46 | DomainStrategy::ForceIp46 => Strategy::PreferIpv4,
        DomainStrategy::UseIp64 | DomainStrategy::ForceIp64 => Strategy::PreferIpv6,
    }
}

/// The name of a server.
fn server_name(name: &str, at: &At) -> Option<Host> {
    at.ok(Host::parse(name))
}

fn host_of(message: Option<&IpOrDomain>, at: &At) -> Option<Option<Host>> {
    match message {
        Some(message) => host(message, at).map(Some),
        None => Some(None),
    }
}
