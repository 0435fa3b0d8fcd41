//! What groups become: balancers, and the observers that they ask.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{Group, Kind};
use crate::config::Outbound;
use crate::dialect::tree::At;
use crate::dialect::tree::keys::Notes;
use crate::observatory::{self, Burst};
use crate::routing::{Among, BalancerSettings, Strategy};

/// Groups that something leads to, and outbounds that are there without being written down.
#[derive(Default)]
pub(in crate::dialect) struct Made {
    pub(in crate::dialect) choices: Vec<Choice>,
    pub(in crate::dialect) outbounds: Vec<Outbound>,
}

/// A group with the tags of its members.
#[derive(Debug)]
pub(in crate::dialect) struct Choice {
    pub(super) at: At,
    pub(in crate::dialect) tag: String,
    /// What the file calls its kind.
    pub(super) word: String,
    pub(super) kind: Kind,
    pub(in crate::dialect) members: Vec<String>,
    pub(super) probe: Burst,
    /// Members that are groups themselves.
    pub(super) inner: Vec<String>,
    /// Members that are not carried over.
    pub(super) lost: Vec<String>,
}

impl Choice {
    pub(super) fn of(group: &Group<'_>) -> Self {
        Self {
            at: group.at.clone(),
            tag: group.name.to_owned(),
            word: group.word.escape_debug().to_string(),
            kind: group.kind,
            members: Vec::new(),
            probe: group.probe.clone(),
            inner: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Says what it does otherwise than the group.
    pub(super) fn tell(&self, notes: &Notes) {
        self.tell_lost(notes);
        if !self.inner.is_empty() {
            let text = format_args!(
                "`{}`: {} among its members: one choice is made of all of theirs",
                self.tag.escape_debug(),
                some(&self.inner, "is", "are")
            );
            notes.left_out(&self.at, text);
        }
    }

    pub(super) fn tell_lost(&self, notes: &Notes) {
        if !self.lost.is_empty() {
            let text = format_args!(
                "`{}`: {} not carried over, the other members carry all of it",
                self.tag.escape_debug(),
                some(&self.lost, "is", "are")
            );
            notes.left_out(&self.at, text);
        }
    }

    fn balancer(&self, observer: String) -> BalancerSettings {
        let strategy = match self.kind {
            Kind::Fastest(keep_within) => Strategy::LeastPing { keep_within },
            Kind::FirstAlive | Kind::ByHand => Strategy::FirstAlive,
            Kind::InTurn => Strategy::RoundRobin(Among::Alive),
        };
        // Before anything was heard of any, and when none answers, the first carries what there is, as it does there.
        let first = self.members.first();
        BalancerSettings {
            tag: self.tag.clone(),
            strategy: strategy.into(),
            selectors: self.members.clone().into(),
            fallback: first.map(|tag| Arc::<str>::from(tag.as_str()).into()),
            observer: observer.into(),
            ..BalancerSettings::default()
        }
    }
}

/// Balancers, and an observer for all that ask for the same thing. V2Ray finds a single one without a name.
pub(in crate::dialect) fn balancers(
    choices: &[Choice],
) -> (Vec<BalancerSettings>, Vec<observatory::Settings>) {
    let mut probes: Vec<(&Burst, String, Vec<String>)> = Vec::new();
    let mut observers = Vec::new();
    for choice in choices {
        let found = probes
            .iter()
            .position(|(probe, ..)| **probe == choice.probe);
        let n = found.unwrap_or_else(|| {
            probes.push((&choice.probe, choice.tag.clone(), Vec::new()));
            probes.len() - 1
        });
        probes[n].2.extend(choice.members.iter().cloned());
        observers.push(n);
    }
    if let [(_, name, _)] = &mut probes[..] {
        name.clear();
    }
    let balancers = choices.iter().zip(observers);
    let balancers = balancers.map(|(choice, n)| choice.balancer(probes[n].1.clone()));
    let balancers = balancers.collect();
    let settings = probes.into_iter().map(|(probe, tag, members)| {
        let mut known = HashSet::new();
        let members = members.into_iter();
        let members: Vec<String> = members.filter(|tag| known.insert(tag.clone())).collect();
        observatory::Settings {
            tag,
            selectors: members.into(),
            kind: observatory::Kind::Burst(Box::new(probe.clone())),
        }
    });
    (balancers, settings.collect())
}

/// New names for members that another outbound's tag begins with, which is no member: balancers know their own by the beginning
/// of tags. `HK` becomes `HK.` where there is `HK 2`.
pub(in crate::dialect) fn unmistakable(
    choices: &mut [Choice],
    outbounds: &[Outbound],
) -> HashMap<String, String> {
    let tags = outbounds.iter().filter_map(|one| one.tag.as_deref());
    let mut tags: BTreeSet<String> = tags.map(str::to_owned).collect();
    let mut renamed = HashMap::new();
    for choice in &*choices {
        let members: HashSet<&str> = choice.members.iter().map(String::as_str).collect();
        for member in &choice.members {
            if renamed.contains_key(member) {
                continue;
            }
            let is_strange = |tag: &String| !members.contains(tag.as_str());
            if !longer(&tags, member).any(is_strange) {
                continue;
            }
            let mut name = format!("{member}.");
            while tags.contains(&name) || longer(&tags, &name).next().is_some() {
                name.push('.');
            }
            tags.insert(name.clone());
            renamed.insert(member.clone(), name);
        }
    }
    for member in choices.iter_mut().flat_map(|one| &mut one.members) {
        if let Some(name) = renamed.get(member) {
            member.clone_from(name);
        }
    }
    renamed
}

/// Those that begin with `tag` and go on.
fn longer<'t>(tags: &'t BTreeSet<String>, tag: &'t str) -> impl Iterator<Item = &'t String> {
    tags.range::<str, _>((Bound::Excluded(tag), Bound::Unbounded))
        .take_while(move |other| other.starts_with(tag))
}

/// `` `a` is``, `` `a`, `b`, `c` and 5 others are``.
fn some(names: &[String], one: &str, several: &str) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN);
    let shown: Vec<String> = shown
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    let verb = if names.len() == 1 { one } else { several };
    match names.len() - shown.len() {
        0 => format!("{} {verb}", shown.join(", ")),
        n => format!("{} and {n} more {verb}", shown.join(", ")),
    }
}
