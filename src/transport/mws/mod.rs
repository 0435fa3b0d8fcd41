//! Many tunnels inside one WebSocket (`network: "mws"`): gost's `mws`, and `mwss` with TLS below.
//!
//! ```text
//! GET /ws HTTP/1.1 … Upgrade: websocket   ──▶
//!                                         ◀──   101 Switching Protocols
//! binary messages of smux frames, whose streams are the tunnels ◀─▶
//! ```
//!
//! gost puts one frame into each message, and reads whatever comes; here a message has all frames that wait.

mod inbound;
mod outbound;
mod settings;
#[cfg(test)]
mod tests;

pub use inbound::Inbound;
pub(super) use inbound::arrivals;
pub use outbound::{Connection, Outbound};
pub use settings::{ClientSettings, PATH, ServerSettings};
