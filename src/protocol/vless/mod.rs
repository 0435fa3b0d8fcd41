//! VLESS: a header that names user and destination, and behind it the bare bytes.
//!
//! ```text
//! client to server: | version, id, command, destination | payload
//! server to client: | version | payload
//! ```
//! Nothing is sealed: that is left to TLS below. Either header travels with the first payload, so neither side waits
//! for the other. A first flight that is not one of ours is answered with nothing.

pub mod codec;
mod id;
mod inbound;
mod outbound;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use super::users::UserSettings;
pub use id::VlessUser;
pub use inbound::Inbound;
pub use outbound::{Account, Outbound};
pub use settings::{AccountSettings, InboundSettings, OutboundSettings};
