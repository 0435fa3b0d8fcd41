//! The request header: what the client asks for, and the keys of the body.
//!
//! ```text
//! sealed: | auth id 16 | sealed length 18 | nonce 8 | sealed header n + 16 |
//! plain:  | version 1 | iv 16 | key 16 | v 1 | options 1 | padding:4 security:4 | sign 1 | command 1 |
//!         | address, unless the command is mux | padding | FNV-1a of all before 4 |
//! ```
//! The sign is ours: V2Ray writes 0 there, and no server looks at it.
//! Both seals are AES-128-GCM whatever the body uses, with the auth id as associated data.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Tag};
use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

use super::auth_id::CmdKey;
use super::body::{Cipher, Framing};
use super::fnv::fnv1a;
use super::kdf;
use crate::address::{AddressError, Destination, Form};

/// Auth id, sealed length and nonce: what must be there before anything can be opened.
pub const PREFIX: usize = 16 + 18 + 8;

/// The longest header there can be: 38 bytes, address, 15 of padding and the checksum.
pub const MAX_HEADER: usize = 38 + 2 + 1 + 1 + 255 + 15 + 4;

/// Option bits.
pub mod option {
    pub const CHUNKS: u8 = 0x01;
    pub const MASKING: u8 = 0x04;
    pub const PADDING: u8 = 0x08;
    pub const AUTH_LENGTH: u8 = 0x10;
}

/// The client ends its direction with an end mark, whenever it comes to its end.
const MARKS_ENDS: u8 = 0x01;

/// What the padding of a header is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// There is too little of it to be told from chance.
    #[default]
    Unknown,
    /// As sing-vmess has it.
    Zeros,
    /// As V2Ray has it.
    Random,
}

impl Padding {
    fn of(bytes: &[u8]) -> Self {
        match bytes.iter().any(|b| *b != 0) {
            true => Self::Random,
            false if bytes.len() >= 4 => Self::Zeros,
            false => Self::Unknown,
        }
    }
}

/// Holds the keys of a body, so it does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// IV of the body, client to server; the other direction's derives from it.
    pub iv: [u8; 16],
    pub key: [u8; 16],
    /// The server says this byte back in its response.
    pub v: u8,
    pub options: u8,
    pub cipher: Cipher,
    /// The client never ends its direction without an end mark.
    pub marks_ends: bool,
    /// Only seen, never sent.
    pub padding: Padding,
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Stream(Destination),
    Packets(Destination),
    /// Many sessions inside one link; each names its own destination.
    Mux,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    #[error("the header's length does not open")]
    SealedLength,
    #[error("the header has {0} bytes, expected 42 to {MAX_HEADER}")]
    Length(usize),
    #[error("the header does not open")]
    Sealed,
    #[error("the header's checksum is wrong")]
    Checksum,
    #[error("the header's version is {0}, expected 1")]
    Version(u8),
    #[error("security {0} is unknown, expected 3, 4 or 5")]
    Security(u8),
    #[error(
        "it seals nothing (`security: none` or `zero`), which `disableInsecureEncryption` forbids"
    )]
    Unsealed,
    #[error("command {0} is unknown, expected 1, 2 or 3")]
    Command(u8),
    #[error("global padding is asked for without masking")]
    PaddingWithoutMask,
    #[error("the header is too short for what it says")]
    Short,
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} <redacted>", self.cipher, self.command)
    }
}

impl Request {
    pub fn framing(&self) -> Framing {
        Framing {
            cipher: self.cipher,
            options: self.options,
            packets: matches!(self.command, Command::Packets(_)),
        }
    }

    pub fn decode(plain: &[u8]) -> Result<Self, HeaderError> {
        let Some((fields, sum)) = plain.split_last_chunk::<4>() else {
            return Err(HeaderError::Short);
        };
        if fnv1a(fields).to_be_bytes() != *sum {
            return Err(HeaderError::Checksum);
        }
        let Some((fixed, rest)) = fields.split_first_chunk::<38>() else {
            return Err(HeaderError::Short);
        };
        if fixed[0] != 1 {
            return Err(HeaderError::Version(fixed[0]));
        }
        let options = fixed[34];
        let (padding, security) = (usize::from(fixed[35] >> 4), fixed[35] & 0x0f);
        let cipher = Cipher::from_wire(security).ok_or(HeaderError::Security(security))?;
        if options & option::PADDING != 0 && options & option::MASKING == 0 {
            return Err(HeaderError::PaddingWithoutMask);
        }
        let mut rest = BytesMut::from(rest);
        let command = match fixed[37] {
            1 => Command::Stream(address(&mut rest)?),
            2 => Command::Packets(address(&mut rest)?),
            3 => Command::Mux,
            other => return Err(HeaderError::Command(other)),
        };
        // More than the padding may follow from a client of the future; less cannot be.
        if rest.len() < padding {
            return Err(HeaderError::Short);
        }
        let padding = &rest[..padding];
        Ok(Self {
            marks_ends: fixed[36] & MARKS_ENDS != 0,
            padding: Padding::of(padding),
            iv: std::array::from_fn(|i| fixed[1 + i]),
            key: std::array::from_fn(|i| fixed[17 + i]),
            v: fixed[33],
            options,
            cipher,
            command,
        })
    }

