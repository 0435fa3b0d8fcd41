//! What makes links: TCP, TLS on top, and a carrier on top of that. The table of transports.
//!
//! A server's [`Inbound::accept`] turns a raw connection into links: PROXY protocol first (it stands before TLS on the
//! wire), then TLS, then the carrier, which may bring one link ([`Accepted::One`]) or many. A client's
//! [`Outbound::open`] gives a link to a server: on a connection that is shared, or on one that is dialled for it. A raw
//! connection may also come out of another outbound (`proxySettings`), so whoever asks brings the dialler.

mod arrivals;
mod inbound;
mod outbound;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "no carrier that is built shares connections")
)]
mod pool;
pub mod proxy_protocol;
mod settings;
pub mod tcp;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod ws;

pub use arrivals::{Accepted, Arrivals};
pub use inbound::Inbound;
pub use outbound::Outbound;
pub use settings::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings};

use thiserror::Error;

use crate::io::Link;
use crate::policy::Limits;

/// A link, and the limits of whoever made the connection below, if that was another outbound.
pub type Opened = (Link, Option<Limits>);

/// Why settings make no transport.
#[derive(Debug, Error)]
pub enum BuildError {
    #[error(transparent)]
    Tls(#[from] tls::BuildError),
}
