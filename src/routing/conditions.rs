//! Whether the conditions of a rule hold.

use std::net::IpAddr;

use super::{Conditions, RouteInput, UserTest};
use crate::address::{Host, Network};
use crate::matching::Name;
use crate::session::Source;

/// Whether a rule takes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// Only the addresses of the destination's name can tell.
    NeedsIp,
}

impl Conditions {
    /// `resolved` are the addresses of the name, once somebody has looked them up.
    pub fn ask(
        &self,
        facts: &RouteInput,
        name: Option<&Name>,
        resolved: Option<&[IpAddr]>,
    ) -> Answer {
        let all_hold = one_of(&self.networks, |n| *n == facts.network)
            && one_of(&self.ports, |range| range.contains(facts.to.port))
            && one_of(&self.inbounds, |tag| Some(tag.as_str()) == facts.inbound)
            && one_of(&self.users, |user| facts.user.is_some_and(|u| user.is(u)))
            && one_of(&self.protocols, |p| {
                facts
                    .protocol
                    .is_some_and(|found| found.starts_with(p.as_str()))
            })
            && self
                .attrs
                .as_ref()
                .is_none_or(|attrs| facts.attributes.is_some_and(|a| attrs.holds(a)))
            && self.takes_source(facts.source)
            && self
                .domains
                .as_ref()
                .is_none_or(|domains| name.is_some_and(|name| domains.contains(name)));
        let Some(ips) = self.ips.as_ref().filter(|_| all_hold) else {
            return if all_hold { Answer::Yes } else { Answer::No };
        };
        let inside = match (&facts.to.host, resolved) {
            (Host::Ip(ip), _) => ips.reach(*ip),
            (Host::Domain(_), Some(resolved)) => resolved.iter().any(|ip| ips.reach(*ip)),
            (Host::Domain(_), None) => return Answer::NeedsIp,
        };
        if inside { Answer::Yes } else { Answer::No }
    }

    /// Whether the inbound is the only condition (besides a network that includes TCP), and `inbound` meets it.
    pub fn takes_all_streams_of(&self, inbound: &str) -> bool {
        let Self {
            domains,
            ips,
            ports,
            networks,
            sources,
            source_ports,
            users,
            inbounds,
            protocols,
            attrs,
        } = self;
        let asks = domains.is_some() || ips.is_some() || sources.is_some() || attrs.is_some();
        !asks
            && [ports, source_ports].iter().all(|ports| ports.is_empty())
            && users.is_empty()
            && protocols.is_empty()
            && one_of(networks, |n| *n == Network::Tcp)
            && inbounds.iter().any(|tag| tag == inbound)
    }

    /// Whether every session would be taken.
    pub fn ask_nothing(&self) -> bool {
        self.networks.is_empty() && self.ask_for_a_network_at_most()
    }

    /// Whether every stream would be taken, and perhaps every datagram.
    pub fn take_all_streams(&self) -> bool {
        one_of(&self.networks, |n| *n == Network::Tcp) && self.ask_for_a_network_at_most()
    }

    fn ask_for_a_network_at_most(&self) -> bool {
        self.domains.is_none()
            && self.ips.is_none()
            && self.ports.is_empty()
            && self.sources.is_none()
            && self.source_ports.is_empty()
            && self.users.is_empty()
            && self.inbounds.is_empty()
            && self.protocols.is_empty()
            && self.attrs.is_none()
    }

    /// A session from a unix socket has no source address, so conditions on the source never hold for it.
    fn takes_source(&self, source: Source) -> bool {
        match source {
            Source::Ip(source) => {
                self.sources
                    .as_ref()
                    .is_none_or(|ips| ips.contain(source.ip()))
                    && one_of(&self.source_ports, |range| range.contains(source.port()))
            }
            Source::Unix => self.sources.is_none() && self.source_ports.is_empty(),
        }
    }
}

impl UserTest {
    fn is(&self, email: &str) -> bool {
        match self {
            Self::Email(text) => text == email,
            Self::Regex(regex) => regex.is_match(email),
        }
    }
}

fn one_of<T>(values: &[T], holds: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}
