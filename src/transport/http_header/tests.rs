//! Both sides, with each other and with what V2Ray writes.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::codec::{NotHttp, answer};
use super::*;
use crate::cause::RequestError;
use crate::io::{Io, Link};
use crate::seam::Arrival;

fn settings(paths: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.request.paths = paths.iter().map(|path| (*path).to_owned()).collect();
    settings
}

async fn accept(settings: &Settings, link: Link) -> Result<Arrival, RequestError> {
    let source: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
    let arrival = Arrival {
        link,
        source: source.into(),
        local: source.into(),
        original_dst: None,
        tls: None,
        since: Instant::now(),
    };
    let inbound = Inbound::new(settings.clone());
    inbound.accept(arrival, &Default::default()).await
}

async fn head(peer: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match peer.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn one_of_each_list_is_chosen() {
    let mut settings = settings(&["/a", "/b c"]);
    let header = |name: &str, values: &[&str]| Header {
        name: name.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    settings.request.headers = vec![header("HOST", &["x", "y", "z"]), header("Empty", &[])];
    settings.response.headers = vec![header("date", &["today"])];
    let request = settings.request.head(&mut |below| below - 1);
    let expected = "GET /b%20c HTTP/1.1\r\nHOST: z\r\nEmpty: \r\n\r\n";
    assert_eq!(String::from_utf8(request).unwrap(), expected);
    let response = settings.response.head("now", &mut |_| 0);
    assert_eq!(response, b"HTTP/1.1 200 OK\r\ndate: today\r\n\r\n");
    let response = Response::default().head("now", &mut |_| 0);
    assert_eq!(
        String::from_utf8(response).unwrap(),
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\
         Connection: keep-alive\r\nPragma: no-cache\r\nCache-Control: private\r\nDate: now\r\n\r\n"
    );
}

#[test]
fn a_path_is_compared_as_v2ray_does_and_one_with_a_query_is_found_too() {
    let request = settings(&["/a b", "/c?d=e"]).request;
    for (path, query, found) in [
        ("/a%20b", None, true),
        ("/a%20b", Some("x"), true),
        ("/c", Some("d=e"), true),
        ("/c", None, false),
        ("/", None, false),
        ("/a", None, false),
    ] {
        assert_eq!(request.is_for(path, query), found, "{path} {query:?}");
    }
}

#[test]
fn the_end_of_an_answer_is_found_wherever_it_is_split() {
    let text = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest";
    for n in 0..text.len() {
        let found = (n >= 25).then_some((25, 200));
        assert_eq!(answer(&text[..n]), Ok(found), "{n}");
    }
    assert_eq!(answer(b"HTTP/2.0 odd\r\n\r\n"), Ok(Some((16, 0))));
    assert_eq!(answer(b"HTTQ"), Err(NotHttp));
    assert_eq!(answer(b"\x16\x03"), Err(NotHttp));
}

#[tokio::test]
async fn each_head_goes_out_with_what_follows_it() {
    let settings = settings(&["/a"]);
    let (near, mut theirs) = duplex(4096);
    let mut link = Outbound::new(settings.clone()).wrap(Link::other(near));
    link.write_all(b"first").await.unwrap();
    let mut read = vec![0; 4096];
    let n = theirs.read(&mut read).await.unwrap();
    let text = String::from_utf8_lossy(&read[..n]);
    assert!(text.starts_with("GET /a HTTP/1.1\r\nHost: www."), "{text}");
    assert!(text.ends_with("\r\n\r\nfirst"), "{text}");
    // An answer in pieces.
    for piece in [
        "HTTP/1.1 200 OK\r\nDa",
        "te: x\r\n\r",
        "\nback",
        " and more",
    ] {
        theirs.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    drop(theirs);
    let mut got = Vec::new();
    link.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"back and more");

    let (mut theirs, ours) = duplex(4096);
    theirs
        .write_all(b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst")
        .await
        .unwrap();
    let mut link = accept(&settings, Link::other(ours)).await.unwrap().link;
    let mut first = [0; 5];
    link.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    link.write_all(b"back").await.unwrap();
    let n = theirs.read(&mut read).await.unwrap();
    let text = String::from_utf8_lossy(&read[..n]);
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: "),
        "{text}"
    );
    assert!(text.ends_with(" GMT\r\n\r\nback"), "{text}");
    assert!(link.half_closes());
}

#[tokio::test]
async fn both_ends_understand_each_other_however_small_the_pieces() {
    for size in [1, 7, 64 * 1024] {
        let (near, far) = duplex(size);
        let settings = settings(&["/a", "/b"]);
        let data: Vec<u8> = (0..5000_u16).map(|i| (i * 7 % 251) as u8).collect();
        let client = Outbound::new(settings.clone());
        let talking = async {
            let mut link = client.wrap(Link::other(near));
            link.write_all(&data).await.unwrap();
            link.shutdown().await.unwrap();
            let mut back = Vec::new();
            link.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, data);
        };
        let serving = async {
            let mut link = accept(&settings, Link::other(far)).await.unwrap().link;
            let mut got = Vec::new();
            link.read_to_end(&mut got).await.unwrap();
            link.write_all(&got).await.unwrap();
            link.shutdown().await.unwrap();
        };
        tokio::join!(talking, serving);
    }
}

#[tokio::test]
async fn what_is_for_another_path_is_refused_as_a_web_server_does() {
    let (mut theirs, ours) = duplex(4096);
    let accepting =
        crate::io::spawn(async move { accept(&settings(&["/a"]), Link::other(ours)).await });
    theirs
        .write_all(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(
        head(&mut theirs)
            .await
            .starts_with("HTTP/1.1 404 Not Found\r\n")
    );
    drop(theirs);
    let error = accepting.await.unwrap().err().unwrap();
    assert_eq!(error.to_string(), "GET /b: 404, the path is not \"/a\"");
    assert_eq!(error.code(), "ws-path");
}

/// As V2Ray: what the protocol does not know is a bad request in the end.
#[tokio::test]
async fn a_link_that_is_given_up_without_a_word_is_refused() {
    let (mut theirs, ours) = duplex(4096);
    theirs
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\ngarbage")
        .await
        .unwrap();
    let link = accept(&Settings::default(), Link::other(ours))
        .await
        .unwrap()
        .link;
    link.close().await;
    let answer = head(&mut theirs).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_says_why_it_was_refused() {
    for (answer, said) in [
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            Some("404: the server does not know path /a"),
        ),
        (
            "SSH-2.0-x\r\n",
            Some("the answer is not HTTP, is this a TLS port or another service?"),
        ),
        (
            "HTTP/1.1 20",
            Some("the server closed the connection during the handshake, is this a TLS port?"),
        ),
        ("HTTP/1.1 302 Found\r\n\r\n", None),
        ("", None),
    ] {
        let (near, mut theirs) = duplex(4096);
        let mut link = Outbound::new(settings(&["/a"])).wrap(Link::other(near));
        link.write_all(b"first").await.unwrap();
        theirs.write_all(answer.as_bytes()).await.unwrap();
        drop(theirs);
        let end = link.read(&mut [0]).await;
        assert_eq!(
            end.err().map(|e| e.to_string()).as_deref(),
            said,
            "{answer}"
        );
    }
}
