//! A whole config, as meant: the settings of all rooms, and what holds between them.
//!
//! A [`dialect`](crate::dialect) reads it from a text, a program may write it down. What one part says about another is
//! checked here (`check`, `exposure`), once for every dialect; [`app`](crate::app) makes it run.

mod api;
pub(crate) mod check;
pub(crate) mod exposure;
mod parts;

pub(crate) use crate::dialect::v2ray::plain;
pub use crate::dialect::v2ray::{Format, Input, Loaded, load};
pub use crate::log::{Level as LogLevel, Settings as Log, Target as LogTarget};
pub use crate::report::Message;
pub use api::{Api, Services};
pub use parts::{Draft, Inbound, Listen, Outbound, Through};

use std::path::PathBuf;

use crate::dns;
use crate::observatory;
use crate::policy::Policy;
use crate::routing;

/// All that the process runs with. Tags are resolved, files are read, nothing is bound.
pub struct Config {
    pub log: Log,
    pub inbounds: Vec<Inbound>,
    /// The first one carries what no rule sends elsewhere; without any, sessions go straight to their targets.
    pub outbounds: Vec<Outbound>,
    pub routing: routing::Settings,
    pub observers: Vec<observatory::Settings>,
    /// The built-in DNS.
    pub dns: dns::Settings,
    pub policy: Policy,
    /// Whether anything is counted; what, `policy` says.
    pub stats: bool,
    /// Where to keep what the next process should know.
    pub state: Option<PathBuf>,
    pub api: Option<Api>,
}
