//! The addresses of the names that one association sends to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::timeout;
use tracing::trace;

use crate::address::{Destination, Host, reached, reached_at};
use crate::dns;

/// Each name is asked for once.
pub(super) struct Names {
    lookup: dns::Lookup,
    /// Our own address: of the target's only those of its family can be reached.
    local: Option<IpAddr>,
    known: HashMap<Destination, SocketAddr>,
    /// Under which name an address was asked last, unless it was asked by itself since.
    asked: HashMap<SocketAddr, Destination>,
    resolving: Option<(Destination, Lookup)>,
}

type Lookup = Pin<Box<dyn Future<Output = Option<SocketAddr>> + Send>>;

/// Names one association remembers; with more, all are asked for again.
const MAX_NAMES: usize = 256;

/// How long the datagrams behind an unanswered question wait for it.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

impl Names {
    pub(super) fn new(lookup: dns::Lookup, local: Option<IpAddr>) -> Self {
        Self {
            lookup,
            local,
            known: HashMap::new(),
            asked: HashMap::new(),
            resolving: None,
        }
    }

    /// The address of `to`; `None` when it has none.
    pub(super) fn poll_resolve(
        &mut self,
        to: &Destination,
        cx: &mut Context<'_>,
    ) -> Poll<Option<SocketAddr>> {
        if let Host::Ip(ip) = to.host {
            let addr = SocketAddr::new(reached(ip), to.port);
            if !self.asked.is_empty() {
                self.asked.remove(&addr);
            }
            return Poll::Ready(Some(addr));
        }
        if let Some(addr) = self.known.get(to).copied() {
            if self.asked.get(&addr) != Some(to) {
                self.asked.insert(addr, to.clone());
            }
            return Poll::Ready(Some(addr));
        }
        let lookup = match &mut self.resolving {
            Some((name, lookup)) if name == to => lookup,
            other => {
                &mut other
                    .insert((
                        to.clone(),
                        resolve(to.clone(), self.lookup.clone(), self.local),
                    ))
                    .1
            }
        };
        let addr = ready!(lookup.as_mut().poll(cx));
        self.resolving = None;
        if let Some(addr) = addr {
            if self.known.len() >= MAX_NAMES {
                self.known.clear();
                self.asked.clear();
            }
            self.known.insert(to.clone(), addr);
            self.asked.insert(addr, to.clone());
        }
        Poll::Ready(addr)
    }

    /// Whom an answer comes from, as it was asked: by its name, if that was asked for.
    pub(super) fn as_asked(&self, from: SocketAddr) -> Destination {
        let asked = self.asked.get(&from);
        asked.cloned().unwrap_or_else(|| from.into())
    }

    #[cfg(test)]
    pub(super) fn know(&self, to: &Destination) -> bool {
        self.known.contains_key(to)
    }
}

fn resolve(to: Destination, lookup: dns::Lookup, local: Option<IpAddr>) -> Lookup {
    let fits = move |addr: &SocketAddr| local.is_none_or(|ip| ip.is_ipv4() == addr.is_ipv4());
    Box::pin(async move {
        match timeout(LOOKUP_LIMIT, lookup.resolve(&to)).await {
            Ok(Ok(addrs)) => addrs.into_iter().map(reached_at).find(fits),
            Ok(Err(e)) => {
                trace!(%to, error = %e, "datagram to an unknown name");
                None
            }
            Err(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Known;
    use std::future::poll_fn;

    #[tokio::test]
    async fn of_several_addresses_one_is_taken_that_ours_reaches() {
        let known: Vec<IpAddr> = vec!["::1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        let lookup = dns::Lookup::System.among(&Known::Ips(known.into()));
        let to: Destination = "both.test:53".parse().unwrap();
        for (local, found) in [
            (None, Some("[::1]:53")),
            (Some("127.0.0.2"), Some("192.0.2.1:53")),
            (Some("::1"), Some("[::1]:53")),
        ] {
            let local = local.map(|ip| ip.parse().unwrap());
            let mut names = Names::new(lookup.clone(), local);
            let addr = poll_fn(|cx| names.poll_resolve(&to, cx)).await;
            assert_eq!(addr, found.map(|addr| addr.parse().unwrap()), "{local:?}");
        }
    }
}
