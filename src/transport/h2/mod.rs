//! HTTP/2 transport (`network: "http"`, or `"h2"`): the body of a request and that of its answer are the two directions.
//!
//! ```text
//! PUT /path   :authority host         ──▶     ◀──  200   cache-control: no-store
//! DATA: the tunnel's bytes as they are ◀─▶
//! ```
//!
//! The connection is [`http2`](super::http2)'s.

mod inbound;
mod outbound;
mod settings;

pub use inbound::Inbound;
pub(super) use outbound::Connection;
pub use outbound::Outbound;
pub use settings::{ClientSettings, DEFAULT_HOST, ServerSettings};
