//! A tunnel whose server carries nothing.

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::Reach;

/// What a client makes of a server that does not answer its request. It travels inside an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// The server has never answered, and goes away.
    #[error(
        "the server closed without an answer: {0} A target that it cannot reach looks the same"
    )]
    Closed(Credentials),
    /// The server has answered others.
    #[error(
        "the server closed without an answer: it has answered before, so it has probably no way to this target"
    )]
    ClosedThisOne,
    /// The server has never answered, and says nothing.
    #[error(
        "no answer from the server for {} s: {who} A slow target looks the same", .after.as_secs()
    )]
    Silent {
        /// What may be wrong.
        who: Credentials,
        /// So long.
        after: Duration,
    },
    /// The server has said what time it is there.
    #[error(
        "no answer from the server: this machine's clock is {skew} s {} the server's, at most {most} s is allowed",
        if *.behind { "behind" } else { "ahead of" }
    )]
    Clock {
        /// Seconds between the clocks.
        skew: u64,
        /// Ours is the late one.
        behind: bool,
        /// Seconds that are allowed.
        most: u64,
    },
    /// The server says that it has no way to the target.
    #[error("the server has no way to the target: {}", far(*.0))]
    Unreached(Reach),
    /// The status that a relay server answers with.
    #[error("the server answers with status {status}: {}", relay(*.status))]
    Relay {
        /// 0 would be no refusal.
        status: u8,
    },
}

/// What a server may not know us by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// An id, within this many seconds.
    Vmess {
        /// Seconds that clocks may differ.
        most: u64,
        /// Whether the payload has no seal.
        bare: bool,
    },
    /// An id, and what else the server may demand.
    Vless,
    /// A password.
    Trojan,
    /// A password, and what is sealed with it.
    Shadowsocks,
    /// A user and a password of relay.
    Relay,
    /// A key, within this many seconds.
    Shadowsocks2022 {
        /// Seconds that clocks may differ.
        most: u64,
    },
}

impl AnswerError {
    /// The cause that an error carries.
    pub fn of(error: &io::Error) -> Option<&Self> {
        super::inner(error)?.downcast_ref()
    }

    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed(_) => "no-answer",
            Self::ClosedThisOne => "no-answer-target",
            Self::Silent { .. } => "silent",
            Self::Clock { .. } => "clock-skew",
            Self::Unreached(Reach::Forbidden) => "far-forbidden",
            Self::Unreached(Reach::NoNetwork) => "far-network",
            Self::Unreached(Reach::NoHost) => "far-host",
            Self::Unreached(Reach::Refused) => "far-refused",
            Self::Unreached(Reach::Slow) => "far-timeout",
            Self::Unreached(Reach::Broken) => "far-broken",
            Self::Relay { status: 2 } => "relay-user",
            Self::Relay { status: 3 } => "relay-forbidden",
            Self::Relay { status: 4 | 6 | 7 } => "relay-target",
            Self::Relay { status: 5 } => "relay-unavailable",
            Self::Relay { .. } => "relay-status",
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Unreached(Reach::Forbidden) => io::ErrorKind::PermissionDenied,
            Self::Unreached(Reach::NoNetwork) => io::ErrorKind::NetworkUnreachable,
            Self::Unreached(Reach::NoHost) => io::ErrorKind::HostUnreachable,
            Self::Unreached(Reach::Refused) => io::ErrorKind::ConnectionRefused,
            Self::Unreached(Reach::Slow) | Self::Relay { status: 4 } => io::ErrorKind::TimedOut,
            Self::Relay { status: 2 | 3 } => io::ErrorKind::PermissionDenied,
            Self::Relay { status: 6 } => io::ErrorKind::HostUnreachable,
            Self::Relay { status: 7 } => io::ErrorKind::NetworkUnreachable,
            _ => io::ErrorKind::Other,
        }
    }
}

/// What a SOCKS or HTTP proxy says of a target that it does not connect to: it has answered, and is well itself.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct TargetRefused(pub String);

impl TargetRefused {
    /// The same as an error of this kind.
    pub fn of_kind(self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, self)
    }
}

/// Whether an error is about a target more likely than about the server that says it, or goes away without a word.
pub fn is_about_target(error: &io::Error) -> bool {
    let gone = matches!(AnswerError::of(error), Some(AnswerError::ClosedThisOne));
    gone || is_of_target(error)
}

/// Whether an error is what a server says of a target, and none of its own.
pub fn is_of_target(error: &io::Error) -> bool {
    let says = match AnswerError::of(error) {
        Some(AnswerError::Unreached(_)) => true,
        Some(AnswerError::Relay { status }) => matches!(status, 3..=7),
        _ => false,
    };
    says || super::inner(error).is_some_and(|inner| inner.is::<TargetRefused>())
}

impl From<AnswerError> for io::Error {
    fn from(error: AnswerError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmess { most, bare: true } => {
                write!(
                    f,
                    "does it know this id, are the clocks within {most} s, and does it take the security `none` or `zero` (Xray from 26 on does not, `auto` is for every server)?"
                )
            }
            Self::Vmess { most, bare: false } => {
                write!(
                    f,
                    "does it know this id, and are the clocks within {most} s?"
                )
            }
            Self::Trojan => f.write_str("does it know this password?"),
            Self::Relay => {
                f.write_str("is it a relay server, and does it know this user and password (`auth_key` of a tunnel)?")
            }
            Self::Shadowsocks => f.write_str("has it the same method and password?"),
            Self::Shadowsocks2022 { most } => {
                write!(
                    f,
                    "has it the same method and password, and are the clocks within {most} s?"
                )
            }
            Self::Vless => {
                f.write_str("does it know this id, and does it want a flow or an encryption?")
            }
        }
    }
}

fn relay(status: u8) -> &'static str {
    match status {
        1 => "it does not understand the request",
        2 => "it does not know this user and password",
        3 => {
            "its rules forbid it (`allow_ports` of a tunnel, for one), or it opens no ports for clients (`bind` there)"
        }
        4 => "the target does not answer in time",
        5 => "it cannot open the port: another client or program has it",
        6 => "there is no way to the target",
        7 => "the target cannot be reached, or refuses the connection",
        _ => "something is out of order there",
    }
}

fn far(reach: Reach) -> &'static str {
    match reach {
        Reach::Forbidden => "its rules forbid it",
        Reach::NoNetwork => "it is not connected to that network",
        Reach::NoHost => "there is no such host, or no way to it",
        Reach::Refused => "the target refuses the connection",
        Reach::Slow => "the target does not answer",
        Reach::Broken => "something on the way is out of order",
    }
}
