//! Shadowsocks, of 2017 (AEAD) and of 2022 (SIP022, SIP023), and V2Ray's `none`.
//!
//! ```text
//! client to server: | salt | chunks: address, payload |
//! server to client: | salt | chunks: payload |
//! ```
//! Both sides know a key; either direction has one made of it and of its salt. Datagrams go beside the streams, to the
//! same port. A first flight that is not one of ours is answered with nothing.

pub mod codec;
