//! The middle room: takes what an inbound accepted to the outbound that carries it.
//!
//! This is the only room that knows both transports and protocols. Which outbound it is, the rules of
//! [`routing`](crate::routing) say.

mod datagrams;
mod first;
mod route;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::address::{Destination, Network};
use crate::config::Outbound;
use crate::io::{BindUdp, Link, Packets};
use crate::log;
use crate::protocol::{Accepted, Hop};
use crate::relay::{Failure, Relay};
use crate::routing::Router;
use crate::session::{Source, User};
use crate::transport::tcp;

use datagrams::Association;

/// Carries sessions; shared by all inbounds.
pub struct Dispatcher {
    outbounds: Vec<Outbound>,
    router: Router,
    sessions: AtomicU32,
    /// Every running tunnel holds a clone: the process may end when all are gone.
    alive: mpsc::WeakSender<()>,
}

/// One session on its way.
#[derive(Clone)]
pub struct Session {
    id: u32,
    source: Source,
    /// The inbound's tag.
    inbound: Option<Arc<str>>,
    user: Option<Arc<User>>,
}

impl Dispatcher {
    pub fn new(outbounds: Vec<Outbound>, router: Router, alive: mpsc::WeakSender<()>) -> Self {
        Self {
            outbounds,
            router,
            sessions: AtomicU32::new(0),
            alive,
        }
    }

