//! What is made from `proto/v2ray`, `proto/xray` and `proto/grpc`.

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
include!("../../proto/rust/xray.rs");
include!("../../proto/rust/grpc.rs");

pub use v2ray::core::*;
