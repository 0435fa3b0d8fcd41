//! V2Ray's messages and services, made from `proto/v2ray` when mobula is built.

#![allow(
    clippy::all,
    dead_code,
    clippy::use_self,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    unused_qualifications
)]

include!(concat!(env!("OUT_DIR"), "/v2ray.rs"));

pub use v2ray::core::*;
