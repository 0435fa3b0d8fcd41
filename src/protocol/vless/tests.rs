//! Client and server of ours, over pipes in memory.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{AccountSettings, Inbound, InboundSettings, Outbound, OutboundSettings, UserSettings};
use crate::address::Destination;
use crate::io::{Io, Link, Packet};
use crate::protocol::servers::ServerSettings;
use crate::protocol::{Accepted, InboundContext};
use crate::seam::FarEnd;
use crate::seam::{Admission, Arrival, Refusal, Unanswered};
use crate::session::Source;
use crate::testing::links::{data, send};

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";
const OTHER: &str = "c831381d-6324-4d53-ad4f-8cda48b30811";

fn inbound() -> Inbound {
    let user = UserSettings {
        id: ID.parse::<Uuid>().unwrap().into(),
        email: Some("a@b".to_owned()),
        level: 0,
    };
    Inbound::new(InboundSettings {
        users: vec![user],
        fallbacks: Vec::new(),
    })
}

fn outbound(id: &str) -> Outbound {
    let account = AccountSettings {
        id: id.parse::<Uuid>().unwrap().into(),
        ..AccountSettings::default()
    };
    let server = ServerSettings {
        to: "server:1".parse().unwrap(),
        accounts: vec![account],
    };
    let servers = vec![server];
    OutboundSettings { servers }.into()
}

fn to() -> Destination {
    "example.com:443".parse().unwrap()
}

fn client(id: &str, link: Link) -> Link {
    let outbound = outbound(id);
    let (_, account) = outbound.next_hop().unwrap();
    account.stream(link, &to(), FarEnd::default()).unwrap()
}

async fn accept(link: Link) -> Result<Accepted, Refusal> {
    admit(link).await.map(|admission| admission.accepted)
}

