//! What is made from `proto/v2ray`.

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
