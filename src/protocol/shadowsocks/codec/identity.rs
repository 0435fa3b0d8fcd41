//! Identity headers (SIP023): which key comes next, told to a server that has several users.
//!
//! One block for each key but the last, sealed by AES under that key: the beginning of the next key's hash. Behind the
//! last server of a chain it is the hash of the user's own key.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};

use super::keys::Key;
use super::method::Cipher;

pub const LEN: usize = 16;

/// AES, a block at a time.
#[derive(Clone)]
pub enum Block {
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
}

impl Block {
    /// `None`: the method has no block cipher.
    pub fn new(cipher: Cipher, key: &Key) -> Option<Self> {
        let key = key.as_slice();
        match cipher {
            Cipher::Aes128Gcm => Some(Self::Aes128(Box::new(
                Aes128::new_from_slice(key).expect("a key of this cipher has 16 bytes"),
            ))),
            Cipher::Aes256Gcm => Some(Self::Aes256(Box::new(
                Aes256::new_from_slice(key).expect("a key of this cipher has 32 bytes"),
            ))),
            Cipher::ChaCha20Poly1305 => None,
        }
    }

    pub fn encrypt(&self, block: &mut [u8; LEN]) {
        match self {
            Self::Aes128(aes) => aes.encrypt_block(block.into()),
            Self::Aes256(aes) => aes.encrypt_block(block.into()),
        }
    }

    pub fn decrypt(&self, block: &mut [u8; LEN]) {
        match self {
            Self::Aes128(aes) => aes.decrypt_block(block.into()),
            Self::Aes256(aes) => aes.decrypt_block(block.into()),
        }
    }
}

/// The headers in front of a stream of `salt`: `keys` are those of the servers on the way, and `user` is ours.
pub fn headers(cipher: Cipher, keys: &[Key], user: &Key, salt: &[u8]) -> Vec<u8> {
    let next = keys.iter().skip(1).chain([user]);
    let each = keys.iter().zip(next).filter_map(|(key, next)| {
        let mut header = next.hash();
        Block::new(cipher, &key.identity(salt))?.encrypt(&mut header);
        Some(header)
    });
    each.flatten().collect()
}

/// Whose key comes next, by its hash.
pub fn open(cipher: Cipher, key: &Key, salt: &[u8], header: [u8; LEN]) -> Option<[u8; LEN]> {
    let mut hash = header;
    Block::new(cipher, &key.identity(salt))?.decrypt(&mut hash);
    Some(hash)
}
