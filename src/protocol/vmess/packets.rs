//! Datagrams inside a VMess connection: one a chunk, all to or from one destination.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::reader::Reader;
use super::writer::Writer;
use crate::address::Destination;
use crate::io::{Io, Packet, Packets};

pub(super) struct VmessPackets<S> {
    inner: S,
    reader: Reader,
    writer: Writer,
    /// Whom the request names. Towards the client it is left out, so an answer of anyone is sent.
    peer: Destination,
    /// Something was sent that the layer below has not been asked to flush.
    unflushed: bool,
}

impl<S> VmessPackets<S> {
    pub(super) fn new(inner: S, reader: Reader, writer: Writer, peer: Destination) -> Self {
        Self {
            inner,
            reader,
            writer,
            peer,
            unflushed: false,
        }
    }
}

impl<S: Io> VmessPackets<S> {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(self.writer.poll_push(&mut self.inner, cx))?;
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> Packets for VmessPackets<S> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        // A caller that has nothing more to send only reads, and must still get its last one out.
        let _ = self.poll_flush(cx)?;
        let data = ready!(self.reader.poll_chunk(&mut self.inner, cx))?;
        Poll::Ready(Ok(data.map(|data| Packet {
            peer: self.peer.clone(),
            data,
        })))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        ready!(self.writer.poll_packet(&mut self.inner, cx, &packet.data))?;
        self.unflushed = true;
        let _ = self.poll_flush(cx)?;
        Poll::Ready(Ok(()))
    }

    fn descriptors(&self) -> usize {
        1
    }
}
