//! From a name to addresses: the hosts first, then one server after the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use thiserror::Error;
use tracing::{debug, trace};

use super::codec::Reply;
use super::dial::Dialer;
use super::fake::FakePools;
use super::hosts::{Found, Hosts};
use super::server::{Failure, Server};
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
    /// Where the addresses of `fakedns` come from.
    fakes: FakePools,
    dialer: OnceLock<Arc<dyn Dialer>>,
}

/// Why a name has no address.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LookupError {
    #[error("dns: {}", .0.join("; "))]
    NoServer(Vec<String>),
    #[error(
        "cannot resolve {0}: all of `dns.servers` are `fakedns`, which has addresses for clients alone: add a server such as `localhost`"
    )]
    OnlyFake(String),
}

/// Who wants an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Rules and outbounds, which connect to it.
    Us,
    /// Who connects to it through us.
    Client,
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
        Self::following(settings, &FakePools::default())
    }

    /// One that takes the place of another, whose made-up addresses it knows.
    pub fn following(settings: Settings, fakes: &FakePools) -> Self {
        let before = fakes;
        let mut servers = settings.servers;
        if servers.is_empty() {
            servers.push(settings::Server::new("localhost", Upstream::System));
        }
        let of_servers = servers.iter().flat_map(|server| &server.fakes);
        let fakes = FakePools::new(settings.fakes.iter().chain(of_servers), before);
        let servers = servers.into_iter().map(|server| {
            let own = server.fakes.iter().filter_map(|pool| fakes.of(pool));
            let own = own.cloned().collect();
            Arc::new(Server::new(server, own))
        });
        Self {
            hosts: Hosts::new(settings.hosts).with_system(settings.system_hosts),
            servers: servers.collect(),
            fakes,
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

    /// What is made up by `fakedns`.
    pub fn fakes(&self) -> &FakePools {
        &self.fakes
    }

    /// The addresses of a name. If it has none, the code of the reply says why.
    pub async fn lookup(&self, name: &str, families: Families) -> Result<Reply, LookupError> {
        self.find(name, families, Asker::Us).await
    }

    /// As [`Resolver::lookup`], for a client: where a server is `fakedns` the addresses are made up, and a connection
    /// to one of them has to come back to us.
    pub async fn answer(&self, name: &str, families: Families) -> Result<Reply, LookupError> {
        self.find(name, families, Asker::Client).await
    }

    async fn find(
        &self,
        name: &str,
        families: Families,
        asker: Asker,
    ) -> Result<Reply, LookupError> {
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
        let (mut failures, mut is_filtered) = (Vec::new(), false);
        let order = self.order(&name, asker);
        if order.is_empty() {
            return Err(LookupError::OnlyFake(name));
        }
        for server in order {
            if asker == Asker::Client
                && let Some(reply) = server.made_up(&name, families)
            {
                return Ok(reply);
            }
            match server.lookup(self.dialer.get(), &name, families).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => {
                    debug!("dns: {server} {failure}");
                    failures.push(format!("{server} {failure}"));
                    is_filtered |= matches!(failure, Failure::Unexpected(..));
                    if server.settings.is_last {
                        break;
                    }
                }
            }
        }
        if is_filtered && asker == Asker::Client {
            // As in Xray: one that hears of a failure might ask somebody else.
            return Ok(Reply::none(0));
        }
        Err(LookupError::NoServer(failures))
    }

    /// The servers for a name: those that have it among their `domains`, the closest first, then the
    /// others in their order. None when all of them are for clients.
    fn order(&self, name: &str, asker: Asker) -> Vec<&Arc<Server>> {
        let name = Name::new(name);
        let may_be_asked = |server: &Server| asker == Asker::Client || !server.is_fake();
        let mut first: Vec<(MatchRank, usize)> = self
            .servers
            .iter()
            .enumerate()
            .filter(|(_, server)| may_be_asked(server))
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
            let falls_back = falls_back && !server.settings.skip_fallback;
            if falls_back && may_be_asked(server) && !order.contains(&index) {
                order.push(index);
            }
        }
        if order.is_empty() {
            let first = self.servers.iter().position(|server| may_be_asked(server));
            order.extend(first);
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
        let found = match self.find(to).await {
            // As in V2Ray, where the name would then be dialled.
            Err(e) if knows_only_fakes(&e) => system::resolve(to, self.strategy()).await?,
            found => found?,
        };
        if step.is_told() {
            let ips: Vec<String> = found.iter().map(|addr| addr.ip().to_string()).collect();
            step.done(format_args!("{name} is {}", ips.join(", ")));
        }
        Ok(found)
    }

    /// As [`Lookup::resolve`], and the system is not asked in place of the built-in DNS.
    pub async fn strictly(&self, to: &Destination) -> io::Result<Vec<SocketAddr>> {
        self.find(to).await
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
            .map_err(|e| match e {
                LookupError::OnlyFake(_) => io::Error::other(e),
                e => io::Error::other(format!("cannot resolve {name}: {e}")),
            })?;
        let ips: Vec<IpAddr> = reply.ips;
        let addrs = strategy.pick(ips, to.port);
        if addrs.is_empty() {
            let text = format!("cannot resolve {name}: {}", reason(reply.code, strategy));
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(addrs)
    }
}

fn knows_only_fakes(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(LookupError::OnlyFake(_)))
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
