//! Frames of an established WebSocket (RFC 6455, section 5.2).
//!
//! ```text
//! | FIN 1 bit, RSV 3, opcode 4 | MASK 1 bit, len 7 | 126: len 2; 127: len 8 | MASK: key 4 | payload |
//! ```
//!
//! A tunnel is a stream of bytes: text and binary are the same here, and where a message or a frame
//! ends means nothing. So a [`Decoder`] never waits for a whole frame. It walks over what was read,
//! unmasks payload where it lies and moves it together; it keeps an unfinished header or the payload
//! of a control frame (at most 125 bytes), and no more than that.

use thiserror::Error;

/// The longest frame header: two bytes, eight of length, four of key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a ping, a pong or a close.
pub const MAX_CONTROL: usize = 125;

/// Which end we are: a client masks what it sends, a server must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its peer is a server.
    Client,
    /// Its peer is a client.
    Server,
}

/// What a frame is (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that was begun.
    Continuation = 0x0,
    /// The beginning of a text, which a tunnel takes for bytes.
    Text = 0x1,
    /// The beginning of a message of bytes.
    Binary = 0x2,
    /// The last frame of a peer.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xa,
}

/// What stands in front of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether its message ends with it.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// The key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// How long the payload is.
    pub len: u64,
}

/// Why a frame breaks the protocol; each ends the connection with close code 1002.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "each has its sentence")]
pub enum FrameError {
    #[error("reserved bits {0:#05b} are set, no extension was agreed on")]
    ReservedBits(u8),
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    #[error("a control frame is fragmented")]
    FragmentedControl,
    #[error("a control frame has {0} bytes, at most {MAX_CONTROL} are allowed")]
    LongControl(u64),
    #[error("a frame length has its top bit set")]
    Length,
    #[error("a client's frame is not masked")]
    Unmasked,
    #[error("a server's frame is masked")]
    Masked,
    #[error("a continuation frame continues nothing")]
    StrayContinuation,
    #[error("a message begins inside another")]
    Interleaved,
    #[error("a close frame has one byte of payload, a code has two")]
    CloseLength,
    #[error("{0} is not a close code")]
    CloseCode(u16),
}

