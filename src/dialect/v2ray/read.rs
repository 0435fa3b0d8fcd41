//! The top level, in the order in which its parts need each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::merge::Origins;
use super::{
    api, browser, dns, inbound, limits, log, metrics, observatory, outbound, policy, reverse,
    routing,
};
use crate::config::check::{self, Tags};
use crate::config::exposure::{self, Leads};
use crate::config::{self, Config, Draft, Inbound, Listen, Outbound, Through, traps};
use crate::dialect::v2ray::json::{Kind, Node, Object, is_spelling_of};
use crate::matching::{Geodata, geodata};
use crate::protocol::{InboundSettings, OutboundSettings, blackhole};
use crate::routing::{Settings, Target};
use crate::transport;

/// Reads a merged config. Whether it may run is in the report; `None` says that it may not. With `skip_unbuilt` parts
/// that are not built are left out.
pub(super) fn config(root: Object, origins: &Origins, skip_unbuilt: bool) -> Option<Config> {
    let log = log::read(&root);
    let old_port = root.get("port");
    let forgiven = match skip_unbuilt {
        true => &[Kind::Dead, Kind::Unbuilt][..],
        false => &[Kind::Dead],
    };
    let report = root.node.report();
    let mut inbounds = Vec::new();
    let mut left_out = Vec::new();
    let nodes = elements(&root, ["inbound", "inboundDetour", "inbounds"]);
    for (i, node) in nodes.iter().enumerate() {
        let port = old_port.as_ref().filter(|_| i == 0);
        let before = report.count();
        let part = node.object().and_then(|o| inbound::read(o, port));
        if part.as_ref().is_some_and(leads_nowhere)
            && !tag_in(node.value).is_some_and(|tag| has_rule_for(&root, &tag))
        {
            let text = "`address` is missing, or `followRedirect` for a transparent proxy, or a rule with this `inboundTag`, as for an API";
            let settings = Node::at(node.path.key("settings"), node.value, report);
            settings.dead(text);
        }
        if report.forgive(before, forgiven, "THE INBOUND IS LEFT OUT") {
            left_out.extend(tag_in(node.value));
            continue;
        }
        inbounds.push(draft(node, None, part));
    }
    let browser = browser::read(&root);
    if let Some(browser) = &browser {
        config::browser::warn_of_open_page(browser, report);
    }
    let mut outbounds = Vec::new();
    let nodes = elements(&root, ["outbound", "outboundDetour", "outbounds"]);
    for node in &nodes {
        let before = report.count();
        let part = node.object().and_then(outbound::read);
        if let Some(part) = &part {
            config::browser::check(part, None, browser.as_ref(), report);
        }
        if report.forgive(
            before,
            forgiven,
            "THE OUTBOUND IS LEFT OUT, what is meant for it is blocked",
        ) {
            let stand_in = Some(stand_in(node.path.clone(), tag_in(node.value)));
            outbounds.push(draft(node, None, stand_in));
            continue;
        }
        let through = outbound::through(node);
        if let (Some(part), Some(through)) = (&part, &through) {
            config::browser::check(part, Some(&through.at), browser.as_ref(), report);
        }
        outbounds.push(draft(node, through, part));
    }
    check::last_of_each_tag(&mut outbounds, report);
    let reverse = reverse::read(&root);
    check::portals_take_tags(&reverse, &mut outbounds, report);
    let api = api::read(&root);
    let api_tag = api.as_ref().map(|api| api.tag.clone());
    let metrics = metrics::read(&root);
    let metrics_tag = metrics.as_ref().and_then(|metrics| metrics.tag.clone());
    let geodata = Geodata::new(geodata::folders());
    let fakes = fakes(&root);
    let dns = dns(&root, fakes.as_ref(), &geodata);
    let mut tags = Tags::of(&inbounds, &outbounds, &dns, &reverse, api_tag.as_deref());
    tags.outbounds
        .extend(metrics_tag.as_deref().map(str::to_owned));
    let mut unbuilt = unbuilt_tags(&root);
    tags.inbounds.extend_from_slice(&unbuilt);
    tags.inbounds.extend(left_out);
    unbuilt.retain(|tag| !tags.outbounds.contains(tag));
    unbuilt.sort_unstable();
    unbuilt.dedup();
    tags.outbounds.extend_from_slice(&unbuilt);
    let observers = observatory::read(&root);
    let mut routing = routing::read(&root, &unbuilt, &geodata);
    let stand_ins = outbounds.iter().filter_map(stands_in);
    let stand_ins = stand_ins.chain(unbuilt.iter().map(|tag| Arc::from(&**tag)));
    let stand_ins: Vec<Arc<str>> = stand_ins.collect();
    routing.block(&stand_ins, &tags.outbounds);
    check::observers(&observers, &tags, report);
    check::routing(&routing, &observers, &tags, report);
    check::reverse(
        &reverse,
        &inbounds,
        &outbounds,
        api_tag.as_ref(),
        &routing,
        report,
    );
    check::own_places(api.as_ref(), metrics.as_ref(), &inbounds, report);
    let (policy, stats) = policy::read(&root);
    let limits = limits::read(&root);
    let state = state(&root);
    let loopbacks: Vec<_> = outbounds
        .iter()
        .filter_map(|draft| {
            let loopback = draft.part.as_ref()?.protocol.loopback()?;
            Some((draft.tag.clone()?, loopback.inbound.clone()?))
        })
        .collect();
    let mut told = false;
    for inbound in inbounds.iter().filter_map(|draft| draft.part.as_ref()) {
        traps::warn_of_door(inbound, &routing, report);
        let leads = api_tag.as_ref().map_or(Leads::Nobody, |tag| {
            exposure::leads(&routing, inbound, tag, &loopbacks)
        });
        told |= exposure::warn_of_api(inbound, leads, report);
        let leads_to_metrics = metrics_tag.as_ref().map_or(Leads::Nobody, |tag| {
            exposure::leads(&routing, inbound, tag, &loopbacks)
        });
        if let Some(metrics) = &metrics {
            exposure::check_metrics(metrics, inbound, leads_to_metrics, report);
        }
        let leads = leads.max(leads_to_metrics);
        let has_end = leads != Leads::Nobody
            || is_for_api(&routing, inbound, api_tag.as_deref())
            || is_for_api(&routing, inbound, metrics_tag.as_deref());
        // A name that is found in the session may lead to an outbound that has a port.
        let has_port = inbound.sniffing.is_some() && outbounds.iter().any(redirects);
        if inbound.protocol.traits().lacks_port && !has_end && !has_port {
            let path = inbound.at.key("settings");
            let text = "there is no `port` to go to, connections will fail";
            report.warn(&path, text);
        }
    }
    if let Some(api) = api.as_ref().filter(|_| !told) {
        exposure::warn_of_open_rules(api, &routing, report);
    }
    unbuilt_keys(&root);
    let whole = !root.node.report().has_errors();
    if inbounds.is_empty() && reverse.bridges.is_empty() && whole {
        root.node
            .warn("there is no inbound, nothing is listened on");
    }
    if outbounds.is_empty() && reverse.portals.is_empty() {
        root.node
            .warn("there is no outbound, sessions go straight to their targets (V2Ray drops them)");
    }
    if root.knows_none() {
        // What a server answers that has no config for somebody, say.
        root.node.error(
            "there is nothing of a config in it, expected `inbounds`, `outbounds` or another part",
        );
    }
    root.finish();
    let written = fakes.as_ref().map(|node| &node.path);
    dns::fake::check(&dns, &inbounds, written, report);
    check::one_mode_each(&mut inbounds, report);
    check::inbounds(&inbounds, report);
    check::outbounds(&outbounds, &reverse, report);
    check::ways_round(&outbounds, &routing, report);
    let inbounds = inbounds.into_iter().map(|draft| {
        let name = origins.name(&draft.at);
        draft.part.map(|inbound| Inbound { name, ..inbound })
    });
    let services = unbuilt.into_iter().map(|tag| {
        let at = crate::report::Path::default();
        Some(stand_in(at, Some(tag)))
    });
    let outbounds = outbounds.into_iter().map(|draft| {
        let name = origins.name(&draft.at);
        let through = draft.through;
        draft.part.map(|outbound| Outbound {
            name,
            through,
            tag: draft.tag,
            ..outbound
        })
    });
    let outbounds = outbounds.chain(services);
    Some(Config {
        log,
        inbounds: config::share(inbounds.collect::<Option<_>>()?),
        outbounds: outbounds.collect::<Option<_>>()?,
        routing,
        reverse,
        observers,
        dns,
        policy,
        limits,
        stats,
        state,
        api,
        metrics,
        browser,
    })
}

