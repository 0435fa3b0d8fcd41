//! HTTP proxy: CONNECT and plain requests (RFC 9110, section 7.6; RFC 9112, section 3.2).

mod config;
mod head;
mod inbound;
pub(crate) mod lenient;
mod outbound;
mod plain;
#[cfg(test)]
mod tests;

pub use inbound::Inbound;
pub use outbound::Outbound;
