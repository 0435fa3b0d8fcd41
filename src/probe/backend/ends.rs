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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Uri;
use tokio::time::timeout;

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

/// An address about which so many nodes found nothing is not asked about again. One may be dead, and the address alive.
const IN_VAIN: usize = 2;

/// How long an end of a node may take: questions for names, and scripts while they run. Waiting for others takes none of it.
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
    /// Where addresses are that several nodes have. Whoever looks one up holds it, and the others wait.
    places: Mutex<HashMap<IpAddr, Arc<tokio::sync::Mutex<Place>>>>,
}

/// What is known of an address.
#[derive(Default)]
struct Place {
    /// Without an address of its own when nothing is.
    said: Location,
    /// Nodes that found nothing.
    in_vain: usize,
}

impl Place {
    /// Whether nobody is asked about it any more.
    fn is_settled(&self) -> bool {
        !self.said.ip.is_empty() || self.in_vain >= IN_VAIN
    }
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

    /// All addresses of a name, of all servers that answer in time.
    async fn addresses(&self, name: &str, time: &mut Time) -> Vec<IpAddr> {
        let (began, left) = (Instant::now(), time.left);
        let asked = self.servers.iter();
        let asked = asked.map(|server| timeout(left, server.lookup(name, Families::BOTH)));
        let found = join_all(asked).await.into_iter().flatten().flatten();
        time.took(began.elapsed());
        found.flat_map(|reply| reply.ips).collect()
    }

    fn place(&self, ip: IpAddr) -> Arc<tokio::sync::Mutex<Place>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(ip).or_default().clone()
    }
}

/// The time of one end of a node.
#[derive(Clone, Copy)]
struct Time {
    /// For one run of the script.
    each: Duration,
    /// For all that is still to be done.
    left: Duration,
}

impl Time {
    /// How long the next run may take; none is begun without time.
    fn next(&self) -> Option<Duration> {
        (!self.left.is_zero()).then(|| self.each.min(self.left))
    }

    fn took(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
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
    };
    let time = Time {
        each: script::limit(script.map_or(0, |script| script.timeout_millis)),
        left: LIMIT,
    };
    let inbound = async {
        match asks(Matrix::GeoInbound) {
            true => looking.inbound(time).await,
            false => Stacks::default(),
        }
    };
    let outbound = async {
        match asks(Matrix::GeoOutbound) {
            true => looking.outbound(time).await,
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
}

impl Looking<'_> {
    async fn inbound(&self, mut time: Time) -> Stacks {
        let Ok(server) = self.about.info.address.parse::<Destination>() else {
            return Stacks::default();
        };
        let (domain, ips) = match &server.host {
            Host::Ip(ip) => (ip.to_string(), vec![*ip]),
            Host::Domain(name) => (name.clone(), self.known.addresses(name, &mut time).await),
        };
        let (v4, v6) = self.located(ips, &mut time).await;
        Stacks {
            domain,
            main: v4.first().or(v6.first()).cloned().unwrap_or_default(),
            v4,
            v6,
        }
    }

    async fn outbound(&self, mut time: Time) -> Stacks {
        let mut ips = Vec::new();
        for _ in 0..TRIES {
            let Some(limit) = time.next() else { break };
            let runner = &self.shared.scripts;
            let asked = script::addresses(runner, self.about, self.content, limit);
            let (said, took) = asked.await;
            time.took(took);
            ips = said;
            if !ips.is_empty() || took > PATIENCE {
                break;
            }
        }
        let (v4, v6) = self.located(ips, &mut time).await;
        Stacks {
            domain: self.about.info.name.clone(),
            main: v4.last().or(v6.last()).cloned().unwrap_or_default(),
            v4,
            v6,
        }
    }

    /// Where addresses are, by family and each once.
    async fn located(&self, ips: Vec<IpAddr>, time: &mut Time) -> (Vec<Location>, Vec<Location>) {
        let mut seen = Vec::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ip in ips {
            let stack = if ip.is_ipv4() { &mut v4 } else { &mut v6 };
            if stack.len() == MAX_ADDRESSES || seen.contains(&ip) {
                continue;
            }
            seen.push(ip);
            stack.push(self.located_one(ip, time).await);
        }
        (v4, v6)
    }

    async fn located_one(&self, ip: IpAddr, time: &mut Time) -> Location {
        let place = self.known.place(ip);
        let mut place = place.lock().await;
        if place.is_settled() {
            return place.said.clone();
        }
        for _ in 0..TRIES {
            // Who has no time to ask enough says nothing of the address.
            let Some(limit) = time.next() else {
                return place.said.clone();
            };
            let runner = &self.shared.scripts;
            let asked = script::location(runner, self.about, self.content, ip, limit);
            let (said, took) = asked.await;
            time.took(took);
            place.said = said;
            if place.is_settled() {
                return place.said.clone();
            }
            if took > PATIENCE {
                break;
            }
        }
        place.in_vain += 1;
        place.said.clone()
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
    fn no_run_begins_without_time() {
        let seconds = Duration::from_secs;
        let mut time = Time {
            each: seconds(40),
            left: LIMIT,
        };
        assert_eq!(time.next(), Some(seconds(40)));
        time.took(seconds(40));
        assert_eq!(time.next(), Some(seconds(20)));
        time.took(seconds(21));
        assert_eq!(time.next(), None);
    }

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
