//! Programs of a front, in JavaScript, that are run for each node: `media` ones (`TEST_SCRIPT`), and those that know where addresses are
//! (`ip`).
//!
//! ```text
//! this process                              a process for each script
//! host ── frames over two pipes ──────────▶ runner ─▶ engine (QuickJS, prelude.js)
//!      ◀─ fetch, netcat ──── `ask` ────────
//!      ── what came through the node ─────▶
//!      ◀─ what its function gave back ─────
//! ```
//!
//! An engine cannot be stopped everywhere: a search for one long text in another is one call. A process can be, and whatever a
//! script makes of the engine in it is over with it. It has two pipes and may open no file and no socket; what it wants of the
//! network it asks for, and gets through the node.

mod engine;
mod frames;
mod host;
mod runner;

pub use host::{About, Runner, addresses, location, run};
pub use runner::{WORD, main};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::ProxyInfo;
use super::measure::{Fetch, Netcat};

/// What a process is told to do.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    /// The program.
    content: String,
    /// What is asked of it.
    question: Question,
    /// The node that it is about.
    proxy: ProxyInfo,
    /// How long it may take, in milliseconds.
    millis: u64,
}

/// What is asked of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    /// `handler()`: what a front is told of the node.
    Node,
    /// `ip_resolve()`, or else `ip_resolve_default()`: a list of the addresses under which the node's sessions come.
    Addresses,
    /// `handler(ip)`: where an address is.
    Location(String),
}

/// What a process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ask {
    /// It wants a page.
    Fetch(Fetch),
    /// It wants to say something somewhere, and to hear the answer.
    Netcat(Netcat),
    /// It is done; what was given back, as JSON, or nothing.
    Done(String),
}

/// How long a script may take that asks for so many milliseconds: 1 s to 60 s, and 60 s for 0, which MiaoSpeed takes for
/// ever.
pub(crate) fn limit(asked: u64) -> Duration {
    Duration::from_millis(match asked {
        0 => 60_000,
        millis => millis.clamp(1000, 60_000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_ends() {
        for (asked, given) in [(0, 60), (1, 1), (2000, 2), (u64::MAX, 60)] {
            assert_eq!(limit(asked).as_secs(), given);
        }
    }
}
