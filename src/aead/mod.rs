//! Ciphers that authenticate (AEAD, RFC 5116): AES-GCM and ChaCha20-Poly1305, by the library that is faster on this CPU.
//!
//! There are two libraries, and which is faster depends on the CPU alone: [`Library`] says when which is taken. All that is
//! sealed here goes through it: the bodies of VMess, Shadowsocks, what QUIC's first packets are opened with; TLS takes its
//! cipher suites from the same.

mod library;

pub use library::{Library, has_aes};

use crate::copy;
use aws_lc_rs::aead as aws_lc;
use ring::aead as ring_aead;

/// Bytes of a tag.
pub const TAG: usize = 16;

/// Bytes of a nonce.
pub const NONCE: usize = 12;

/// What seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    /// Bytes of a key.
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Whether there is a block cipher of this name.
    pub fn is_aes(self) -> bool {
        self != Self::ChaCha20Poly1305
    }
}

/// A cipher with its key. Whoever uses it sees to it that no nonce comes twice.
pub struct Key(Made);

/// The key lives behind a pointer in either case: a tunnel holds several.
enum Made {
    AwsLc(aws_lc::LessSafeKey),
    Ring(Box<ring_aead::LessSafeKey>),
}

impl Key {
    /// # Panics
    ///
    /// When `key` has not the cipher's length.
    pub fn new(cipher: Cipher, key: &[u8]) -> Self {
        Self::by(Library::of(cipher), cipher, key)
    }

    /// By this library, whatever the CPU: for tests and benchmarks.
    ///
    /// # Panics
    ///
    /// When `key` has not the cipher's length.
    pub fn by(library: Library, cipher: Cipher, key: &[u8]) -> Self {
        const LENGTH: &str = "the key has its cipher's length";
        Self(match library {
            Library::AwsLc => {
                let algorithm = match cipher {
                    Cipher::Aes128Gcm => &aws_lc::AES_128_GCM,
                    Cipher::Aes256Gcm => &aws_lc::AES_256_GCM,
                    Cipher::ChaCha20Poly1305 => &aws_lc::CHACHA20_POLY1305,
                };
                let key = aws_lc::UnboundKey::new(algorithm, key).expect(LENGTH);
                Made::AwsLc(aws_lc::LessSafeKey::new(key))
            }
            Library::Ring => {
                let algorithm = match cipher {
                    Cipher::Aes128Gcm => &ring_aead::AES_128_GCM,
                    Cipher::Aes256Gcm => &ring_aead::AES_256_GCM,
                    Cipher::ChaCha20Poly1305 => &ring_aead::CHACHA20_POLY1305,
                };
                let key = ring_aead::UnboundKey::new(algorithm, key).expect(LENGTH);
                Made::Ring(Box::new(ring_aead::LessSafeKey::new(key)))
            }
        })
    }

    /// Text and tag go to `out`, which is as long as both.
    ///
    /// # Panics
    ///
    /// When `plain` is longer than what a cipher can seal at once, which is 64 GiB.
    pub fn seal(&self, nonce: [u8; NONCE], plain: &[u8], out: &mut [u8]) {
        const SHORT: &str = "what is sealed at once is far shorter than what the cipher can seal";
        let (text, tag) = out.split_at_mut(plain.len());
        match &self.0 {
            Made::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.seal_out_of_place_scatter(nonce, aws_lc::Aad::empty(), plain, text, &[], tag)
                    .expect(SHORT);
            }
            Made::Ring(key) => {
                // It seals in place alone.
                copy::copy(plain, text);
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let made = key.seal_in_place_separate_tag(nonce, ring_aead::Aad::empty(), text);
                tag.copy_from_slice(made.expect(SHORT).as_ref());
            }
        }
    }

    /// `plain` is as long as `sealed` without its tag. What does not open leaves nothing of worth there.
    pub fn open(&self, nonce: [u8; NONCE], sealed: &[u8], plain: &mut [u8]) -> Option<()> {
        let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        match &self.0 {
            Made::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.open_separate_gather(nonce, aws_lc::Aad::empty(), text, tag, plain)
                    .ok()
            }
            Made::Ring(key) => {
                copy::copy(text, plain);
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let tag = ring_aead::Tag::try_from(tag).ok()?;
                let aad = ring_aead::Aad::empty();
                key.open_in_place_separate_tag(nonce, aad, tag, plain, 0..)
                    .ok()
                    .map(drop)
            }
        }
    }

    /// Opens what stands with its tag in `buf`, and leaves the text alone there. `aad` is vouched for by the tag as well.
    pub fn open_in_place(&self, nonce: [u8; NONCE], aad: &[u8], buf: &mut Vec<u8>) -> Option<()> {
        let len = match &self.0 {
            Made::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place(nonce, aws_lc::Aad::from(aad), buf);
                opened.ok()?.len()
            }
            Made::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place(nonce, ring_aead::Aad::from(aad), buf);
                opened.ok()?.len()
            }
        };
        buf.truncate(len);
        Some(())
    }

    /// Puts what [`Self::open_in_place`] opens in the place of the text in `buf`.
    pub fn seal_in_place(&self, nonce: [u8; NONCE], aad: &[u8], buf: &mut Vec<u8>) -> Option<()> {
        match &self.0 {
            Made::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(nonce, aws_lc::Aad::from(aad), buf)
                    .ok()
            }
            Made::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(nonce, ring_aead::Aad::from(aad), buf)
                    .ok()
            }
        }
    }
}

#[cfg(test)]
mod tests;
