//! Sessions joined by pipes, and a peer that speaks in bytes.

mod slow;
mod strangers;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::codec::{Command, Event, FrameError, frame, update};
use super::*;
use crate::io::{Io, Presence, low_water, scratch};
use crate::testing::tcp_pair;

const LONG: Duration = Duration::from_secs(20);

/// What gost has sent, in the order of its messages.
fn captured(name: &str) -> Vec<u8> {
    let text = include_str!("../../../testdata/vectors/gost.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let mut vectors = all["vectors"].as_array().unwrap().iter();
    let vector = vectors.find(|vector| vector["name"] == name).unwrap();
    let frames = vector["frames"].as_array().unwrap().iter();
    frames
        .flat_map(|f| unhex(f["payload"].as_str().unwrap()))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

/// What bytes mean, data of neighbouring pieces joined; and the bytes that mean it.
fn taken_apart(bytes: &[u8], size: usize) -> (Vec<String>, Vec<u8>) {
    let mut decoder = Decoder::new(None);
    let (mut told, mut again, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for mut piece in bytes.chunks(size) {
        while let Some(event) = decoder.next(&mut piece).unwrap() {
            let version = decoder.version().unwrap();
            match event {
                Event::Data(id, piece) => {
                    data.extend_from_slice(piece);
                    if !decoder.is_inside_frame() {
                        again.extend(frame(version, Command::Data(data.len() as u16), id));
                        again.extend_from_slice(&data);
                        told.push(format!("{id}: {data:?}"));
                        data.clear();
                    }
                    continue;
                }
                Event::Open(id) => again.extend(frame(version, Command::Open, id)),
                Event::End(id) => again.extend(frame(version, Command::End, id)),
                Event::KeepAlive => again.extend(frame(version, Command::KeepAlive, 0)),
                Event::WriteEnd(id) => again.extend(frame(version, Command::WriteEnd, id)),
                Event::HalfCloses => again.extend(frame(version, Command::HalfCloses, 0)),
                Event::Windows => again.extend(frame(version, Command::Windows, 0)),
                Event::Update {
                    stream,
                    consumed,
                    window,
                } => again.extend(update(version, stream, consumed, window)),
            }
            told.push(format!("{event:?}"));
        }
    }
    assert!(!decoder.is_inside_frame());
    (told, again)
}

/// While much comes the socket wakes the session for much; what is less comes a moment later all the same.
#[tokio::test]
async fn the_end_of_a_burst_waits_for_a_moment_only() {
    const PIECE: usize = 16 * 1024;
    let (ours, mut theirs) = tcp_pair().await;
    let socket = SockRef::from(&ours).try_clone().unwrap();
    let (streams, mut arrivals) = mpsc::unbounded_channel();
    let door = move |link| streams.send(link).is_ok();
    crate::io::spawn(server(Link::Tcp(ours), Settings::default(), door));
    let opening = frame(Version::One, Command::Open, 3);
    theirs.write_all(&opening).await.unwrap();
    let mut stream = arrivals.recv().await.unwrap();
    let mut read = vec![0; PIECE];
    for _ in 0..16 * 1024 {
        if low_water::get(&socket) > 1 {
            break;
        }
        let header = frame(Version::One, Command::Data(PIECE as u16), 3);
        let piece = [&header[..], &[7; PIECE]].concat();
        theirs.write_all(&piece).await.unwrap();
        stream.read_exact(&mut read).await.unwrap();
    }
    assert!(low_water::get(&socket) > 1, "this is no burst");
    let header = frame(Version::One, Command::Data(7), 3);
    theirs
        .write_all(&[&header[..], b"the end"].concat())
        .await
        .unwrap();
    let end = timeout(Duration::from_secs(5), stream.read_exact(&mut read[..7])).await;
    end.expect("the end does not come").unwrap();
    assert_eq!(&read[..7], b"the end");
    assert_eq!(low_water::get(&socket), 1);
}

#[test]
fn frames_written_by_gost() {
    for name in ["relay-mws", "relay-mws-v2", "rtcp-relay-mws"] {
        for direction in ["up", "down"] {
            let bytes = captured(&format!("{name}/{direction}"));
            let (told, again) = taken_apart(&bytes, bytes.len());
            assert_eq!(again, bytes, "{name}/{direction}");
            for size in 1..20 {
                assert_eq!(
                    taken_apart(&bytes, size).0,
                    told,
                    "{name} in pieces of {size}"
                );
            }
        }
    }
    let (told, _) = taken_apart(&captured("relay-mws-v2/down"), 1000);
    assert_eq!(told[0], "Update { stream: 3, consumed: 4, window: 65536 }");
    assert_eq!(told[2], "End(3)");
}

#[test]
fn what_is_no_frame_is_told() {
    let fails = |version, bytes: &[u8]| {
        let mut input = bytes;
        Decoder::new(version).next(&mut input).unwrap_err()
    };
    let nop = frame(Version::Two, Command::KeepAlive, 0);
    let text = fails(Some(Version::One), &nop).to_string();
    assert!(text.contains("`mux.version`"), "{text}");
    assert_eq!(fails(None, b"GET / HTTP/1.1"), FrameError::Version(b'G'));
    assert_eq!(
        fails(None, &[1, 9, 0, 0, 0, 0, 0, 0]),
        FrameError::Command(9)
    );
    assert!(matches!(
        fails(None, &[2, 0, 1, 0, 3, 0, 0, 0]),
        FrameError::Length { command: 0, .. }
    ));
}

/// A client, and what its peer accepts.
fn pair(settings: &Settings) -> (Opener, mpsc::UnboundedReceiver<Link>) {
    let (near, far) = duplex(64 * 1024);
    let (opener, carried) = client(Link::other(near), settings.clone());
    crate::io::spawn(carried);
    (opener, accepting(far, settings))
}

fn accepting(far: DuplexStream, settings: &Settings) -> mpsc::UnboundedReceiver<Link> {
    let (door, accepted) = mpsc::unbounded_channel();
    let settings = Settings {
        // Nobody asks a server for it.
        version: Version::One,
        ..settings.clone()
    };
    crate::io::spawn(server(Link::other(far), settings, move |link| {
        door.send(link).is_ok()
    }));
    accepted
}

fn both() -> [Settings; 2] {
    [Version::One, Version::Two].map(|version| Settings {
        version,
        ..Settings::default()
    })
}

#[tokio::test]
async fn many_streams_go_both_ways_at_once() {
    for settings in both() {
        let (opener, mut accepted) = pair(&settings);
        crate::io::spawn(async move {
            while let Some(link) = accepted.recv().await {
                crate::io::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(link);
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                });
            }
        });
        let mut all = Vec::new();
        for n in 0..50_u8 {
            let link = opener.open().unwrap();
            all.push(crate::io::spawn(async move {
                let data = vec![n; 600_000 + usize::from(n) * 1000];
                let (mut read, mut write) = tokio::io::split(link);
                let mut back = vec![0; data.len()];
                let send = write.write_all(&data);
                let (sent, got) = tokio::join!(send, read.read_exact(&mut back));
                sent.unwrap();
                got.unwrap();
                assert_eq!(back, data);
            }));
        }
        for one in all {
            timeout(LONG, one).await.unwrap().unwrap();
        }
        assert_eq!(opener.streams(), 0);
    }
}

#[tokio::test]
async fn a_stream_begins_with_its_first_bytes_or_without_any() {
    let (near, mut far) = duplex(64 * 1024);
    let (opener, carried) = client(Link::other(near), Settings::default());
    crate::io::spawn(carried);
    let mut link = opener.open().unwrap();
    link.write_all(b"first").await.unwrap();
    let mut got = [0; 29];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got[..8], [1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(&got[8..21], b"\x01\x02\x05\x00\x03\x00\x00\x00first");
    // What it knows, for a peer that knows it too.
    assert_eq!(&got[21..], [1, 3, 0, 0, 255, 255, 255, 255]);
    // Whoever waits for a greeting says nothing himself.
    let mut second = opener.open().unwrap();
    second.flush().await.unwrap();
    far.read_exact(&mut got[..8]).await.unwrap();
    assert_eq!(&got[..8], [1, 0, 0, 0, 5, 0, 0, 0]);
    // One that nobody has heard of ends without a word.
    drop(opener.open().unwrap());
    drop(link);
    far.read_exact(&mut got[..8]).await.unwrap();
    assert_eq!(&got[..8], [1, 1, 0, 0, 3, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_that_of_both_directions() {
    let (near, mut far) = duplex(64 * 1024);
    let (opener, carried) = client(Link::other(near), Settings::default());
    crate::io::spawn(carried);
    let mut link = opener.open().unwrap();
    link.write_all(b"request").await.unwrap();
    assert_eq!(link.presence(), Presence::Here);
    for frame in [
        frame(Version::One, Command::Data(12), 3).as_slice(),
        b"all there is",
        &frame(Version::One, Command::End, 3),
    ] {
        far.write_all(frame).await.unwrap();
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(link.presence(), Presence::Gone);
    let (mut reading, mut writing) = tokio::io::split(link);
    // Not before whoever reads has heard of the end, however late he comes.
    let slow = async {
        sleep(Duration::from_secs(5)).await;
        let mut got = Vec::new();
        reading.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"all there is");
    };
    let began = Instant::now();
    let written = async {
        let error = writing.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        began.elapsed()
    };
    let (took, ()) = tokio::join!(written, slow);
    assert!(took > Duration::from_secs(5), "{took:?}");
}

/// Both ends are ours, and find that out by the first stream.
#[tokio::test]
async fn an_end_of_one_direction_leaves_the_other_open_where_the_peer_knows_it() {
    for version in [Version::One, Version::Two] {
        let settings = Settings {
            version,
            ..Settings::default()
        };
        let (opener, mut accepted) = pair(&settings);
        for round in 0..2 {
            let mut link = opener.open().unwrap();
            link.write_all(b"request").await.unwrap();
            poll_fn(|cx| Pin::new(&mut link).poll_end(cx))
                .await
                .unwrap();
            assert!(link.half_closes() && !link.end_cuts_off());
            assert!(link.write_all(b"more").await.is_err());
            let mut peer = accepted.recv().await.unwrap();
            let mut got = Vec::new();
            peer.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"request");
            assert_eq!(peer.presence(), Presence::Done);
            // More than the first window.
            let answer = vec![round; 3 << 18];
            let written = async {
                peer.write_all(&answer).await.unwrap();
                peer.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (read, ()) = tokio::join!(link.read_to_end(&mut got), written);
            read.unwrap();
            assert_eq!(got, answer);
            drop(link);
            let mut end = [0];
            while peer.presence() != Presence::Gone {
                tokio::task::yield_now().await;
            }
            assert_eq!(peer.read(&mut end).await.unwrap(), 0);
            drop(peer);
            assert_eq!(opener.streams(), 0);
        }
    }
}

/// What it is told means nothing to it, and FIN comes as late as ever.
#[tokio::test(start_paused = true)]
async fn a_peer_that_knows_no_end_of_one_direction_hears_of_both_when_it_is_silent() {
    let (near, mut far) = duplex(64 * 1024);
    let (opener, carried) = client(Link::other(near), Settings::default());
    crate::io::spawn(carried);
    let mut link = opener.open().unwrap();
    link.flush().await.unwrap();
    let began = Instant::now();
    let end = poll_fn(|cx| Pin::new(&mut link).poll_end(cx));
    // An end of one direction from somebody who does not know it is none.
    let heard = async {
        let mut got = [0; 24];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got[..8], [1, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(got[8..16], [1, 3, 0, 0, 255, 255, 255, 255]);
        assert_eq!(got[16..], [1, 3, 0, 0, 3, 0, 0, 0]);
        let odd = frame(Version::One, Command::WriteEnd, 3);
        far.write_all(&odd).await.unwrap();
        far.write_all(&frame(Version::One, Command::Data(2), 3))
            .await
            .unwrap();
        far.write_all(b"hi").await.unwrap();
        far.read_exact(&mut got[..8]).await.unwrap();
        assert_eq!(got[..8], [1, 1, 0, 0, 3, 0, 0, 0]);
    };
    let (end, ()) = tokio::join!(end, heard);
    end.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
    let mut got = [0; 2];
    link.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hi");
}

#[tokio::test]
async fn a_session_that_ends_breaks_its_streams_off_and_opens_no_more() {
    let (near, far) = duplex(64 * 1024);
    let (opener, carried) = client(Link::other(near), Settings::default());
    let carried = crate::io::spawn(carried);
    let mut link = opener.open().unwrap();
    link.write_all(b"request").await.unwrap();
    drop(far);
    assert!(link.read_u8().await.is_err());
    carried.await.unwrap();
    assert!(opener.is_over());
    assert!(opener.open().is_none());
}

#[tokio::test]
async fn a_session_ends_with_its_last_stream_when_nobody_opens_more() {
    let (opener, mut accepted) = pair(&Settings::default());
    let mut link = opener.open().unwrap();
    link.write_all(b"request").await.unwrap();
    let mut peer = accepted.recv().await.unwrap();
    drop(opener);
    peer.write_all(b"answer").await.unwrap();
    let mut got = [0; 6];
    link.read_exact(&mut got).await.unwrap();
    drop((link, peer));
    assert!(accepted.recv().await.is_none());
}

/// A peer of version 2 that announces what it likes.
#[tokio::test]
async fn a_sender_keeps_to_the_window_of_its_peer() {
    let (near, mut far) = duplex(1024 * 1024);
    let settings = Settings {
        version: Version::Two,
        ..Settings::default()
    };
    let (opener, carried) = client(Link::other(near), settings);
    crate::io::spawn(carried);
    let mut link = opener.open().unwrap();
    let sent = Arc::<AtomicUsize>::default();
    let count = sent.clone();
    crate::io::spawn(async move {
        while let Ok(n) = link.write(&[7; 50_000]).await {
            count.fetch_add(n, Ordering::Relaxed);
        }
    });
    let mut decoder = Decoder::new(None);
    let mut data = 0;
    let mut buf = vec![0; 64 * 1024];
    let mut read_to = async |far: &mut DuplexStream, want: usize| {
        while data < want {
            let n = timeout(LONG, far.read(&mut buf)).await.unwrap().unwrap();
            let mut input = &buf[..n];
            while let Some(event) = decoder.next(&mut input).unwrap() {
                if let Event::Data(3, piece) = event {
                    data += piece.len();
                }
            }
        }
        let more = timeout(Duration::from_millis(200), far.read(&mut buf)).await;
        assert!(more.is_err(), "more than {want}");
        assert_eq!(data, want);
    };
    read_to(&mut far, FIRST_WINDOW as usize).await;
    // It has consumed 1000 bytes, and lets 300,000 be on their way.
    far.write_all(&update(Version::Two, 3, 1000, 300_000))
        .await
        .unwrap();
    read_to(&mut far, 301_000).await;
    far.write_all(&update(Version::Two, 3, 301_000, 5))
        .await
        .unwrap();
    read_to(&mut far, 301_005).await;
    assert_eq!(sent.load(Ordering::Relaxed), 301_005);
}

/// A peer that sends as much as it may, as gost does.
#[tokio::test]
async fn a_window_grows_while_its_reader_takes_all_and_stays_small_otherwise() {
    for reads in [true, false] {
        let (near, mut far) = duplex(1024 * 1024);
        let (door, mut accepted) = mpsc::unbounded_channel();
        crate::io::spawn(server(
            Link::other(near),
            Settings::default(),
            move |link| door.send(link).is_ok(),
        ));
        far.write_all(&frame(Version::Two, Command::Open, 3))
            .await
            .unwrap();
        let mut link = accepted.recv().await.unwrap();
        let reader = crate::io::spawn(async move {
            let mut buf = vec![0; 256 * 1024];
            while reads && link.read(&mut buf).await.unwrap() > 0 {}
            std::future::pending::<()>().await;
        });
        let (mut told, mut window, mut sent) = (0, FIRST_WINDOW, 0_u32);
        let mut decoder = Decoder::new(None);
        let mut buf = vec![0; 4096];
        while window < Settings::default().stream_window {
            while sent.wrapping_sub(told) < window {
                let n = (window - (sent - told)).min(32 * 1024);
                let head = frame(Version::Two, Command::Data(n as u16), 3);
                far.write_all(&head).await.unwrap();
                far.write_all(&vec![1; n as usize]).await.unwrap();
                sent += n;
            }
            let limit = if reads {
                LONG
            } else {
                Duration::from_millis(300)
            };
            let Ok(read) = timeout(limit, far.read(&mut buf)).await else {
                break;
            };
            let mut input = &buf[..read.unwrap()];
            while let Some(event) = decoder.next(&mut input).unwrap() {
                if let Event::Update {
                    consumed,
                    window: now,
                    ..
                } = event
                {
                    (told, window) = (consumed, now);
                }
            }
        }
        let expected = if reads { 4 * 1024 * 1024 } else { FIRST_WINDOW };
        assert_eq!(window, expected);
        reader.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_silent_says_that_it_is_there_and_one_that_hears_nothing_gives_up() {
    let (near, mut far) = duplex(64 * 1024);
    let (opener, carried) = client(Link::other(near), Settings::default());
    crate::io::spawn(carried);
    let mut link = opener.open().unwrap();
    link.flush().await.unwrap();
    let mut got = [0; 24];
    let began = Instant::now();
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(got[..8], [1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(got[16..], [1, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(opener.open_surely().is_some());
    sleep(Duration::from_secs(6)).await;
    // Nothing in 15 s, where the peer says something every 10.
    assert!(opener.open_surely().is_none());
    far.write_all(&frame(Version::One, Command::KeepAlive, 0))
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(opener.open_surely().is_some());
    let error = link.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "smux: silent for 30 s");
    assert_eq!(began.elapsed().as_secs(), 46);
    assert!(opener.open().is_none());
}

/// Each of many writers gets its share of a link that is too slow for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_starves_beside_others() {
    let (near, mut far) = duplex(16 * 1024);
    let (opener, carried) = client(Link::other(near), Settings::default());
    crate::io::spawn(carried);
    let mut counts = [0_usize; 16];
    for _ in 0..counts.len() {
        let mut link = opener.open().unwrap();
        // As much as one read of a relay brings.
        crate::io::spawn(async move { while link.write_all(&[9; scratch::READ]).await.is_ok() {} });
    }
    let mut decoder = Decoder::new(None);
    let mut buf = vec![0; 64 * 1024];
    while counts.iter().sum::<usize>() < 64 * 1024 * 1024 {
        let n = far.read(&mut buf).await.unwrap();
        let mut input = &buf[..n];
        while let Some(event) = decoder.next(&mut input).unwrap() {
            if let Event::Data(id, piece) = event {
                counts[(id as usize - 3) / 2] += piece.len();
            }
        }
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(2 * least > *most, "{counts:?}");
}

/// A link from which more has always come, and that keeps what goes into it.
struct Flood {
    frame: Vec<u8>,
    at: usize,
    written: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = buf.remaining().min(self.frame.len() - self.at);
        buf.put_slice(&self.frame[self.at..self.at + n]);
        self.at = (self.at + n) % self.frame.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().unwrap().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Flood {}

/// A gost gives up whoever has said nothing for 30 s, though it is told a great deal meanwhile.
#[tokio::test]
async fn an_end_that_is_told_without_a_pause_says_that_it_is_there() {
    let mut data = frame(Version::One, Command::Data(1000), 3).to_vec();
    data.resize(data.len() + 1000, 7);
    let written = Arc::default();
    let link = Flood {
        frame: data,
        at: 0,
        written: Arc::clone(&written),
    };
    let settings = Settings {
        keepalive: Some(KeepAlive {
            interval: Duration::from_millis(50),
            timeout: Duration::from_secs(5),
        }),
        ..Settings::default()
    };
    let (_opener, carried) = client(Link::other(link), settings);
    let carrying = crate::io::spawn(carried);
    let began = Instant::now();
    while written.lock().unwrap().is_empty() {
        assert!(began.elapsed() < LONG, "nothing is said");
        sleep(Duration::from_millis(10)).await;
    }
    let nop = frame(Version::One, Command::KeepAlive, 0);
    assert!(written.lock().unwrap().starts_with(&nop));
    carrying.abort();
}

#[tokio::test]
async fn a_session_takes_as_many_streams_as_anybody_means_and_no_more() {
    let (near, far) = duplex(64 * 1024);
    let (door, mut opened) = mpsc::unbounded_channel();
    crate::io::spawn(server(
        Link::other(far),
        Settings::default(),
        move |stream| door.send(stream).is_ok(),
    ));
    let (mut from, mut to) = tokio::io::split(near);
    let ids = (0..=MAX_STREAMS as u32).map(|n| 3 + 2 * n);
    let all: Vec<u8> = ids
        .flat_map(|id| frame(Version::One, Command::Open, id))
        .collect();
    to.write_all(&all).await.unwrap();
    let mut ended = [0; codec::HEADER];
    timeout(LONG, from.read_exact(&mut ended))
        .await
        .unwrap()
        .unwrap();
    let last = 3 + 2 * MAX_STREAMS as u32;
    assert_eq!(ended, frame(Version::One, Command::End, last));
    let mut streams = Vec::new();
    while let Ok(stream) = opened.try_recv() {
        streams.push(stream);
    }
    assert_eq!(streams.len(), MAX_STREAMS);
    // The place of one that is over is another's.
    drop(streams.pop());
    from.read_exact(&mut ended).await.unwrap();
    let next = frame(Version::One, Command::Open, last + 2);
    to.write_all(&next).await.unwrap();
    timeout(LONG, opened.recv()).await.unwrap().unwrap();
}

#[test]
fn an_idle_stream_is_small() {
    const { assert!(size_of::<SmuxStream>() <= 32) };
    const { assert!(table::STREAM_SIZE <= 144) };
}
