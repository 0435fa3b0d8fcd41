//! A link whose first bytes ask for nothing that is done.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a protocol took nothing from a link.
#[derive(Debug, Error)]
pub enum ProtocolError {
    /// A request that did not come whole.
    #[error(transparent)]
    Flight(#[from] FlightError),
    /// A stranger who speaks something else.
    #[error("{strange}: {other}")]
    Other {
        /// What the protocol makes of it.
        strange: Box<Self>,
        /// What it is.
        other: OtherProtocol,
    },
    /// Nobody whom the inbound knows, or not now.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Not a request of VLESS at all.
    #[error("version {0} is not VLESS', expected 0")]
    NotVless(u8),
    /// Not a request of Trojan at all: the byte that shows it.
    #[error("byte {0} is not Trojan's, expected 56 hex digits and a line end")]
    NotTrojan(usize),
    /// A user has shown who they are, and the rest of the request is wrong.
    #[error("{user}: {text}")]
    Header {
        /// What the log calls them.
        user: String,
        /// What is wrong.
        text: String,
    },
    /// Another program's multiplexing.
    #[error("{user}: {text}")]
    OtherMux {
        /// What the log calls them.
        user: String,
        /// Whose it is, and the cure.
        text: &'static str,
    },
    /// A connection to a transparent inbound itself, which would come back to it for ever.
    #[error(
        "meant for the transparent inbound itself, and `address` names no other place: nothing was redirected, or not as `sockopt.tproxy` says"
    )]
    Nowhere,
    /// A `relay` inbound.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// A `socks` inbound.
    #[error(transparent)]
    Socks(#[from] SocksError),
    /// An `http` inbound.
    #[error(transparent)]
    HttpProxy(#[from] HttpProxyError),
}

/// Why a request did not come whole.
#[derive(Debug, Error)]
pub enum FlightError {
    /// The peer went away, after so many bytes.
    #[error("closed after {0} bytes of a header")]
    Closed(usize),
    /// The connection failed.
    #[error("{0}")]
    Broken(#[source] io::Error),
    /// It did not come whole in this time.
    #[error("{len} bytes of a header after {} s", .limit.as_secs())]
    Slow {
        /// How many bytes came.
        len: usize,
        /// How long was waited.
        limit: Duration,
    },
    /// Of a request that is named.
    #[error("no {what} request within {limit:?}")]
    NoRequest {
        /// `SOCKS`, `HTTP`.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
}

/// What somebody speaks who is not understood.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OtherProtocol {
    /// A WebSocket's, or a browser's.
    #[error(
        "this looks like an HTTP request: is `network: ws` missing here, or is this the wrong port?"
    )]
    Http,
    /// A client's with `security: tls`, or a browser's.
    #[error("this looks like TLS: is `security: tls` missing here, or too much at the client?")]
    Tls,
    /// Of a proxy in front.
    #[error("this looks like a PROXY header: is `acceptProxyProtocol` missing here?")]
    ProxyHeader,
    /// A client's with a multiplexed carrier, gost's `mws` for one: the frame that opens a stream.
    #[error("this looks like smux: does the client multiplex (`mws`, `mwss`), and nothing here?")]
    Smux,
}

/// Why a peer is not believed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// Nobody has this key.
    #[error("no user matches the auth id")]
    UnknownUser,
    /// Nobody has this id.
    #[error("no user has this id")]
    UnknownId,
    /// Nobody has this password.
    #[error("no user has this password")]
    UnknownPassword,
    /// Nobody's key opens what came.
    #[error("no key opens the beginning: the peer has another method or password, or none")]
    UnknownKey,
    /// Nobody's key has the hash in an identity header.
    #[error(
        "no user has this identity: the peer has another server key, or a user that is not here"
    )]
    UnknownIdentity,
    /// The time in it is not ours.
    #[error("{who}'s clock is {skew} s {} ours, at most {most} s is allowed", if *.behind { "behind" } else { "ahead of" })]
    Clock {
        /// What the log calls the user.
        who: String,
        /// Seconds between the clocks.
        skew: u64,
        /// The peer's clock is the late one.
        behind: bool,
        /// Seconds that are allowed.
        most: i64,
    },
    /// It came before.
    #[error("{who}'s auth id was sent before, possibly by someone who recorded it")]
    Replay {
        /// What the log calls the user.
        who: String,
    },
    /// Its salt came before.
    #[error("{who}'s salt was sent before, possibly by someone who recorded it")]
    SpentSalt {
        /// What the log calls the user.
        who: String,
    },
    /// Its keys came before, in another wrapping.
    #[error("{who}'s session keys were used before, possibly by someone who recorded them")]
    SpentKeys {
        /// What the log calls the user.
        who: String,
    },
}

