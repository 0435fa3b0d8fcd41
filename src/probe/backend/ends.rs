//! Where a node's server is (`GEOIP_INBOUND`), and where its sessions leave (`GEOIP_OUTBOUND`).
//!
//! ```text
//! outbound: ip_resolve() of the front's script, or the default one ─▶ addresses ─▶ handler(ip) for each ─▶ stacks
//! inbound:  the server's address, or those of its name             ─▶ addresses ─▶ handler(ip) for each ─▶ stacks
//! ```
//!
//! Scripts know it, and whom they ask they ask through the node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Uri;

use super::Shared;
use crate::address::{Destination, Host};
use crate::dns::{Families, Resolver, Upstream};
use crate::probe::codec::{Ends, Location, Matrix, Request, Stacks};
use crate::probe::lab::Lab;
use crate::probe::script::{self, About};

/// How often a script may say nothing.
const TRIES: usize = 3;

/// A try that took so long is the last one: who is silent once is silent again.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long all of it may take for a node.
const LIMIT: Duration = Duration::from_secs(60);

/// Addresses of a node that are looked up, of each family and end.
const MAX_ADDRESSES: usize = 4;

/// Servers of `DNSServers` that are asked.
const MAX_SERVERS: usize = 8;

/// The kind of script that is asked.
const IP: &str = "ip";

/// What the nodes of a task have in common.
pub(super) struct Known {
    /// Of `DNSServers`.
    servers: Vec<Arc<Resolver>>,
    /// Where addresses are that several nodes have.
    places: Mutex<HashMap<IpAddr, Location>>,
}

impl Known {
    pub(super) fn new(lab: &Lab, request: &Request) -> Self {
        let said = request.configs.dns_servers.as_deref().unwrap_or_default();
        let servers = said.iter().filter_map(|text| upstream(text));
        let servers = servers.take(MAX_SERVERS);
        let mut servers: Vec<_> = servers.map(|one| Arc::new(lab.resolver(one))).collect();
        if servers.is_empty() {
            servers.push(Arc::new(lab.resolver(Upstream::System)));
        }
        Self {
            servers,
            places: Mutex::default(),
        }
    }

    /// All addresses of a name, of all servers.
    async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let asked = self.servers.iter();
        let asked = asked.map(|server| server.lookup(name, Families::BOTH));
        let found = join_all(asked).await.into_iter().flatten();
        found.flat_map(|reply| reply.ips).collect()
    }

    fn places(&self) -> MutexGuard<'_, HashMap<IpAddr, Location>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out what is asked for.
pub(super) async fn find(
    shared: &Shared,
    request: &Request,
    known: &Known,
    about: About<'_>,
) -> Ends {
    let asks = |what: Matrix| {
        let mut kinds = request.matrices().iter();
        kinds.any(|one| Matrix::named(&one.kind) == what)
    };
    let script = request.scripts().iter().find(|script| script.kind == IP);
    let looking = Looking {
        shared,
        known,
        about,
        content: script.map_or("", |script| &script.content),
        limit: script::limit(script.map_or(0, |script| script.timeout_millis)),
        end: Instant::now() + LIMIT,
    };
    let inbound = async {
        match asks(Matrix::GeoInbound) {
            true => looking.inbound().await,
            false => Stacks::default(),
        }
    };
    let outbound = async {
        match asks(Matrix::GeoOutbound) {
            true => looking.outbound().await,
            false => Stacks::default(),
        }
    };
    let (inbound, outbound) = tokio::join!(inbound, outbound);
    Ends { inbound, outbound }
}

struct Looking<'a> {
    shared: &'a Shared,
    known: &'a Known,
    about: About<'a>,
    /// The front's script; none has nothing in it.
    content: &'a str,
    /// How long it may take.
    limit: Duration,
    /// When all of it has to be over.
    end: Instant,
}

