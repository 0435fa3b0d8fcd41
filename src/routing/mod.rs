//! Which outbound carries a session.
//!
//! Rules are asked in their order, and the first that takes the session decides. If none does, the first outbound
//! carries it. Nothing is resolved here: when a rule needs the addresses of a name, the answer is [`Pick::NeedsIp`],
//! and the caller asks again with them. What a config says is [`Settings`]; [`Router`] is built from them, and rules
//! that come and go make a new one ([`LiveRouter`]).

mod alarm;
pub mod attrs;
mod balancer;
mod conditions;
mod health;
mod least_load;
mod live;
mod settings;
#[cfg(test)]
mod tests;

pub use alarm::Outcome;
pub use balancer::Balancer;
pub use conditions::Answer;
pub use health::{HealthTable, HealthTables, Observation, Samples};
pub use live::{LiveRouter, RuleError};
pub use settings::{
    Among, BalancerSettings, Conditions, Cost, DomainStrategy, Failing, LeastLoad, Match,
    ProgramTest, Rule, Settings, Strategy, Target, UserTest, is_this_system, place, selected,
};

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{Destination, Host, Network};
use crate::matching::Name;
use crate::session::{Attributes, Process, Source};

/// All rules, and the balancers that they lead to.
#[derive(Clone, Default)]
pub struct Router {
    strategy: DomainStrategy,
    rules: Vec<Arc<RunningRule>>,
    balancers: Vec<Arc<Balancer>>,
    /// The tags of those balancers that the API has added.
    added: Vec<String>,
}

struct RunningRule {
    /// What the API calls it.
    tag: String,
    conditions: Conditions,
    lead: Lead,
    /// By the API: it stays when the config is read again.
    added: bool,
}

/// Where a rule sends a session.
enum Lead {
    Outbound(Arc<str>),
    Balancer(Arc<Balancer>),
}

/// What rules may ask about a session.
#[derive(Clone, Copy)]
pub struct RouteInput<'a> {
    /// The inbound's tag.
    pub inbound: Option<&'a str>,
    pub source: Source,
    /// The address of ours that it came to.
    pub local: Source,
    /// Bytes 7 and 8 of the id that a VLESS client showed, and 0 of all others.
    pub vless_route: u16,
    /// The program that it comes from.
    pub program: Program<'a>,
    pub network: Network,
    /// The destination.
    pub to: &'a Destination,
    /// The name that conditions on names are tested with, if it is not that of `to` (`routeOnly` of sniffing).
    pub named: Option<&'a str>,
    /// Whether conditions on addresses that ask for those of a name ask for those of `named`, and not of `to`.
    pub resolves_named: bool,
    /// The user's email.
    pub user: Option<&'a str>,
    /// The protocol that sniffing found: `http1`, `tls`, `quic`, `bittorrent`.
    pub protocol: Option<&'a str>,
    /// The attributes of a plain HTTP request, if an `http` inbound took one.
    pub attributes: Option<&'a Attributes>,
}

/// The program that a session comes from. It is looked for where a rule wants to know, for that takes a while.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    Unasked,
    /// None for one of another machine, or of a user whose programs must not be looked at.
    Asked(Option<&'a Process>),
}

