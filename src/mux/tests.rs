//! A pool and a server joined by pipes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::codec::{Frame, Kind};
use super::table::{LINK_MAX, SESSION_MAX};
use super::*;
use crate::io::{Link, Packet, Packets};
use crate::seam::Accepted;

const IDLE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn many_streams_go_both_ways_at_once() {
    let (client, mut server) = pair(Udp::Shared);
    crate::io::spawn(async move {
        while let Some(accepted) = server.recv().await {
            let (_, link) = stream(accepted);
            crate::io::spawn(async move {
                let (mut read, mut write) = tokio::io::split(link);
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
            });
        }
    });
    let mut all = Vec::new();
    for n in 0..50_u8 {
        let link = client.open();
        all.push(crate::io::spawn(async move {
            let data = vec![n; 40_000 + usize::from(n) * 1000];
            let (mut read, mut write) = tokio::io::split(link);
            let mut back = Vec::new();
            let send = async {
                write.write_all(&data).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let (_, got) = tokio::join!(send, read.read_to_end(&mut back));
            got.unwrap();
            assert_eq!(back, data);
        }));
    }
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(client.dialled(), 50_usize.div_ceil(8));
}

#[tokio::test]
async fn a_session_names_its_destination_and_carries_its_first_bytes() {
    let (client, mut server) = pair(Udp::Shared);
    let mut link = client.open();
    link.write_all(b"first").await.unwrap();
    let (to, mut accepted) = stream(server.recv().await.unwrap());
    assert_eq!(to, place());
    let mut got = [0; 5];
    accepted.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"first");
}

#[tokio::test]
async fn a_session_can_begin_without_a_byte() {
    let (client, mut server) = pair(Udp::Shared);
    let mut link = client.open();
    link.flush().await.unwrap();
    let (_, mut accepted) = stream(server.recv().await.unwrap());
    accepted.write_all(b"220 hello").await.unwrap();
    let mut got = [0; 9];
    link.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"220 hello");
}

