//! From a name to addresses: the hosts first, then one server after the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use thiserror::Error;
use tracing::{debug, trace};

use super::codec::Reply;
use super::dial::Dialer;
use super::hosts::{Found, Hosts};
use super::server::Server;
use super::settings::{self, Fallback, Settings, Upstream};
use super::{Families, Known, Strategy, system};
use crate::address::{Destination, Host};
use crate::io::Step;
use crate::matching::{MatchRank, Name};

/// V2Ray's built-in DNS.
pub struct Resolver {
    hosts: Hosts,
    /// Never empty.
    servers: Vec<Arc<Server>>,
    /// `queryStrategy`.
    families: Families,
    fallback: Fallback,
    dialer: OnceLock<Arc<dyn Dialer>>,
}

/// Why a name has no address.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LookupError {
    #[error("dns: {}", .0.join("; "))]
    NoServer(Vec<String>),
}

/// How an outbound turns names into addresses.
#[derive(Clone)]
pub enum Lookup {
    /// By the system; any of its addresses may be used.
    System,
    /// By the built-in DNS.
    BuiltIn(Arc<Resolver>, Strategy),
    /// From addresses that are known already.
    Known(Known, Strategy),
}

impl Default for Resolver {
    /// One that asks the system.
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Resolver {
    pub fn new(settings: Settings) -> Self {
        let mut servers = settings.servers;
        if servers.is_empty() {
            servers.push(settings::Server::new("localhost", Upstream::System));
        }
        let servers = servers.into_iter().map(|s| Arc::new(Server::new(s)));
        Self {
            hosts: Hosts::new(settings.hosts),
            servers: servers.collect(),
            families: settings.families,
            fallback: settings.fallback,
            dialer: OnceLock::new(),
        }
    }

    /// Sets how servers are reached; only the first call has an effect.
    pub fn set_dialer(&self, dialer: Arc<dyn Dialer>) {
        let _ = self.dialer.set(dialer);
    }

    /// Whether a server is asked by HTTPS.
    pub fn asks_by_https(&self) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|server| matches!(server.settings.upstream, Upstream::Https { .. }))
    }

    /// The addresses of a name. If it has none, the code of the reply says why.
    pub async fn lookup(&self, name: &str, families: Families) -> Result<Reply, LookupError> {
        let families = families.and(self.families);
        let mut name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if families == Families::NONE {
            return Ok(Reply::none(0));
        }
        match self.hosts.find(&name, families) {
            Some(Found::Ips(ips)) => {
                trace!(name, ?ips, "in dns.hosts");
                return Ok(Reply {
                    ips,
                    ..Reply::none(0)
                });
            }
            Some(Found::Alias(other)) => name = other,
            Some(Found::Code(code)) => {
                let none = Reply::none(0);
                return Ok(Reply { code, ..none });
            }
            None => {}
        }
        let mut failures = Vec::new();
        for server in self.order(&name) {
            match server.lookup(self.dialer.get(), &name, families).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => {
                    debug!("dns: {server} {failure}");
                    failures.push(format!("{server} {failure}"));
                    if server.settings.is_last {
                        break;
                    }
                }
            }
        }
        Err(LookupError::NoServer(failures))
    }

    /// The servers for a name: those that have it among their `domains`, the closest first, then the
    /// others in their order.
    fn order(&self, name: &str) -> Vec<&Arc<Server>> {
        let name = Name::new(name);
        let mut first: Vec<(MatchRank, usize)> = self
            .servers
            .iter()
            .enumerate()
            .filter_map(|(index, server)| Some((server.fit(&name)?, index)))
            .collect();
        first.sort_unstable();
        let mut order: Vec<usize> = first.into_iter().map(|(_, index)| index).collect();
        let matched = !order.is_empty();
        for (index, server) in self.servers.iter().enumerate() {
            let falls_back = match server.settings.fallback.unwrap_or(self.fallback) {
                Fallback::Always => true,
                Fallback::WithoutMatch => !matched,
                Fallback::Never => false,
            };
            if falls_back && !server.settings.skip_fallback && !order.contains(&index) {
                order.push(index);
            }
        }
        if order.is_empty() {
            order.push(0);
        }
        order
            .into_iter()
            .map(|index| &self.servers[index])
            .collect()
    }

    /// The addresses of one of this resolver's own servers, which it cannot ask itself for: from its hosts, else from the
    /// system.
    pub async fn bootstrap(&self, to: &Destination) -> io::Result<Vec<SocketAddr>> {
        let mut to = to.clone();
        if let Host::Domain(name) = &to.host {
            match self.hosts.find(&name.to_ascii_lowercase(), Families::BOTH) {
                Some(Found::Ips(ips)) if !ips.is_empty() => {
                    return Ok(Strategy::AsIs.pick(ips, to.port));
                }
                Some(Found::Alias(other)) => to.host = Host::Domain(other),
                Some(Found::Code(code)) => {
                    let text = format!("cannot resolve {name}: {}", reason(code, Strategy::AsIs));
                    return Err(io::Error::new(io::ErrorKind::NotFound, text));
                }
                _ => {}
            }
        }
        system::resolve(&to, Strategy::AsIs).await
    }
}

