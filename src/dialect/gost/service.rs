//! Services: where one listens, what is spoken there, and where its sessions go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value as Json, json};

use super::carrier::{self, Carrier, Kind};
use super::chain::{self, Chain};
use super::part::{Asked, Part, place_of_type, type_of};
use super::tree::{Node, Value};
use super::{Problems, bypass, security};
use crate::address::{Destination, Host, Network, PortRange};
use crate::config::{Config, Inbound, Listen, Log, Outbound};
use crate::dialect::names::Names;
use crate::protocol::accounts::Account;
use crate::protocol::{
    InboundSettings, OutboundSettings, blackhole, dokodemo, freedom, http, relay, socks,
};
use crate::report::{Place, did_you_mean, either};
use crate::reverse::{self, PublishSettings, PublishTarget};
use crate::routing::{self, BalancerSettings, Conditions, Rule, Target};
use crate::{dns, transport};

/// What was made of services and chains so far.
pub(super) struct Made {
    names: Names,
    inbounds: Vec<Inbound>,
    pub(super) outbounds: Vec<Outbound>,
    pub(super) balancers: Vec<BalancerSettings>,
    pub(super) chains: HashMap<String, Chain>,
    publish: Vec<PublishSettings>,
    rules: Vec<Rule>,
    texts: Vec<Json>,
}

/// The outbound of what goes through no chain, and that of what goes nowhere.
const DIRECT: &str = "direct";
const BLOCKED: &str = "blocked";

impl Made {
    /// Nothing yet; what services listen on may be one of `names`.
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            inbounds: Vec::new(),
            outbounds: Vec::new(),
            balancers: Vec::new(),
            chains: HashMap::new(),
            publish: Vec::new(),
            rules: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// The settings, and `routing` of them.
    pub(super) fn into_config(self, log: Log) -> (Config, Json) {
        let balancers: Vec<Json> = self.balancers.iter().map(balancer).collect();
        let mut routing = json!({"rules": self.texts});
        if !balancers.is_empty() {
            routing["balancers"] = balancers.into();
        }
        let direct = OutboundSettings::Freedom(freedom::OutboundSettings::default());
        let blocked = OutboundSettings::Blackhole(blackhole::OutboundSettings::default());
        let mut outbounds = vec![plain(DIRECT, direct), plain(BLOCKED, blocked)];
        outbounds.extend(self.outbounds);
        let config = Config {
            log,
            inbounds: self.inbounds,
            outbounds,
            routing: routing::Settings {
                rules: self.rules,
                balancers: self.balancers,
                ..routing::Settings::default()
            },
            reverse: reverse::Settings {
                publish: self.publish,
                ..reverse::Settings::default()
            },
            ..Config::default()
        };
        (config, routing)
    }

    /// Whether the server of an outbound may have a target of its own, whatever it is asked for.
    fn knows_target(&self, tag: &str) -> bool {
        let mut outbounds = self.outbounds.iter();
        let found = outbounds.find(|one| one.tag.as_deref() == Some(tag));
        let leads = |outbound: &Outbound| {
            let protocol = &outbound.protocol;
            matches!(
                protocol,
                OutboundSettings::Freedom(_) | OutboundSettings::Relay(_)
            )
        };
        found.is_some_and(leads)
    }

    /// Sessions of `service` for which `conditions` hold go to `target`.
    fn rule(&mut self, service: &str, asked: bypass::Asked, target: Target) {
        let mut text = asked.text;
        text.insert("type".to_owned(), "field".into());
        text.insert("inboundTag".to_owned(), json!([service]));
        match &target {
            Target::Outbound(tag) => text.insert("outboundTag".to_owned(), json!(&**tag)),
            Target::Balancer(tag) => text.insert("balancerTag".to_owned(), json!(tag)),
        };
        self.texts.push(text.into());
        self.rules.push(Rule {
            tag: String::new(),
            conditions: Conditions {
                inbounds: vec![service.to_owned()].into(),
                ..asked.conditions
            },
            target: target.into(),
        });
    }
}

/// As a config.json has it. What has no word there is told by `v2ray::write_config`.
fn balancer(balancer: &BalancerSettings) -> Json {
    let strategy = match *balancer.strategy {
        routing::Strategy::RoundRobin(_) => "roundRobin",
        _ => "random",
    };
    json!({"tag": balancer.tag, "selector": *balancer.selectors, "strategy": {"type": strategy}})
}

fn plain(tag: &str, protocol: OutboundSettings) -> Outbound {
    Outbound {
        at: Place::default(),
        name: tag.to_owned(),
        tag: Some(tag.into()),
        transport: transport::ClientSettings::default(),
        protocol,
        through: None,
        strategy: dns::Strategy::AsIs,
        mux: None,
    }
}

