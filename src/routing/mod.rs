//! Which outbound carries a session.
//!
//! Rules are asked in their order and the first that takes the session decides; without one, the first
//! outbound carries it. Nothing is looked up here: when only the addresses of a name can tell, the
//! answer is [`Pick::NeedsIp`], and the caller asks again with them.

pub mod attrs;
mod balancer;
mod conditions;
mod health;
mod least_load;
mod settings;
#[cfg(test)]
mod tests;

pub use balancer::Balancer;
pub use conditions::Answer;
pub use health::{HealthTable, HealthTables, Observation, Samples};
pub use settings::{
    Among, BalancerSettings, Conditions, Cost, DomainStrategy, LeastLoad, Match, Rule, Settings,
    Strategy, Target, UserTest, selected,
};

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{Destination, Host, Network};
use crate::matching::Name;
use crate::session::{Attributes, Source};

/// All rules, and the balancers that they lead to.
#[derive(Default)]
pub struct Router {
    strategy: DomainStrategy,
    rules: Vec<(Conditions, Lead)>,
}

/// Where a rule sends a session.
enum Lead {
    Outbound(Arc<str>),
    Balancer(Arc<Balancer>),
}

/// What rules may ask about a session.
pub struct RouteInput<'a> {
    /// The inbound's tag.
    pub inbound: Option<&'a str>,
    pub source: Source,
    pub network: Network,
    /// Where it goes: rules about addresses ask this.
    pub to: &'a Destination,
    /// The name that rules about names ask, where it is not that of `to` (`routeOnly` of sniffing).
    pub named: Option<&'a str>,
    /// The user's email.
    pub user: Option<&'a str>,
    /// What the first bytes look like: `http1`, `tls`, `quic`, `bittorrent`.
    pub protocol: Option<&'a str>,
    /// Of an HTTP request that an `http` inbound took.
    pub attributes: Option<&'a Attributes>,
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
}

impl Router {
    /// Balancers read in `health` what the observers that they name have seen.
    pub fn new(settings: Settings, health: &HealthTables) -> Self {
        let balancer = |settings: BalancerSettings| {
            let health = health.get(&settings.observer).cloned();
            Arc::new(Balancer::new(settings, health.unwrap_or_default()))
        };
        let balancers: Vec<_> = settings.balancers.into_iter().map(balancer).collect();
        let lead = |target| match target {
            Target::Outbound(tag) => Lead::Outbound(tag),
            Target::Balancer(tag) => match balancers.iter().find(|b| b.tag() == tag) {
                Some(balancer) => Lead::Balancer(balancer.clone()),
                // As where no outbound has the tag.
                None => Lead::Outbound(tag.into()),
            },
        };
        let rules = settings.rules.into_iter();
        Self {
            strategy: settings.strategy,
            rules: rules
                .map(|rule| (rule.conditions, lead(rule.target.value)))
                .collect(),
        }
    }

    /// Whether a rule that asks for nothing else leads all streams of the inbound tagged `inbound` to an outbound whose
    /// tag `is` one that is looked for.
    pub fn leads_all_streams(&self, inbound: &str, is: impl Fn(&str) -> bool) -> bool {
        self.rules.iter().any(|(conditions, lead)| {
            conditions.takes_all_streams_of(inbound)
                && matches!(lead, Lead::Outbound(tag) if is(tag))
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
        for (conditions, lead) in &self.rules {
            match conditions.ask(facts, name.as_ref(), resolved) {
                Answer::Yes => {
                    return match lead {
                        Lead::Outbound(tag) => Pick::Outbound(tag),
                        Lead::Balancer(balancer) => Pick::Balancer(balancer),
                    };
                }
                Answer::No => {}
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
}