#[tokio::test]
async fn one_direction_ends_and_the_other_goes_on() {
    let (client, mut server) = pair(Udp::Shared);
    let mut link = client.open();
    link.write_all(b"question").await.unwrap();
    link.shutdown().await.unwrap();
    let (_, mut accepted) = stream(server.recv().await.unwrap());
    let mut question = Vec::new();
    accepted.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    accepted.write_all(&[7; 100_000]).await.unwrap();
    accepted.shutdown().await.unwrap();
    let mut answer = Vec::new();
    link.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [7; 100_000]);
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_cut_off_for_its_reader_and_writer() {
    let (client, mut server) = pair(Udp::Shared);
    let mut link = client.open();
    link.write_all(b"half a").await.unwrap();
    let (_, mut accepted) = stream(server.recv().await.unwrap());
    drop(link);
    let mut got = Vec::new();
    let error = accepted.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(got, b"half a");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(accepted.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn a_link_that_breaks_off_ends_its_streams_with_an_error() {
    let (mut peer, mut server) = serving(64 * 1024);
    peer.write_all(&new(1, b"half a")).await.unwrap();
    let (_, mut accepted) = stream(server.recv().await.unwrap());
    drop(peer);
    let mut got = Vec::new();
    let error = accepted.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(got, b"half a");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(server.recv().await.is_none());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other_until_its_share_is_full() {
    let (client, mut server) = pair(Udp::Shared);
    let mut slow = client.open();
    slow.write_all(&vec![1; SESSION_MAX]).await.unwrap();
    let (_, mut unread) = stream(server.recv().await.unwrap());
    let mut quick = client.open();
    quick.write_all(b"quick").await.unwrap();
    let (_, mut accepted) = stream(server.recv().await.unwrap());
    let mut got = [0; 5];
    accepted.read_exact(&mut got).await.unwrap();

    // Beyond its share the link waits, and goes on when the reader does.
    let more = crate::io::spawn(async move {
        slow.write_all(&vec![1; 2 * SESSION_MAX]).await.unwrap();
        slow.shutdown().await.unwrap();
        slow
    });
    sleep(Duration::from_millis(50)).await;
    let again = crate::io::spawn(async move {
        quick.write_all(b"again").await.unwrap();
        quick
    });
    let waits = timeout(Duration::from_millis(50), accepted.read_exact(&mut got)).await;
    assert!(waits.is_err(), "the link is read no further");
    let mut all = Vec::new();
    unread.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 3 * SESSION_MAX);
    accepted.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"again");
    more.await.unwrap();
    again.await.unwrap();
}

/// On one thread, where who is woken last runs first.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn streams_that_have_much_to_say_take_turns() {
    const ALL: usize = 7;
    let (client, mut server) = pair(Udp::Shared);
    let counters: Vec<Arc<AtomicUsize>> = (0..ALL).map(|_| Arc::default()).collect();
    for counter in &counters {
        let (mut link, counter) = (client.open(), counter.clone());
        link.flush().await.unwrap();
        let (_, mut accepted) = stream(server.recv().await.unwrap());
        crate::io::spawn(async move { while accepted.write_all(&[7; 100_000]).await.is_ok() {} });
        crate::io::spawn(async move {
            let mut buf = vec![0; 200_000];
            while link.read(&mut buf).await.is_ok_and(|n| n > 0) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    assert_eq!(client.dialled(), 1);
    let count = || -> Vec<usize> {
        let all = counters.iter();
        all.map(|counter| counter.load(Ordering::Relaxed)).collect()
    };
    let most_of_all = async {
        while count().iter().sum::<usize>() < 20_000 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), most_of_all).await.unwrap();
    let counts = count();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(least * 3 > *most, "{counts:?}");
}

#[tokio::test]
async fn a_peer_that_does_not_heed_anything_cannot_fill_the_memory() {
    let (mut peer, mut server) = serving(1024);
    let mut unread = Vec::new();
    let mut sent = 0;
    for session_id in 1..=100 {
        let mut bytes = new(session_id, b"");
        for _ in 0..4 {
            let data = [0; 65_000];
            Frame::keep(session_id)
                .encode(Some(&data), &mut bytes)
                .unwrap();
        }
        let write = timeout(Duration::from_millis(100), peer.write_all(&bytes)).await;
        if write.is_err() {
            break;
        }
        sent += bytes.len();
        unread.push(server.recv().await.unwrap());
    }
    let bounds = LINK_MAX - 512 * 1024..LINK_MAX + 512 * 1024;
    assert!(bounds.contains(&sent), "{sent} bytes were taken");
}

#[tokio::test]
async fn an_unknown_session_is_answered_with_its_end() {
    let (mut peer, _server) = serving(64 * 1024);
    let mut bytes = BytesMut::new();
    Frame::keep(9).encode(Some(b"who"), &mut bytes).unwrap();
    Frame::end(10, false).encode(None, &mut bytes).unwrap();
    let alive = Frame {
        session_id: 0,
        kind: Kind::KeepAlive,
        error: false,
    };
    alive.encode(Some(b"ignored"), &mut bytes).unwrap();
    Frame::keep(11).encode(None, &mut bytes).unwrap();
    peer.write_all(&bytes).await.unwrap();
    assert_eq!(next(&mut peer).await, (Frame::end(9, false), None));
    assert_eq!(next(&mut peer).await, (Frame::end(11, false), None));
}

#[tokio::test]
async fn v2rays_second_end_stops_the_sender() {
    let (mut peer, mut server) = serving(64 * 1024);
    let mut bytes = new(1, b"question");
    Frame::end(1, false).encode(None, &mut bytes).unwrap();
    peer.write_all(&bytes).await.unwrap();
    let (_, mut accepted) = stream(server.recv().await.unwrap());
    accepted.write_all(b"answer").await.unwrap();
    let (_, data) = next(&mut peer).await;
    assert_eq!(data.unwrap(), &b"answer"[..]);
    // V2Ray's client has forgotten the session and says so.
    bytes.clear();
    Frame::end(1, false).encode(None, &mut bytes).unwrap();
    peer.write_all(&bytes).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    assert!(accepted.write_all(b"more").await.is_err());
    let mut question = Vec::new();
    accepted.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
}

#[tokio::test]
async fn nonsense_ends_the_link() {
    let (mut peer, mut server) = serving(64 * 1024);
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(server.recv().await.is_none());
    assert_eq!(peer.read(&mut [0; 16]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_is_closed_and_a_new_one_made() {
    let (client, mut server) = pair(Udp::Shared);
    for round in 1..=2 {
        let mut link = client.open();
        link.write_all(b"x").await.unwrap();
        let (_, accepted) = stream(server.recv().await.unwrap());
        sleep(Duration::from_secs(40)).await;
        assert_eq!(client.dialled(), round, "a session keeps its link");
        drop((link, accepted));
        sleep(Duration::from_secs(17)).await;
    }
}

#[tokio::test]
async fn a_link_carries_128_sessions_over_its_life() {
    let (client, mut server) = pair(Udp::Shared);
    for n in 0..130 {
        let mut link = client.open();
        link.write_all(b"x").await.unwrap();
        drop(server.recv().await.unwrap());
        let dialled = if n < 128 { 1 } else { 2 };
        assert_eq!(client.dialled(), dialled, "session {n}");
    }
}

/// V2Ray's server tells its own end a second after ours.
#[tokio::test]
async fn who_has_said_all_takes_no_room_but_for_so_many() {
    let (client, mut server) = pair(Udp::Shared);
    let concurrency = Settings::default().concurrency.unwrap();
    let mut half_closed = Vec::new();
    for n in 0..4 * concurrency {
        let mut link = client.open();
        link.write_all(b"x").await.unwrap();
        link.shutdown().await.unwrap();
        half_closed.push((link, server.recv().await.unwrap()));
        assert_eq!(client.dialled(), 1, "session {n}");
    }
    client.open().write_all(b"x").await.unwrap();
    assert_eq!(client.dialled(), 2);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_to_every_session() {
    let outbound = Outbound::new(Settings::default());
    let refused = || -> DialFuture {
        Box::pin(async { Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)) })
    };
    let mut link = outbound.stream(&place(), refused).unwrap();
    let error = link.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn datagrams_have_a_session_for_each_destination() {
    let (client, mut server) = pair(Udp::Shared);
    let mut ours = client.packets(1);
    send(&mut ours, "192.0.2.1:53", b"question").await;
    let mut theirs = packets(server.recv().await.unwrap());
    assert_eq!(
        received(&mut theirs).await,
        packet("192.0.2.1:53", b"question")
    );
    send(&mut theirs, "192.0.2.1:53", b"answer").await;
    assert_eq!(received(&mut ours).await, packet("192.0.2.1:53", b"answer"));
    drop(ours);
    assert_eq!(recv(&mut theirs).await, None);
}

#[tokio::test]
async fn xudp_datagrams_carry_their_addresses_both_ways() {
    for pool in [None, Some(16)] {
        let (client, mut server) = pair(Udp::Xudp(pool));
        let mut ours = client.packets(1);
        send(&mut ours, "192.0.2.1:53", b"a").await;
        send(&mut ours, "example.com:54", b"b").await;
        let mut theirs = packets(server.recv().await.unwrap());
        assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"a"));
        assert_eq!(received(&mut theirs).await, packet("example.com:54", b"b"));
        send(&mut theirs, "192.0.2.9:99", b"stranger").await;
        assert_eq!(
            received(&mut ours).await,
            packet("192.0.2.9:99", b"stranger")
        );
    }
}

#[tokio::test]
async fn an_association_goes_on_where_its_global_id_comes_again() {
    let (client, mut server) = pair(Udp::Xudp(None));
    let mut first = client.packets(1);
    send(&mut first, "192.0.2.1:53", b"a").await;
    let mut theirs = packets(server.recv().await.unwrap());
    assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"a"));

    let mut second = client.packets(1);
    send(&mut second, "192.0.2.1:53", b"b").await;
    assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"b"));
    send(&mut theirs, "192.0.2.1:53", b"answer").await;
    assert_eq!(
        received(&mut second).await,
        packet("192.0.2.1:53", b"answer")
    );
    assert_eq!(recv(&mut first).await, None, "the first session is over");

    let mut other = client.packets(2);
    send(&mut other, "192.0.2.1:53", b"c").await;
    let mut apart = packets(server.recv().await.unwrap());
    assert_eq!(received(&mut apart).await, packet("192.0.2.1:53", b"c"));
}

