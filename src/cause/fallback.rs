//! What stands behind an inbound for strangers, and is not there.

use std::io;

use thiserror::Error;

use super::reason;

/// Nobody answers where `fallbacks` lead.
#[derive(Debug, Error)]
#[error("nobody answers at the fallback {to}: {}", reason(.source))]
pub struct FallbackError {
    /// `dest`.
    pub to: String,
    /// What the last attempt met.
    #[source]
    pub source: io::Error,
}

impl FallbackError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        "fallback-down"
    }
}