    /// Carries what the inbound tagged `inbound` accepted from `source`; ready when it is on its way, in
    /// tasks of its own.
    ///
    /// Boxed, because what is accepted may hold more sessions to be carried.
    pub fn carry(
        self: Arc<Self>,
        source: Source,
        inbound: Option<Arc<str>>,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match accepted {
                Accepted::Stream { user, to, link } => {
                    let session = self.session(source, inbound, user);
                    self.stream(session, to, link).await;
                }
                Accepted::Packets { user, packets } => {
                    let session = self.session(source, inbound, user);
                    self.packets(session, packets);
                }
                Accepted::Many(mut requests) => {
                    while let Some(accepted) = requests.recv().await {
                        tokio::spawn(self.clone().carry(source, inbound.clone(), accepted));
                    }
                }
            }
        })
    }

    /// Carries the datagrams of one source; returns at once.
    pub fn packets(self: &Arc<Self>, session: Session, packets: Box<dyn Packets>) {
        let Some(alive) = self.alive.upgrade() else {
            return;
        };
        let association = Association::new(self.clone(), session, packets);
        tokio::spawn(async move {
            association.await;
            drop(alive);
        });
    }

    pub fn session(
        &self,
        source: Source,
        inbound: Option<Arc<str>>,
        user: Option<Arc<User>>,
    ) -> Session {
        let id = self.sessions.fetch_add(1, Ordering::Relaxed);
        Session {
            id,
            source,
            inbound,
            user,
        }
    }

    async fn stream(&self, session: Session, to: Destination, mut link: Link) {
        let Some(alive) = self.alive.upgrade() else {
            return;
        };
        let index = self.route(&session, Network::Tcp, &to).await;
        let outbound = &self.outbounds[index];
        self.note(&session, outbound, Network::Tcp, &to);
        let opening = self.open(index, &to);
        let (opened, first) = if outbound.protocol.wants_first_payload() {
            tokio::join!(opening, first::payload(&mut link))
        } else {
            (opening.await, Vec::new())
        };
        let target = match opened {
            Ok(target) => target,
            Err(e) => {
                Complaints::of(outbound).error(&session, &to, &e);
                first::close(link).await;
                return;
            }
        };
        let mut relay = Relay::new(link, target, first);
        let dispatcher = Complaints::of(outbound);
        let session = Box::new((session, to, dispatcher));
        // A task of its own size: the one that shook hands was many times larger, and ends here.
        tokio::spawn(async move {
            let ended = (&mut relay).await;
            let (session, to, complaints) = *session;
            debug!(id = session.id, %to, up = ended.up, down = ended.down, "session ended");
            if let Some(failure) = ended.error {
                complaints.failure(&session, &to, &failure);
            }
            drop(alive);
        });
    }

    /// A stream to `to` by outbound `index`.
    fn open<'a>(
        &'a self,
        index: usize,
        to: &'a Destination,
    ) -> Pin<Box<dyn Future<Output = io::Result<Link>> + Send + 'a>> {
        Box::pin(async move {
            let (link, account) = self.dial(index, to).await?;
            self.outbounds[index]
                .protocol
                .dress(link, to, account)
                .await
        })
    }

    /// The link that outbound `index` dresses for a session to `to`, through another outbound if
    /// `proxySettings` says so.
    async fn dial(&self, index: usize, to: &Destination) -> io::Result<(Option<Link>, usize)> {
        let outbound = &self.outbounds[index];
        let (server, account) = match outbound.protocol.hop(to) {
            Hop::Nowhere => return Ok((None, 0)),
            Hop::Destination(target) => (target, 0),
            Hop::Server { to, account } => (to, account),
        };
        let link = match outbound.through {
            Some(other) => self.open(other, &server).await?,
            None => {
                outbound
                    .transport
                    .connect(&server, outbound.protocol.strategy())
                    .await?
            }
        };
        let link = outbound.transport.dress(link, &server).await?;
        Ok((Some(link), account))
    }

    /// Datagrams to `to` (and to others, unless the outbound has one peer only).
    async fn open_packets(&self, index: usize, to: &Destination) -> io::Result<Box<dyn Packets>> {
        let outbound = &self.outbounds[index];
        let sockopt = outbound.transport.sockopt.clone();
        let bind: BindUdp = Arc::new(move |to| tcp::udp_socket(to, &sockopt));
        let (link, account) = match (outbound.protocol.hop(to), outbound.through) {
            (Hop::Server { .. }, _) => self.dial(index, to).await?,
            (Hop::Destination(target), Some(other)) => {
                return Box::pin(self.open_packets(other, &target)).await;
            }
            _ => (None, 0),
        };
        outbound.protocol.packets(link, to, account, &bind).await
    }

    /// Whether datagrams of outbound `index` go to one destination each, as seen from here.
    fn packets_have_one_peer(&self, index: usize) -> bool {
        let outbound = &self.outbounds[index];
        let through = || {
            outbound
                .through
                .is_some_and(|other| self.packets_have_one_peer(other))
        };
        outbound.protocol.packets_have_one_peer() || (!outbound.protocol.has_server() && through())
    }

    fn note(&self, session: &Session, outbound: &Outbound, network: Network, to: &Destination) {
        let user = session.user.as_deref();
        log::accepted(session.source, network, to, outbound.tag.as_deref(), user);
        debug!(id = session.id, source = %session.source, %network, %to, by = outbound.path, "session begins");
    }
}

/// Says what went wrong with an outbound, to those who can mend it.
struct Complaints {
    outbound: String,
    /// A server of the user's own is worth a warning; a target that does not answer is not.
    has_server: bool,
}

impl Complaints {
    fn of(outbound: &Outbound) -> Self {
        let tag = outbound
            .tag
            .as_ref()
            .map(|tag| format!(" ({tag})"))
            .unwrap_or_default();
        Self {
            outbound: format!("{}{tag}", outbound.path),
            has_server: outbound.protocol.has_server() || outbound.through.is_some(),
        }
    }

    fn error(&self, session: &Session, to: &Destination, error: &io::Error) {
        if self.has_server {
            warn!("{}: {error}", self.outbound);
        }
        debug!(id = session.id, %to, by = self.outbound, "cannot open: {error}");
    }

    fn failure(&self, session: &Session, to: &Destination, failure: &Failure) {
        match failure {
            Failure::Target(error) if self.has_server && !failure.is_usual() => {
                warn!("{}: {error}", self.outbound);
            }
            _ => {}
        }
        debug!(id = session.id, %to, by = self.outbound, "cut off: {failure}");
    }
}
