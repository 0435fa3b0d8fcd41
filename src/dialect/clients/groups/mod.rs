//! Groups of outbounds in other programs' files, and the balancers that choose as they do.
//!
//! A group by hand is its first member. The others become balancers with an observer that asks the group's own URL; where a
//! member is such a group itself, its members take its place. A group that no rule comes to is not built.

mod made;
#[cfg(test)]
mod tests;
mod way;
mod write;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::nodes::outbound;
use crate::config::Outbound;
use crate::dialect::tree::At;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::observatory::{Burst, Url};
use crate::protocol::OutboundSettings;
use crate::transport::ClientSettings;

pub(in crate::dialect) use made::{Choice, Made, balancers, unmistakable};
pub(in crate::dialect) use way::Ways;
pub(in crate::dialect) use write::{
    Written, first_in_place, in_front, instead, tell_rest, written,
};

/// How a group chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Kind {
    /// Somebody does: the first of them until then.
    ByHand,
    /// The one that answers soonest; the chosen one stays where no other is sooner by more than this.
    Fastest(Duration),
    /// The first that answers.
    FirstAlive,
    /// Each in its turn, as long as it answers.
    InTurn,
}

/// A group as its file has it.
pub(in crate::dialect) struct Group<'n> {
    pub(in crate::dialect) at: &'n At,
    pub(in crate::dialect) name: &'n str,
    /// What the file calls its kind.
    pub(in crate::dialect) word: &'n str,
    pub(in crate::dialect) kind: Kind,
    /// Names, the one that is chosen first in front.
    pub(in crate::dialect) members: Vec<&'n str>,
    /// How those are asked whether they answer.
    pub(in crate::dialect) probe: Burst,
}

/// What a name comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Lead {
    /// An outbound, by its tag.
    Outbound(String),
    /// A balancer, by its tag.
    Balancer(String),
}

/// An outbound that a program has without its being written down: its tag here, and what it is.
pub(in crate::dialect) type Own = fn(&str) -> Option<(&'static str, OutboundSettings)>;

/// All groups of a file, and what they come to.
pub(in crate::dialect) struct Groups<'n> {
    notes: &'n Notes,
    own: Own,
    /// The tags of outbounds, and whether these lead to servers.
    tags: HashMap<String, bool>,
    leads: HashMap<&'n str, Lead>,
    choices: Vec<Choice>,
    /// Where in `choices` one is, by its tag.
    places: HashMap<String, usize>,
    /// Of all choices.
    members: usize,
    used: RefCell<Used>,
}

/// What is there because something leads to it.
#[derive(Default)]
struct Used {
    groups: HashSet<String>,
    outbounds: Vec<Outbound>,
}

impl<'n> Groups<'n> {
    /// Of a file whose outbounds are `outbounds`.
    pub(in crate::dialect) fn new(
        groups: Vec<Group<'n>>,
        outbounds: &[Outbound],
        own: Own,
        notes: &'n Notes,
    ) -> Self {
        let tags = outbounds.iter();
        let tags = tags.filter_map(|one| Some((one.tag.as_deref()?.to_owned(), one.leads_away())));
        let mut all = Self {
            notes,
            own,
            tags: tags.collect(),
            leads: HashMap::new(),
            choices: Vec::new(),
            places: HashMap::new(),
            members: 0,
            used: RefCell::default(),
        };
        let groups = all.distinct(groups);
        for n in in_order(&groups, notes) {
            if let Some(lead) = all.come_to(&groups[n]) {
                all.leads.insert(groups[n].name, lead);
            }
        }
        all
    }

