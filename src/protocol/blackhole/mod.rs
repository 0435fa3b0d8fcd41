//! blackhole: nothing goes anywhere.
//!
//! What is sent is swallowed. With `response: {type: "http"}` a stream is answered as V2Ray answers,
//! so that a browser shows an error at once; with `none` it just ends.

mod settings;

pub use settings::{OutboundSettings, Response};

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::{Io, Link, Packet, Packets};

pub struct Outbound(OutboundSettings);

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self(settings)
    }
}

/// V2Ray's own bytes, bare line feeds and all.
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\nConnection: close\nCache-Control: max-age=3600, public\nContent-Length: 0\n\n\n";

impl Outbound {
    /// Whether it takes the place of another outbound.
    pub fn stands_in(&self) -> bool {
        self.0.stands_in
    }

    /// Whether a stream is answered.
    pub fn answers(&self) -> bool {
        self.0.response != Response::None
    }

    /// A link that answers as `response` says, and ends.
    pub fn link(&self) -> Link {
        Link::other(Hole(match self.0.response {
            Response::None => b"",
            Response::Http => FORBIDDEN,
        }))
    }

    /// Datagrams that vanish.
    pub fn packets(&self) -> Box<dyn Packets> {
        Box::new(Void)
    }
}

/// What is left to answer.
struct Hole(&'static [u8]);

impl AsyncRead for Hole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(buf.remaining()));
        buf.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Hole {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Hole {}

/// Swallows datagrams until its owner has had enough of the silence.
struct Void;

impl Packets for Void {
    fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        Poll::Pending
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, _packet: &Packet) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn the_answer_is_v2rays_and_then_the_end() {
        let answers = [(Response::None, &b""[..]), (Response::Http, FORBIDDEN)];
        for (response, expected) in answers {
            let mut link = Outbound(OutboundSettings {
                response,
                stands_in: false,
            })
            .link();
            link.write_all(&[0; 100_000]).await.unwrap();
            let mut answer = Vec::new();
            link.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, expected);
        }
    }
}
