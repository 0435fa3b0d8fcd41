//! What a session carries, told by its first bytes: the protocol, and the name of the target.
//!
//! A client behind a transparent proxy, or one that resolves names itself, asks for an address. Rules about names need
//! the name, and a server may resolve it better. An address that was made up for a name is turned back into it. The bytes are read by [`dispatch`].
//!
//! [`dispatch`]: crate::dispatch

mod aim;
pub mod codec;
mod settings;

pub use aim::{Aim, MadeUp};
pub use settings::{Protocol, Settings};
