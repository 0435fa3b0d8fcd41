//! What goes through a group: its connections go to a `loopback`, which a rule leads to the group's balancer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Groups, Lead, Written};
use crate::config::{Config, Outbound};
use crate::dialect::clients::nodes;
use crate::dialect::clients::parts::Parts;
use crate::dialect::clients::rules::{Asks, Rules};
use crate::dialect::tree::At;
use crate::protocol::{OutboundSettings, loopback};
use crate::routing::{BalancerSettings, Rule, Target, selected};
use crate::transport::ClientSettings;

impl Groups<'_> {
    /// Puts what was made of groups into `parts`, and lays the ways through them.
    pub(in crate::dialect) fn settle(mut self, parts: &mut Parts, rules: &mut Rules<'_>) {
        let inbounds = parts.inbounds.iter();
        let inbounds: Vec<&str> = inbounds.filter_map(|one| one.tag.as_deref()).collect();
        let ways = self.ways(&mut parts.outbounds, &inbounds);
        parts.ways = ways
            .iter()
            .map(|(group, tag)| (tag.as_str().into(), group.clone()))
            .collect();
        for (group, tag) in &ways {
            let mut asks = Asks::default();
            asks.add("inboundTag", tag.as_str());
            let lead = Lead::Balancer(group.clone());
            rules.push_first(&At::default(), asks, &lead);
        }
        let made = self.into_made();
        parts.outbounds.extend(made.outbounds);
        parts.choices = made.choices;
        parts.outbounds.extend(ways.values().map(|tag| {
            let settings = loopback::OutboundSettings {
                inbound: Some(tag.as_str().into()),
            };
            let protocol = OutboundSettings::Loopback(settings);
            nodes::outbound(
                &At::default(),
                Some(tag),
                ClientSettings::default(),
                protocol,
            )
        }));
    }

    /// Whether any of these goes through one.
    pub(in crate::dialect) fn are_gone_through(&self, outbounds: &[Outbound]) -> bool {
        let mut through = outbounds.iter().filter_map(|one| one.through.as_ref());
        through.any(|through| self.leads.contains_key(&*through.tag))
    }

    /// Leads outbounds that go through a group through what it comes to. Gives the tag of a way for each balancer among those.
    fn ways(&mut self, outbounds: &mut [Outbound], inbounds: &[&str]) -> BTreeMap<String, String> {
        let through: HashMap<Arc<str>, Arc<str>> = outbounds
            .iter()
            .filter_map(|one| Some((one.tag.clone()?, one.through.as_ref()?.tag.clone())))
            .collect();
        let mut ways = BTreeMap::new();
        for outbound in outbounds {
            let Some(through_it) = &mut outbound.through else {
                continue;
            };
            if self.tags.contains_key(&*through_it.tag) {
                continue;
            }
            match self.find(&through_it.tag) {
                Some(Lead::Balancer(group)) if !ways.contains_key(&group) => {
                    if !self.leave_out(&group, &through) {
                        continue;
                    }
                    let tag = self.free_tag(format!("to {group}"), inbounds);
                    through_it.tag = tag.as_str().into();
                    self.lead(&group);
                    ways.insert(group, tag);
                }
                Some(Lead::Balancer(group)) => through_it.tag = ways[&group].as_str().into(),
                Some(Lead::Outbound(tag)) => {
                    self.lead(&through_it.tag);
                    through_it.tag = tag.into();
                }
                None => {}
            }
        }
        ways
    }

    /// Those that go through a group are none of its members; whether there are others.
    fn leave_out(&mut self, group: &str, through: &HashMap<Arc<str>, Arc<str>>) -> bool {
        let Some(choice) = self.choice(group) else {
            return false;
        };
        let goes_through = |tag: &String| {
            let mut tag: &str = tag;
            // Round in a circle there are not more.
            for _ in 0..=through.len() {
                let Some(next) = through.get(tag) else {
                    return false;
                };
                match self.find(next) {
                    Some(Lead::Balancer(found)) => return found == group,
                    _ => tag = next,
                }
            }
            false
        };
        let (own, others): (Vec<String>, Vec<String>) =
            choice.members.iter().cloned().partition(goes_through);
        if others.is_empty() {
            return false;
        }
        let n = self.places[group];
        if let Some(first) = own.first() {
            let text = format_args!(
                "`{}`: `{}` goes through it, and is none of its members here{}",
                group.escape_debug(),
                first.escape_debug(),
                match own.len() {
                    1 => String::new(),
                    n => format!(", nor are {} others", n - 1),
                }
            );
            self.notes.left_out(&self.choices[n].at, text);
        }
        self.choices[n].members = others;
        true
    }

    /// Of a `loopback`, and what comes out of it: no outbound, no group and no inbound has it.
    fn free_tag(&self, mut tag: String, inbounds: &[&str]) -> String {
        while self.tags.contains_key(&tag)
            || self.leads.contains_key(&*tag)
            || inbounds.contains(&&*tag)
        {
            tag.push('-');
        }
        tag
    }
}

