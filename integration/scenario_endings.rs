//! A program of a tunnel is killed, or told to end, between two frames: what was sent so far must not be taken for the
//! whole, neither by the application nor by the target. And what is whole must look like it.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::configs::{self, Vmess};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, listen, system};
use crate::scenario_abrupt::{connected, rest};
use crate::traffic::{self, LIMIT, To};

const PIECE: usize = 16 * 1024;

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}
use End::{Client, Server};

/// One program of a running pair, what becomes of it, and which way the bytes go.
#[derive(Clone)]
struct Case {
    client: Peer,
    server: Peer,
    vmess: Vmess,
    ends: End,
    signal: &'static str,
    upload: bool,
}

impl Case {
    fn new(vmess: &Vmess, ends: End, signal: &'static str, upload: bool) -> Self {
        Self {
            client: Mobula,
            server: Mobula,
            vmess: vmess.clone(),
            ends,
            signal,
            upload,
        }
    }

    fn name(&self) -> String {
        let way = if self.upload { "up" } else { "down" };
        format!(
            "{:?} to {:?}, SIG{} to the {:?}, {way}: {:?}",
            self.client, self.server, self.signal, self.ends, self.vmess
        )
    }

    /// How the application's and the target's connection ended.
    async fn play(self) -> (String, [Result<(), ErrorKind>; 2]) {
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let config = self.vmess.server(self.server, port);
        let server = stage.run(self.server, "server", &config, &[port]).await;
        let config = self.vmess.client(self.client, socks, port);
        let client = stage.run(self.client, "client", &config, &[socks]).await;
        let ends = match self.ends {
            Client => client,
            Server => server,
        };
        let ends = self.broken(&mut stage, ends, socks).await;
        (self.name(), ends)
    }

    async fn broken(
        &self,
        stage: &mut Stage,
        ends: usize,
        socks: u16,
    ) -> [Result<(), ErrorKind>; 2] {
        let (mut application, mut target) = connected(socks).await;
        let (from, to) = match self.upload {
            true => (&mut application, &mut target),
            false => (&mut target, &mut application),
        };
        // A part of something larger, all of which has passed.
        from.write_all(&traffic::bytes(PIECE)).await.unwrap();
        let mut got = vec![0; PIECE];
        let read = timeout(LIMIT, to.read_exact(&mut got)).await;
        read.expect("it passes").unwrap();
        sleep(Duration::from_millis(100)).await;
        stage.child(ends).signal(self.signal);
        let (heard, seen) = tokio::join!(rest(&mut application), rest(&mut target));
        assert_eq!((heard.0, seen.0), (0, 0), "{}", self.name());
        [heard.1, seen.1]
    }
}

/// All cases, a few at a time; `expected` are the two ends.
async fn all(cases: Vec<Case>, expected: impl Fn(&Case) -> [Option<Result<(), ErrorKind>>; 2]) {
    for some in cases.chunks(6) {
        let mut playing = JoinSet::new();
        for case in some.iter().cloned() {
            let expected = expected(&case);
            playing.spawn(async move { (case.play().await, expected) });
        }
        while let Some(played) = playing.join_next().await {
            let ((name, ends), expected) = played.expect("a case is played");
            for (end, expected) in ends.iter().zip(expected) {
                let alike = expected.is_none_or(|expected| *end == expected);
                assert!(alike, "{name}: {ends:?}");
            }
        }
    }
}

fn both_reset(_: &Case) -> [Option<Result<(), ErrorKind>>; 2] {
    [Some(RESET); 2]
}

fn muxed(vmess: Vmess) -> Vmess {
    Vmess {
        outbound: json!({"mux": {"enabled": true}}),
        ..vmess
    }
}

fn sealed(security: &'static str, vmess: Vmess) -> Vmess {
    Vmess { security, ..vmess }
}

/// Even the end that belonged to the killed program is reset, by the kernel.
#[tokio::test]
async fn between_two_mobulas_a_killed_one_is_a_reset_at_both_ends() {
    let tls = Stage::new();
    let mut cases = Vec::new();
    for vmess in [
        Vmess::ws(),
        Vmess::tcp(),
        Vmess::wss(&tls),
        muxed(Vmess::ws()),
        muxed(Vmess::tcp()),
        sealed("none", Vmess::ws()),
        sealed("zero", Vmess::ws()),
        sealed("zero", Vmess::tcp()),
    ] {
        for ends in [Client, Server] {
            for upload in [false, true] {
                cases.push(Case::new(&vmess, ends, "KILL", upload));
            }
        }
    }
    all(cases, both_reset).await;
}

