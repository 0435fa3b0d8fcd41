//! Datagrams in a stream, one behind the other.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Link, Packet, Packets, scratch};
use crate::copy;

/// How a protocol writes datagrams into a stream.
pub trait PacketForm: Send {
    type Error: Error + Send + Sync + 'static;

    /// Takes one datagram off the front of `buf`; `None` asks for more bytes and takes nothing.
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, Self::Error>;

    /// Appends one datagram; nothing when there is no way to write it.
    fn encode(&mut self, packet: &Packet, out: &mut BytesMut);
}

/// The datagrams of a link.
pub struct PacketStream<F> {
    link: Link,
    form: F,
    /// The beginning of a datagram.
    input: BytesMut,
    /// What the link did not take yet of the datagrams that were sent.
    output: BytesMut,
    unflushed: bool,
}

impl<F> PacketStream<F> {
    pub fn new(link: Link, form: F) -> Self {
        Self {
            link,
            form,
            input: BytesMut::new(),
            output: BytesMut::new(),
            unflushed: false,
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.link).poll_write(cx, &self.output))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.output.advance(n),
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.link).poll_flush(cx))?;
            self.unflushed = false;
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<F: PacketForm> Packets for PacketStream<F> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        // A caller that has nothing more to send only reads, and must still get its last one out.
        let _ = self.poll_flush(cx)?;
        loop {
            let decoded = self.form.decode(&mut self.input);
            let decoded = decoded.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            if let Some(mut packet) = decoded {
                // A piece of the buffer would keep all of it alive.
                packet.data = Bytes::copy_from_slice(&packet.data);
                return Poll::Ready(Ok(Some(packet)));
            }
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
            let mut scratch = scratch::take();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.link).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            copy::append(buf.filled(), &mut self.input);
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.form.encode(packet, &mut self.output);
        self.unflushed |= !self.output.is_empty();
        let _ = self.poll_flush(cx)?;
        Poll::Ready(Ok(()))
    }

    fn descriptors(&self) -> usize {
        1
    }
}
