use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::address::Host;
use crate::cause::RequestError;
use crate::http::request::CHROME;
use crate::seam::Arrival;
use crate::session::Source;
use crate::transport::ws::EarlyDataIn;
use crate::transport::ws::{Inbound, ServerSettings};
use http::header::HeaderName;

fn outbound(settings: &ClientSettings) -> Outbound {
    Outbound::new(settings.clone())
}

/// A client for this path.
fn to_path(path: &str) -> ClientSettings {
    ClientSettings {
        path: path.to_owned(),
        ..ClientSettings::default()
    }
}

fn with_early_data(path: &str, carried_in: EarlyDataIn, max: usize) -> ClientSettings {
    ClientSettings {
        early_data: Some(EarlyData { carried_in, max }),
        ..to_path(path)
    }
}

/// A client that adds these headers.
fn with_headers(headers: &[(&'static str, &'static str)]) -> ClientSettings {
    let named = |(name, value): &(&'static str, &'static str)| {
        let value = HeaderValue::from_static(value);
        (HeaderName::from_static(name), value)
    };
    ClientSettings {
        headers: headers.iter().map(named).collect(),
        ..ClientSettings::default()
    }
}

/// A server at this path.
fn inbound(path: &str, early_data: Option<EarlyDataIn>) -> Inbound {
    Inbound::new(ServerSettings {
        path: path.to_owned(),
        early_data,
        ..ServerSettings::default()
    })
}

const IN_PROTOCOL: EarlyDataIn = EarlyDataIn::Header(SEC_WEBSOCKET_PROTOCOL);

fn server(text: &str) -> Destination {
    let (host, port) = text.rsplit_once(':').unwrap();
    Destination::new(Host::parse(host).unwrap(), port.parse().unwrap())
}

fn arrival(ours: DuplexStream) -> Arrival {
    Arrival {
        link: Link::other(ours),
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: tokio::time::Instant::now(),
    }
}

