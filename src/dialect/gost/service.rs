//! Services: where one listens, what is spoken there, and where its sessions go.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::accounts::accounts;
use super::addresses::{destination, listen, targets};
use super::carrier::{self, Carrier, Kind};
use super::chain::{self, Chain};
use super::handler::{protocol, proxy};
use super::lead::{Lead, lead, no_bypass};
use super::made::Made;
use super::part::{Asked, Part, check_keys, place_of_type, type_of};
use super::{Problems, bypass, security};
use crate::address::{Destination, Host, Network, PortRange};
use crate::config::{Inbound, Listen};
use crate::dialect::tree::Node;
use crate::protocol::{InboundSettings, OutboundSettings};
use crate::report::Place;
use crate::reverse::{PublishSettings, PublishTarget};
use crate::transport;

/// For how long a client of datagrams is known who sends nothing, where nothing is said. GOST has 5 s, after which an answer finds
/// nobody.
const TTL_OF_DATAGRAMS: Duration = Duration::from_secs(60);

/// More are no more use.
const MAX_RETRIES: u32 = 100;

/// Reads one of `services`.
pub(super) fn read(node: &Node, root: &Node, made: &mut Made, problems: &Problems) {
    let before = made.inbounds.len() + made.publish.len();
    make(node, root, made, problems);
    if made.inbounds.len() + made.publish.len() == before {
        problems.lost(&node.at, "this service");
    }
}