#[tokio::test]
async fn between_two_mobulas_one_that_is_told_to_end_is_a_reset_at_both_ends() {
    let mut cases = Vec::new();
    for (vmess, signal) in [
        (Vmess::ws(), "TERM"),
        (Vmess::tcp(), "INT"),
        (muxed(Vmess::ws()), "TERM"),
    ] {
        for ends in [Client, Server] {
            for upload in [false, true] {
                cases.push(Case::new(&vmess, ends, signal, upload));
            }
        }
    }
    all(cases, both_reset).await;
}

/// They end every WebSocket with a close frame, so one without is none of theirs.
#[tokio::test]
async fn a_killed_v2ray_or_sing_box_is_a_reset_at_the_end_of_mobula() {
    let mut cases = Vec::new();
    for other in [V2ray434, V2ray445, SingBox] {
        for vmess in [Vmess::ws(), sealed("none", Vmess::ws())] {
            for upload in [false, true] {
                cases.push(Case {
                    client: other,
                    ..Case::new(&vmess, Client, "KILL", upload)
                });
                cases.push(Case {
                    server: other,
                    ..Case::new(&vmess, Server, "KILL", upload)
                });
            }
        }
    }
    all(cases, |case| match case.ends {
        Client => [None, Some(RESET)],
        Server => [Some(RESET), None],
    })
    .await;
}

/// nginx makes a plain end of everything.
#[tokio::test]
async fn a_server_that_is_killed_behind_nginx_is_a_reset() {
    for server in [Mobula, V2ray445, SingBox] {
        let mut stage = Stage::new();
        let (port, front, socks) = (free_port(), free_port(), free_port());
        let case = Case {
            server,
            ..Case::new(&Vmess::ws(), Server, "KILL", false)
        };
        let config = case.vmess.server(server, port);
        let ends = stage.run(server, "server", &config, &[port]).await;
        nginx(&mut stage, front, port).await;
        let config = case.vmess.client(Mobula, socks, front);
        stage.run(Mobula, "client", &config, &[socks]).await;
        let [application, _] = case.broken(&mut stage, ends, socks).await;
        assert_eq!(application, RESET, "{server:?}");
    }
}

pub async fn nginx(stage: &mut Stage, front: u16, server: u16) {
    let location = configs::documented_location(server);
    let file = configs::nginx(stage, &format!("listen 127.0.0.1:{front};\n{location}"));
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[front]).await;
}

