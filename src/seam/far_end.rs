//! The server of an outbound, as far as it is known before it answers.

use std::sync::Arc;

use crate::io::PeerClock;

/// What an outbound knows of its server when it asks it for something.
#[derive(Clone, Debug, Default)]
pub struct FarEnd {
    /// What messages call the outbound.
    pub outbound: Arc<str>,
    /// There where the carrier hears of a clock.
    pub clock: Option<Arc<PeerClock>>,
}
