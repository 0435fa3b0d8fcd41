//! DNS over a stream: `length 2 ‖ message`, again and again (RFC 1035, section 4.2.2).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::address::Destination;
use crate::io::{Link, Packet, Packets, scratch};

/// A stream as datagrams: each is a message to or from `peer`.
pub struct Framed {
    link: Link,
    peer: Destination,
    read: BytesMut,
    /// What the link has not taken yet; one message at most.
    unsent: BytesMut,
}

impl Framed {
    pub fn new(link: Link, peer: Destination) -> Self {
        Self {
            link,
            peer,
            read: BytesMut::new(),
            unsent: BytesMut::new(),
        }
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let n = ready!(Pin::new(&mut self.link).poll_write(cx, &self.unsent))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(n);
        }
        Pin::new(&mut self.link).poll_flush(cx)
    }
}

impl Packets for Framed {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        // What is on its way out goes on while we wait for what comes in.
        if !self.unsent.is_empty()
            && let Poll::Ready(Err(e)) = self.poll_unsent(cx)
        {
            return Poll::Ready(Err(e));
        }
        loop {
            if let Some(data) = take_message(&mut self.read) {
                let peer = self.peer.clone();
                return Poll::Ready(Ok(Some(Packet { peer, data })));
            }
            let mut scratch = scratch::take();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.link).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            self.read.extend_from_slice(buf.filled());
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        let Ok(len) = u16::try_from(packet.data.len()) else {
            return Poll::Ready(Ok(()));
        };
        self.unsent.put_u16(len);
        self.unsent.put_slice(&packet.data);
        match self.poll_unsent(cx) {
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            // It is ours now: the rest goes with the next call of either side.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

/// Takes one whole message off the front.
fn take_message(buf: &mut BytesMut) -> Option<Bytes> {
    let len = usize::from(u16::from_be_bytes(*buf.first_chunk::<2>()?));
    if buf.len() < 2 + len {
        return None;
    }
    buf.advance(2);
    Some(buf.split_to(len).freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn messages_are_found_wherever_the_stream_is_cut() {
        let (ours, mut theirs) = duplex(1);
        let peer: Destination = "1.1.1.1:53".parse().unwrap();
        let mut framed = Framed::new(Link::other(ours), peer.clone());
        let writing = crate::io::spawn(async move {
            theirs
                .write_all(b"\0\x03abc\0\0\0\x01d\0\x05en")
                .await
                .unwrap();
        });
        for expected in ["abc", "", "d"] {
            let packet = poll_fn(|cx| framed.poll_recv(cx)).await.unwrap().unwrap();
            assert_eq!(
                (&packet.data[..], &packet.peer),
                (expected.as_bytes(), &peer)
            );
        }
        assert!(poll_fn(|cx| framed.poll_recv(cx)).await.unwrap().is_none());
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_message_that_the_link_takes_slowly_arrives_whole() {
        let (ours, mut theirs) = duplex(2);
        let peer: Destination = "1.1.1.1:53".parse().unwrap();
        let mut framed = Framed::new(Link::other(ours), peer.clone());
        let reading = crate::io::spawn(async move {
            let mut all = [0; 12];
            theirs.read_exact(&mut all).await.unwrap();
            theirs.write_all(b"\0\x01!").await.unwrap();
            all
        });
        for text in ["hello", "you"] {
            let data = Bytes::from_static(text.as_bytes());
            let packet = Packet {
                peer: peer.clone(),
                data,
            };
            poll_fn(|cx| framed.poll_send(cx, &packet)).await.unwrap();
        }
        let packet = poll_fn(|cx| framed.poll_recv(cx)).await.unwrap().unwrap();
        assert_eq!(&packet.data[..], b"!");
        assert_eq!(&reading.await.unwrap(), b"\0\x05hello\0\x03you");
    }
}
