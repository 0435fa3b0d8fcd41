//! Why somebody does not get in.

use std::fmt;

use thiserror::Error;

/// A limit is reached.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{limit}, {max}, the most that `limits.{}` of {scope} allows", .limit.key())]
pub struct Full {
    /// What there is enough of.
    pub limit: Limit,
    /// Where the bound was set.
    pub scope: Scope,
    /// The bound.
    pub max: u32,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Open connections.
    Connections,
    /// Those of one source.
    PerSource,
    /// Those that have yet to say who they are.
    Handshakes,
}

/// Whose limits they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `limits` at the top level.
    Process,
    /// Those of the inbound itself.
    Inbound,
}

impl Limit {
    /// As configs have it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::PerSource => "perSource",
            Self::Handshakes => "handshakes",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "so many connections are open already",
            Self::PerSource => "so many connections of this source are open already",
            Self::Handshakes => "so many handshakes are unfinished already",
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "the process",
            Self::Inbound => "the inbound",
        })
    }
}
