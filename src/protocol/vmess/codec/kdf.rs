//! VMess' key derivation: HMACs nested in each other, each the hash function of the next.
//!
//! ```text
//! H0(m) = HMAC-SHA256(key = "VMess AEAD KDF", m)
//! Hi(m) = HMAC with H(i-1) as its hash, keyed with the i-th label
//! KDF(key, p1 .. pn) = Hn(key)
//! ```
//!
//! This is not HMAC applied to the outcome of HMAC. What depends on a fixed label alone is computed
//! once for the process.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

pub static AUTH_ID: Label = label(|| keyed(b"AES Auth ID Encryption"));
pub static AUTH_LEN: Label = label(|| keyed(b"auth_len"));
pub static HEADER_KEY: Label = label(|| keyed(b"VMess Header AEAD Key"));
pub static HEADER_NONCE: Label = label(|| keyed(b"VMess Header AEAD Nonce"));
pub static LENGTH_KEY: Label = label(|| keyed(b"VMess Header AEAD Key_Length"));
pub static LENGTH_NONCE: Label = label(|| keyed(b"VMess Header AEAD Nonce_Length"));
pub static RESPONSE_KEY: Label = label(|| keyed(b"AEAD Resp Header Key"));
pub static RESPONSE_NONCE: Label = label(|| keyed(b"AEAD Resp Header IV"));
pub static RESPONSE_LENGTH_KEY: Label = label(|| keyed(b"AEAD Resp Header Len Key"));
pub static RESPONSE_LENGTH_NONCE: Label = label(|| keyed(b"AEAD Resp Header Len IV"));

/// A derivation whose first label is fixed.
pub struct Label(LazyLock<Hmac<Hmac<Sha256>>>);

impl Label {
    /// The first `N` bytes of `KDF(key, label)`; `N` is at most 32.
    pub fn derive<const N: usize>(&self, key: &[u8]) -> [u8; N] {
        cut(self.0.clone().absorb(key))
    }

    /// The first `N` bytes of `KDF(key, label, auth_id, nonce)`.
    pub fn derive_for<const N: usize>(
        &self,
        key: &[u8; 16],
        auth_id: &[u8; 16],
        nonce: &[u8; 8],
    ) -> [u8; N] {
        let hash = Hmac::keyed(&Hmac::keyed(&*self.0, auth_id), nonce);
        cut(hash.absorb(key))
    }
}

const fn label(make: fn() -> Hmac<Hmac<Sha256>>) -> Label {
    Label(LazyLock::new(make))
}

fn keyed(label: &[u8]) -> Hmac<Hmac<Sha256>> {
    Hmac::keyed(&*BASE, label)
}

static BASE: LazyLock<Hmac<Sha256>> =
    LazyLock::new(|| Hmac::keyed(&Sha256::new(), b"VMess AEAD KDF"));

fn cut<const N: usize>(hash: impl Hash) -> [u8; N] {
    let out = hash.finish();
    std::array::from_fn(|i| out[i])
}

/// A hash function of 64-byte blocks and 32 bytes of outcome, with what it has absorbed.
trait Hash: Clone {
    fn update(&mut self, bytes: &[u8]);
    fn finish(self) -> [u8; 32];

    fn absorb(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }
}

impl Hash for Sha256 {
    fn update(&mut self, bytes: &[u8]) {
        Digest::update(self, bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.finalize().into()
    }
}

/// HMAC (RFC 2104) over any [`Hash`], which makes it one as well.
#[derive(Clone)]
struct Hmac<H> {
    inner: H,
    outer: H,
}

impl<H: Hash> Hmac<H> {
    fn keyed(hash: &H, key: &[u8]) -> Self {
        let mut block = [0; 64];
        if key.len() > block.len() {
            block[..32].copy_from_slice(&hash.clone().absorb(key).finish());
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        Self {
            inner: hash.clone().absorb(&block.map(|b| b ^ 0x36)),
            outer: hash.clone().absorb(&block.map(|b| b ^ 0x5c)),
        }
    }
}

impl<H: Hash> Hash for Hmac<H> {
    fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.outer.absorb(&self.inner.finish()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// The constants come from the reference vectors; the last but one is V2Ray's own unit test.
    #[test]
    fn derivations_of_the_reference() {
        assert_eq!(
            BASE.clone().finish(),
            hex!("515f37c9eaa2812ab48bfb4d3d6799a480e3d0a5872db4775328cf3a1b839b10")
        );
        assert_eq!(
            BASE.clone().absorb(b"test").finish(),
            hex!("b98927cc16a3d76b3614f59a2c10f9b54c478ac8173751359e1afba8cd754f40")
        );
        let cmd_key = hex!("b50d916ac0cec067981af8e5f38a758f");
        assert_eq!(
            AUTH_ID.derive(&cmd_key),
            hex!("1415ba74ca8b3d041a8f583fb4116315c589ae7b6e81765b601aa166c62871f7")
        );
        let auth_id = hex!("4774fe5cc901ea4f81f2159909767a36");
        assert_eq!(
            LENGTH_KEY.derive_for(&cmd_key, &auth_id, &hex!("0001020304050607")),
            hex!("ba1895c9f68aa1427d19bcb3317e56039f33d2c6ad835ff99ca7ab3f4fa9cf4e")
        );
        let one = keyed(b"Demo Path for KDF Value Test");
        let two = Hmac::keyed(&one, b"Demo Path for KDF Value Test2");
        let three = Hmac::keyed(&two, b"Demo Path for KDF Value Test3");
        assert_eq!(
            three.absorb(b"Demo Key for KDF Value Test").finish(),
            hex!("53e9d7e1bd7bd25022b71ead07d8a596efc8a845c7888652fd684b4903dc8892")
        );
        assert_eq!(
            keyed(&[b'p'; 100]).absorb(&[b'k'; 100]).finish(),
            hex!("77931f67eb5495f7826fb0fcbfbf8e3ad4dcda09968c0e19a6c0a71ef21e6457")
        );
    }
}
