//! Shadowsocks, of 2017 (AEAD) and of 2022 (SIP022, SIP023), and V2Ray's `none`.
//!
//! ```text
//! client to server: | salt | chunks: address, payload |
//! server to client: | salt | chunks: payload |
//! ```
//! Both sides know a key; either direction has one made of it and of its salt. Datagrams go beside the streams, to the
//! same port. A first flight that is not one of ours is answered with nothing.

pub mod codec;
mod datagrams;
mod inbound;
mod outbound;
mod packets;
mod reader;
mod salts;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod users;
mod writer;

pub use codec::head::MAX_IDENTITIES as MAX_SERVERS;
pub use codec::keys::{Key, KeyError};
pub use codec::method::{Cipher, Method};
pub use inbound::Inbound;
pub use outbound::{Account, Outbound};
pub use salts::SaltMemory;
pub use settings::{
    Access, AccountSecret, AccountSettings, AeadKey, AeadPassword, Blake3Key, InboundSettings,
    OutboundSettings, UserSettings,
};

use std::io;

/// A salt of our own.
fn draw(cipher: Cipher) -> io::Result<Key> {
    let mut salt = [0; 32];
    let salt = &mut salt[..cipher.key_len()];
    random(salt)?;
    Ok(Key::new(cipher, salt).expect("a salt is as long as a key"))
}

/// Fills `out` from the library's generator, which asks the system only now and then.
fn random(out: &mut [u8]) -> io::Result<()> {
    aws_lc_rs::rand::fill(out).map_err(|_| io::Error::other("the random source does not answer"))
}
