//! Which entry is chosen.

use tokio::io::{AsyncWriteExt, duplex};

use super::*;
use crate::seam::FallbackTarget;

/// An entry, and by its port which one.
fn entry(name: &str, alpn: &str, path: &str, port: u16) -> FallbackSettings {
    FallbackSettings {
        name: name.to_owned(),
        alpn: alpn.to_owned(),
        path: path.to_owned(),
        fallback: Fallback {
            to: FallbackTarget::Port(port),
            proxy_header: None,
        },
    }
}

fn port(fallback: Option<Arc<Fallback>>) -> u16 {
    match fallback.map(|fallback| fallback.to.clone()) {
        Some(FallbackTarget::Port(port)) => port,
        _ => 0,
    }
}

fn stranger(name: &str, alpn: &str, read: &[u8]) -> (tokio::io::DuplexStream, Stranger) {
    let (near, far) = duplex(1 << 16);
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let tls = TlsFacts {
        server_name: some(name),
        alpn: some(alpn),
    };
    let stranger = Stranger {
        link: Link::other(far),
        read: read.into(),
        tls: Some(Arc::new(tls)),
        until: Instant::now() + Duration::from_secs(60),
    };
    (near, stranger)
}

async fn chosen(fallbacks: &Fallbacks, name: &str, alpn: &str, path: &str) -> u16 {
    let line = format!("GET {path} HTTP/1.1\r\n\r\n");
    let (_near, mut stranger) = stranger(name, alpn, line.as_bytes());
    port(fallbacks.choose(&mut stranger).await)
}

#[tokio::test]
async fn name_then_protocol_then_path_choose() {
    let all = Fallbacks::new(vec![
        entry("", "", "", 1),
        entry("", "", "/ws", 2),
        entry("", "h2", "", 3),
        entry("a.example", "", "", 4),
        entry("a.example", "h2", "/x", 5),
        entry("example", "", "/ws", 6),
    ]);
    for (name, alpn, path, port) in [
        ("", "", "/", 1),
        ("other.test", "http/1.1", "/", 1),
        ("", "", "/ws", 2),
        // What is said for any protocol is said for this one.
        ("", "h2", "/ws", 2),
        ("", "h2", "/", 3),
        ("a.example", "", "/", 4),
        ("a.example", "", "/ws", 2),
        ("a.example", "h2", "/x", 5),
        ("a.example", "h2", "/", 4),
        // A part of a name, and the longest part.
        ("b.example", "", "/ws", 6),
        ("b.example", "", "/", 1),
        ("x.a.example", "", "/", 4),
    ] {
        let found = chosen(&all, name, alpn, path).await;
        assert_eq!(found, port, "{name} {alpn} {path}");
    }
}

/// Xray's and V2Ray's way.
#[tokio::test]
async fn a_path_is_looked_up_with_its_query_and_then_without() {
    let all = Fallbacks::new(vec![
        entry("", "", "", 1),
        entry("", "", "/ws", 2),
        entry("", "", "/ws?ed=1", 3),
    ]);
    for (path, port) in [
        ("/ws", 2),
        ("/ws?ed=2048", 2),
        ("/ws?ed=1", 3),
        ("/ws/", 1),
        ("/WS", 1),
    ] {
        assert_eq!(chosen(&all, "", "", path).await, port, "{path}");
    }
    let long = format!("/{}", "a".repeat(300));
    let all = Fallbacks::new(vec![entry("", "", "", 1), entry("", "", &long, 2)]);
    assert_eq!(chosen(&all, "", "", &long).await, 2);
}

#[tokio::test]
async fn without_an_entry_for_all_others_there_is_nobody() {
    let all = Fallbacks::new(vec![entry("", "", "/ws", 2)]);
    assert_eq!(chosen(&all, "", "", "/ws").await, 2);
    assert_eq!(chosen(&all, "", "", "/").await, 0);
    let all = Fallbacks::new(vec![entry("a.example", "", "", 2)]);
    assert_eq!(chosen(&all, "a.example", "", "/").await, 2);
    assert_eq!(chosen(&all, "", "", "/").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_line_in_pieces_is_waited_for_where_paths_matter() {
    let all = Fallbacks::new(vec![entry("", "", "", 1), entry("", "", "/ws", 2)]);
    let (mut near, mut late) = stranger("", "", b"GET /w");
    let write = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        near.write_all(b"s HTTP/1.1\r\n").await.unwrap();
    };
    let (found, ()) = tokio::join!(all.choose(&mut late), write);
    assert_eq!(port(found), 2);
    assert_eq!(late.read, b"GET /ws HTTP/1.1\r\n"[..], "nothing is lost");

    let began = Instant::now();
    let (_near, mut silent) = stranger("", "", b"GET /w");
    assert_eq!(port(all.choose(&mut silent).await), 1);
    assert_eq!(began.elapsed(), PAUSE);

    let one = Fallbacks::new(vec![entry("", "", "", 1)]);
    let began = Instant::now();
    let (_near, mut stranger) = stranger("", "", b"GET /w");
    assert_eq!(port(one.choose(&mut stranger).await), 1);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