async fn head(peer: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The request of a client with these settings.
async fn request(settings: &ClientSettings, to: &str, tls: bool) -> String {
    let (ours, mut theirs) = duplex(64 * 1024);
    let outbound = outbound(settings);
    let to = server(to);
    tokio::select! {
        _ = outbound.wrap(Link::other(ours), &to, tls, Closing::default()) => panic!("there was no answer"),
        head = head(&mut theirs) => head,
    }
}

/// The error for this answer.
async fn refused(answer: &str) -> String {
    let (ours, mut theirs) = duplex(64 * 1024);
    let outbound = outbound(&to_path("/ray"));
    let answering = async {
        head(&mut theirs).await;
        theirs.write_all(answer.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
    };
    let to = server("a:80");
    let (end, ()) = tokio::join!(
        outbound.wrap(Link::other(ours), &to, false, Closing::default()),
        answering
    );
    end.unwrap_err().to_string()
}

/// What Chromium 156 sends of a page's WebSocket, but for its random key and the system in its name.
#[tokio::test]
async fn the_request_is_chrome_s_line_by_line() {
    for (tls, scheme, encodings) in [
        (false, "http", "gzip, deflate"),
        (true, "https", "gzip, deflate, br, zstd"),
    ] {
        let settings = to_path("/ray?x=1");
        let text = request(&settings, "example.com:8080", tls).await;
        let (front, key) = text.split_once("Sec-WebSocket-Key: ").unwrap();
        let (key, rest) = key.split_once("\r\n").unwrap();
        assert_eq!(key.len(), 24);
        assert_eq!(
            front,
            format!(
                "GET /ray?x=1 HTTP/1.1\r\nHost: example.com:8080\r\nConnection: Upgrade\r\n\
                 Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: {CHROME}\r\n\
                 Upgrade: websocket\r\nOrigin: {scheme}://example.com:8080\r\n\
                 Sec-WebSocket-Version: 13\r\nAccept-Encoding: {encodings}\r\n\
                 Accept-Language: en-US,en;q=0.9\r\n"
            )
        );
        assert_eq!(
            rest,
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
    }
}

#[tokio::test]
async fn what_the_user_adds_stands_where_chrome_has_it() {
    let settings = with_headers(&[
        ("sec-websocket-protocol", "chat"),
        ("cookie", "a=b"),
        ("x-a", "1"),
        ("origin", "https://b"),
        ("dnt", "1"),
    ]);
    let text = request(&settings, "example.com:80", false).await;
    let names: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|l| Some(l.split_once(": ")?.0))
        .collect();
    assert_eq!(
        names[5..],
        [
            "Upgrade",
            "Origin",
            "Sec-WebSocket-Version",
            "Accept-Encoding",
            "Accept-Language",
            "Cookie",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Protocol",
            "X-A",
            "DNT",
        ]
    );
    assert!(text.contains("Origin: https://b\r\n"));
}

#[tokio::test]
async fn the_user_s_headers_replace_the_defaults() {
    let settings = ClientSettings {
        host: Some(HeaderValue::from_static("b.example")),
        ..with_headers(&[("user-agent", "me"), ("x-a", "1")])
    };
    let text = request(&settings, "a.example:443", true).await;
    assert!(text.contains("Host: b.example\r\n"), "{text}");
    assert!(text.contains("User-Agent: me\r\n") && !text.contains("Mozilla"));
    assert!(text.contains("X-A: 1\r\n"));
}

#[tokio::test]
async fn what_may_not_stand_in_a_request_is_encoded() {
    for (path, target) in [
        ("/a b?c d", "/a%20b?c%20d"),
        ("/a%20b", "/a%20b"),
        ("ray", "/ray"),
        ("", "/"),
    ] {
        let text = request(&to_path(path), "a.example:80", false).await;
        let line = format!("GET {target} HTTP/1.1\r\n");
        assert!(text.starts_with(&line), "{text}");
    }
}

#[tokio::test]
async fn the_host_has_its_port_when_it_is_not_the_usual_one() {
    for (to, tls, host) in [
        ("a.example:80", false, "a.example"),
        ("a.example:443", false, "a.example:443"),
        ("a.example:443", true, "a.example"),
        ("192.0.2.1:8080", true, "192.0.2.1:8080"),
        ("[2001:db8::1]:443", true, "[2001:db8::1]"),
    ] {
        let text = request(&ClientSettings::default(), to, tls).await;
        assert!(text.contains(&format!("Host: {host}\r\n")), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_opens_no_tunnel_is_explained() {
    for (answer, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n",
            "404: the server does not know path /ray (server: nginx)",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "400: a proxy in between did not forward Upgrade",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://a/ray\r\n\r\n",
            "301: redirected to https://a/ray, is `security: tls` missing?",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n",
            "302: redirected to /login",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "502: the web server in front is up",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "200: an ordinary web page is at /ray",
        ),
        (
            "HTTP/1.1 431 Too Large\r\n\r\n",
            "431: the request is too large",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "101 with a wrong Sec-WebSocket-Accept",
        ),
        ("", "the server closed the connection during the handshake"),
        (
            "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\n\n\n",
            "the answer is not HTTP",
        ),
    ] {
        let text = refused(answer).await;
        assert!(text.starts_with(expected), "{text}, expected {expected}");
    }
}

/// What a server answers that has the request's key; `{accept}` in `lines` is the right value.
async fn answered(settings: &ClientSettings, lines: &str) -> io::Result<String> {
    let (ours, mut theirs) = duplex(4096);
    let outbound = outbound(settings);
    let answering = async {
        let request = head(&mut theirs).await;
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let accept = derive_accept_key(key.split("\r\n").next().unwrap().as_bytes());
        let answer = lines.replace("{accept}", &accept);
        theirs.write_all(answer.as_bytes()).await.unwrap();
        // `Hello` compressed, for who has agreed to that.
        let frame: &[u8] = match answer.contains("permessage-deflate") {
            true => b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
            false => b"\x82\x05Hello",
        };
        theirs.write_all(frame).await.unwrap();
    };
    let to = server("a:80");
    let (link, ()) = tokio::join!(
        outbound.wrap(Link::other(ours), &to, false, Closing::default()),
        answering
    );
    let mut text = [0; 5];
    link?.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn an_answer_opens_a_tunnel_only_as_the_rfc_has_it() {
    const UP: &str = "Upgrade: websocket\r\n";
    const CO: &str = "Connection: Upgrade\r\n";
    const AC: &str = "Sec-WebSocket-Accept: {accept}\r\n";
    let offers = with_headers(&[("sec-websocket-protocol", "chat, mqtt")]);
    let none = ClientSettings::default();
    for (settings, lines, error) in [
        (&none, format!("{UP}{CO}{AC}"), None),
        (
            &none,
            "upgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\nsec-websocket-accept:{accept}\r\n".to_owned(),
            None,
        ),
        (
            &none,
            format!("Connection: keep-alive\r\n{CO}{UP}{AC}"),
            None,
        ),
        (
            &none,
            format!("{CO}{AC}"),
            Some("without `Upgrade: websocket`"),
        ),
        (
            &none,
            format!("Upgrade: h2c\r\n{CO}{AC}"),
            Some("without `Upgrade: websocket`"),
        ),
        (
            &none,
            format!("Upgrade: websockets\r\n{CO}{AC}"),
            Some("without `Upgrade"),
        ),
        (
            &none,
            format!("{UP}{AC}"),
            Some("without `Connection: Upgrade`"),
        ),
        (
            &none,
            format!("{UP}Connection: close\r\n{AC}"),
            Some("without `Connection"),
        ),
        (
            &none,
            format!("{UP}{CO}"),
            Some("wrong Sec-WebSocket-Accept"),
        ),
        (
            &none,
            format!("{UP}{CO}{AC}{AC}"),
            Some("wrong Sec-WebSocket-Accept"),
        ),
        (
            &none,
            format!("{UP}{CO}{AC}Sec-WebSocket-Protocol: chat\r\n"),
            Some("Protocol that was not offered"),
        ),
        (
            &offers,
            format!("{UP}{CO}{AC}Sec-WebSocket-Protocol: xmpp\r\n"),
            Some("Protocol that was not offered"),
        ),
        (
            &offers,
            format!("{UP}{CO}{AC}Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt\r\n"),
            Some("Protocol that was not offered"),
        ),
        (
            &offers,
            format!("{UP}{CO}{AC}Sec-WebSocket-Protocol: mqtt\r\n"),
            None,
        ),
        (&offers, format!("{UP}{CO}{AC}"), None),
        (
            &none,
            format!("{UP}{CO}{AC}Sec-WebSocket-Extensions: x-other\r\n"),
            Some("the extension `x-other` was not offered"),
        ),
        (
            &none,
            format!("{UP}{CO}{AC}Sec-WebSocket-Extensions: permessage-deflate; mux\r\n"),
            Some("is no answer to what was offered"),
        ),
        (
            &none,
            format!("{UP}{CO}{AC}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
            None,
        ),
    ] {
        for early in ["", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"] {
            let answer = format!("{early}HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n");
            let end = answered(settings, &answer).await;
            match error {
                None => assert_eq!(end.unwrap(), "Hello", "{answer}"),
                Some(error) => {
                    let said = end.unwrap_err().to_string();
                    assert!(
                        said.starts_with("101 with") && said.contains(error),
                        "{said}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let (ours, _theirs) = duplex(1024);
    let end = outbound(&ClientSettings::default())
        .wrap(
            Link::other(ours),
            &server("a:80"),
            false,
            Closing::default(),
        )
        .await;
    assert_eq!(
        end.unwrap_err().to_string(),
        "no answer to the upgrade in 8 s"
    );
}

#[tokio::test]
async fn frames_behind_the_answer_are_not_lost() {
    let (ours, mut theirs) = duplex(1024);
    let outbound = outbound(&ClientSettings::default());
    let answering = async {
        let request = head(&mut theirs).await;
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let accept = derive_accept_key(key.split("\r\n").next().unwrap().as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n\u{2}"
        );
        let mut answer = answer.into_bytes();
        answer.pop();
        answer.extend_from_slice(b"\x82\x02hi");
        theirs.write_all(&answer).await.unwrap();
    };
    let to = server("a:80");
    let (link, ()) = tokio::join!(
        outbound.wrap(Link::other(ours), &to, false, Closing::default()),
        answering
    );
    let mut text = [0; 2];
    link.unwrap().read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hi");
}

#[tokio::test]
async fn our_client_and_our_server_agree_on_early_data() {
    let data: Vec<u8> = (0..5000_u32).map(|i| (i * i) as u8).collect();
    let x_early = EarlyDataIn::Header(HeaderName::from_static("x-early"));
    for (client, searched) in [
        (to_path("/ray"), None),
        (with_early_data("/ray", IN_PROTOCOL, 2048), None),
        (
            with_early_data("/ray", EarlyDataIn::Path, 2048),
            Some(EarlyDataIn::Path),
        ),
        (
            with_early_data("/ray?a=b", EarlyDataIn::Path, 10_000),
            Some(EarlyDataIn::Path),
        ),
        (
            with_early_data("/ray", x_early.clone(), 7),
            Some(x_early.clone()),
        ),
    ] {
        let (ours, theirs) = duplex(1024);
        let sent = data.clone();
        let inbound = inbound("/ray", searched);
        let serving = crate::io::spawn(async move {
            let Ok(mut arrival) = inbound
                .accept(arrival(theirs), &Closing::default(), Default::default())
                .await
            else {
                panic!("refused")
            };
            let mut got = vec![0; sent.len()];
            arrival.link.read_exact(&mut got).await.unwrap();
            assert!(got == sent);
            arrival.link.write_all(b"done").await.unwrap();
            arrival.link.flush().await.unwrap();
            arrival
        });
        let outbound = outbound(&client);
        let mut link = outbound
            .wrap(
                Link::other(ours),
                &server("a:80"),
                false,
                Closing::default(),
            )
            .await
            .unwrap();
        link.write_all(&data).await.unwrap();
        link.flush().await.unwrap();
        let mut answer = [0; 4];
        link.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"done", "{client:?}");
        drop(serving.await.unwrap());
    }
}

#[tokio::test]
async fn a_server_may_speak_first_though_early_data_is_on() {
    for flush in [false, true] {
        let (ours, theirs) = duplex(1024);
        let inbound = inbound("/", None);
        let serving = crate::io::spawn(async move {
            let Ok(mut arrival) = inbound
                .accept(arrival(theirs), &Closing::default(), Default::default())
                .await
            else {
                panic!("refused")
            };
            arrival.link.write_all(b"220 hello").await.unwrap();
            arrival.link.flush().await.unwrap();
            arrival
        });
        let outbound = outbound(&with_early_data("/", IN_PROTOCOL, 2048));
        let mut link = outbound
            .wrap(
                Link::other(ours),
                &server("a:80"),
                false,
                Closing::default(),
            )
            .await
            .unwrap();
        if flush {
            link.flush().await.unwrap();
        }
        let mut text = [0; 9];
        link.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"220 hello");
        drop(serving.await.unwrap());
    }
}

#[tokio::test]
async fn a_failed_handshake_with_early_data_is_told_at_the_next_call() {
    let (ours, theirs) = duplex(4096);
    let inbound = inbound("/other", None);
    let serving = crate::io::spawn(async move {
        inbound
            .accept(arrival(theirs), &Closing::default(), Default::default())
            .await
    });
    let outbound = outbound(&with_early_data("/ray", IN_PROTOCOL, 2048));
    let mut link = outbound
        .wrap(
            Link::other(ours),
            &server("a:80"),
            false,
            Closing::default(),
        )
        .await
        .unwrap();
    link.write_all(b"first flight").await.unwrap();
    let error = link.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "404: the server does not know path /ray");
    drop(link);
    let end = serving.await.unwrap();
    assert!(matches!(
        end,
        Err(RequestError::Refused { status: 404, .. })
    ));
}
