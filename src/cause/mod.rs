//! Why a connection was not made, or not taken: closed types, and what is said of each.
//!
//! Whoever finds a cause only names it. Here it gets its sentence, with the likeliest cure, and a short code that stays
//! the same when the sentence gets better: for whoever searches a log, counts, or decides what to do next. So all
//! sentences and codes stand side by side, below everybody who finds a cause or tells one.

#![warn(missing_docs)]

use std::borrow::Cow;
use std::io;

mod accept;
mod answer;
mod dial;
mod protocol;
mod request;
mod system;
mod tls;
mod unreached;
mod upgrade;

pub use accept::{AcceptError, ProxyHeaderError, TlsAcceptError};
pub use answer::{AnswerError, Credentials};
pub use dial::{DialError, Stage, TcpError, reason};
pub use protocol::{
    AuthError, FlightError, HttpProxyError, OtherProtocol, ProtocolError, SocksError,
};
pub use request::{RequestError, Unfit};
pub use system::system_words;
pub use tls::{TlsError, Untrusted, Unusable};
pub use unreached::{Reach, Unreached};
pub use upgrade::{Refused, UpgradeError};

/// The code of the cause that an error of an outbound carries.
pub fn code_of(error: &io::Error) -> Option<Cow<'static, str>> {
    let dialling = DialError::of(error).map(DialError::code);
    dialling.or_else(|| Some(AnswerError::of(error)?.code().into()))
}
