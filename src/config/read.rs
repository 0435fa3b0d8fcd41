//! The top level, and the frame of each inbound and outbound.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use super::merge::Origins;
use super::{Config, Inbound, Listen, Outbound, api, check, log, policy};
use crate::address::Host;
use crate::dns::{self, Resolver, Strategy};
use crate::json::{Node, Object, PortRanges, Report};
use crate::observatory::{self, Observer};
use crate::routing::{self, Geodata, config::Tags, geodata};
use crate::sniffing::Sniffing;
use crate::{mux, protocol, transport};

/// Reads a merged config. Whether it may run is in the report; `None` says that it may not.
pub(super) fn config(root: Object, origins: &Origins) -> Option<Config> {
    let log = log::read(&root);
    let old_port = root.get("port");
    let mut inbounds = Vec::new();
    let nodes = elements(&root, ["inbound", "inboundDetour", "inbounds"]);
    for (i, node) in nodes.iter().enumerate() {
        let port = old_port.as_ref().filter(|_| i == 0);
        inbounds.push((node, node.object().and_then(|o| inbound(o, port))));
    }
    let mut outbounds = Vec::new();
    let nodes = elements(&root, ["outbound", "outboundDetour", "outbounds"]);
    for node in &nodes {
        outbounds.push((node, node.object().and_then(|o| outbound(o))));
    }
    let api = api::read(&root);
    let api_tag = api.as_ref().and_then(|(_, outbound)| outbound.tag.clone());
    let mut tags = tags(&root, &inbounds, &outbounds, api_tag.as_deref());
    let observers = observatory::read(&root, &tags.outbounds);
    tags.observers = observers.iter().map(Observer::observed).collect();
    let geodata = Geodata::new(geodata::folders());
    let router = routing::config::read(&root, &tags, &geodata);
    let resolver = resolver(&root, &geodata);
    let (policy, stats) = policy::read(&root);
    for (node, inbound) in &inbounds {
        let Some(inbound) = inbound else { continue };
        let leads = api_tag
            .as_ref()
            .is_some_and(|tag| api::leads(&router, inbound, tag));
        api::warn_of_open_doors(node, inbound, leads);
        if inbound.protocol.lacks_port() && !leads {
            let path = node.path.key("settings");
            let text = "there is no `port` to go to, connections will fail";
            node.report().warn(&path, text);
        }
    }
    unbuilt(&root);
    let whole = !root.node.report().has_errors();
    if inbounds.is_empty() && whole {
        root.node
            .warn("there is no inbound, nothing is listened on");
    }
    if outbounds.is_empty() {
        root.node
            .warn("there is no outbound, sessions go straight to their targets (V2Ray drops them)");
    }
    root.finish();
    check::inbounds(&inbounds);
    let through = check::outbounds(&nodes);

    let name = |node: &Node| origins.name(&node.path.to_string());
    let inbounds = inbounds.into_iter().map(|(node, inbound)| {
        let path = name(node);
        inbound.map(|inbound| Inbound { path, ..inbound })
    });
    let outbounds = outbounds
        .into_iter()
        .zip(through)
        .map(|((node, outbound), through)| {
            let mut outbound = outbound?;
            outbound.path = name(node);
            outbound.through = through;
            Some(outbound)
        });
    let mut config = Config {
        log,
        inbounds: inbounds.collect::<Option<_>>()?,
        outbounds: outbounds.collect::<Option<_>>()?,
        router,
        observers,
        resolver,
        policy,
        stats,
        api: None,
    };
    if api_tag.is_some() {
        // As in V2Ray, the API takes the place of an outbound that a panel has put under its tag.
        config.outbounds.retain(|other| other.tag != api_tag);
    }
    if config.outbounds.is_empty() {
        config.outbounds.push(direct()?);
    }
    if let Some((api, outbound)) = api {
        config.outbounds.push(outbound);
        config.api = Some(api);
    }
    Some(config)
}

