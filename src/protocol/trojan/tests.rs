//! Client and server of ours, over pipes in memory.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep};

use super::{AccountSettings, Inbound, InboundSettings, Outbound, OutboundSettings, UserSettings};
use crate::address::Destination;
use crate::io::{Link, Packet};
use crate::protocol::servers::ServerSettings;
use crate::protocol::{Accepted, InboundContext};
use crate::seam::{Arrival, FarEnd, Refusal, Unanswered};
use crate::session::Source;
use crate::testing::links::{data, send};

const PASSWORD: &str = "a";
const OTHER: &str = "b";

/// The hash of [`PASSWORD`].
const SHOWN: &[u8] = b"abd37534c7d9a2efb9465de931cd7055ffdb8879563ae98078d6d6d5\r\n";

fn inbound() -> Inbound {
    let user = UserSettings {
        password: PASSWORD.to_owned().into(),
        email: Some("a@b".to_owned()),
        level: 0,
    };
    Inbound::new(InboundSettings {
        users: vec![user],
        fallbacks: Vec::new(),
    })
}

fn outbound(password: &str) -> Outbound {
    let account = AccountSettings {
        password: password.to_owned().into(),
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

fn client(password: &str, link: Link) -> Link {
    let outbound = outbound(password);
    let (_, account) = outbound.next_hop().unwrap();
    account.stream(link, &to(), FarEnd::default()).unwrap()
}

async fn accept(link: Link) -> Result<Accepted, Refusal> {
    let arrival = Arrival {
        link,
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    inbound().accept(arrival, &InboundContext::default()).await
}

/// Both ends of a tunnel over a pipe that takes `room` bytes at a time.
async fn tunnel(room: usize) -> (Link, Link) {
    let (near, far) = duplex(room);
    let mut client = client(PASSWORD, Link::other(near));
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
async fn the_header_travels_with_the_first_payload_and_alone_where_there_is_none() {
    let (near, mut wire) = duplex(1 << 16);
    let mut with = client(PASSWORD, Link::other(near));
    with.write_all(b"question").await.unwrap();
    let mut flight = vec![0; 100];
    let n = wire.read(&mut flight).await.unwrap();
    let header = [SHOWN, b"\x01\x03\x0bexample.com\x01\xbb\r\n"].concat();
    assert_eq!(flight[..n], [&header[..], b"question"].concat());

    // A target may be the one to speak first.
    let (near, mut wire) = duplex(1 << 16);
    let mut without = client(PASSWORD, Link::other(near));
    without.flush().await.unwrap();
    let n = wire.read(&mut flight).await.unwrap();
    assert_eq!(flight[..n], header);
    wire.write_all(b"220 here").await.unwrap();
    let mut greeting = [0; 8];
    without.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 here");
}

#[tokio::test]
async fn an_end_without_a_word_is_an_end() {
    let (mut client, mut server) = tunnel(1 << 16).await;
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
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
    let strange = "is not Trojan's, expected 56 hex digits and a line end";
    assert_eq!(reason, format!("byte 0 {strange}"));
    assert_eq!(read, request);
    let digits = b"abcdef\r\n";
    let (reason, read) = refused(digits).await;
    assert_eq!(reason, format!("byte 6 {strange}"));
    assert_eq!(read, digits);
    let (near, mut wire) = duplex(1 << 16);
    client(OTHER, Link::other(near))
        .write_all(b"hello")
        .await
        .unwrap();
    let mut flight = Vec::new();
    wire.read_to_end(&mut flight).await.unwrap();
    let (reason, read) = refused(&flight).await;
    assert_eq!(reason, "no user has this password");
    assert_eq!(read, flight);
}

/// Other programs write the header by itself, TLS may cut it, and a slow network too.
#[tokio::test(start_paused = true)]
async fn a_first_flight_in_pieces_is_waited_for() {
    let (near, mut wire) = duplex(1 << 16);
    client(PASSWORD, Link::other(near))
        .write_all(b"hello")
        .await
        .unwrap();
    let mut flight = Vec::new();
    wire.read_to_end(&mut flight).await.unwrap();
    let (mut near, far) = duplex(1 << 16);
    let write = async {
        for byte in flight {
            near.write_all(&[byte]).await.unwrap();
            sleep(Duration::from_millis(600)).await;
        }
    };
    let ((), accepted) = tokio::join!(write, accept(Link::other(far)));
    let Ok(Accepted::Stream { mut link, .. }) = accepted else {
        panic!("expected a stream");
    };
    let mut hello = [0; 5];
    link.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
}

#[tokio::test(start_paused = true)]
async fn half_a_header_is_waited_for_as_long_as_the_policy_says() {
    let (mut near, far) = duplex(1 << 16);
    near.write_all(&SHOWN[..57]).await.unwrap();
    let Err(refusal) = accept(Link::other(far)).await else {
        panic!("it is incomplete");
    };
    assert!(refusal.unanswered.is_some());
    assert_eq!(refusal.cause.to_string(), "57 bytes of a header after 60 s");
}

#[tokio::test]
async fn a_user_who_asks_for_what_there_is_not_is_told_apart() {
    let flight = [SHOWN, b"\x02"].concat();
    let (reason, _) = refused(&flight).await;
    assert_eq!(reason, "a@b: command 2 is unknown");
}

#[tokio::test]
async fn sessions_are_asked_for_by_their_name() {
    let (near, far) = duplex(1 << 16);
    let outbound = outbound(PASSWORD);
    let (_, account) = outbound.next_hop().unwrap();
    let mut client = account
        .multiplexed(Link::other(near), FarEnd::default())
        .unwrap();
    client.flush().await.unwrap();
    let Ok(Accepted::Stream { to, .. }) = accept(Link::other(far)).await else {
        panic!("expected a stream");
    };
    assert_eq!(to.to_string(), "v1.mux.cool:9527");
}

#[tokio::test]
async fn datagrams_keep_their_bounds_and_their_peers() {
    let (near, far) = duplex(1 << 16);
    let outbound = outbound(PASSWORD);
    let (_, account) = outbound.next_hop().unwrap();
    let mut client = account
        .packets(Link::other(near), &to(), FarEnd::default())
        .unwrap();
    let packet = |len: usize| Packet {
        peer: format!("10.0.0.1:{len}").parse().unwrap(),
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
