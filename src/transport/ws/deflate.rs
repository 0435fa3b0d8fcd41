//! permessage-deflate (RFC 7692), the receiving half, for clients.
//!
//! Every browser offers it, so whoever does not stands out. V2Ray's servers and their like decline, and then
//! nothing of this is there. Where a server accepts, its messages may come compressed: [`Inflating`] stands
//! between the link and the WebSocket and makes plain frames of them, piece by piece in the reader's buffer. What
//! we send stays uncompressed, as the extension allows, and servers of ours never accept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::codec::{Header, MAX_HEADER, Opcode};
use crate::copy;
use crate::http::head::items;
use crate::io::{Goodbye, Io, Link, scratch};

/// What Chrome offers.
pub(super) const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// Whether an answer to [`OFFER`] agrees to it; `Err` when it is no answer to it (RFC 7692, section 7.1). What it says
/// about windows and contexts is the sender's business: ours is as large as any, and keeping what was read does no harm.
pub(super) fn agreed(headers: &HeaderMap) -> Result<bool, String> {
    let mut agreed = false;
    for item in items(headers, &SEC_WEBSOCKET_EXTENSIONS) {
        let text = String::from_utf8_lossy(item);
        let said = || text.escape_debug().take(100).collect::<String>();
        let mut parts = text.split(';').map(str::trim);
        if parts.next() != Some("permessage-deflate") {
            return Err(format!("the extension `{}` was not offered", said()));
        }
        if agreed {
            return Err("permessage-deflate is agreed to twice".to_owned());
        }
        let mut names = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (part, None),
            };
            let is_known = match name {
                "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
                "server_max_window_bits" | "client_max_window_bits" => value.is_some_and(is_window),
                _ => false,
            };
            if !is_known || names.contains(&name) {
                return Err(format!("`{}` is no answer to what was offered", said()));
            }
            names.push(name);
        }
        agreed = true;
    }
    Ok(agreed)
}

