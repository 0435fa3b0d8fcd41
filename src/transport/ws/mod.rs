//! WebSocket transport (`network: "ws"`, RFC 6455).
//!
//! ```text
//! GET /ray HTTP/1.1 … Upgrade: websocket   ──▶
//!                                          ◀──   101 Switching Protocols
//! frames, each a piece of the tunnel's bytes ◀─▶
//! ```
//!
//! The HTTP of the handshake is read and written by [`head`] on both sides; [`stream`] takes over behind it.
//! Early data (the first bytes of the tunnel inside the request) is in [`early_data`], the addresses of clients
//! behind a proxy in [`forwarded`], the compression that a browser offers and a server may accept in [`deflate`].

pub mod codec;
pub(crate) mod deflate;
mod expected_close;
mod inbound;
mod keepalive;
mod lazy_handshake;
mod outbound;
mod settings;
mod stream;

/// The only protocol that a WebSocket handshake can be spoken in, as TLS calls it.
pub(super) const ALPN: &str = "http/1.1";

pub use crate::http::{Forwarded, Net, Trusted};
pub use inbound::Inbound;
pub use outbound::Outbound;
pub(crate) use settings::with_slash;
pub use settings::{ClientSettings, EarlyData, EarlyDataIn, HEARTBEAT, ServerSettings};
pub use stream::WsStream;
