//! Programs on this machine are told whether there is a way to their target, and why there is none.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configs::Vmess;
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen, system};
use crate::traffic::{self, LIMIT, To};

/// What a SOCKS 5 CONNECT is answered, and what a SOCKS 4a one.
async fn codes(proxy: u16, host: &str, port: u16) -> (u8, u8) {
    let name = [&[host.len() as u8], host.as_bytes()].concat();
    let port = port.to_be_bytes();
    let five = [b"\x05\x01\x00\x03".as_slice(), &name, &port].concat();
    let four = [
        b"\x04\x01",
        &port[..],
        &[0, 0, 0, 1, 0],
        host.as_bytes(),
        &[0],
    ]
    .concat();
    let answer = |said: Vec<u8>, greeting: usize| async move {
        let mut client = TcpStream::connect(("127.0.0.1", proxy))
            .await
            .expect("it listens");
        if greeting > 0 {
            client
                .write_all(b"\x05\x01\x00")
                .await
                .expect("it is taken");
            client.read_exact(&mut [0; 2]).await.expect("an answer");
        }
        client.write_all(&said).await.expect("it is taken");
        let mut code = [0; 2];
        let read = timeout(LIMIT, client.read_exact(&mut code)).await;
        read.expect("in time").expect("an answer");
        code[1]
    };
    (answer(five, 2).await, answer(four, 0).await)
}

/// What an HTTP proxy answers, until it closes.
async fn asked(proxy: u16, request: &str) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", proxy))
        .await
        .expect("it listens");
    client
        .write_all(request.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = Vec::new();
    let read = timeout(LIMIT, client.read_to_end(&mut answer)).await;
    read.expect("in time").expect("an answer");
    String::from_utf8(answer).expect("text")
}

fn client(socks: u16, http: u16, outbounds: Value, rules: Value) -> Value {
    json!({
        "log": {"loglevel": "warning"},
        "inbounds": [
            {"listen": "127.0.0.1", "port": socks, "protocol": "socks"},
            {"listen": "127.0.0.1", "port": http, "protocol": "http"},
        ],
        "outbounds": outbounds,
        "routing": {"rules": rules},
    })
}