impl Looking<'_> {
    async fn inbound(&self) -> Stacks {
        let Ok(server) = self.about.info.address.parse::<Destination>() else {
            return Stacks::default();
        };
        let (domain, ips) = match &server.host {
            Host::Ip(ip) => (ip.to_string(), vec![*ip]),
            Host::Domain(name) => (name.clone(), self.known.addresses(name).await),
        };
        let (v4, v6) = self.located(ips).await;
        Stacks {
            domain,
            main: v4.first().or(v6.first()).cloned().unwrap_or_default(),
            v4,
            v6,
        }
    }

    async fn outbound(&self) -> Stacks {
        let mut ips = Vec::new();
        for _ in 0..TRIES {
            let began = Instant::now();
            let (runner, limit) = (&self.shared.scripts, self.limit());
            ips = script::addresses(runner, self.about, self.content, limit).await;
            if !ips.is_empty() || began.elapsed() > PATIENCE {
                break;
            }
        }
        let (v4, v6) = self.located(ips).await;
        Stacks {
            domain: self.about.info.name.clone(),
            main: v4.last().or(v6.last()).cloned().unwrap_or_default(),
            v4,
            v6,
        }
    }

    /// Where addresses are, by family and each once.
    async fn located(&self, ips: Vec<IpAddr>) -> (Vec<Location>, Vec<Location>) {
        let mut seen = Vec::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ip in ips {
            let stack = if ip.is_ipv4() { &mut v4 } else { &mut v6 };
            if stack.len() == MAX_ADDRESSES || seen.contains(&ip) {
                continue;
            }
            seen.push(ip);
            stack.push(self.located_one(ip).await);
        }
        (v4, v6)
    }

    async fn located_one(&self, ip: IpAddr) -> Location {
        if let Some(place) = self.known.places().get(&ip) {
            return place.clone();
        }
        let mut place = Location::default();
        for _ in 0..TRIES {
            let began = Instant::now();
            let (runner, limit) = (&self.shared.scripts, self.limit());
            place = script::location(runner, self.about, self.content, ip, limit).await;
            if !place.ip.is_empty() {
                self.known.places().insert(ip, place.clone());
                break;
            }
            if began.elapsed() > PATIENCE {
                break;
            }
        }
        place
    }

    /// How long the next run may take.
    fn limit(&self) -> Duration {
        let left = self.end.saturating_duration_since(Instant::now());
        self.limit.min(left)
    }
}

/// A server as fronts name it: `1.1.1.1:53`, or the URL of one that is asked by HTTPS. What cannot be read is passed over.
fn upstream(text: &str) -> Option<Upstream> {
    let text = text.trim();
    if text.starts_with("https://") {
        let url: Uri = text.parse().ok()?;
        let host = Host::parse(url.host()?).ok()?;
        let to = Destination::new(host, url.port_u16().unwrap_or(443));
        return Some(Upstream::Https { url, to });
    }
    let (by_tcp, place) = match text.split_once("://") {
        Some(("tcp", place)) => (true, place),
        Some(("udp", place)) => (false, place),
        Some(_) => return None,
        None => (false, text),
    };
    let host = || Host::parse(place).map(|host| Destination::new(host, 53));
    let to = place.parse().or_else(|_| host()).ok()?;
    Some(match by_tcp {
        true => Upstream::Tcp(to),
        false => Upstream::Udp(to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_servers_are_read_as_fronts_write_them() {
        let udp = |text: &str| Some(Upstream::Udp(text.parse().unwrap()));
        for (text, server) in [
            ("8.8.8.8:53", udp("8.8.8.8:53")),
            (" 8.8.8.8 ", udp("8.8.8.8:53")),
            ("udp://[2001:db8::1]:5353", udp("[2001:db8::1]:5353")),
            ("2001:db8::1", udp("[2001:db8::1]:53")),
            (
                "tcp://dns.example",
                Some(Upstream::Tcp("dns.example:53".parse().unwrap())),
            ),
            ("quic://dns.example", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(upstream(text), server, "{text}");
        }
        let Some(Upstream::Https { url, to }) = upstream("https://[2001:db8::1]/dns-query") else {
            panic!("it is asked by HTTPS");
        };
        assert_eq!(
            (url.path(), to.to_string()),
            ("/dns-query", "[2001:db8::1]:443".to_owned())
        );
    }
}
