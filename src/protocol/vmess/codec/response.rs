//! The response header: proof that the server could read the request.
//!
//! ```text
//! sealed: | sealed length 18 | sealed header n + 16 |
//! plain:  | v 1 | options 1 | command 1 | length 1 | command's data |
//! ```
//! V2Ray's options are 0, sing-vmess copies the request's; [`MARKS_ENDS`] is said to clients that said it first.
//! Keys derive from the response's key and IV, which are SHA-256 of the request's. The only command
//! (1, go to another port with another id) is of the past: it is read and left alone.

use bytes::{Buf, BytesMut};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::header::Seal;
use super::kdf;

/// Key and IV of one direction of a body.
#[derive(Clone, Copy)]
pub struct Keys {
    pub key: [u8; 16],
    pub iv: [u8; 16],
}

/// Option: the server ends its direction with an end mark, whenever it comes to its end. No request has this bit.
pub const MARKS_ENDS: u8 = 0x40;

/// The longest header there can be: four bytes and a command's data.
const MAX_HEADER: usize = 4 + 255;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ResponseError {
    #[error(
        "the server answered with a response header that does not open, is this its port and id?"
    )]
    Sealed,
    #[error("the server's response header has {0} bytes, expected 4 to {MAX_HEADER}")]
    Length(usize),
    #[error("the server's response header has {0} bytes and says it has {1}")]
    Short(usize, usize),
    #[error("the server answered another request than ours")]
    WrongV,
}

impl Keys {
    /// Those of the response, where `self` is the request's.
    pub fn response(&self) -> Self {
        let first_half = |bytes: &[u8; 16]| {
            let hash = Sha256::digest(bytes);
            std::array::from_fn(|i| hash[i])
        };
        Self {
            key: first_half(&self.key),
            iv: first_half(&self.iv),
        }
    }

    fn length_seal(&self) -> Seal {
        Seal::new(kdf::RESPONSE_LENGTH.derive(&self.key, &self.iv))
    }

    fn header_seal(&self) -> Seal {
        Seal::new(kdf::RESPONSE.derive(&self.key, &self.iv))
    }
}

/// The header a server sends, under the keys of the response.
pub fn seal(keys: &Keys, v: u8, options: u8) -> Vec<u8> {
    seal_plain(keys, &[v, options, 0, 0])
}

/// Any header, sealed as one.
pub fn seal_plain(keys: &Keys, plain: &[u8]) -> Vec<u8> {
    let mut len = (plain.len() as u16).to_be_bytes();
    let len_tag = keys.length_seal().close(&[], &mut len);
    let mut header = plain.to_vec();
    let header_tag = keys.header_seal().close(&[], &mut header);
    [&len, &len_tag[..], &header, &header_tag].concat()
}

/// Takes a response header off the front of `buf` and gives its options; `None` asks for more bytes and takes nothing.
pub fn open(keys: &Keys, v: u8, buf: &mut BytesMut) -> Result<Option<u8>, ResponseError> {
    let Some(mut sealed_len) = buf.first_chunk::<18>().copied() else {
        return Ok(None);
    };
    let seal = keys.length_seal();
    let len = seal
        .open(&[], &mut sealed_len)
        .ok_or(ResponseError::Sealed)?;
    let len = len.iter().fold(0, |len, b| len << 8 | usize::from(*b));
    if !(4..=MAX_HEADER).contains(&len) {
        return Err(ResponseError::Length(len));
    }
    let Some(sealed) = buf.get(18..18 + len + 16) else {
        return Ok(None);
    };
    let mut sealed = BytesMut::from(sealed);
    let plain = keys
        .header_seal()
        .open(&[], &mut sealed)
        .ok_or(ResponseError::Sealed)?;
    let said = 4 + usize::from(plain[3]);
    if plain.len() < said {
        return Err(ResponseError::Short(plain.len(), said));
    }
    if plain[0] != v {
        return Err(ResponseError::WrongV);
    }
    let options = plain[1];
    buf.advance(18 + len + 16);
    Ok(Some(options))
}
