//! Why a connection was not made, or not taken: closed types, and what is said of each.
//!
//! Whoever finds a cause only names it. Here it gets its sentence, with the likeliest cure, and a short code that stays
//! the same when the sentence gets better: for whoever searches a log, counts, or decides what to do next. So all
//! sentences and codes stand side by side, below everybody who finds a cause or tells one.

#![warn(missing_docs)]

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use thiserror::Error;

mod accept;
mod acme;
mod answer;
mod browser;
mod dial;
pub mod explained;
mod fallback;
mod fault;
mod link;
mod protocol;
mod request;
mod reverse;
mod stream;
mod system;
mod tls;
mod unreached;
mod upgrade;

pub use accept::{AcceptError, ProxyHeaderError, TlsAcceptError};
pub use acme::{AcmeError, Challenge};
pub use answer::{AnswerError, Credentials, TargetRefused, is_about_target, is_of_target};
pub use browser::BrowserError;
pub use dial::{DialError, Stage, TcpError, reason};
pub use fallback::{Behind, FallbackError, Lack};
pub use fault::Fault;
pub use link::LinkError;
pub use protocol::{
    AuthError, FlightError, HttpProxyError, OtherProtocol, ProtocolError, RelayError, SocksError,
};
pub use request::{RequestError, Unfit};
pub use reverse::ReverseError;
pub use stream::StreamError;
pub use system::system_words;
pub use tls::{TlsError, Untrusted, Unusable, Words};
pub use unreached::{Reach, Unreached};
pub use upgrade::{Refused, UpgradeError};

/// The error of an attempt that several have waited for.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct SharedError(#[source] Arc<io::Error>);

impl SharedError {
    /// The same for one of them.
    pub fn of(error: &Arc<io::Error>) -> io::Error {
        io::Error::new(error.kind(), Self(error.clone()))
    }
}

/// What an error carries, be it shared with others.
fn inner(error: &io::Error) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
    let inner = error.get_ref()?;
    match inner.downcast_ref::<SharedError>() {
        Some(SharedError(shared)) => shared.get_ref(),
        None => Some(inner),
    }
}

/// The code of the cause that an error of an outbound carries.
pub fn code_of(error: &io::Error) -> Option<Cow<'static, str>> {
    let dialling = DialError::of(error).map(DialError::code);
    dialling
        .or_else(|| Some(AnswerError::of(error)?.code().into()))
        .or_else(|| StreamError::of(error).map(StreamError::code))
        .or_else(|| Some(ReverseError::of(error)?.code().into()))
        .or_else(|| Some(LinkError::of(error)?.code().into()))
}
