//! loopback: a session goes through the rules once more, as if it had come in by another inbound.
//!
//! So a rule may first give sessions a name of their own, and others decide about that name. Nothing is
//! dialled and nothing wrapped; `dispatch` asks the rules again.

mod settings;

pub use settings::OutboundSettings;

use std::io;
use std::sync::Arc;

pub struct Outbound(OutboundSettings);

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(settings)
    }
}

impl Outbound {
    /// The tag that the rules see next.
    pub fn inbound(&self) -> Option<Arc<str>> {
        self.0.inbound.clone()
    }
}

/// `dispatch` asks the rules before it opens anything but a mux session, of which a `loopback` has none.
pub fn carries_nothing() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a `loopback` outbound carries nothing itself",
    )
}
