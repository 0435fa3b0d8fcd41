//! A datagram of 2017, and of none.
//!
//! ```text
//! | salt | sealed address, data |
//! ```
//! Each has a key of its own, so its nonce is 0. With `none` there is neither salt nor seal. Towards a client the
//! address is that of the sender.

use bytes::{Bytes, BytesMut};

use super::TAG;
use super::keys::Key;
use super::method::Cipher;
use crate::address::{Destination, Form};

/// Address and data of a datagram that has been opened; `None` where it is none.
pub fn split(plain: BytesMut) -> Option<(Destination, Bytes)> {
    let mut plain = plain;
    let to = Destination::decode(&mut plain, Form::PortLast).ok()??;
    Some((to, plain.freeze()))
}

/// Appends address and data to `out`; `None` where the name is too long to be written.
pub fn join(to: &Destination, data: &[u8], out: &mut BytesMut) -> Option<()> {
    to.encode(Form::PortLast, out).ok()?;
    out.extend_from_slice(data);
    Some(())
}

/// Seals `plain` behind `salt`.
pub fn seal(cipher: Cipher, key: &Key, salt: &Key, plain: &[u8], out: &mut BytesMut) {
    let at = salt.as_slice().len();
    out.clear();
    out.extend_from_slice(salt.as_slice());
    out.resize(at + plain.len() + TAG, 0);
    let aead = key.aead_session(cipher, salt.as_slice());
    aead.seal([0; 12], plain, &mut out[at..]);
}

/// What was sealed by this key, if it was; the salt stands in front.
pub fn open(cipher: Cipher, key: &Key, sealed: &[u8]) -> Option<BytesMut> {
    let (salt, sealed) = sealed.split_at_checked(cipher.key_len())?;
    let len = sealed.len().checked_sub(TAG)?;
    let mut plain = BytesMut::zeroed(len);
    let aead = key.aead_session(cipher, salt);
    aead.open([0; 12], sealed, &mut plain)?;
    Some(plain)
}
