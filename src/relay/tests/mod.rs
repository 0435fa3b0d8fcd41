//! Tunnels between in-memory pipes.

mod bulk;

use super::*;
use crate::policy::Seconds;
use crate::smux;
use crate::testing::tcp_pair;
use socket2::SockRef;
use std::future::poll_fn;
use std::sync::Arc;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

#[tokio::test]
async fn the_end_of_one_direction_passes_on_while_the_other_goes_on() {
    let (mut client, mut target, relay) = tunnel(16, b"");
    let running = crate::io::spawn(relay);
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    target.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    let answer = crate::io::spawn(async move {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    });
    target.write_all(&[7; 1000]).await.unwrap();
    target.shutdown().await.unwrap();
    assert_eq!(answer.await.unwrap(), [7; 1000]);
    let ended = running.await.unwrap();
    assert_eq!((ended.up, ended.down), (8, 1000));
    assert!(ended.error.is_none());
}

#[tokio::test]
async fn what_was_read_before_comes_first() {
    let (mut client, mut target, relay) = tunnel(64, b"first ");
    crate::io::spawn(relay);
    client.write_all(b"second").await.unwrap();
    let mut got = [0; 12];
    target.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"first second");
}

#[tokio::test(start_paused = true)]
async fn a_silent_tunnel_ends_but_an_active_one_does_not() {
    let (mut client, mut target, relay) = tunnel(64, b"");
    let running = crate::io::spawn(relay);
    for _ in 0..3 {
        sleep(IDLE - Duration::from_secs(1)).await;
        client.write_all(b"x").await.unwrap();
        target.read_u8().await.unwrap();
    }
    let silent_since = Instant::now();
    let ended = running.await.unwrap();
    assert!(matches!(ended.error, Some(Failure::Idle(IDLE))));
    assert_eq!(silent_since.elapsed(), IDLE);
}

