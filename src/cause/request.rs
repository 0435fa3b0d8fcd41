//! A connection on which requests come in, and no tunnel begins.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::accept::Coded;
use crate::limits::Full;
use crate::session::Source;

/// Why no request on a connection began a tunnel.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Nothing came.
    #[error("closed without an HTTP request")]
    Closed,
    /// Something came, and then the end.
    #[error("closed in the middle of an HTTP request")]
    Unfinished,
    /// The connection failed.
    #[error("gone before a whole HTTP request: {0}")]
    Broken(#[source] io::Error),
    /// What came is no request that can be read, and why not.
    #[error("not a proper HTTP request: {0}")]
    Malformed(String),
    /// No header was whole in this time.
    #[error("no whole HTTP request within {} s", .0.as_secs())]
    Slow(Duration),
    /// However many requests there were.
    #[error("no upgrade within {} s", .0.as_secs())]
    NoUpgrade(Duration),
    /// The last request was answered like this, and no other came.
    #[error("{method} {path}: {status}, {unfit}")]
    Refused {
        /// Of the request.
        method: String,
        /// Of the request, without its query.
        path: String,
        /// Of the answer.
        status: u16,
        /// Why it begins no tunnel.
        #[source]
        unfit: Unfit,
        /// Who asked, or for whom, if the peer is one to say so.
        client: Source,
    },
    /// The tunnel has begun, and carries something else than sessions of smux.
    #[error("not a session of smux (`mws`): {0}")]
    Frames(String),
    /// It went to the site behind the same door.
    #[error("{method} {path} goes to the site: {unfit}")]
    ToSite {
        /// Of the request.
        method: String,
        /// Of the request, without its query.
        path: String,
        /// Why it begins no tunnel.
        #[source]
        unfit: Unfit,
        /// Who asked, or for whom, if the peer is one to say so.
        client: Source,
    },
    /// It would have been granted, and enough come from there.
    #[error("{full}")]
    Full {
        /// The bound.
        full: Full,
        /// Who asked, or for whom, if the peer is one to say so.
        client: Source,
    },
    /// All requests were for the site.
    #[error("a visitor of the site")]
    Visited,
    /// The connection failed when it was granted.
    #[error("gone before its answer: {0}")]
    Unanswered(#[source] io::Error),
}

/// Why a request begins no tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// With the path that the tunnel is at.
    #[error("the path is not \"{0}\"")]
    Path(String),
    /// With the host that the tunnel is at, or all of them.
    #[error("the Host is not \"{0}\"")]
    OtherHost(String),
    /// With the path that the tunnel is at: something stands behind it that looks like early data.
    #[error(
        "the path is \"{0}\" with early data behind it, which `maxEarlyData` without `earlyDataHeaderName` takes here"
    )]
    EarlyData(String),
    /// With what it says instead of this machine: a name may be anybody's, an address is not.
    #[error("the Host is \"{0}\", expected an IP address or `localhost`")]
    NamedHost(String),
    /// With where it comes from.
    #[error("another page asks, of \"{0}\"")]
    Origin(String),
    /// It is no GET.
    #[error("only GET can open a tunnel")]
    Method,
    /// It has no Host, or several.
    #[error("there must be one Host header")]
    Host,
    /// It asks for no WebSocket.
    #[error(
        "no `Upgrade: websocket` header, a proxy in between did not forward it, or this is no tunnel client"
    )]
    NoUpgrade,
    /// It does not say that the connection shall change.
    #[error("no `Connection: Upgrade` header, a proxy in between did not forward it?")]
    NoConnection,
    /// It has a body.
    #[error("an upgrade has no body")]
    Body,
    /// It does not say which WebSocket it wants.
    #[error("no Sec-WebSocket-Version header")]
    NoVersion,
    /// With the one that it wants.
    #[error("WebSocket version {0}, expected 13")]
    Version(String),
    /// It is no call of gRPC.
    #[error("this is no call of gRPC")]
    NotGrpc,
    /// HTTP/1.0 has no upgrade, and a site behind the same door would not give one.
    #[error(
        "HTTP/1.0 has no upgrade, the proxy in front must ask as HTTP/1.1 (nginx: `proxy_http_version 1.1`)"
    )]
    OldHttp,
    /// A tunnel's request has a body without a known end.
    #[error("an ordinary request is no tunnel")]
    Plain,
    /// Its key is none.
    #[error("Sec-WebSocket-Key is not 16 bytes of base64")]
    Key,
}

impl RequestError {
    /// Who asked, if there was a request.
    pub fn client(&self) -> Option<Source> {
        match self {
            Self::Refused { client, .. }
            | Self::ToSite { client, .. }
            | Self::Full { client, .. } => Some(*client),
            _ => None,
        }
    }

    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "http-closed",
            Self::Frames(_) => "request-other",
            Self::Unfinished | Self::Broken(_) => "http-broken",
            Self::Malformed(_) => "http-malformed",
            Self::Slow(_) | Self::NoUpgrade(_) => "http-timeout",
            Self::Visited => "http-visitor",
            Self::Full { full, .. } => full.code(),
            Self::Refused { unfit, .. } | Self::ToSite { unfit, .. } => match unfit {
                Unfit::Path(_) | Unfit::EarlyData(_) => "ws-path",
                Unfit::OtherHost(_) => "ws-host",
                Unfit::NamedHost(_) | Unfit::Origin(_) => "browser-stranger",
                Unfit::NoUpgrade | Unfit::NoConnection | Unfit::OldHttp => "ws-upgrade",
                Unfit::NotGrpc => "grpc-request",
                Unfit::NoVersion | Unfit::Version(_) => "ws-version",
                Unfit::Method | Unfit::Host | Unfit::Body | Unfit::Key | Unfit::Plain => {
                    "ws-request"
                }
            },
            Self::Unanswered(_) => "http-broken",
        }
    }
}
