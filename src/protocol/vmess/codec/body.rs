//! The body: a run of chunks, closed by an empty one.
//!
//! ```text
//! | size 2, or 18 when it is authenticated | sealed payload | padding 0-63 |
//! ```
//! The size counts payload, tag and padding. It is masked with a SHAKE128 stream seeded with the IV
//! of the direction; where there is padding, its length is drawn from the same stream before the mask.
//! Nonces are a 16-bit counter and ten bytes of the IV; the counter wraps, as it does in V2Ray, so a
//! sender makes its chunks as large as it may.

use md5::{Digest, Md5};
use thiserror::Error;

use super::header::option;
use super::kdf;
use super::mask::Mask;
use super::response::Keys;
use crate::aead::{self, Key, TAG};
use crate::copy;

/// How a body is sealed; the numbers on the wire are V2Ray's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    Aes128Gcm,
    ChaCha20Poly1305,
    None,
}

/// What a request says about the form of its bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    pub cipher: Cipher,
    pub options: u8,
    /// One datagram a chunk.
    pub packets: bool,
}

/// The most that one chunk of ours carries: the whole chunk stays within 16 KiB.
pub const MAX_PLAIN: usize = 16 * 1024 - MAX_OVERHEAD;

/// What a chunk adds to its payload at the most: size, tag and padding.
pub const MAX_OVERHEAD: usize = 18 + TAG + MAX_PADDING;

/// The largest chunk a peer may send: with an authenticated length the tag counts extra.
pub const MAX_CHUNK: usize = 18 + TAG + 0xffff;

const MAX_PADDING: usize = 63;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    #[error("a chunk's length does not open, the stream was changed on its way")]
    SealedLength,
    #[error("a chunk does not open, the stream was changed on its way")]
    Sealed,
    #[error("a chunk of {0} bytes cannot hold its tag and padding")]
    Short(usize),
}

impl Cipher {
    pub fn from_wire(security: u8) -> Option<Self> {
        Some(match security {
            3 => Self::Aes128Gcm,
            4 => Self::ChaCha20Poly1305,
            5 => Self::None,
            _ => return None,
        })
    }

    pub fn to_wire(self) -> u8 {
        match self {
            Self::Aes128Gcm => 3,
            Self::ChaCha20Poly1305 => 4,
            Self::None => 5,
        }
    }

    fn key(self, key: &[u8; 16]) -> Option<Key> {
        Some(match self {
            Self::Aes128Gcm => Key::new(aead::Cipher::Aes128Gcm, key),
            Self::ChaCha20Poly1305 => Key::new(aead::Cipher::ChaCha20Poly1305, &chacha_key(key)),
            Self::None => return None,
        })
    }
}

impl Framing {
    /// Whether the body has no chunks at all: V2Ray's `zero`.
    pub fn is_raw(&self) -> bool {
        self.cipher == Cipher::None && !self.has(option::CHUNKS)
    }

    fn has(&self, bit: u8) -> bool {
        self.options & bit != 0
    }
}

/// What sealing and opening share: the state of one direction.
struct State {
    payload: Option<Aead>,
    /// Authenticated length.
    length: Option<Aead>,
    /// Masks sizes, draws padding.
    mask: Option<Mask>,
    mask_size: bool,
    pad: bool,
}

impl State {
    /// `request` is the request's key and IV, in both directions; `own` is the direction's.
    fn new(framing: Framing, request: &Keys, own: &Keys) -> Self {
        let aead = framing.cipher != Cipher::None;
        let length = framing.has(option::AUTH_LENGTH).then(|| {
            // Both directions use the request's key and IV here. V2Ray does, so we must.
            let key = kdf::AUTH_LEN.derive(&request.key);
            Aead::new(framing.cipher, &key, &request.iv)
        });
        let length = length.flatten();
        let masking = framing.has(option::MASKING);
        // `none` pads datagrams only.
        let pad = masking && framing.has(option::PADDING) && (aead || framing.packets);
        let mask_size = masking && length.is_none();
        Self {
            payload: Aead::new(framing.cipher, &own.key, &own.iv),
            length,
            mask: (pad || mask_size).then(|| Mask::new(&own.iv)),
            mask_size,
            pad,
        }
    }

    fn draw_padding(&mut self) -> usize {
        match &mut self.mask {
            Some(mask) if self.pad => usize::from(mask.draw() % 64),
            _ => 0,
        }
    }

    fn draw_mask(&mut self) -> u16 {
        match &mut self.mask {
            Some(mask) if self.mask_size => mask.draw(),
            _ => 0,
        }
    }

    fn size_len(&self) -> usize {
        if self.length.is_some() { 2 + TAG } else { 2 }
    }

    fn tag_len(&self) -> usize {
        if self.payload.is_some() { TAG } else { 0 }
    }
}

/// Turns payload into chunks.
pub struct Sealer(State);

impl Sealer {
    pub fn new(framing: Framing, request: &Keys, own: &Keys) -> Self {
        Self(State::new(framing, request, own))
    }