/// A control frame, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// With what the pong must carry.
    Ping(&'a [u8]),
    /// Whatever it carries.
    Pong,
    /// The code, if there was one, and the reason as the peer wrote it.
    Close(Option<u16>, &'a [u8]),
}

impl Opcode {
    fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

impl Header {
    /// Reads the header at the front of `bytes`, and its length; `None` asks for more bytes.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let reserved = first >> 4 & 0b111;
        if reserved != 0 {
            return Err(FrameError::ReservedBits(reserved));
        }
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            other => return Err(FrameError::ReservedOpcode(other)),
        };
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(FrameError::FragmentedControl);
        }
        let (len, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            len => (u64::from(len), rest),
        };
        if len >> 63 != 0 {
            return Err(FrameError::Length);
        }
        if opcode.is_control() && len > MAX_CONTROL as u64 {
            return Err(FrameError::LongControl(len));
        }
        let (mask, rest) = match (second & 0x80 != 0, rest.split_first_chunk()) {
            (false, _) => (None, rest),
            (true, Some((key, rest))) => (Some(*key), rest),
            (true, None) => return Ok(None),
        };
        let header = Self {
            fin,
            opcode,
            mask,
            len,
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Writes the header to the front of `out` and returns its length.
    pub fn encode(&self, out: &mut [u8; MAX_HEADER]) -> usize {
        out[0] = u8::from(self.fin) << 7 | self.opcode as u8;
        let mut at = match self.len {
            len @ 0..=125 => {
                out[1] = len as u8;
                2
            }
            len @ 126..=0xffff => {
                out[1] = 126;
                out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                4
            }
            len => {
                out[1] = 127;
                out[2..10].copy_from_slice(&len.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.mask {
            out[1] |= 0x80;
            out[at..at + 4].copy_from_slice(&key);
            at += 4;
        }
        at
    }
}

/// Masks or unmasks `data`, and turns `key` so that it fits the bytes that follow.
pub fn mask(data: &mut [u8], key: &mut [u8; 4]) {
    // Whole words in a loop without a second sequence: what compilers make wide instructions of.
    let [a, b, c, d] = *key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, k) in tail.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= k;
    }
    key.rotate_left(data.len() % 4);
}

/// Bytes that are moved and unmasked at once.
const BLOCK: usize = 64;

/// Moves the `n` bytes from `from` on down to `to`, and unmasks them: one walk over what two would bring into the cache twice.
fn unmask_to(buf: &mut [u8], from: usize, to: usize, n: usize, key: &mut [u8; 4]) {
    debug_assert!(to <= from);
    let mut at = 0;
    // What a block is written over has been read, for it goes down.
    while at + BLOCK <= n
        && let Some(mut block) = buf[from + at..].first_chunk::<BLOCK>().copied()
    {
        mask(&mut block, key);
        buf[to + at..][..BLOCK].copy_from_slice(&block);
        at += BLOCK;
    }
    buf.copy_within(from + at..from + n, to + at);
    mask(&mut buf[to + at..to + n], key);
}

/// Appends a control frame to `out`; `key` is there when we are the client.
pub fn encode_control(opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    debug_assert!(opcode.is_control() && payload.len() <= MAX_CONTROL);
    let header = Header {
        fin: true,
        opcode,
        mask: key,
        len: payload.len() as u64,
    };
    let mut front = [0; MAX_HEADER];
    let n = header.encode(&mut front);
    out.extend_from_slice(&front[..n]);
    let at = out.len();
    out.extend_from_slice(payload);
    if let Some(mut key) = key {
        mask(&mut out[at..], &mut key);
    }
}

/// Takes what was read apart, wherever reads happened to end.
pub struct Decoder {
    peer: Role,
    at: At,
    /// A message was begun and not finished.
    in_message: bool,
    /// An unfinished header, or the payload of a control frame so far.
    held: [u8; MAX_CONTROL],
    held_len: u8,
}

enum At {
    Header,
    Payload {
        left: u64,
        key: [u8; 4],
    },
    Control {
        opcode: Opcode,
        len: u8,
        key: [u8; 4],
    },
    /// After a close frame or a mistake, what else comes is not looked at.
    End,
}

impl Decoder {
    /// Decodes what `peer` sends.
    pub fn new(peer: Role) -> Self {
        Self {
            peer,
            at: At::Header,
            in_message: false,
            held: [0; MAX_CONTROL],
            held_len: 0,
        }
    }

    /// Whether an end of the stream here would cut a frame in two.
    pub fn is_inside_frame(&self) -> bool {
        match self.at {
            At::Header => self.held_len > 0,
            At::Payload { .. } | At::Control { .. } => true,
            At::End => false,
        }
    }

    /// Moves the payload in `buf` to its front, unmasked, and returns how much that is. Control
    /// frames go to `control` as they come. What stands before a mistake is delivered with it.
    pub fn open(
        &mut self,
        buf: &mut [u8],
        mut control: impl FnMut(Control<'_>),
    ) -> (usize, Result<(), FrameError>) {
        let mut plain = 0;
        let mut at = 0;
        while at < buf.len() {
            match &mut self.at {
                At::End => break,
                At::Payload { left, key } => {
                    let here = buf.len() - at;
                    let n = usize::try_from(*left).map_or(here, |left| left.min(here));
                    match self.peer {
                        Role::Client => unmask_to(buf, at, plain, n, key),
                        Role::Server => buf.copy_within(at..at + n, plain),
                    }
                    at += n;
                    plain += n;
                    *left -= n as u64;
                    if *left == 0 {
                        self.at = At::Header;
                    }
                }
                At::Header | At::Control { .. } => match self.small(&buf[at..], &mut control) {
                    Ok(n) => at += n,
                    Err(error) => {
                        self.at = At::End;
                        return (plain, Err(error));
                    }
                },
            }
        }
        (plain, Ok(()))
    }

    /// Takes bytes of a header or of a control frame's payload; both are collected in `held` when
    /// they do not come in one piece.
    fn small(
        &mut self,
        bytes: &[u8],
        control: &mut impl FnMut(Control<'_>),
    ) -> Result<usize, FrameError> {
        let before = usize::from(self.held_len);
        if let At::Control { opcode, len, key } = self.at {
            let n = (usize::from(len) - before).min(bytes.len());
            self.held[before..before + n].copy_from_slice(&bytes[..n]);
            self.held_len += n as u8;
            if self.held_len == len {
                self.finish_control(opcode, key, control)?;
            }
            return Ok(n);
        }
        if before == 0
            && let Some((header, n)) = Header::decode(bytes)?
        {
            self.begin(header, control)?;
            return Ok(n);
        }
        let n = (MAX_HEADER - before).min(bytes.len());
        self.held[before..before + n].copy_from_slice(&bytes[..n]);
        match Header::decode(&self.held[..before + n])? {
            Some((header, len)) => {
                self.held_len = 0;
                self.begin(header, control)?;
                Ok(len - before)
            }
            None => {
                self.held_len += n as u8;
                Ok(n)
            }
        }
    }

    fn begin(
        &mut self,
        header: Header,
        control: &mut impl FnMut(Control<'_>),
    ) -> Result<(), FrameError> {
        match (self.peer, header.mask) {
            (Role::Client, None) => return Err(FrameError::Unmasked),
            (Role::Server, Some(_)) => return Err(FrameError::Masked),
            _ => {}
        }
        let key = header.mask.unwrap_or_default();
        if header.opcode.is_control() {
            self.at = At::Control {
                opcode: header.opcode,
                len: header.len as u8,
                key,
            };
            if header.len == 0 {
                self.finish_control(header.opcode, key, control)?;
            }
            return Ok(());
        }
        match (header.opcode, self.in_message) {
            (Opcode::Continuation, false) => return Err(FrameError::StrayContinuation),
            (Opcode::Text | Opcode::Binary, true) => return Err(FrameError::Interleaved),
            _ => {}
        }
        self.in_message = !header.fin;
        if header.len > 0 {
            self.at = At::Payload {
                left: header.len,
                key,
            };
        }
        Ok(())
    }

    fn finish_control(
        &mut self,
        opcode: Opcode,
        mut key: [u8; 4],
        control: &mut impl FnMut(Control<'_>),
    ) -> Result<(), FrameError> {
        let payload = &mut self.held[..usize::from(self.held_len)];
        self.held_len = 0;
        self.at = At::Header;
        mask(payload, &mut key);
        match (opcode, &*payload) {
            (Opcode::Ping, payload) => control(Control::Ping(payload)),
            (Opcode::Close, []) => {
                self.at = At::End;
                control(Control::Close(None, &[]));
            }
            (Opcode::Close, [_]) => return Err(FrameError::CloseLength),
            (Opcode::Close, &[high, low, ref reason @ ..]) => {
                let code = u16::from_be_bytes([high, low]);
                if !may_be_sent(code) {
                    return Err(FrameError::CloseCode(code));
                }
                self.at = At::End;
                control(Control::Close(Some(code), reason));
            }
            _ => control(Control::Pong),
        }
        Ok(())
    }
}

/// Close codes that a frame may carry (RFC 6455, section 7.4, and its registry).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
