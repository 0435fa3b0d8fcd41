//! SOCKS 4, 4a and 5 (RFC 1928, RFC 1929).

pub mod codec;
mod config;
mod inbound;
mod messages;
mod outbound;
mod packets;

pub use inbound::Inbound;
pub use outbound::Outbound;
