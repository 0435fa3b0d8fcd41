//! What makes links: TCP, TLS on top, and a carrier on top of that. The table of transports.
//!
//! A server's [`Inbound::accept`] turns a raw connection into links: PROXY protocol first (it stands before TLS on the
//! wire), then TLS, then the carrier, which may bring one link ([`Accepted::One`]) or many. What is no tunnel's request
//! may go to a site on the same port ([`mod@site`]), and several inbounds may share one (`front`). A client's
//! [`Outbound::open`] gives a link to a server: on a connection that is shared, or on one that is dialled for it. A raw
//! connection may also come out of another outbound (`proxySettings`), so whoever asks brings the dialler.

#[cfg(feature = "app")]
mod arrivals;
#[cfg(feature = "app")]
pub mod browser;
#[cfg(feature = "app")]
mod front;
#[cfg(feature = "app")]
pub mod grpc;
#[cfg(feature = "app")]
pub mod h2;
#[cfg(feature = "app")]
pub mod http2;
#[cfg(feature = "app")]
pub mod http_header;
#[cfg(feature = "app")]
pub mod httpupgrade;
#[cfg(feature = "app")]
mod inbound;
#[cfg(feature = "app")]
pub mod mws;
#[cfg(feature = "app")]
mod outbound;
#[cfg(feature = "app")]
mod pool;
#[cfg(feature = "app")]
pub mod proxy_protocol;
#[cfg(feature = "app")]
mod settings;
#[cfg(feature = "app")]
pub mod site;
#[cfg(feature = "app")]
pub mod tcp;
#[cfg(feature = "app")]
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
pub mod tls;
pub mod ws;

#[cfg(feature = "app")]
pub use arrivals::{Accepted, Arrivals, Know};
#[cfg(feature = "app")]
pub use front::Asked;
#[cfg(feature = "app")]
pub use inbound::{Inbound, Kept};
#[cfg(feature = "app")]
pub use outbound::Outbound;
#[cfg(feature = "app")]
pub use pool::on_this_way;
#[cfg(feature = "app")]
pub use settings::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings};

#[cfg(feature = "app")]
use thiserror::Error;

#[cfg(feature = "app")]
use crate::io::Link;
#[cfg(feature = "app")]
use crate::policy::Limits;

/// A link, and the limits of whoever made the connection below, if that was another outbound.
#[cfg(feature = "app")]
pub type Opened = (Link, Option<Limits>);

/// Why settings make no transport.
#[cfg(feature = "app")]
#[derive(Debug, Error)]
pub enum BuildError {
    #[error(transparent)]
    Tls(#[from] tls::BuildError),
    /// There is no browser to go through.
    #[error("`useBrowserForwarding` needs a browser, and no `browserForwarder` is there")]
    NoBrowser,
    /// A browser does not do what the settings want.
    #[error("{0}")]
    Browser(String),
}
