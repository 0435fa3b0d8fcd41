//! A session that has no way to where it was meant to go, as its peer is told.

use std::borrow::Cow;
use std::fmt;
use std::io;

use super::{DialError, TcpError, code_of};
use crate::address::Destination;

/// Why a session is not carried.
#[derive(Debug)]
pub enum Unreached<'a> {
    /// The rules lead it nowhere.
    Rules,
    /// Its user has so many connections already, the most that the level allows.
    Full(u32),
    /// Its target cannot be reached from here.
    Target {
        /// Where it was to go.
        to: &'a Destination,
        /// Why it cannot.
        error: &'a io::Error,
    },
    /// A server on the way does not carry it.
    Hop {
        /// What the settings call the way.
        outbound: &'a str,
        /// What went wrong there.
        error: &'a io::Error,
    },
}

/// How far it came, as protocols have words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It may not go there.
    Forbidden,
    /// There is no way to the target's network.
    NoNetwork,
    /// There is no such host, or no way to it.
    NoHost,
    /// The target does not listen.
    Refused,
    /// Nobody answered in time.
    Slow,
    /// Something on the way is out of order, which says nothing of the target.
    Broken,
}

impl Reach {
    const CLOSE_CODES: [(Self, u16); 6] = [
        (Self::Forbidden, 4403),
        (Self::NoHost, 4404),
        (Self::Broken, 4502),
        (Self::NoNetwork, 4503),
        (Self::Slow, 4504),
        (Self::Refused, 4521),
    ];

    /// How a server of ours says it in a WebSocket, where codes between 4000 and 4999 are for private use
    /// (RFC 6455, section 7.4.2).
    pub fn close_code(self) -> u16 {
        let mut codes = Self::CLOSE_CODES.into_iter();
        let found = codes.find(|(reach, _)| *reach == self);
        found.map_or(1011, |(_, code)| code)
    }

    /// What a server of ours has said.
    pub fn of_close_code(code: u16) -> Option<Self> {
        let mut codes = Self::CLOSE_CODES.into_iter();
        codes
            .find(|(_, known)| *known == code)
            .map(|(reach, _)| reach)
    }
}

impl Unreached<'_> {
    /// What protocols say of it.
    pub fn reach(&self) -> Reach {
        let (error, is_hop) = match self {
            Self::Rules | Self::Full(_) => return Reach::Forbidden,
            Self::Target { error, .. } => (error, false),
            Self::Hop { error, .. } => (error, true),
        };
        match DialError::of(error) {
            Some(DialError::Tcp(cause))
                if matches!(cause.code(), "tcp-own-listener" | "final-rules") =>
            {
                Reach::Forbidden
            }
            _ if error.kind() == io::ErrorKind::TimedOut => Reach::Slow,
            // The way to the server is not the one to the target.
            Some(_) if is_hop => Reach::Broken,
            Some(DialError::Name(_) | DialError::Forgotten(_)) => Reach::NoHost,
            Some(DialError::Tcp(TcpError::NoFamily { .. })) => Reach::NoNetwork,
            // What the system says, or the server.
            _ => match error.kind() {
                io::ErrorKind::PermissionDenied => Reach::Forbidden,
                io::ErrorKind::ConnectionRefused => Reach::Refused,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NotFound => Reach::NoHost,
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
                    Reach::NoNetwork
                }
                _ => Reach::Broken,
            },
        }
    }

    /// Stays when the sentence changes.
    pub fn code(&self) -> Cow<'static, str> {
        let error = match self {
            Self::Rules => return Cow::Borrowed("rules"),
            Self::Full(_) => return Cow::Borrowed("limit-user"),
            Self::Target { error, .. } | Self::Hop { error, .. } => error,
        };
        code_of(error).unwrap_or(Cow::Borrowed("not-carried"))
    }
}

/// Who shows this to its user may be asked by a page that reads it: where the server is stays with the log.
impl fmt::Display for Unreached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules => f.write_str("the rules of this proxy do not let it through"),
            Self::Full(max) => write!(
                f,
                "the user has {max} connections already, the most that `connections` of the level allows"
            ),
            Self::Target { error, .. } => error.fmt(f),
            Self::Hop { outbound, error } => {
                write!(f, "{outbound}: ")?;
                match DialError::of(error) {
                    Some(DialError::Name(_)) => {
                        f.write_str("the name of the server has no address")
                    }
                    Some(DialError::Tcp(cause)) => f.write_str(match cause.code() {
                        "tcp-refused" => "the server refuses connections",
                        "tcp-timeout" => "the server does not answer",
                        "tcp-reset" => "the server resets connections",
                        "final-rules" => "`finalRules` hold the connection back",
                        "tcp-own-listener" => "the connection would come back to this proxy",
                        _ => "the server cannot be reached",
                    }),
                    _ => error.fmt(f),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Refused;

    #[test]
    fn what_is_said_of_a_server_on_the_way_is_not_said_of_the_target() {
        let to = "192.0.2.1:443".parse().unwrap();
        let failed = |kind| {
            let tcp = TcpError::Failed {
                to: "198.51.100.7:80".parse().unwrap(),
                tried: Vec::new(),
                source: io::Error::from(kind),
            };
            io::Error::from(DialError::from(tcp))
        };
        let refused = failed(io::ErrorKind::ConnectionRefused);
        let target = Unreached::Target {
            to: &to,
            error: &refused,
        };
        assert_eq!(target.reach(), Reach::Refused);
        let hop = |error| Unreached::Hop {
            outbound: "proxy",
            error,
        };
        assert_eq!(hop(&refused).reach(), Reach::Broken);
        let text = hop(&refused).to_string();
        assert_eq!(text, "proxy: the server refuses connections");
        assert_eq!(hop(&refused).code(), "tcp-refused");
        let slow = failed(io::ErrorKind::TimedOut);
        assert_eq!(hop(&slow).reach(), Reach::Slow);
        let name = DialError::Name(io::ErrorKind::NotFound.into()).into();
        let target = Unreached::Target {
            to: &to,
            error: &name,
        };
        assert_eq!(
            (target.reach(), &*target.code()),
            (Reach::NoHost, "dns-none")
        );
        let not_found = Refused {
            status: 404,
            path: "/ray".to_owned(),
            location: None,
            server: None,
        };
        let upgrade = DialError::Upgrade(not_found.into()).into();
        let text = hop(&upgrade).to_string();
        assert_eq!(text, "proxy: 404: the server does not know path /ray");
        // What a server says of the target.
        let said = io::Error::new(io::ErrorKind::HostUnreachable, "host unreachable");
        assert_eq!(hop(&said).reach(), Reach::NoHost);
        assert_eq!(Unreached::Rules.reach(), Reach::Forbidden);
    }
}
