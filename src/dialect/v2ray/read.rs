//! The top level, in the order in which its parts need each other.

use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::merge::Origins;
use super::{api, inbound, log, outbound, policy};
use crate::config::exposure::{self, Leads};
use crate::config::{Config, Inbound, Outbound, check};
use crate::dns::{self, Resolver};
use crate::json::{Node, Object};
use crate::matching::{Geodata, geodata};
use crate::observatory::{self, Observer};
use crate::protocol;
use crate::routing::{self, config::Tags};

/// Reads a merged config. Whether it may run is in the report; `None` says that it may not.
pub(super) fn config(root: Object, origins: &Origins) -> Option<Config> {
    let log = log::read(&root);
    let old_port = root.get("port");
    let mut inbounds = Vec::new();
    let nodes = elements(&root, ["inbound", "inboundDetour", "inbounds"]);
    for (i, node) in nodes.iter().enumerate() {
        let port = old_port.as_ref().filter(|_| i == 0);
        inbounds.push((node, node.object().and_then(|o| inbound::read(o, port))));
    }
    let mut outbounds = Vec::new();
    let nodes = elements(&root, ["outbound", "outboundDetour", "outbounds"]);
    for node in &nodes {
        outbounds.push((node, node.object().and_then(|o| outbound::read(o))));
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
    let state = state(&root);
    let loopbacks: Vec<_> = outbounds
        .iter()
        .filter_map(|(_, outbound)| {
            let outbound = outbound.as_ref()?;
            Some((
                outbound.tag.clone()?,
                outbound.protocol.loopback()?.inbound()?,
            ))
        })
        .collect();
    let mut told = false;
    for (node, inbound) in &inbounds {
        let Some(inbound) = inbound else { continue };
        let leads = api_tag.as_ref().map_or(Leads::Nobody, |tag| {
            exposure::leads(&router, inbound, tag, &loopbacks)
        });
        told |= exposure::warn_of_api(node, inbound, leads);
        if inbound.protocol.lacks_port() && leads == Leads::Nobody {
            let path = node.path.key("settings");
            let text = "there is no `port` to go to, connections will fail";
            node.report().warn(&path, text);
        }
    }
    if let Some(tag) = &api_tag
        && !told
    {
        exposure::warn_of_open_rules(&root, &router, tag);
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

    let name = |node: &Node| origins.name(&node.path);
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
        state,
        api: None,
    };
    if api_tag.is_some() {
        // As in V2Ray, the API takes the place of an outbound that a panel has put under its tag.
        config.outbounds.retain(|other| other.tag != api_tag);
    }
    if config.outbounds.is_empty() {
        config.outbounds.push(outbound::direct()?);
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

/// `dns`; without it the system is asked, as by V2Ray.
fn resolver(root: &Object, geodata: &Geodata) -> Resolver {
    let Some(dns) = root.object("dns") else {
        return Resolver::default();
    };
    let resolver = dns::config::read(&dns, geodata);
    dns.finish();
    resolver
}

/// `stateDirectory`; a process that is started elsewhere shall find it, too.
fn state(root: &Object) -> Option<PathBuf> {
    let node = root.get("stateDirectory")?;
    let folder: PathBuf = node.read::<String>()?.into();
    if !folder.is_absolute() {
        let shown = folder.display();
        node.error(format!(
            "`{shown}` is not an absolute path, expected a folder such as `/var/lib/mobula`"
        ));
    }
    Some(folder)
}

/// The top-level keys of V2Ray 4 and 5 that nothing is built for.
fn unbuilt(root: &Object) {
    root.no_effect(&["browserForwarder", "extension", "fakedns"]);
    root.refuse(
        "reverse",
        "bridges and portals are not built, and what is meant for them would leave from this machine: take `reverse` out",
    );
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

/// `protocol` and its `settings`, which may be left out.
pub(super) fn protocol<T>(object: &Object, read: fn(&Node, &Object) -> Option<T>) -> Option<T> {
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
pub(super) fn tag(object: &Object) -> Option<String> {
    object.read("tag").filter(|tag: &String| !tag.is_empty())
}