/// The answer.
#[derive(Clone, Copy, Debug)]
pub enum Pick<'r> {
    /// The outbound with this tag, if it is there.
    Outbound(&'r Arc<str>),
    Balancer(&'r Balancer),
    /// No rule takes the session.
    Default,
    /// Ask again with the addresses of the destination's name, or none when it has none.
    NeedsIp,
    /// Ask again with the program that it comes from.
    NeedsProgram,
}

impl Router {
    /// Each balancer reads the table in `health` of the observer that it names.
    pub fn new(settings: Settings, health: &HealthTables) -> Self {
        let mut router = Self {
            strategy: settings.strategy,
            ..Self::default()
        };
        let balancers = settings.balancers.into_iter();
        router.balancers = balancers.map(|b| balancer(b, health)).collect();
        for rule in settings.rules {
            router.push(rule, false);
        }
        router
    }

    /// Takes over what the API has added to the rules `before`, and those balancers that are the same.
    fn follow(&mut self, before: &Self) {
        for balancer in &mut self.balancers {
            let same = before.balancer(balancer.tag());
            if let Some(same) = same.filter(|same| same.is_like(balancer)) {
                self.rules = self.rules.iter().map(|rule| rule.led_by(same)).collect();
                *balancer = same.clone();
            }
        }
        let added = before.added.iter().filter_map(|tag| before.balancer(tag));
        for balancer in added {
            if self.balancer(balancer.tag()).is_none() {
                self.added.push(balancer.tag().to_owned());
                self.balancers.push(balancer.clone());
            }
        }
        for rule in before.rules.iter().filter(|rule| rule.added) {
            if rule.tag.is_empty() || self.rules.iter().all(|other| other.tag != rule.tag) {
                self.rules.push(rule.clone());
            }
        }
    }

    /// One more rule, behind the others.
    fn push(&mut self, rule: Rule, added: bool) {
        let lead = match rule.target.value {
            Target::Outbound(tag) => Lead::Outbound(tag),
            Target::Balancer(tag) => match self.balancer(&tag) {
                Some(balancer) => Lead::Balancer(balancer.clone()),
                // Treated like the tag of an outbound that does not exist.
                None => Lead::Outbound(tag.into()),
            },
        };
        self.rules.push(Arc::new(RunningRule {
            tag: rule.tag,
            conditions: rule.conditions,
            lead,
            added,
        }));
    }

    /// All balancers.
    fn balancers(&self) -> impl Iterator<Item = &Arc<Balancer>> {
        self.balancers.iter()
    }

    /// The balancer with this tag.
    pub fn balancer(&self, tag: &str) -> Option<&Arc<Balancer>> {
        self.balancers.iter().find(|balancer| balancer.tag() == tag)
    }

    /// The name of each rule, and the outbound that it leads to, if it is no balancer.
    pub fn rules(&self) -> impl Iterator<Item = (&str, Option<&Arc<str>>)> {
        self.rules.iter().map(|rule| {
            let outbound = match &rule.lead {
                Lead::Outbound(tag) => Some(tag),
                Lead::Balancer(_) => None,
            };
            (rule.tag.as_str(), outbound)
        })
    }

    /// Whether some rule has no other condition than the inbound, takes all streams of the one tagged `inbound`, and
    /// leads to an outbound for whose tag `is` holds.
    pub fn leads_all_streams(&self, inbound: &str, is: impl Fn(&str) -> bool) -> bool {
        self.rules.iter().any(|rule| {
            rule.conditions.takes_all_streams_of(inbound)
                && matches!(&rule.lead, Lead::Outbound(tag) if is(tag))
        })
    }

    /// `resolved` are the addresses of the destination's name, if it has one that was looked up.
    pub fn pick(&self, facts: &RouteInput, resolved: Option<&[IpAddr]>) -> Pick<'_> {
        if self.rules.is_empty() {
            return Pick::Default;
        }
        let name = match (facts.named, &facts.to.host) {
            (Some(name), _) => Some(Name::new(name)),
            (None, Host::Domain(name)) => Some(Name::new(name)),
            (None, Host::Ip(_)) => None,
        };
        let mut needs_ip = false;
        // A rule before has had the name looked up, where that matters to any.
        let mut rules = self.rules.iter();
        let mut is_looked_up = resolved.is_none() || !rules.any(|rule| rule.conditions.no_resolve);
        for rule in &self.rules {
            let conditions = &rule.conditions;
            let known = resolved.filter(|_| is_looked_up || !conditions.no_resolve);
            let wants_ip = || conditions.ask(facts, name.as_ref(), None) == Answer::NeedsIp;
            is_looked_up = is_looked_up || !conditions.no_resolve && wants_ip();
            let answer = match conditions.ask(facts, name.as_ref(), known) {
                // What is not looked up, or not yet, holds for where the session goes.
                Answer::NeedsIp if facts.resolves_named && !self.is_on_demand(conditions) => {
                    match conditions.ask(&facts.as_it_goes(), name.as_ref(), None) {
                        Answer::No => Answer::NeedsIp,
                        other => other,
                    }
                }
                answer => answer,
            };
            match answer {
                Answer::NeedsIp if conditions.no_resolve => {}
                Answer::Yes => {
                    return match &rule.lead {
                        Lead::Outbound(tag) => Pick::Outbound(tag),
                        Lead::Balancer(balancer) => Pick::Balancer(balancer),
                    };
                }
                Answer::No => {}
                Answer::NeedsProgram => return Pick::NeedsProgram,
                Answer::NeedsIp => match self.strategy {
                    DomainStrategy::AsIs => {}
                    DomainStrategy::IpIfNonMatch => needs_ip = true,
                    DomainStrategy::IpOnDemand => return Pick::NeedsIp,
                },
            }
        }
        if needs_ip {
            Pick::NeedsIp
        } else {
            Pick::Default
        }
    }

    /// Whether a rule of such `conditions` waits for the addresses of a name.
    fn is_on_demand(&self, conditions: &Conditions) -> bool {
        self.strategy == DomainStrategy::IpOnDemand && !conditions.no_resolve
    }

    /// Whether names are resolved for rules at all.
    pub fn resolves(&self) -> bool {
        self.strategy != DomainStrategy::AsIs
    }
}

impl RouteInput<'_> {
    /// The same, where conditions on addresses are about where the session goes.
    fn as_it_goes(&self) -> Self {
        Self {
            resolves_named: false,
            ..*self
        }
    }
}

impl RunningRule {
    /// The same, led by `balancer` where one of its tag leads it.
    fn led_by(self: &Arc<Self>, balancer: &Arc<Balancer>) -> Arc<Self> {
        match &self.lead {
            Lead::Balancer(other) if other.tag() == balancer.tag() => Arc::new(Self {
                tag: self.tag.clone(),
                conditions: self.conditions.clone(),
                lead: Lead::Balancer(balancer.clone()),
                added: self.added,
            }),
            _ => self.clone(),
        }
    }
}

/// It reads the table of the observer that it names.
fn balancer(settings: BalancerSettings, health: &HealthTables) -> Arc<Balancer> {
    let health = health.get(&settings.observer).cloned();
    Arc::new(Balancer::new(
        settings,
        health.unwrap_or_else(HealthTable::of_nobody),
    ))
}