/// Handlers that are built.
const HANDLERS: [&str; 9] = [
    "auto", "http", "socks4", "socks4a", "socks5", "relay", "forward", "tcp", "udp",
];

/// Reads one of `services`.
pub(super) fn read(node: &Node, root: &Node, made: &mut Made, problems: &Problems) {
    const KNOWN: [&str; 8] = [
        "name",
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
            "type", "chain", "auth", "auther", "authers", "retries", "metadata", "tls",
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
    if let Carrier::Bind { udp } = kind.carrier {
        of_handler.silent(&["keepalive", "ttl", "nodelay", "udpBufferSize"]);
        of_handler.refuse(
            &["bypass"],
            "what comes from a published port has one target, and no bypass",
        );
        asked.finish(
            [handler_keys.as_ref(), listener_keys.as_ref(), shared],
            problems,
        );
        let chains = [bound_by.as_ref(), led_by.as_ref()];
        return publish(node, &name, udp, chains, root, made, problems);
    }
    let addr = node.get("addr").and_then(Node::as_text).unwrap_or_default();
    let (listen, port) = match listen(addr, &mut made.names) {
        Ok(found) => found,
        Err(text) => return problems.error(at, &text),
    };
    let targets = targets(node, problems);
    let accounts = accounts(handler, root, problems);
    let Some(protocol) = protocol(
        &handler_word,
        kind,
        &of_handler,
        accounts,
        (&targets, led_by.is_some()),
        &place(handler),
        problems,
    ) else {
        return;
    };
    let transport = server(kind, &of_listener, root, problems);
    of_handler.silent(&["bypass"]);
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
    made.inbounds.push(Inbound {
        at: Place::default(),
        name: name.clone(),
        tag: Some(name.as_str().into()),
        listen: Listen::Ip(listen),
        ports: vec![PortRange {
            from: port,
            to: port,
        }],
        transport,
        protocol,
        sniffing: None,
        limits: Default::default(),
        beside: Vec::new(),
    });
    // A relay chooses among its targets itself.
    let targets = match handler_word == "relay" {
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
    lead(node, &name, chain, &targets, root, made, problems);
}

/// Where the server at the end of the chain has the target, nobody here knows which it is.
fn no_bypass(node: &Node, chain: Option<&Chain>, problems: &Problems) {
    let of_keys = node.get("metadata").and_then(|keys| keys.get("bypass"));
    let own = node.get("bypass").or_else(|| node.get("bypasses"));
    let of_chain = chain.and_then(|chain| chain.bypass.as_ref());
    for bypass in [own, of_keys, of_chain].into_iter().flatten() {
        problems.error(
            &bypass.at,
            "a bypass needs a target to be compared with, and here the server has it",
        );
    }
}

fn server(
    kind: Kind,
    part: &Part,
    root: &Node,
    problems: &Problems,
) -> Option<transport::ServerSettings> {
    let security = match kind.has_tls {
        true => Some(security::server(part, root.get("tls"), problems)?),
        false => {
            part.silent(&["certFile", "cert", "keyFile", "key", "caFile", "ca"]);
            None
        }
    };
    Some(transport::ServerSettings {
        security,
        carrier: carrier::server(kind, part, problems)?,
        ..transport::ServerSettings::default()
    })
}

/// A port of the server at the end of a chain, which leads here.
fn publish(
    node: &Node,
    name: &str,
    udp: bool,
    [bound_by, led_by]: [Option<&Node>; 2],
    root: &Node,
    made: &mut Made,
    problems: &Problems,
) {
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
    let (port, to) = match (destination(addr), &targets[..]) {
        (Ok(port), [to]) => (port, to.clone()),
        (Err(text), _) => return problems.error(&node.at, &text),
        (_, []) => {
            let text = "a published port leads nowhere, expected a target: `rtcp://0.0.0.0:8080/host:port`";
            return problems.error(&node.at, text);
        }
        (_, _) => {
            return problems.error(
                &node.at,
                "several targets behind a published port are not built",
            );
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
        listen,
        network: if udp { Network::Udp } else { Network::Tcp },
        to: PublishTarget::Place(to),
    });
    let chain = led_by.and_then(|name| chain::find(name, root, made, problems));
    lead(node, name, chain, &[], root, made, problems);
}

/// What is spoken.
fn protocol(
    word: &str,
    kind: Kind,
    part: &Part,
    accounts: Option<Vec<Account>>,
    (targets, has_chain): (&[Destination], bool),
    place: &Node,
    problems: &Problems,
) -> Option<InboundSettings> {
    part.silent(&[
        "nodelay",
        "notls",
        "retries",
        "udpBufferSize",
        "timeout",
        "sniffing",
        "hash",
        "limiter",
    ]);
    let udp = part.switch(&["udp"]).unwrap_or(false);
    let is_bare = kind.carrier == Carrier::Tcp && !kind.has_tls;
    if udp && matches!(word, "socks4" | "socks4a") {
        part.refuse(
            &["udp"],
            "SOCKS 4 carries no datagrams: `http`, `socks5` and `relay` carry them over all",
        );
    }
    match word {
        "auto" | "socks" | "socks4" | "socks4a" | "socks5" | "socks5h" => {
            part.silent(&["compatibilityMode"]);
            part.refuse(&["bind"], "BIND of SOCKS 5 is not built");
            Some(InboundSettings::Socks(socks::InboundSettings {
                accounts,
                // A port for datagrams stands beside a bare one.
                udp: udp && is_bare,
                udp_tunnel: udp,
                ..socks::InboundSettings::default()
            }))
        }
        "http" | "https" => {
            for key in ["probeResist", "knock"] {
                part.refuse(&[key], "a site in front of a proxy is `fallback` of a config.json, not a key of this dialect");
            }
            part.silent(&["header", "proxyAgent"]);
            Some(InboundSettings::Http(http::InboundSettings {
                accounts: accounts.unwrap_or_default(),
                udp_tunnel: udp,
                ..http::InboundSettings::default()
            }))
        }
        "relay" => {
            part.silent(&["readTimeout", "enableCompression"]);
            let bind = part.switch(&["bind"]).unwrap_or(false);
            let service = match targets {
                [] => relay::Service::AsAsked {
                    connect: true,
                    bind: bind.then(relay::BindSettings::default),
                },
                targets => relay::Service::Forward(targets.to_vec()),
            };
            Some(InboundSettings::Relay(relay::InboundSettings {
                accounts: accounts.unwrap_or_default(),
                service,
                ..relay::InboundSettings::default()
            }))
        }
        "forward" | "tcp" | "udp" => {
            // A server at the end of the chain has a target of its own.
            let of_server =
                has_chain.then(|| Destination::new(Host::Ip(Ipv4Addr::UNSPECIFIED.into()), 0));
            let Some(to) = targets.first().or(of_server.as_ref()) else {
                problems.error(&place.at, &format!("`{word}` leads nowhere, expected a target: `{word}://:8080/host:port`, or `forwarder`"));
                return None;
            };
            let datagrams = kind.carrier == Carrier::Udp;
            Some(InboundSettings::Dokodemo(dokodemo::InboundSettings {
                to: Some(to.clone()),
                tcp: !datagrams,
                udp: datagrams,
                ..dokodemo::InboundSettings::default()
            }))
        }
        other => {
            let text = format!(
                "the handler `{}` is not built, expected {}{}",
                other.escape_debug(),
                either(&HANDLERS),
                did_you_mean(other, HANDLERS.into_iter())
            );
            problems.error(&place.at, &text);
            None
        }
    }
}

/// Where the sessions of a service go.
fn lead(
    node: &Node,
    name: &str,
    chain: Option<Chain>,
    targets: &[Destination],
    root: &Node,
    made: &mut Made,
    problems: &Problems,
) {
    let to = |tag: &str| Target::Outbound(tag.into());
    let bypassed = |node: Option<&Node>| node.and_then(|node| bypass::read(node, root, problems));
    let own = bypassed(node.get("bypass").or_else(|| node.get("bypasses")));
    // A key of `-L` is among all others.
    let own = own.or_else(|| bypassed(node.get("metadata").and_then(|keys| keys.get("bypass"))));
    let of_chain = bypassed(chain.as_ref().and_then(|chain| chain.bypass.as_ref()));
    let mut target = chain.map_or_else(|| to(DIRECT), |chain| chain.target);
    if targets.len() > 1 {
        match &target {
            Target::Outbound(tag) if &**tag == DIRECT => {
                let selector = node.get("forwarder").and_then(|node| node.get("selector"));
                target = spread(name, targets, selector.unwrap_or(node), made, problems);
            }
            _ => problems.error(&node.at, "several targets behind a chain are not built"),
        }
    }
    if let Some(own) = own {
        for conditions in own.matches {
            let meant = if own.is_whitelist {
                target.clone()
            } else {
                to(BLOCKED)
            };
            made.rule(name, conditions, meant);
        }
        if own.is_whitelist {
            return made.rule(name, bypass::Asked::default(), to(BLOCKED));
        }
    }
    if let Some(past) = of_chain {
        for conditions in past.matches {
            let meant = if past.is_whitelist {
                target.clone()
            } else {
                to(DIRECT)
            };
            made.rule(name, conditions, meant);
        }
        if past.is_whitelist {
            target = to(DIRECT);
        }
    }
    made.rule(name, bypass::Asked::default(), target);
}

/// Several targets: an outbound for each, and one that chooses.
fn spread(
    name: &str,
    targets: &[Destination],
    selector: &Node,
    made: &mut Made,
    problems: &Problems,
) -> Target {
    for (n, target) in targets.iter().enumerate() {
        let redirect = freedom::Redirect {
            host: Some(target.host.clone()),
            port: Some(target.port),
        };
        let settings = freedom::OutboundSettings {
            redirect,
            ..freedom::OutboundSettings::default()
        };
        let tag = format!("{name}>{n}/");
        made.outbounds
            .push(plain(&tag, OutboundSettings::Freedom(settings)));
    }
    let (strategy, failing) = chain::select(selector, problems);
    made.balancers.push(BalancerSettings {
        tag: format!("{name}>"),
        strategy: strategy.into(),
        selectors: vec![format!("{name}>")].into(),
        failing: Some(failing),
        ..BalancerSettings::default()
    });
    Target::Balancer(format!("{name}>"))
}

/// `forwarder`.
fn targets(node: &Node, problems: &Problems) -> Vec<Destination> {
    let Some(forwarder) = node.get("forwarder") else {
        return Vec::new();
    };
    check_keys(forwarder, &["name", "nodes", "selector"], problems);
    let nodes = forwarder.get("nodes").map(Node::items).unwrap_or_default();
    let target = |node: &Node| {
        check_keys(node, &["name", "addr", "network"], problems);
        let addr = node.get("addr").and_then(Node::as_text).unwrap_or_default();
        let to = destination(addr);
        to.map_err(|text| problems.error(&node.at, &text)).ok()
    };
    nodes.iter().filter_map(target).collect()
}

/// `auth`, and what `auther` names.
fn accounts(handler: Option<&Node>, root: &Node, problems: &Problems) -> Option<Vec<Account>> {
    let handler = handler?;
    let mut all: Vec<Account> = account(handler, problems).into_iter().collect();
    let names = [handler.get("auther"), handler.get("authers")];
    for name in names.into_iter().flatten().flat_map(Node::items) {
        let mut authers = root
            .get("authers")
            .map(Node::items)
            .unwrap_or_default()
            .iter();
        let found = authers.find(|one| one.get("name").and_then(Node::as_text) == name.as_text());
        let Some(auther) = found else {
            let text = name.as_text().unwrap_or_default().escape_debug();
            problems.error(&name.at, &format!("there is no auther `{text}`"));
            continue;
        };
        check_keys(auther, &["name", "auths"], problems);
        let auths = auther.get("auths").map(Node::items).unwrap_or_default();
        if auths.is_empty() {
            problems.error(
                &auther.at,
                "there is no account in it, and so no password would be asked for",
            );
        }
        all.extend(auths.iter().filter_map(|auth| account_of(auth, problems)));
    }
    let is_asked = !all.is_empty() || names.iter().any(Option::is_some);
    is_asked.then_some(all)
}

/// `auth` of a handler or a connector.
pub(super) fn account(part: &Node, problems: &Problems) -> Option<Account> {
    let auth = part.get("auth")?;
    match auth.value {
        Value::Null => None,
        _ => account_of(auth, problems),
    }
}

fn account_of(auth: &Node, problems: &Problems) -> Option<Account> {
    check_keys(auth, &["username", "password"], problems);
    let text = |name: &str| auth.get(name).and_then(Node::as_text).unwrap_or_default();
    let (user, pass) = (text("username"), text("password"));
    if user.is_empty() && pass.is_empty() {
        problems.error(
            &auth.at,
            "this is no account, expected `username` and `password`",
        );
        return None;
    }
    Some(Account {
        user: user.to_owned(),
        pass: pass.to_owned().into(),
        level: 0,
    })
}

/// Tells of keys that are none of `known`.
pub(super) fn check_keys(node: &Node, known: &[&str], problems: &Problems) {
    if matches!(node.value, Value::Text(_) | Value::List(_)) {
        let text = format!("expected `{}:` and what belongs to it", known[0]);
        problems.error(&node.at, &text);
    }
    for (key, value) in node.entries() {
        if !known.iter().any(|one| one.eq_ignore_ascii_case(key)) {
            let hint = did_you_mean(key, known.iter().copied());
            let text = format!("`{}` is not built here{hint}", key.escape_debug());
            problems.error(&value.at, &text);
        }
    }
}

/// Where a service listens; without a host on every address, and without a port on any that is free.
fn listen(addr: &str, names: &mut Names) -> Result<(IpAddr, u16), String> {
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
