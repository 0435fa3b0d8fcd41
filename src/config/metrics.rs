//! Where a monitoring system asks for numbers, and which it gets.

#![warn(missing_docs)]

use std::sync::Arc;

use super::ApiListen;
use crate::report::Place;
use crate::secret::Secret;

/// `metrics`: at least one of `tag` and `listen` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The tag under which rules lead sessions to it.
    pub tag: Option<Arc<str>>,
    /// A place of its own.
    pub listen: Option<ApiListen>,
    /// What whoever asks must show; without it only this machine is answered.
    pub token: Option<Secret<Arc<str>>>,
    /// `hosts`, in small letters: names that this machine is asked by where there is no token, beside its addresses.
    pub hosts: Vec<String>,
    /// What is not told.
    pub hidden: Hidden,
    /// Where `metrics` stands.
    pub at: Place,
}

/// `hide`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// The bytes of each user, and so who they are.
    pub users: bool,
    /// Where clients come from.
    pub sources: bool,
    /// Where tunnels go.
    pub targets: bool,
    /// The bytes of each inbound.
    pub inbounds: bool,
    /// The bytes of each outbound.
    pub outbounds: bool,
    /// Which version this is.
    pub version: bool,
    /// What the process itself takes.
    pub process: bool,
}

impl Hidden {
    /// The words of those that are hidden.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.users, "users"),
            (self.sources, "sources"),
            (self.targets, "targets"),
            (self.inbounds, "inbounds"),
            (self.outbounds, "outbounds"),
            (self.version, "version"),
            (self.process, "process"),
        ];
        let hidden = all.into_iter().filter(|(is_hidden, _)| *is_hidden);
        hidden.map(|(_, word)| word)
    }
}
