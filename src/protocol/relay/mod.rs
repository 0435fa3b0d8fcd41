//! Gost's relay: a header that names user and destination, an answer, and behind each the bare bytes.
//!
//! ```text
//! client to server: | version, command, user, destination | payload
//! server to client: | version, status | payload
//! ```
//! Nothing is sealed: that is left to TLS below. A client sends its request at once, with the first payload if there is
//! one, and does not wait for the answer. A server answers when it knows whether there is a way to the target, and not
//! later. So neither waits for the other, whatever `nodelay` says at a gost's end, and a target may speak first.

pub mod bind;
pub mod codec;
mod inbound;
mod outbound;
pub(in crate::protocol) mod packets;
mod replies;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use inbound::Inbound;
pub use outbound::{Client, Outbound};
pub use settings::{BindSettings, InboundSettings, OutboundSettings, Service, Udp};
