//! gRPC transport (`network: "grpc"`): a tunnel is a call whose messages are pieces of it.
//!
//! ```text
//! POST /SERVICE/Tun   content-type: application/grpc   te: trailers
//! each message:  00 | length 4 | 0a | varint | bytes
//! ```
//!
//! `TunMulti` (`multiMode`) may have the field `0a` more than once in a message; one decoder reads both. The connection is
//! [`http2`](super::http2)'s.

mod codec;
mod inbound;
mod messages;
mod outbound;
mod paths;
mod settings;

pub use codec::fuzz;
pub use inbound::Inbound;
pub(super) use messages::Messages;
pub(super) use outbound::Connection;
pub use outbound::Outbound;
pub use paths::Paths;
pub use settings::{ClientSettings, ServerSettings};
