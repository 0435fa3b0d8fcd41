//! Readers that take little or nothing, and the other streams of their sessions.

use super::*;

#[tokio::test]
async fn a_slow_reader_keeps_no_more_than_its_session_may() {
    let (near, mut far) = duplex(64 * 1024);
    let (door, mut accepted) = mpsc::unbounded_channel();
    crate::io::spawn(server(
        Link::other(near),
        Settings::default(),
        move |link| door.send(link).is_ok(),
    ));
    far.write_all(&frame(Version::One, Command::Open, 3))
        .await
        .unwrap();
    let mut link = accepted.recv().await.unwrap();
    let mut piece = frame(Version::One, Command::Data(32 * 1024), 3).to_vec();
    piece.resize(8 + 32 * 1024, 5);
    let mut sent = 0;
    while timeout(Duration::from_millis(300), far.write_all(&piece))
        .await
        .is_ok()
    {
        sent += 32 * 1024;
    }
    let bound = 4 * 1024 * 1024;
    assert!((bound..bound + 512 * 1024).contains(&sent), "{sent}");
    // It goes on when the reader does.
    crate::io::spawn(async move { tokio::io::copy(&mut link, &mut tokio::io::sink()).await });
    let rest = vec![0; 8 + 32 * 1024];
    timeout(LONG, far.write_all(&rest[..1000]))
        .await
        .unwrap()
        .unwrap();
}

/// A peer that knows nothing but smux: what it hears, taken apart.
struct Peer {
    far: DuplexStream,
    decoder: Decoder,
}

impl Peer {
    fn new(far: DuplexStream) -> Self {
        Self {
            far,
            decoder: Decoder::new(None),
        }
    }

    async fn send(&mut self, stream: u32, data: &[u8]) {
        for piece in data.chunks(32 * 1024) {
            let head = frame(Version::One, Command::Data(piece.len() as u16), stream);
            self.far.write_all(&head).await.unwrap();
            self.far.write_all(piece).await.unwrap();
        }
    }

    /// What is told within a while, but for data, keepalives and what one knows.
    async fn hears(&mut self, limit: Duration) -> Vec<String> {
        let (mut told, mut buf) = (Vec::new(), [0; 4096]);
        let until = Instant::now() + limit;
        while let Ok(read) = tokio::time::timeout_at(until, self.far.read(&mut buf)).await {
            let mut input = &buf[..read.unwrap()];
            while let Some(event) = self.decoder.next(&mut input).unwrap() {
                if !matches!(
                    event,
                    Event::Data(..) | Event::KeepAlive | Event::HalfCloses
                ) {
                    told.push(format!("{event:?}"));
                }
            }
        }
        told
    }
}

/// A client of two streams, the first of which nobody reads, and its peer that has filled the session with it.
async fn jammed() -> (Opener, Link, Link, Peer) {
    let settings = Settings {
        receive_buffer: Some(64 * 1024),
        ..Settings::default()
    };
    let (near, far) = duplex(1024 * 1024);
    let (opener, carried) = client(Link::other(near), settings);
    crate::io::spawn(carried);
    let mut slow = opener.open().unwrap();
    slow.write_all(b"s").await.unwrap();
    let mut other = opener.open().unwrap();
    other.write_all(b"o").await.unwrap();
    let mut peer = Peer::new(far);
    peer.send(3, &vec![7; 512 * 1024]).await;
    let told = peer.hears(Duration::from_secs(1)).await;
    assert_eq!(told, ["Open(3)", "Open(5)"]);
    (opener, slow, other, peer)
}

/// While another stream's reader has filled the session, a peer's silence is our own.
#[tokio::test(start_paused = true)]
async fn a_stream_is_not_ended_while_nobody_listens_to_its_peer() {
    let (_opener, mut slow, mut asked, mut peer) = jammed().await;
    let ended = poll_fn(|cx| Pin::new(&mut asked).poll_end(cx));
    let waited = timeout(Duration::from_secs(9), ended).await;
    assert!(waited.is_err(), "it was ended by our own silence");
    let mut rest = vec![0; 512 * 1024];
    slow.read_exact(&mut rest).await.unwrap();
    peer.send(5, b"answer").await;
    let mut answer = [0; 6];
    asked.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
    // Now it is listened to.
    let ended = poll_fn(|cx| Pin::new(&mut asked).poll_end(cx));
    timeout(Duration::from_secs(60), ended)
        .await
        .unwrap()
        .unwrap();
}

/// Version 1 has no other way: a visitor that has stopped reading would stop everybody for ever.
#[tokio::test(start_paused = true)]
async fn a_stream_whose_reader_takes_nothing_is_ended_before_it_holds_up_the_others_for_ever() {
    let (_opener, mut slow, mut other, mut peer) = jammed().await;
    peer.send(5, b"for the other").await;
    let began = Instant::now();
    let mut got = [0; 13];
    other.read_exact(&mut got).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(&got, b"for the other");
    assert_eq!(peer.hears(Duration::from_secs(1)).await, ["End(3)"]);
    let error = slow.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("held up"), "{error}");
    assert!(slow.write_all(b"more").await.is_err());
    // What still comes for it is nobody's.
    peer.send(3, &vec![7; 512 * 1024]).await;
    peer.send(5, b"for the other").await;
    other.read_exact(&mut got).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_now_and_then_or_is_alone_is_not_ended() {
    // One that is read, however slowly, with another beside it.
    let (_opener, mut slow, _other, mut peer) = jammed().await;
    let mut piece = [0; 1000];
    for _ in 0..20 {
        sleep(Duration::from_secs(4)).await;
        slow.read_exact(&mut piece).await.unwrap();
    }
    assert_eq!(peer.hears(Duration::from_secs(1)).await, [""; 0]);
    // One that is alone.
    let (_opener, mut slow, other, mut peer) = jammed().await;
    drop(other);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(peer.hears(Duration::from_secs(1)).await, ["End(5)"]);
    let mut rest = vec![0; 512 * 1024];
    slow.read_exact(&mut rest).await.unwrap();
}

