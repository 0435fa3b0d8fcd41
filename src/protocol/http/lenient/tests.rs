use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn tidied(head: &str) -> String {
    String::from_utf8_lossy(&head::mend(head.as_bytes()).0).into_owned()
}

#[test]
fn a_url_is_written_as_go_writes_it() {
    for (target, written) in [
        ("http://a:1/b?c=d;e", "http://a:1/b?c=d;e"),
        ("http://a/\u{e9}?\u{e9}", "http://a/%C3%A9?%C3%A9"),
        (
            "http://a/\"b<c>{d}|e\\f^g`h",
            "http://a/%22b%3Cc%3E%7Bd%7D%7Ce%5Cf%5Eg%60h",
        ),
        ("http://a/%22%zz[x]", "http://a/%22%zz[x]"),
        ("http://a/b#c", "http://a/b%23c"),
        ("http://a?b#c", "http://a?b%23c"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("/b\"c", "/b%22c"),
    ] {
        let head = tidied(&format!("GET {target} HTTP/1.1\r\n\r\n"));
        assert_eq!(head, format!("GET {written} HTTP/1.1\r\n\r\n"));
    }
    assert_eq!(
        tidied("CONNECT a:1/b HTTP/1.1\r\n\r\n"),
        "CONNECT a:1 HTTP/1.1\r\n\r\n"
    );
}

#[test]
fn headers_are_read_as_go_reads_them() {
    for (lines, written) in [
        ("X: a\r\n  b\r\n\tc\r\nY: d\r\n", "X: a b c\r\nY: d\r\n"),
        ("X Y: a\r\n b\r\nY : d\r\nX(1): 2\r\nZ:\r\n", "Z: \r\n"),
        ("X: a\u{1}b\u{e9}\r\n", "X: a b\u{e9}\r\n"),
        ("x-cAsE:   a  \n", "x-cAsE: a\r\n"),
        (
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
        ),
    ] {
        let head = tidied(&format!("GET http://a/ HTTP/1.1\r\n{lines}\r\n"));
        assert_eq!(head, format!("GET http://a/ HTTP/1.1\r\n{written}\r\n"));
    }
    let connect =
        "CONNECT a:1 HTTP/2.0\r\nTransfer-Encoding: chunked\r\ncontent-length: 3\r\nX: y\r\n\r\n";
    assert_eq!(tidied(connect), "CONNECT a:1 HTTP/1.1\r\nX: y\r\n\r\n");
    let old = "POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        tidied(old),
        "POST http://a/ HTTP/1.0\r\nContent-Length: 3\r\n\r\n"
    );
    for broken in [
        "GET /\r\n\r\n",
        "GET / b HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nX\r\n\r\n",
    ] {
        assert_eq!(tidied(broken), broken);
    }
}

/// Requests with bodies of all kinds, one after another, in reads and writes of all sizes: each head is found,
/// and the bodies are what they were.
#[tokio::test]
async fn every_head_is_found_and_no_body_is_touched() {
    let text = "GET http://a/\" HTTP/1.1\r\n\r\n\
                POST http://a/\" HTTP/1.1\r\nContent-Length: 14\r\n\r\nGET / HTTP/\r\n\"\
                POST http://a/\" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                d;x=\"5\r\nA: \"b\r\n\r\n0\r\n\"\r\n18\r\n\r\n\r\nPUT / \" HTTP/1.1\r\n\r\n\r\n0\r\nT: \"\r\n\r\n\
                \r\nGET http://a/\" HTTP/1.1\nX Y: z\n\n\
                GET http://a/\" HTTP/1.1\r\nUpgrade: x\r\n\r\nGET / \" HTTP/1.1\r\n\r\n";
    let expected = text
        .replace("a/\" HTTP/1.1\nX Y: z\n\n", "a/\" HTTP/1.1\r\n\r\n")
        .replace("\r\n\r\n\r\nGET", "\r\n\r\nGET")
        .replace("http://a/\"", "http://a/%22");
    for (pipe, size) in [
        (1, 1),
        (7, 3),
        (50, 1000),
        (4096, 1),
        (4096, 4096),
        (13, 64),
    ] {
        let (mut theirs, ours) = duplex(pipe);
        let sending = crate::io::spawn(async move {
            theirs.write_all(text.as_bytes()).await.unwrap();
        });
        let mut lenient = LenientHeads::new(Link::other(ours), Next::default());
        let (mut got, mut buf) = (Vec::new(), vec![0; size]);
        loop {
            let n = lenient.read(&mut buf).await.unwrap();
            if n == 0 {
                break;
            }
            got.extend_from_slice(&buf[..n]);
        }
        sending.await.unwrap();
        assert_eq!(String::from_utf8_lossy(&got), expected, "{pipe} {size}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_handed_on_at_once_and_a_long_one_has_its_bound() {
    for bytes in [&b"\x05\x01\0"[..], b"SSH-2.0-x\r\n", b"\x16\x03\x01", b" x"] {
        let (mut theirs, ours) = duplex(64);
        theirs.write_all(bytes).await.unwrap();
        let mut lenient = LenientHeads::new(Link::other(ours), Next::default());
        let mut got = [0; 64];
        let n = lenient.read(&mut got).await.unwrap();
        assert_eq!(&got[..n], bytes);
    }
    let (mut theirs, ours) = duplex(1024 * 1024);
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(400_000));
    theirs.write_all(long.as_bytes()).await.unwrap();
    let mut lenient = LenientHeads::new(Link::other(ours), Next::default());
    assert!(lenient.read(&mut [0; 9]).await.unwrap() > 0);
    assert!(lenient.read.len() <= MAX_HEAD + READ);
}

#[tokio::test]
async fn what_follows_a_connect_is_the_tunnel_s() {
    let (mut theirs, ours) = duplex(1024);
    let tail = "GET / \" HTTP/1.1\r\nX Y: z\r\n\r\n";
    let head = "CONNECT a:1 HTTP/1.1\r\n\r\n";
    theirs
        .write_all(format!("{head}{tail}").as_bytes())
        .await
        .unwrap();
    let mut lenient = LenientHeads::new(Link::other(ours), Next::default());
    let mut got = [0; 24];
    lenient.read_exact(&mut got).await.unwrap();
    assert_eq!(got, head.as_bytes());
    let (_, rest) = lenient.into_parts();
    assert_eq!(rest, tail.as_bytes());
}
