//! Datagrams of one listening socket, sorted by their source.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::interval;
use tracing::{debug, trace};

use super::Inbound;
use super::answers::Answers;
use super::receive::receive;
use crate::address::{Destination, Host};
use crate::cause::ProtocolError;
use crate::io::{BindUdp, Packet, Packets, is_own_listener};
use crate::log;
use crate::protocol::Datagrams;

/// Sources at one time; further ones take the place of those that were silent longest.
const MAX_SOURCES: usize = 16 * 1024;

/// Datagrams of one source that wait to be taken; more are dropped, as UDP does.
const QUEUED: usize = 64;

/// New sources that wait to be taken, and datagrams that came where answers go out.
const NEW_SOURCES: usize = 64;

/// What UDP can carry.
const MAX_DATAGRAM: usize = 64 * 1024;

/// How often idle sockets of answers are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// A datagram that came in.
pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    /// Whom it was meant for, when a packet filter brought it here.
    pub(super) original_dst: Option<SocketAddr>,
    pub(super) data: Bytes,
}

/// Reads `socket` in a task of its own until the receiver is dropped; `bind` makes the sockets that answer
/// in the name of others.
pub(super) fn sort(
    socket: UdpSocket,
    inbound: &Inbound,
    bind: BindUdp,
) -> mpsc::Receiver<Datagrams> {
    sort_up_to(MAX_SOURCES, socket, inbound, bind)
}

fn sort_up_to(
    max: usize,
    socket: UdpSocket,
    inbound: &Inbound,
    bind: BindUdp,
) -> mpsc::Receiver<Datagrams> {
    let (tx, rx) = mpsc::channel(NEW_SOURCES);
    let (strays, strayed) = mpsc::channel(NEW_SOURCES);
    let sorter = Sorter {
        door: socket.local_addr().ok(),
        socket: Arc::new(socket),
        to: inbound.settings.to.clone(),
        answers: inbound
            .settings
            .follow_redirect
            .then(|| Arc::new(Answers::new(bind, strays))),
        sources: HashMap::new(),
        max,
        received: 0,
        sweep_at: FIRST_SWEEP.min(max),
        new: tx,
    };
    crate::io::spawn(sorter.run(strayed));
    rx
}

struct Sorter {
    socket: Arc<UdpSocket>,
    /// The address of the socket.
    door: Option<SocketAddr>,
    to: Option<Destination>,
    /// There for a transparent door.
    answers: Option<Arc<Answers>>,
    sources: HashMap<SocketAddr, Source>,
    max: usize,
    /// Datagrams so far.
    received: u64,
    /// With so many sources in the map, those that have ended are looked for.
    sweep_at: usize,
    new: mpsc::Sender<Datagrams>,
}

/// Where the datagrams of a source go.
struct Source {
    queue: mpsc::Sender<Datagram>,
    /// Which datagram was its last.
    last: u64,
}

const FIRST_SWEEP: usize = 64;

impl Sorter {
    async fn run(mut self, mut strayed: mpsc::Receiver<Datagram>) {
        let mut buf = vec![0; MAX_DATAGRAM];
        let new = self.new.clone();
        let mut sweep = interval(SWEEP_EVERY);
        loop {
            let received = tokio::select! {
                received = self.receive(&mut buf) => received,
                Some(stray) = strayed.recv() => Ok(stray),
                _ = sweep.tick(), if self.answers.is_some() => {
                    self.answers.iter().for_each(|answers| answers.sweep());
                    continue;
                }
                () = new.closed() => return,
            };
            match received {
                Ok(datagram) => self.hand_over(datagram).await,
                // An answer of ours was refused by its source: not the end of the others.
                Err(e) if is_passing(&e) => trace!(error = %e, "receiving a datagram"),
                Err(e) => {
                    debug!(error = %e, "the UDP listener ended");
                    return;
                }
            }
        }
    }

    async fn receive(&self, buf: &mut [u8]) -> io::Result<Datagram> {
        let (n, source, original_dst) = match self.answers {
            Some(_) => receive(&self.socket, buf).await?,
            None => {
                let (n, source) = self.socket.recv_from(buf).await?;
                (n, source, None)
            }
        };
        let is_own_listener = |original_dst: &SocketAddr| {
            self.door
                .is_some_and(|door| is_own_listener(*original_dst, door))
        };
        Ok(Datagram {
            source,
            original_dst: original_dst.filter(|original_dst| !is_own_listener(original_dst)),
            data: Bytes::copy_from_slice(&buf[..n]),
        })
    }

    /// Waits for room for a new source; until then the socket keeps what comes.
    async fn hand_over(&mut self, datagram: Datagram) {
        if datagram.original_dst.is_none() && self.to.is_none() {
            log::repeated(&format!(
                "datagrams are dropped: {}; UDP needs `TPROXY`",
                ProtocolError::Nowhere
            ));
            return;
        }
        let source = datagram.source;
        self.received += 1;
        let last = self.received;
        let datagram = match self.sources.get_mut(&source) {
            Some(known) => {
                known.last = last;
                match known.queue.try_send(datagram) {
                    Err(mpsc::error::TrySendError::Closed(datagram)) => datagram,
                    _ => return,
                }
            }
            None => datagram,
        };
        self.sources.remove(&source);
        self.sweep();
        let (tx, rx) = mpsc::channel(QUEUED);
        let session = Session {
            to: self.to.clone(),
            source,
            socket: self.socket.clone(),
            answers: self.answers.clone(),
            asked: None,
            data: rx,
        };
        let datagrams = Datagrams {
            source: source.into(),
            packets: Box::new(session),
        };
        // The channel is new and empty, so the first datagram fits.
        let _ = tx.try_send(datagram);
        if self.new.send(datagrams).await.is_ok() {
            self.sources.insert(source, Source { queue: tx, last });
        }
    }

