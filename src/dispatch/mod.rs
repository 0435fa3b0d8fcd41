//! The middle room: takes what an inbound accepted to the outbound that carries it.
//!
//! This is the only room that knows both transports and protocols. Which outbound it is, the rules of
//! [`routing`](crate::routing) say.

mod again;
mod allowed;
mod control;
mod counting;
mod datagrams;
mod dialer;
mod doors;
mod fallback;
mod first;
mod flow;
mod live;
mod liveness;
mod mux;
mod once_more;
mod open;
mod open_packets;
mod open_port;
mod outbounds;
mod publish;
mod publish_packets;
mod reply;
mod resolve;
mod reverse;
mod route;
mod session;
mod single_server;
mod sniff;
mod udp_quota;
mod waiting;
mod walk;
mod warm;

pub use control::Leads;
pub use fallback::Stranger;
pub use live::{Change, NextOutbound};
pub use outbounds::{MadeOf, Outbound, OutboundRef, Outbounds};
pub use route::Routed;
pub use session::{Origin, Session};

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::{broadcast, mpsc};
use tracing::field::display;
use tracing::{Instrument, Span, debug, debug_span};

use crate::address::{Destination, Network};
use crate::cause::{Unreached, is_of_target};
use crate::dns::{self, Resolver};
use crate::io::{self, Closing, Link, Packets, ended};
use crate::limits::{self, Gate, Users};
use crate::log;
use crate::metrics::Metrics;
use crate::metrics::live::{Entered, Tunnel};
use crate::policy::Policy;
use crate::protocol::{self, Accepted, FirstPayload, ProtocolState};
use crate::relay::Relay;
use crate::routing::{LiveRouter, Outcome};
use crate::seam::Reply;
use crate::session::{Source, User};
use crate::sniffing::Aim;
use crate::stats;

use counting::Counting;
use datagrams::Association;
use doors::Doors;
use live::{Changes, Live};
use open_port::OpenPorts;
use route::{Asked, Chosen};
use udp_quota::UdpQuota;

/// Sessions that a slow watcher may be behind.
const WATCHED: usize = 256;

/// Carries sessions; shared by all inbounds.
pub struct Dispatcher {
    pub outbounds: Outbounds,
    pub router: LiveRouter,
    resolver: Live<Resolver>,
    pub policy: Live<Policy>,
    /// The first flights that its VMess inbounds have answered.
    state: Arc<ProtocolState>,
    /// Sessions in streams to the name of mux.
    mux: crate::mux::Inbound,
    /// Empty unless `stats` is there.
    pub stats: Arc<stats::Registry>,
    counting: Live<Counting>,
    changes: Changes,
    /// What each owner holds of UDP.
    udp_quota: Arc<UdpQuota>,
    /// Those that clients have opened.
    ports: OpenPorts,
    /// Every session whose outbound is known, for those who watch; a slow one misses some.
    pub routed: broadcast::Sender<Arc<Routed>>,
    sessions: AtomicU32,
    /// What all inbounds together let in.
    pub gate: Arc<Gate>,
    /// Inbounds that others of this process hand connections to.
    pub doors: Doors,
    /// What is counted for a monitoring system, if one may ask.
    pub metrics: Option<Arc<Metrics>>,
    /// What users share among their sessions.
    users: Arc<Users>,
    /// Tells why links are dropped, if they are.
    pub closing: Closing,
    /// Every running tunnel holds a clone: the process may end when all are gone.
    alive: mpsc::WeakSender<()>,
}

/// What a config says about the sessions of a process.
pub struct Parts {
    pub outbounds: Vec<Outbound>,
    pub router: LiveRouter,
    /// The built-in DNS.
    pub resolver: Resolver,
    pub policy: Policy,
    /// What all inbounds together let in.
    pub limits: limits::Settings,
    /// Whether anything is counted; what, `policy` says.
    pub count: bool,
    pub state: ProtocolState,
    /// What is counted for a monitoring system, if one may ask.
    pub metrics: Option<Arc<Metrics>>,
}