/// Bits of a window: 8 to 15, without zeros in front.
fn is_window(value: &str) -> bool {
    matches!(value, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

/// Reads a server's frames and hands them on without compression; writes pass through.
pub(crate) struct Inflating {
    inner: Link,
    inflater: Box<InflateState>,
    /// What was read and not looked at yet.
    read: BytesMut,
    at: At,
    /// The compressed message that is under way.
    message: Option<Message>,
    /// Made for a reader who had no room for it.
    made: BytesMut,
}

struct Message {
    /// Of the next frame that we make of it.
    opcode: Opcode,
    /// The frame that is being read is its last one.
    fin: bool,
}

#[derive(Clone, Copy)]
enum At {
    Header,
    /// So many bytes are handed on as they are.
    Plain(u64),
    /// So many compressed bytes of a frame are to come.
    Packed(u64),
    /// A message has ended; what it leaves away of its end, from here on.
    Tail(usize),
    /// The frame is a mistake, which the WebSocket finds by itself.
    Wrong,
}

/// The end of each message, which is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much is read at once.
const READ: usize = 16 * 1024;

/// The header of the frames that are made here: always with two bytes of length.
const FRONT: usize = 4;

impl Inflating {
    pub(crate) fn new(inner: Link, read: BytesMut) -> Self {
        Self {
            inner,
            inflater: InflateState::new_boxed(DataFormat::Raw),
            read,
            at: At::Header,
            message: None,
            made: BytesMut::new(),
        }
    }

    /// Makes what can be made of what was read; `false` asks for more.
    fn make(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        loop {
            match self.at {
                At::Header => match self.header() {
                    Some(at) => self.at = at,
                    None => return Ok(false),
                },
                At::Plain(0) => self.at = At::Header,
                At::Packed(0) => {
                    let is_last = self.message.as_ref().is_none_or(|message| message.fin);
                    self.at = if is_last { At::Tail(0) } else { At::Header };
                }
                _ if self.read.is_empty() && !matches!(self.at, At::Tail(_)) => return Ok(false),
                At::Plain(left) => {
                    let n = self.take(left, buf.remaining());
                    copy::put(&self.read[..n], buf);
                    self.read.advance(n);
                    self.at = At::Plain(left - n as u64);
                    return Ok(true);
                }
                At::Wrong => {
                    let n = self.take(u64::MAX, buf.remaining());
                    copy::put(&self.read[..n], buf);
                    self.read.advance(n);
                    return Ok(true);
                }
                At::Packed(left) => {
                    let n = self.take(left, READ);
                    let mut read = std::mem::take(&mut self.read);
                    let (used, made) = self.inflate(&read[..n], buf)?;
                    read.advance(used);
                    self.read = read;
                    self.at = At::Packed(left - used as u64);
                    if made {
                        return Ok(true);
                    }
                }
                At::Tail(from) => {
                    let (used, made) = self.inflate(&TAIL[from..], buf)?;
                    self.at = At::Tail(from + used);
                    if made {
                        return Ok(true);
                    }
                    if from + used == TAIL.len() {
                        self.end(buf);
                        return Ok(true);
                    }
                }
            }
        }
    }

    fn take(&self, left: u64, most: usize) -> usize {
        let n = self.read.len().min(most);
        usize::try_from(left).map_or(n, |left| n.min(left))
    }

    /// Looks at a header in front of what was read; that of a compressed frame is taken off.
    fn header(&mut self) -> Option<At> {
        let mut front = [0; MAX_HEADER];
        let n = self.read.len().min(MAX_HEADER);
        front[..n].copy_from_slice(&self.read[..n]);
        let first = *self.read.first()?;
        let (opcode, is_packed) = (first & 0x0f, first & 0x70 == 0x40);
        if is_packed && matches!(opcode, 1 | 2) {
            front[0] &= !0x40;
        }
        let (header, len) = match Header::decode(&front[..n]) {
            Ok(Some(found)) => found,
            Ok(None) => return None,
            Err(_) => return Some(At::Wrong),
        };
        let begins = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if header.mask.is_some() || (begins && self.message.is_some()) {
            return Some(At::Wrong);
        }
        if begins && is_packed {
            self.message = Some(Message {
                opcode: header.opcode,
                fin: header.fin,
            });
        } else if let (Opcode::Continuation, Some(message)) = (header.opcode, &mut self.message) {
            message.fin = header.fin;
        } else {
            return Some(At::Plain(header.len.saturating_add(len as u64)));
        }
        self.read.advance(len);
        Some(At::Packed(header.len))
    }

    /// Inflates from `packed` into one frame of `buf`: how much was used, and whether a frame was made.
    fn inflate(&mut self, packed: &[u8], buf: &mut ReadBuf<'_>) -> io::Result<(usize, bool)> {
        let mut small = [0; 256];
        let is_small = buf.remaining() < small.len();
        let room = match is_small {
            true => &mut small[..],
            false => buf.initialize_unfilled(),
        };
        let most = room.len().min(FRONT + usize::from(u16::MAX));
        let (front, plain) = room[..most].split_at_mut(FRONT);
        let result = inflate(&mut self.inflater, packed, plain, MZFlush::None);
        match result.status {
            // A block that says it is the last one; others may follow it (section 7.2.3.4).
            Ok(MZStatus::StreamEnd) => self.inflater.reset(DataFormat::Raw),
            // Neither bytes nor room to go on with.
            Ok(_) | Err(MZError::Buf) => {}
            Err(_) => return Err(broken("what a server compressed cannot be inflated")),
        }
        let (used, n) = (result.bytes_consumed, result.bytes_written);
        if used == 0 && n == 0 && !packed.is_empty() && result.status != Ok(MZStatus::StreamEnd) {
            return Err(broken("what a server compressed has no end"));
        }
        if n == 0 {
            return Ok((used, false));
        }
        let opcode = self.next_opcode();
        front.copy_from_slice(&[opcode as u8, 126, (n >> 8) as u8, n as u8]);
        match is_small {
            true => self.made.extend_from_slice(&small[..FRONT + n]),
            false => buf.advance(FRONT + n),
        }
        Ok((used, true))
    }

    /// The last frame of a message, empty.
    fn end(&mut self, buf: &mut ReadBuf<'_>) {
        let frame = [0x80 | self.next_opcode() as u8, 0];
        match buf.remaining() < frame.len() {
            true => self.made.extend_from_slice(&frame),
            false => buf.put_slice(&frame),
        }
        self.message = None;
        self.at = At::Header;
    }

    fn next_opcode(&mut self) -> Opcode {
        self.message
            .as_mut()
            .map_or(Opcode::Continuation, |message| {
                std::mem::replace(&mut message.opcode, Opcode::Continuation)
            })
    }

    /// Whether an end of the stream here would cut a message in two.
    fn is_inside(&self) -> bool {
        self.message.is_some() || !self.read.is_empty()
    }
}

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl AsyncRead for Inflating {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.made.is_empty() {
                let n = this.made.len().min(buf.remaining());
                copy::put(&this.made[..n], buf);
                this.made.advance(n);
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            if this.make(buf)? {
                if buf.filled().len() > before {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let mut scratch = scratch::take();
            let mut read = ReadBuf::new(&mut scratch[..READ]);
            match Pin::new(&mut this.inner).poll_read(cx, &mut read) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if this.read.is_empty() {
                        // An idle tunnel holds no buffer.
                        (this.read, this.made) = Default::default();
                    }
                    return Poll::Pending;
                }
            }
            if read.filled().is_empty() {
                return Poll::Ready(match this.is_inside() {
                    true => {
                        let text = "the connection ended inside a compressed message";
                        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
                    }
                    false => Ok(()),
                });
            }
            this.read.extend_from_slice(read.filled());
        }
    }
}

impl AsyncWrite for Inflating {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl Io for Inflating {
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }

    fn end_cuts_off(&self) -> bool {
        self.inner.end_cuts_off()
    }

    fn say_end(&mut self) {
        self.inner.say_end();
    }

    fn holds_up_others(&self) -> bool {
        self.inner.holds_up_others()
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_end(cx)
    }

    fn bound_unsent(&mut self, bytes: u32) {
        self.inner.bound_unsent(bytes);
    }

    fn goodbye(&self) -> Goodbye {
        self.inner.goodbye()
    }

    fn poll_write_in_place(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_in_place(cx, buf)
    }

    fn cork(&mut self) {
        self.inner.cork();
    }
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
