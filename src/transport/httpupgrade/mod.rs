//! The transport `httpupgrade`: the upgrade of a WebSocket, and no WebSocket behind it.
//!
//! ```text
//! GET /ray HTTP/1.1 … Upgrade: websocket   ──▶
//!                                          ◀──   101 Switching Protocols
//! the tunnel's bytes, as they are          ◀─▶
//! ```
//!
//! Web servers and CDNs pass it as they pass a WebSocket. Behind the handshake nothing stands between the tunnel and its
//! connection, unless bytes were read along with a head. Its HTTP is that of [`http`](crate::http) on both sides.
//!
//! # Early data
//!
//! Three programs have three kinds of it:
//!
//! | who | said by | what it does |
//! |---|---|---|
//! | Xray | `?ed=N` in the path | the request goes out alone, and the tunnel's bytes behind it do not wait for the answer |
//! | V2Ray 5 | `maxEarlyData`, `earlyDataHeaderName` | base64 with its padding in that header |
//! | mihomo | `?ed=N` in the path | base64 without padding in `Sec-WebSocket-Protocol` |
//!
//! A server here reads all of them. A client speaks the first two, whose servers lose what they read along with the
//! request: so what may be read along is held back for a moment (`ahead`).

#![warn(missing_docs)]

mod ahead;
mod inbound;
mod outbound;
mod repeated;
mod settings;
#[cfg(test)]
mod tests;

pub use inbound::Inbound;
pub use outbound::Outbound;
pub use settings::{ClientSettings, EarlyData, EarlyHeader, ServerSettings};
