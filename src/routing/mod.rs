//! Which outbound carries a session.
//!
//! Rules are asked in their order and the first that takes the session decides; without one, the first
//! outbound carries it. Nothing is looked up here: when only the addresses of a name can tell, the
//! answer is [`Pick::NeedsIp`], and the caller asks again with them.

pub mod attrs;
mod balancer;
mod health;
mod least_load;
mod rule;
#[cfg(test)]
mod tests;

pub use balancer::{Among, Balancer, Strategy, selected};
pub use health::{HealthTable, Observation, Samples};
pub use least_load::{Cost, LeastLoad, Match};
pub use rule::{Answer, Rule, UserTest};

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{Destination, Host, Network};
use crate::matching::Name;
use crate::session::{Attributes, Source};

/// All rules.
#[derive(Default)]
pub struct Router {
    pub strategy: DomainStrategy,
    pub rules: Vec<(Rule, Target)>,
    pub balancers: Vec<Arc<Balancer>>,
}

/// `domainStrategy`: when the addresses of a name are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DomainStrategy {
    /// Never: conditions on addresses hold for addresses alone.
    #[default]
    AsIs,
    /// When no rule takes the name.
    IpIfNonMatch,
    /// As soon as a rule would take it if its addresses were right.
    IpOnDemand,
}

/// Where a rule sends a session.
#[derive(Clone, Debug)]
pub enum Target {
    /// The outbound with this tag. Outbounds come and go while the rules stay.
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
    To(&'r Target),
    /// No rule takes the session.
    Default,
    /// Ask again with the addresses of the destination's name, or none when it has none.
    NeedsIp,
}

impl Router {
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
        for (rule, target) in &self.rules {
            match rule.ask(facts, name.as_ref(), resolved) {
                Answer::Yes => return Pick::To(target),
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
