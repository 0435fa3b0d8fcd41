//! HTTP/2 (RFC 9113) under a carrier: each request with its answer is a link, and a connection carries many.
//!
//! ```text
//! HEADERS  :method :path …       ──▶
//! DATA, END_STREAM at the end    ──▶
//!                                ◀──   HEADERS :status 200 …
//!                                ◀──   DATA, then END_STREAM or trailers
//! ```
//!
//! [`server`] and [`client`] hold the connections, [`stream`] is a link. What a request must ask for, and how bytes stand
//! in DATA frames, the carriers say: [`grpc`](super::grpc) and [`h2`](super::h2). The frames are h2's, which is also hyper's
//! HTTP/2; hyper itself would put a channel and a task between a stream and its link.
//!
//! What a stream has not read yet stays within [`STREAM_WINDOW`], what it could not send within [`SEND_BUFFER`]. A
//! stream that is not read holds up no other one before [`CONNECTION_WINDOW`] is full of such.

pub(super) mod client;
pub(super) mod keepalive;
pub(super) mod server;
mod settings;
pub(super) mod stream;
#[cfg(test)]
mod tests;

pub(super) use client::{Connection, request};
pub use server::Inbound;
pub(super) use server::NoTunnel;
pub use settings::Pings;
pub(super) use stream::Plain;

/// What TLS calls it.
pub(super) const ALPN: &str = "h2";

/// What a peer may send on a stream before it is read. A fast connection over half the world needs about this much.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same of all streams of a connection.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// What a stream keeps that the connection has not taken yet.
const SEND_BUFFER: usize = 128 * 1024;

/// The longest frame that peers may send us: fewer frames are less work.
const MAX_FRAME: u32 = 64 * 1024;

/// All headers of a request or an answer.
const MAX_HEADERS: u32 = 32 * 1024;

/// Streams of a connection. Some clients put everything on one connection, and wait when it is full.
const MAX_STREAMS: u32 = 1024;
