//! Chains: hops one behind the other, each of one node or of several.

use std::sync::Arc;

use super::made::Made;
use super::node::outbound;
use super::part::check_keys;
use super::past::{self, Past, Ways};
use super::{Problems, selector};
use crate::config::{Outbound, Through};
use crate::dialect::tree::Node;
use crate::report::Place;
use crate::routing::{BalancerSettings, Target};

/// Ways through a chain whose hops have several nodes.
const MAX_WAYS: usize = 256;

/// A chain that is there: where its sessions go, and what does not go through it.
#[derive(Clone)]
pub(super) struct Chain {
    pub target: Target,
    /// The outbounds of its last hop.
    pub ends: Vec<Arc<str>>,
    /// What goes elsewhere, by the bypasses of its hops and nodes.
    pub past: Vec<Past>,
}

/// The chain of this name, made when it is asked for first.
pub(super) fn find(
    name: &Node,
    root: &Node,
    made: &mut Made,
    problems: &Problems,
) -> Option<Chain> {
    let text = name.as_text().unwrap_or_default();
    if let Some(chain) = made.chains.get(text) {
        return Some(chain.clone());
    }
    let mut chains = root
        .get("chains")
        .map(Node::items)
        .unwrap_or_default()
        .iter();
    let Some(node) = chains.find(|chain| name_of(chain) == text) else {
        problems.error(
            &name.at,
            &format!("there is no chain `{}`", text.escape_debug()),
        );
        return None;
    };
    let Some(chain) = read(node, text, root, made, problems) else {
        problems.lost(&node.at, "this chain");
        return None;
    };
    made.chains.insert(text.to_owned(), chain.clone());
    Some(chain)
}

/// Reads a chain that no service has asked for.
pub(super) fn check(node: &Node, root: &Node, made: &mut Made, problems: &Problems) {
    let name = name_of(node);
    if name.is_empty() {
        return problems.error(&node.at, "a chain needs a `name`: services name it");
    }
    if !made.chains.contains_key(name) {
        find(&Node::text(name, &node.at), root, made, problems);
    }
}

pub(super) fn name_of(node: &Node) -> &str {
    node.get("name").and_then(Node::as_text).unwrap_or_default()
}

fn read(
    node: &Node,
    name: &str,
    root: &Node,
    made: &mut Made,
    problems: &Problems,
) -> Option<Chain> {
    check_keys(node, &["name", "hops"], problems);
    let hops: Vec<&Node> = node
        .get("hops")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .collect();
    let named = root.get("hops").map(Node::items).unwrap_or_default();
    let mut ways: Vec<Vec<(String, Outbound)>> = vec![Vec::new()];
    let (mut selector, mut skipped, mut counts) = (None, Vec::new(), Vec::new());
    for (place, hop) in hops.iter().enumerate() {
        let hop = match hop.get("nodes") {
            Some(_) => hop,
            None => match named.iter().find(|one| name_of(one) == name_of(hop)) {
                Some(found) => found,
                None => {
                    problems.error(
                        &hop.at,
                        "this hop has no `nodes`, and there is none of its name in `hops`",
                    );
                    return None;
                }
            },
        };
        check_keys(
            hop,
            &[
                "name", "nodes", "selector", "bypass", "bypasses", "metadata",
            ],
            problems,
        );
        let nodes = hop.get("nodes").map(Node::items).unwrap_or_default();
        skipped.extend(past::of_hop(place, hop, nodes, problems));
        counts.push(nodes.len());
        let outbounds: Vec<_> = nodes
            .iter()
            .filter_map(|node| outbound(node, place == 0, hop.get("metadata"), problems))
            .collect();
        if outbounds.len() < nodes.len() || nodes.is_empty() {
            if nodes.is_empty() {
                problems.error(&hop.at, "this hop has no node");
            }
            return None;
        }
        let chosen = selector::read(hop.get("selector"), problems);
        if nodes.len() > 1 {
            selector = Some(chosen);
        }
        ways = ways
            .iter()
            .flat_map(|way| {
                outbounds.iter().map(|one| {
                    let mut way = way.clone();
                    way.push(one.clone());
                    way
                })
            })
            .collect();
        if ways.len() > MAX_WAYS {
            problems.error(
                &node.at,
                &format!("this chain has more than {MAX_WAYS} ways through its nodes"),
            );
            return None;
        }
    }
    if hops.is_empty() {
        problems.error(&node.at, "this chain has no hop");
        return None;
    }
    let several = ways.len() > 1;
    let (mut ends, mut begins): (Vec<Arc<str>>, Vec<Arc<str>>) = (Vec::new(), Vec::new());
    for (n, way) in ways.into_iter().enumerate() {
        let mut through: Option<Arc<str>> = None;
        let (count, mut path) = (way.len(), name.to_owned());
        for (hop, (called, outbound)) in way.into_iter().enumerate() {
            path = format!("{path}/{called}");
            let tag: Arc<str> = match hop + 1 == count {
                true => format!("{name}#{n}/{called}").into(),
                false => path.as_str().into(),
            };
            if made
                .outbounds
                .iter()
                .all(|one| one.tag.as_ref() != Some(&tag))
            {
                made.outbounds.push(Outbound {
                    name: tag.to_string(),
                    tag: Some(tag.clone()),
                    through: through.map(|tag| Through {
                        at: Place::default(),
                        tag,
                    }),
                    ..outbound
                });
            }
            if hop + 1 == count {
                ends.push(tag.clone());
            }
            if n == 0 {
                begins.push(tag.clone());
            }
            through = Some(tag);
        }
    }
    let chosen = match several {
        false => None,
        true => {
            let (strategy, failing) = selector?;
            Some(BalancerSettings {
                tag: name.to_owned(),
                strategy: strategy.into(),
                selectors: vec![format!("{name}#")].into(),
                failing: Some(failing),
                ..BalancerSettings::default()
            })
        }
    };
    made.balancers.extend(chosen.clone());
    let target = match &chosen {
        None => Target::Outbound(ends.first()?.clone()),
        Some(_) => Target::Balancer(name.to_owned()),
    };
    let ways = Ways {
        name,
        nodes: &counts,
        ends: &ends,
        begins: &begins,
        chosen,
    };
    let past = ways.past(skipped, made, problems);
    Some(Chain { target, ends, past })
}