/// Whether a rule leads sessions of `inbound` to the API, of those sources perhaps that it names.
fn is_for_api(routing: &Settings, inbound: &Inbound, api: Option<&str>) -> bool {
    let (Some(tag), Some(api)) = (inbound.tag.as_deref(), api) else {
        return false;
    };
    let mut rules = routing.rules.iter();
    rules.any(|rule| {
        let mut inbounds = rule.conditions.inbounds.iter();
        let leads = matches!(&*rule.target, Target::Outbound(to) if **to == *api);
        leads && inbounds.any(|name| name == tag)
    })
}

/// Takes the place of an outbound that carries nothing.
fn stand_in(at: crate::report::Path, tag: Option<String>) -> Outbound {
    Outbound {
        name: at.to_string(),
        at: at.into(),
        tag: tag.map(Into::into),
        transport: transport::ClientSettings::default(),
        protocol: OutboundSettings::Blackhole(blackhole::OutboundSettings {
            stands_in: true,
            ..Default::default()
        }),
        through: None,
        strategy: Default::default(),
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    }
}

fn stands_in(draft: &Draft<Outbound>) -> Option<Arc<str>> {
    match &draft.part.as_ref()?.protocol {
        OutboundSettings::Blackhole(settings) if settings.stands_in => draft.tag.clone(),
        _ => None,
    }
}