#[tokio::test(start_paused = true)]
async fn after_one_direction_the_other_one_has_its_own_limit() {
    for (uplink_ends, limit) in [(true, DOWNLINK_ONLY), (false, UPLINK_ONLY)] {
        let (mut client, mut target, relay) = tunnel(64, b"");
        let (ends, stays) = match uplink_ends {
            true => (&mut client, &mut target),
            false => (&mut target, &mut client),
        };
        let running = crate::io::spawn(relay);
        sleep(Duration::from_secs(200)).await;
        ends.shutdown().await.unwrap();
        for _ in 0..3 {
            sleep(limit - Duration::from_secs(1)).await;
            stays.write_all(b"x").await.unwrap();
            ends.read_u8().await.unwrap();
        }
        let silent_since = Instant::now();
        let ended = running.await.unwrap();
        assert!(matches!(ended.error, Some(Failure::HalfClosed(l)) if l == limit));
        assert_eq!(silent_since.elapsed(), limit);
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_time_the_end_of_one_direction_is_the_end() {
    let limits = Limits {
        downlink_only: Seconds(0),
        ..LIMITS
    };
    let (mut client, mut target, relay) = tunnel_with(64, b"", allowance(limits));
    let running = crate::io::spawn(relay);
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let began = Instant::now();
    let ended = running.await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(matches!(ended.error, Some(Failure::HalfClosed(_))));
    let mut question = Vec::new();
    target.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question", "what was sent before arrives");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_keeps_a_half_closed_tunnel_alive() {
    let (mut client, mut target, relay) = tunnel(4, b"");
    let running = crate::io::spawn(relay);
    client.shutdown().await.unwrap();
    let answering = crate::io::spawn(async move {
        target.write_all(&[7; 20]).await.unwrap();
        target.shutdown().await.unwrap();
    });
    for _ in 0..10 {
        sleep(DOWNLINK_ONLY - Duration::from_secs(1)).await;
        client.read_exact(&mut [0; 2]).await.unwrap();
    }
    answering.await.unwrap();
    assert!(running.await.unwrap().error.is_none());
}

#[tokio::test]
async fn what_passes_is_counted_as_it_passes() {
    let traffic = Traffic {
        uplink: Some(Arc::default()),
        downlink: Some(Arc::default()),
    };
    let allowance = Allowance {
        traffic: traffic.clone(),
        ..allowance(LIMITS)
    };
    let (mut client, mut target, relay) = tunnel_with(64, b"first", allowance);
    let _running = crate::io::spawn(relay);
    client.write_all(b" and more").await.unwrap();
    target.read_exact(&mut [0; 14]).await.unwrap();
    target.write_all(b"answer").await.unwrap();
    client.read_exact(&mut [0; 6]).await.unwrap();
    let counts = [&traffic.uplink, &traffic.downlink].map(|c| c.as_ref().unwrap().get());
    assert_eq!(counts, [14, 6]);
}

/// A client that has sent so much and has gone.
struct Gone(usize);

impl AsyncRead for Gone {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let n = self.0.min(buf.remaining());
        buf.put_slice(&vec![7; n]);
        self.0 -= n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gone {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Gone {
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

fn tunnel_of_gone(sent: usize) -> (DuplexStream, Relay) {
    let (service, target) = duplex(4 * 1024);
    let (client, target) = (Link::other(Gone(sent)), Link::other(target));
    let relay = Relay::new(client, target, Vec::new(), allowance(LIMITS));
    (service, relay)
}

#[tokio::test(start_paused = true)]
async fn a_slow_target_has_all_that_a_client_sent_who_has_gone() {
    for answers in [false, true] {
        let (mut service, relay) = tunnel_of_gone(50_000);
        let relayed = crate::io::spawn(relay);
        let (mut got, mut part) = (0, [0; 100]);
        loop {
            sleep(Duration::from_millis(100)).await;
            match service.read(&mut part).await.unwrap() {
                0 => break,
                n => got += n,
            }
            if answers {
                service.write_all(b"a word").await.unwrap();
            }
        }
        assert_eq!(got, 50_000);
        let begin = Instant::now();
        // It says no end, and what it says keeps nothing open.
        let saying = async {
            while service.write_all(b"a word").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let (ended, ()) = tokio::join!(relayed, saying);
        assert!(matches!(ended.unwrap().error, Some(Failure::Client(_))));
        assert!(begin.elapsed() <= LEFT_LIMIT + Duration::from_secs(2));
    }
    // One that ends as well is an end.
    let (mut service, relay) = tunnel_of_gone(1000);
    let relayed = crate::io::spawn(relay);
    service.read_to_end(&mut Vec::new()).await.unwrap();
    drop(service);
    assert!(relayed.await.unwrap().error.is_none());
}

#[tokio::test]
async fn no_more_is_read_than_may_be_kept() {
    let allowance = Allowance {
        read_max: 8,
        ..allowance(LIMITS)
    };
    let (mut client, a) = duplex(1024);
    let (b, _target) = duplex(1);
    client.write_all(&[7; 100]).await.unwrap();
    let mut relay = Relay::new(Link::other(a), Link::other(b), Vec::new(), allowance);
    poll_fn(|cx| {
        assert!(Pin::new(&mut relay).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!((relay.up.bytes, relay.up.owed.len()), (8, 7));
}

/// A layer that gives so much a read, and never ends.
struct Pieces(usize);

impl AsyncRead for Pieces {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let len = self.0.min(buf.remaining());
        buf.initialize_unfilled_to(len);
        buf.advance(len);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_turn_is_two_full_reads_or_sixteen_of_less() {
    const RECORDS: usize = 64 * 1024;
    for (piece, turn) in [
        (scratch::READ, 2 * scratch::READ),
        (RECORDS, (2 * scratch::READ).next_multiple_of(RECORDS)),
        (1000, 16 * 1000),
    ] {
        let from = tokio::io::join(Pieces(piece), tokio::io::sink());
        let (to, _target) = duplex(1 << 20);
        let (from, to) = (Link::foreign(from), Link::other(to));
        let mut relay = Relay::new(from, to, Vec::new(), allowance(LIMITS));
        poll_fn(|cx| {
            assert!(Pin::new(&mut relay).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(relay.up.bytes, turn as u64, "{piece}");
    }
}

#[test]
fn an_idle_tunnel_is_small() {
    assert!(size_of::<Relay>() <= 280, "{}", size_of::<Relay>());
}

const IDLE: Duration = Duration::from_secs(300);
const UPLINK_ONLY: Duration = Duration::from_secs(7);
const DOWNLINK_ONLY: Duration = Duration::from_secs(11);

const LIMITS: Limits = Limits {
    idle: Seconds(300),
    uplink_only: Seconds(7),
    downlink_only: Seconds(11),
};

fn allowance(limits: Limits) -> Allowance {
    Allowance {
        limits,
        ..Allowance::default()
    }
}

fn tunnel(capacity: usize, first: &[u8]) -> (DuplexStream, DuplexStream, Relay) {
    tunnel_with(capacity, first, allowance(LIMITS))
}

fn tunnel_with(
    capacity: usize,
    first: &[u8],
    allowance: Allowance,
) -> (DuplexStream, DuplexStream, Relay) {
    let (client, a) = duplex(capacity);
    let (target, b) = duplex(capacity);
    let relay = Relay::new(Link::other(a), Link::other(b), first.to_vec(), allowance);
    (client, target, relay)
}

/// One who takes little is told from one who has stopped by how often he takes something.
#[tokio::test]
async fn little_lies_in_a_socket_for_which_others_wait() {
    let (near, _far) = duplex(1024);
    let (opener, carried) = smux::client(Link::other(near), smux::Settings::default());
    crate::io::spawn(carried);
    let plain = Link::other(duplex(1024).0);
    // Nothing else was asked of a socket: the system has 0, which is its own default.
    for (from, expected) in [(opener.open().unwrap(), UNSENT), (plain, 0)] {
        let (target, _peer) = tcp_pair().await;
        let socket = SockRef::from(&target).try_clone().unwrap();
        let _relay = Relay::new(from, Link::Tcp(target), Vec::new(), Allowance::default());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), expected);
    }
}
