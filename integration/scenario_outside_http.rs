//! What a stranger sees who sends odd HTTP to a server of WebSockets: to mobula, V2Ray, sing-box and Nginx, in a table of
//! `docs/reliability.md`; and that the tunnel's path takes no time of its own where a site is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::configs::{self, Vmess};
use crate::peers::Peer::{Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::scenario_outside::is_in_the_document;
use crate::scenario_site::{Front, folder};
use crate::traffic;

/// How long a stranger waits for an end.
const PATIENCE: Duration = Duration::from_secs(9);

const OTHER_VERSION: &str = "an upgrade of version 8";

/// Requests by their names; each gets what is refused, or nothing.
fn probes() -> Vec<(&'static str, String)> {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n";
    let long = "x".repeat(50_000);
    vec![
        (
            "another path",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ),
        (
            "an upgrade at another path",
            format!("GET /no HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"),
        ),
        (
            "the path without an upgrade",
            "GET /ray HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ),
        (
            "a POST to the path",
            "POST /ray HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        ),
        (
            "an upgrade with a short key",
            format!(
                "GET /ray HTTP/1.1\r\nHost: a\r\n{}\r\n",
                upgrade.replace("x3JJHMbDL1EzLkh9GBhXDw==", "c2hvcnQ=")
            ),
        ),
        (
            OTHER_VERSION,
            format!(
                "GET /ray HTTP/1.1\r\nHost: a\r\n{}\r\n",
                upgrade.replace("13", "8")
            ),
        ),
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned()),
        ("HTTP/0.9", "GET /\r\n\r\n".to_owned()),
        ("HTTP/9.9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned()),
        (
            "an absolute URI",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ),
        (
            "CONNECT",
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n".to_owned(),
        ),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            "two Hosts",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi"
                .to_owned(),
        ),
        (
            "a chunked body",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "a broken chunk",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n"
                .to_owned(),
        ),
        (
            "two requests at once",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2),
        ),
        ("no colon", "GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned()),
        (
            "a header of 50,000 bytes",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        ),
        (
            "a path of 50,000 bytes",
            format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        (
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
        ),
        (
            "a TLS hello",
            "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned(),
        ),
        ("half a head", "GET / HTTP/1.1\r\nHost: ".to_owned()),
    ]
}

/// The statuses of an answer, and the names of the first one's headers.
async fn ask(port: u16, request: &str) -> (String, Option<String>) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = stream.expect("it listens");
    let began = Instant::now();
    let _ = stream.write_all(request.as_bytes()).await;
    // Servers that keep connections see here that no more comes; a request that is not whole goes on.
    let is_whole = request.contains("\r\n\r\n");
    if is_whole {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, _)) = answer.split_once("\r\n\r\n") else {
        let is_page = !answer.is_empty();
        let words = match ended {
            _ if is_page => "a page without a head",
            Err(_) => "silence without an end",
            Ok(_) if began.elapsed() > Duration::from_millis(2500) => "silence",
            Ok(_) => "closed at once",
        };
        return (words.to_owned(), None);
    };
    let is_status = |line: &&str| line.starts_with("HTTP/1.") && line.len() > 12;
    let lines = answer.split("\r\n").flat_map(|line| {
        // A page may have no end of its own in front of the next head.
        line.find("HTTP/1.").map(|at| &line[at..])
    });
    let statuses: Vec<&str> = lines.filter(is_status).map(|line| &line[9..12]).collect();
    let version = if head.starts_with("HTTP/1.0") {
        "HTTP/1.0 "
    } else {
        ""
    };
    let mut names: Vec<&str> = head
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    names.dedup();
    (
        format!("{version}{}", statuses.join(" + ")),
        Some(names.join(", ")),
    )
}

/// Shapes of answers, each with a letter.
#[derive(Default)]
struct Shapes(BTreeMap<String, char>);

impl Shapes {
    fn letter(&mut self, names: String) -> char {
        let next = char::from(b'a' + u8::try_from(self.0.len()).expect("few"));
        *self.0.entry(names).or_insert(next)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_requests_are_all_refused_in_one_shape() {
    let mut stage = Stage::new();
    let ports = [free_port(), free_port(), free_port(), free_port()];
    for (peer, port) in [Mobula, V2ray445, SingBox].into_iter().zip(ports) {
        let config = Vmess::ws().server(peer, port);
        stage
            .run(peer, &format!("{peer:?}"), &config, &[port])
            .await;
    }
    let file = configs::nginx(
        &stage,
        &format!("listen 127.0.0.1:{};\nroot /nowhere;", ports[3]),
    );
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[ports[3]]).await;

    let mut tasks = JoinSet::new();
    for (row, (_, request)) in probes().into_iter().enumerate() {
        for (server, port) in ports.into_iter().enumerate() {
            let request = request.clone();
            tasks.spawn(async move { ((row, server), ask(port, &request).await) });
        }
    }
    let seen: BTreeMap<_, _> = tasks.join_all().await.into_iter().collect();
    let mut shapes: [Shapes; 4] = Default::default();
    let mut text =
        "| request | mobula | V2Ray 4.45 | sing-box | Nginx |\n|---|---|---|---|---|\n".to_owned();
    for (row, (name, _)) in probes().into_iter().enumerate() {
        let _ = write!(text, "| {name}");
        for (server, shapes) in shapes.iter_mut().enumerate() {
            let (words, names) = &seen[&(row, server)];
            let letter = names
                .clone()
                .map(|names| format!(" {}", shapes.letter(names)));
            let _ = write!(text, " | {words}{}", letter.unwrap_or_default());
        }
        text.push_str(" |\n");
    }
    text.push_str("\nThe letters are the headers of an answer, in their order:\n\n");
    for (server, shapes) in ["mobula", "V2Ray", "sing-box", "Nginx"].iter().zip(&shapes) {
        let mut all: Vec<_> = shapes
            .0
            .iter()
            .map(|(names, letter)| (letter, names))
            .collect();
        all.sort();
        for (letter, names) in all {
            let names = if names.is_empty() { "none" } else { names };
            let _ = writeln!(text, "* {server} {letter}: {names}");
        }
    }
    println!("{text}");
    // RFC 6455 asks for the version in the answer to another one; only who knows the path gets there.
    let own: Vec<_> = probes().into_iter().enumerate().collect();
    let own = own.iter().filter(|(_, (name, _))| *name != OTHER_VERSION);
    let own: BTreeSet<_> = own
        .filter_map(|(row, _)| seen[&(*row, 0)].1.clone())
        .collect();
    assert_eq!(own.len(), 1, "mobula's answers have one shape: {own:?}");
    is_in_the_document("requests", &text);
}

/// A site stands in front: whoever asks at the tunnel's path waits no longer, and no less, than at one that there is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tunnels_path_takes_the_time_of_one_that_does_not_exist() {
    let stage = Stage::new();
    let site = folder(&stage);
    let front = Front::new(stage, Vmess::ws(), json!(site)).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n";
    for (kind, request) in [
        ("GET", "GET PATH HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (
            "POST",
            "POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        ),
        (
            "upgrade",
            format!("GET PATH HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"),
        ),
    ] {
        // By turns, so that whatever else the machine does happens to both.
        let mut times: [Vec<Duration>; 2] = Default::default();
        for turn in 0..ROUNDS {
            for (index, path) in ["/ray", "/nay"].into_iter().enumerate() {
                let took = once(front.port, &request.replace("PATH", path)).await;
                if turn >= WARM {
                    times[index].push(took);
                }
            }
        }
        let [own, other] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        let bound = own.max(other) / 3 + Duration::from_micros(300);
        assert!(
            own.abs_diff(other) < bound,
            "{kind}: {own:?} at the path, {other:?} elsewhere"
        );
        println!("{kind}: {own:?} at the path, {other:?} elsewhere");
    }
}

const ROUNDS: usize = 220;

/// The first ones find caches empty.
const WARM: usize = 20;

/// How long the answer to one request takes, from the connection to the end of the head.
async fn once(port: u16, request: &str) -> Duration {
    let asking = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 4096];
        let n = stream.read(&mut answer).await?;
        let took = began.elapsed();
        assert!(
            answer[..n].starts_with(b"HTTP/1.1 4"),
            "{}",
            answer[..n].escape_ascii()
        );
        Ok::<_, std::io::Error>(took)
    };
    let took = timeout(traffic::LIMIT, asking).await;
    took.expect("an answer in time").expect("an answer")
}