fn make(node: &Node, root: &Node, made: &mut Made, problems: &Problems) {
    const KNOWN: [&str; 10] = [
        "name",
        // Notes of its owner, and of gost itself.
        "labels",
        "status",
        "addr",
        "handler",
        "listener",
        "forwarder",
        "bypass",
        "bypasses",
        "metadata",
    ];
    check_keys(node, &KNOWN, problems);
    let (asked, at) = (Asked::default(), &node.at);
    let shared = node.get("metadata");
    let (handler, listener) = (node.get("handler"), node.get("listener"));
    if let Some(handler) = handler {
        let known = [
            "type", "chain", "auth", "auther", "authers", "retries", "metadata",
        ];
        check_keys(handler, &known, problems);
    }
    if let Some(listener) = listener {
        check_keys(listener, &["type", "chain", "tls", "metadata"], problems);
    }
    let inside = |part: Option<&Node>, name: &str| part.and_then(|part| part.get(name)).cloned();
    let handler_keys = inside(handler, "metadata");
    let (listener_tls, listener_keys) = (inside(listener, "tls"), inside(listener, "metadata"));
    let of_handler = Part::new([handler_keys.as_ref(), shared], at, &asked, problems);
    let of_listener = Part::new(
        [listener_tls.as_ref(), listener_keys.as_ref(), shared],
        at,
        &asked,
        problems,
    );
    let (handler_word, listener_word) = (type_of(handler, "auto"), type_of(listener, "tcp"));
    let place = |part| place_of_type(part, node);
    let Some(mut kind) = Kind::read(&place(listener), &listener_word, problems) else {
        return;
    };
    let chain_of = |part: Option<&Node>| part.and_then(|part| part.get("chain")).cloned();
    let (led_by, bound_by) = (chain_of(handler), chain_of(listener));
    // The chain of the handler is the way to the target; without one of the listener the port is here.
    if let Carrier::Bind { udp } = kind.carrier
        && bound_by.is_none()
        && led_by.is_some()
    {
        kind.carrier = if udp { Carrier::Udp } else { Carrier::Tcp };
    }
    let handler_word = match &*handler_word {
        // What comes from a port of another machine is forwarded as what comes from one of this machine.
        "rtcp" => "tcp".to_owned(),
        "rudp" => "udp".to_owned(),
        _ => handler_word,
    };
    let name = node.get("name").and_then(Node::as_text).unwrap_or_default();
    let name = match name.is_empty() {
        true => format!("service-{}", made.inbounds.len() + made.publish.len()),
        false => name.to_owned(),
    };
    let is_inbound = |one: &Inbound| one.tag.as_deref() == Some(&*name);
    let is_published = |one: &PublishSettings| *one.tag == *name;
    if made.inbounds.iter().any(is_inbound) || made.publish.iter().any(is_published) {
        let text = format!(
            "there are two services of the name `{}`",
            name.escape_debug()
        );
        problems.error(at, &text);
    }
    let datagrams = [Carrier::Udp, Carrier::Bind { udp: true }].contains(&kind.carrier);
    if datagrams && proxy(&handler_word).is_some() {
        let (word, other) = (handler_word.escape_debug(), listener_word.escape_debug());
        let text = format!(
            "`{word}` is spoken over streams, and `{other}` has none: expected another listener, `tcp` or `ws` say"
        );
        return problems.error(&place(listener).at, &text);
    }
    let retries = retries(handler, &of_handler, problems);
    let speak = |targets: &[Destination]| {
        let accounts = accounts(handler, root, problems);
        let ways = (targets, led_by.is_some());
        let place = place(handler);
        protocol(
            &handler_word,
            kind,
            &of_handler,
            accounts,
            ways,
            &place,
            problems,
        )
    };
    if let Carrier::Bind { udp } = kind.carrier {
        of_handler.silent(&["keepalive", "ttl", "nodelay", "udpBufferSize"]);
        let spoken = proxy(&handler_word).filter(|_| targets(node, problems).is_empty());
        if spoken.is_some() {
            // The rules of it are made below.
            of_handler.silent(&["bypass"]);
            let Some(protocol) = speak(&[]) else {
                return;
            };
            let inbound = inbound(&name, Listen::Published, Vec::new(), protocol);
            made.inbounds.push(inbound);
        } else {
            of_handler.refuse(
                &["bypass"],
                "what comes from a published port has one target, and no bypass",
            );
        }
        asked.finish(
            [handler_keys.as_ref(), listener_keys.as_ref(), shared],
            problems,
        );
        let chains = [bound_by.as_ref(), led_by.as_ref()];
        let port = OfServer {
            name: &name,
            udp,
            spoken,
            chains,
            retries,
        };
        return publish(node, port, root, made, problems);
    }
    let addr = node.get("addr").and_then(Node::as_text).unwrap_or_default();
    let (listen, port) = match listen(addr, &mut made.names) {
        Ok(found) => found,
        Err(text) => return problems.error(at, &text),
    };
    let targets = targets(node, problems);
    let Some(mut protocol) = speak(&targets) else {
        return;
    };
    if let InboundSettings::Dokodemo(door) = &mut protocol
        && door.udp
    {
        let ttl = of_handler
            .span(&["ttl"])
            .or_else(|| of_listener.span(&["ttl"]));
        door.level = made.level(ttl.unwrap_or(TTL_OF_DATAGRAMS));
    }
    let transport = server((kind, &listener_word), &of_listener, root, problems);
    if bypass::of(node).or(of_handler.get(&["bypass"])).is_some()
        && of_handler.switch(&["sniffing"]) == Some(true)
    {
        let text = "a bypass sees what clients ask for and not what is inside, for which GOST looks with `sniffing`";
        of_handler.refuse(&["sniffing"], text);
    }
    asked.finish(
        [
            handler_keys.as_ref(),
            listener_tls.as_ref(),
            listener_keys.as_ref(),
            shared,
        ],
        problems,
    );
    let Some(transport) = transport else { return };
    let listens_there = |one: &&Inbound| {
        let streams = one.protocol.traits().streams && protocol.traits().streams;
        streams && one.listen == Listen::Ip(listen) && one.ports == [PortRange::from(port)]
    };
    if port != 0
        && let Some(other) = made.inbounds.iter().find(listens_there)
    {
        let text = format!(
            "port {port} is listened on by `{}` already, which would get all that comes",
            other.name.escape_debug()
        );
        problems.error(at, &text);
    }
    let ports = vec![PortRange {
        from: port,
        to: port,
    }];
    made.inbounds.push(Inbound {
        transport,
        ..inbound(&name, Listen::Ip(listen), ports, protocol)
    });
    // A relay whose targets lie behind a chain takes them by turns itself; the selector is for the others.
    let targets = match handler_word == "relay" && (targets.len() < 2 || led_by.is_some()) {
        true => Vec::new(),
        false => targets,
    };
    let chain = led_by.and_then(|name| chain::find(&name, root, made, problems));
    if let Some(chain) = &chain
        && targets.is_empty()
        && matches!(&*handler_word, "forward" | "tcp" | "udp")
        && !chain.ends.iter().all(|tag| made.knows_target(tag))
    {
        let text = format!(
            "`{handler_word}` leads nowhere, expected a target, or `forward` or `relay` at the end of the chain: there the server may have one"
        );
        problems.error(at, &text);
    }
    if targets.is_empty() && matches!(&*handler_word, "forward" | "tcp" | "udp") {
        no_bypass(node, chain.as_ref(), problems);
    }
    let by = Lead {
        service: &name,
        chain,
        targets: &targets,
        retries,
    };
    lead(node, by, root, made, problems);
}

