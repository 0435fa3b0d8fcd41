//! Whole messages over a server's WebSocket.
//!
//! tungstenite keeps the buffers of the longest message for the life of a connection. There are thousands here, so frames
//! are the transport's ([`codec`](crate::transport::ws::codec)), and a message is read into bytes of its own.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::held::Unfinished;
use crate::transport::ws::codec::{FrameError, Header, MAX_CONTROL, MAX_HEADER, Opcode, mask};
use crate::websocket::MAX_MESSAGE;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A text, or bytes.
    Message(Message),
    /// A pong with this payload is wanted.
    Ping(Bytes),
    Pong,
    /// The code, 1005 without one, and the reason.
    Close(u16, String),
}

/// Why nothing more can be read.
#[derive(Debug, Error)]
pub(super) enum Unread {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("text that is not UTF-8")]
    NotText,
    #[error("a message of more than {} MiB", MAX_MESSAGE >> 20)]
    TooLong,
    #[error("too many messages are coming at one time")]
    Full,
    #[error("the connection ended without a Close")]
    Ended,
    #[error("{}", crate::cause::reason(.0))]
    Broken(#[from] io::Error),
}

impl Unread {
    /// What a client is told; `None` where there is nobody to be told.
    pub(super) fn close_code(&self) -> Option<u16> {
        match self {
            Self::Frame(_) => Some(1002),
            Self::NotText => Some(1007),
            Self::TooLong => Some(1009),
            Self::Full => Some(1013),
            Self::Ended | Self::Broken(_) => None,
        }
    }
}

/// Reads messages, fragmented or not.
pub(super) struct Reader<R> {
    from: R,
    read: BytesMut,
    /// The message that has begun.
    message: Option<(Opcode, BytesMut)>,
    unfinished: Unfinished,
    heard: Heard,
}

/// When something was read last.
#[derive(Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    pub(super) fn elapsed(&self) -> Duration {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The most that one read takes where a frame's length is not known.
const READ: usize = 4 * 1024;

/// The most that one read takes of a long frame.
const LONG_READ: usize = 64 * 1024;

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R, unfinished: Unfinished) -> Self {
        Self {
            from,
            read: BytesMut::new(),
            message: None,
            unfinished,
            heard: Heard(Arc::new(Mutex::new(Instant::now()))),
        }
    }

    /// When something was read last.
    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// The message that came last is counted elsewhere: until then it is counted as one that is coming.
    pub(super) fn is_kept(&mut self) {
        self.unfinished.is_whole();
    }

    /// The next message or control frame.
    pub(super) async fn next(&mut self) -> Result<Received, Unread> {
        loop {
            let header = self.header().await?;
            let Some(mut key) = header.mask else {
                return Err(FrameError::Unmasked.into());
            };
            match header.opcode {
                Opcode::Ping | Opcode::Pong | Opcode::Close => {
                    let len = usize::try_from(header.len).unwrap_or(MAX_CONTROL);
                    self.fill(len).await?;
                    let mut payload = self.read.split_to(len);
                    mask(&mut payload, &mut key);
                    return match header.opcode {
                        Opcode::Ping => Ok(Received::Ping(payload.freeze())),
                        Opcode::Pong => Ok(Received::Pong),
                        _ => close(&payload),
                    };
                }
                Opcode::Continuation if self.message.is_none() => {
                    return Err(FrameError::StrayContinuation.into());
                }
                Opcode::Continuation => {}
                _ if self.message.is_some() => return Err(FrameError::Interleaved.into()),
                opcode => {
                    self.unfinished.is_whole();
                    self.message = Some((opcode, BytesMut::new()));
                }
            }
            self.payload(&header, key).await?;
            if header.fin
                && let Some((opcode, bytes)) = self.message.take()
            {
                let bytes = bytes.freeze();
                return Ok(Received::Message(match opcode {
                    Opcode::Text => {
                        Message::Text(Utf8Bytes::try_from(bytes).map_err(|_| Unread::NotText)?)
                    }
                    _ => Message::Binary(bytes),
                }));
            }
        }
    }

    async fn header(&mut self) -> Result<Header, Unread> {
        loop {
            if let Some((header, len)) = Header::decode(&self.read)? {
                self.read.advance(len);
                return Ok(header);
            }
            let have = self.read.len();
            self.fill(have + 1).await?;
        }
    }

    /// Adds a data frame's payload to its message.
    async fn payload(&mut self, header: &Header, mut key: [u8; 4]) -> Result<(), Unread> {
        let Some((_, message)) = &mut self.message else {
            return Ok(());
        };
        let begin = message.len();
        let room = MAX_MESSAGE.saturating_sub(begin);
        let len = usize::try_from(header.len).ok().filter(|len| *len <= room);
        let len = len.ok_or(Unread::TooLong)?;
        // Empty fragments have a cost, too.
        if !self.unfinished.keep(1) {
            return Err(Unread::Full);
        }
        while message.len() - begin < len {
            let left = len - (message.len() - begin);
            let here = left.min(self.read.len());
            if here > 0 {
                message.extend_from_slice(&self.read[..here]);
                self.read.advance(here);
            } else {
                let at_once = left.min(LONG_READ);
                message.reserve(at_once);
                if self.from.read_buf(&mut message.limit(at_once)).await? == 0 {
                    return Err(Unread::Ended);
                }
                self.heard.now();
            }
            if !self.unfinished.keep(left - (len - (message.len() - begin))) {
                return Err(Unread::Full);
            }
        }
        mask(&mut message[begin..], &mut key);
        Ok(())
    }

    /// Reads until so much is there.
    async fn fill(&mut self, len: usize) -> Result<(), Unread> {
        while self.read.len() < len {
            self.read.reserve(READ);
            let room = READ.min(self.read.capacity() - self.read.len());
            let mut into = (&mut self.read).limit(room);
            if self.from.read_buf(&mut into).await? == 0 {
                return Err(Unread::Ended);
            }
            self.heard.now();
        }
        Ok(())
    }

    /// Reads on and forgets, until the connection ends.
    pub(super) async fn drain(&mut self) {
        loop {
            self.read.clear();
            if self.fill(1).await.is_err() {
                return;
            }
        }
    }
}