impl Lookup {
    pub fn new(resolver: &Arc<Resolver>, strategy: Strategy) -> Self {
        match strategy {
            Strategy::AsIs => Self::System,
            strategy => Self::BuiltIn(resolver.clone(), strategy),
        }
    }

    /// The same, but from the addresses in `known` if there are any.
    pub fn among(self, known: &Known) -> Self {
        match (known, self.strategy()) {
            (Known::Unasked, _) => self,
            (known, strategy) => Self::Known(known.clone(), strategy),
        }
    }

    pub fn strategy(&self) -> Strategy {
        match self {
            Self::System => Strategy::AsIs,
            Self::BuiltIn(_, strategy) | Self::Known(_, strategy) => *strategy,
        }
    }

    /// The addresses of `to`, in the order in which they should be tried; never empty.
    pub async fn resolve(&self, to: &Destination) -> io::Result<Vec<SocketAddr>> {
        // What is known was asked for before.
        let (Host::Domain(name), Self::System | Self::BuiltIn(..)) = (&to.host, self) else {
            return self.find(to).await;
        };
        let mut step = Step::begin("dns");
        let found = self.find(to).await?;
        if step.is_told() {
            let ips: Vec<String> = found.iter().map(|addr| addr.ip().to_string()).collect();
            step.done(format_args!("{name} is {}", ips.join(", ")));
        }
        Ok(found)
    }

    async fn find(&self, to: &Destination) -> io::Result<Vec<SocketAddr>> {
        let (resolver, strategy) = match self {
            Self::System => return system::resolve(to, Strategy::AsIs).await,
            Self::Known(known, strategy) => return known.choose(to, *strategy),
            Self::BuiltIn(resolver, strategy) => (resolver, *strategy),
        };
        let name = match &to.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, to.port)]),
            Host::Domain(name) => name,
        };
        let reply = resolver
            .lookup(name, strategy.families())
            .await
            .map_err(|e| io::Error::other(format!("cannot resolve {name}: {e}")))?;
        let ips: Vec<IpAddr> = reply.ips;
        let addrs = strategy.pick(ips, to.port);
        if addrs.is_empty() {
            let text = format!("cannot resolve {name}: {}", reason(reply.code, strategy));
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(addrs)
    }
}

fn reason(code: u16, strategy: Strategy) -> String {
    match code {
        0 => format!("it has {}", strategy.missing()),
        3 => "there is no such name".to_owned(),
        2 => "its servers fail (SERVFAIL)".to_owned(),
        5 => "the DNS server refuses to say (REFUSED)".to_owned(),
        other => format!("the DNS server answers with code {other}"),
    }
}
