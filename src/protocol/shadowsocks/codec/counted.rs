//! A cipher and the nonces of a stream.

use crate::aead::Key as Aead;

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
