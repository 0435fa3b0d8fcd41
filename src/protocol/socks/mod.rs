//! SOCKS 4, 4a and 5 (RFC 1928, RFC 1929).

mod associations;
pub mod codec;
mod inbound;
mod messages;
mod outbound;
mod packets;
mod replies;
mod settings;
mod udp;

pub use inbound::Inbound;
pub use outbound::{Client, Outbound};
pub use settings::{InboundSettings, OutboundSettings, Taken, Version};
