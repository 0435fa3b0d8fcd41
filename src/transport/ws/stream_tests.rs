use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role as OtherRole;

use super::ending::FAREWELL;
use super::*;
use crate::io::Link;

const PERIOD: Duration = Duration::from_secs(30);

async fn close<S: Io>(stream: &mut WsStream<S>) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_close(cx)).await
}

/// Our stream and tokio-tungstenite at the other end of a pipe of `size` bytes.
async fn pair(role: Role, size: usize) -> (WsStream<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = duplex(size);
    let other = match role {
        Role::Server => OtherRole::Client,
        Role::Client => OtherRole::Server,
    };
    let other = WebSocketStream::from_raw_socket(theirs, other, None).await;
    (WsStream::new(ours, role, None), other)
}

fn random_len(max: usize) -> usize {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    usize::from_ne_bytes(bytes) % max
}

#[tokio::test]
async fn tokio_tungstenite_reads_and_writes_the_same_bytes() {
    for role in [Role::Server, Role::Client] {
        for (pipe, chunk) in [(7, 300), (1000, 5000), (256 * 1024, 200_000)] {
            let (mut ours, mut theirs) = pair(role, pipe).await;
            let mut sent = vec![0; chunk * 20];
            getrandom::fill(&mut sent).unwrap();
            let expected = sent.clone();
            let echo = crate::io::spawn(async move {
                let mut got = Vec::new();
                while let Some(Ok(message)) = theirs.next().await {
                    match message {
                        Message::Binary(data) => {
                            got.extend_from_slice(&data);
                            theirs
                                .send(Message::Ping(data.slice(..data.len().min(9))))
                                .await
                                .unwrap();
                            theirs.send(Message::Binary(data)).await.unwrap();
                        }
                        Message::Close(frame) => {
                            assert_eq!(u16::from(frame.unwrap().code), 1000);
                        }
                        _ => {}
                    }
                }
                got
            });
            let (mut at, mut back) = (0, Vec::new());
            let mut buf = vec![0; chunk];
            while at < sent.len() {
                let n = 1 + random_len((sent.len() - at).min(chunk));
                ours.write_all(&sent[at..at + n]).await.unwrap();
                ours.flush().await.unwrap();
                at += n;
                while back.len() < at {
                    let size = 1 + random_len(buf.len());
                    let n = ours.read(&mut buf[..size]).await.unwrap();
                    assert!(n > 0);
                    back.extend_from_slice(&buf[..n]);
                }
            }
            assert!(back == expected);
            close(&mut ours).await.unwrap();
            assert!(echo.await.unwrap() == expected);
        }
    }
}

#[tokio::test]
async fn a_caller_with_one_byte_of_room_is_served() {
    let (mut ours, mut theirs) = duplex(1024);
    theirs
        .write_all(b"\x82\x82\x01\x02\x03\x04\x69\x6b\x89\x80\0\0\0\0\x82\x81\0\0\0\0!")
        .await
        .unwrap();
    let mut stream = WsStream::new(&mut ours, Role::Server, None);
    let mut text = Vec::new();
    for _ in 0..3 {
        text.push(stream.read_u8().await.unwrap());
    }
    assert_eq!(text, b"hi!");
    let mut pong = [0; 2];
    theirs.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 0]);
}

