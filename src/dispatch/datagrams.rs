//! The datagrams of one source, spread over the flows that carry them.
//!
//! Each destination is routed by itself, so the datagrams of one source may leave by several outbounds.
//! An outbound either sends to anyone (freedom, SOCKS: one flow) or to one destination each (VMess: a
//! flow for every destination). All flows of a source live in one task; it ends when the inbound ends
//! or nothing has moved for as long as `connIdle` of its user's level says; where the inbound can begin
//! another one unnoticed, already when all flows have ended.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};
use tracing::{debug, debug_span, trace};

use super::flow::{Flow, Target};
use super::mux::FlowScope;
use super::sniff::{PendingRoute, Route};
use super::udp_quota::{QuotaSlot, Task};
use super::{Dispatcher, OutboundRef, Session};
use crate::address::{Destination, Network};
use crate::io::{Packet, Packets, coop};
use crate::limits::Pace;
use crate::metrics::live::Entered;

/// How often idle flows are looked for, at least.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Flows of one source; a further destination takes the place of the one that was silent longest.
const MAX_FLOWS: usize = 256;

/// Destinations of one source whose outbounds are remembered.
const MAX_ROUTES: usize = 1024;

/// Datagrams of one direction before other tasks get their turn.
const PACKETS_A_TURN: usize = 64;

pub(super) struct Association {
    dispatcher: Arc<Dispatcher>,
    session: Session,
    inbound: Box<dyn Packets>,
    flows: HashMap<Key, Flow>,
    /// How to every destination that was met, until a flow to it ends.
    routes: HashMap<Destination, Route>,
    /// Destinations whose route is being asked for.
    asking: HashMap<Destination, PendingRoute>,
    /// An answer that the inbound has not taken yet.
    stuck: Option<Packet>,
    task: Arc<Task>,
    slot: QuotaSlot,
    /// How fast it may be; there where anything bounds that.
    pace: Option<Box<Pace>>,
    /// It is among the tunnels that are shown, if any are.
    entered: Option<Entered>,
    /// How long it may be silent.
    idle: Duration,
    active: Instant,
    sweep: Pin<Box<Sleep>>,
}

/// The outbound, and the destination unless one flow carries everything.
type Key = (OutboundRef, Option<Destination>);

