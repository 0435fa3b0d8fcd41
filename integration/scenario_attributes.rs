//! `attrs`: expressions about the requests of an `http` inbound hold as in V2Ray, one by one.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peers::{Peer, Stage, free_port};
use crate::traffic;

/// Each expression by an inbound of its own, in one process.
#[tokio::test]
async fn expressions_about_requests_hold_as_in_v2ray() {
    let ours = held(Peer::Mobula).await;
    let theirs = held(Peer::V2ray445).await;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    let yes = ours.iter().filter(|line| line.starts_with("yes")).count();
    assert!((10..ours.len() - 10).contains(&yes), "{ours:#?}");
}

async fn held(peer: Peer) -> Vec<String> {
    let mut stage = Stage::new();
    let (yes, no) = (traffic::answers("yes").await, traffic::answers("no").await);
    let redirect = |tag: &str, to: SocketAddr| json!({"tag": tag, "protocol": "freedom", "settings": {"redirect": to.to_string()}});
    let ports: Vec<u16> = EXPRESSIONS.iter().map(|_| free_port()).collect();
    let tag = |i: usize| format!("in-{i}");
    let config = json!({
        "inbounds": ports.iter().enumerate().map(|(i, port)| json!({
            "tag": tag(i), "listen": "127.0.0.1", "port": port, "protocol": "http"
        })).collect::<Vec<_>>(),
        "outbounds": [redirect("no", no), redirect("yes", yes)],
        "routing": {"rules": EXPRESSIONS.iter().enumerate().map(|(i, text)| json!({
            "type": "field", "inboundTag": [tag(i)], "attrs": text, "outboundTag": "yes"
        })).collect::<Vec<_>>()}
    });
    stage.run(peer, "peer", &config, &ports).await;
    let mut lines = Vec::new();
    for (text, port) in EXPRESSIONS.iter().zip(ports) {
        let talk = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            stream.write_all(REQUEST).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(traffic::LIMIT, talk).await.expect("an end in time");
        let answer = answer.expect("an answer");
        let said = answer.rsplit("\r\n").next().unwrap_or_default();
        lines.push(format!("{said}: {text}"));
    }
    lines
}

const REQUEST: &[u8] =
    b"GET http://a.example:81/video/a%20b.MP4?x=/y HTTP/1.1\r\nHost: other.example\r\n\
    Accept: text/html\r\nX-Two: 1\r\nX-Two: 2\r\nX-Empty:\r\nProxy-Connection: close\r\n\
    Connection: close, x-named\r\nX-Named: 1\r\nTE: trailers\r\n\r\n";

const EXPRESSIONS: [&str; 52] = [
    "attrs[':method'] == 'GET'",
    "attrs[':method'] != \"GET\"",
    "attrs[':path'] == '/video/a b.MP4'",
    "attrs[':path'].startswith('/video')",
    "attrs[':path'].lower().endswith(('.mp3', '.mp4'))",
    "attrs[':path'].endswith(())",
    "attrs['accept'] == 'text/html'",
    "'Accept' in attrs",
    "'host' in attrs",
    "'user-agent' in attrs",
    "attrs['user-agent'] == ''",
    "attrs['x-two'] == '1'",
    "attrs['x-empty'] == ''",
    "'x-named' in attrs or 'te' in attrs or 'connection' in attrs or 'proxy-connection' in attrs",
    "'html' in attrs['accept'] and not 'gif' in attrs['accept']",
    "'gif' not in attrs['accept']",
    "attrs[':method'] in ['HEAD', 'GET',]",
    "attrs[':method'] in ('HEAD')",
    "None in attrs",
    "attrs.get('x-none')",
    "attrs.get('x-none') == None",
    "attrs.get('x-none', 'y') == 'y'",
    "attrs.get('accept', 'y').upper() == 'TEXT/HTML'",
    "attrs",
    "attrs['user-agent']",
    "not attrs['user-agent']",
    "not not not attrs['accept']",
    "not not attrs['accept'] == True",
    "(not not attrs['accept']) == True",
    "attrs['user-agent'] or attrs['accept'] == 'text/html'",
    "False or True and False",
    "(False or True) and True",
    "'a' < 'b' and 'b' <= 'b' and 'c' > 'b' and 'c' >= 'd'",
    "['a', 'b'] < ['a', 'c']",
    "('a',) < ('a', 'b')",
    "('a',) == ['a']",
    "'1' == True",
    "False < True",
    " ' x '.strip() == 'x' ",
    "'\\\\d\\'' == \"\\\\d'\"",
    "attrs['x-none'] == 'a' or True",
    "True and attrs['x-none'] == None",
    "'a' < None or True",
    "'a' in None or True",
    "None in 'a' or True",
    "['a'] in attrs or True",
    "'abc'['a'] or True",
    "attrs.lower() or True",
    "'a'.startswith(['a'])",
    "'a'.startswith(None)",
    "True or attrs['x-none']",
    "()",
];