#[tokio::test]
async fn a_close_frame_is_the_end_and_is_answered_when_we_end() {
    let (mut ours, mut theirs) = pair(Role::Server, 1024).await;
    theirs.send(Message::binary(&b"last"[..])).await.unwrap();
    theirs.send(Message::Close(None)).await.unwrap();
    let mut text = String::new();
    ours.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "last");
    ours.write_all(b"still").await.unwrap();
    ours.shutdown().await.unwrap();
    assert_eq!(theirs.next().await.unwrap().unwrap().into_data(), "still");
    assert!(theirs.next().await.unwrap().unwrap().is_close());
    let error = ours.write_all(b"late").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closed_is_answered_when_nothing_more_is_said() {
    let (mut stream, mut theirs) = closed_by_peer(0xe9).await;
    let start = Instant::now();
    for _ in 0..5 {
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        sleep(FAREWELL - Duration::from_secs(1)).await;
    }
    assert_eq!(over(&mut stream).await, io::ErrorKind::BrokenPipe);
    assert_eq!(start.elapsed(), 5 * FAREWELL - Duration::from_secs(4));
    let mut told = [0; 19];
    theirs.read_exact(&mut told).await.unwrap();
    assert_eq!(told[15..], [0x88, 2, 0x03, 0xe9]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closed_and_hung_up_is_answered_at_once() {
    let (mut stream, mut theirs) = closed_by_peer(0xe8).await;
    let hangs_up = async {
        sleep(Duration::from_secs(1)).await;
        theirs.shutdown().await.unwrap();
    };
    let start = Instant::now();
    let (over, ()) = tokio::join!(over(&mut stream), hangs_up);
    assert_eq!(over, io::ErrorKind::BrokenPipe);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let mut told = [0; 4];
    theirs.read_exact(&mut told).await.unwrap();
    assert_eq!(told, [0x88, 2, 0x03, 0xe8]);
}

/// A server's end that has read its client's close frame, with code 0x0300 and `low`.
async fn closed_by_peer(low: u8) -> (WsStream<DuplexStream>, DuplexStream) {
    let (ours, mut theirs) = duplex(1024);
    let close = [0x88, 0x82, 0, 0, 0, 0, 0x03, low];
    theirs.write_all(&close).await.unwrap();
    let mut stream = WsStream::new(ours, Role::Server, None);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    (stream, theirs)
}

/// What a relay learns that flushes whenever it is woken.
async fn over(stream: &mut WsStream<DuplexStream>) -> io::ErrorKind {
    let failed = poll_fn(|cx| match Pin::new(&mut *stream).poll_flush(cx) {
        Poll::Ready(Ok(())) => Poll::Pending,
        other => other,
    });
    failed.await.unwrap_err().kind()
}

#[tokio::test]
async fn whoever_is_cut_off_is_told_so() {
    let (ours, mut theirs) = duplex(1024);
    drop(WsStream::new(ours, Role::Server, None));
    let mut told = Vec::new();
    theirs.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, [0x88, 2, 0x03, 0xf3]);

    let (ours, mut theirs) = duplex(1024);
    let closing = Closing::default();
    let stream = WsStream::new(ours, Role::Server, None).with_closing(closing.clone());
    drop(closing.holder());
    drop(stream);
    let mut told = Vec::new();
    theirs.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, [0x88, 2, 0x03, 0xe9], "the service goes away");

    let (ours, mut theirs) = duplex(1024);
    theirs.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
    let mut stream = WsStream::new(ours, Role::Server, None);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(stream);
    let mut told = Vec::new();
    theirs.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, [0x88, 2, 0x03, 0xe9]);
}

#[tokio::test]
async fn a_peer_that_was_cut_off_did_not_end() {
    for (role, code) in [
        (Role::Client, 1011_u16),
        (Role::Client, 1001),
        (Role::Server, 1011),
    ] {
        let (ours, mut theirs) = duplex(1024);
        let (data, close): (&[u8], &[u8]) = match role {
            Role::Client => (b"\x82\x02hi", b"\x88\x02"),
            Role::Server => (b"\x82\x82\0\0\0\0hi", b"\x88\x82\0\0\0\0"),
        };
        let bytes = [data, close, &code.to_be_bytes()].concat();
        theirs.write_all(&bytes).await.unwrap();
        let mut stream = WsStream::new(ours, role, None);
        let mut text = [0; 2];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"hi", "what came before is not lost");
        for _ in 0..2 {
            let error = stream.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(error.to_string().ends_with(&code.to_string()), "{error}");
        }
    }
}

#[tokio::test]
async fn reading_goes_on_after_our_close_frame() {
    let (mut ours, mut theirs) = duplex(1024);
    let mut stream = WsStream::new(&mut ours, Role::Client, None);
    stream.shutdown().await.unwrap();
    theirs
        .write_all(b"\x82\x02hi\x88\x02\x03\xe8")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hi");
}