/// Why a SOCKS client gets nothing.
#[derive(Debug, Error)]
pub enum SocksError {
    /// The first byte.
    #[error("version {0:#04x} is not SOCKS 4 or 5")]
    Version(u8),
    /// The first byte, of what others take.
    #[error("a first byte of {0:#04x} is no SOCKS of the version that this service speaks")]
    NotTaken(u8),
    /// There are accounts, and the client speaks SOCKS 4.
    #[error("SOCKS 4 has no passwords, and no account without one is called so")]
    NoPasswords,
    /// There are accounts, and the client does not offer to log in.
    #[error("the client offers no user and password, `auth` asks for one")]
    NotOffered,
    /// There are no accounts, and the client wants to log in.
    #[error("the client does not offer to go without a password")]
    OnlyWithPassword,
    /// Nobody has this name and password.
    #[error("wrong user or password")]
    WrongPassword,
    /// A command that proxies seldom have.
    #[error("BIND is not supported")]
    Bind,
    /// A command that SOCKS 4 does not have.
    #[error("SOCKS 4 has no UDP")]
    NoUdpInFour,
    /// A command that there is not.
    #[error("command {0:#04x} is not supported")]
    Command(u8),
    /// `udp` is not switched on.
    #[error("UDP is asked for, and `udp` is off")]
    UdpOff,
    /// The system gives none.
    #[error("no UDP socket: {0}")]
    NoSocket(#[source] io::Error),
    /// A message that is none, or a connection that failed.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// Why a client of relay gets nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RelayError {
    /// The first byte.
    #[error("version {0} is not relay's, expected 1")]
    Version(u8),
    /// With what is wrong.
    #[error("{0}")]
    Malformed(String),
    /// Nobody has this name and password.
    #[error("no or wrong user and password")]
    Credentials,
    /// A target is asked for, and none is named.
    #[error("the request names no address")]
    NoAddress,
    /// `connect` is switched off.
    #[error("a way to a target is asked for, and `connect` is off")]
    ConnectOff,
    /// `bind` is not switched on.
    #[error("a port is to be opened, and `bind` is off")]
    BindOff,
    /// `allowPorts` has others.
    #[error("port {0} is to be opened, and is not among `allowPorts` (`allow_ports` of a tunnel)")]
    PortOff(u16),
}

/// Why a client of an HTTP proxy gets nothing.
#[derive(Debug, Error)]
pub enum HttpProxyError {
    /// There are accounts, and the request has none of them.
    #[error("no or wrong credentials")]
    Credentials,
    /// With what is wrong.
    #[error("{0}")]
    Target(String),
    /// A body whose length nobody knows.
    #[error("only `Transfer-Encoding: chunked` is understood")]
    Coding,
    /// The first byte is one of SOCKS.
    #[error("this looks like SOCKS: is the application set to an HTTP proxy?")]
    Socks,
    /// In hyper's words.
    #[error("{0}")]
    Malformed(String),
    /// The client went away.
    #[error("closed without a request that could be proxied")]
    Nothing,
}

impl ProtocolError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Flight(FlightError::Closed(_) | FlightError::Broken(_)) => "request-broken",
            Self::Flight(FlightError::Slow { .. } | FlightError::NoRequest { .. }) => {
                "request-timeout"
            }
            Self::Auth(
                AuthError::UnknownUser
                | AuthError::UnknownId
                | AuthError::UnknownPassword
                | AuthError::UnknownKey
                | AuthError::UnknownIdentity,
            ) => "user-unknown",
            Self::Auth(AuthError::Clock { .. }) => "clock-skew",
            Self::Auth(
                AuthError::Replay { .. }
                | AuthError::SpentSalt { .. }
                | AuthError::SpentKeys { .. },
            ) => "replay",
            Self::Other { .. } => "request-other",
            Self::NotVless(_) | Self::NotTrojan(_) | Self::Header { .. } => "request-malformed",
            Self::OtherMux { .. } => "mux-other",
            Self::Nowhere => "redirect-nowhere",
            Self::Relay(e) => e.code(),
            Self::Socks(e) => e.code(),
            Self::HttpProxy(e) => e.code(),
        }
    }
}

