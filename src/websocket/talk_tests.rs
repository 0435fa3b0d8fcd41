use super::*;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::protocol::Role;

const OPTIONS: Options = Options {
    form: Form::Lines,
    on_terminal: false,
    wait: None,
    ping: None,
};

/// A conversation whose input is `input`, with a server that does as `server` says; how it ended, what was written.
async fn held<F: Future<Output = ()>>(
    input: &str,
    options: Options,
    server: impl FnOnce(WebSocketStream<DuplexStream>) -> F,
) -> (End, String) {
    let (near, far) = duplex(64 * 1024);
    let socket = WebSocketStream::from_raw_socket(Link::other(near), Role::Client, None).await;
    let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let opened = Opened {
        socket,
        protocol: None,
        answered_in: Duration::ZERO,
    };
    let (output, mut written) = duplex(1 << 20);
    let talking = async {
        let never = std::future::pending();
        talk(opened, input.as_bytes(), output, options, |_| {}, never).await
    };
    let reading = async {
        let mut text = String::new();
        written.read_to_string(&mut text).await.unwrap();
        text
    };
    let (end, text, ()) = tokio::join!(talking, reading, server(far));
    (end, text)
}

/// A server that answers a Close at once has forgotten what it was to say.
#[tokio::test(start_paused = true)]
async fn the_close_waits_for_replies_that_are_on_their_way() {
    let (end, text) = held("a\nb\nc", OPTIONS, async |mut socket| {
        let mut got = Vec::new();
        while got.len() < 3 {
            got.push(socket.next().await.unwrap().unwrap());
        }
        for message in got {
            tokio::time::sleep(Duration::from_millis(900)).await;
            socket.send(message).await.unwrap();
        }
        let last = socket.next().await.unwrap().unwrap();
        assert!(matches!(last, Message::Close(Some(frame)) if frame.code == CloseCode::Normal));
        while socket.next().await.is_some() {}
    })
    .await;
    assert!(matches!(end, End::Closed { code: 1000, .. }), "{end:?}");
    assert_eq!(text, "a\nb\nc\n");
}

#[tokio::test(start_paused = true)]
async fn it_stays_as_long_as_it_is_told_to_and_no_longer_than_that() {
    let wait = Some(Duration::from_secs(30));
    let began = Instant::now();
    let (end, _) = held("", Options { wait, ..OPTIONS }, async |mut socket| {
        while socket.next().await.is_some_and(|one| one.is_ok()) {}
    })
    .await;
    assert!(matches!(end, End::Closed { code: 1000, .. }), "{end:?}");
    assert!(
        (30..32).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    // A server that never stops talking is closed all the same, and what comes behind the Close is written.
    let began = Instant::now();
    let (end, text) = held("", OPTIONS, async |mut socket| {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = ticks.tick() => socket.send(Message::from("tick")).await.unwrap(),
                got = socket.next() => {
                    assert!(matches!(got, Some(Ok(Message::Close(_)))));
                    while socket.next().await.is_some() {}
                    return;
                }
            }
        }
    })
    .await;
    assert!(matches!(end, End::Closed { code: 1000, .. }), "{end:?}");
    assert!(began.elapsed() < Duration::from_secs(3) && text.starts_with("tick\ntick\n"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_more_is_not_waited_for_without_end() {
    let (end, _) = held("a", OPTIONS, async |socket| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(socket);
    })
    .await;
    assert!(matches!(end, End::Quiet), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_close_of_the_servers_ends_it_with_its_reason() {
    let wait = Some(Duration::from_secs(1000));
    let (end, text) = held("", Options { wait, ..OPTIONS }, async |mut socket| {
        socket.send(Message::from("hello world")).await.unwrap();
        let frame = CloseFrame {
            code: CloseCode::Policy,
            reason: "not you".into(),
        };
        let _ = socket.close(Some(frame)).await;
        while socket.next().await.is_some_and(|one| one.is_ok()) {}
    })
    .await;
    assert!(
        matches!(&end, End::Closed { code: 1008, reason, .. } if reason == "not you"),
        "{end:?}"
    );
    assert_eq!(text, "hello world\n");
    let (end, _) = held("", Options { wait, ..OPTIONS }, async |socket| drop(socket)).await;
    assert!(matches!(end, End::Broken(_)), "{end:?}");
}

/// Whatever comes together is written in its order, and all of it before the end is told.
#[tokio::test(start_paused = true)]
async fn many_lines_go_and_come_together() {
    let lines: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    let (end, text) = held(&lines, OPTIONS, async |mut socket| {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    })
    .await;
    assert!(matches!(end, End::Closed { code: 1000, .. }), "{end:?}");
    assert!(text == lines, "{} of {} bytes", text.len(), lines.len());
}

/// Neither one that goes on and on nor one that reads nothing keeps it for ever.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_the_close_is_left() {
    let began = Instant::now();
    let (end, _) = held("a", OPTIONS, async |socket| {
        // It does not look for a Close.
        let (mut sink, _unread) = socket.split();
        while sink.send(Message::from("tick")).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    assert!(matches!(end, End::Quiet), "{end:?}");
    assert!(
        (60..75).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    // So much that the Close finds no room behind it.
    let line = format!("{}\n", "x".repeat(64 * 1024 - 8));
    let (end, _) = held(&line, OPTIONS, async |socket| {
        tokio::time::sleep(Duration::from_secs(100)).await;
        drop(socket);
    })
    .await;
    assert!(
        matches!(&end, End::Broken(why) if why.contains("takes nothing")),
        "{end:?}"
    );
    assert!(began.elapsed() <= Duration::from_secs(101));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_says_nothing_answers_ours() {
    let (end, _) = held("a", OPTIONS, async |mut socket| {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
        // The answer that tungstenite would give has the code: this one goes out below it.
        let _ = socket.get_mut().write_all(b"\x88\x00").await;
    })
    .await;
    assert!(
        matches!(
            end,
            End::Closed {
                code: 1005,
                after_ours: true,
                ..
            }
        ),
        "{end:?}"
    );
}
