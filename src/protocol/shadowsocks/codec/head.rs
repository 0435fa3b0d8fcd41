//! What stands in front of the chunks of a stream.
//!
//! ```text
//! 2017, both ways: | salt |                  a client's first chunk begins with its address
//! 2022, request:   | salt | identity headers | sealed fixed 11 + 16 | sealed variable |
//!                    fixed:    type 0, time 8, length of the variable part 2
//!                    variable: address, n 2, padding n, payload
//! 2022, response:  | salt | sealed 11 + salt + 16 | sealed payload |
//!                    type 1, time 8, the request's salt, length of the payload 2
//! ```
//! An address is SOCKS': type, host, port.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::chunks::{Edition, OVERHEAD, Opener, Sealer};
use super::keys::Key;
use super::method::Cipher;
use super::{MAX_ADDRESS, MAX_SKEW, TAG, skew};
use crate::address::{AddressError, Destination, Form};

/// The sealed fixed part of a request.
pub const FIXED: usize = 11 + TAG;

/// Padding hides that there is no payload, or a short one.
const MAX_PADDING: usize = 900;

/// The most identity headers in front of a request: servers that each pass it on.
pub const MAX_IDENTITIES: usize = 8;

/// The most that a head takes in front of its payload.
pub const MAX_HEAD: usize =
    32 + 16 * MAX_IDENTITIES + FIXED + MAX_ADDRESS + 2 + MAX_PADDING + OVERHEAD;

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;

/// The head of a stream that is yet to be sent.
pub enum Head {
    /// Of 2017, in either direction; a client's has an address.
    Aead { salt: Key, address: Bytes },
    /// Of a client of 2022.
    Request {
        salt: Key,
        identities: Vec<u8>,
        address: Bytes,
    },
    /// Of a server of 2022.
    Response { salt: Key, request: Key },
}

/// How much a head has written, and what of the payload it took along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub len: usize,
    pub payload: usize,
}

impl Head {
    /// Writes the head to the front of `out`, which has [`MAX_HEAD`] more bytes than `payload`, with as much of the
    /// payload as travels in it. `time` is now, `random` draws padding and its length.
    pub fn seal(
        &self,
        sealer: &mut Sealer,
        payload: &[u8],
        time: u64,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut [u8],
    ) -> Written {
        match self {
            Self::Aead { salt, address } => {
                let len = put(out, 0, salt.as_slice());
                if address.is_empty() {
                    return Written { len, payload: 0 };
                }
                let n = payload.len().min(sealer.max_plain() - address.len());
                let first = [address, &payload[..n]].concat();
                let len = len + sealer.seal(&first, &mut out[len..]);
                Written { len, payload: n }
            }
            Self::Request {
                salt,
                identities,
                address,
            } => {
                let padding = match payload.len() {
                    n if n < MAX_PADDING => draw_padding(random),
                    _ => 0,
                };
                let room = sealer.max_plain() - address.len() - 2 - padding;
                let n = payload.len().min(room);
                let mut variable = Vec::with_capacity(address.len() + 2 + padding + n);
                variable.extend_from_slice(address);
                variable.extend((padding as u16).to_be_bytes());
                variable.resize(variable.len() + padding, 0);
                variable.extend_from_slice(&payload[..n]);
                let mut fixed = [0; FIXED - TAG];
                fixed[0] = REQUEST;
                fixed[1..9].copy_from_slice(&time.to_be_bytes());
                fixed[9..].copy_from_slice(&(variable.len() as u16).to_be_bytes());
                let len = put(out, 0, salt.as_slice());
                let len = put(out, len, identities);
                let len = len + sealer.piece(&fixed, &mut out[len..]);
                let len = len + sealer.piece(&variable, &mut out[len..]);
                Written { len, payload: n }
            }
            Self::Response { salt, request } => {
                let n = payload.len().min(sealer.max_plain());
                let mut fixed = [0; 11 + 32];
                let fixed = &mut fixed[..11 + request.as_slice().len()];
                fixed[0] = RESPONSE;
                fixed[1..9].copy_from_slice(&time.to_be_bytes());
                let at = put(fixed, 9, request.as_slice());
                fixed[at..].copy_from_slice(&(n as u16).to_be_bytes());
                let len = put(out, 0, salt.as_slice());
                let len = len + sealer.piece(fixed, &mut out[len..]);
                let len = len + sealer.piece(&payload[..n], &mut out[len..]);
                Written { len, payload: n }
            }
        }
    }
}

