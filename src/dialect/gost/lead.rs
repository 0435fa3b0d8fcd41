//! Where the sessions of a service go: by its chain, past it, or nowhere.

use std::sync::Arc;

use super::chain::Chain;
use super::made::{BLOCKED, DIRECT, Made, plain};
use super::past::Past;
use super::{Problems, bypass, selector};
use crate::address::Destination;
use crate::config::{Outbound, Through};
use crate::dialect::tree::Node;
use crate::protocol::{OutboundSettings, freedom};
use crate::report::Place;
use crate::routing::{BalancerSettings, Target};

/// What leads the sessions of a service.
pub(super) struct Lead<'a> {
    pub service: &'a str,
    pub chain: Option<Chain>,
    pub targets: &'a [Destination],
    /// How often a way is looked for again when one does not open.
    pub retries: u32,
}

/// Where they go.
pub(super) fn lead(node: &Node, lead: Lead<'_>, root: &Node, made: &mut Made, problems: &Problems) {
    let Lead {
        service: name,
        chain,
        targets,
        retries,
    } = lead;
    let to = |tag: &str| Target::Outbound(tag.into());
    let bypassed = |node: &Node| bypass::read(node, root, problems);
    let own = bypasses(node).find_map(bypassed);
    let past = chain
        .as_ref()
        .map_or_else(Vec::new, |chain| chain.past.clone());
    let ends = chain.as_ref().map(|chain| chain.ends.clone());
    let mut target = chain.map_or_else(|| to(DIRECT), |chain| chain.target);
    if targets.len() > 1 {
        let several = ends.as_ref().is_some_and(|ends| ends.len() > 1);
        let bypass = bypasses(node)
            .next()
            .or(past.first().map(|past| &past.bypass));
        if several {
            let text = "several targets behind a chain whose hops have several nodes are not built";
            problems.error(&node.at, text);
        }
        if let Some(bypass) = bypass {
            let text = "a bypass beside several targets is not built: which of them it is compared with is not known";
            problems.error(&bypass.at, text);
        }
        let selector = node.get("forwarder").and_then(|node| node.get("selector"));
        let through = ends.as_ref().and_then(|ends| ends.first());
        target = spread(name, targets, through, selector, made, problems);
    }
    if retries > 0 {
        target = again(name, &target, retries, made);
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
            if let Some(past) = past.first() {
                problems.error(
                    &past.bypass.at,
                    "a bypass of the chain behind one of the service with `~` is not built",
                );
            }
            return made.rule(name, bypass::Asked::default(), to(BLOCKED));
        }
    }
    let count = past.len();
    for (n, Past { bypass, instead }) in past.into_iter().enumerate() {
        let Some(read) = bypassed(&bypass) else {
            continue;
        };
        for conditions in read.matches {
            let meant = if read.is_whitelist {
                target.clone()
            } else {
                instead.clone()
            };
            made.rule(name, conditions, meant);
        }
        if read.is_whitelist {
            if n + 1 < count {
                problems.error(
                    &bypass.at,
                    "another bypass behind one with `~` is not built",
                );
            }
            target = instead;
        }
    }
    made.rule(name, bypass::Asked::default(), target);
}

/// A balancer that chooses again, `retries` times, among what `target` is.
fn again(name: &str, target: &Target, retries: u32, made: &mut Made) -> Target {
    let tag = format!("{name}>>");
    let mut settings = match target {
        Target::Balancer(chosen) => made.balancer(chosen).cloned().unwrap_or_default(),
        // What begins with this tag would be chosen from as well.
        Target::Outbound(one) if &**one == DIRECT => {
            let own = format!("{tag}/");
            let freedom = OutboundSettings::Freedom(freedom::OutboundSettings::default());
            made.outbounds.push(plain(&own, freedom));
            BalancerSettings {
                selectors: vec![own].into(),
                ..BalancerSettings::default()
            }
        }
        Target::Outbound(one) => BalancerSettings {
            selectors: vec![one.to_string()].into(),
            ..BalancerSettings::default()
        },
    };
    settings.tag.clone_from(&tag);
    settings.retries = retries;
    made.balancers.push(settings);
    Target::Balancer(tag)
}

/// Those of a service by itself. A key of `-L` is among all others.
fn bypasses(node: &Node) -> impl Iterator<Item = &Node> {
    let of_keys = node.get("metadata").and_then(|keys| keys.get("bypass"));
    [bypass::of(node), of_keys].into_iter().flatten()
}

/// Where the server at the end of the chain has the target, nobody here knows which it is.
pub(super) fn no_bypass(node: &Node, chain: Option<&Chain>, problems: &Problems) {
    let of_chain = chain.into_iter().flat_map(|chain| &chain.past);
    let of_chain = of_chain.map(|past| &past.bypass);
    for bypass in bypasses(node).chain(of_chain) {
        problems.error(
            &bypass.at,
            "a bypass needs a target to be compared with, and here the server has it",
        );
    }
}

/// Several targets: an outbound for each, which goes through the end of the chain, if there is one; and one that chooses.
fn spread(
    name: &str,
    targets: &[Destination],
    through: Option<&Arc<str>>,
    selector: Option<&Node>,
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
        let through = through.map(|tag| Through {
            at: Place::default(),
            tag: tag.clone(),
        });
        made.outbounds.push(Outbound {
            through,
            ..plain(&tag, OutboundSettings::Freedom(settings))
        });
    }
    let (strategy, failing) = selector::read(selector, problems);
    made.balancers.push(BalancerSettings {
        tag: format!("{name}>"),
        strategy: strategy.into(),
        selectors: vec![format!("{name}>")].into(),
        failing: Some(failing),
        ..BalancerSettings::default()
    });
    Target::Balancer(format!("{name}>"))
}
