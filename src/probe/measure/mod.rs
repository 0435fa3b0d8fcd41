//! How a node is measured: pings, downloads, questions to a STUN server.

mod body;
mod exchange;
mod fetch;
mod nat;
mod netcat;
mod page;
mod ping;
mod speed;

pub(crate) use fetch::{Fetch, fetch};
pub use nat::nat;
pub(crate) use netcat::{Netcat, netcat};
pub use page::page;
pub use ping::pings;
pub use speed::download;

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use crate::cause::{DialError, Stage, code_of};
use crate::observatory::Url;
use crate::transport::tls;

/// What is to be found out of each node.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Pings, if any.
    pub pings: Option<Pings>,
    /// A download, if one is wanted.
    pub download: Option<Downloads>,
    /// The STUN server to ask, if that is wanted: `host:port`.
    pub stun: Option<Result<crate::address::Destination, String>>,
}

/// How a node is pinged.
#[derive(Clone, Debug)]
pub struct Pings {
    /// What is asked for; else why nothing can be.
    pub url: Result<Url, String>,
    /// How often.
    pub count: u16,
    /// How long one may take.
    pub limit: Duration,
}

/// How much is downloaded.
#[derive(Clone, Debug)]
pub struct Downloads {
    /// What.
    pub url: Result<Url, String>,
    /// For how long.
    pub seconds: u32,
    /// By so many connections.
    pub threads: u32,
    /// Bytes a second of all together; 0 is as many as come.
    pub limit: u64,
}

/// The client of targets that speak HTTPS.
static TLS: LazyLock<tls::Outbound> = LazyLock::new(|| {
    let settings = tls::ClientSettings {
        alpn: vec!["http/1.1".to_owned()],
        ..tls::ClientSettings::default()
    };
    tls::Outbound::new(&settings).expect("the defaults need no files")
});

/// An error in words, with its code behind it.
fn told(error: &io::Error) -> String {
    let is_name = DialError::of(error).is_some_and(|cause| cause.stage() == Stage::Name);
    let front = if is_name { "name not found: " } else { "" };
    match code_of(error) {
        Some(code) => format!("{front}{error} [{code}]"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
        None if error.kind() == io::ErrorKind::ConnectionReset => format!("{CLOSED}: reset"),
        None => error.to_string(),
    }
}

/// Nothing came, and then the end.
const CLOSED: &str = "closed without an answer";
