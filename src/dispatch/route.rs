//! Asks the rules which outbound carries a session.

use std::net::IpAddr;

use tracing::{debug, warn};

use super::{Dispatcher, Session, Shared};
use crate::address::{Destination, Network};
use crate::dns::{self, Strategy};
use crate::routing::{Facts, Pick, Target};

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
        let mut pick = self.router.pick(&facts, None);
        if matches!(pick, Pick::NeedsIp) {
            pick = self.router.pick(&facts, Some(&addresses(to).await));
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
