//! Much that goes from socket to socket inside the kernel.

use super::*;
use crate::io::splice;
use crate::testing::tcp_pair;
use crate::transport::ws::{WsStream, codec::Role};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

const BULK: usize = 24 * 1024 * 1024;

fn spliced(client: Link, target: Link) -> Relay {
    Relay::new(client, target, Vec::new(), allowance(LIMITS))
}

fn pattern(seed: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) >> 3).wrapping_add(seed) as u8
}

async fn send(mut to: OwnedWriteHalf, seed: usize) {
    let bulk: Vec<u8> = (0..BULK).map(|i| pattern(seed, i)).collect();
    to.write_all(&bulk).await.unwrap();
    to.shutdown().await.unwrap();
}

/// How many bytes came, all of them right.
async fn receive(from: &mut (impl AsyncRead + Unpin), seed: usize) -> usize {
    let mut bytes = vec![0; 100_000];
    let mut taken = 0;
    loop {
        let n = from.read(&mut bytes).await.unwrap();
        if n == 0 {
            return taken;
        }
        for (i, byte) in bytes[..n].iter().enumerate() {
            assert_eq!(*byte, pattern(seed, taken + i), "at {}", taken + i);
        }
        taken += n;
    }
}

#[tokio::test]
async fn a_bulk_between_sockets_arrives_whole_and_counted() {
    let (client, from) = tcp_pair().await;
    let (to, target) = tcp_pair().await;
    let running = crate::io::spawn(spliced(Link::Tcp(from), Link::Tcp(to)));
    let before = splice::moved();
    let (mut client_reads, client_writes) = client.into_split();
    let (mut target_reads, target_writes) = target.into_split();
    crate::io::spawn(send(client_writes, 1));
    crate::io::spawn(send(target_writes, 2));
    let (up, down) = tokio::join!(receive(&mut target_reads, 1), receive(&mut client_reads, 2));
    assert_eq!((up, down), (BULK, BULK));
    assert!(splice::moved() - before > BULK / 4, "it was copied");
    let ended = running.await.unwrap();
    assert_eq!((ended.up, ended.down), (BULK as u64, BULK as u64));
    assert!(ended.error.is_none());
}

