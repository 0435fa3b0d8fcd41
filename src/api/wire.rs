//! V2Ray's messages and services. `proto/rust` is made from `proto/v2ray`, and a test sees to it that it stays so:
//! whoever builds mobula needs neither protoc nor the crates that do its work.

#![allow(
    clippy::all,
    dead_code,
    clippy::use_self,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    unused_qualifications
)]

include!("../../proto/rust/v2ray.rs");

pub use v2ray::core::*;