/// Both ends know windows here, which have grown before their readers become slow.
#[tokio::test(start_paused = true)]
async fn slow_readers_hold_up_nobody_where_both_ends_are_ours() {
    let (opener, mut accepted) = pair(&Settings::default());
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut link = opener.open().unwrap();
        link.write_all(b"s").await.unwrap();
        slow.push(link);
        let mut far = accepted.recv().await.unwrap();
        crate::io::spawn(async move {
            let sent = far.write_all(&vec![7; 12 * 1024 * 1024]).await;
            sent.unwrap();
            far.shutdown().await.unwrap();
            tokio::io::copy(&mut far, &mut tokio::io::sink()).await
        });
    }
    for _ in 0..7 * 16 {
        for link in &mut slow {
            link.read_exact(&mut [0; 64 * 1024]).await.unwrap();
        }
    }
    sleep(Duration::from_secs(1)).await;
    let mut quick = opener.open().unwrap();
    quick.write_all(b"q").await.unwrap();
    let mut far = accepted.recv().await.unwrap();
    let sending = crate::io::spawn(async move {
        far.write_all(&vec![8; 16 * 1024 * 1024]).await.unwrap();
        far
    });
    let began = Instant::now();
    let mut all = vec![0; 16 * 1024 * 1024];
    quick.read_exact(&mut all).await.unwrap();
    assert!(all.iter().all(|byte| *byte == 8));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    sending.await.unwrap();
    let held = opener.table.with(|state| state.held());
    assert!(held < 16 * 1024 * 1024, "{held}");
    // Minutes later they have lost nothing.
    sleep(Duration::from_secs(300)).await;
    for mut link in slow {
        let mut all = Vec::new();
        timeout(LONG, link.read_to_end(&mut all))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(all.len(), 5 * 1024 * 1024);
    }
}

/// As many as a busy tunnel has, each with what a window begins with unread: nobody is held up, so nobody is ended.
#[tokio::test(start_paused = true)]
async fn many_that_have_stopped_reading_are_not_ended_while_they_hold_up_nobody() {
    for version in [Version::One, Version::Two] {
        let settings = Settings {
            version,
            ..Settings::default()
        };
        let (opener, mut accepted) = pair(&settings);
        let mut stopped = Vec::new();
        for _ in 0..80 {
            let mut link = opener.open().unwrap();
            link.write_all(b"s").await.unwrap();
            stopped.push(link);
            let mut far = accepted.recv().await.unwrap();
            crate::io::spawn(async move {
                let sent = far.write_all(&vec![7; 1024 * 1024]).await;
                sent.unwrap();
                far.shutdown().await.unwrap();
                tokio::io::copy(&mut far, &mut tokio::io::sink()).await
            });
        }
        let mut quick = opener.open().unwrap();
        quick.write_all(b"q").await.unwrap();
        let mut far = accepted.recv().await.unwrap();
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            far.write_all(b"word").await.unwrap();
            let mut word = [0; 4];
            let read = timeout(Duration::from_secs(1), quick.read_exact(&mut word)).await;
            read.unwrap().unwrap();
        }
        let held = opener.table.with(|state| state.held());
        assert!(held > 80 * 250 * 1024, "{version:?}: {held}");
        for mut link in stopped {
            let mut all = Vec::new();
            let read = timeout(LONG, link.read_to_end(&mut all)).await;
            read.unwrap().unwrap();
            assert_eq!(all.len(), 1024 * 1024);
        }
    }
}

/// Where it comes to that, no more of them are ended than stand in the way.
#[tokio::test(start_paused = true)]
async fn those_with_the_most_unread_are_ended_until_there_is_room() {
    let settings = Settings {
        receive_buffer: Some(1024 * 1024),
        ..Settings::default()
    };
    let (near, far) = duplex(4 * 1024 * 1024);
    let (opener, carried) = client(Link::other(near), settings);
    crate::io::spawn(carried);
    let mut links = Vec::new();
    for _ in 0..5 {
        let mut link = opener.open().unwrap();
        link.write_all(b"s").await.unwrap();
        links.push(link);
    }
    let mut peer = Peer::new(far);
    for (stream, kib) in [(3, 400), (5, 100), (7, 500), (9, 300)] {
        peer.send(stream, &vec![7; kib * 1024]).await;
    }
    peer.send(11, b"for the last").await;
    links[4].read_exact(&mut [0; 12]).await.unwrap();
    let ended = peer.hears(Duration::from_secs(1)).await;
    let ended: Vec<_> = ended
        .iter()
        .filter(|told| told.starts_with("End"))
        .collect();
    assert_eq!(ended, ["End(7)", "End(3)"]);
    for (n, kib) in [(1, 100), (3, 300)] {
        let mut unread = vec![0; kib * 1024];
        links[n].read_exact(&mut unread).await.unwrap();
    }
}