#[tokio::test]
async fn what_is_given_up_goes_on_over_another_link() {
    let (client, mut server) = pair(Udp::Xudp(Some(8)));
    let mut ours = client.packets(1);
    send(&mut ours, "192.0.2.1:53", b"a").await;
    let mut theirs = packets(server.recv().await.unwrap());
    assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"a"));
    ours.give_up();
    let mut ours = client.packets(1);
    assert_eq!(client.dialled(), 2);
    send(&mut ours, "192.0.2.1:53", b"b").await;
    assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"b"));
    client.packets(2);
    assert_eq!(client.dialled(), 2, "the new one takes others");
}

#[tokio::test(start_paused = true)]
async fn an_association_waits_a_minute_for_its_client_to_come_back() {
    let (client, mut server) = pair(Udp::Xudp(None));
    let mut first = client.packets(1);
    send(&mut first, "192.0.2.1:53", b"a").await;
    let mut theirs = packets(server.recv().await.unwrap());
    received(&mut theirs).await;
    drop(first);
    let waits = timeout(Duration::from_secs(50), recv(&mut theirs)).await;
    assert!(waits.is_err());
    let mut second = client.packets(1);
    send(&mut second, "192.0.2.1:53", b"b").await;
    assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"b"));
    drop(second);
    assert_eq!(recv(&mut theirs).await, None);
}