impl Dispatcher {
    /// The resolver's questions go through here from now on.
    pub fn new(parts: Parts, alive: mpsc::WeakSender<()>) -> Arc<Self> {
        let Parts {
            outbounds,
            router,
            resolver,
            policy,
            limits,
            count,
            state,
            metrics,
        } = parts;
        let state = Arc::new(state);
        let (policy, stats) = (Arc::new(policy), Arc::<stats::Registry>::default());
        let registry = (count || metrics.is_some()).then(|| stats.clone());
        let counting = Counting::new(policy.clone(), registry);
        let counting = Arc::new(counting.everything(metrics.is_some()));
        Arc::new_cyclic(|dispatcher| {
            resolver.set_dialer(Arc::new(dialer::RoutedDialer(Weak::clone(dispatcher))));
            Self {
                outbounds: Outbounds::new(outbounds, counting.clone()),
                router,
                resolver: Live::new(Arc::new(resolver)),
                policy: Live::new(policy),
                state,
                mux: Default::default(),
                stats,
                counting: Live::new(counting),
                changes: Changes::default(),
                udp_quota: UdpQuota::new(),
                ports: OpenPorts::default(),
                routed: broadcast::Sender::new(WATCHED),
                sessions: AtomicU32::new(0),
                gate: Arc::new(Gate::of_process(limits, io::open_files::limit())),
                doors: Doors::default(),
                users: Arc::default(),
                metrics,
                closing: Closing::default(),
                alive,
            }
        })
    }

    /// How the built-in DNS reaches its servers.
    pub fn dialer(self: &Arc<Self>) -> Arc<dyn dns::Dialer> {
        Arc::new(dialer::RoutedDialer(Arc::downgrade(self)))
    }

    /// Carries what `inbound` accepted from `source`; ready when it is on its way, in tasks of its own.
    ///
    /// Boxed, because what is accepted may hold more sessions to be carried.
    pub fn dispatch(
        self: Arc<Self>,
        source: Source,
        inbound: Origin,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.dispatch_watched(source, inbound, accepted, false)
    }