    /// Forgets the sources whose sessions have ended, at a cost that is constant per new source.
    fn sweep(&mut self) {
        if self.sources.len() < self.sweep_at {
            return;
        }
        self.sources.retain(|_, source| !source.queue.is_closed());
        // A whole quarter goes at a time, so that a flood of sources costs little for each.
        if self.sources.len() >= self.max {
            let mut all: Vec<u64> = self.sources.values().map(|source| source.last).collect();
            let (_, last, _) = all.select_nth_unstable(self.max / 4);
            let last = *last;
            self.sources.retain(|_, source| source.last > last);
        }
        self.sweep_at = (2 * self.sources.len()).clamp(FIRST_SWEEP.min(self.max), self.max);
    }
}

/// The datagrams of one source.
struct Session {
    to: Option<Destination>,
    source: SocketAddr,
    socket: Arc<UdpSocket>,
    answers: Option<Arc<Answers>>,
    /// Whom the last datagram was meant for.
    asked: Option<SocketAddr>,
    data: mpsc::Receiver<Datagram>,
}

impl Packets for Session {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        self.data.poll_recv(cx).map(|datagram| {
            Ok(datagram.and_then(|datagram| {
                self.asked = datagram.original_dst;
                let peer = match datagram.original_dst {
                    Some(original_dst) => original_dst.into(),
                    None => self.to.clone()?,
                };
                Some(Packet {
                    peer,
                    data: datagram.data,
                })
            }))
        })
    }

    fn is_connectionless(&self) -> bool {
        true
    }

    /// At a fixed door the source asked one place only, so that is who the answer comes from, whatever
    /// its peer says.
    fn poll_send(&mut self, _cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let sent = match (&self.answers, self.asked) {
            (Some(answers), Some(asked)) => {
                let from = self.answering(packet, asked);
                // A source on a socket for both families is written as `::ffff:1.2.3.4`.
                let client = SocketAddr::new(self.source.ip().to_canonical(), self.source.port());
                answers.send(from, from == asked, client, &packet.data)
            }
            // Many sessions share the socket and a socket wakes one writer only, so nobody waits for it:
            // a datagram that does not fit is lost.
            _ => self
                .socket
                .try_send_to(&packet.data, self.source)
                .map(|_| ()),
        };
        if let Err(e) = sent {
            trace!(source = %self.source, error = %e, "datagram not sent");
        }
        Poll::Ready(Ok(()))
    }
}

impl Session {
    /// Who an answer comes from: its peer, where that is an address as the client knows them.
    fn answering(&self, packet: &Packet, asked: SocketAddr) -> SocketAddr {
        match packet.peer.host {
            Host::Ip(ip) if ip.is_ipv4() == asked.is_ipv4() => {
                SocketAddr::new(ip, packet.peer.port)
            }
            _ => asked,
        }
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
    use super::super::InboundSettings;
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

    #[tokio::test]
    async fn one_source_too_many_takes_the_place_of_those_that_were_silent_longest() {
        const MAX: usize = 8;
        let (at, mut new) = door_for(MAX).await;
        let mut clients = Vec::new();
        for _ in 0..=MAX {
            if let Some(first) = clients.first() {
                let first: &UdpSocket = first;
                first.send_to(b"still here", at).await.unwrap();
            }
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.send_to(b"new", at).await.unwrap();
            clients.push(client);
        }
        let mut sessions = Vec::new();
        for _ in 0..=MAX {
            sessions.push(new.recv().await.expect("the last one is taken, too"));
        }
        let mut ended = Vec::new();
        for (index, session) in sessions.iter_mut().enumerate() {
            let mut is_over = false;
            poll_fn(|cx| {
                while let Poll::Ready(packet) = session.packets.poll_recv(cx) {
                    is_over = packet.unwrap().is_none();
                    if is_over {
                        break;
                    }
                }
                Poll::Ready(())
            })
            .await;
            if is_over {
                ended.push(index);
            }
        }
        assert_eq!(ended, [1, 2, 3]);
    }

    #[tokio::test]
    async fn many_sources_at_once_are_all_taken() {
        const MANY: usize = 2 * NEW_SOURCES;
        let (at, mut new) = door().await;
        let mut clients = Vec::new();
        for _ in 0..MANY {
            let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"1", at).unwrap();
            clients.push(client);
        }
        for n in 0..MANY {
            let next = tokio::time::timeout(Duration::from_secs(5), new.recv()).await;
            let mut session = next.unwrap_or_else(|_| panic!("only {n} were")).unwrap();
            assert_eq!(recv(&mut session).await, "1");
        }
    }

    async fn door() -> (SocketAddr, mpsc::Receiver<Datagrams>) {
        door_for(MAX_SOURCES).await
    }

    async fn door_for(max: usize) -> (SocketAddr, mpsc::Receiver<Datagrams>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let inbound = Inbound::new(InboundSettings {
            to: Some("10.0.0.1:53".parse().unwrap()),
            udp: true,
            ..InboundSettings::default()
        });
        let bind: BindUdp = Arc::new(|_| Err(io::ErrorKind::Unsupported.into()));
        (at, sort_up_to(max, socket, &inbound, bind))
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