/// Puts `bytes` at `at`, and returns where they end.
fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let end = at + bytes.len();
    out[at..end].copy_from_slice(bytes);
    end
}

/// 1 to [`MAX_PADDING`].
pub(super) fn draw_padding(random: &mut dyn FnMut(&mut [u8])) -> usize {
    let mut drawn = [0; 2];
    random(&mut drawn);
    1 + usize::from(u16::from_be_bytes(drawn)) % MAX_PADDING
}

/// The fixed part of a request of 2022.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub time: u64,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    #[error("its fixed part does not open")]
    Sealed,
    #[error("its type is {0}, expected 0")]
    Type(u8),
    #[error("it ends within its address or padding")]
    Short,
    #[error("it has neither payload nor padding")]
    Bare,
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Fixed {
    /// Opens it; `opener` expects the variable part from then on.
    pub fn open(opener: &mut Opener, sealed: &[u8; FIXED]) -> Result<Self, RequestError> {
        let mut plain = [0; FIXED - TAG];
        opener
            .aead
            .open(sealed, &mut plain)
            .ok_or(RequestError::Sealed)?;
        let [kind, time @ .., high, low] = plain;
        if kind != REQUEST {
            return Err(RequestError::Type(kind));
        }
        opener.expect(usize::from(u16::from_be_bytes([high, low])));
        Ok(Self {
            time: u64::from_be_bytes(time),
        })
    }
}

/// Takes address and padding off the front of a variable part, all of which is here; what is left is payload.
pub fn take_variable(plain: &mut BytesMut) -> Result<Destination, RequestError> {
    let to = Destination::decode(plain, Form::PortLast)?.ok_or(RequestError::Short)?;
    let (length, rest) = plain.split_first_chunk().ok_or(RequestError::Short)?;
    let padding = usize::from(u16::from_be_bytes(*length));
    if rest.is_empty() {
        return Err(RequestError::Bare);
    }
    if rest.len() < padding {
        return Err(RequestError::Short);
    }
    plain.advance(2 + padding);
    Ok(to)
}

/// What a client knows a response by.
pub struct Awaited {
    pub edition: Edition,
    pub cipher: Cipher,
    pub key: Key,
    /// The request's.
    pub salt: Key,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ResponseError {
    #[error("the answer does not open: has the server another method or password?")]
    Sealed,
    #[error("the answer is of type {0}, expected 1")]
    Type(u8),
    #[error("the answer is one to another request, possibly sent by someone who recorded it")]
    OtherRequest,
    #[error("the server's clock is {skew} s {} ours, at most {MAX_SKEW} s is allowed", if *.behind { "behind" } else { "ahead of" })]
    Clock { skew: u64, behind: bool },
}

impl Awaited {
    /// What opens the chunks of the answer that begins with `sealed`, and how many bytes stand in front of them; `None`
    /// asks for more.
    pub fn open(&self, sealed: &[u8], now: u64) -> Result<Option<(Opener, usize)>, ResponseError> {
        let salt_len = self.cipher.key_len();
        let Some((salt, rest)) = sealed.split_at_checked(salt_len) else {
            return Ok(None);
        };
        if self.edition == Edition::Aead {
            let opener = Opener::new(self.edition, self.cipher, &self.key, salt);
            return Ok(Some((opener, salt_len)));
        }
        let len = 11 + salt_len;
        let Some(fixed) = rest.get(..len + TAG) else {
            return Ok(None);
        };
        let mut opener = Opener::new(self.edition, self.cipher, &self.key, salt);
        let mut plain = [0; 11 + 32];
        let plain = &mut plain[..len];
        opener
            .aead
            .open(fixed, plain)
            .ok_or(ResponseError::Sealed)?;
        if plain[0] != RESPONSE {
            return Err(ResponseError::Type(plain[0]));
        }
        let (time, rest) = plain[1..].split_first_chunk().expect("it has 8 bytes");
        let (request, length) = rest.split_at(salt_len);
        if request != self.salt.as_slice() {
            return Err(ResponseError::OtherRequest);
        }
        let (skew, behind) = skew(u64::from_be_bytes(*time), now);
        if skew > MAX_SKEW {
            return Err(ResponseError::Clock { skew, behind });
        }
        opener.expect(usize::from(u16::from_be_bytes([length[0], length[1]])));
        Ok(Some((opener, salt_len + len + TAG)))
    }
}
