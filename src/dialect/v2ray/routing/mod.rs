//! `routing` of V2Ray 4 and `router` of V2Ray 5: strategy, balancers, rules.

mod balancer;
mod lists;
mod rule;

pub(crate) use lists::{networks, patterns, patterns_of_text, wrong_kind};

use std::sync::Arc;

use crate::json::{Node, Object, did_you_mean};
use crate::matching::Geodata;
use crate::routing::{Balancer, DomainStrategy, HealthTable, Router, Target};

/// What rules and balancers may name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tags {
    pub inbounds: Vec<String>,
    pub outbounds: Vec<String>,
    /// Whether any inbound finds out what its sessions carry.
    pub sniffs: bool,
    /// Of parts of V2Ray that stand in for an inbound or an outbound and are not built.
    pub unbuilt: Vec<String>,
    pub observers: Vec<Observed>,
}

/// What balancers must know of an observer.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// What `observerTag` names; the first without a tag is everyone's.
    pub tag: String,
    /// The beginnings of the tags of the outbounds it observes.
    pub selectors: Vec<String>,
    pub health: Arc<HealthTable>,
}

/// Reads both keys of the top level.
pub(crate) fn read(root: &Object, tags: &Tags, geodata: &Geodata) -> Router {
    let mut router = Router::default();
    if let Some(routing) = root.object("routing") {
        read_lists(&routing, ["rules", "balancers"], tags, geodata, &mut router);
        // Until V2Ray 4 the lists stood one level deeper.
        if let Some(settings) = routing.object("settings") {
            read_lists(
                &settings,
                ["rules", "balancers"],
                tags,
                geodata,
                &mut router,
            );
            settings.finish();
        }
        routing.silent(&["strategy"]);
        routing.finish();
    }
    if let Some(routing) = root.object("router") {
        read_lists(
            &routing,
            ["rule", "balancingRule"],
            tags,
            geodata,
            &mut router,
        );
        routing.finish();
    }
    router
}

fn read_lists(
    object: &Object,
    [rules, balancers]: [&'static str; 2],
    tags: &Tags,
    geodata: &Geodata,
    router: &mut Router,
) {
    if let Some(node) = object.get("domainStrategy") {
        router.strategy = domain_strategy(&node);
    }
    object.silent(&["domainMatcher"]);
    for node in object.array(balancers) {
        let balancer = node.object().and_then(|o| balancer::read(o, tags));
        if let Some(balancer) = balancer {
            if router.balancers.iter().any(|b| b.tag == balancer.tag) {
                node.error(format!("another balancer is tagged `{}`", balancer.tag));
            }
            router.balancers.push(Arc::new(balancer));
        }
    }
    for node in object.array(rules) {
        if let Some(rule) = node
            .object()
            .and_then(|o| rule::read(o, tags, &router.balancers, geodata))
        {
            router.rules.push(rule);
        }
    }
}

fn domain_strategy(node: &Node) -> DomainStrategy {
    let Some(text) = node.read::<String>() else {
        return DomainStrategy::AsIs;
    };
    match text.to_ascii_lowercase().as_str() {
        "asis" | "" => DomainStrategy::AsIs,
        "ipifnonmatch" => DomainStrategy::IpIfNonMatch,
        "ipondemand" => DomainStrategy::IpOnDemand,
        _ => {
            let guess = did_you_mean(&text, ["AsIs", "IPIfNonMatch", "IPOnDemand"].into_iter());
            node.warn(format!(
                "`{}` is not `AsIs`, `IPIfNonMatch` or `IPOnDemand`, `AsIs` is used as in V2Ray{guess}",
                text.escape_debug()
            ));
            DomainStrategy::AsIs
        }
    }
}

/// The tag of an outbound, if there is one.
fn outbound(node: &Node, tag: &str, tags: &Tags) -> Option<Arc<str>> {
    if tags.outbounds.iter().any(|t| t == tag) {
        return Some(tag.into());
    }
    if tags.unbuilt.iter().any(|t| t == tag) {
        node.warn(format!(
            "what is tagged `{tag}` is not built yet, the rule has no effect"
        ));
    } else {
        let guess = did_you_mean(tag, tags.outbounds.iter().map(String::as_str));
        node.error(format!(
            "no outbound is tagged `{}`{guess}",
            tag.escape_debug()
        ));
    }
    None
}

/// Where a rule leads: a tag that nobody has means the first outbound, as in V2Ray.
fn outbound_of_rule(node: &Node, tag: &str, tags: &Tags) -> Option<Arc<str>> {
    let known = tags.outbounds.iter().chain(&tags.unbuilt).any(|t| t == tag);
    if known {
        return outbound(node, tag, tags);
    }
    let guess = did_you_mean(tag, tags.outbounds.iter().map(String::as_str));
    node.warn(format!(
        "no outbound is tagged `{}`, so the first one carries what the rule takes, as in V2Ray{guess}",
        tag.escape_debug()
    ));
    Some(tag.into())
}

/// `outboundTag` and its like; where both stand, V2Ray takes the outbound.
fn target(object: &Object, tags: &Tags, balancers: &[Arc<Balancer>]) -> Option<Target> {
    let read = |keys: &[&'static str]| {
        let node = object.first(keys)?;
        let tag: String = node.read()?;
        (!tag.is_empty()).then_some((node, tag))
    };
    let to_outbound = read(&["outboundTag", "tag"]);
    let to_balancer = read(&["balancerTag", "balancingTag"]);
    match (to_outbound, to_balancer) {
        (Some((node, tag)), _) => outbound_of_rule(&node, &tag, tags).map(Target::Outbound),
        (None, Some((node, tag))) => {
            let found = balancers.iter().find(|b| b.tag == tag);
            if found.is_none() {
                let guess = did_you_mean(&tag, balancers.iter().map(|b| b.tag.as_str()));
                node.error(format!(
                    "no balancer is tagged `{}`{guess}",
                    tag.escape_debug()
                ));
            }
            found.cloned().map(Target::Balancer)
        }
        (None, None) => {
            let text = "the rule leads nowhere, expected `outboundTag` or `balancerTag`";
            object.node.error(text);
            None
        }
    }
}