    /// What comes out of a link that its inbound watches itself, as V2Ray's do with mux and with plain HTTP
    /// requests, is watched at its outbound alone.
    fn dispatch_watched(
        self: Arc<Self>,
        source: Source,
        inbound: Origin,
        accepted: Accepted,
        watched: bool,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Some(accepted) = self.let_in(source, &inbound, accepted).await else {
                return;
            };
            match accepted {
                // As in V2Ray, whatever inbound it came by; the sessions inside carry no further ones.
                Accepted::Stream {
                    user,
                    to,
                    mut link,
                    reply,
                } if !watched && crate::mux::is_meant(&to) => {
                    // Those inside have answers of their own.
                    if let Some(reply) = reply
                        && reply::grant(&mut link, reply).await.is_err()
                    {
                        return link.close().await;
                    }
                    let level = user.as_ref().map_or(0, |user| user.level);
                    let idle = self.policy.read().level(level).limits.idle.into();
                    let sessions = self.mux.accept(link, user, idle);
                    self.dispatch_watched(source, inbound, sessions, true).await;
                }
                Accepted::Stream {
                    user,
                    to,
                    link,
                    reply,
                } => {
                    let mut session = self.session(source, inbound, user);
                    session.limits = session.limits.filter(|_| !watched);
                    let (owner, span) = (session.owner(), session.span(&to));
                    dns::asking(
                        owner,
                        self.stream(session, to, link, reply).instrument(span),
                    )
                    .await;
                }
                Accepted::Request {
                    user,
                    to,
                    link,
                    attributes,
                    reply,
                } => {
                    // Its head is known, there is nothing left to look for in it.
                    let session = Session {
                        protocol: Some("http/1.1"),
                        attributes: Some(Arc::new(attributes)),
                        limits: None,
                        ..self.session(source, inbound, user)
                    };
                    let (owner, span) = (session.owner(), session.span(&to));
                    dns::asking(
                        owner,
                        self.stream(session, to, link, reply).instrument(span),
                    )
                    .await;
                }
                Accepted::Bind {
                    user,
                    at,
                    network,
                    visitors,
                    windows,
                    link,
                } => {
                    let session = self.session(source, inbound, user);
                    self.open_port(session, (at, network), (visitors, windows), link)
                        .await;
                }
                Accepted::Packets { user, packets } => {
                    let session = self.session(source, inbound, user);
                    self.packets(session, packets);
                }
                Accepted::Sessions(mut requests) => {
                    while let Some(accepted) = requests.recv().await {
                        let (dispatcher, inbound) = (self.clone(), inbound.clone());
                        io::spawn(dispatcher.dispatch_watched(source, inbound, accepted, true));
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
        let (owner, span) = (session.owner(), debug_span!("session", id = session.id));
        let association = Association::new(self.clone(), session, packets);
        let association = async move {
            dns::asking(owner, association).await;
            ended::one();
            drop(alive);
        };
        io::spawn(association.instrument(span));
    }

    pub fn session(&self, source: Source, inbound: Origin, user: Option<Arc<User>>) -> Session {
        let counting = self.counting.now();
        let mut session = Session {
            id: self.next_id(),
            source,
            inbound,
            limits: None,
            share: None,
            traffic: counting.user(user.as_deref()),
            presence: (counting.presence(user.as_deref(), source)).map(Arc::new),
            user,
            protocol: None,
            attributes: None,
            is_own: false,
        };
        let policy = self.policy.read();
        let level = policy.level(session.level());
        session.limits = Some(level.limits);
        if level.rates.bound() {
            session.share = Some(self.users.share(&session.owner(), level));
        }
        drop(policy);
        session
    }

    /// Streams and associations that are carried at the moment.
    pub fn tunnels(&self) -> usize {
        // The service itself holds one more.
        self.alive.strong_count().saturating_sub(1)
    }

    /// Sessions so far.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed).into()
    }

    fn next_id(&self) -> u32 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    async fn stream(
        self: &Arc<Self>,
        mut session: Session,
        to: Destination,
        mut link: Link,
        mut reply: Option<Box<dyn Reply>>,
    ) {
        let Some(alive) = self.alive.upgrade() else {
            return;
        };
        // What is to be looked at comes after the answer.
        if session.looks_into_content()
            && let Some(reply) = reply.take()
            && reply::grant(&mut link, reply).await.is_err()
        {
            return link.close().await;
        }
        let is_user = session.user.is_some();
        let resolver = self.resolver.now();
        let (aim, sniffed) = sniff::stream(resolver.fakes(), &mut session, to, &mut link).await;
        drop(resolver);
        let asked = Asked::new(Network::Tcp, &aim);
        let Some(Chosen {
            mut outbound,
            known,
            by_rule,
            retries,
        }) = self.route(&session, asked).await
        else {
            return reply::refuse(link, reply, is_user, &Unreached::Rules).await;
        };
        self.log_accepted(&session, (&outbound, by_rule), Network::Tcp, &aim);
        if aim.is_lost() && outbound.goes_to(aim.asked()) {
            let error = outbound.log_forgotten(aim.asked());
            let why = Unreached::Target {
                to: aim.asked(),
                error: &error,
            };
            return reply::refuse(link, reply, is_user, &why).await;
        }
        // A plain request is its own session, and has its answer either way.
        let is_refused = reply
            .as_ref()
            .is_some_and(|reply| match reply.is_awaited() {
                true => outbound.protocol.refuses(),
                false => outbound.protocol.is_blackhole(),
            });
        if is_refused {
            return reply::refuse(link, reply, is_user, &Unreached::Rules).await;
        }
        let once_more = (retries > 0).then(|| Box::new((aim.clone(), retries)));
        let to = aim.to();
        let span = Span::current();
        span.record("to", display(&to));
        span.record("outbound", display(&*outbound));
        if let Some(portal) = outbound.protocol.portal()
            && portal.is_for_bridges(&to)
        {
            let first = sniffed.unwrap_or_default();
            let serving = self.serve_bridge(session, portal.clone(), link, first, reply);
            return serving.await;
        }
        let opening = self.open(&outbound, &to, &known, session.comer());
        let opening = self.watched(&outbound, opening);
        let waits = reply.as_ref().is_some_and(|reply| reply.is_awaited());
        let first_payload = outbound.first_payload();
        let (mut opened, mut first) = match sniffed {
            Some(first) => (opening.await, first),
            None if first_payload == FirstPayload::Apart => (opening.await, Vec::new()),
            None if waits => reply::meanwhile(&mut link, opening).await,
            None => tokio::join!(opening, first::payload(first_payload, &mut link)),
        };
        self.note(&outbound, &opened);
        if opened.is_err()
            && let Some(once_more) = once_more
        {
            let (aim, retries) = *once_more;
            let failed = (outbound, opened);
            let asking = self.open_once_more(&session, aim, failed, retries);
            (outbound, opened) = Box::pin(asking).await;
        }
        let (target, limits) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                outbound.log_open_error(&to, &e);
                let why = outbound.unreached(&to, &e);
                return reply::refuse(link, reply, is_user, &why).await;
            }
        };
        if let Some(reply) = reply {
            if reply::grant(&mut link, reply).await.is_err() {
                return target.close().await;
            }
            if waits && first.is_empty() && first_payload != FirstPayload::Apart {
                first = first::payload_after_answer(first_payload, &mut link).await;
            }
        }
        let target = target.with_first_byte();
        // Boxed, for most tunnels never need it; elsewhere the error names the target itself.
        let told = outbound.is_own_way().then(|| Box::new(to.clone()));
        let entered = self.list(&mut session, Network::Tcp);
        if let Some(entered) = &entered {
            entered.lead(outbound.called().into(), to);
        }
        let mut relay = Relay::new(link, target, first, self.allowance(&session, limits));
        let presence = session.presence.take();
        // In one place, and in none where nobody watches: a tunnel has little room.
        let seen = presence.is_some() || entered.is_some();
        let seen = seen.then(|| Box::new((presence, entered)));
        let kept = (seen, session.inbound.held.take());
        // A task of its own size: the one that shook hands was many times larger, and ends here.
        io::spawn(small(async move {
            let failure = outbound.log_ended((&mut relay).await, told.as_deref());
            if let Some(failure) = failure {
                // Boxed, or every tunnel would have the room for it from the beginning.
                Box::pin(relay.finish(failure)).await;
            }
            ended::one();
            drop((kept, alive));
        }));
    }

