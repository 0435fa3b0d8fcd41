//! What goes past a chain, or past some of a hop's nodes: `bypass` of hops and of nodes.
//!
//! A hop whose bypass has the target ends the chain in front of it. A node whose own has it is none of those that its hop
//! chooses from; where all of a hop's are out, so is the hop.

use std::sync::Arc;

use super::made::{DIRECT, Made};
use super::{Problems, bypass};
use crate::dialect::tree::Node;
use crate::routing::{BalancerSettings, Target};

/// What does not go through a whole chain, and where it goes instead.
#[derive(Clone)]
pub(super) struct Past {
    pub bypass: Node,
    pub instead: Target,
}

/// What a bypass leaves out.
pub(super) struct Skipped {
    bypass: Node,
    hop: usize,
    /// Its nodes that are out; without any, all are.
    nodes: Vec<usize>,
}

/// The bypasses of one hop of a chain, and of its nodes.
pub(super) fn of_hop(
    place: usize,
    hop: &Node,
    nodes: &[Node],
    problems: &Problems,
) -> Vec<Skipped> {
    let whole = |bypass| Skipped {
        bypass,
        hop: place,
        nodes: Vec::new(),
    };
    let mut skipped: Vec<Skipped> = bypass::of(hop).cloned().map(whole).into_iter().collect();
    let of_nodes: Vec<(usize, Node)> = nodes
        .iter()
        .enumerate()
        .filter_map(|(n, node)| Some((n, bypass::of(node)?.clone())))
        .collect();
    let Some((_, first)) = of_nodes.first() else {
        return skipped;
    };
    if let Some((_, other)) = of_nodes.iter().find(|(_, one)| texts(one) != texts(first)) {
        let text = "nodes of one hop with different bypasses are not built, expected the same one at each, or at some of them";
        problems.error(&other.at, text);
        return skipped;
    }
    let are_all = of_nodes.len() == nodes.len();
    skipped.push(Skipped {
        bypass: first.clone(),
        hop: place,
        nodes: match are_all {
            true => Vec::new(),
            false => of_nodes.iter().map(|(n, _)| *n).collect(),
        },
    });
    skipped
}

fn texts(bypass: &Node) -> Vec<&str> {
    let items = bypass.items().iter();
    items
        .map(|item| item.as_text().unwrap_or_default())
        .collect()
}

/// A chain whose outbounds are made.
pub(super) struct Ways<'a> {
    pub name: &'a str,
    /// How many nodes each hop has.
    pub nodes: &'a [usize],
    /// Where each way through the nodes ends, the last hop's nodes by turns first.
    pub ends: &'a [Arc<str>],
    /// What the first hops of the first way are called.
    pub begins: &'a [Arc<str>],
    /// How one way of several is chosen.
    pub chosen: Option<BalancerSettings>,
}

impl Ways<'_> {
    /// Where what is left out goes.
    pub(super) fn past(
        &self,
        skipped: Vec<Skipped>,
        made: &mut Made,
        problems: &Problems,
    ) -> Vec<Past> {
        let mut past = Vec::new();
        for one in skipped {
            let instead = match one.nodes.is_empty() {
                true => self.before(one.hop),
                false => Some(self.beside(&one, made)),
            };
            match instead {
                Some(instead) => past.push(Past {
                    bypass: one.bypass,
                    instead,
                }),
                None => {
                    let text = "a bypass behind a hop of several nodes is not built";
                    problems.error(&one.bypass.at, text);
                }
            }
        }
        past
    }

    /// The hops in front of this one; `None` where they have several nodes.
    fn before(&self, hop: usize) -> Option<Target> {
        let tag = match hop.checked_sub(1) {
            None => DIRECT.into(),
            Some(last) => self.begins.get(last)?.clone(),
        };
        let is_one = self.nodes.iter().take(hop).all(|count| *count == 1);
        is_one.then_some(Target::Outbound(tag))
    }

    /// The ways through the other nodes of its hop.
    fn beside(&self, skipped: &Skipped, made: &mut Made) -> Target {
        let behind: usize = self.nodes.iter().skip(skipped.hop + 1).product();
        let count = self.nodes.get(skipped.hop).copied().unwrap_or(1);
        let left = self.ends.iter().enumerate().filter(|(way, _)| {
            let node = way / behind.max(1) % count.max(1);
            !skipped.nodes.contains(&node)
        });
        let left: Vec<String> = left.map(|(_, tag)| tag.to_string()).collect();
        if let [one] = &left[..] {
            return Target::Outbound(one.as_str().into());
        }
        let tag = format!("{}!{}", self.name, skipped.hop);
        made.balancers.push(BalancerSettings {
            tag: tag.clone(),
            selectors: left.into(),
            ..self.chosen.clone().unwrap_or_default()
        });
        Target::Balancer(tag)
    }
}
