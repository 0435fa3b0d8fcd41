//! Client and server of ours, over pipes in memory.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::codec::{Request, Status};
use super::{Inbound, InboundSettings, Outbound, OutboundSettings, Service, Udp};
use crate::address::Destination;
use crate::cause::{AnswerError, Unreached};
use crate::io::{Link, Packet};
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{Accepted, InboundContext};
use crate::seam::{Arrival, FarEnd, Refusal};
use crate::session::Source;
use crate::testing::links::{data, send};

fn account(pass: &str) -> Account {
    Account {
        user: "u".to_owned(),
        pass: pass.to_owned().into(),
        level: 0,
    }
}

fn inbound(service: Service) -> Inbound {
    Inbound::new(InboundSettings {
        accounts: vec![account("pw")],
        service,
        ..InboundSettings::default()
    })
}

fn outbound(pass: &str, udp: Udp) -> Outbound {
    let servers = vec![ServerSettings {
        to: "server:1".parse().unwrap(),
        accounts: vec![account(pass)],
    }];
    OutboundSettings { servers, udp }.into()
}

fn to() -> Destination {
    "example.com:443".parse().unwrap()
}

fn client(pass: &str, link: DuplexStream) -> Link {
    let outbound = outbound(pass, Udp::Connect);
    let (_, client) = outbound.next_hop().unwrap();
    let far = FarEnd::default();
    client.stream(Link::other(link), &to(), far).unwrap()
}

