//! By a door to one place.

use super::*;
use crate::io::BindUdp;
use crate::protocol::InboundContext;
use crate::protocol::dokodemo::{Inbound, InboundSettings};
use std::future::poll_fn;
use std::task::Poll;

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
    const MANY: usize = 128;
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
    let mut sources = inbound.sources(Arc::new(socket), bind, &InboundContext::default());
    sources.max = max;
    sources.sweep_at = FIRST_SWEEP.min(max);
    let (tx, rx) = mpsc::channel(64);
    crate::io::spawn(async move {
        loop {
            tokio::select! {
                Some(new) = sources.next() => drop(tx.send(new).await),
                () = tx.closed() => break,
            }
        }
    });
    (at, rx)
}

async fn recv(session: &mut Datagrams) -> String {
    let packet = poll_fn(|cx| session.packets.poll_recv(cx))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(packet.peer, "10.0.0.1:53".parse().unwrap());
    String::from_utf8(packet.data.to_vec()).unwrap()
}
