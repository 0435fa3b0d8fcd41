//! How tunnels end.

use std::fmt;
use std::io;
use std::time::Duration;

/// How a tunnel ended: bytes carried, and what went wrong if something did.
#[derive(Debug)]
pub struct Ended {
    pub up: u64,
    pub down: u64,
    pub error: Option<Failure>,
}

/// What ended a tunnel before its time.
#[derive(Debug)]
pub enum Failure {
    /// The side that asked for the session.
    Client(io::Error),
    /// The side that was asked for.
    Target(io::Error),
    /// Nothing moved for this long.
    Idle(Duration),
    /// Nothing moved for this long after one direction had ended.
    HalfClosed(Duration),
}

impl Failure {
    /// Whether this is the everyday end of a connection, which nobody needs to look into.
    pub fn is_usual(&self) -> bool {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
        };
        match self {
            Self::Client(e) | Self::Target(e) => matches!(
                e.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            ),
            Self::Idle(_) | Self::HalfClosed(_) => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(e) => write!(f, "client side: {e}"),
            Self::Target(e) => write!(f, "target side: {e}"),
            Self::Idle(limit) => write!(f, "silent for {} s", limit.as_secs()),
            Self::HalfClosed(limit) => {
                write!(f, "half closed, and silent for {} s", limit.as_secs())
            }
        }
    }
}
