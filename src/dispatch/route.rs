//! Asks the rules which outbound carries a session.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::{debug, warn};

use super::{Dispatcher, Session, Shared};
use crate::address::{Destination, Network};
use crate::dns::{self, Strategy};
use crate::routing::{Facts, Pick, Target};
use crate::session::{Attributes, Source};

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
        let facts = Facts {
            inbound: session.inbound.tag.as_deref(),
            source: session.source,
            network,
            to,
            user: session.user.as_ref().and_then(|u| u.email.as_deref()),
            protocol: session.protocol,
            attributes: session.attributes.as_deref(),
        };
        let picked = self.ask(&facts, None).await;
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
            pick = self.router.pick(facts, Some(&addresses(facts.to).await));
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
            warn!("no outbound is tagged `{tag}` any more, the first one carries a session of its");
        }
        outbound
    }
}

/// All addresses of a name; a name without any is as good as one that no rule about addresses takes.
async fn addresses(to: &Destination) -> Vec<IpAddr> {
    match dns::resolve(to, Strategy::UseIp).await {
        Ok(found) => found.iter().map(|addr| addr.ip().to_canonical()).collect(),
        Err(e) => {
            debug!(%to, "no rule about addresses can be asked: {e}");
            Vec::new()
        }
    }
}