impl ProtocolError {
    /// With what a stranger speaks, where what was `read` says that.
    #[must_use]
    pub fn or_other(self, read: &[u8]) -> Self {
        let is_stranger = matches!(
            self,
            Self::Auth(AuthError::UnknownUser)
                | Self::NotVless(_)
                | Self::Relay(
                    RelayError::Version(_) | RelayError::Credentials | RelayError::NoAddress
                )
                | Self::Socks(SocksError::Version(_) | SocksError::NotTaken(_))
                | Self::HttpProxy(HttpProxyError::Malformed(_))
        );
        let speaks_http = matches!(self, Self::HttpProxy(_));
        let other = OtherProtocol::of(read)
            .filter(|other| is_stranger && !(speaks_http && *other == OtherProtocol::Http));
        match other {
            Some(other) => Self::Other {
                strange: Box::new(self),
                other,
            },
            None => self,
        }
    }
}

impl OtherProtocol {
    /// By its first bytes.
    fn of(read: &[u8]) -> Option<Self> {
        const METHODS: [&[u8]; 6] = [
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"PUT ",
            b"OPTIONS ",
            b"CONNECT ",
        ];
        let begins = |with: &[u8]| read.starts_with(with);
        match read {
            [0x16, 0x03, 0..=4, ..] => Some(Self::Tls),
            _ if begins(b"PROXY TCP")
                || begins(b"PROXY UNKNOWN")
                || begins(b"\r\n\r\n\0\r\nQUIT\n") =>
            {
                Some(Self::ProxyHeader)
            }
            _ if METHODS.into_iter().any(begins) => Some(Self::Http),
            [1 | 2, 0, 0, 0, 1 | 3, 0, 0, 0, ..] => Some(Self::Smux),
            _ => None,
        }
    }
}

impl AuthError {
    /// Whose credentials they are.
    pub fn who(&self) -> Option<&str> {
        match self {
            Self::UnknownUser
            | Self::UnknownId
            | Self::UnknownPassword
            | Self::UnknownKey
            | Self::UnknownIdentity => None,
            Self::Clock { who, .. }
            | Self::Replay { who }
            | Self::SpentSalt { who }
            | Self::SpentKeys { who } => Some(who),
        }
    }
}

impl SocksError {
    fn code(&self) -> &'static str {
        match self {
            Self::Version(_) | Self::NotTaken(_) => "socks-version",
            Self::NoPasswords | Self::NotOffered | Self::OnlyWithPassword | Self::WrongPassword => {
                "proxy-auth"
            }
            Self::Bind | Self::NoUdpInFour | Self::Command(_) => "socks-command",
            Self::UdpOff | Self::NoSocket(_) => "socks-udp",
            Self::Broken(_) => "socks-request",
        }
    }
}

impl RelayError {
    fn code(&self) -> &'static str {
        match self {
            Self::Version(_) | Self::Malformed(_) => "request-malformed",
            Self::Credentials => "proxy-auth",
            Self::NoAddress => "relay-request",
            Self::ConnectOff => "relay-connect",
            Self::BindOff | Self::PortOff(_) => "relay-bind",
        }
    }
}

impl HttpProxyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Credentials => "proxy-auth",
            Self::Target(_) => "http-target",
            Self::Coding | Self::Malformed(_) => "http-malformed",
            Self::Socks => "http-socks",
            Self::Nothing => "http-closed",
        }
    }
}