async fn admit(link: Link) -> Result<Admission, Refusal> {
    let arrival = Arrival {
        link,
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    let context = InboundContext::default();
    inbound().accept(arrival, &context).await
}

/// Both ends of a tunnel over a pipe that takes `room` bytes at a time.
async fn tunnel(room: usize) -> (Link, Link) {
    let (near, far) = duplex(room);
    let mut client = client(ID, Link::other(near));
    let (flushed, accepted) = tokio::join!(client.flush(), accept(Link::other(far)));
    flushed.unwrap();
    let Ok(Accepted::Stream {
        user,
        to: asked,
        link,
        ..
    }) = accepted
    else {
        panic!("expected a stream");
    };
    assert_eq!(user.unwrap().email.as_deref(), Some("a@b"));
    assert_eq!(asked, to());
    (client, link)
}

#[tokio::test]
async fn bytes_pass_both_ways_whatever_the_sizes() {
    for (len, room, piece) in [
        (600_000, 1 << 20, 1 << 16),
        (40_000, 1000, 1 << 16),
        (40_000, 1 << 20, 7),
        (500, 1, 1),
    ] {
        let (mut client, mut server) = tunnel(room).await;
        send(&mut client, &mut server, &data(len), piece).await;
        send(&mut server, &mut client, &data(len), piece).await;
        send(&mut client, &mut server, &data(3), piece).await;
    }
}

#[tokio::test]
async fn a_client_chooses_its_route_by_two_bytes_of_the_id() {
    for (id, route) in [
        (ID, Some(0x4d53)),
        ("b831381d-6324-0001-ad4f-8cda48b30811", Some(1)),
        ("b831381d-6324-0000-ad4f-8cda48b30811", Some(0)),
        (OTHER, None),
    ] {
        let (near, far) = duplex(1000);
        let mut client = client(id, Link::other(near));
        client.flush().await.unwrap();
        drop(client);
        let admission = admit(Link::other(far)).await;
        assert_eq!(admission.ok().map(|found| found.vless_route), route, "{id}");
    }
    let users = inbound().users(None);
    assert_eq!(
        users[0].id.to_string(),
        ID,
        "the id stays whole where it is shown"
    );
}

#[tokio::test]
async fn headers_travel_with_the_first_payload() {
    let (near, mut wire) = duplex(1 << 16);
    let mut client = client(ID, Link::other(near));
    client.write_all(b"question").await.unwrap();
    let mut flight = vec![0; 100];
    let n = wire.read(&mut flight).await.unwrap();
    assert!(flight[..n].ends_with(b"question"), "in one write");
    let (mut far, server) = duplex(1 << 16);
    far.write_all(&flight[..n]).await.unwrap();
    let Ok(Accepted::Stream { mut link, .. }) = accept(Link::other(server)).await else {
        panic!("expected a stream");
    };
    let mut question = [0; 8];
    link.read_exact(&mut question).await.unwrap();
    assert_eq!(&question, b"question");
    link.flush().await.unwrap();
    let early = timeout(Duration::from_millis(20), far.read(&mut flight));
    assert!(early.await.is_err(), "there is nothing to answer yet");
    link.write_all(b"answer").await.unwrap();
    let n = far.read(&mut flight).await.unwrap();
    assert_eq!(flight[..n], *b"\0\0answer");
}

#[tokio::test]
async fn an_answer_without_payload_has_its_header_all_the_same() {
    let (mut client, mut server) = tunnel(1 << 16).await;
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

/// A pipe whose end is that of both directions, as a WebSocket's is to most peers.
struct Together(DuplexStream);

impl AsyncRead for Together {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Together {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Io for Together {
    fn half_closes(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn either_side_may_end_its_direction_and_still_read() {
    for swap in [false, true] {
        let (client, server) = tunnel(1 << 16).await;
        let (mut one, mut other) = if swap {
            (server, client)
        } else {
            (client, server)
        };
        one.write_all(b"last").await.unwrap();
        one.shutdown().await.unwrap();
        let mut got = Vec::new();
        other.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
        send(&mut other, &mut one, &data(5000), 999).await;
        other.shutdown().await.unwrap();
        assert_eq!(one.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_of_both_directions_waits_until_the_peer_is_silent() {
    for swap in [false, true] {
        let (near, far) = duplex(1 << 16);
        let mut client = client(ID, Link::other(Together(near)));
        let (flushed, accepted) = tokio::join!(client.flush(), accept(Link::other(Together(far))));
        flushed.unwrap();
        let Ok(Accepted::Stream { link: server, .. }) = accepted else {
            panic!("expected a stream");
        };
        let (mut one, mut other) = if swap {
            (server, client)
        } else {
            (client, server)
        };
        one.write_all(b"last").await.unwrap();
        one.shutdown().await.unwrap();
        let began = Instant::now();
        let answering = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(800)).await;
                other.write_all(b"part").await.unwrap();
            }
            let mut got = Vec::new();
            other.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"last");
            assert_eq!(began.elapsed().as_millis() / 100, 34, "a second of silence");
            other.write_all(b"rest").await.unwrap();
            // Of two who have ended nobody waits.
            other.shutdown().await.unwrap();
        };
        let mut answer = String::new();
        let ((), read) = tokio::join!(answering, one.read_to_string(&mut answer));
        read.unwrap();
        assert_eq!(answer, "partpartpartrest");
        assert_eq!(began.elapsed().as_millis() / 100, 34);
    }
}

/// Whoever reads has gone to sleep when the other direction ends.
#[tokio::test(start_paused = true)]
async fn an_end_is_told_though_nothing_comes() {
    let (near, far) = duplex(1 << 16);
    let mut client = client(ID, Link::other(Together(near)));
    let (flushed, accepted) = tokio::join!(client.flush(), accept(Link::other(Together(far))));
    flushed.unwrap();
    let Ok(Accepted::Stream { link: server, .. }) = accepted else {
        panic!("expected a stream");
    };
    let (mut from, mut to) = tokio::io::split(server);
    let began = Instant::now();
    let mut rest = Vec::new();
    let ending = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        to.shutdown().await.unwrap();
    };
    let hearing = async {
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        drop(client);
    };
    let all = async { tokio::join!(from.read_to_end(&mut rest), ending, hearing) };
    let ended = timeout(Duration::from_secs(60), all).await;
    ended.expect("the end is told").0.unwrap();
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_told_from_one_that_ends() {
    let (near, wire) = duplex(1 << 16);
    let mut client = client(ID, Link::other(near));
    client.flush().await.unwrap();
    drop(wire);
    let error = client.read(&mut [0; 8]).await.unwrap_err().to_string();
    assert!(error.starts_with("the server closed without an answer"));
}

#[tokio::test]
async fn what_is_no_answer_is_said() {
    let (near, mut wire) = duplex(1 << 16);
    let mut client = client(ID, Link::other(near));
    client.flush().await.unwrap();
    wire.write_all(b"HTTP/1.1 400 Bad Request").await.unwrap();
    let error = client.read(&mut [0; 8]).await.unwrap_err().to_string();
    assert!(error.contains("version 72"), "{error}");
}

/// The reason, and what can still be read from the link.
async fn refused(flight: &[u8]) -> (String, Vec<u8>) {
    let (mut near, far) = duplex(1 << 16);
    near.write_all(flight).await.unwrap();
    let Err(refusal) = accept(Link::other(far)).await else {
        panic!("it is not refused");
    };
    drop(near);
    let reason = refusal.cause.to_string();
    let Some(Unanswered { mut link, read, .. }) = refusal.unanswered else {
        assert_eq!(refusal.user.as_deref(), Some("a@b"));
        return (reason, Vec::new());
    };
    let mut rest = Vec::new();
    link.read_to_end(&mut rest).await.unwrap();
    (reason, [&read[..], &rest].concat())
}

#[tokio::test]
async fn strangers_are_refused_in_silence_and_their_bytes_given_back() {
    let request = b"GET / HTTP/1.1\r\n\r\n";
    let (reason, read) = refused(request).await;
    assert_eq!(reason, "version 71 is not VLESS', expected 0");
    assert_eq!(read, request);
    let (near, mut wire) = duplex(1 << 16);
    client(OTHER, Link::other(near))
        .write_all(b"hello")
        .await
        .unwrap();
    let mut flight = Vec::new();
    wire.read_to_end(&mut flight).await.unwrap();
    let (reason, read) = refused(&flight).await;
    assert_eq!(reason, "no user has this id");
    assert_eq!(read, flight);
}

#[tokio::test(start_paused = true)]
async fn half_a_header_is_waited_for_as_long_as_the_policy_says() {
    let flight = [&[0][..], ID.parse::<Uuid>().unwrap().as_bytes()].concat();
    let (mut near, far) = duplex(1 << 16);
    near.write_all(&flight).await.unwrap();
    let Err(refusal) = accept(Link::other(far)).await else {
        panic!("it is incomplete");
    };
    assert!(refusal.unanswered.is_some());
    assert_eq!(refusal.cause.to_string(), "17 bytes of a header after 60 s");
}

#[tokio::test]
async fn a_user_who_asks_for_what_is_not_built_is_told_apart() {
    let mut flight = [&[0][..], ID.parse::<Uuid>().unwrap().as_bytes()].concat();
    flight.extend(b"\x12\x0a\x10xtls-rprx-vision\x01\0\x50\x01\x7f\0\0\x01");
    let (reason, _) = refused(&flight).await;
    assert_eq!(
        reason,
        "a@b: the flow `xtls-rprx-vision` is not built: remove `flow` from the client"
    );
}

#[tokio::test]
async fn datagrams_keep_their_bounds() {
    let (near, far) = duplex(1 << 16);
    let outbound = outbound(ID);
    let (_, account) = outbound.next_hop().unwrap();
    let mut client = account
        .packets(Link::other(near), &to(), FarEnd::default())
        .unwrap();
    let packet = |len| Packet {
        peer: to(),
        data: data(len).into(),
    };
    poll_fn(|cx| client.poll_send(cx, &packet(5)))
        .await
        .unwrap();
    let Ok(Accepted::Packets { mut packets, .. }) = accept(Link::other(far)).await else {
        panic!("expected datagrams");
    };
    for len in [5, 0, 1, 30_000] {
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