/// All inbounds or outbounds: the old single one, the old further ones, today's array.
fn elements<'a>(root: &Object<'a>, [one, more, all]: [&'static str; 3]) -> Vec<Node<'a>> {
    let mut nodes: Vec<Node> = root.get(one).into_iter().collect();
    nodes.extend(root.array(more));
    nodes.extend(root.array(all));
    nodes
}

/// What rules may name; also what V2Ray would have under these tags.
fn tags(
    root: &Object,
    inbounds: &[(&Node, Option<Inbound>)],
    outbounds: &[(&Node, Option<Outbound>)],
    api: Option<&str>,
) -> Tags {
    let of = |node: &Node| {
        let tag = node.value.get("tag").and_then(Value::as_str);
        tag.filter(|tag| !tag.is_empty()).map(str::to_owned)
    };
    let mut unbuilt = Vec::new();
    if let Some(reverse) = root.get("reverse") {
        let lists = ["bridges", "portals"].map(|key| reverse.value.get(key));
        let ends = lists.into_iter().flatten().filter_map(Value::as_array);
        let tags = ends
            .flatten()
            .map(|end| Node::at(reverse.path.clone(), end, root.node.report()));
        unbuilt.extend(tags.filter_map(|node| of(&node)));
    }
    if let Some(services) = root
        .get("services")
        .as_ref()
        .and_then(|s| s.value.as_object())
    {
        let tags = services.values().filter_map(|s| s.get("tag")?.as_str());
        unbuilt.extend(tags.map(str::to_owned));
    }
    let mut sources: Vec<String> = inbounds.iter().filter_map(|(node, _)| of(node)).collect();
    for (_, outbound) in outbounds {
        let loopback = outbound.as_ref().and_then(|o| o.protocol.loopback());
        sources.extend(
            loopback
                .and_then(|l| l.inbound())
                .map(|tag| tag.to_string()),
        );
    }
    // The questions of the built-in DNS arrive as if there were inbounds with these tags.
    let dns = root.get("dns").as_ref().map(dns::config::tags);
    sources.extend(dns.into_iter().flatten());
    Tags {
        inbounds: sources,
        outbounds: outbounds
            .iter()
            .filter_map(|(node, _)| of(node))
            .chain(api.map(str::to_owned))
            .collect(),
        sniffs: inbounds
            .iter()
            .flat_map(|(_, inbound)| inbound)
            .any(|inbound| {
                // What a plain request is, its inbound says.
                inbound.sniffing.is_some() || matches!(inbound.protocol, protocol::Inbound::Http(_))
            }),
        unbuilt,
        observers: Vec::new(),
    }
}

pub(super) fn inbound(object: Object, old_port: Option<&Node>) -> Option<Inbound> {
    let listen = match object.get("listen") {
        Some(node) => listen(&node),
        // V2Ray, and so our transport, takes it for every address of either family.
        None => Some(Listen::Ip(Ipv4Addr::UNSPECIFIED.into())),
    };
    let port = object.get("port").or_else(|| old_port.cloned());
    let ports = match (&listen, port) {
        (Some(Listen::Unix(_) | Listen::Abstract(_)), _) => Some(PortRanges(Vec::new())),
        (_, Some(node)) => node.read(),
        (_, None) => {
            object
                .node
                .error("`port` is missing, an inbound on an IP address needs one");
            None
        }
    };
    let protocol = protocol(&object, protocol::Inbound::read);
    let mut transport = transport::Inbound::read(object.get("streamSettings").as_ref());
    if let (Some(protocol), Some(transport)) = (&protocol, &mut transport)
        && protocol.follows_redirect()
    {
        transport.sockopt.follow_redirect();
    }
    let sniffing = Sniffing::read(&object);
    if let Some(object) = object.object("allocate") {
        allocate(object);
    }
    let tag = tag(&object).map(Into::into);
    object.finish();
    Some(Inbound {
        path: String::new(),
        tag,
        listen: listen?,
        ports: ports?,
        transport: transport?,
        protocol: protocol?,
        sniffing: sniffing.map(Arc::new),
    })
}

pub(super) fn outbound(object: Object) -> Option<Outbound> {
    let protocol = protocol(&object, protocol::Outbound::read);
    let mut transport = transport::Outbound::read(object.get("streamSettings").as_ref());
    if let Some(node) = object.get("sendThrough")
        && let Some(ip) = send_through(&node)
        && let Some(transport) = &mut transport
    {
        transport.sockopt.send_through = Some(ip);
    }
    if let Some(proxy) = object.object("proxySettings") {
        // Without it, V2Ray leaves out the transport's own layers; V2Ray 5 has the longer word.
        for key in ["transportLayer", "transportLayerProxy"] {
            let _: bool = proxy.read_or(key, false);
        }
        proxy.silent(&["tag"]);
        proxy.finish();
    }
    let mux = mux(&object, protocol.as_ref());
    let strategy = object
        .get("domainStrategy")
        .and_then(|n| Strategy::read(&n));
    let tag = tag(&object).map(Into::into);
    object.finish();
    let mut outbound = Outbound::new(transport?, protocol?);
    outbound.tag = tag;
    outbound.mux = mux;
    outbound.strategy = strategy.unwrap_or_default();
    Some(outbound)
}

/// `dns`; without it the system is asked, as by V2Ray.
fn resolver(root: &Object, geodata: &Geodata) -> Resolver {
    let Some(dns) = root.object("dns") else {
        return Resolver::default();
    };
    let resolver = dns::config::read(&dns, geodata);
    dns.finish();
    resolver
}

/// `mux`, where the protocol has a word for it; V2Ray would ask any server for its made-up address.
fn mux(outbound: &Object, protocol: Option<&protocol::Outbound>) -> Option<mux::Outbound> {
    let object = outbound.object("mux")?;
    let mux = mux::Outbound::read(&object);
    if mux.is_some() && protocol.is_some_and(|protocol| !protocol.has_mux()) {
        object
            .node
            .warn("only a `vmess` outbound carries mux, the key has no effect");
        object.finish();
        return None;
    }
    object.finish();
    mux
}

/// `protocol` and its `settings`, which may be left out.
fn protocol<T>(object: &Object, read: fn(&Node, &Object) -> Option<T>) -> Option<T> {
    static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    let name = object.require_node("protocol");
    let settings = object.get("settings").unwrap_or_else(|| {
        let path = object.node.path.key("settings");
        Node::at(path, &EMPTY, object.node.report())
    });
    let (name, settings) = (name?, settings.object()?);
    let protocol = read(&name, &settings);
    // When the protocol is unknown, none of its settings can be known.
    if protocol.is_some() {
        settings.finish();
    }
    protocol
}

/// An empty tag is none.
fn tag(object: &Object) -> Option<String> {
    object.read("tag").filter(|tag: &String| !tag.is_empty())
}

/// When which of the ports are opened.
fn allocate(object: Object) {
    if let Some(strategy) = object.get("strategy")
        && let Some(name) = strategy.read::<String>()
    {
        match name.to_ascii_lowercase().as_str() {
            "always" => {}
            "random" | "external" => object
                .node
                .warn("ports are always opened all at once, the key has no effect"),
            _ => strategy.error(format!(
                "`{}` is unknown, expected `always` or `random`",
                name.escape_debug()
            )),
        }
    }
    object.silent(&["concurrency", "refresh"]);
    object.finish();
}

fn listen(node: &Node) -> Option<Listen> {
    let text: String = node.read()?;
    if let Some(name) = text.strip_prefix('@') {
        if name.is_empty() {
            node.error("`@` has no name behind it, expected `@name`");
            return None;
        }
        return Some(Listen::Abstract(name.as_bytes().to_vec()));
    }
    if text.starts_with('/') {
        let path = Path::new(&text);
        // The kernel's `sun_path` has 108 bytes, with the zero at the end.
        if path.as_os_str().as_bytes().len() > 107 {
            node.error("the path of a unix socket has at most 107 bytes");
            return None;
        }
        return Some(Listen::Unix(path.to_owned()));
    }
    match Host::parse(text.trim()) {
        Ok(Host::Ip(ip)) => Some(Listen::Ip(ip)),
        Ok(Host::Domain(name)) if name.eq_ignore_ascii_case("localhost") => {
            Some(Listen::Ip(Ipv4Addr::LOCALHOST.into()))
        }
        _ => {
            node.error(format!(
                "`{}` is not an IP address, a unix socket's path beginning with `/` or an `@name`",
                text.escape_debug()
            ));
            None
        }
    }
}

fn send_through(node: &Node) -> Option<IpAddr> {
    let text: String = node.read()?;
    match Host::parse(text.trim()) {
        Ok(Host::Ip(ip)) => Some(ip),
        _ => {
            node.error(format!("`{}` is not an IP address", text.escape_debug()));
            None
        }
    }
}

/// The top-level keys of V2Ray 4 and 5 that nothing is built for.
fn unbuilt(root: &Object) {
    root.no_effect(&["browserForwarder", "extension", "fakedns", "reverse"]);
    if let Some(transport) = root.object("transport") {
        // These two were copied to where they count.
        transport.silent(&["tcpSettings", "wsSettings"]);
        transport.no_effect(&[
            "dsSettings",
            "grpcSettings",
            "gunSettings",
            "httpSettings",
            "kcpSettings",
            "quicSettings",
        ]);
        transport.finish();
    }
}

/// What carries sessions when there is no outbound.
fn direct() -> Option<Outbound> {
    let value = serde_json::json!({"protocol": "freedom"});
    outbound(Node::root(&value, &Report::default()).object()?)
}
