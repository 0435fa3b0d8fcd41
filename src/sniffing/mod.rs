//! What a session carries, told by its first bytes: the protocol, and the name of the target.
//!
//! A client behind a transparent proxy, or one that resolves names itself, asks for an address. Rules about names need
//! the name, and a server may resolve it better. The bytes are read by [`dispatch`].
//!
//! [`dispatch`]: crate::dispatch

mod aim;
pub mod codec;
mod settings;

pub use aim::Aim;
pub use settings::{Protocol, Settings};