async fn accept(inbound: &Inbound, link: DuplexStream) -> Result<Accepted, Refusal> {
    let arrival = Arrival {
        link: Link::other(link),
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    inbound.accept(arrival, &InboundContext::default()).await
}

/// A stream that was accepted, granted as dispatch does it.
async fn granted(accepted: Result<Accepted, Refusal>) -> (Destination, Link) {
    let Ok(Accepted::Stream {
        user,
        to,
        mut link,
        reply,
    }) = accepted
    else {
        panic!("expected a stream");
    };
    assert_eq!(user.unwrap().email.as_deref(), Some("u"));
    let answer = reply.unwrap().answer(Ok(()));
    link.write_all(&answer).await.unwrap();
    link.flush().await.unwrap();
    (to, link)
}

#[tokio::test]
async fn bytes_pass_both_ways_whatever_the_sizes() {
    for (len, room, piece) in [(600_000, 1 << 20, 1 << 16), (40_000, 1000, 7), (500, 1, 1)] {
        let (near, far) = duplex(room);
        let mut client = client("pw", near);
        let inbound = inbound(Service::default());
        let serving = async { granted(accept(&inbound, far).await).await };
        let (flushed, (asked, mut server)) = tokio::join!(
            async {
                client.flush().await.unwrap();
                let mut first = [0; 5];
                client.read_exact(&mut first).await.map(|_| first)
            },
            async {
                let (asked, mut server) = serving.await;
                // The target is the one to speak first.
                server.write_all(b"hello").await.unwrap();
                server.flush().await.unwrap();
                (asked, server)
            }
        );
        assert_eq!(&flushed.unwrap(), b"hello");
        assert_eq!(asked, to());
        send(&mut client, &mut server, &data(len), piece).await;
        send(&mut server, &mut client, &data(len), piece).await;
    }
}

#[tokio::test]
async fn the_request_travels_with_the_first_payload_and_alone_without() {
    for payload in [&b"question"[..], b""] {
        let (near, mut wire) = duplex(1 << 16);
        let mut client = client("pw", near);
        client.write_all(payload).await.unwrap();
        client.flush().await.unwrap();
        let mut flight = BytesMut::zeroed(200);
        let n = wire.read(&mut flight).await.unwrap();
        flight.truncate(n);
        Request::decode(&mut flight).unwrap().unwrap();
        assert_eq!(flight, payload, "in one write");
    }
}

async fn told(mut wire: DuplexStream) -> Vec<u8> {
    let mut answer = Vec::new();
    wire.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_waits_is_answered_when_the_target_is_there_or_is_not() {
    let inbound_of = |service| inbound(service);
    let forward = Service::Forward(vec!["a.test:22".parse().unwrap()]);
    for (service, expected, failed) in [
        (Service::default(), to(), 7),
        (forward, "a.test:22".parse().unwrap(), 6),
    ] {
        let (near, far) = duplex(1 << 16);
        let mut client = client("pw", near);
        client.flush().await.unwrap();
        let inbound = inbound_of(service);
        let Ok(Accepted::Stream { to, reply, .. }) = accept(&inbound, far).await else {
            panic!("expected a stream");
        };
        assert_eq!(to, expected);
        let reply = reply.unwrap();
        assert!(reply.is_awaited());
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        let why = Unreached::Target {
            to: &to,
            error: &error,
        };
        assert_eq!(reply.answer(Err(&why))[..], [1, failed, 0, 0]);
    }
}

#[tokio::test]
async fn who_is_refused_hears_why() {
    let unknown = &b"\x01\x01\0\0"[..];
    let no_address = &b"\x01\x01\0\x08\x01\0\x05\x01u\x02pw"[..];
    let bind = &b"\x01\x02\0\x12\x01\0\x05\x01u\x02pw\x02\0\x07\x01\x7f\0\0\x01\0\x50"[..];
    let cases = [
        (unknown, &[1, 2, 0, 0][..], "no or wrong user and password"),
        (no_address, &[1, 1, 0, 0], "the request names no address"),
        (
            bind,
            &[1, 3, 0, 0],
            "a port is to be opened, and `bind` is off",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            &[],
            "version 71 is not relay's, expected 1: this looks like an HTTP request: is `network: ws` missing here, or is this the wrong port?",
        ),
        (b"\x02\x01\0\0", &[], "version 2 is not relay's, expected 1"),
        (b"\x01\x01\0\x03\x09\0\0", &[], "feature 9 is unknown"),
        // Frames of smux that open a stream, of both versions.
        (
            b"\x01\0\0\0\x03\0\0\0",
            &[1, 2, 0, 0],
            "no or wrong user and password: this looks like smux: does the client multiplex (`mws`, `mwss`), and nothing here?",
        ),
        (
            b"\x02\0\0\0\x03\0\0\0",
            &[],
            "version 2 is not relay's, expected 1: this looks like smux: does the client multiplex (`mws`, `mwss`), and nothing here?",
        ),
    ];
    for (flight, answer, reason) in cases {
        let (mut near, far) = duplex(1 << 16);
        near.write_all(flight).await.unwrap();
        let inbound = inbound(Service::default());
        let (accepted, told) = tokio::join!(accept(&inbound, far), told(near));
        let Err(refusal) = accepted else {
            panic!("it is not refused");
        };
        assert!(refusal.unanswered.is_none(), "it is over");
        assert_eq!(refusal.cause.to_string(), reason);
        assert_eq!(told, answer, "{reason}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_to_whoever_reads() {
    let (near, far) = duplex(1 << 16);
    let mut client = client("wrong", near);
    client.write_all(b"question").await.unwrap();
    let inbound = inbound(Service::default());
    let mut answer = [0; 8];
    let (accepted, read) = tokio::join!(accept(&inbound, far), client.read(&mut answer));
    assert!(accepted.is_err());
    let error = read.unwrap_err();
    let cause = AnswerError::of(&error).unwrap();
    assert_eq!(*cause, AnswerError::Relay { status: 2 });
    assert_eq!(cause.code(), "relay-user");
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_waited_for_as_long_as_gost_does() {
    let (mut near, far) = duplex(1 << 16);
    near.write_all(&Status::Ok.alone()[..3]).await.unwrap();
    let began = Instant::now();
    let inbound = inbound(Service::default());
    let Err(refusal) = accept(&inbound, far).await else {
        panic!("it is incomplete");
    };
    assert_eq!(refusal.cause.to_string(), "3 bytes of a header after 15 s");
    assert_eq!(began.elapsed().as_secs(), 15);
    assert_eq!(told(near).await, b"");
}

#[tokio::test]
async fn datagrams_keep_their_bounds_and_are_granted_at_once() {
    for udp in [Udp::Connect, Udp::Associate] {
        let (near, far) = duplex(1 << 17);
        let outbound = outbound("pw", udp);
        let (_, client) = outbound.next_hop().unwrap();
        let far_end = FarEnd::default();
        let mut client = client.packets(Link::other(near), &to(), far_end).unwrap();
        let packet = |len| Packet {
            peer: to(),
            data: data(len).into(),
        };
        poll_fn(|cx| client.poll_send(cx, &packet(5)))
            .await
            .unwrap();
        let inbound = inbound(Service::default());
        let Ok(Accepted::Packets { mut packets, .. }) = accept(&inbound, far).await else {
            panic!("expected datagrams");
        };
        for len in [5, 1, 30_000] {
            if len != 5 {
                poll_fn(|cx| client.poll_send(cx, &packet(len)))
                    .await
                    .unwrap();
            }
            let got = poll_fn(|cx| packets.poll_recv(cx)).await.unwrap();
            assert_eq!(got, Some(packet(len)));
            poll_fn(|cx| packets.poll_send(cx, &packet(len)))
                .await
                .unwrap();
            let got = poll_fn(|cx| client.poll_recv(cx)).await.unwrap();
            assert_eq!(got, Some(packet(len)));
        }
        drop(client);
        let end = poll_fn(|cx| packets.poll_recv(cx)).await.unwrap();
        assert_eq!(end, None);
    }
}

#[tokio::test]
async fn the_answer_to_datagrams_does_not_wait_for_one() {
    let (mut near, far) = duplex(1 << 16);
    near.write_all(b"\x01\x81\0\x12\x01\0\x05\x01u\x02pw\x02\0\x07\x01\x7f\0\0\x01\0\x50")
        .await
        .unwrap();
    let inbound = inbound(Service::default());
    let _packets = accept(&inbound, far).await.unwrap();
    let mut answer = [0; 4];
    let reading = near.read_exact(&mut answer);
    timeout(Duration::from_secs(10), reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, Status::Ok.alone());
}
