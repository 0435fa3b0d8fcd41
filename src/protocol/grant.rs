//! When a client of a local proxy is told that it may send.

use crate::session::Source;

/// `waitForConnect` of `socks` and `http` inbounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grant {
    /// As `WhenOpen` for programs on this machine, as `AtOnce` for others: the answer of a client far away would
    /// come later by the time there and back.
    #[default]
    Local,
    /// `false`: before anything is dialled, as V2Ray does.
    AtOnce,
    /// `true`: when there is a way to the target, as far as that is known before the first payload.
    WhenOpen,
}

impl Grant {
    /// Whether a client at `source`, which connected to `local`, waits.
    pub(super) fn waits(self, source: Source, local: Source) -> bool {
        let is_here = |end| match end {
            Source::Ip(addr) => addr.ip().to_canonical().is_loopback(),
            Source::Unix => true,
        };
        match self {
            Self::Local => is_here(source) && is_here(local),
            Self::AtOnce => false,
            Self::WhenOpen => true,
        }
    }
}

impl From<bool> for Grant {
    fn from(wait_for_connect: bool) -> Self {
        match wait_for_connect {
            true => Self::WhenOpen,
            false => Self::AtOnce,
        }
    }
}
