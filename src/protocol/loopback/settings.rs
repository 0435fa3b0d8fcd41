//! What a `loopback` outbound can be told.

#![warn(missing_docs)]

use std::sync::Arc;

/// `settings` of a `loopback` outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundSettings {
    /// The `inboundTag` that the rules see next.
    pub inbound: Option<Arc<str>>,
}