fn inbound(
    name: &str,
    listen: Listen,
    ports: Vec<PortRange>,
    protocol: InboundSettings,
) -> Inbound {
    Inbound {
        at: Place::default(),
        name: name.to_owned(),
        tag: Some(name.into()),
        listen,
        ports,
        transport: transport::ServerSettings::default(),
        protocol,
        sniffing: None,
        limits: Default::default(),
        beside: Vec::new(),
    }
}

/// How often a way is looked for again when one does not open; in a URL it is a key among others.
fn retries(handler: Option<&Node>, keys: &Part, problems: &Problems) -> u32 {
    let own = handler.and_then(|part| part.get("retries"));
    // gost prints it as both.
    let shared = keys.get(&["retries"]);
    let Some(node) = own.or(shared) else {
        return 0;
    };
    match node.as_text().unwrap_or_default().parse::<i32>() {
        // It is none in gost, too.
        Ok(n) => u32::try_from(n).unwrap_or(0).min(MAX_RETRIES),
        Err(_) => {
            problems.error(&node.at, "this is no number");
            0
        }
    }
}

fn server(
    (kind, word): (Kind, &str),
    part: &Part,
    root: &Node,
    problems: &Problems,
) -> Option<transport::ServerSettings> {
    let security = match kind.has_tls {
        true => Some(security::server(part, root.get("tls"), problems)?),
        false => {
            part.without_tls(
                &["certFile", "cert", "keyFile", "key", "caFile", "ca"],
                word,
            );
            None
        }
    };
    Some(transport::ServerSettings {
        security,
        carrier: carrier::server(kind, part, problems),
        ..transport::ServerSettings::default()
    })
}

/// A service that listens at the server.
struct OfServer<'a> {
    name: &'a str,
    udp: bool,
    /// What its own inbound speaks there, where it does not lead to a target.
    spoken: Option<&'static str>,
    /// The way to the server, and the way to the target.
    chains: [Option<&'a Node>; 2],
    retries: u32,
}

/// A port of the server at the end of a chain, which leads here.
fn publish(node: &Node, port: OfServer<'_>, root: &Node, made: &mut Made, problems: &Problems) {
    let OfServer {
        name,
        udp,
        spoken,
        chains: [bound_by, led_by],
        retries,
    } = port;
    let Some(chain) = bound_by else {
        let text =
            "a port of another machine needs a chain that leads there: `-F relay+wss://host:port`";
        return problems.error(&node.at, text);
    };
    let Some(Chain { ends, .. }) = chain::find(chain, root, made, problems) else {
        return;
    };
    let is_relay = |tag| {
        let mut outbounds = made.outbounds.iter();
        let found = outbounds.find(|one| one.tag.as_ref() == Some(tag));
        found.is_some_and(|one| matches!(one.protocol, OutboundSettings::Relay(_)))
    };
    if !ends.iter().all(is_relay) {
        return problems.error(
            &node.at,
            "only a `relay` at the end of the chain opens ports",
        );
    }
    let addr = node.get("addr").and_then(Node::as_text).unwrap_or_default();
    let targets = targets(node, problems);
    let (port, to) = match (destination(addr), &targets[..], spoken) {
        // Where there are others, the rules choose among all of them.
        (Ok(port), [to, ..], _) => (port, PublishTarget::Place(to.clone())),
        (Err(text), _, _) => return problems.error(&node.at, &text),
        (Ok(port), [], Some(what)) => (port, PublishTarget::Inbound(what)),
        (_, [], None) => {
            let text = "a published port leads nowhere, expected a target: `rtcp://0.0.0.0:8080/host:port`";
            return problems.error(&node.at, text);
        }
    };
    // Without a host it is every address there.
    let listen = match addr.starts_with(':') {
        true => Destination::new(Host::Ip(Ipv4Addr::UNSPECIFIED.into()), port.port),
        false => port,
    };
    made.publish.push(PublishSettings {
        at: Place::default(),
        tag: name.into(),
        outbounds: ends,
        servers: 1,
        listen,
        network: if udp { Network::Udp } else { Network::Tcp },
        to,
    });
    let chain = led_by.and_then(|name| chain::find(name, root, made, problems));
    let by = Lead {
        service: name,
        chain,
        targets: &targets,
        retries,
    };
    lead(node, by, root, made, problems);
}
