//! Asks the rules which outbound carries a session.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::debug;

use super::{Dispatcher, Origin, Session, Shared};
use crate::address::{Destination, Network};
use crate::dns::{Lookup, Strategy};
use crate::log;
use crate::protocol::loopback;
use crate::routing::{Facts, Pick, Target};
use crate::session::{Attributes, Source};

/// How often `loopback` may send one session back to the rules; V2Ray would go round for ever.
const MAX_ROUNDS: usize = 16;

/// What was asked of the rules, and what came of it.
#[derive(Clone, Debug)]
pub struct Routed {
    pub inbound: Option<String>,
    pub source: Source,
    pub network: Network,
    pub to: Destination,
    pub user: Option<String>,
    pub protocol: Option<String>,
    pub attributes: Attributes,
    pub outbound: Option<Arc<str>>,
    pub balancer: Option<String>,
}

impl Dispatcher {
    /// The outbound that carries `session` to `to`; `None` when there is none at all. The name in `to` is
    /// resolved only if the rules want its addresses.
    pub(super) async fn route(
        &self,
        session: &Session,
        network: Network,
        to: &Destination,
    ) -> Option<Shared> {
        let mut by = self.pick(session, network, to).await?;
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
            by = self.pick(&again, network, to).await?;
        }
        debug!(id = session.id, %to, "a session goes round");
        log::repeated("the rules lead a session round in a circle of `loopback` outbounds");
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

    /// What the rules say; those who watch are told.
    async fn pick(&self, session: &Session, network: Network, to: &Destination) -> Option<Shared> {
        let facts = Facts {
            inbound: session.inbound.tag.as_deref(),
            source: session.source,
            network,
            to,
            user: session.user.as_ref().and_then(|u| u.email.as_deref()),
            protocol: session.protocol,
            attributes: session.attributes.as_deref(),
        };
        // A question of our own does not wait for other names.
        let resolved = session.is_own.then_some(&[][..]);
        let picked = self.ask(&facts, resolved).await;
        let (tag, balancer) = picked.unwrap_or_default();
        let outbound = tag
            .and_then(|tag| self.tagged(&tag))
            .or_else(|| self.outbounds.first());
        if self.routed.receiver_count() > 0 {
            let tag = outbound.as_ref().and_then(|o| o.tag.clone());
            self.publish(&facts, tag, balancer);
        }
        outbound
    }

    /// The tag that the rules give a session, and the balancer that chose it; `None` when no rule takes
    /// it. `resolved` are the addresses of the name, if they are known already.
    pub async fn ask(
        &self,
        facts: &Facts<'_>,
        resolved: Option<&[IpAddr]>,
    ) -> Option<(Option<Arc<str>>, Option<String>)> {
        let mut pick = self.router.pick(facts, resolved);
        if matches!(pick, Pick::NeedsIp) {
            pick = self
                .router
                .pick(facts, Some(&self.addresses(facts.to).await));
        }
        match pick {
            Pick::To(Target::Outbound(tag)) => Some((Some(tag.clone()), None)),
            Pick::To(Target::Balancer(balancer)) => {
                let tags = self.outbounds.tags();
                let random = || getrandom::u32().unwrap_or_default();
                let tag = balancer.choose(tags.iter(), random);
                Some((tag, Some(balancer.tag.clone())))
            }
            Pick::Default | Pick::NeedsIp => None,
        }
    }

    /// Tells whoever watches the rules at work.
    pub fn publish(&self, facts: &Facts, outbound: Option<Arc<str>>, balancer: Option<String>) {
        let routed = Routed {
            inbound: facts.inbound.map(str::to_owned),
            source: facts.source,
            network: facts.network,
            to: facts.to.clone(),
            user: facts.user.map(str::to_owned),
            protocol: facts.protocol.map(str::to_owned),
            attributes: facts.attributes.cloned().unwrap_or_default(),
            outbound,
            balancer,
        };
        // Nobody may be watching any more.
        let _ = self.routed.send(Arc::new(routed));
    }

    /// What a rule names may have been taken away; the first outbound stands in, as in V2Ray.
    fn tagged(&self, tag: &str) -> Option<Shared> {
        let outbound = self.outbounds.get(tag);
        if outbound.is_none() {
            log::repeated(&format!(
                "no outbound is tagged `{tag}` any more, the first one carries a session of its"
            ));
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
