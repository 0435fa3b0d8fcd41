//! The inbound's own UDP port.

use super::*;
use crate::protocol::InboundContext;
use crate::protocol::accounts::Account;
use crate::protocol::socks::{Inbound, InboundSettings};
use crate::protocol::udp_port::Sources;
use hex_literal::hex;
use std::future::poll_fn;
use std::net::SocketAddr;
use tokio::io::duplex;
use tokio::net::UdpSocket;

/// A name server's port at 8.8.8.8, and one byte.
const DATAGRAM: [u8; 11] = hex!("0000 00 01 08080808 0035 61");

struct Served {
    inbound: Inbound,
    sources: Sources,
    at: SocketAddr,
}

async fn serve(password: bool) -> Served {
    let account = Account {
        user: "a".to_owned(),
        pass: "b".to_owned().into(),
        level: 0,
    };
    let inbound = Inbound::new(InboundSettings {
        accounts: password.then(|| vec![account]),
        udp: true,
        ..InboundSettings::default()
    });
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let sources = inbound.sources(Arc::new(socket), &InboundContext::default());
    Served {
        inbound,
        sources,
        at,
    }
}

impl Served {
    fn open(&self, port: u16, user: &str) -> Opened {
        let user = User {
            email: Some(user.to_owned()),
            ..User::default()
        };
        let all = &self.inbound.associations;
        all.open([127, 0, 0, 1].into(), port, Some(Arc::new(user)))
    }

    /// Sends from `client`; gives who comes as new.
    async fn send(&mut self, client: &UdpSocket) -> Option<Datagrams> {
        client.send_to(&DATAGRAM, self.at).await.unwrap();
        let new = self.sources.next();
        let wait = Duration::from_millis(100);
        tokio::time::timeout(wait, new).await.ok().flatten()
    }
}

async fn client() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

async fn recv(session: &mut Session) -> Option<Packet> {
    poll_fn(|cx| session.poll_recv(cx)).await.unwrap()
}

#[tokio::test]
async fn datagrams_go_to_the_association_that_named_their_port_or_to_the_oldest_that_has_none() {
    let mut served = serve(true).await;
    let (one, _) = client().await;
    let (two, port) = client().await;
    let first = served.open(0, "first");
    let second = served.open(port, "second");
    let (_keep, control) = duplex(64);
    let mut second = second.session(Link::other(control), false, Meter::default());
    let (_keep, control) = duplex(64);
    let mut first = first.session(Link::other(control), false, Meter::default());
    assert!(served.send(&two).await.is_none());
    assert!(served.send(&one).await.is_none());
    for (session, client) in [(&mut first, &one), (&mut second, &two)] {
        let packet = recv(session).await.unwrap();
        assert_eq!(packet.peer, "8.8.8.8:53".parse().unwrap());
        poll_fn(|cx| session.poll_send(cx, &packet)).await.unwrap();
        let mut answer = [0; 32];
        let n = client.recv(&mut answer).await.unwrap();
        assert_eq!(answer[..n], DATAGRAM);
    }
    // One more port of the same host.
    let (three, _) = client().await;
    let more = served.send(&three).await.expect("it may send, too");
    assert_eq!(more.user.unwrap().email.as_deref(), Some("second"));
    assert!(more.packets.is_connectionless());
}

#[tokio::test]
async fn with_passwords_the_right_to_send_ends_with_the_last_association() {
    let mut served = serve(true).await;
    let (one, _) = client().await;
    let (two, _) = client().await;
    assert!(served.send(&one).await.is_none());
    let (keep, control) = duplex(64);
    let opened = served.open(0, "a");
    let mut session = opened.session(Link::other(control), false, Meter::default());
    assert!(served.send(&one).await.is_none());
    recv(&mut session).await.unwrap();
    let mut free = served.send(&two).await.unwrap().packets;
    let packet = poll_fn(|cx| free.poll_recv(cx)).await.unwrap().unwrap();
    drop(keep);
    assert!(recv(&mut session).await.is_none());
    drop(session);
    assert!(served.send(&one).await.is_none());
    assert!(served.send(&two).await.is_none());
    let answered = poll_fn(|cx| free.poll_send(cx, &packet)).await;
    assert!(answered.is_err(), "not even answers are passed on");
    assert!(served.inbound.associations.is_empty());
}

#[tokio::test]
async fn without_passwords_an_association_outlives_its_connection_a_little() {
    let mut served = serve(false).await;
    let (one, _) = client().await;
    let opened = served.open(0, "a");
    let (keep, control) = duplex(64);
    let mut session = opened.session(Link::other(control), true, Meter::default());
    assert!(served.send(&one).await.is_none());
    drop(keep);
    for _ in 0..2 {
        recv(&mut session).await.unwrap();
        assert!(served.send(&one).await.is_none());
    }
    recv(&mut session).await.unwrap();
    tokio::time::pause();
    let begin = Instant::now();
    assert!(recv(&mut session).await.is_none());
    assert!(begin.elapsed() >= AFTER_THE_END);
    tokio::time::resume();
    drop(session);
    let late = served.send(&one).await.expect("it may send without one");
    assert_eq!(late.user.and_then(|user| user.email.clone()), None);
}
