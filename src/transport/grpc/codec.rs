//! The messages of the tunnel.
//!
//! ```text
//! | compressed 1 = 0 | length 4 | then fields: 0a | varint | bytes |
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::cause::StreamError;
use crate::copy;
use crate::transport::http2::stream::Step;

/// The one field of a message: number 1, bytes.
const FIELD: u8 = 0x0a;

/// What stands in front of a message.
const PREFIX: usize = 5;

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoder {
    state: State,
    /// Bytes of the message behind what was read.
    message: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of the prefix were read, and this is what they say of the length.
    Prefix(u8, u32),
    Tag,
    /// So many bytes of the length were read.
    Len(u8, u32),
    /// So many bytes of the field are to come.
    Data(u32),
}

impl Default for State {
    fn default() -> Self {
        Self::Prefix(0, 0)
    }
}

impl Decoder {
    /// How many bytes at the front of `sealed` are none of the payload, and how many behind them are; no more than `room`.
    pub(super) fn step(&mut self, sealed: &[u8], room: usize) -> Result<Step, StreamError> {
        for (skip, byte) in sealed.iter().enumerate() {
            if let State::Data(left) = self.state {
                let rest = sealed.len() - skip;
                let take = rest.min(room).min(left as usize);
                self.took(left, take as u32);
                return Ok(Step { skip, take });
            }
            self.head(*byte)?;
        }
        let skip = sealed.len();
        Ok(Step { skip, take: 0 })
    }

    /// Whether a message has begun and is not whole.
    fn is_inside(&self) -> bool {
        self.state != State::default()
    }

    fn took(&mut self, left: u32, take: u32) {
        self.message -= take;
        self.state = match (left - take, self.message) {
            (0, 0) => State::default(),
            (0, _) => State::Tag,
            (left, _) => State::Data(left),
        };
    }

    /// One byte that is none of the payload.
    fn head(&mut self, byte: u8) -> Result<(), StreamError> {
        self.state = match self.state {
            State::Prefix(0, _) => match byte {
                0 => State::Prefix(1, 0),
                _ => return Err(StreamError::Malformed("it is compressed")),
            },
            State::Prefix(n, len) => {
                let len = len << 8 | u32::from(byte);
                match usize::from(n) + 1 {
                    PREFIX => {
                        self.message = len;
                        // Some send an empty one, which means nothing.
                        if len == 0 {
                            State::default()
                        } else {
                            State::Tag
                        }
                    }
                    _ => State::Prefix(n + 1, len),
                }
            }
            State::Tag => {
                self.count()?;
                match byte {
                    FIELD => State::Len(0, 0),
                    _ => return Err(StreamError::Malformed("its field is not number 1")),
                }
            }
            State::Len(n, len) => {
                self.count()?;
                if n > 4 {
                    return Err(StreamError::Malformed("a length has no end"));
                }
                let len = u64::from(len) | u64::from(byte & 0x7f) << (7 * n);
                let len = u32::try_from(len)
                    .map_err(|_| StreamError::Malformed("a field is too long"))?;
                match byte & 0x80 {
                    0 => self.field(len)?,
                    _ => State::Len(n + 1, len),
                }
            }
            State::Data(_) => return Err(StreamError::Malformed("unexpected byte")),
        };
        Ok(())
    }

    fn field(&self, len: u32) -> Result<State, StreamError> {
        match (len, self.message) {
            (0, 0) => Ok(State::default()),
            (0, _) => Ok(State::Tag),
            (len, message) if len <= message => Ok(State::Data(len)),
            _ => Err(StreamError::Malformed("a field is longer than its message")),
        }
    }

    /// One byte of the message was read.
    fn count(&mut self) -> Result<(), StreamError> {
        let less = self.message.checked_sub(1);
        self.message = less.ok_or(StreamError::Malformed("a message ends inside a field"))?;
        Ok(())
    }
}

/// `payload`, which is not empty, as a message.
pub(super) fn message(payload: &[u8]) -> Bytes {
    let len = payload.len();
    let mut varint = [0; 5];
    let mut n = 0;
    let mut rest = len;
    loop {
        varint[n] = (rest & 0x7f) as u8;
        rest >>= 7;
        n += 1;
        if rest == 0 {
            break;
        }
        varint[n - 1] |= 0x80;
    }
    let whole = 1 + n + len;
    let mut out = BytesMut::with_capacity(PREFIX + whole);
    out.put_u8(0);
    out.put_u32(whole as u32);
    out.put_u8(FIELD);
    out.put_slice(&varint[..n]);
    copy::append(payload, &mut out);
    out.freeze()
}

/// Any bytes: no panic, and the same payload in whatever pieces they come. What is written is read.
pub fn fuzz(data: &[u8]) {
    let whole = opened(data, data.len().max(1), usize::MAX);
    for (piece, room) in [(1, 1), (3, 7), (1000, 64)] {
        assert_eq!(opened(data, piece, room), whole, "in pieces of {piece}");
    }
    if !data.is_empty() {
        let read = opened(&message(data), 5, 11);
        assert_eq!(read, Ok((data.to_vec(), false)));
    }
}

/// All the payload of `sealed`, read in pieces of `piece` bytes with room for `room`.
fn opened(sealed: &[u8], piece: usize, room: usize) -> Result<(Vec<u8>, bool), StreamError> {
    let (mut decoder, mut plain) = (Decoder::default(), Vec::new());
    for mut piece in sealed.chunks(piece) {
        while !piece.is_empty() {
            let Step { skip, take } = decoder.step(piece, room)?;
            plain.extend_from_slice(&piece[skip..skip + take]);
            piece = &piece[skip + take..];
        }
    }
    Ok((plain, decoder.is_inside()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn a_message_is_read_in_any_pieces() {
        for len in [1, 2, 127, 128, 300, 16_383, 16_384, 70_000] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut sealed = message(&payload).to_vec();
            sealed.extend_from_slice(&message(&payload));
            for (piece, room) in [(1, 1), (3, 7), (1000, 64), (usize::MAX, usize::MAX)] {
                let piece = piece.min(sealed.len());
                let (plain, inside) = opened(&sealed, piece, room).unwrap();
                assert!(
                    plain == [&payload[..], &payload].concat() && !inside,
                    "{len}"
                );
            }
        }
    }

    #[test]
    fn what_other_programs_send_is_read() {
        // One message with two fields (multiMode), an empty message, an empty field.
        let sealed = hex!("00 00000007 0a 02 6162 0a 01 63" "00 00000000" "00 00000002 0a 00");
        assert_eq!(opened(&sealed, 1, 100).unwrap(), (b"abc".to_vec(), false));
        // A length written longer than it need be.
        let sealed = hex!("00 00000004 0a 81 00 61");
        assert_eq!(opened(&sealed, 4, 100).unwrap(), (b"a".to_vec(), false));
        assert!(opened(&hex!("00 00000004 0a 03 61"), 9, 9).is_err());
        assert!(opened(&hex!("00 00000003 0a 02 61"), 9, 9).is_err());
    }

    #[test]
    fn what_is_no_tunnel_is_refused() {
        for sealed in [
            &hex!("01 00000003 0a 01 61")[..],
            &hex!("00 00000003 12 01 61"),
            &hex!("00 00000001 0a 01 61"),
            &hex!("00 00000003 0a 02 61"),
            &hex!("00 00000009 0a ff ff ff ff ff ff 01"),
            &hex!("00 00000009 0a ff ff ff ff 7f"),
        ] {
            assert!(opened(sealed, 2, 100).is_err(), "{sealed:02x?}");
        }
    }
}
