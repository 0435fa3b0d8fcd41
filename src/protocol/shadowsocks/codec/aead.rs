//! A cipher with a key, and the nonces of a stream.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use super::TAG;
use super::method::Cipher;

pub(super) struct Aead(LessSafeKey);

impl Aead {
    /// `key` has the cipher's length.
    pub(super) fn new(cipher: Cipher, key: &[u8]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, key);
        Self(LessSafeKey::new(
            key.expect("the key has its cipher's length"),
        ))
    }

    /// Ciphertext and tag go to `out`, which is as long as both.
    pub(super) fn seal(&self, nonce: [u8; 12], plain: &[u8], out: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (text, tag) = out.split_at_mut(plain.len());
        self.0
            .seal_out_of_place_scatter(nonce, Aad::empty(), plain, text, &[], tag)
            .expect("a piece is far shorter than what the cipher can seal");
    }

    /// `plain` is as long as `sealed` without its tag.
    pub(super) fn open(&self, nonce: [u8; 12], sealed: &[u8], plain: &mut [u8]) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        self.0
            .open_separate_gather(nonce, Aad::empty(), text, tag, plain)
            .ok()
    }
}

/// A cipher whose nonce counts up, little endian, by one for each piece.
pub(super) struct Counted {
    aead: Aead,
    counter: u64,
}

impl Counted {
    pub(super) fn new(aead: Aead) -> Self {
        Self { aead, counter: 0 }
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.counter.to_le_bytes());
        self.counter += 1;
        nonce
    }

    pub(super) fn seal(&mut self, plain: &[u8], out: &mut [u8]) {
        let nonce = self.nonce();
        self.aead.seal(nonce, plain, out);
    }

    pub(super) fn open(&mut self, sealed: &[u8], plain: &mut [u8]) -> Option<()> {
        let nonce = self.nonce();
        self.aead.open(nonce, sealed, plain)
    }
}