    /// Those who choose among outbounds hear whether this one's server was reached. What a server says of a target is no word
    /// about the server.
    fn note<T>(&self, outbound: &Outbound, opened: &std::io::Result<T>) {
        match opened {
            Ok(_) => self.tell(outbound, Outcome::Reached),
            Err(e) if is_of_target(e) => {}
            Err(e) => self.tell(outbound, Outcome::Failed(e.kind())),
        }
    }

    /// Those who choose among outbounds hear that this one's server was not reached, by what the outbound says that it goes through:
    /// what that one's server says of its target is a word about this server.
    fn note_unreached(&self, outbound: &Outbound, error: &std::io::Error) {
        let is_server = matches!(outbound.protocol, protocol::Outbound::Proxy(_));
        if is_server && is_of_target(error) {
            self.tell(outbound, Outcome::Failed(error.kind()));
        }
    }

    fn tell(&self, outbound: &Outbound, outcome: Outcome) {
        if let Some(tag) = &outbound.tag {
            let is_server = matches!(outbound.protocol, protocol::Outbound::Proxy(_));
            self.router.note(tag, outcome, is_server);
        }
    }

    /// Has a session among those that are shown to whoever watches, if anybody may; it counts for itself from then on.
    fn list(&self, session: &mut Session, network: Network) -> Option<Entered> {
        let live = &self.metrics.as_ref()?.live;
        session.traffic = std::mem::take(&mut session.traffic).part();
        let inbound = session.inbound.called();
        let (id, user) = (session.id, session.user.clone());
        let tunnel = Tunnel::new(id, network, session.source, user, inbound);
        Some(live.enter(session.traffic.clone(), tunnel))
    }

    /// Says which outbound carries a session. The access log has what was asked for, as V2Ray's does, unless
    /// the policy wants where it goes.
    fn log_accepted(
        &self,
        session: &Session,
        (outbound, by_rule): (&Outbound, bool),
        network: Network,
        aim: &Aim,
    ) {
        let user = session.user.as_deref();
        let to = match self.policy.read().system.override_access_log_dest {
            true => aim.ruled(),
            false => aim.asked(),
        };
        log::accepted(log::Accepted {
            session: session.id,
            by_rule,
            inbound_is_tagged: session.inbound.tag.is_some(),
            inbound: session
                .inbound
                .tag
                .as_deref()
                .or(session.inbound.name.as_deref()),
            source: session.source,
            network,
            to,
            outbound: (&outbound.name, outbound.tag.as_deref()),
            user,
        });
        let found = session.protocol.unwrap_or_default();
        debug!(%network, %to, found, named = %aim.ruled(), outbound = outbound.name, "session begins");
    }
}

/// Has the compiler refuse the task of a tunnel when it grows: an idle tunnel is little else.
fn small<F: Future>(task: F) -> F {
    const { assert!(size_of::<F>() <= 400) };
    task
}