#[tokio::test(start_paused = true)]
async fn a_breach_is_answered_with_1002_and_named() {
    let (ours, mut theirs) = duplex(1024);
    let mut stream = WsStream::new(ours, Role::Server, None);
    theirs.write_all(b"\x82\x02hi").await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "a client's frame is not masked");
    let mut frame = [0; 4];
    theirs.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame, [0x88, 2, 0x03, 0xea]);
    assert!(stream.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn what_follows_a_breach_does_not_reset_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let mut stream = WsStream::new(Link::Tcp(ours), Role::Server, None);
    let served = crate::io::spawn(async move { stream.read_u8().await.unwrap_err() });
    theirs.write_all(b"\x82\x02hi").await.unwrap();
    theirs.write_all(&[0; 1024 * 1024]).await.unwrap();
    let mut frame = Vec::new();
    theirs.read_to_end(&mut frame).await.unwrap();
    assert_eq!(frame, [0x88, 2, 0x03, 0xea]);
    drop(theirs);
    assert_eq!(served.await.unwrap().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn an_end_without_a_close_frame_is_the_end_but_not_inside_a_frame() {
    let (mut ours, mut theirs) = duplex(1024);
    theirs.write_all(b"\x82\x02hi").await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut text = String::new();
    let mut stream = WsStream::new(&mut ours, Role::Client, None);
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hi");

    let (mut ours, mut theirs) = duplex(1024);
    theirs.write_all(b"\x82\x05hi").await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut stream = WsStream::new(&mut ours, Role::Client, None);
    let error = stream.read_to_string(&mut text).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn pings_without_end_do_not_pile_up_answers() {
    let (ours, mut theirs) = duplex(64);
    let mut stream = WsStream::new(ours, Role::Client, None);
    let flood = crate::io::spawn(async move {
        for _ in 0..10_000 {
            theirs.write_all(b"\x89\x04ping").await.unwrap();
        }
        theirs.write_all(b"\x82\x01!").await.unwrap();
        theirs
    });
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
    assert!(stream.unsent.len() <= 2 * (MAX_HEADER + 125));
    drop(flood.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_given_up() {
    let (ours, mut theirs) = duplex(1024);
    let mut stream = WsStream::new(ours, Role::Server, Some(PERIOD));
    let start = Instant::now();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "no answer to a ping for 60 s");
    assert_eq!(start.elapsed().as_secs(), 60);
    drop(stream);
    let mut told = Vec::new();
    theirs.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, [0x89, 0, 0x88, 2, 0x03, 0xe8]);
}

#[tokio::test(start_paused = true)]
async fn two_ends_keep_each_other_alive() {
    let (ours, theirs) = duplex(1024);
    let mut server = WsStream::new(ours, Role::Server, Some(PERIOD));
    let mut client = WsStream::new(theirs, Role::Client, Some(PERIOD));
    tokio::select! {
        end = server.read_u8() => panic!("{end:?}"),
        end = client.read_u8() => panic!("{end:?}"),
        () = sleep(Duration::from_secs(1000)) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_not_silent_while_nobody_reads() {
    let (ours, mut theirs) = duplex(1024);
    let mut stream = WsStream::new(ours, Role::Client, Some(PERIOD));
    theirs.write_all(b"\x82\x01a").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'a');
    sleep(Duration::from_secs(600)).await;
    let answer = async {
        sleep(Duration::from_secs(20)).await;
        theirs.write_all(b"\x82\x01b").await.unwrap();
    };
    let (read, ()) = tokio::join!(stream.read_u8(), answer);
    assert_eq!(read.unwrap(), b'b');
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_slow_and_not_gone() {
    let (ours, theirs) = duplex(64);
    let mut stream = WsStream::new(ours, Role::Client, Some(PERIOD));
    stream.write_all(&[0; 4000]).await.unwrap();
    tokio::select! {
        end = stream.read_u8() => panic!("{end:?}"),
        () = sleep(Duration::from_secs(1000)) => {}
    }
    drop(theirs);
}

/// Takes `takes` writes whole and then nothing, as TLS does whose own buffer is full.
struct Full {
    takes: usize,
}

impl AsyncRead for Full {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Full {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.takes.checked_sub(1) {
            Some(takes) => {
                self.takes = takes;
                Poll::Ready(Ok(buf.len()))
            }
            None => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Full {}

#[tokio::test]
async fn what_is_held_goes_out_with_what_follows() {
    let mut stream = WsStream::new(Full { takes: 2 }, Role::Server, None);
    stream.write_all(b"data").await.unwrap();
    assert_eq!(stream.inner.takes, 1);
    stream.cork();
    stream.write_all(b"the end").await.unwrap();
    assert_eq!(stream.inner.takes, 1);
    stream.shutdown().await.unwrap();
    assert_eq!((stream.inner.takes, stream.unsent.len()), (0, 0));
    let mut stream = WsStream::new(Full { takes: 1 }, Role::Server, None);
    stream.cork();
    stream.write_all(b"data").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!((stream.inner.takes, stream.unsent.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_part_of_a_frame_is_slow_too() {
    let mut stream = WsStream::new(Full { takes: 1 }, Role::Server, Some(PERIOD));
    let ping = timeout(PERIOD + PERIOD / 2, stream.read_u8()).await;
    assert!(ping.is_err());
    // Taken and kept, for it may be masked already; the next one waits.
    stream.write_all(b"data").await.unwrap();
    let ends = poll_fn(|cx| {
        let end = Pin::new(&mut stream).poll_write(cx, b"more");
        assert!(end.is_pending(), "{end:?}");
        let mut byte = [0];
        Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut byte))
    });
    let ends = timeout(Duration::from_secs(1000), ends).await;
    assert!(ends.is_err(), "{ends:?}");
}

#[test]
fn a_stream_is_small() {
    let size = size_of::<WsStream<DuplexStream>>();
    assert!(size <= 384, "{size}");
}
