//! From a password to the key of a session.
//!
//! ```text
//! 2017: key = MD5(password) ‖ MD5(MD5(password) ‖ password); of a session: HKDF-SHA1(key, salt, "ss-subkey")
//! 2022: key = the password in base64;                         of a session: BLAKE3 derive_key(context, key ‖ salt)
//! ```
//! One of 2022 that is longer than its method wants stands for the first bytes of its SHA-256, as in Xray and sing-box.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::hkdf::{HKDF_SHA1_FOR_LEGACY_USE_ONLY, KeyType, Salt};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use md5::{Digest, Md5};
use sha2::Sha256;
use thiserror::Error;

use super::method::Cipher;
use crate::aead::Key as Aead;

/// What is left of the last letter's bits may be anything.
const AS_IN_GO: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A key, or a salt, as long as a cipher wants it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    bytes: [u8; 32],
    len: usize,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("a key of this method is base64, which this is not")]
    NotBase64,
    #[error(
        "a key of {found} bytes, this method wants {wanted}: `openssl rand -base64 {wanted}` makes one"
    )]
    Length { found: usize, wanted: usize },
}

impl Key {
    /// `None`: the cipher's keys have another length.
    pub fn new(cipher: Cipher, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == cipher.key_len()).then(|| Self::of(bytes))
    }

    /// Of a password in base64.
    ///
    /// # Errors
    ///
    /// When it is no base64, or too short.
    pub fn from_base64(cipher: Cipher, text: &str) -> Result<Self, KeyError> {
        let bytes = AS_IN_GO
            .decode(text.trim())
            .map_err(|_| KeyError::NotBase64)?;
        let wanted = cipher.key_len();
        match bytes.len() {
            found if found < wanted => Err(KeyError::Length { found, wanted }),
            found if found == wanted => Ok(Self::of(&bytes)),
            _ => Ok(Self::of(&Sha256::digest(&bytes)[..wanted])),
        }
    }

    /// Of a password that may be any text: OpenSSL's `EVP_BytesToKey`.
    pub fn from_password(cipher: Cipher, password: &str) -> Self {
        let first = Md5::digest(password);
        let second = Md5::new()
            .chain_update(first)
            .chain_update(password)
            .finalize();
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&first);
        bytes[16..].copy_from_slice(&second);
        Self::of(&bytes[..cipher.key_len()])
    }

    fn of(bytes: &[u8]) -> Self {
        let mut key = Self {
            bytes: [0; 32],
            len: bytes.len(),
        };
        key.bytes[..key.len].copy_from_slice(bytes);
        key
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// What an identity header says of its owner.
    pub fn hash(&self) -> [u8; 16] {
        let hash = blake3::hash(self.as_slice());
        std::array::from_fn(|i| hash.as_bytes()[i])
    }

    /// Of a session of 2017.
    pub(super) fn aead_session(&self, cipher: Cipher, salt: &[u8]) -> Aead {
        let mut key = [0; 32];
        let key = &mut key[..self.len];
        Salt::new(HKDF_SHA1_FOR_LEGACY_USE_ONLY, salt)
            .extract(self.as_slice())
            .expand(&[b"ss-subkey"], Length(self.len))
            .and_then(|okm| okm.fill(key))
            .expect("32 bytes are far less than HKDF can give");
        Aead::new(cipher, key)
    }

    /// Of a session of 2022; `salt` is that of a stream, or the session id of datagrams.
    pub(super) fn blake3_session(&self, cipher: Cipher, salt: &[u8]) -> Aead {
        let key = self.derive(&SESSION, salt);
        Aead::new(cipher, key.as_slice())
    }

    /// What seals the identity header in front of a stream.
    pub(super) fn identity(&self, salt: &[u8]) -> Self {
        self.derive(&IDENTITY, salt)
    }

    pub(super) fn derive(&self, context: &blake3::Hasher, salt: &[u8]) -> Self {
        let hash = context
            .clone()
            .update(self.as_slice())
            .update(salt)
            .finalize();
        Self::of(&hash.as_bytes()[..self.len])
    }
}

/// What both contexts make of their names is made once.
pub(super) static SESSION: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("shadowsocks 2022 session subkey"));
pub(super) static IDENTITY: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("shadowsocks 2022 identity subkey"));

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Xray 26 and sing-box 1.14 carry traffic with each other so.
    #[test]
    fn a_key_of_2022_that_is_too_long_is_made_shorter() {
        // Its last letter has bits that no byte has.
        let odd = format!("{}B==", "A".repeat(21));
        assert!(Key::from_base64(Cipher::Aes128Gcm, &odd).is_ok());
        let long = AS_IN_GO.encode([7; 32]);
        let key = Key::from_base64(Cipher::Aes128Gcm, &long).unwrap();
        assert!(key == Key::of(&Sha256::digest([7; 32])[..16]));
        let error = Key::from_base64(Cipher::Aes256Gcm, &AS_IN_GO.encode([7; 16]));
        let (found, wanted) = (16, 32);
        assert_eq!(error.err(), Some(KeyError::Length { found, wanted }));
    }
}