/// Reads a Close.
fn close(payload: &[u8]) -> Result<Received, Unread> {
    let (code, reason) = match payload {
        [] => return Ok(Received::Close(1005, String::new())),
        [_] => return Err(FrameError::CloseLength.into()),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::CloseCode(code).into());
    }
    let reason = str::from_utf8(reason).map_err(|_| Unread::NotText)?;
    Ok(Received::Close(code, reason.to_owned()))
}

/// Sends a message in one frame; `taken` hears whenever a part of it has been.
pub(super) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    message: &Message,
    taken: impl Fn(),
) -> io::Result<()> {
    match message {
        Message::Text(text) => frame(to, Opcode::Text, text.as_bytes(), taken).await,
        Message::Binary(bytes) => frame(to, Opcode::Binary, bytes, taken).await,
        _ => Ok(()),
    }
}

/// Sends a control frame.
pub(super) async fn send_control(
    to: &mut (impl AsyncWrite + Unpin),
    opcode: Opcode,
    payload: &[u8],
) -> io::Result<()> {
    frame(to, opcode, payload, || ()).await
}

async fn frame(
    to: &mut (impl AsyncWrite + Unpin),
    opcode: Opcode,
    payload: &[u8],
    taken: impl Fn(),
) -> io::Result<()> {
    let header = Header {
        fin: true,
        opcode,
        mask: None,
        len: payload.len() as u64,
    };
    let mut front = [0; MAX_HEADER];
    let len = header.encode(&mut front);
    // What is short goes out in one write with its header.
    let (first, rest) = payload.split_at(payload.len().min(READ));
    to.write_all(&[&front[..len], first].concat()).await?;
    for piece in rest.chunks(LONG_READ) {
        taken();
        to.write_all(piece).await?;
    }
    to.flush().await
}

/// Sends a Close; 1005 is one that says nothing.
pub(super) async fn send_close(
    to: &mut (impl AsyncWrite + Unpin),
    code: u16,
    reason: &str,
) -> io::Result<()> {
    let mut payload = Vec::new();
    if code != 1005 {
        payload.extend_from_slice(&code.to_be_bytes());
        let mut end = reason.len().min(MAX_CONTROL - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        payload.extend_from_slice(&reason.as_bytes()[..end]);
    }
    send_control(to, Opcode::Close, &payload).await
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
