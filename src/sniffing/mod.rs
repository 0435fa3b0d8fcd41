//! What a session carries, told by its first bytes: the protocol, and the name of the target.

pub mod codec;
