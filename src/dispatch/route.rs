//! Asks the rules which outbound carries a session.

use std::io;
use std::net::IpAddr;

use tracing::{debug, warn};

use super::outbounds::Rarely;
use super::{Dispatcher, Origin, Session, Shared};
use crate::address::{Destination, Network};
use crate::dns::{Lookup, Strategy};
use crate::protocol::loopback;
use crate::routing::{Facts, Pick, Target};
use crate::session::Source;

/// A mistake in the rules may meet every session.
static COMPLAINTS: Rarely = Rarely::new();

/// How often `loopback` may send one session back to the rules; V2Ray would go round for ever.
const MAX_ROUNDS: usize = 16;

impl Dispatcher {
    /// The outbound that carries `session` to `to`; `None` when there is none at all. The name in `to` is
    /// resolved only if the rules want its addresses.
    pub(super) async fn route(
        &self,
        session: &Session,
        network: Network,
        to: &Destination,
    ) -> Option<Shared> {
        let mut by = self.ask(session, network, to).await?;
        for _ in 0..MAX_ROUNDS {
            let Some(loopback) = by.protocol.loopback() else {
                return Some(by);
            };
            self.note(session, &by, network, &to.clone().into());
            // What sniffing found is not known any more, as in V2Ray.
            let again = Session {
                inbound: origin(loopback),
                protocol: None,
                attributes: None,
                ..session.clone()
            };
            by = self.ask(&again, network, to).await?;
        }
        debug!(id = session.id, %to, "a session goes round");
        if COMPLAINTS.now() {
            warn!("the rules lead a session round in a circle of `loopback` outbounds");
        }
        None
    }

    /// What carries a stream that a `loopback` outbound is to carry; any other carries its own.
    pub(super) async fn past_loopback(&self, by: Shared, to: &Destination) -> io::Result<Shared> {
        let Some(loopback) = by.protocol.loopback() else {
            return Ok(by);
        };
        let session = self.session(Source::Unix, origin(loopback), None);
        let found = self.route(&session, Network::Tcp, to).await;
        found.ok_or_else(|| io::Error::other("the rules lead nowhere"))
    }

    /// What the rules say.
    async fn ask(&self, session: &Session, network: Network, to: &Destination) -> Option<Shared> {
        let facts = Facts {
            inbound: session.inbound.tag.as_deref(),
            source: session.source,
            network,
            to,
            user: session.user.as_ref().and_then(|u| u.email.as_deref()),
            protocol: session.protocol,
            attributes: session.attributes.as_deref(),
        };
        let mut pick = self.router.pick(&facts, None);
        if matches!(pick, Pick::NeedsIp) {
            let addresses = match session.is_own {
                true => Vec::new(),
                false => self.addresses(to).await,
            };
            pick = self.router.pick(&facts, Some(&addresses));
        }
        let tag = match pick {
            Pick::To(Target::Outbound(tag)) => Some(tag.clone()),
            Pick::To(Target::Balancer(balancer)) => {
                let tags = self.outbounds.tags();
                balancer.choose(tags.iter(), || getrandom::u32().unwrap_or_default())
            }
            Pick::Default | Pick::NeedsIp => None,
        };
        tag.and_then(|tag| self.tagged(&tag))
            .or_else(|| self.outbounds.first())
    }

    /// What a rule names may have been taken away; the first outbound stands in, as in V2Ray.
    fn tagged(&self, tag: &str) -> Option<Shared> {
        let outbound = self.outbounds.get(tag);
        if outbound.is_none() && COMPLAINTS.now() {
            warn!("no outbound is tagged `{tag}` any more, the first one carries a session of its");
        }
        outbound
    }

    /// All addresses of a name; a name without any is as good as one that no rule about addresses takes.
    async fn addresses(&self, to: &Destination) -> Vec<IpAddr> {
        match Lookup::new(&self.resolver, Strategy::UseIp)
            .resolve(to)
            .await
        {
            Ok(found) => found.iter().map(|addr| addr.ip().to_canonical()).collect(),
            Err(e) => {
                debug!(%to, "no rule about addresses can be asked: {e}");
                Vec::new()
            }
        }
    }
}

/// Where a session seems to come from that a `loopback` sends round.
fn origin(loopback: &loopback::Outbound) -> Origin {
    Origin {
        tag: loopback.inbound(),
        sniffing: None,
    }
}
