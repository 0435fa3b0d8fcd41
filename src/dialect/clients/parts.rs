//! What a file of sing-box or of Clash names, and what is made of it once its parts are held against each other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::dns::Section;
use super::groups::{Choice, balancers, unmistakable};
use super::rules::{Routing, Rules};
use crate::config::{Config, Inbound, Log, LogLevel, Outbound};
use crate::dialect::tree::At;
use crate::dialect::tree::keys::Notes;
use crate::sniffing;

/// What was read, before its parts are held against each other.
#[derive(Default)]
pub(in crate::dialect) struct Parts {
    pub(in crate::dialect) inbounds: Vec<Inbound>,
    /// Of inbounds that are made because there are none.
    pub(in crate::dialect) sniffing: Option<sniffing::Settings>,
    pub(in crate::dialect) outbounds: Vec<Outbound>,
    pub(in crate::dialect) level: LogLevel,
    /// The tag of the outbound that carries what no rule sends elsewhere.
    pub(in crate::dialect) first: Option<String>,
    pub(in crate::dialect) dns: Option<Section>,
    /// Groups that choose for themselves.
    pub(in crate::dialect) choices: Vec<Choice>,
    /// The `loopback`s that lead to some of those: their tags, and the groups'.
    pub(in crate::dialect) ways: HashMap<Arc<str>, String>,
}

/// What a file means.
#[derive(Default)]
pub(in crate::dialect) struct Whole {
    pub(in crate::dialect) config: Config,
    /// Its rules as V2Ray's `routing`.
    pub(in crate::dialect) routing: Option<Value>,
    /// V2Ray's `dns`.
    pub(in crate::dialect) dns: Option<Value>,
    /// Of inbounds that are made because there are none.
    pub(in crate::dialect) sniffing: Option<sniffing::Settings>,
}

impl Parts {
    /// Takes out the outbounds whose way leads through what is neither another outbound nor `is_known`, before groups and rules
    /// choose among them.
    pub(in crate::dialect) fn forget_lost(
        &mut self,
        is_known: impl Fn(&str) -> bool,
        notes: &Notes,
    ) {
        loop {
            let tags = self.outbounds.iter().filter_map(|o| o.tag.clone());
            let tags: HashSet<Arc<str>> = tags.collect();
            let before = self.outbounds.len();
            self.outbounds.retain(|outbound| {
                let through = outbound.through.as_ref();
                let lost = through.filter(|one| !tags.contains(&one.tag) && !is_known(&one.tag));
                if let Some(through) = lost {
                    tell_lost(outbound, &through.tag, notes);
                }
                lost.is_none()
            });
            if self.outbounds.len() == before {
                return;
            }
        }
    }

    /// Outbounds whose way leads through a group without members are not carried over either.
    pub(in crate::dialect) fn into_whole(mut self, mut rules: Rules<'_>, notes: &Notes) -> Whole {
        loop {
            let tags: HashSet<Arc<str>> = self
                .outbounds
                .iter()
                .filter_map(|o| o.tag.clone())
                .collect();
            let is_empty = |group: &String| {
                let mut choices = self.choices.iter().filter(|one| one.tag == *group);
                !choices.any(|one| one.members.iter().any(|tag| tags.contains(&**tag)))
            };
            let lost = |outbound: &Outbound| {
                let through = outbound.through.as_ref();
                let group = outbound.tag.as_ref().and_then(|tag| self.ways.get(tag));
                through.is_some_and(|through| !tags.contains(&through.tag))
                    || group.is_some_and(is_empty)
            };
            let Some(n) = self.outbounds.iter().position(lost) else {
                break;
            };
            let gone = self.outbounds.remove(n);
            let Some(through) = gone.through.as_ref().map(|through| &through.tag) else {
                // The way to a group without members; those members have been told of.
                if let Some(tag) = &gone.tag {
                    rules.forget_inbound(tag);
                }
                continue;
            };
            let group = self.ways.get(through);
            tell_lost(&gone, group.map_or(&**through, |group| group), notes);
            if gone.tag.is_some() && gone.tag.as_deref() == self.first.as_deref() {
                let text = format_args!(
                    "everything goes by {}, which is left out: the next one takes its place",
                    gone.name
                );
                notes.astray(&At::default(), text);
            }
        }
        if let Some(first) = &self.first {
            let found = self.outbounds.iter();
            let found = found
                .enumerate()
                .find(|(_, o)| o.tag.as_deref() == Some(first));
            if let Some((n, _)) = found {
                self.outbounds[..=n].rotate_right(1);
            }
        }
        distinguish(&mut self.outbounds);
        let tags: HashSet<String> = self
            .outbounds
            .iter()
            .filter_map(|one| one.tag.as_deref().map(str::to_owned))
            .collect();
        for choice in &mut self.choices {
            choice.members.retain(|tag| tags.contains(tag));
        }
        self.choices.retain(|choice| !choice.members.is_empty());
        let names = unmistakable(&mut self.choices, &self.outbounds);
        rename(&mut self.outbounds, &names);
        rules.rename(&names);
        let tags = tags
            .into_iter()
            .map(|tag| names.get(&tag).cloned().unwrap_or(tag));
        let (balancers, observers) = balancers(&self.choices);
        let Routing { settings, text } = rules.into_routing(&tags.collect(), balancers);
        let (dns, dns_text) = match self.dns {
            Some(section) => (section.settings, Some(section.text)),
            None => Default::default(),
        };
        Whole {
            config: Config {
                log: Log {
                    level: self.level,
                    ..Log::default()
                },
                inbounds: self.inbounds,
                outbounds: self.outbounds,
                routing: settings,
                dns,
                observers,
                ..Config::default()
            },
            routing: text,
            dns: dns_text,
            sniffing: self.sniffing,
        }
    }
}

fn tell_lost(gone: &Outbound, through: &str, notes: &Notes) {
    notes.line(format!(
        "{}: it goes through `{}`, which is not carried over: it is left out",
        gone.name,
        through.escape_debug()
    ));
}

/// Gives outbounds their new tags, and those that go through them as well.
fn rename(outbounds: &mut [Outbound], names: &HashMap<String, String>) {
    for outbound in outbounds {
        let through = outbound.through.as_mut().map(|through| &mut through.tag);
        for tag in outbound.tag.as_mut().into_iter().chain(through) {
            if let Some(name) = names.get(&**tag) {
                *tag = name.as_str().into();
            }
        }
    }
}

/// Gives each outbound a tag of its own: subscriptions have many nodes of one name.
pub(in crate::dialect) fn distinguish(outbounds: &mut [Outbound]) {
    let mut taken: HashSet<Arc<str>> = outbounds.iter().filter_map(|o| o.tag.clone()).collect();
    let mut seen: HashMap<Arc<str>, usize> = HashMap::new();
    for outbound in outbounds {
        let wished = outbound
            .tag
            .clone()
            .unwrap_or_else(|| match outbound.leads_away() {
                true => "proxy".into(),
                false => outbound.protocol.name().into(),
            });
        let times = seen.entry(wished.clone()).or_default();
        if *times == 0 && (outbound.tag.is_some() || taken.insert(wished.clone())) {
            *times = 1;
            outbound.tag = Some(wished);
            continue;
        }
        let tag = loop {
            *times = (*times).max(1) + 1;
            let tag: Arc<str> = format!("{wished} {times}").into();
            if taken.insert(tag.clone()) {
                break tag;
            }
        };
        outbound.tag = Some(tag);
    }
}
