//! A session: what one client wants of one place.

use std::fmt;
use std::sync::Arc;

use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::address::Destination;
use crate::limits::{Held, Pace, Share};
use crate::policy::Limits;
use crate::session::{Attributes, Comer, Entry, Owner, Source, User};
use crate::sniffing;
use crate::stats::{Presence, Traffic};

/// One session on its way.
#[derive(Clone)]
pub struct Session {
    pub(super) id: u32,
    pub(super) source: Source,
    pub(super) inbound: Origin,
    pub(super) user: Option<Arc<User>>,
    /// Of the user's level; none for a session inside a link that is watched itself.
    pub(super) limits: Option<Limits>,
    /// The user's counters.
    pub(super) traffic: Traffic,
    /// What the user shares among sessions, where that has bounds.
    pub(super) share: Option<Arc<Share>>,
    /// The user is online from where this comes from.
    pub(super) presence: Option<Arc<Presence>>,
    /// What it was found to carry.
    pub(super) protocol: Option<&'static str>,
    /// Of the request that it is.
    pub(super) attributes: Option<Arc<Attributes>>,
    /// A question of the built-in DNS itself, whose way it cannot be asked for.
    pub(super) is_own: bool,
}

/// The inbound that a session came in by.
#[derive(Clone, Default)]
pub struct Origin {
    /// What messages call it.
    pub name: Option<Arc<str>>,
    pub tag: Option<Arc<str>>,
    pub sniffing: Option<Arc<sniffing::Settings>>,
    /// This process itself made the connection, for a session that had come in before.
    pub from_here: bool,
    pub entry: Entry,
    /// The address of ours that it came to.
    pub local: Source,
    /// As [`Admission::vless_route`](crate::seam::Admission::vless_route).
    pub vless_route: u16,
    /// The places of its connection, which its sessions keep.
    pub held: Option<Arc<Held>>,
}

impl Origin {
    /// What numbers call it: its tag, or its place.
    pub(super) fn called(&self) -> Arc<str> {
        let called = self.tag.as_ref().or(self.name.as_ref());
        called.cloned().unwrap_or_default()
    }
}

/// As messages call it, and its tag.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.tag) {
            (Some(name), Some(tag)) => write!(f, "{name} ({tag})"),
            (Some(name), None) | (None, Some(name)) => f.write_str(name),
            (None, None) => Ok(()),
        }
    }
}

impl Session {
    /// The span of a stream to `to`: what is logged in it belongs to this session.
    pub(super) fn span(&self, to: &Destination) -> Span {
        debug_span!("session", id = self.id, %to, outbound = Empty)
    }

    /// Who its way is opened for.
    pub(super) fn comer(&self) -> Comer {
        Comer {
            entry: self.inbound.entry,
            source: Some(self.source),
        }
    }

    /// Whom its share of what sessions have in common is counted for.
    pub(super) fn owner(&self) -> Owner {
        Owner::of(self.user.as_ref(), self.source)
    }

    /// Whether the first bytes are to be looked at; those of a request are known.
    pub(super) fn looks_into_content(&self) -> bool {
        let sniffing = self.inbound.sniffing.as_ref();
        self.protocol.is_none() && sniffing.is_some_and(|sniffing| !sniffing.metadata_only)
    }

    /// How fast it may be, where anything bounds it.
    pub(super) fn pace(&self) -> Option<Box<Pace>> {
        let share = self.share.as_ref()?;
        Some(Box::new(Pace::new(share.clone())))
    }

    pub(super) fn level(&self) -> u32 {
        self.user.as_ref().map_or(0, |user| user.level)
    }
}
