//! What `policy` grants to connections, sessions and handshakes.

use std::time::Duration;

use super::{Dispatcher, Outbound, Session};
use crate::policy::{Level, Limits, Seconds};
use crate::{protocol, relay};

/// Datagrams to a `dns` outbound: each question tends to come from a port of its own, which asks no more.
/// V2Ray's UDP inbounds forget any source that has been silent for 8 to 24 s.
pub(super) const QUESTIONS: Limits = Limits {
    idle: Seconds(24),
    ..Level::DEFAULT.limits
};

impl Dispatcher {
    /// What connections to the inbound tagged `tag` are served under; its counters are there from now on.
    pub fn terms(&self, tag: Option<&str>) -> protocol::InboundContext {
        protocol::InboundContext {
            policy: self.policy.clone(),
            meter: self.counting.inbound(tag).of_inbound(),
            replays: self.replays.clone(),
        }
    }

    /// What the session is allowed by the level of its user and those of the outbounds it passes.
    pub(super) fn relay_terms(
        &self,
        session: &Session,
        outbound: Option<Limits>,
    ) -> relay::InboundContext {
        let level = self.policy.level(session.level());
        relay::InboundContext {
            limits: both(session.limits, outbound).unwrap_or(level.limits),
            read_max: level.buffer,
            traffic: session.traffic.clone(),
        }
    }

    /// How long the server of an account may take over the protocol's own handshake.
    pub(super) fn handshake(&self, outbound: &Outbound, account: usize) -> Duration {
        let level = outbound.protocol.level(account).unwrap_or_default();
        self.policy.level(level).handshake
    }

    /// The limits of an account's level; none where V2Ray watches nothing.
    pub(super) fn limits(&self, outbound: &Outbound, account: usize) -> Option<Limits> {
        let level = outbound.protocol.level(account)?;
        Some(self.policy.level(level).limits)
    }
}

/// What holds where both do.
pub(super) fn both(one: Option<Limits>, other: Option<Limits>) -> Option<Limits> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}
