//! What a server is told.

use http::HeaderValue;

use crate::transport::{tcp, tls};
use crate::websocket::Origins;

/// The flags of `mobula ws --listen`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--listen`.
    pub listen: tcp::Listen,
    /// What becomes of messages.
    pub mode: Mode,
    /// `--path`, which begins with `/`: others are not found, but for those below it where there are rooms. Without it all
    /// are served.
    pub path: Option<String>,
    /// `--origin`: the pages that are taken; `None` is all of them.
    pub origins: Option<Origins>,
    /// `--subprotocol`: those that are agreed to; without any, the first that a client offers.
    pub protocols: Vec<HeaderValue>,
    /// `--cert` and `--key`.
    pub tls: Option<tls::ServerSettings>,
}

/// What becomes of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are printed, and what is typed goes to all.
    Print,
    /// They go back to where they come from.
    Echo,
    /// They go to all others at the same path.
    Hub,
}
