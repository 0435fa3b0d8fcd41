//! Both sides over a wire that is long: what takes how many round trips, and what a copy of a flight is worth.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::tests::{Pair, believing, client, server, showing};
use super::super::{ClientSettings, Inbound, Outbound, ServerSettings};
use crate::address::{Destination, Host};
use crate::cause::{DialError, TlsError};
use crate::io::{Goodbye, Io, Link};

const ROUND_TRIP: Duration = Duration::from_millis(100);

/// All that went from the client to the server.
type Recorded = Arc<Mutex<Vec<u8>>>;

/// Two ends, and half a round trip between them.
fn wire() -> (Link, Link, Recorded) {
    let (near, near_inside) = duplex(1 << 20);
    let (far, far_inside) = duplex(1 << 20);
    let recorded = Recorded::default();
    let (from_near, to_near) = split(near_inside);
    let (from_far, to_far) = split(far_inside);
    crate::io::spawn(carry(from_near, to_far, Some(recorded.clone())));
    crate::io::spawn(carry(from_far, to_near, None));
    (Link::other(near), Link::other(far), recorded)
}

async fn carry(
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    recorded: Option<Recorded>,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let arrive = async {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            let _ = match bytes.is_empty() {
                true => to.shutdown().await,
                false => to.write_all(&bytes).await,
            };
        }
    };
    let leave = async move {
        let mut buf = vec![0; 64 * 1024];
        loop {
            let n = from.read(&mut buf).await.unwrap_or(0);
            if let Some(recorded) = &recorded {
                recorded.lock().unwrap().extend_from_slice(&buf[..n]);
            }
            let bytes = Bytes::copy_from_slice(&buf[..n]);
            let _ = sender.send((Instant::now() + ROUND_TRIP / 2, bytes));
            if n == 0 {
                return;
            }
        }
    };
    tokio::join!(arrive, leave);
}

fn to() -> Destination {
    Destination::new(Host::Domain("example.com".to_owned()), 443)
}

/// How long it took from the first byte to that of the answer.
async fn ask(server: &Inbound, client: &Outbound, question: &[u8]) -> Duration {
    recorded(server, client, question).await.0
}

async fn recorded(server: &Inbound, client: &Outbound, question: &[u8]) -> (Duration, Vec<u8>) {
    let (near, far, recorded) = wire();
    let began = Instant::now();
    let asking = async {
        let mut link = client.wrap(near, &to()).await.unwrap();
        link.write_all(question).await.unwrap();
        link.flush().await.unwrap();
        let mut answer = [0; 6];
        link.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        let took = began.elapsed();
        link.shutdown().await.unwrap();
        assert_eq!(link.read(&mut answer).await.unwrap(), 0);
        took
    };
    let answering = async {
        let (mut link, facts) = server.accept(far, Instant::now()).await.unwrap();
        assert_eq!(facts.server_name.as_deref(), Some("example.com"));
        let mut asked = vec![0; question.len()];
        link.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked, question);
        link.write_all(b"answer").await.unwrap();
        link.flush().await.unwrap();
        let mut rest = Vec::new();
        link.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "nothing comes twice");
        link.shutdown().await.unwrap();
    };
    let (took, ()) = tokio::join!(asking, answering);
    let sent = recorded.lock().unwrap().clone();
    (took, sent)
}

fn ends() -> (Inbound, Outbound, Pair) {
    let pair = Pair::self_signed(&["example.com"], false);
    let (server, client) = (early_server(&pair), early_client(&pair));
    (server, client, pair)
}

fn early_server(pair: &Pair) -> Inbound {
    server(ServerSettings {
        early_data: true,
        ..showing([pair.keys()])
    })
}

fn early_client(pair: &Pair) -> Outbound {
    client(ClientSettings {
        early_data: true,
        // To be read, they would take real time.
        disable_system_root: true,
        ..believing(&pair.cert)
    })
}