/// The pings come while frames are on their way; their answers must not land inside of one.
#[tokio::test]
async fn a_bulk_into_a_websocket_leaves_its_frames_whole() {
    let (client, from) = tcp_pair().await;
    let (to, target) = tcp_pair().await;
    let server = Link::other(WsStream::new(Link::Tcp(from), Role::Server, None));
    crate::io::spawn(spliced(server, Link::Tcp(to)));
    let before = splice::moved();
    let (_target_reads, target_writes) = target.into_split();
    crate::io::spawn(send(target_writes, 3));
    let mut client = WsStream::new(client, Role::Client, None);
    let mut taken = 0;
    let mut piece = vec![0; 10_000];
    while taken < BULK {
        client.ping_now();
        let n = client.read(&mut piece).await.unwrap();
        assert!(n > 0);
        for (i, byte) in piece[..n].iter().enumerate() {
            assert_eq!(*byte, pattern(3, taken + i));
        }
        taken += n;
        if taken % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(splice::moved() - before > BULK / 4, "it was copied");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_stops_the_other_one() {
    let (mut client, from) = tcp_pair().await;
    let (to, target) = tcp_pair().await;
    let running = crate::io::spawn(spliced(Link::Tcp(from), Link::Tcp(to)));
    let (_target_reads, target_writes) = target.into_split();
    let sending = crate::io::spawn(send(target_writes, 4));
    sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished(), "somebody keeps it all");
    assert_eq!(receive(&mut client, 4).await, BULK);
    drop(client);
    running.await.unwrap();
}

#[tokio::test]
async fn a_reset_behind_a_bulk_is_an_error_of_its_end() {
    let (mut client, from) = tcp_pair().await;
    let (to, mut target) = tcp_pair().await;
    let running = crate::io::spawn(spliced(Link::Tcp(from), Link::Tcp(to)));
    let reading = crate::io::spawn(async move {
        target.read_exact(&mut vec![0; BULK / 4]).await.unwrap();
        target
    });
    client.write_all(&vec![7; BULK / 4]).await.unwrap();
    let _target = reading.await.unwrap();
    crate::io::begun(&client);
    drop(client);
    let ended = running.await.unwrap();
    assert!(matches!(ended.error, Some(Failure::Client(_))), "{ended:?}");
}

/// The client of a session in a WebSocket, whose server passes each of its streams on to the next of `targets`.
async fn session(settings: smux::Settings, targets: Vec<Link>) -> smux::Opener {
    let (near, far) = tcp_pair().await;
    // The socket is often full where a frame's header comes.
    SockRef::from(&far).set_send_buffer_size(64 * 1024).unwrap();
    let near = WsStream::new(Link::Tcp(near), Role::Client, None);
    let far = WsStream::new(Link::Tcp(far), Role::Server, None);
    let mut targets = targets.into_iter();
    let door = move |stream| {
        let relay = targets.next().map(|target| spliced(stream, target));
        relay.map(crate::io::spawn).is_some()
    };
    let served = smux::server(Link::other(far), smux::Settings::default(), door);
    crate::io::spawn(served);
    let (opener, carried) = smux::client(Link::other(near), settings);
    crate::io::spawn(carried);
    opener
}

fn settings_of_sessions() -> [smux::Settings; 3] {
    let of = |version, stream_window| smux::Settings {
        version,
        stream_window,
        ..smux::Settings::default()
    };
    let window = smux::Settings::default().stream_window;
    [
        of(smux::Version::One, window),
        of(smux::Version::Two, window),
        // Smaller than what is spliced otherwise.
        of(smux::Version::Two, 50_000),
    ]
}

#[tokio::test]
async fn bulks_in_the_streams_of_a_session_leave_its_frames_whole() {
    for settings in settings_of_sessions() {
        let is_wide = settings.stream_window > 1_000_000;
        let (mut targets, mut senders) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (to, target) = tcp_pair().await;
            targets.push(Link::Tcp(to));
            senders.push(target.into_split());
        }
        let before = splice::moved();
        let opener = session(settings, targets).await;
        let mut receivers = Vec::new();
        for (seed, (reads, writes)) in senders.into_iter().enumerate() {
            let mut stream = opener.open().unwrap();
            // The session knows of it, so the next target is its own.
            stream.write_all(b"x").await.unwrap();
            crate::io::spawn(async move {
                let mut reads = reads;
                reads.read_u8().await.unwrap();
                send(writes, seed).await;
            });
            receivers.push(crate::io::spawn(async move {
                let received = receive(&mut stream, seed).await;
                (received, stream)
            }));
        }
        for receiver in receivers {
            assert_eq!(receiver.await.unwrap().0, BULK);
        }
        if is_wide {
            let moved = splice::moved() - before;
            assert!(moved > BULK / 4, "it was copied, but for {moved}");
        }
    }
}

#[tokio::test]
async fn whoever_leaves_in_the_middle_of_a_bulk_leaves_the_others_whole() {
    for settings in settings_of_sessions() {
        let (left, leaver) = tcp_pair().await;
        let (stays, target) = tcp_pair().await;
        let opener = session(settings, vec![Link::Tcp(left), Link::Tcp(stays)]).await;
        let mut leaving = opener.open().unwrap();
        leaving.write_all(b"x").await.unwrap();
        let (_reads, writes) = leaver.into_split();
        let sending = crate::io::spawn(async move {
            let mut writes = writes;
            while writes.write_all(&[7; 100_000]).await.is_ok() {}
        });
        leaving.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
        let mut staying = opener.open().unwrap();
        staying.write_all(b"x").await.unwrap();
        let (_reads, writes) = target.into_split();
        crate::io::spawn(send(writes, 1));
        staying.read_exact(&mut [0; 1]).await.unwrap();
        drop(leaving);
        let mut rest = vec![0; BULK - 1];
        staying.read_exact(&mut rest).await.unwrap();
        let right = rest
            .iter()
            .zip(1..)
            .all(|(byte, at)| *byte == pattern(1, at));
        assert!(right);
        timeout(Duration::from_secs(20), sending)
            .await
            .unwrap()
            .unwrap();
    }
}