/// V2Ray gives such a session a second.
#[tokio::test]
async fn an_answer_that_takes_three_seconds_is_waited_for() {
    let mut asking = JoinSet::new();
    for (server, vmess) in [
        (Mobula, Vmess::ws()),
        (Mobula, Vmess::tcp()),
        (Mobula, muxed(Vmess::ws())),
        (SingBox, Vmess::tcp()),
        (SingBox, Vmess::ws()),
        (Mihomo, Vmess::ws()),
    ] {
        asking.spawn(async move {
            let mut stage = Stage::new();
            let (port, socks) = (free_port(), free_port());
            let mut config = vmess.server(server, port);
            unlimited(server, &mut config);
            stage.run(server, "server", &config, &[port]).await;
            let mut config = vmess.client(Mobula, socks, port);
            unlimited(Mobula, &mut config);
            stage.run(Mobula, "client", &config, &[socks]).await;
            let (mut application, mut target) = half_closed(socks).await;
            // The end has passed before the answer does, wherever it may.
            let (asked, end) = rest(&mut target).await;
            assert_eq!((asked, end), (0, Ok(())), "{server:?} {vmess:?}");
            sleep(Duration::from_secs(3)).await;
            target.write_all(&traffic::bytes(PIECE)).await.unwrap();
            target.shutdown().await.unwrap();
            let (got, end) = rest(&mut application).await;
            assert_eq!((got, end), (PIECE, Ok(())), "{server:?} {vmess:?}");
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.expect("an answer");
    }
}

/// What holds without a `policy`.
fn unlimited(peer: Peer, config: &mut serde_json::Value) {
    if peer == Mobula {
        config["policy"] = json!({});
    }
}

/// An application that has asked and ended its direction, and the target that has heard the question.
async fn half_closed(socks: u16) -> (TcpStream, TcpStream) {
    let listener = listen();
    let to = To::Ip(listener.local_addr().unwrap());
    let mut application = traffic::connect(socks, &to).await.unwrap();
    application.write_all(b"question").await.unwrap();
    application.shutdown().await.unwrap();
    let (mut target, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    target.read_exact(&mut [0; 8]).await.unwrap();
    (application, target)
}

/// Its server says goodbye when it gives a session up after a second, and over TCP nobody can see that it was killed: but
/// it ends whole answers with an end mark, once that has been seen.
#[tokio::test]
async fn what_v2ray_gives_up_is_a_reset_once_its_end_mark_was_seen() {
    for vmess in [Vmess::ws(), Vmess::tcp()] {
        for server in [V2ray434, V2ray445] {
            let mut stage = Stage::new();
            let (port, socks) = (free_port(), free_port());
            let mut config = vmess.server(server, port);
            config["policy"] = json!({});
            let running = stage.run(server, "server", &config, &[port]).await;
            let config = vmess.client(Mobula, socks, port);
            stage.run(Mobula, "client", &config, &[socks]).await;
            let (mut application, mut target) = connected(socks).await;
            target.shutdown().await.unwrap();
            assert_eq!(rest(&mut application).await, (0, Ok(())));
            drop(application);
            let (mut application, target) = half_closed(socks).await;
            let end = rest(&mut application).await;
            assert_eq!(end, (0, RESET), "given up, {server:?} {vmess:?}");
            drop(target);
            let (mut application, _target) = connected(socks).await;
            stage.child(running).signal("KILL");
            let end = rest(&mut application).await;
            assert_eq!(end, (0, RESET), "killed, {server:?} {vmess:?}");
        }
    }
}

/// A limit is no reason to call a part the whole.
#[tokio::test]
async fn a_session_whose_time_is_up_is_reset() {
    for vmess in [Vmess::ws(), Vmess::tcp()] {
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let mut config = vmess.server(Mobula, port);
        config["policy"] = json!({"levels": {"0": {"connIdle": 1, "downlinkOnly": 1}}});
        stage.run(Mobula, "server", &config, &[port]).await;
        let config = vmess.client(Mobula, socks, port);
        stage.run(Mobula, "client", &config, &[socks]).await;
        let (mut application, mut target) = connected(socks).await;
        let ends = tokio::join!(rest(&mut application), rest(&mut target));
        assert_eq!(ends, ((0, RESET), (0, RESET)), "idle, {vmess:?}");
        let (mut application, mut target) = half_closed(socks).await;
        // The target has heard all there was.
        assert_eq!(rest(&mut target).await, (0, Ok(())));
        assert_eq!(rest(&mut application).await, (0, RESET), "{vmess:?}");
    }
}

/// A raw body has no end mark, and a close frame may overtake what V2Ray's client has not handed on.
#[tokio::test]
async fn the_end_of_a_raw_answer_cuts_nothing_off() {
    const ANSWER: usize = 300_000;
    let vmess = sealed("zero", Vmess::ws());
    let mut stage = Stage::new();
    let port = free_port();
    let config = vmess.server(Mobula, port);
    stage.run(Mobula, "server", &config, &[port]).await;
    for client in [Mobula, V2ray445] {
        let socks = free_port();
        let config = vmess.client(client, socks, port);
        stage.run(client, "client", &config, &[socks]).await;
        for _ in 0..20 {
            let (mut application, mut target) = connected(socks).await;
            target.write_all(&traffic::bytes(ANSWER)).await.unwrap();
            drop(target);
            let answered = Instant::now();
            let end = rest(&mut application).await;
            assert_eq!(end, (ANSWER, Ok(())), "{client:?}");
            // Ours reads all that came before.
            assert!(client != Mobula || answered.elapsed() < Duration::from_millis(500));
        }
    }
}

/// The end of an upload neither: nor does it take the answer with it, where the server is V2Ray's.
#[tokio::test]
async fn the_end_of_a_raw_upload_leaves_time_for_the_answer() {
    let vmess = sealed("zero", Vmess::ws());
    for server in [Mobula, V2ray445] {
        let mut stage = Stage::new();
        let (port, socks) = (free_port(), free_port());
        let config = vmess.server(server, port);
        stage.run(server, "server", &config, &[port]).await;
        let config = vmess.client(Mobula, socks, port);
        stage.run(Mobula, "client", &config, &[socks]).await;
        for _ in 0..3 {
            let (mut application, mut target) = half_closed(socks).await;
            sleep(Duration::from_millis(300)).await;
            target.write_all(&traffic::bytes(PIECE)).await.unwrap();
            drop(target);
            let end = rest(&mut application).await;
            assert_eq!(end, (PIECE, Ok(())), "{server:?}");
        }
    }
}
