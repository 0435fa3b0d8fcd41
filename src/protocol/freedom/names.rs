//! The addresses of the names that one association sends to.

use std::collections::HashMap;
use std::net::SocketAddr;
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
    known: HashMap<Destination, SocketAddr>,
    resolving: Option<(Destination, Lookup)>,
}

type Lookup = Pin<Box<dyn Future<Output = Option<SocketAddr>> + Send>>;

/// Names one association remembers; with more, all are asked for again.
const MAX_NAMES: usize = 256;

/// How long the datagrams behind an unanswered question wait for it.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

impl Names {
    pub(super) fn new(lookup: dns::Lookup) -> Self {
        Self {
            lookup,
            known: HashMap::new(),
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
            return Poll::Ready(Some(SocketAddr::new(reached(ip), to.port)));
        }
        if let Some(addr) = self.known.get(to) {
            return Poll::Ready(Some(*addr));
        }
        let lookup = match &mut self.resolving {
            Some((name, lookup)) if name == to => lookup,
            other => {
                &mut other
                    .insert((to.clone(), resolve(to.clone(), self.lookup.clone())))
                    .1
            }
        };
        let addr = ready!(lookup.as_mut().poll(cx));
        self.resolving = None;
        if let Some(addr) = addr {
            if self.known.len() >= MAX_NAMES {
                self.known.clear();
            }
            self.known.insert(to.clone(), addr);
        }
        Poll::Ready(addr)
    }

    #[cfg(test)]
    pub(super) fn know(&self, to: &Destination) -> bool {
        self.known.contains_key(to)
    }
}

fn resolve(to: Destination, lookup: dns::Lookup) -> Lookup {
    Box::pin(async move {
        match timeout(LOOKUP_LIMIT, lookup.resolve(&to)).await {
            Ok(Ok(addrs)) => addrs.first().copied().map(reached_at),
            Ok(Err(e)) => {
                trace!(%to, error = %e, "datagram to an unknown name");
                None
            }
            Err(_) => None,
        }
    })
}
