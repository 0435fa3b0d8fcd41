//! What `policy` grants to connections, sessions and handshakes.

use std::time::Duration;

use super::{Dispatcher, Origin, Session, reply};
use crate::cause::Unreached;
use crate::log;
use crate::policy::{Level, Limits, Seconds};
use crate::protocol::{Accepted, InboundContext};
use crate::relay::Allowance;
use crate::session::{Owner, Source};

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
            pace: session.pace(),
        }
    }

    /// What was accepted, if its user may have one more connection. A connection counts once, whatever it carries.
    pub(super) async fn let_in(
        &self,
        source: Source,
        inbound: &Origin,
        accepted: Accepted,
    ) -> Option<Accepted> {
        let (user, held) = match (&accepted, &inbound.held) {
            (Accepted::Sessions(_), _) | (_, None) => return Some(accepted),
            (Accepted::Stream { user, .. }, Some(held))
            | (Accepted::Request { user, .. }, Some(held))
            | (Accepted::Bind { user, .. }, Some(held))
            | (Accepted::Packets { user, .. }, Some(held)) => (user, held),
        };
        let policy = self.policy.now();
        let level = policy.level(user.as_ref().map_or(0, |user| user.level));
        if level.connections == 0 {
            return Some(accepted);
        }
        let owner = Owner::of(user.as_ref(), source);
        let Err(max) = held.belong_to(|| self.users.connect(&owner, level)) else {
            return Some(accepted);
        };
        let why = Unreached::Full(max);
        if let Some(metrics) = &self.metrics {
            let numbers = metrics.inbound(&inbound.called());
            numbers.refused_after_all("limit-user");
        }
        let (reason, email) = (why.to_string(), user.as_ref().and_then(|u| u.email.clone()));
        log::rejected(log::Rejected {
            inbound: &inbound.to_string(),
            source,
            user: email.as_deref(),
            reason: &reason,
            code: "limit-user",
        });
        match accepted {
            Accepted::Stream {
                user, link, reply, ..
            }
            | Accepted::Request {
                user, link, reply, ..
            } => reply::refuse(link, reply, user.is_some(), &why).await,
            Accepted::Bind { .. } | Accepted::Packets { .. } | Accepted::Sessions(_) => {}
        }
        None
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
