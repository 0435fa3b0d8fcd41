//! A whole config, as meant.
//!
//! [`mod@load`] reads the files and merges them ([`merge`]), reads the result with the words of
//! [`json`](crate::json) (`read`, `log`, `policy`), and resolves what one part says about another (`check`).
//! Every room reads its own settings; what is here is the top level and the frame of each inbound
//! and outbound.

mod api;
pub(crate) mod check;
pub(crate) mod exposure;

pub(crate) use crate::dialect::v2ray::plain;
pub use crate::dialect::v2ray::{Format, Input, Loaded, load, one_inbound, one_outbound};
pub use crate::dispatch::Outbound;
pub use crate::log::{Level as LogLevel, Settings as Log, Target as LogTarget};
pub use crate::report::Message;
pub use api::{Api, Services};

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::dispatch::Origin;
use crate::dns::Resolver;
use crate::json::PortRanges;
use crate::observatory::Observer;
use crate::policy::Policy;
use crate::routing::Router;
use crate::sniffing::Sniffing;
use crate::{protocol, transport};

/// All that the process runs with. Tags are resolved, files are read, nothing is bound.
pub struct Config {
    pub log: Log,
    pub inbounds: Vec<Inbound>,
    /// Never empty; the first one carries what no rule sends elsewhere.
    pub outbounds: Vec<Outbound>,
    pub router: Router,
    pub observers: Vec<Observer>,
    /// The built-in DNS.
    pub resolver: Resolver,
    pub policy: Policy,
    /// Whether anything is counted; what, `policy` says.
    pub stats: bool,
    /// Where to keep what the next process should know.
    pub state: Option<PathBuf>,
    pub api: Option<Api>,
}

pub struct Inbound {
    /// `inbounds[0]`, for messages.
    pub path: String,
    pub tag: Option<Arc<str>>,
    pub listen: Listen,
    /// Ports to listen on; empty with a unix socket.
    pub ports: PortRanges,
    pub transport: transport::Inbound,
    pub protocol: protocol::Inbound,
    /// What is done with the first bytes of its sessions.
    pub sniffing: Option<Arc<Sniffing>>,
}

impl Inbound {
    /// What its sessions carry along.
    pub fn origin(&self) -> Origin {
        Origin {
            tag: self.tag.clone(),
            sniffing: self.sniffing.clone(),
            from_here: false,
        }
    }
}

/// Where an inbound listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Ip(IpAddr),
    /// A path in the file system.
    Unix(PathBuf),
    /// `@name`, Linux's abstract namespace (without the `@`).
    Abstract(Vec<u8>),
}