    /// Those whose names are nobody else's.
    fn distinct(&self, groups: Vec<Group<'n>>) -> Vec<Group<'n>> {
        let mut names = HashSet::new();
        let mut kept = Vec::new();
        for group in groups {
            if self.tags.contains_key(group.name) || (self.own)(group.name).is_some() {
                let text = "an outbound has this name as well, and what leads to it goes there: the group is left out";
                self.notes
                    .astray(group.at, format_args!("{}{text}", called(group.name)));
            } else if !names.insert(group.name) {
                let text =
                    "there is a group of this name already, and what leads to it goes by that one";
                self.notes
                    .astray(group.at, format_args!("{}{text}", called(group.name)));
            } else {
                kept.push(group);
            }
        }
        kept
    }

    /// What a name comes to, which is used from now on; `None` where that is not carried over.
    pub(in crate::dialect) fn lead(&self, name: &str) -> Option<Lead> {
        let lead = self.find(name)?;
        let mut used = self.used.borrow_mut();
        match &lead {
            Lead::Balancer(tag) => {
                if used.groups.insert(tag.clone()) {
                    let members = self.choice(tag).into_iter().flat_map(|one| &one.members);
                    members.for_each(|tag| self.use_own(tag, &mut used));
                }
            }
            Lead::Outbound(tag) => self.use_own(tag, &mut used),
        }
        Some(lead)
    }

    /// The outbound that stands for all of `lead` where there is one alone, one that leads to a server if it can be.
    pub(in crate::dialect) fn first_of(&self, lead: &Lead) -> Option<String> {
        match lead {
            Lead::Outbound(tag) => Some(tag.clone()),
            Lead::Balancer(tag) => {
                let members = &self.choice(tag)?.members;
                let server = members.iter().find(|tag| self.leads_away(tag));
                server.or(members.first()).cloned()
            }
        }
    }

    /// What was made of those groups that are used; the others are told of.
    fn into_made(self) -> Made {
        let Used {
            mut groups,
            outbounds,
        } = self.used.into_inner();
        let used = groups.clone();
        // Those in others stand in front of them.
        for choice in self.choices.iter().rev() {
            if groups.contains(&choice.tag) {
                groups.extend(choice.inner.iter().cloned());
            }
        }
        let (choices, idle): (Vec<_>, Vec<_>) = self
            .choices
            .into_iter()
            .partition(|one| used.contains(&one.tag));
        for choice in idle.iter().filter(|one| !groups.contains(&one.tag)) {
            let text = format_args!(
                "`{}`: nothing leads to `{}` here, which is left out",
                choice.word,
                choice.tag.escape_debug()
            );
            self.notes.left_out(&choice.at, text);
        }
        for choice in &choices {
            choice.tell(self.notes);
        }
        Made { choices, outbounds }
    }

    fn choice(&self, tag: &str) -> Option<&Choice> {
        self.choices.get(*self.places.get(tag)?)
    }

    fn leads_away(&self, tag: &str) -> bool {
        self.tags.get(tag) == Some(&true)
    }

    /// What a name comes to, to whoever only wants to know.
    pub(in crate::dialect) fn find(&self, name: &str) -> Option<Lead> {
        if self.tags.contains_key(name) {
            return Some(Lead::Outbound(name.to_owned()));
        }
        match (self.own)(name) {
            Some((tag, _)) => Some(Lead::Outbound(self.own_tag(tag))),
            None => self.leads.get(name).cloned(),
        }
    }

    /// The program's own names are nobody else's there, and outbounds may have any other.
    fn own_tag(&self, name: &str) -> String {
        let mut tag = name.to_owned();
        while self.tags.contains_key(&tag) {
            tag.push('-');
        }
        tag
    }

    fn use_own(&self, tag: &str, used: &mut Used) {
        if self.tags.contains_key(tag)
            || used
                .outbounds
                .iter()
                .any(|one| one.tag.as_deref() == Some(tag))
        {
            return;
        }
        let Some((_, protocol)) = (self.own)(&tag.trim_end_matches('-').to_uppercase()) else {
            return;
        };
        let at = At {
            path: tag.to_owned(),
            ..At::default()
        };
        let transport = ClientSettings::default();
        used.outbounds
            .push(outbound(&at, Some(tag), transport, protocol));
    }

    /// What a group comes to; those among its members have come to something already.
    fn come_to(&mut self, group: &Group<'n>) -> Option<Lead> {
        if group.kind == Kind::ByHand {
            return self.by_hand(group);
        }
        let mut choice = Choice::of(group);
        let mut known = HashSet::new();
        for name in &group.members {
            match self.find(name) {
                Some(Lead::Outbound(tag)) => {
                    if known.insert(tag.clone()) {
                        choice.members.push(tag);
                    }
                }
                Some(Lead::Balancer(tag)) => {
                    let inner = self.choice(&tag).map(|one| one.members.clone());
                    let inner = inner.unwrap_or_default().into_iter();
                    choice
                        .members
                        .extend(inner.filter(|tag| known.insert(tag.clone())));
                    choice.inner.push(tag);
                }
                None => choice.lost.push((*name).to_owned()),
            }
        }
        self.members += choice.members.len();
        if self.members > MAX_MEMBERS {
            let text = format_args!(
                "{}the groups have more than {MAX_MEMBERS} members by now: it is left out",
                called(group.name)
            );
            self.notes.astray(group.at, text);
            return None;
        }
        match &choice.members[..] {
            [] => {
                self.tell_empty(group);
                None
            }
            [only] => {
                let lead = Lead::Outbound(only.clone());
                choice.tell_lost(self.notes);
                Some(lead)
            }
            _ => {
                let lead = Lead::Balancer(choice.tag.clone());
                self.places.insert(choice.tag.clone(), self.choices.len());
                self.choices.push(choice);
                Some(lead)
            }
        }
    }

    /// One that nobody has chosen in takes its first member. Where that is not carried over another one does, if it leads to a
    /// server.
    fn by_hand(&self, group: &Group<'n>) -> Option<Lead> {
        let mut members = group.members.iter();
        let first = members.next().and_then(|name| self.find(name));
        let is_first = first.is_some();
        let lead = first.or_else(|| {
            members.filter_map(|name| self.find(name)).find(|lead| {
                let tag = self.first_of(lead);
                tag.is_some_and(|tag| self.leads_away(&tag))
            })
        });
        match &lead {
            // Nothing is lost but the hand, and whoever has a controller for it knows that.
            Some(_) if is_first => {}
            Some(Lead::Outbound(chosen) | Lead::Balancer(chosen)) => {
                let (word, chosen) = (group.word.escape_debug(), chosen.escape_debug());
                let name = group.name.escape_debug();
                let first = group.members.first().copied().unwrap_or_default();
                let first = first.escape_debug();
                let text = format!(
                    "`{word}`: `{first}`, its first choice, is not carried over: `{chosen}` takes the place of `{name}`"
                );
                self.notes.left_out(group.at, text);
            }
            None => self.tell_empty(group),
        }
        lead
    }

    fn tell_empty(&self, group: &Group<'n>) {
        let text = match group.members.is_empty() {
            true => "there is nothing in it",
            false => "none of its members is carried over",
        };
        self.notes
            .left_out(group.at, format_args!("{}{text}", called(group.name)));
    }
}

/// The places of groups in the order in which they can come to something: each behind those that are its members. Such as
/// have themselves among their members, by however many others, are told of and not among them.
fn in_order(groups: &[Group<'_>], notes: &Notes) -> Vec<usize> {
    let places: HashMap<&str, usize> = groups
        .iter()
        .enumerate()
        .map(|(n, group)| (group.name, n))
        .collect();
    let mut outer: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    let mut waits: Vec<usize> = vec![0; groups.len()];
    for (n, group) in groups.iter().enumerate() {
        let inner: HashSet<usize> = group
            .members
            .iter()
            .filter_map(|name| places.get(name).copied())
            .collect();
        waits[n] = inner.len();
        inner.into_iter().for_each(|one| outer[one].push(n));
    }
    let ready = waits.iter().enumerate().filter(|(_, waits)| **waits == 0);
    let mut ready: VecDeque<usize> = ready.map(|(n, _)| n).collect();
    let mut order = Vec::new();
    while let Some(n) = ready.pop_front() {
        order.push(n);
        for one in &outer[n] {
            waits[*one] -= 1;
            if waits[*one] == 0 {
                ready.push_back(*one);
            }
        }
    }
    for (group, _) in groups.iter().zip(&waits).filter(|(_, waits)| **waits > 0) {
        let text = "it is among its own members, or one of them is among theirs: it is left out";
        notes.astray(group.at, format_args!("{}{text}", called(group.name)));
    }
    order
}

/// `url`, `interval` and `timeout` of a group, with what the program takes where nothing is said.
pub(in crate::dialect) fn probe(keys: &Keys, unit: Duration, interval: Duration) -> Burst {
    let url = keys.text("url").map(|text| Url::parse(text.trim()));
    let url = match url {
        Some(Ok(url)) => Some(url),
        Some(Err(e)) => {
            let text = format!("{e}, the usual one is asked for");
            keys.left_out("url", text);
            None
        }
        None => None,
    };
    let mut probe = Burst {
        interval: keys.span("interval", unit).unwrap_or(interval),
        sampling: 1,
        ..Burst::default()
    };
    if let Some(url) = url.or_else(|| Url::parse(USUAL_URL).ok()) {
        probe.url = url;
    }
    probe
}

/// In front of what is said of a group.
fn called(name: &str) -> String {
    format!("`{}`: ", name.escape_debug())
}

/// What both sing-box and mihomo ask for.
const USUAL_URL: &str = "https://www.gstatic.com/generate_204";

/// Of all groups of a file, which may come from a stranger.
pub(in crate::dialect) const MAX_MEMBERS: usize = 200_000;
