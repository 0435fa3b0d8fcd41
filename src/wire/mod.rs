//! V2Ray's messages and services as protocol buffers. `proto/rust` is made from `proto/v2ray`, and a test sees to it
//! that it stays so: whoever builds mobula needs neither protoc nor the crates that do its work.

mod made;
pub mod net;
pub mod typed;

pub use made::*;
