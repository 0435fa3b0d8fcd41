//! v2ray-plugin's options: what a Shadowsocks program tells the plugin that it starts (SIP003).
//!
//! ```text
//! ss-local ─▶ SS_LOCAL: dokodemo-door ▸ freedom, mux ─ws─▶ SS_REMOTE: dokodemo-door ▸ freedom ─▶ SS_LOCAL: ss-server
//! ```
//!
//! Addresses stand in the environment, options in `SS_PLUGIN_OPTIONS` ([`grammar`]) or among Go's flags ([`flags`]). `known`
//! is the table of both, `options` tells the values of one start, and `build` (with `security`) makes V2Ray's own config of them: a client
//! leads all that comes to the server, a server leads all that comes to the Shadowsocks behind it, and neither looks at
//! what is asked for.

mod build;
pub mod flags;
pub mod grammar;
mod known;
mod options;
mod security;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

pub use known::{is_flag, usage};

use crate::config::Config;
use crate::report::Message;
use flags::Flag;
use options::Options;

/// What of the environment is for a plugin: the option that each stands for, but for the options themselves.
const ADDRESSES: [(&str, &str); 4] = [
    ("SS_REMOTE_HOST", "remoteAddr"),
    ("SS_REMOTE_PORT", "remotePort"),
    ("SS_LOCAL_HOST", "localAddr"),
    ("SS_LOCAL_PORT", "localPort"),
];
const OPTIONS: &str = "SS_PLUGIN_OPTIONS";

/// What a plugin is started with.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    pub flags: Vec<Flag>,
    pub environment: Environment,
    /// The home of whoever runs it: acme.sh keeps certificates there.
    pub home: Option<PathBuf>,
}

/// The variables of SIP003; an empty one is as good as none.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<&'static str, OsString>);

/// The config unless there are errors, and lines for the user.
#[derive(Debug, Default)]
pub struct Loaded {
    pub config: Option<Config>,
    pub errors: Vec<Message>,
    pub warnings: Vec<Message>,
}

impl Environment {
    /// What `value` knows of each variable.
    pub fn read(value: impl Fn(&str) -> Option<OsString>) -> Self {
        let names = ADDRESSES.iter().map(|(name, _)| *name);
        let there = names.chain([OPTIONS]).filter_map(|name| {
            let value = value(name).filter(|value| !value.is_empty())?;
            Some((name, value))
        });
        Self(there.collect())
    }

    /// Whether a Shadowsocks program has started this one, or has tried to.
    pub fn is_there(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Reads all of it. Nothing stops at the first mistake.
pub fn load(launch: &Launch) -> Loaded {
    let mut options = Options::collect(launch);
    let config = build::config(&mut options, launch.home.as_deref());
    let (errors, warnings) = options.into_messages();
    Loaded {
        config: config.filter(|_| errors.is_empty()),
        errors,
        warnings,
    }
}
