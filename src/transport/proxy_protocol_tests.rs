use hex_literal::hex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::io::Link;

/// What a connection of these bytes comes to: source and local address, and what is left to read.
async fn accepted(bytes: &[u8]) -> Result<(String, String, Vec<u8>), String> {
    let (mut peer, ours) = tokio::io::duplex(16 * 1024);
    peer.write_all(bytes).await.unwrap();
    peer.shutdown().await.unwrap();
    let address = |text: &str| Source::from(text.parse::<SocketAddr>().unwrap());
    let arrival = Arrival {
        link: Link::other(ours),
        source: address("10.0.0.1:1111"),
        local: address("10.0.0.2:2222"),
        original_dst: None,
        tls: None,
        since: tokio::time::Instant::now(),
    };
    match accept(arrival).await {
        Ok(mut arrival) => {
            let mut rest = Vec::new();
            arrival.link.read_to_end(&mut rest).await.unwrap();
            Ok((arrival.source.to_string(), arrival.local.to_string(), rest))
        }
        Err(error) => {
            let mut answer = Vec::new();
            drop(peer.read_to_end(&mut answer).await);
            assert!(answer.is_empty());
            Err(error.to_string())
        }
    }
}

#[tokio::test]
async fn headers_of_either_version_give_the_addresses() {
    let v2 = hex!("0d0a0d0a000d0a515549540a");
    let v2 = |rest: &[u8]| [&v2[..], rest].concat();
    let tlv = hex!("030004 aabbccdd");
    for (header, source, local) in [
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(),
            "192.0.2.1:56324",
            "192.0.2.2:443",
        ),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(),
            "[2001:db8::1]:1",
            "[2001:db8::2]:65535",
        ),
        (
            b"PROXY UNKNOWN\r\n".to_vec(),
            "10.0.0.1:1111",
            "10.0.0.2:2222",
        ),
        (
            b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n".to_vec(),
            "10.0.0.1:1111",
            "10.0.0.2:2222",
        ),
        (
            v2(&hex!("2111000c c0000201 c0000202 dc04 01bb")),
            "192.0.2.1:56324",
            "192.0.2.2:443",
        ),
        (
            v2(&[&hex!("21110013 c0000201 c0000202 dc04 01bb")[..], &tlv].concat()),
            "192.0.2.1:56324",
            "192.0.2.2:443",
        ),
        (
            v2(&hex!(
                "21210024 20010db8000000000000000000000001 20010db8000000000000000000000002 0001 0002"
            )),
            "[2001:db8::1]:1",
            "[2001:db8::2]:2",
        ),
        (
            v2(&[&hex!("213100d8")[..], &[0; 216]].concat()),
            "unix",
            "unix",
        ),
        (v2(&hex!("20000000")), "10.0.0.1:1111", "10.0.0.2:2222"),
        (
            v2(&hex!("2011000c c0000201 c0000202 dc04 01bb")),
            "10.0.0.1:1111",
            "10.0.0.2:2222",
        ),
        (
            v2(&hex!("21000003 aabbcc")),
            "10.0.0.1:1111",
            "10.0.0.2:2222",
        ),
    ] {
        let found = accepted(&[&header, &b"GET /"[..]].concat()).await;
        let expected = (source.to_owned(), local.to_owned(), b"GET /".to_vec());
        assert_eq!(found, Ok(expected), "{}", header.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused_with_its_reason() {
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100], b"\r\n"].concat();
    let v2 = hex!("0d0a0d0a000d0a515549540a");
    let v2 = |rest: &[u8]| [&v2[..], rest].concat();
    for (bytes, reason) in [
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "does not begin with a PROXY header",
        ),
        (b"".to_vec(), "closed before the end"),
        (b"PROXY TCP4 192.0.2.1".to_vec(), "closed before the end"),
        (
            b"PROXY TCP4 x 192.0.2.2 1 2\r\n".to_vec(),
            "a broken PROXY header",
        ),
        (
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n".to_vec(),
            "a broken PROXY header",
        ),
        (b"PROXY T\r\n\r\n\r\n\r\n".to_vec(), "a broken PROXY header"),
        (long, "a PROXY line has more than 107 bytes"),
        (v2(&hex!("2111ffff")), "a PROXY header of 65535 bytes"),
        (
            v2(&hex!("3111000c c0000201 c0000202 dc04 01bb")),
            "a broken PROXY header",
        ),
        (v2(&hex!("21110004 c0000201")), "a broken PROXY header"),
    ] {
        let text = accepted(&bytes).await.unwrap_err();
        assert!(text.starts_with(reason), "{}: {text}", bytes.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_after_four_seconds() {
    let (_peer, ours) = tokio::io::duplex(64);
    let arrival = Arrival {
        link: Link::other(ours),
        source: Source::Unix,
        local: Source::Unix,
        original_dst: None,
        tls: None,
        since: tokio::time::Instant::now(),
    };
    let end = accept(arrival).await;
    let error = end.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "no PROXY header within 4 s");
}

#[test]
fn random_headers_do_no_harm() {
    let mut bytes = [0; 128];
    for round in 0..50_000_u32 {
        getrandom::fill(&mut bytes).unwrap();
        match round % 3 {
            0 => {
                let words: [&[u8]; 8] = [
                    b"TCP4", b"TCP6", b"UNKNOWN", b" ", b"\r", b"\r\n", b"1.1.1.1", b"0",
                ];
                let mut line = b"PROXY ".to_vec();
                for byte in &bytes[..24] {
                    line.extend_from_slice(words[usize::from(byte % 8)]);
                }
                crate::testing::proxy_header(&line);
            }
            1 => {
                bytes[..12].copy_from_slice(&SIGNATURE);
                bytes[14] = 0;
                bytes[15] %= 110;
                crate::testing::proxy_header(&bytes);
            }
            _ => crate::testing::proxy_header(&bytes),
        }
    }
}

#[test]
fn headers_that_are_written_say_who_comes() {
    let at = |text: &str| Source::Ip(text.parse().unwrap());
    let written = |version, source, local| header(version, source, local);
    let (v4, v6) = (at("192.0.2.1:56324"), at("[2001:db8::1]:56324"));
    let (to4, to6) = (at("192.0.2.2:443"), at("[2001:db8::2]:443"));
    // As V2Ray writes them.
    for (source, local, line) in [
        (v4, to4, "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"),
        (
            at("[::ffff:192.0.2.1]:56324"),
            at("[::ffff:192.0.2.2]:443"),
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        ),
        (v6, to6, "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"),
        (Source::Unix, Source::Unix, "PROXY UNKNOWN\r\n"),
    ] {
        let bytes = written(ProxyVersion::One, source, local);
        assert_eq!(String::from_utf8(bytes).unwrap(), line);
    }
    let bytes = written(ProxyVersion::Two, v4, to4);
    let expected =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb";
    assert_eq!(bytes, expected);
    let bytes = written(ProxyVersion::Two, Source::Unix, Source::Unix);
    assert_eq!(bytes, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    for version in [ProxyVersion::One, ProxyVersion::Two] {
        for (source, local) in [(v4, to4), (v6, to6), (v4, to6), (v6, to4)] {
            let bytes = written(version, source, local);
            assert_eq!(missing(&bytes).unwrap(), 0);
            let (read, _) = parse(&bytes).unwrap().expect("addresses");
            let ip = |source| match source {
                Source::Ip(at) => (at.ip().to_canonical(), at.port()),
                Source::Unix => panic!("it has an address"),
            };
            assert_eq!(ip(read), ip(source));
        }
    }
}