    /// Writes one chunk to the front of `out` and returns its length. `plain` has at most 65,535 - 79
    /// bytes and `out` room for [`MAX_OVERHEAD`] more; an empty `plain` is the end of the stream.
    /// `random` fills the padding.
    pub fn seal(
        &mut self,
        plain: &[u8],
        out: &mut [u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> usize {
        let state = &mut self.0;
        let padding = state.draw_padding();
        let (head, tag) = (state.size_len(), state.tag_len());
        let size = (plain.len() + tag + padding) as u16;
        let (size_field, rest) = out.split_at_mut(head);
        if let Some(length) = &mut state.length {
            length.seal(&(size - TAG as u16).to_be_bytes(), size_field);
        } else {
            size_field.copy_from_slice(&(size ^ state.draw_mask()).to_be_bytes());
        }
        let (sealed, rest) = rest.split_at_mut(plain.len() + tag);
        match &mut state.payload {
            Some(payload) => payload.seal(plain, sealed),
            None => copy::copy(plain, sealed),
        }
        random(&mut rest[..padding]);
        head + sealed.len() + padding
    }
}

/// Finds and opens chunks.
pub struct Opener {
    state: State,
    /// The size and padding of the chunk in front, once they are known: they can be drawn only once.
    size: Option<(usize, usize)>,
}

/// A whole chunk at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where its sealed payload begins.
    at: usize,
    /// Bytes of payload; none is the end of the stream.
    pub plain: usize,
    /// Bytes of the chunk.
    pub len: usize,
}

impl Opener {
    pub fn new(framing: Framing, request: &Keys, own: &Keys) -> Self {
        Self {
            state: State::new(framing, request, own),
            size: None,
        }
    }

    /// The chunk at the front of `sealed`; `None` when it is not all there.
    pub fn chunk(&mut self, sealed: &[u8]) -> Result<Option<Chunk>, BodyError> {
        let head = self.state.size_len();
        let (size, padding) = match self.size {
            Some(known) => known,
            None => match sealed.get(..head) {
                Some(field) => *self.size.insert(read_size(&mut self.state, field)?),
                None => return Ok(None),
            },
        };
        let overhead = self.state.tag_len() + padding;
        let Some(plain) = size.checked_sub(overhead) else {
            // V2Ray's `none` ends a padded stream with a bare zero.
            if size == 0 && self.state.payload.is_none() {
                return Ok(Some(Chunk {
                    at: head,
                    plain: 0,
                    len: head,
                }));
            }
            return Err(BodyError::Short(size));
        };
        let len = head + size;
        Ok((sealed.len() >= len).then_some(Chunk {
            at: head,
            plain,
            len,
        }))
    }

    /// Opens what [`Self::chunk`] found in `sealed` into `plain`, which has the payload's length.
    pub fn open(&mut self, chunk: Chunk, sealed: &[u8], plain: &mut [u8]) -> Result<(), BodyError> {
        self.size = None;
        let sealed = &sealed[chunk.at..chunk.at + chunk.plain + self.state.tag_len()];
        match &mut self.state.payload {
            Some(payload) => payload.open(sealed, plain).ok_or(BodyError::Sealed),
            None => {
                copy::copy(sealed, plain);
                Ok(())
            }
        }
    }
}

fn read_size(state: &mut State, field: &[u8]) -> Result<(usize, usize), BodyError> {
    let padding = state.draw_padding();
    let mut plain = [0; 2];
    let size = match &mut state.length {
        Some(length) => {
            length
                .open(field, &mut plain)
                .ok_or(BodyError::SealedLength)?;
            usize::from(u16::from_be_bytes(plain)) + TAG
        }
        None => {
            plain.copy_from_slice(field);
            usize::from(u16::from_be_bytes(plain) ^ state.draw_mask())
        }
    };
    Ok((size, padding))
}

/// A cipher and the nonce of its next use.
struct Aead {
    key: Key,
    counter: u16,
    iv: [u8; 10],
}

impl Aead {
    fn new(cipher: Cipher, key: &[u8; 16], iv: &[u8; 16]) -> Option<Self> {
        Some(Self {
            key: cipher.key(key)?,
            counter: 0,
            iv: std::array::from_fn(|i| iv[2 + i]),
        })
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..2].copy_from_slice(&self.counter.to_be_bytes());
        nonce[2..].copy_from_slice(&self.iv);
        self.counter = self.counter.wrapping_add(1);
        nonce
    }

    /// Ciphertext and tag go to `out`, which is as long as both.
    fn seal(&mut self, plain: &[u8], out: &mut [u8]) {
        let nonce = self.nonce();
        self.key.seal(nonce, plain, out);
    }

    fn open(&mut self, sealed: &[u8], plain: &mut [u8]) -> Option<()> {
        let nonce = self.nonce();
        self.key.open(nonce, sealed, plain)
    }
}

/// ChaCha20-Poly1305 wants 32 bytes of key, VMess has 16.
fn chacha_key(key: &[u8; 16]) -> [u8; 32] {
    let first: [u8; 16] = Md5::digest(key).into();
    let second: [u8; 16] = Md5::digest(first).into();
    let mut out = [0; 32];
    out[..16].copy_from_slice(&first);
    out[16..].copy_from_slice(&second);
    out
}
