//! Asks the rules which outbound carries a session.

use std::net::IpAddr;

use tracing::debug;

use super::{Dispatcher, Session};
use crate::address::{Destination, Network};
use crate::dns::{self, Strategy};
use crate::routing::{Facts, Pick};

impl Dispatcher {
    /// The index of the outbound that carries `session` to `to`. The name in `to` is resolved only if
    /// the rules want its addresses.
    pub(super) async fn route(
        &self,
        session: &Session,
        network: Network,
        to: &Destination,
    ) -> usize {
        let facts = Facts {
            inbound: session.inbound.as_deref(),
            source: session.source,
            network,
            to,
            user: session.user.as_ref().and_then(|u| u.email.as_deref()),
            protocol: None,
            random: || getrandom::u32().unwrap_or_default(),
        };
        let mut pick = self.router.pick(&facts, None);
        if pick == Pick::NeedsIp {
            pick = self.router.pick(&facts, Some(&addresses(to).await));
        }
        match pick {
            Pick::Outbound(index) => index,
            Pick::Default | Pick::NeedsIp => 0,
        }
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
