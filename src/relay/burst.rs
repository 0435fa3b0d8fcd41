//! Fewer wake-ups while much is coming.
//!
//! A proxy that is faster than its peer is woken for every arrival, each a small part of what its buffer
//! holds. Once a direction has carried [`BULK`] bytes in large reads, its socket is asked to wake us for
//! [`LOW_WATER`] bytes only (`SO_RCVLOWAT`, socket(7)). What is less than that, the end of a burst for one,
//! waits for a timer: at most [`PATIENCE`], and the millisecond or two that timers take. An end of the stream and an error wake us at
//! once, and so does a receive buffer that is nearly full (Linux, `tcp_epollin_ready`).
//!
//! Reads that are large anyway have nothing to win. A stream too slow to bring [`LOW_WATER`] bytes within [`PATIENCE`], 64 MiB/s, is let go of by the timer, and
//! meets it once in [`BULK`] bytes.

use std::time::Duration;

use tokio::time::Instant;

use crate::io::{Io, Link};

/// What a direction carries in large reads before it counts as a burst.
const BULK: usize = 1024 * 1024;

/// A read below this is no sign of a burst.
const LARGE: usize = 8 * 1024;

const LOW_WATER: usize = 128 * 1024;

/// How long bytes below the mark may wait.
const PATIENCE: Duration = Duration::from_millis(2);

/// What one direction has read lately.
#[derive(Default)]
pub(super) struct Burst {
    /// Bytes of large reads in a row, and how many reads they took.
    run: usize,
    reads: usize,
    /// The last read, while the socket waits for [`LOW_WATER`] bytes.
    raised: Option<Instant>,
}

impl Burst {
    /// `n` bytes were read from `from`.
    pub(super) fn read(&mut self, n: usize, from: &mut Link) {
        if let Some(last) = &mut self.raised {
            *last = Instant::now();
            return;
        }
        self.run += n;
        self.reads += 1;
        let done = self.run >= BULK;
        if done && self.run / self.reads < LOW_WATER {
            from.set_low_water(LOW_WATER);
            self.raised = Some(Instant::now());
        }
        if done || n < LARGE {
            (self.run, self.reads) = (0, 0);
        }
    }

    /// When the socket must be let go of, if nothing comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.raised.map(|last| last + PATIENCE)
    }

    /// Lets go of the socket if it is time. What it holds already wakes us then.
    pub(super) fn release(&mut self, now: Instant, from: &mut Link) {
        if self.due().is_some_and(|due| due <= now) {
            self.end(from);
        }
    }

    /// Has the socket wake us for every byte again: what a layer still reads, such as a goodbye, is short.
    pub(super) fn end(&mut self, from: &mut Link) {
        if self.raised.take().is_some() {
            from.set_low_water(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::low_water;
    use crate::relay::Relay;
    use crate::transport::ws::{WsStream, codec::Role};
    use socket2::Socket;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    /// Small enough to be no full read, and large enough for a burst.
    const PIECE: usize = 16 * 1024;

    #[tokio::test]
    async fn the_end_of_a_burst_waits_for_a_moment_only() {
        let (mut client, socket, mut target) = tunnel().await;
        let mut waits = Vec::new();
        for _ in 0..20 {
            burst(&mut client, &socket, &mut target).await;
            let begin = Instant::now();
            client.write_all(b"the end").await.unwrap();
            receive(&mut target, 7).await;
            waits.push(begin.elapsed());
            assert_eq!(low_water::get(&socket), 1);
        }
        waits.sort_unstable();
        let median = waits[waits.len() / 2];
        assert!(median < 10 * PATIENCE, "{waits:?}");
    }

    #[tokio::test]
    async fn the_end_of_the_stream_does_not_wait() {
        let (mut client, socket, mut target) = tunnel().await;
        burst(&mut client, &socket, &mut target).await;
        client.write_all(b"the end").await.unwrap();
        client.shutdown().await.unwrap();
        receive(&mut target, 7).await;
        assert_eq!(target.read(&mut [0]).await.unwrap(), 0);
        // A goodbye would be shorter than the mark.
        assert_eq!(low_water::get(&socket), 1);
    }

    #[tokio::test]
    async fn a_conversation_is_no_burst() {
        let (mut client, socket, mut target) = tunnel().await;
        for _ in 0..2 * BULK / PIECE {
            send(&mut client, PIECE, &mut target).await;
            client.write_all(b"short").await.unwrap();
            receive(&mut target, 5).await;
        }
        assert_eq!(low_water::get(&socket), 1);
    }

    #[tokio::test]
    async fn the_wish_passes_through_a_websocket() {
        let (ours, _theirs) = pair().await;
        let socket = duplicate(&ours);
        let mut link = Link::other(WsStream::new(Link::Tcp(ours), Role::Server, None));
        link.set_low_water(LOW_WATER);
        assert_eq!(low_water::get(&socket), LOW_WATER);
    }

    /// Sends until the relay has noticed.
    async fn burst(client: &mut TcpStream, socket: &Socket, target: &mut TcpStream) {
        for _ in 0..2 * BULK / PIECE {
            if low_water::get(socket) == LOW_WATER {
                return;
            }
            send(client, PIECE, target).await;
        }
        panic!("this is no burst");
    }

    /// In pieces, each of which has arrived before the next one goes out.
    async fn send(client: &mut TcpStream, len: usize, target: &mut TcpStream) {
        for _ in 0..len / PIECE {
            client.write_all(&[7; PIECE]).await.unwrap();
            receive(target, PIECE).await;
        }
    }

    async fn receive(target: &mut TcpStream, len: usize) {
        let mut bytes = vec![0; len];
        let read = timeout(Duration::from_secs(5), target.read_exact(&mut bytes));
        read.await.expect("the bytes do not come").unwrap();
    }

    /// The client, the socket that the relay reads it from, and the target.
    async fn tunnel() -> (TcpStream, Socket, TcpStream) {
        let (from, client) = pair().await;
        let (to, target) = pair().await;
        let socket = duplicate(&from);
        tokio::spawn(Relay::new(Link::Tcp(from), Link::Tcp(to), Vec::new()));
        (client, socket, target)
    }

    fn duplicate(stream: &TcpStream) -> Socket {
        socket2::SockRef::from(stream).try_clone().unwrap()
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap());
        let (here, there) = tokio::join!(listener.accept(), there);
        let there = there.unwrap();
        there.set_nodelay(true).unwrap();
        (here.unwrap().0, there)
    }
}
