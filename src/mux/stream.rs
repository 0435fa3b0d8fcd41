//! A stream inside a link.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::codec::{Frame, Kind};
use super::table::Handle;
use crate::address::Destination;
use crate::copy;
use crate::io::Io;

/// Data of one frame, as much as V2Ray puts into one.
const FRAME_DATA: usize = 8 * 1024;

/// The most that one write takes, so that a busy stream leaves room for the others.
const WRITE_MAX: usize = 4 * FRAME_DATA;

pub(super) struct MuxStream {
    handle: Handle,
    /// The frame that opens the session waits for the first payload.
    opening: Option<Destination>,
}

impl MuxStream {
    /// A stream that the peer has opened.
    pub(super) fn opened(handle: Handle) -> Self {
        Self {
            handle,
            opening: None,
        }
    }

    /// A stream to `to`; nothing is sent before the first write or flush.
    pub(super) fn open(handle: Handle, to: Destination) -> Self {
        Self {
            handle,
            opening: Some(to),
        }
    }

    fn poll_frames(&mut self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let (session_id, opening) = (self.handle.session_id(), &mut self.opening);
        self.handle.poll_send(cx, |out| {
            let mut rest = &data[..data.len().min(WRITE_MAX)];
            if let Some(to) = opening.take() {
                let (first, more) = rest.split_at(rest.len().min(FRAME_DATA));
                let new = Frame {
                    session_id,
                    kind: Kind::Stream(to),
                    error: false,
                };
                new.encode((!first.is_empty()).then_some(first), out)?;
                rest = more;
            }
            for piece in rest.chunks(FRAME_DATA) {
                Frame::keep(session_id).encode(Some(piece), out)?;
            }
            Ok(data.len().min(WRITE_MAX))
        })
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        self.handle.poll_read(cx, room, |data| copy::put(data, buf))
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_frames(cx, data)
    }

    /// What was written is with the link's task; only the opening frame may still be here.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.opening.is_some() {
            ready!(self.poll_frames(cx, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.handle.end();
        Poll::Ready(Ok(()))
    }
}

impl Io for MuxStream {}
