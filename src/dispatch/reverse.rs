//! Reverse tunnels: a bridge's way to its portal, the sessions that come out of it, and the links that come to a portal.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::duplex;
use tokio::sync::mpsc;
use tracing::{Instrument, debug};

use super::open::Opened;
use super::route::{Asked, Chosen};
use super::{Dispatcher, Origin, Outbound, Session, reply};
use crate::address::{Destination, Network};
use crate::cause::ReverseError;
use crate::dns;
use crate::io::{Counted, Link, Packets, Prefixed, ended};
use crate::policy::Limits;
use crate::reverse::{BridgeHost, BridgeSettings, DialFuture, NoWay, Portal};
use crate::seam::{Accepted, Reply};
use crate::session::{Entry, Owner, Source};

/// What a link of this process to itself holds in each direction.
const BUFFERED: usize = 64 * 1024;

impl Dispatcher {
    /// Where bridges stand.
    pub fn bridge_host(self: &Arc<Self>) -> Arc<dyn BridgeHost> {
        Arc::new(Host(self.clone()))
    }

    /// A link that a bridge has made to `portal`; `first` was read from it already.
    pub(super) async fn serve_bridge(
        &self,
        mut session: Session,
        portal: Arc<Portal>,
        mut link: Link,
        first: Vec<u8>,
        reply: Option<Box<dyn Reply>>,
    ) {
        if let Some(reply) = reply
            && reply::grant(&mut link, reply).await.is_err()
        {
            return link.close().await;
        }
        let link = Prefixed::link(first.into(), link);
        let link = Counted::link(link, session.traffic.clone().of_inbound());
        let idle = self.allowance(&session, None).limits.idle.into();
        let kept = (session.presence.take(), session.inbound.held.take());
        let source = session.source;
        // The service may stop while it is there: it has no end of its own.
        crate::io::spawn(async move {
            portal.serve(link, idle, source).await;
            ended::one();
            drop(kept);
        });
    }

    /// A stream by a portal, or the link of a bridge in this process.
    pub(super) fn stream_at_portal(
        &self,
        portal: &Arc<Portal>,
        outbound: &Outbound,
        to: &Destination,
    ) -> io::Result<Opened<Link>> {
        if portal.is_for_bridges(to) {
            let (ours, theirs) = duplex(BUFFERED);
            let (portal, idle) = (portal.clone(), Limits::default().idle.into());
            let source = Source::Unix;
            crate::io::spawn(async move { portal.serve(Link::other(theirs), idle, source).await });
            return Ok((Link::other(ours), None));
        }
        let link = portal.stream(to)?;
        Ok((Counted::link(link, outbound.traffic().of_outbound()), None))
    }

    /// Datagrams by a portal.
    pub(super) fn packets_at_portal(
        portal: &Portal,
        outbound: &Outbound,
        to: &Destination,
    ) -> io::Result<Opened<Box<dyn Packets>>> {
        let packets = portal.packets(to)?;
        let meter = outbound.traffic().of_outbound();
        Ok((Counted::packets(packets, meter), None))
    }

    /// A link to the portal of `bridge`, as a session of its own.
    async fn dial_portal(
        self: &Arc<Self>,
        bridge: &BridgeSettings,
    ) -> Result<(Link, std::time::Duration), NoWay> {
        let mut inbound = origin(bridge);
        inbound.from_here = true;
        let session = self.session(Source::Unix, inbound, None);
        let to = bridge.destination();
        let span = session.span(&to);
        let dialling = async {
            let aim = to.clone().into();
            let chosen = self.route(&session, Asked::new(Network::Tcp, &aim)).await;
            let Some(Chosen {
                outbound, known, ..
            }) = chosen
            else {
                return Err(io::Error::from(ReverseError::Nowhere).into());
            };
            debug!(outbound = outbound.name, "a bridge dials its portal");
            let failed = |error| NoWay {
                outbound: Some(outbound.to_string()),
                error,
            };
            let goes_astray = match outbound.protocol.straight(&to) {
                // Nothing listens on port 0.
                Some(target) => target.port == 0,
                None => outbound.protocol.is_blackhole(),
            };
            if goes_astray {
                let domain = bridge.domain.clone();
                return Err(failed(ReverseError::Astray { domain }.into()));
            }
            let opened = self.open(&outbound, &to, &known, Entry::Local).await;
            let (link, limits) = opened.map_err(failed)?;
            Ok((link, limits.unwrap_or_default().idle.into()))
        };
        dns::asking(Owner::Process, dialling).instrument(span).await
    }
}

/// The inbound that a bridge's sessions seem to have come by.
fn origin(bridge: &BridgeSettings) -> Origin {
    Origin {
        name: Some(bridge.at.to_string().into()),
        tag: Some(bridge.tag.clone()),
        sniffing: None,
        held: None,
        from_here: false,
        // What stands beside the bridge is what it is there for.
        entry: Entry::Local,
        local: Source::Unix,
        vless_route: 0,
    }
}

struct Host(Arc<Dispatcher>);

impl BridgeHost for Host {
    fn dial(&self, bridge: &BridgeSettings) -> DialFuture {
        let (dispatcher, bridge) = (self.0.clone(), bridge.clone());
        Box::pin(async move { dispatcher.dial_portal(&bridge).await })
    }

    fn carry(
        &self,
        bridge: &BridgeSettings,
        sessions: mpsc::Receiver<Accepted>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let sessions = Accepted::Sessions(sessions);
        self.0
            .clone()
            .dispatch(Source::Unix, origin(bridge), sessions)
    }
}
