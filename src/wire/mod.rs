//! V2Ray's and Xray's messages as protocol buffers. `proto/rust` is made from `proto/v2ray` and `proto/xray`, and a test
//! sees to it that it stays so: whoever builds mobula needs neither protoc nor the crates that do its work.
//!
//! A message of Xray's that looks like V2Ray's on the wire is V2Ray's type; `xray` has the others.

pub mod descriptors;
pub mod json;
mod made;
pub mod net;
pub mod typed;

pub use made::*;
