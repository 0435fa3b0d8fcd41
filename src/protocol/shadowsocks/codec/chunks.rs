//! A stream: a run of chunks, without a mark for its end.
//!
//! ```text
//! | sealed length 2 + 16 | sealed payload n + 16 |
//! ```

use thiserror::Error;

use super::TAG;
use super::counted::Counted;
use super::keys::Key;
use super::method::Cipher;
use crate::aead::Key as Aead;

/// What a chunk adds to its payload.
pub const OVERHEAD: usize = LENGTH + TAG;

/// The largest chunk that a peer may send.
pub const MAX_CHUNK: usize = OVERHEAD + u16::MAX as usize;

/// A length and its tag.
pub const LENGTH: usize = 2 + TAG;

/// Which of the two protocols it is: they differ in how a session's key is made, and in how long a chunk may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    Aead,
    Blake3,
}

impl Edition {
    /// The most that a chunk carries.
    pub fn max_plain(self) -> usize {
        match self {
            Self::Aead => 0x3fff,
            Self::Blake3 => 0xffff,
        }
    }

    pub(super) fn session(self, cipher: Cipher, key: &Key, salt: &[u8]) -> Aead {
        match self {
            Self::Aead => key.aead_session(cipher, salt),
            Self::Blake3 => key.blake3_session(cipher, salt),
        }
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ChunkError {
    #[error("a chunk's length does not open, the stream was changed on its way")]
    Length,
    #[error("a chunk does not open, the stream was changed on its way")]
    Payload,
}

/// Turns payload into chunks.
pub struct Sealer {
    pub(super) aead: Counted,
    max: usize,
}

impl Sealer {
    pub fn new(edition: Edition, cipher: Cipher, key: &Key, salt: &[u8]) -> Self {
        Self {
            aead: Counted::new(edition.session(cipher, key, salt)),
            max: edition.max_plain(),
        }
    }

    /// The most that one chunk carries.
    pub fn max_plain(&self) -> usize {
        self.max
    }

    /// Writes one chunk to the front of `out` and returns its length. `plain` has at most [`Self::max_plain`] bytes and
    /// `out` room for [`OVERHEAD`] more.
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> usize {
        let (length, payload) = out.split_at_mut(LENGTH);
        self.aead.seal(&(plain.len() as u16).to_be_bytes(), length);
        self.piece(plain, payload);
        OVERHEAD + plain.len()
    }

    /// Writes a piece that says no length, and returns its own.
    pub(super) fn piece(&mut self, plain: &[u8], out: &mut [u8]) -> usize {
        let len = plain.len() + TAG;
        self.aead.seal(plain, &mut out[..len]);
        len
    }
}

/// Finds and opens chunks.
pub struct Opener {
    pub(super) aead: Counted,
    /// The chunk in front, once its length is known: that can be opened only once.
    next: Option<Chunk>,
}

/// A chunk at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where its sealed payload begins.
    at: usize,
    /// Bytes of payload; there may be none.
    pub plain: usize,
}

impl Chunk {
    /// Bytes of the whole chunk.
    pub fn whole(self) -> usize {
        self.at + self.plain + TAG
    }
}

impl Opener {
    pub fn new(edition: Edition, cipher: Cipher, key: &Key, salt: &[u8]) -> Self {
        Self {
            aead: Counted::new(edition.session(cipher, key, salt)),
            next: None,
        }
    }

    /// The length of the next payload has been told already, so it stands there alone.
    pub(super) fn expect(&mut self, plain: usize) {
        self.next = Some(Chunk { at: 0, plain });
    }

    /// The chunk at the front of `sealed`; `None` when it is not all there.
    pub fn chunk(&mut self, sealed: &[u8]) -> Result<Option<Chunk>, ChunkError> {
        let chunk = match self.next {
            Some(known) => known,
            None => {
                let Some(field) = sealed.get(..LENGTH) else {
                    return Ok(None);
                };
                let mut length = [0; 2];
                self.aead
                    .open(field, &mut length)
                    .ok_or(ChunkError::Length)?;
                let plain = usize::from(u16::from_be_bytes(length));
                *self.next.insert(Chunk { at: LENGTH, plain })
            }
        };
        Ok((sealed.len() >= chunk.whole()).then_some(chunk))
    }

    /// Opens what [`Self::chunk`] found in `sealed` into `plain`, which has the payload's length.
    pub fn open(
        &mut self,
        chunk: Chunk,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), ChunkError> {
        self.next = None;
        let sealed = &sealed[chunk.at..chunk.whole()];
        self.aead.open(sealed, plain).ok_or(ChunkError::Payload)
    }
}