/// Ways of a config, as [`Groups::settle`] lays them: the tag of each `loopback`, and the balancer behind it.
pub(in crate::dialect) struct Ways<'c>(HashMap<&'c str, &'c BalancerSettings>);

impl<'c> Ways<'c> {
    pub(in crate::dialect) fn of(config: &'c Config) -> Self {
        let way = |outbound: &'c Outbound| {
            let inbound = outbound.protocol.loopback()?.inbound.as_deref()?;
            let mut rules = config.routing.rules.iter();
            let rule = rules.find(|rule| is_about(rule, inbound))?;
            let Target::Balancer(balancer) = &*rule.target else {
                return None;
            };
            let balancer = config.routing.balancer(balancer)?;
            is_all_of(rule, inbound).then_some((outbound.tag.as_deref()?, balancer))
        };
        Self(config.outbounds.iter().filter_map(way).collect())
    }

    /// Whether an outbound is such a way, and not to be written.
    pub(in crate::dialect) fn has(&self, outbound: &Outbound) -> bool {
        let tag = outbound.tag.as_deref();
        tag.is_some_and(|tag| self.0.contains_key(tag))
    }

    /// Those to balancers of which something was written.
    pub(in crate::dialect) fn open(&self, names: &[String]) -> HashSet<&'c str> {
        let is_open = |balancer: &BalancerSettings| {
            names.iter().any(|name| selected(&balancer.selectors, name))
        };
        let open = self.0.iter().filter(|(_, balancer)| is_open(balancer));
        open.map(|(tag, _)| *tag).collect()
    }

    /// Has what goes through one go through its group, whose name stands under `key`.
    pub(in crate::dialect) fn name(&self, written: &mut [Value], key: &str, groups: &[Written]) {
        for value in written {
            let Some(balancer) = value[key].as_str().and_then(|tag| self.0.get(tag)) else {
                continue;
            };
            let group = groups.iter().find(|group| group.tag == balancer.tag);
            if let Some(group) = group {
                value[key] = group.name.as_str().into();
            }
        }
    }

    /// Whether a rule is there for one of them alone.
    pub(super) fn need(&self, config: &Config, rule: &Rule) -> bool {
        let mut ways = config.outbounds.iter().filter(|one| self.has(one));
        ways.any(|way| {
            let inbound = way
                .protocol
                .loopback()
                .and_then(|one| one.inbound.as_deref());
            inbound.is_some_and(|inbound| is_all_of(rule, inbound))
        })
    }
}

/// Whether a rule may take what comes by the inbound `name`.
fn is_about(rule: &Rule, name: &str) -> bool {
    let inbounds = &rule.conditions.inbounds;
    inbounds.is_empty() || inbounds.iter().any(|tag| tag == name)
}

/// Whether it takes all that, and nothing else.
fn is_all_of(rule: &Rule, name: &str) -> bool {
    let conditions = &rule.conditions;
    conditions.takes_all_streams_of(name) && **conditions.inbounds == [name.to_owned()]
}
