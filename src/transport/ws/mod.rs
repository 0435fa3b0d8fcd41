//! WebSocket transport (`network: "ws"`, RFC 6455).
//!
//! ```text
//! GET /ray HTTP/1.1 … Upgrade: websocket   ──▶
//!                                          ◀──   101 Switching Protocols
//! frames, each a piece of the tunnel's bytes ◀─▶
//! ```
//!
//! hyper does the HTTP of the handshake on both sides and gives the link back with what it had read
//! beyond it; [`stream`] takes over from there. Early data (the first bytes of the tunnel inside the
//! request) is in [`early_data`], the addresses of clients behind a proxy in [`forwarded`].

pub mod codec;
mod config;
mod early_data;
mod forwarded;
mod heart;
mod inbound;
mod late;
mod malformed;
mod manners;
mod outbound;
mod pages;
mod stream;

pub use config::{Inbound, Outbound};
pub(super) use inbound::HEADER_LIMIT;
pub use stream::WsStream;
