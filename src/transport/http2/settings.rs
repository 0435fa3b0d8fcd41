//! What connections of either carrier are told.

use std::time::Duration;

/// When the other end is asked whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// The time between two questions.
    pub period: Duration,
    /// How long an answer may take; 20 s is the default.
    pub limit: Duration,
    /// Also on a connection that carries no tunnel.
    pub without_stream: bool,
}

impl Default for Pings {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(10),
            limit: Duration::from_secs(20),
            without_stream: false,
        }
    }
}
