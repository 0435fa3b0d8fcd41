//! The middle room: takes what an inbound accepted to the outbound that carries it.
//!
//! This is the only room that knows both transports and protocols. Which outbound it is, the rules of
//! [`routing`](crate::routing) say.

mod datagrams;
mod first;
mod mux;
mod route;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::address::{Destination, Network};
use crate::io::{BindUdp, Link, Packets};
use crate::log;
use crate::protocol::{self, Accepted, Hop};
use crate::relay::{Failure, Relay};
use crate::routing::Router;
use crate::session::{Source, User};
use crate::transport::{self, tcp};

use datagrams::Association;

/// An outbound of the config, whole: how to get there, and what to speak there.
pub struct Outbound {
    /// `outbounds[0]`, for messages.
    pub path: String,
    pub tag: Option<String>,
    pub transport: transport::Outbound,
    pub protocol: protocol::Outbound,
    /// Index of the outbound that `proxySettings.tag` names: this one's connections go through it.
    pub through: Option<usize>,
    /// Sessions share connections.
    pub mux: Option<crate::mux::Outbound>,
}

/// Carries sessions; shared by all inbounds.
pub struct Dispatcher {
    outbounds: Vec<Outbound>,
    router: Router,
    /// The second in which each outbound last complained.
    warned: Vec<AtomicU64>,
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
            warned: outbounds.iter().map(|_| AtomicU64::new(0)).collect(),
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

    async fn stream(self: &Arc<Self>, session: Session, to: Destination, mut link: Link) {
        let Some(alive) = self.alive.upgrade() else {
            return;
        };
        let by = self.route(&session, Network::Tcp, &to).await;
        self.note(&session, by, Network::Tcp, &to);
        let opening = self.open(by, &to);
        let (opened, first) = if self.outbounds[by].protocol.wants_first_payload() {
            tokio::join!(opening, first::payload(&mut link))
        } else {
            (opening.await, Vec::new())
        };
        let target = match opened {
            Ok(target) => target,
            Err(e) => {
                self.complain(&session, by, &to, &e);
                link.close().await;
                return;
            }
        };
        let mut relay = Relay::new(link, target, first);
        let session = Box::new((self.clone(), session, to));
        // A task of its own size: the one that shook hands was many times larger, and ends here.
        tokio::spawn(async move {
            let ended = (&mut relay).await;
            let (dispatcher, session, to) = *session;
            debug!(id = session.id, %to, up = ended.up, down = ended.down, "session ended");
            if let Some(failure) = ended.error {
                dispatcher.mourn(&session, by, &to, &failure);
            }
            drop(alive);
        });
    }

    /// A stream to `to` by outbound `index`.
    fn open<'a>(
        self: &'a Arc<Self>,
        index: usize,
        to: &'a Destination,
    ) -> Pin<Box<dyn Future<Output = io::Result<Link>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(link) = self.mux_stream(index, to) {
                return Ok(link);
            }
            let (link, account) = self.dial(index, to).await?;
            self.outbounds[index]
                .protocol
                .dress(link, to, account)
                .await
        })
    }

    /// The link that outbound `index` dresses for a session to `to`, through another outbound if
    /// `proxySettings` says so.
    async fn dial(
        self: &Arc<Self>,
        index: usize,
        to: &Destination,
    ) -> io::Result<(Option<Link>, usize)> {
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

    /// Datagrams of session `id` to `to`, and to others where the outbound's lane is shared.
    async fn open_packets(
        self: &Arc<Self>,
        index: usize,
        to: &Destination,
        id: u32,
    ) -> io::Result<Box<dyn Packets>> {
        match self.mux_packets(index, to, id).await {
            Some(packets) => packets,
            None => self.native_packets(index, to, id).await,
        }
    }

    /// As the outbound's protocol itself carries datagrams.
    async fn native_packets(
        self: &Arc<Self>,
        index: usize,
        to: &Destination,
        id: u32,
    ) -> io::Result<Box<dyn Packets>> {
        let outbound = &self.outbounds[index];
        let sockopt = outbound.transport.sockopt.clone();
        let bind: BindUdp = Arc::new(move |to| tcp::udp_socket(to, &sockopt));
        let (link, account) = match (outbound.protocol.hop(to), outbound.through) {
            (Hop::Server { .. }, _) => self.dial(index, to).await?,
            (Hop::Destination(target), Some(other)) => {
                return Box::pin(self.open_packets(other, &target, id)).await;
            }
            _ => (None, 0),
        };
        outbound.protocol.packets(link, to, account, &bind).await
    }

    /// A session to `to` goes by outbound `by`.
    fn note(&self, session: &Session, by: usize, network: Network, to: &Destination) {
        let outbound = &self.outbounds[by];
        let user = session.user.as_deref();
        log::accepted(session.source, network, to, outbound.tag.as_deref(), user);
        debug!(id = session.id, source = %session.source, %network, %to, by = outbound.path, "session begins");
    }

    /// Says why a session could not be opened.
    fn complain(&self, session: &Session, by: usize, to: &Destination, error: &io::Error) {
        let outbound = &self.outbounds[by];
        if outbound.has_server() {
            self.warn(by, error);
        }
        debug!(id = session.id, %to, by = outbound.path, "cannot open: {error}");
    }

    /// Says what cut a session off.
    fn mourn(&self, session: &Session, by: usize, to: &Destination, failure: &Failure) {
        let outbound = &self.outbounds[by];
        match failure {
            Failure::Target(error) if outbound.has_server() && !failure.is_usual() => {
                self.warn(by, error);
            }
            _ => {}
        }
        debug!(id = session.id, %to, by = outbound.path, "cut off: {failure}");
    }

    /// Tells those who can mend it, once a second at most: a server that is down fails every session.
    fn warn(&self, index: usize, error: &io::Error) {
        let outbound = &self.outbounds[index];
        let second = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        if self.warned[index].swap(second, Ordering::Relaxed) != second {
            let tag = outbound
                .tag
                .as_ref()
                .map(|tag| format!(" ({tag})"))
                .unwrap_or_default();
            warn!("{}{tag}: {error}", outbound.path);
        }
    }
}

impl Outbound {
    /// A server of the user's own is worth a warning; a target that does not answer is not.
    fn has_server(&self) -> bool {
        self.protocol.has_server() || self.through.is_some()
    }
}
