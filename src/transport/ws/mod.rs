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
#[path = "../../dialect/v2ray/ws.rs"]
mod config;
pub(crate) mod deflate;
mod early_data;
mod expected_close;
mod forwarded;
pub(crate) mod head;
mod inbound;
mod keepalive;
mod lazy_handshake;
mod malformed;
mod outbound;
mod published;
mod responses;
mod stream;

pub use config::{Inbound, Outbound};
pub(super) use inbound::HEADER_LIMIT;
pub use stream::WsStream;