#[tokio::test]
async fn packetaddr_inside_a_session_is_unwrapped() {
    let (client, mut server) = pair(Udp::Shared);
    let name = packet_addr::destination();
    let inner = client.outbound.packets(&name, 1, || client.dial()).unwrap();
    let mut ours = packet_addr::unwrap(inner, name);
    send(&mut ours, "192.0.2.1:53", b"a").await;
    send(&mut ours, "example.com:53", b"a name has no form").await;
    send(&mut ours, "[2001:db8::1]:54", b"b").await;
    let mut theirs = packets(server.recv().await.unwrap());
    assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"a"));
    assert_eq!(
        received(&mut theirs).await,
        packet("[2001:db8::1]:54", b"b")
    );
    send(&mut theirs, "192.0.2.1:53", b"c").await;
    assert_eq!(received(&mut ours).await, packet("192.0.2.1:53", b"c"));
}

#[tokio::test]
async fn a_stream_of_datagrams_is_unwrapped() {
    let (client, mut server) = pair(Udp::PacketStream);
    let to = packet_stream::destination();
    let link = client.outbound.stream(&to, || client.dial()).unwrap();
    let mut ours = packet_stream::packets(link);
    send(&mut ours, "192.0.2.1:53", b"a").await;
    send(&mut ours, "example.com:53", b"a name has no form").await;
    send(&mut ours, "[2001:db8::1]:54", &[b'b'; 60_000]).await;
    let mut theirs = packets(server.recv().await.unwrap());
    assert_eq!(received(&mut theirs).await, packet("192.0.2.1:53", b"a"));
    let long = packet("[2001:db8::1]:54", &[b'b'; 60_000]);
    assert_eq!(received(&mut theirs).await, long);
    send(&mut theirs, "192.0.2.1:53", b"c").await;
    assert_eq!(received(&mut ours).await, packet("192.0.2.1:53", b"c"));
    drop(ours);
    let end = timeout(Duration::from_secs(5), poll_fn(|cx| theirs.poll_recv(cx))).await;
    assert!(!matches!(end.unwrap(), Ok(Some(_))));
}

#[test]
fn some_names_say_what_a_stream_carries() {
    let to = |text: &str| text.parse().unwrap();
    assert!(is_meant(&to("V1.mux.cool:9527")) && !is_meant(&to("mux.cool:9527")));
    let accept = |to| stream_or_packets(None, to, Link::other(tokio::io::empty()));
    let stream = accept(to("mux.cool:9527"));
    assert!(matches!(stream, Ok(Accepted::Stream { .. })));
    assert!(accept(to("sp.mux.sing-box.arpa:444")).is_err());
    assert!(accept(to("sp.v2.udp-over-tcp.arpa:0")).is_err());
}