    /// Appends the plain header; at most 15 bytes of `padding` are used.
    pub fn encode(&self, padding: &[u8], out: &mut BytesMut) -> Result<(), AddressError> {
        let padding = &padding[..padding.len().min(15)];
        let start = out.len();
        out.put_u8(1);
        out.put_slice(&self.iv);
        out.put_slice(&self.key);
        out.put_u8(self.v);
        out.put_u8(self.options);
        out.put_u8((padding.len() as u8) << 4 | self.cipher.to_wire());
        out.put_u8(if self.marks_ends { MARKS_ENDS } else { 0 });
        match &self.command {
            Command::Stream(to) => {
                out.put_u8(1);
                to.encode(Form::PortFirst, out)?;
            }
            Command::Packets(to) => {
                out.put_u8(2);
                to.encode(Form::PortFirst, out)?;
            }
            Command::Mux => out.put_u8(3),
        }
        out.put_slice(padding);
        out.put_u32(fnv1a(&out[start..]));
        Ok(())
    }
}

fn address(buf: &mut BytesMut) -> Result<Destination, HeaderError> {
    Destination::decode(buf, Form::PortFirst)?.ok_or(HeaderError::Short)
}

/// `plain` as it goes over the wire.
pub fn seal(key: &CmdKey, auth_id: &[u8; 16], nonce: &[u8; 8], plain: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(PREFIX + plain.len() + 16);
    out.put_slice(auth_id);
    let mut len = (plain.len() as u16).to_be_bytes();
    let tag = Seal::length(key, auth_id, nonce).close(auth_id, &mut len);
    out.put_slice(&len);
    out.put_slice(&tag);
    out.put_slice(nonce);
    out.put_slice(plain);
    let tag = Seal::header(key, auth_id, nonce).close(auth_id, &mut out[PREFIX..]);
    out.put_slice(&tag);
    out
}

/// Takes one sealed header off the front of `buf` and opens it; `None` asks for more bytes and takes
/// nothing. `key` is that of the user whose auth id stands in front.
pub fn open(key: &CmdKey, buf: &mut BytesMut) -> Result<Option<Request>, HeaderError> {
    let Some(prefix) = buf.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let auth_id: [u8; 16] = std::array::from_fn(|i| prefix[i]);
    let mut sealed_len: [u8; 18] = std::array::from_fn(|i| prefix[16 + i]);
    let nonce: [u8; 8] = std::array::from_fn(|i| prefix[34 + i]);
    let len = Seal::length(key, &auth_id, &nonce)
        .open(&auth_id, &mut sealed_len)
        .ok_or(HeaderError::SealedLength)?;
    let len = len.iter().fold(0, |len, b| len << 8 | usize::from(*b));
    if !(42..=MAX_HEADER).contains(&len) {
        return Err(HeaderError::Length(len));
    }
    let Some(sealed) = buf.get(PREFIX..PREFIX + len + 16) else {
        return Ok(None);
    };
    let mut sealed = sealed.to_vec();
    let plain = Seal::header(key, &auth_id, &nonce)
        .open(&auth_id, &mut sealed)
        .ok_or(HeaderError::Sealed)?;
    let request = Request::decode(plain)?;
    buf.advance(PREFIX + len + 16);
    Ok(Some(request))
}

/// AES-128-GCM under a key that serves once.
pub(super) struct Seal {
    cipher: Aes128Gcm,
    nonce: [u8; 12],
}

impl Seal {
    pub(super) fn new((key, nonce): ([u8; 16], [u8; 12])) -> Self {
        Self {
            cipher: Aes128Gcm::new(&key.into()),
            nonce,
        }
    }

    fn length(key: &CmdKey, auth_id: &[u8; 16], nonce: &[u8; 8]) -> Self {
        Self::new(kdf::LENGTH.derive_for(&key.0, auth_id, nonce))
    }

    fn header(key: &CmdKey, auth_id: &[u8; 16], nonce: &[u8; 8]) -> Self {
        Self::new(kdf::HEADER.derive_for(&key.0, auth_id, nonce))
    }

    /// Encrypts in place; the tag is returned.
    pub(super) fn close(&self, aad: &[u8], buf: &mut [u8]) -> [u8; 16] {
        self.cipher
            .encrypt_inout_detached(&self.nonce.into(), aad, buf.into())
            .expect("a header is far shorter than what AES-GCM can seal")
            .into()
    }

    /// Decrypts ciphertext and tag in place; the plaintext is returned.
    pub(super) fn open<'b>(&self, aad: &[u8], buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let (text, tag) = buf.split_last_chunk_mut::<16>()?;
        let tag = Tag::from(*tag);
        self.cipher
            .decrypt_inout_detached(&self.nonce.into(), aad, (&mut *text).into(), &tag)
            .ok()?;
        Some(text)
    }
}
