//! A link that a browser was to open.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::address::Destination;

/// Why the page of the browser dialer opened no WebSocket.
#[derive(Debug, Error)]
pub enum BrowserError {
    /// Nobody has opened the page.
    #[error(
        "no browser page is open at {at} and none came within {} s: open it in a browser of this machine, and leave it open",
        .limit.as_secs()
    )]
    NoPage {
        /// What is to be opened.
        at: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The page says that it cannot.
    #[error(
        "the browser opens no WebSocket to {host}: {why} (a browser tells pages no more, its console (F12) says it: is the server there, does the browser trust its certificate, is the path right{}?)",
        if *.offered { ", does the server answer early data with Sec-WebSocket-Protocol" } else { "" }
    )]
    Failed {
        /// The server, as the browser was told to call it.
        host: String,
        /// The page's words.
        why: String,
        /// Whether early data was offered as a subprotocol, which a browser insists on.
        offered: bool,
    },
    /// Nothing came of it.
    #[error(
        "the browser page at {at} has opened no WebSocket to {host} in {} s: is the server out of reach, or the page asleep?",
        .limit.as_secs()
    )]
    Slow {
        /// Where the page is.
        at: String,
        /// The server, as the browser was told to call it.
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The page was closed in between.
    #[error("the browser page at {0} was closed or loaded again while it opened a WebSocket")]
    Gone(String),
    /// The browser would check another name than the settings want.
    #[error(
        "a browser checks the certificate for the name that it connects to, {}, and not for `{name}` of `serverName`: expected the name as `address`",
        .server.host
    )]
    OtherName {
        /// Where to.
        server: Destination,
        /// What the certificate was to be for.
        name: String,
    },
}

impl BrowserError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPage { .. } => "browser-none",
            Self::Failed { .. } => "browser-failed",
            Self::Slow { .. } => "browser-timeout",
            Self::Gone(_) => "browser-gone",
            Self::OtherName { .. } => "browser-name",
        }
    }

    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NoPage { .. } => io::ErrorKind::NotConnected,
            Self::Failed { .. } => io::ErrorKind::ConnectionRefused,
            Self::Slow { .. } => io::ErrorKind::TimedOut,
            Self::Gone(_) => io::ErrorKind::ConnectionReset,
            Self::OtherName { .. } => io::ErrorKind::InvalidInput,
        }
    }
}