/// A part of which `read` has been made, if it could be read.
fn draft<T>(node: &Node, through: Option<Through>, read: Option<T>) -> Draft<T> {
    let tag = node.value.get("tag").and_then(Value::as_str);
    Draft {
        at: (&node.path).into(),
        tag: tag.filter(|tag| !tag.is_empty()).map(Into::into),
        through,
        part: read,
    }
}

/// All inbounds or outbounds: the old single one, the old further ones, today's array.
pub(super) fn elements<'a>(
    root: &Object<'a>,
    [one, more, all]: [&'static str; 3],
) -> Vec<Node<'a>> {
    let mut nodes: Vec<Node> = root.get(one).into_iter().collect();
    nodes.extend(root.array(more));
    nodes.extend(root.array(all));
    nodes
}

/// Whether nothing is said of where an inbound leads, and what comes in would come in again, as often as there are descriptors.
fn leads_nowhere(inbound: &Inbound) -> bool {
    let InboundSettings::Dokodemo(door) = &inbound.protocol else {
        return false;
    };
    let comes_again = match inbound.listen {
        Listen::Ip(ip) => {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            ip.is_unspecified() || loopback.contains(&ip.to_canonical())
        }
        _ => true,
    };
    let port = door.to.as_ref().map(|to| to.port);
    comes_again && door.loopback && port == Some(0) && door.port_map.is_empty()
}

/// Whether a rule asks for an inbound by its tag.
fn has_rule_for(root: &Object, tag: &str) -> bool {
    fn names(value: &Value, tag: &str) -> bool {
        match value {
            Value::Object(map) => map.iter().any(|(key, value)| {
                let is_key = is_spelling_of(key, "inboundTag");
                let is_this = |value: &Value| value.as_str() == Some(tag);
                let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
                is_key && (is_this(value) || all.iter().any(is_this)) || names(value, tag)
            }),
            Value::Array(items) => items.iter().any(|item| names(item, tag)),
            _ => false,
        }
    }
    let parts = ["routing", "router"].map(|key| root.get(key));
    parts
        .into_iter()
        .flatten()
        .any(|node| names(node.value, tag))
}

/// The tags of parts of V2Ray that stand in for an inbound or an outbound and are not built.
fn unbuilt_tags(root: &Object) -> Vec<String> {
    let mut unbuilt = Vec::new();
    if let Some(services) = root
        .get("services")
        .as_ref()
        .and_then(|s| s.value.as_object())
    {
        let others = services.iter();
        let others = others.filter(|(name, _)| !name.eq_ignore_ascii_case("commander"));
        unbuilt.extend(others.filter_map(|(_, value)| tag_in(value)));
    }
    unbuilt
}

fn tag_in(value: &Value) -> Option<String> {
    let tag = value.get("tag").and_then(Value::as_str);
    tag.filter(|tag| !tag.is_empty()).map(str::to_owned)
}

/// Whether it names the port that it sends all to.
fn redirects(outbound: &Draft<Outbound>) -> bool {
    let protocol = outbound.part.as_ref().map(|one| &one.protocol);
    matches!(protocol, Some(OutboundSettings::Freedom(settings)) if settings.redirect.port.is_some())
}

/// `fakedns`, which V2Ray 5 has among its services.
fn fakes<'a>(root: &Object<'a>) -> Option<Node<'a>> {
    let top = root.get("fakedns");
    let services = root.get("services").filter(|node| node.value.is_object());
    let services = services.and_then(|node| node.object());
    top.or_else(|| services?.first(&["fakeDns", "fakeDnsMulti"]))
}

/// `dns`; without it the system is asked, as by V2Ray.
fn dns(root: &Object, fakes: Option<&Node>, geodata: &Geodata) -> crate::dns::Settings {
    let fakes = fakes.and_then(dns::fake::pools);
    let Some(object) = root.object("dns") else {
        return crate::dns::Settings {
            fakes: fakes.unwrap_or_default(),
            ..Default::default()
        };
    };
    let settings = dns::read(&object, fakes, geodata);
    object.finish();
    settings
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
fn unbuilt_keys(root: &Object) {
    // Xray's `version` names those of Xray that the file is for.
    root.silent(&["$schema", "version"]);
    root.no_effect(&["env", "extension", "geodata"]);
    if let Some(services) = root
        .get("services")
        .and_then(|s| s.value.is_object().then(|| s.object()))
        .flatten()
    {
        for key in ["tun", "subscription"] {
            services.refuse(
                key,
                "it is not built, and what it takes or adds would go another way: take it out",
            );
        }
    }
    if let Some(transport) = root.object("transport") {
        // Two were copied to where they count; of transports that are not in use nothing is judged.
        transport.silent(&[
            "tcpSettings",
            "wsSettings",
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

/// An empty tag is none.
pub(super) fn tag(object: &Object) -> Option<String> {
    object.read("tag").filter(|tag: &String| !tag.is_empty())
}
