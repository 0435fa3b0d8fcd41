//! Trojan: the hash of a password and a destination, and behind them the bare bytes.
//!
//! ```text
//! client to server: | hash, line end | command, destination, line end | payload
//! server to client: payload
//! ```
//! Nothing is sealed: that is left to TLS below. The header travels whole, with the first payload, for other servers
//! look at one read alone. There is no answer to it, so a client is not told that the server does not know it.

pub mod codec;
mod inbound;
mod outbound;
mod packets;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use inbound::Inbound;
pub use outbound::{Account, Outbound};
pub use settings::{AccountSettings, InboundSettings, OutboundSettings, UserSettings};