#[test]
fn the_multiplex_of_sing_box_is_told_from_a_destination() {
    let to = |text: &str| text.parse().unwrap();
    let reason = other_kind(&to("sp.mux.sing-box.arpa:444")).unwrap();
    assert!(reason.contains("remove `multiplex`"));
    assert_eq!(other_kind(&to("example.com:444")), None);
}

struct Client {
    outbound: Outbound,
    server: Inbound,
    dialled: Arc<AtomicUsize>,
    accepted: mpsc::Sender<Accepted>,
}

impl Client {
    fn open(&self) -> Link {
        self.outbound.stream(&place(), || self.dial()).unwrap()
    }

    fn packets(&self, id: u32) -> Box<dyn Packets> {
        let to = "192.0.2.1:53".parse().unwrap();
        self.outbound.packets(&to, id, || self.dial()).unwrap()
    }

    fn dialled(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }

    fn dial(&self) -> DialFuture {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let (here, there) = duplex(4096);
        let Accepted::Sessions(mut sessions) = self.server.accept(Link::other(there), None, IDLE)
        else {
            panic!("mux is many sessions");
        };
        let accepted = self.accepted.clone();
        crate::io::spawn(async move {
            while let Some(session) = sessions.recv().await {
                let _ = accepted.send(session).await;
            }
        });
        Box::pin(async { Ok((Link::other(here), IDLE)) })
    }
}

/// A client, and what arrives at the server by any of its links.
fn pair(udp: Udp) -> (Client, mpsc::Receiver<Accepted>) {
    let (accepted, all) = mpsc::channel(256);
    let client = Client {
        outbound: Outbound::new(Settings {
            udp,
            ..Settings::default()
        }),
        server: Inbound::default(),
        dialled: Arc::default(),
        accepted,
    };
    (client, all)
}

/// A server, and the bare link to it.
fn serving(capacity: usize) -> (DuplexStream, mpsc::Receiver<Accepted>) {
    let (here, there) = duplex(capacity);
    let Accepted::Sessions(sessions) = Inbound::default().accept(Link::other(there), None, IDLE)
    else {
        panic!("mux is many sessions");
    };
    (here, sessions)
}

fn place() -> Destination {
    "example.com:80".parse().unwrap()
}

fn new(session_id: u16, data: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    let frame = Frame {
        session_id,
        kind: Kind::Stream(place()),
        error: false,
    };
    frame.encode(Some(data), &mut bytes).unwrap();
    bytes
}

async fn next(link: &mut DuplexStream) -> (Frame, Option<Bytes>) {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(frame) = Frame::decode(&mut bytes).unwrap() {
            return frame;
        }
        // One at a time, so that nothing of the next frame is taken.
        let byte = link.read_u8().await.unwrap();
        bytes.extend_from_slice(&[byte]);
    }
}

fn stream(accepted: Accepted) -> (Destination, Link) {
    match accepted {
        Accepted::Stream { to, link, .. } => (to, link),
        _ => panic!("a stream was opened"),
    }
}

fn packets(accepted: Accepted) -> Box<dyn Packets> {
    match accepted {
        Accepted::Packets { packets, .. } => packets,
        _ => panic!("datagrams were sent"),
    }
}

fn packet(peer: &str, data: &'static [u8]) -> Packet {
    Packet {
        peer: peer.parse().unwrap(),
        data: Bytes::from_static(data),
    }
}

async fn send(packets: &mut Box<dyn Packets>, peer: &str, data: &'static [u8]) {
    let packet = packet(peer, data);
    poll_fn(|cx| packets.poll_send(cx, &packet)).await.unwrap();
}

async fn recv(packets: &mut Box<dyn Packets>) -> Option<Packet> {
    poll_fn(|cx| packets.poll_recv(cx)).await.unwrap()
}

async fn received(packets: &mut Box<dyn Packets>) -> Packet {
    let limit = Duration::from_secs(5);
    let packet = timeout(limit, recv(packets)).await;
    packet.expect("a datagram in time").expect("no end")
}