impl Association {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        mut session: Session,
        inbound: Box<dyn Packets>,
    ) -> Self {
        let entered = dispatcher.list(&mut session, Network::Udp);
        let idle = dispatcher
            .policy
            .read()
            .level(session.level())
            .limits
            .idle
            .into();
        let task = Arc::<Task>::default();
        let slot = dispatcher
            .udp_quota
            .take(&session.owner(), &task, inbound.descriptors().max(1));
        Self {
            pace: session.pace(),
            entered,
            dispatcher,
            session,
            inbound,
            flows: HashMap::new(),
            routes: HashMap::new(),
            asking: HashMap::new(),
            stuck: None,
            task,
            slot,
            idle,
            active: Instant::now(),
            sweep: Box::pin(sleep(idle.min(SWEEP_EVERY))),
        }
    }

    /// From the inbound into the flows; ready when the inbound has ended.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..PACKETS_A_TURN {
            if self.pace.as_mut().is_some_and(|pace| pace.up(cx) == 0) {
                self.touch();
                return Poll::Pending;
            }
            match ready!(self.inbound.poll_recv(cx)) {
                Ok(Some(packet)) => {
                    self.session.traffic.add_uplink(packet.data.len());
                    if let Some(pace) = &mut self.pace {
                        pace.spend_up(packet.data.len());
                    }
                    self.send(packet);
                }
                Ok(None) => return Poll::Ready(()),
                Err(e) => {
                    debug!("datagrams ended: {e}");
                    return Poll::Ready(());
                }
            }
        }
        coop::yield_now(cx);
        Poll::Pending
    }

    fn send(&mut self, packet: Packet) {
        self.touch();
        if let Some(route) = self.routes.get(&packet.peer) {
            let holds = route.holds(self.dispatcher.resolver.read().fakes(), &packet.peer);
            if holds {
                let route = route.clone();
                return self.send_by(&route, packet);
            }
            // The made-up address stands for another name, and so do its answers.
            self.routes.remove(&packet.peer);
            let peer = Some(&packet.peer);
            self.flows.retain(|(_, asked), _| asked.as_ref() != peer);
        }
        if !self.asking.contains_key(&packet.peer) {
            if self.asking.len() >= MAX_FLOWS {
                return;
            }
            let asking = PendingRoute::new(&self.dispatcher, &self.session, packet.peer.clone());
            self.asking.insert(packet.peer.clone(), asking);
        }
        if let Some(asking) = self.asking.get_mut(&packet.peer) {
            asking.push(&self.dispatcher, &self.session, packet);
        }
    }

    /// A datagram went by.
    fn touch(&mut self) {
        self.active = Instant::now();
        self.slot.touch(self.active);
    }

    /// Sends on what waited for its route.
    fn poll_routes(&mut self, cx: &mut Context<'_>) {
        let mut found = Vec::new();
        for (to, asking) in &mut self.asking {
            if let Poll::Ready(route) = asking.poll(cx, &self.dispatcher, &self.session) {
                found.push((to.clone(), route, std::mem::take(&mut asking.waiting)));
            }
        }
        for (to, route, waiting) in found {
            self.asking.remove(&to);
            let Some(route) = route else { continue };
            if self.routes.len() >= MAX_ROUTES {
                self.routes.clear();
            }
            self.routes.insert(to, route.clone());
            for packet in waiting {
                self.send_by(&route, packet);
            }
        }
    }

    fn send_by(&mut self, route: &Route, mut packet: Packet) {
        let mut asked = None;
        if let Some(to) = &route.to {
            asked = Some(std::mem::replace(&mut packet.peer, to.clone()));
        }
        if let Some(at) = &route.at {
            packet.peer = at.clone();
        }
        let key = match (
            self.dispatcher.flow_scope(&route.outbound, &packet.peer),
            &asked,
        ) {
            (FlowScope::Closed, _) => {
                trace!(id = self.session.id, to = %packet.peer, "dropped: mux.xudpProxyUDP443");
                return;
            }
            // Only a flow of its own can tell whose place the answers' source has taken.
            (_, Some(asked)) => (route.outbound.clone(), Some(asked.clone())),
            (FlowScope::Own, None) => (route.outbound.clone(), Some(packet.peer.clone())),
            (FlowScope::Shared, None) => (route.outbound.clone(), None),
        };
        if !self.flows.contains_key(&key) {
            self.make_room();
            // Two flows by one outbound must not be taken for one association.
            let id = match asked {
                Some(_) => self.dispatcher.next_id(),
                None => self.session.id,
            };
            let outbound = key.0.clone();
            if let Some(entered) = &self.entered {
                entered.lead(outbound.called().into(), packet.peer.clone());
            }
            let target = Target {
                to: packet.peer.clone(),
                asked,
                known: route.known.clone(),
                entry: self.session.inbound.entry,
            };
            let slot = self
                .dispatcher
                .udp_quota
                .take(&self.session.owner(), &self.task, 1);
            let flow = Flow::open(&self.dispatcher, id, outbound, target, slot, self.idle);
            self.flows.insert(key.clone(), flow);
        }
        if let Some(flow) = self.flows.get_mut(&key)
            && let Err(e) = flow.push(&self.dispatcher, &key.0, packet, self.active)
        {
            key.0.warn(&e);
        }
    }

    fn make_room(&mut self) {
        if self.flows.len() < MAX_FLOWS {
            return;
        }
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.active);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.flows.remove(&key);
        }
    }

    /// Moves what waits into the flows, and answers out of them; ready when the inbound has ended.
    fn poll_flows(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut over = Vec::new();
        let Ok(mut blocked) = self.poll_stuck(cx) else {
            return Poll::Ready(());
        };
        for (key, flow) in &mut self.flows {
            if flow.slot.is_gone() {
                trace!("a flow gives way to another one");
                over.push(key.clone());
                continue;
            }
            if let Err(e) = flow.poll_send(cx) {
                let (outbound, to) = key;
                let to = to.as_ref().or_else(|| flow.next_peer());
                if let Some(to) = to {
                    let flow = debug_span!("flow", %to, outbound = %**outbound);
                    flow.in_scope(|| outbound.log_open_error(to, &e));
                }
                over.push(key.clone());
                continue;
            }
            for turn in 0.. {
                if blocked {
                    break;
                }
                if self.pace.as_mut().is_some_and(|pace| pace.down(cx) == 0) {
                    self.active = Instant::now();
                    flow.touch(self.active);
                    blocked = true;
                    break;
                }
                if turn == PACKETS_A_TURN {
                    coop::yield_now(cx);
                    break;
                }
                match flow.poll_recv(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(Some(packet))) => {
                        self.session.traffic.add_downlink(packet.data.len());
                        if let Some(pace) = &mut self.pace {
                            pace.spend_down(packet.data.len());
                        }
                        self.active = Instant::now();
                        self.slot.touch(self.active);
                        flow.touch(self.active);
                        match self.inbound.poll_send(cx, &packet) {
                            Poll::Ready(Ok(())) => {}
                            Poll::Ready(Err(_)) => return Poll::Ready(()),
                            Poll::Pending => {
                                self.stuck = Some(packet);
                                blocked = true;
                            }
                        }
                    }
                    Poll::Ready(ended) => {
                        if let Err(e) = ended {
                            debug!("a flow of datagrams ended: {e}");
                        }
                        over.push(key.clone());
                        break;
                    }
                }
            }
        }
        for key in over {
            self.flows.remove(&key);
            // The rules, and their balancers, may see the next datagram elsewhere.
            let (ended, to) = key;
            self.routes.retain(|peer, route| {
                route.outbound != ended || to.as_ref().is_some_and(|to| to != peer)
            });
        }
        Poll::Pending
    }

    /// Gives the inbound what it did not take before; `true` while it still does not. An error means
    /// that the inbound has ended.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(packet) = &self.stuck else {
            return Ok(false);
        };
        match self.inbound.poll_send(cx, packet) {
            Poll::Pending => Ok(true),
            Poll::Ready(Ok(())) => {
                self.stuck = None;
                Ok(false)
            }
            Poll::Ready(Err(e)) => Err(e),
        }
    }

    /// Forgets idle flows; ready when the whole association is idle.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sweep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let due = self.active + self.idle;
            if due <= now {
                return Poll::Ready(());
            }
            self.flows.retain(|_, flow| flow.active + flow.idle > now);
            let is_empty = self.flows.is_empty() && self.asking.is_empty();
            if is_empty && self.inbound.is_connectionless() {
                return Poll::Ready(());
            }
            let live: Vec<OutboundRef> = self
                .flows
                .keys()
                .map(|(outbound, _)| outbound.clone())
                .collect();
            self.routes
                .retain(|_, route| live.contains(&route.outbound));
            let flows = self.flows.values().map(|flow| flow.active + flow.idle);
            let due = flows.fold(due, Instant::min);
            self.sweep.as_mut().reset(due.min(now + SWEEP_EVERY));
        }
        Poll::Pending
    }
}

