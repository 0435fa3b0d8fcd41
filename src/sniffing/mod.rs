//! What a session carries, told by its first bytes: the protocol, and the name of the target.
//!
//! A client behind a transparent proxy, or one that resolves names itself, asks for an address; rules about
//! names, and a server that resolves better, want the name. Reading the bytes is for [`dispatch`]'s hands.
//!
//! [`dispatch`]: crate::dispatch

mod aim;
pub mod codec;
mod settings;

pub use aim::Aim;
pub use settings::{Protocol, Settings};
