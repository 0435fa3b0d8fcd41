//! Datagrams of one listening socket, sorted by their source.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::{debug, trace};

use crate::address::Destination;
use crate::io::{Packet, Packets};
use crate::protocol::Datagrams;

/// Sources at one time; datagrams from more are dropped.
const MAX_SOURCES: usize = 16 * 1024;

/// Datagrams of one source that wait to be taken; more are dropped, as UDP does.
const QUEUED: usize = 64;

/// New sources that wait to be taken.
const NEW_SOURCES: usize = 64;

/// What UDP can carry.
const MAX_DATAGRAM: usize = 64 * 1024;

/// Reads `socket` in a task of its own until the receiver is dropped.
pub(super) fn sort(socket: UdpSocket, to: Destination) -> mpsc::Receiver<Datagrams> {
    let (tx, rx) = mpsc::channel(NEW_SOURCES);
    let sorter = Sorter {
        socket: Arc::new(socket),
        to,
        sources: HashMap::new(),
        sweep_at: FIRST_SWEEP,
        new: tx,
    };
    tokio::spawn(sorter.run());
    rx
}

struct Sorter {
    socket: Arc<UdpSocket>,
    to: Destination,
    sources: HashMap<SocketAddr, mpsc::Sender<Bytes>>,
    /// With so many sources in the map, those that have ended are looked for.
    sweep_at: usize,
    new: mpsc::Sender<Datagrams>,
}

const FIRST_SWEEP: usize = 64;

impl Sorter {
    async fn run(mut self) {
        let mut buf = vec![0; MAX_DATAGRAM];
        let new = self.new.clone();
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(&mut buf) => received,
                () = new.closed() => return,
            };
            match received {
                Ok((n, source)) => self.hand_over(source, Bytes::copy_from_slice(&buf[..n])),
                // An answer of ours was refused by its source: not the end of the others.
                Err(e) if is_passing(&e) => trace!(error = %e, "receiving a datagram"),
                Err(e) => {
                    debug!(error = %e, "the UDP listener ended");
                    return;
                }
            }
        }
    }

    fn hand_over(&mut self, source: SocketAddr, data: Bytes) {
        let data = match self
            .sources
            .get(&source)
            .map(|tx| tx.try_send(data.clone()))
        {
            Some(Err(mpsc::error::TrySendError::Closed(data))) => data,
            Some(_) => return,
            None => data,
        };
        self.sources.remove(&source);
        self.sweep();
        if self.sources.len() >= MAX_SOURCES {
            trace!(%source, "too many sources, a datagram is dropped");
            return;
        }
        let (tx, rx) = mpsc::channel(QUEUED);
        let session = Session {
            to: self.to.clone(),
            source,
            socket: self.socket.clone(),
            data: rx,
        };
        let datagrams = Datagrams {
            source: source.into(),
            packets: Box::new(session),
        };
        // The channel is new and empty, so the first datagram fits.
        let _ = tx.try_send(data);
        if self.new.try_send(datagrams).is_ok() {
            self.sources.insert(source, tx);
        }
    }

    /// Forgets the sources whose sessions have ended, at a cost that is constant per new source.
    fn sweep(&mut self) {
        if self.sources.len() >= self.sweep_at {
            self.sources.retain(|_, tx| !tx.is_closed());
            self.sweep_at = (2 * self.sources.len()).clamp(FIRST_SWEEP, MAX_SOURCES);
        }
    }
}

/// The datagrams of one source.
struct Session {
    to: Destination,
    source: SocketAddr,
    socket: Arc<UdpSocket>,
    data: mpsc::Receiver<Bytes>,
}

impl Packets for Session {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.data.poll_recv(cx).map(|data| {
            Ok(data.map(|data| Packet {
                peer: self.to.clone(),
                data,
            }))
        })
    }

    /// The source asked one place only, so that is who the answer comes from, whatever its peer says.
    fn poll_send(&mut self, _cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        // Many sessions share the socket and a socket wakes one writer only, so nobody waits for it:
        // a datagram that does not fit is lost.
        if let Err(e) = self.socket.try_send_to(&packet.data, self.source) {
            trace!(source = %self.source, error = %e, "datagram not sent");
        }
        Poll::Ready(Ok(()))
    }
}

fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn every_source_gets_its_own_datagrams_and_answers() {
        let (at, mut new) = door().await;
        let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let two = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for client in [&one, &two] {
            client.send_to(b"first", at).await.unwrap();
            let mut session = new.recv().await.unwrap();
            assert_eq!(session.source, client.local_addr().unwrap().into());
            client.send_to(b"second", at).await.unwrap();
            assert_eq!(recv(&mut session).await, "first");
            assert_eq!(recv(&mut session).await, "second");
            let answer = Packet {
                peer: "10.0.0.1:53".parse().unwrap(),
                data: Bytes::from_static(b"answer"),
            };
            poll_fn(|cx| session.packets.poll_send(cx, &answer))
                .await
                .unwrap();
            let mut buf = [0; 16];
            let (n, from) = client.recv_from(&mut buf).await.unwrap();
            assert_eq!((&buf[..n], from), (&b"answer"[..], at));
        }
    }

    #[tokio::test]
    async fn a_source_whose_session_ended_gets_a_new_one() {
        let (at, mut new) = door().await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"1", at).await.unwrap();
        drop(new.recv().await.unwrap());
        client.send_to(b"2", at).await.unwrap();
        assert_eq!(recv(&mut new.recv().await.unwrap()).await, "2");
    }

    #[tokio::test]
    async fn a_flood_into_a_session_that_does_not_read_is_bounded() {
        let (at, mut new) = door().await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..10 * QUEUED {
            client.send_to(b"x", at).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut session = new.recv().await.unwrap();
        drop(new);
        let mut n = 0;
        while poll_fn(|cx| session.packets.poll_recv(cx))
            .await
            .unwrap()
            .is_some()
        {
            n += 1;
        }
        assert!(n <= QUEUED + 1, "{n} datagrams were kept");
    }

    async fn door() -> (SocketAddr, mpsc::Receiver<Datagrams>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        (at, sort(socket, "10.0.0.1:53".parse().unwrap()))
    }

    async fn recv(session: &mut Datagrams) -> String {
        let packet = poll_fn(|cx| session.packets.poll_recv(cx))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(packet.peer, "10.0.0.1:53".parse().unwrap());
        String::from_utf8(packet.data.to_vec()).unwrap()
    }
}
