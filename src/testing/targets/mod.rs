//! One entry function for each fuzz target.

mod dialects;
mod looks;
mod protocols;
mod transports;
mod vmess;

pub use dialects::*;
pub use looks::*;
pub use protocols::*;
pub use transports::*;
pub use vmess::*;
