//! VMess with AEAD headers, V2Ray's own protocol.
//!
//! ```text
//! client to server: | auth id | sealed request header | body |
//! server to client: | sealed response header | body |
//! ```
//! The request header names the destination and carries the keys of both bodies; a body is a run of
//! sealed chunks. The response header travels with the first payload, so neither side waits for the
//! other. A first flight that is not one of ours is answered with nothing.

pub mod codec;
mod inbound;
mod outbound;
mod packets;
mod peer;
mod reader;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod users;
mod writer;

pub use super::users::UserSettings;
pub use inbound::Inbound;
pub use outbound::{Account, Outbound};
pub use settings::{AccountSettings, InboundSettings, OutboundSettings, Security};
