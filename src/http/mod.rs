//! HTTP/1 as browsers and web servers speak it, for every transport that begins with a request.
//!
//! [`head`] reads and writes the heads of messages byte by byte, for an HTTP library in between would be known by its
//! spelling. A server answers what it does not take as a web server does ([`responses`]), and tells the log what was
//! wrong ([`malformed`]); [`visit`] is the whole of it. What a carrier asks for, and how it is granted, is in [`upgrade`]
//! and [`request`]. The first bytes of a tunnel may travel inside the request ([`early_data`], [`lazy_handshake`]), and
//! proxies in front may say for whom they come ([`forwarded`]). Requests of our own that nobody needs to take for a
//! browser's are sent by hyper ([`client`]), and a WebSocket that hides from nobody is granted on its server (`granting`). Bodies that
//! come packed are opened by `gzip`.

#![warn(missing_docs)]

pub(crate) mod body;
#[cfg(feature = "app")]
pub mod client;
pub(crate) mod early_data;
pub(crate) mod forwarded;
#[cfg(feature = "app")]
pub(crate) mod granting;
#[cfg(feature = "app")]
pub(crate) mod gzip;
pub(crate) mod head;
pub(crate) mod lazy_handshake;
pub(crate) mod malformed;
mod published;
pub(crate) mod request;
pub(crate) mod responses;
pub mod tell;
pub(crate) mod upgrade;
pub mod visit;

pub use early_data::{EarlyData, EarlyDataIn};
pub use forwarded::{Forwarded, Net, Trusted};
