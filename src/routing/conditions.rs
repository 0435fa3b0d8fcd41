//! Whether the conditions of a rule hold.

use std::net::IpAddr;

use super::{Conditions, Program, ProgramTest, RouteInput, UserTest};
use crate::address::{Host, Network, PortRange};
use crate::matching::{Name, Networks};
use crate::session::{Process, Source};

/// Whether a rule takes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// Only the addresses of the destination's name can tell.
    NeedsIp,
    /// Only the program that it comes from can tell.
    NeedsProgram,
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
            && one_of(&self.vless_routes, |range| {
                range.contains(facts.vless_route)
            })
            && is_at(facts.source, self.sources.as_ref(), &self.source_ports)
            && is_at(facts.local, self.locals.as_ref(), &self.local_ports)
            && [&self.domains, &self.also_domains]
                .into_iter()
                .flatten()
                .all(|domains| name.is_some_and(|name| domains.contains(name)));
        if !all_hold {
            return Answer::No;
        }
        match self.ask_for_program(facts.program) {
            Answer::Yes => self.ask_for_addresses(facts, resolved),
            other => other,
        }
    }

    fn ask_for_program(&self, program: Program) -> Answer {
        let process = match program {
            _ if self.programs.is_empty() => return Answer::Yes,
            Program::Unasked => return Answer::NeedsProgram,
            Program::Asked(process) => process,
        };
        let is = process.is_some_and(|p| self.programs.iter().any(|test| test.is(p)));
        if is { Answer::Yes } else { Answer::No }
    }

    fn ask_for_addresses(&self, facts: &RouteInput, resolved: Option<&[IpAddr]>) -> Answer {
        let Some(ips) = &self.ips else {
            return Answer::Yes;
        };
        let inside = match (&facts.to.host, resolved) {
            (_, None) if facts.resolves_named => return Answer::NeedsIp,
            (Host::Ip(_), Some(resolved)) if facts.resolves_named && !resolved.is_empty() => {
                resolved.iter().any(|ip| ips.reach(*ip))
            }
            (Host::Ip(ip), _) => ips.reach(*ip),
            (Host::Domain(_), Some(resolved)) => resolved.iter().any(|ip| ips.reach(*ip)),
            (Host::Domain(_), None) => return Answer::NeedsIp,
        };
        if inside { Answer::Yes } else { Answer::No }
    }

    /// Whether the inbound is the only condition (besides a network that includes TCP), and `inbound` meets it.
    pub fn takes_all_streams_of(&self, inbound: &str) -> bool {
        self.streams_are_among_them()
            && self.ask_for_the_way_in_at_most()
            && self.inbounds.iter().any(|tag| tag == inbound)
    }

    /// Whether every session would be taken.
    pub fn ask_nothing(&self) -> bool {
        self.ask_for_the_way_in_at_most() && self.networks.is_empty() && self.inbounds.is_empty()
    }

    /// Whether every stream would be taken, and perhaps every datagram.
    pub fn take_all_streams(&self) -> bool {
        self.streams_are_among_them()
            && self.ask_for_the_way_in_at_most()
            && self.inbounds.is_empty()
    }

    fn streams_are_among_them(&self) -> bool {
        one_of(&self.networks, |n| *n == Network::Tcp)
    }

    /// Whether nothing counts but the inbound and the network.
    fn ask_for_the_way_in_at_most(&self) -> bool {
        let Self {
            networks: _,
            inbounds: _,
            no_resolve: _,
            domains,
            also_domains,
            ips,
            ports,
            sources,
            source_ports,
            users,
            protocols,
            attrs,
            locals,
            local_ports,
            vless_routes,
            programs,
        } = self;
        let addresses = [ips, sources, locals];
        domains.is_none()
            && also_domains.is_none()
            && attrs.is_none()
            && addresses.iter().all(|ips| ips.is_none())
            && [ports, source_ports, local_ports, vless_routes]
                .iter()
                .all(|p| p.is_empty())
            && users.is_empty()
            && protocols.is_empty()
            && programs.is_empty()
    }
}

impl ProgramTest {
    fn is(&self, process: &Process) -> bool {
        match self {
            Self::Own => process.id == std::process::id(),
            Self::Name(name) => process.name() == name,
            Self::Path(path) => process.path == *path,
            Self::Folder(folder) => process.path.starts_with(folder.as_str()),
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

/// Whether an end of a connection is one of these. A unix socket has no address, so no condition on one holds for it.
fn is_at(end: Source, ips: Option<&Networks>, ports: &[PortRange]) -> bool {
    match end {
        Source::Ip(addr) => {
            ips.is_none_or(|ips| ips.contain(addr.ip()))
                && one_of(ports, |range| range.contains(addr.port()))
        }
        Source::Unix => ips.is_none() && ports.is_empty(),
    }
}

fn one_of<T>(values: &[T], holds: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}
