//! loopback: a session goes through the rules once more, as if it had come in by another inbound.
//!
//! So a rule may first give sessions a name of their own, and others decide about that name. Nothing is
//! dialled and nothing dressed; `dispatch` asks the rules again.

use std::io;
use std::sync::Arc;

use crate::json::Object;

pub struct Outbound {
    inbound: Option<Arc<str>>,
}

impl Outbound {
    pub fn read(settings: &Object) -> Option<Self> {
        let tag = settings.read("inboundTag");
        let inbound = tag.filter(|tag: &String| !tag.is_empty()).map(Arc::from);
        if inbound.is_none() {
            settings.node.warn(
                "`inboundTag` is missing, sessions go through the rules once more without an inbound",
            );
        }
        Some(Self { inbound })
    }

    /// The tag that the rules see next.
    pub fn inbound(&self) -> Option<Arc<str>> {
        self.inbound.clone()
    }
}

/// `dispatch` asks the rules before it opens anything.
pub(super) fn carries_nothing() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a `loopback` outbound carries nothing itself",
    )
}
