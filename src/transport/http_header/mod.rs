//! Plain TCP that begins with a head of HTTP in each direction (`tcpSettings.header` of the type `http`).
//!
//! ```text
//! GET / HTTP/1.1 … Host: www.example.com, and the tunnel's bytes behind it  ──▶
//!                  ◀──  HTTP/1.1 200 OK … and the tunnel's bytes behind it
//! ```
//!
//! Nobody waits for the other's head: a client's stands in front of what it writes first, and so does a server's. They
//! are only there to be seen; what passes is no HTTP, and no proxy that speaks it can stand in between. A server compares
//! the path, as V2Ray does, and refuses what is for another one as a web server does.

#![warn(missing_docs)]

mod codec;
mod inbound;
mod outbound;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use inbound::Inbound;
pub use outbound::Outbound;
pub use settings::{Header, Request, Response, Settings};

pub(crate) use codec::{NotHttp, answer};