#[tokio::test(start_paused = true)]
async fn a_ticket_saves_a_round_trip() {
    let (server, client, pair) = ends();
    assert_eq!(ask(&server, &client, b"question").await, ROUND_TRIP * 2);
    for _ in 0..5 {
        assert_eq!(ask(&server, &client, b"question").await, ROUND_TRIP);
    }
    // Either end alone saves nothing, and all goes well.
    let plain = super::super::tests::client(ClientSettings {
        disable_system_root: true,
        ..believing(&pair.cert)
    });
    let late = super::super::tests::server(showing([pair.keys()]));
    for _ in 0..2 {
        assert_eq!(ask(&server, &plain, b"question").await, ROUND_TRIP * 2);
        assert_eq!(ask(&late, &client, b"question").await, ROUND_TRIP * 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_forgotten_gets_it_with_the_handshake() {
    let (server, client, pair) = ends();
    ask(&server, &client, b"question").await;
    let restarted = early_server(&pair);
    assert_eq!(ask(&restarted, &client, b"question").await, ROUND_TRIP * 2);
    assert_eq!(ask(&restarted, &client, b"question").await, ROUND_TRIP);
}

#[tokio::test(start_paused = true)]
async fn more_than_fits_arrives_in_order() {
    let (server, client, _) = ends();
    let long: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    for _ in 0..3 {
        ask(&server, &client, &long).await;
    }
}

/// A server that does not take it passes over what came, and gets it with the handshake.
#[tokio::test(start_paused = true)]
async fn more_than_fits_arrives_where_it_is_not_taken() {
    let (server, client, pair) = ends();
    let long: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let late = super::super::tests::server(showing([pair.keys()]));
    for other in [early_server(&pair), late] {
        for _ in 0..3 {
            ask(&server, &client, b"question").await;
            ask(&other, &client, &long).await;
        }
    }
}

/// The server has said all before the client's part of the handshake is there, and the client goes on.
#[tokio::test(start_paused = true)]
async fn an_end_of_ones_own_leaves_the_other_direction_open() {
    let (server, client, _) = ends();
    ask(&server, &client, b"question").await;
    let (near, far, _) = wire();
    let long = vec![7; 300_000];
    let asking = async {
        let mut link = client.wrap(near, &to()).await.unwrap();
        link.write_all(b"question").await.unwrap();
        link.flush().await.unwrap();
        let mut answer = Vec::new();
        link.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(link.goodbye(), Goodbye::Said);
        link.write_all(&long).await.unwrap();
        link.shutdown().await.unwrap();
    };
    let answering = async {
        let (mut link, _) = server.accept(far, Instant::now()).await.unwrap();
        link.read_exact(&mut [0; 8]).await.unwrap();
        link.write_all(b"answer").await.unwrap();
        link.shutdown().await.unwrap();
        let mut rest = Vec::new();
        link.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), long.len());
        assert_eq!(link.goodbye(), Goodbye::Said);
    };
    tokio::join!(asking, answering);
}

/// Whoever was on the way keeps what the client says behind its first flight.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_has_its_time() {
    let (server, client, _) = ends();
    ask(&server, &client, b"question").await;
    let (near, mut inside) = duplex(1 << 20);
    let mut asking = client.wrap(Link::other(near), &to()).await.unwrap();
    asking.write_all(b"question").await.unwrap();
    let (mut flight, far) = duplex(1 << 20);
    let mut buf = vec![0; 4096];
    let n = inside.read(&mut buf).await.unwrap();
    flight.write_all(&buf[..n]).await.unwrap();
    let began = Instant::now();
    let (mut link, _) = server.accept(Link::other(far), began).await.unwrap();
    link.read_exact(&mut [0; 8]).await.unwrap();
    let error = link.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_nobody_used_closes_without_a_word() {
    let (server, client, _) = ends();
    ask(&server, &client, b"question").await;
    let (near, _far, recorded) = wire();
    let link = client.wrap(near, &to()).await.unwrap();
    let began = Instant::now();
    link.close().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    tokio::time::sleep(ROUND_TRIP).await;
    assert_eq!(recorded.lock().unwrap().len(), 0);
}

/// What somebody on the way recorded is sent again: the server shakes hands from the start, and reads nothing of it.
#[tokio::test(start_paused = true)]
async fn a_copy_of_a_flight_is_not_read() {
    let (server, client, _) = ends();
    ask(&server, &client, b"question").await;
    let (took, sent) = recorded(&server, &client, b"question").await;
    assert_eq!(took, ROUND_TRIP, "this one had early data");
    for _ in 0..3 {
        let (mut near, far) = duplex(1 << 20);
        near.write_all(&sent).await.unwrap();
        let accepted = server.accept(Link::other(far), Instant::now()).await;
        assert!(accepted.is_err(), "there is nothing to read for anybody");
    }
    assert_eq!(ask(&server, &client, b"question").await, ROUND_TRIP);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_first_is_heard() {
    let (server, client, _) = ends();
    ask(&server, &client, b"question").await;
    let (near, far, _) = wire();
    let listening = async {
        let mut link = client.wrap(near, &to()).await.unwrap();
        let mut greeting = [0; 5];
        link.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello");
        link.write_all(b"bye").await.unwrap();
        link.shutdown().await.unwrap();
    };
    let speaking = async {
        let (mut link, _) = server.accept(far, Instant::now()).await.unwrap();
        link.write_all(b"hello").await.unwrap();
        link.flush().await.unwrap();
        let mut rest = Vec::new();
        link.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");
    };
    timeout(Duration::from_secs(2), async {
        tokio::join!(listening, speaking)
    })
    .await
    .expect("neither waits for the other");
}

/// Another server has taken the place, with a certificate that nobody knows.
#[tokio::test(start_paused = true)]
async fn what_the_handshake_finds_is_told_by_the_link() {
    let (server, client, _) = ends();
    ask(&server, &client, b"question").await;
    let imposter = early_server(&Pair::self_signed(&["example.com"], false));
    let (near, far, _) = wire();
    let accepting =
        crate::io::spawn(async move { imposter.accept(far, Instant::now()).await.map(drop) });
    let mut link = client.wrap(near, &to()).await.unwrap();
    link.write_all(b"question").await.unwrap();
    let error = link.flush().await.unwrap_err();
    let cause = DialError::of(&error);
    assert!(
        matches!(cause, Some(DialError::Tls(TlsError::UnknownIssuer))),
        "{error:?}"
    );
    assert!(accepting.await.unwrap().is_err());
}

/// Nothing behind the first flight: the server's limit for a handshake is the client's too.
#[tokio::test(start_paused = true)]
async fn silence_ends_the_handshake() {
    let (server, client, _) = ends();
    ask(&server, &client, b"question").await;
    let (near, _far, _) = wire();
    let mut link = client.wrap(near, &to()).await.unwrap();
    link.write_all(b"question").await.unwrap();
    let began = Instant::now();
    let error = link.read(&mut [0; 1]).await.unwrap_err();
    assert!(matches!(
        DialError::of(&error),
        Some(DialError::Tls(TlsError::Slow(_)))
    ));
    assert!(began.elapsed() < Duration::from_secs(9));
}
