//! HTTP proxy: CONNECT and plain requests (RFC 9110, section 7.6; RFC 9112, section 3.2).

mod expected;
mod head;
mod inbound;
pub(crate) mod lenient;
mod outbound;
mod page;
mod plain;
mod settings;
#[cfg(test)]
mod tests;

/// With `udp` it asks for datagrams inside a CONNECT, in a gost's request.
const GOST_PROTOCOL: HeaderName = HeaderName::from_static("x-gost-protocol");

pub use inbound::Inbound;
pub use outbound::{Client, Outbound};
pub use settings::{InboundSettings, OutboundSettings};

use ::http::HeaderName;