#[tokio::test]
async fn what_a_target_answers_and_what_the_rules_forbid_has_its_code() {
    let (mut stage, socks, http) = (Stage::new(), free_port(), free_port());
    let outbounds = json!([
        {"protocol": "freedom"},
        {"protocol": "blackhole", "tag": "block"},
        {"protocol": "freedom", "tag": "no-network", "sendThrough": "127.0.0.1"},
    ]);
    let rules = json!([
        {"type": "field", "domain": ["full:ads.test"], "outboundTag": "block"},
        {"type": "field", "ip": ["2001:db8::1"], "outboundTag": "no-network"},
    ]);
    let config = client(socks, http, outbounds, rules);
    stage.run(Mobula, "client", &config, &[socks, http]).await;
    let dead = free_port();
    let echo = traffic::echo().await.port();
    for (host, port, five, status) in [
        ("127.0.0.1", echo, 0, "200 "),
        ("127.0.0.1", dead, 5, "502 "),
        ("nobody.invalid", 443, 4, "502 "),
        ("ads.test", 443, 2, "403 "),
    ] {
        let (code, old) = codes(socks, host, port).await;
        assert_eq!(
            (code, old),
            (five, if five == 0 { 90 } else { 91 }),
            "{host}"
        );
        if five != 0 {
            let connect = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\nahead");
            let answer = asked(http, &connect).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
            assert!(
                answer.contains(&format!("no way to {host}:{port}: ")),
                "{answer}"
            );
        }
    }
    assert_eq!(codes(socks, "2001:db8::1", 443).await, (3, 91));
    // The grant is what V2Ray's is, and the tunnel begins behind it.
    let to = To::Ip(format!("127.0.0.1:{echo}").parse().unwrap());
    let mut tunnel = traffic::connect(socks, &to).await.expect("granted");
    traffic::exchange(&mut tunnel, b"a word").await;
    let mut tunnel = TcpStream::connect(("127.0.0.1", http)).await.unwrap();
    let connect = format!("CONNECT 127.0.0.1:{echo} HTTP/1.1\r\nHost: x\r\n\r\nahead");
    tunnel.write_all(connect.as_bytes()).await.unwrap();
    let expected = b"HTTP/1.1 200 Connection established\r\n\r\nahead";
    let mut got = vec![0; expected.len()];
    timeout(LIMIT, tunnel.read_exact(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn the_page_of_a_request_names_the_server_that_failed_and_how() {
    let (mut stage, server) = (Stage::new(), free_port());
    let vmess = Vmess::ws();
    stage
        .run(
            V2ray445,
            "server",
            &vmess.server(V2ray445, server),
            &[server],
        )
        .await;
    let dead = free_port();
    for (name, port, path, sentence, code) in [
        (
            "path",
            server,
            "/wrong<b>",
            "404: the server does not know path /wrong",
            "ws-404",
        ),
        (
            "dead",
            dead,
            "/ray",
            "the server refuses connections",
            "tcp-refused",
        ),
    ] {
        let (socks, http) = (free_port(), free_port());
        let mut config = vmess.client(Mobula, socks, port);
        config["outbounds"][0]["tag"] = json!("far");
        config["outbounds"][0]["streamSettings"]["wsSettings"]["path"] = json!(path);
        let outbounds = config["outbounds"].clone();
        let config = client(socks, http, outbounds, json!([]));
        stage.run(Mobula, name, &config, &[socks, http]).await;
        assert_eq!(codes(socks, "example.test", 80).await, (1, 91));
        let request = |accept: &str| {
            format!(
                "GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
            )
        };
        let page = asked(http, &request("text/html,*/*;q=0.8")).await;
        assert!(page.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{page}");
        assert!(
            page.to_lowercase().contains("content-type: text/html"),
            "{page}"
        );
        assert!(
            page.contains(&format!("far: {sentence}")) && page.contains(code),
            "{page}"
        );
        assert!(!page.contains("<b>"), "{page}");
        let line = asked(http, &request("*/*")).await;
        assert!(
            line.to_lowercase().contains("content-type: text/plain"),
            "{line}"
        );
        let last = line.lines().last().unwrap_or_default();
        assert!(
            last.starts_with(&format!("no way to example.test:80: far: {sentence}")),
            "{line}"
        );
        assert!(last.ends_with(&format!("[{code}]")), "{line}");
        // As a program that is not told: V2Ray's answers.
        let mut config = config.clone();
        for inbound in config["inbounds"].as_array_mut().unwrap() {
            inbound["port"] = json!(free_port());
            inbound["settings"] = json!({"waitForConnect": false});
        }
        let [socks, http] = [0, 1].map(|n| config["inbounds"][n]["port"].as_u64().unwrap() as u16);
        stage
            .run(Mobula, &format!("{name}-at-once"), &config, &[socks, http])
            .await;
        assert_eq!(codes(socks, "example.test", 80).await, (0, 90));
        let answer = asked(http, &request("text/html")).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}

/// A whole tunnel to V2Ray, waited for: the request still goes out with the first payload, and a target that speaks
/// first is heard soon.
#[tokio::test]
async fn the_first_payload_travels_with_the_request() {
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    let vmess = Vmess::ws();
    stage
        .run(V2ray445, "server", &vmess.server(V2ray445, port), &[port])
        .await;
    let config = vmess.client(Mobula, socks, port);
    let index = stage.run(Mobula, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut tunnel = traffic::connect(socks, &to).await.expect("granted");
    traffic::exchange(&mut tunnel, b"first").await;
    traffic::both_ways(socks, 200_000).await;
    traffic::many(socks, 30).await;
    let begin = Instant::now();
    traffic::server_speaks_first(socks).await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{}",
        stage.log(index)
    );
}

/// The far end sees them in one piece, whether the client has waited for its answer or not.
#[tokio::test]
async fn the_request_and_the_first_payload_are_one_piece() {
    const PAYLOAD: usize = 1000;
    let (mut stage, socks) = (Stage::new(), free_port());
    let server = listen();
    let port = server.local_addr().unwrap().port();
    let config = Vmess::tcp().client(Mobula, socks, port);
    stage.run(Mobula, "client", &config, &[socks]).await;
    let connect = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50";
    for waits in [true, false] {
        let mut client = TcpStream::connect(("127.0.0.1", socks)).await.unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(connect).await.unwrap();
        if waits {
            client.read_exact(&mut [0; 12]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.write_all(&[7; PAYLOAD]).await.unwrap();
        let (mut tunnel, _) = server.accept().await.unwrap();
        let read = timeout(LIMIT, tunnel.read(&mut [0; 4 * PAYLOAD])).await;
        let n = read.unwrap().unwrap();
        assert!(n > PAYLOAD, "{n} bytes came first");
    }
}

/// What has to be looked at comes after the grant.
#[tokio::test]
async fn with_sniffing_the_grant_comes_at_once() {
    let (mut stage, socks, http) = (Stage::new(), free_port(), free_port());
    let mut config = client(socks, http, json!([{"protocol": "freedom"}]), json!([]));
    config["inbounds"][0]["sniffing"] = json!({"enabled": true, "destOverride": ["http", "tls"]});
    stage.run(Mobula, "client", &config, &[socks, http]).await;
    let begin = Instant::now();
    assert_eq!(codes(socks, "127.0.0.1", free_port()).await, (0, 90));
    assert!(begin.elapsed() < Duration::from_millis(150));
}

/// curl, as people ask.
#[tokio::test]
async fn curl_says_what_is_wrong() {
    let (mut stage, socks, http) = (Stage::new(), free_port(), free_port());
    let config = client(socks, http, json!([{"protocol": "freedom"}]), json!([]));
    stage.run(Mobula, "client", &config, &[socks, http]).await;
    let dead = free_port();
    for (proxy, expected) in [
        (format!("socks5h://127.0.0.1:{socks}"), "5"),
        (format!("http://127.0.0.1:{http}"), "502"),
    ] {
        let mut curl = system("curl");
        curl.args([
            "-sS",
            "-p",
            "-m",
            "9",
            "-x",
            &proxy,
            &format!("http://127.0.0.1:{dead}/"),
        ]);
        let output = curl.output().expect("curl runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(expected),
            "{said}"
        );
    }
}

/// What is answered in the place of a target is answered as V2Ray answers it: to who asks for a connection as well.
#[tokio::test]
async fn a_blackhole_that_answers_is_no_refusal() {
    for peer in [V2ray445, Mobula] {
        let (socks, web) = (free_port(), free_port());
        let config = json!({
            "inbounds": [
                {"listen": "127.0.0.1", "port": socks, "protocol": "socks"},
                {"listen": "127.0.0.1", "port": web, "protocol": "http"},
            ],
            "outbounds": [{"protocol": "blackhole", "settings": {"response": {"type": "http"}}}],
        });
        let mut stage = Stage::new();
        stage.run(peer, "hole", &config, &[socks, web]).await;
        assert_eq!(codes(socks, "a.test", 80).await, (0, 90), "{peer:?}");
        let tunnel = "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let said = asked(web, tunnel).await;
        let (granted, page) = said.split_once("\r\n\r\n").expect("a head");
        assert!(granted.contains(" 200 "), "{peer:?}: {said}");
        assert!(
            page.starts_with("HTTP/1.1 403 Forbidden\n"),
            "{peer:?}: {said}"
        );
        let plain = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let said = asked(web, plain).await;
        assert!(
            said.starts_with("HTTP/1.1 403 Forbidden\r\n"),
            "{peer:?}: {said}"
        );
    }
}