impl Future for Association {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.task.register(cx);
        if this.slot.is_gone() {
            debug!(
                id = this.session.id,
                "an association gives way to another one of its user"
            );
            return Poll::Ready(());
        }
        if this.poll_up(cx).is_ready() {
            return Poll::Ready(());
        }
        this.poll_routes(cx);
        if this.poll_flows(cx).is_ready() || this.poll_idle(cx).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Origin, Outbound, Parts};
    use crate::dns::Resolver;
    use crate::protocol::{OutboundSettings, ProtocolState, dns};
    use crate::session::Source;
    use crate::{protocol, transport};
    use bytes::Bytes;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test(start_paused = true)]
    async fn a_source_that_asks_no_more_is_soon_forgotten_where_it_can_come_again() {
        for (is_connectionless, at_least, at_most) in [(true, 24, 60), (false, 300, 330)] {
            let (_alive, gone) = associate(is_connectionless);
            let begin = Instant::now();
            let _ = gone.await;
            let secs = begin.elapsed().as_secs();
            assert!((at_least..=at_most).contains(&secs), "{secs} s");
        }
    }

    /// An association by a `dns` outbound that was asked once; the end says when it has ended.
    fn associate(is_connectionless: bool) -> (mpsc::Sender<()>, oneshot::Receiver<()>) {
        let dns = OutboundSettings::Dns(dns::OutboundSettings {
            others: dns::Act::Drop,
            ..dns::OutboundSettings::default()
        });
        let (transport, protocol) = (transport::Outbound::default(), protocol::Outbound::new(dns));
        let parts = Parts {
            outbounds: vec![Outbound::new(transport, protocol)],
            router: Default::default(),
            resolver: Resolver::default(),
            policy: Default::default(),
            limits: Default::default(),
            metrics: None,
            count: false,
            state: ProtocolState::default(),
        };
        let (alive, _) = mpsc::channel(1);
        let dispatcher = Dispatcher::new(parts, alive.downgrade());
        let (ended, gone) = oneshot::channel();
        let source = Asker {
            question: Some(Packet {
                peer: "192.0.2.1:53".parse().unwrap(),
                data: Bytes::from_static(b"not for addresses"),
            }),
            is_connectionless,
            _ended: ended,
        };
        let session = dispatcher.session(Source::Unix, Origin::default(), None);
        dispatcher.packets(session, Box::new(source));
        (alive, gone)
    }

    struct Asker {
        question: Option<Packet>,
        is_connectionless: bool,
        _ended: oneshot::Sender<()>,
    }

    impl Packets for Asker {
        fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
            match self.question.take() {
                Some(question) => Poll::Ready(Ok(Some(question))),
                None => Poll::Pending,
            }
        }

        fn poll_send(&mut self, _cx: &mut Context<'_>, _: &Packet) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn is_connectionless(&self) -> bool {
            self.is_connectionless
        }
    }
}
