//! Who is told that there will be no more, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::protocol::untold::{ANSWERING, SILENCE};

/// A link whose end is that of both directions, as a stream of smux is.
struct Whole {
    stream: DuplexStream,
    ended: Arc<AtomicBool>,
    /// The peer knows a word for the end of one direction, and has heard it.
    knows: bool,
    heard: bool,
}

impl Whole {
    fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            ended: Arc::default(),
            knows: false,
            heard: false,
        }
    }
}

impl AsyncRead for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Whole {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }
}

impl Io for Whole {
    fn half_closes(&self) -> bool {
        self.heard
    }

    fn say_end(&mut self) {
        self.heard = self.knows;
    }

    fn end_cuts_off(&self) -> bool {
        true
    }

    fn poll_end(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended.store(true, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }
}

/// A client that has said all, its peer, and whether that was told.
async fn asked() -> (Link, DuplexStream, Arc<AtomicBool>) {
    let (stream, mut peer) = duplex(64);
    let whole = Whole::new(stream);
    let ended = Arc::clone(&whole.ended);
    let mut client = headless_client(Link::other(whole));
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    peer.read_exact(&mut [0; 8]).await.unwrap();
    (client, peer, ended)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_pauses_is_not_cut_off() {
    let (mut client, mut peer, ended) = asked().await;
    let mut answer = [0; 5];
    peer.write_all(b"first").await.unwrap();
    client.read_exact(&mut answer).await.unwrap();
    let pause = timeout(ANSWERING - SILENCE, client.read(&mut answer)).await;
    assert!(pause.is_err(), "{pause:?}");
    assert!(!ended.load(Ordering::SeqCst));
    peer.write_all(b"later").await.unwrap();
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"later");
    // Whoever has no more to say is told at last.
    let silence = timeout(2 * ANSWERING, client.read(&mut answer)).await;
    assert!(silence.is_err(), "{silence:?}");
    assert!(ended.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_end_hears_of_it() {
    let (mut client, _peer, ended) = asked().await;
    let silence = timeout(2 * SILENCE, client.read(&mut [0])).await;
    assert!(silence.is_err(), "{silence:?}");
    assert!(ended.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn who_knows_a_word_for_it_is_not_cut_off() {
    let (stream, _peer) = duplex(64);
    let whole = Whole {
        knows: true,
        ..Whole::new(stream)
    };
    let ended = Arc::clone(&whole.ended);
    let mut client = headless_client(Link::other(whole));
    client.shutdown().await.unwrap();
    let silence = timeout(2 * ANSWERING, client.read(&mut [0])).await;
    assert!(silence.is_err(), "{silence:?}");
    assert!(!ended.load(Ordering::SeqCst));
}

/// As at a gost, where a connection that the target has closed is closed at once.
#[tokio::test(start_paused = true)]
async fn a_client_hears_at_once_that_there_is_no_more_answer() {
    let (stream, _peer) = duplex(64);
    let whole = Whole::new(stream);
    let ended = Arc::clone(&whole.ended);
    let mut server = headless_server(Link::other(whole));
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    assert!(ended.load(Ordering::SeqCst));
}
