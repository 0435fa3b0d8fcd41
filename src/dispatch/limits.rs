//! What `policy` grants to connections, sessions and handshakes.

use std::time::Duration;

use super::{Dispatcher, Session};
use crate::policy::{Level, Limits, Seconds};
use crate::protocol::InboundContext;
use crate::relay::Allowance;

/// Datagrams to a `dns` outbound: each question tends to come from a port of its own, which asks no more.
/// V2Ray's UDP inbounds forget any source that has been silent for 8 to 24 s.
pub(super) const QUESTIONS: Limits = Limits {
    idle: Seconds(24),
    ..Level::DEFAULT.limits
};

impl Dispatcher {
    /// What connections to the inbound tagged `tag` are served under; its counters are there from now on.
    pub fn inbound_context(&self, tag: Option<&str>) -> InboundContext {
        InboundContext {
            policy: self.policy.now(),
            meter: self.counting.read().inbound(tag).of_inbound(),
            state: self.state.clone(),
        }
    }

    /// What the session is allowed by the level of its user and those of the outbounds it passes.
    pub(super) fn allowance(&self, session: &Session, outbound: Option<Limits>) -> Allowance {
        let policy = self.policy.read();
        let level = policy.level(session.level());
        Allowance {
            limits: both(session.limits, outbound).unwrap_or(level.limits),
            read_max: level.buffer,
            traffic: session.traffic.clone(),
        }
    }

    /// How long a server may take over the protocol's own handshake.
    pub(super) fn handshake(&self, level: u32) -> Duration {
        self.policy.read().level(level).handshake
    }

    pub(super) fn limits(&self, level: u32) -> Limits {
        self.policy.read().level(level).limits
    }
}

/// What holds where both do.
pub(super) fn both(one: Option<Limits>, other: Option<Limits>) -> Option<Limits> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}
