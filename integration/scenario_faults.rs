//! Faults of the wire, of the other end and of the machine: after each there is one clear line, what worked works again without a hand,
//! and nothing stays behind: no tunnel, no file, no memory.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as Blocking};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, system};
use crate::traffic::{self, LIMIT, To};
use crate::wire_with_faults::{self, FAR, Far};

/// Where the server listens on its machine, where its numbers are, and where targets are.
const SERVER: u16 = 8443;
const NUMBERS: u16 = 9191;
const TARGET: u16 = 80;

/// What is taken for silence, in the configs of both ends.
const SILENT: Duration = Duration::from_secs(3);

/// A client here, a server and targets far away.
struct Pair {
    far: Far,
    client: usize,
    server: usize,
    socks: u16,
    numbers: u16,
    rest: [Holdings; 2],
}

/// What a process has when nobody wants anything.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    files: usize,
    kib: u64,
}

impl Pair {
    async fn start(far: Far, vmess: Vmess) -> Self {
        Self::start_with(far, vmess, |_| {}, |_| {}).await
    }

    async fn start_with(
        mut far: Far,
        vmess: Vmess,
        server: impl Fn(&mut Value),
        client: impl Fn(&mut Value),
    ) -> Self {
        let (socks, numbers) = (free_port(), free_port());
        let mut config = vmess.server(Mobula, SERVER);
        config["inbounds"][0]["listen"] = json!(FAR);
        common(&mut config, NUMBERS);
        server(&mut config);
        let machine = &far.machine;
        let server = far
            .stage
            .run_on(machine, Mobula, "server", &config, &[SERVER, NUMBERS])
            .await;
        let mut config = vmess.client(Mobula, socks, SERVER);
        config["outbounds"][0]["settings"]["vnext"][0]["address"] = json!(FAR);
        common(&mut config, numbers);
        client(&mut config);
        let client = far
            .stage
            .run(Mobula, "client", &config, &[socks, numbers])
            .await;
        let mut pair = Self {
            far,
            client,
            server,
            socks,
            numbers,
            rest: [Holdings { files: 0, kib: 0 }; 2],
        };
        // What is built once is there then.
        let target = pair.echo();
        for _ in 0..3 {
            pair.word(&target).await;
        }
        pair.until_no_tunnels().await;
        pair.rest = pair.holdings();
        pair
    }

    /// Something far away that sends back what comes, and where it is.
    fn echo(&self) -> To {
        let at: SocketAddr = (FAR.parse::<Ipv4Addr>().expect("it is one"), 0).into();
        let listener = self.far.machine.tcp_listen(at);
        let at = listener.local_addr().expect("it listens");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        To::Ip(at)
    }

    async fn word(&self, to: &To) {
        let mut stream = traffic::connect(self.socks, to).await.expect("a session");
        traffic::exchange(&mut stream, b"a word").await;
    }

    /// Whether a word comes back; either way it does not hang.
    async fn answers(&self, to: &To) -> bool {
        let word = async {
            let mut stream = traffic::connect(self.socks, to).await?;
            stream.write_all(b"anybody").await?;
            stream.read_exact(&mut [0; 7]).await
        };
        let answer = timeout(2 * LIMIT, word).await;
        answer.expect("it does not hang").is_ok()
    }

    /// Waits until a word comes through again; how long that took.
    async fn again(&self, to: &To) -> Duration {
        let began = Instant::now();
        loop {
            let word = async {
                let mut stream = traffic::connect(self.socks, to).await?;
                stream.write_all(b"again").await?;
                let mut back = [0; 5];
                stream.read_exact(&mut back).await
            };
            if let Ok(Ok(_)) = timeout(Duration::from_secs(2), word).await {
                return began.elapsed();
            }
            assert!(
                began.elapsed() < LIMIT,
                "it never works again:\n{}",
                self.log("client")
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self, end: &str) -> String {
        self.far.stage.read(&format!("{end}.error"))
    }

    /// Both ends' tunnels, as their numbers say.
    fn tunnels(&self) -> [u64; 2] {
        let here = number(self.numbers, "mobula_tunnels");
        let there = self
            .far
            .machine
            .within(|| number(NUMBERS, "mobula_tunnels"));
        [here, there]
    }

    async fn until_no_tunnels(&self) {
        let began = Instant::now();
        while self.tunnels() != [0, 0] {
            assert!(
                began.elapsed() < 2 * LIMIT,
                "{:?} tunnels are left",
                self.tunnels()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn holdings(&mut self) -> [Holdings; 2] {
        [self.client, self.server].map(|index| {
            let child = self.far.stage.child(index);
            Holdings {
                files: child.open_files(),
                kib: child.resident_kib(),
            }
        })
    }

    /// Nothing stays behind.
    async fn is_at_rest(&mut self) {
        self.until_no_tunnels().await;
        let began = Instant::now();
        loop {
            let now = self.holdings();
            let fits = |now: &Holdings, then: &Holdings| {
                now.files <= then.files && now.kib <= then.kib + 6 * 1024
            };
            if now
                .iter()
                .zip(&self.rest)
                .all(|(now, then)| fits(now, then))
            {
                return;
            }
            assert!(
                began.elapsed() < 2 * LIMIT,
                "{now:?} at rest, and {:?} before",
                self.rest
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Warnings to a file, numbers, and short patience.
fn common(config: &mut Value, numbers: u16) {
    let end = match config["inbounds"][0]["protocol"] == "socks" {
        true => "client",
        false => "server",
    };
    config["log"] =
        json!({"loglevel": "warning", "error": format!("{end}.error"), "access": "none"});
    config["metrics"] = json!({"listen": format!("127.0.0.1:{numbers}")});
    let sockopt = json!({
        "tcpKeepAliveIdle": 1, "tcpKeepAliveInterval": 1, "tcpUserTimeout": SILENT.as_millis() as u64,
    });
    for list in ["inbounds", "outbounds"] {
        config[list][0]["streamSettings"]["sockopt"] = sockopt.clone();
    }
}

/// A number of the metrics on `port` of this machine.
fn number(port: u16, name: &str) -> u64 {
    let ask = || {
        let mut stream = Blocking::connect((Ipv4Addr::LOCALHOST, port))?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = ask().expect("the numbers are there");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// What comes until the end, and whether the end was one in order.
async fn rest(stream: &mut TcpStream, within: Duration) -> (usize, bool) {
    let mut buf = vec![0; 64 * 1024];
    let mut got = 0;
    let all = async {
        loop {
            match stream.read(&mut buf).await {
                Ok(0) => return (got, true),
                Ok(n) => got += n,
                Err(_) => return (got, false),
            }
        }
    };
    timeout(within, all).await.expect("an end comes")
}

/// The lines of a log that hold `text`.
fn lines(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_wire_that_falls_silent_ends_its_tunnels_and_comes_back_by_itself() {
    wire_with_faults::run(|far| async {
        let mut pair = Pair::start(far, Vmess::ws()).await;
        let echo = pair.echo();
        let mut busy = traffic::connect(pair.socks, &echo).await.unwrap();
        let mut idle = traffic::connect(pair.socks, &echo).await.unwrap();
        for stream in [&mut busy, &mut idle] {
            traffic::exchange(stream, b"all is well").await;
        }
        assert_eq!(pair.tunnels(), [2, 2]);
        pair.far.wire.is_cut();
        let began = Instant::now();
        busy.write_all(&traffic::bytes(100_000)).await.unwrap();
        // Neither is told that its stream is whole.
        for (stream, which) in [(&mut busy, "busy"), (&mut idle, "idle")] {
            assert_eq!(rest(stream, LIMIT).await, (0, false), "{which}");
        }
        assert!(began.elapsed() < 5 * SILENT, "{:?}", began.elapsed());
        // A new one is told within the time that connecting may take.
        assert!(!pair.answers(&echo).await);
        let log = pair.log("client");
        assert!(lines(&log, "[tcp-timeout]") > 0, "{log}");
        assert!(lines(&log, "[link-timeout]") > 0, "{log}");
        assert_eq!(lines(&log, "os error"), 0, "{log}");
        pair.until_no_tunnels().await;
        pair.far.wire.is_mended();
        let took = pair.again(&echo).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        pair.is_at_rest().await;
    });
}

#[test]
fn loss_and_delay_cost_time_and_not_a_byte() {
    wire_with_faults::run(|far| async {
        let mut pair = Pair::start(far, Vmess::ws()).await;
        let echo = pair.echo();
        pair.far.wire.takes(Duration::from_millis(20));
        pair.far.wire.loses(20);
        let one = async |len: usize| {
            let data = traffic::bytes(len);
            let mut stream = traffic::connect(pair.socks, &echo).await.unwrap();
            let (mut read, mut write) = stream.split();
            let send = async {
                write.write_all(&data).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            let ((), n) = tokio::join!(send, read.read_to_end(&mut back));
            assert_eq!(n.unwrap(), len);
            assert!(back == data);
        };
        let all = async { tokio::join!(one(1), one(100_000), one(1 << 20), one(1 << 20)) };
        timeout(6 * LIMIT, all).await.expect("loss is no end");
        pair.far.wire.is_mended();
        pair.is_at_rest().await;
    });
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_used_again() {
    wire_with_faults::run(|far| async {
        let mut pair = Pair::start(far, Vmess::ws()).await;
        let echo = pair.echo();
        for round in 0..3 {
            let mut stream = traffic::connect(pair.socks, &echo).await.unwrap();
            traffic::exchange(&mut stream, b"all is well").await;
            let server = pair.far.stage.child(pair.server);
            server.signal("KILL");
            server.ended(LIMIT).await;
            assert_eq!(rest(&mut stream, LIMIT).await, (0, false), "round {round}");
            // Meanwhile it is refused at once.
            let began = Instant::now();
            assert!(!pair.answers(&echo).await);
            assert!(
                began.elapsed() < Duration::from_secs(8),
                "{:?}",
                began.elapsed()
            );
            let config: Value = serde_json::from_str(&pair.far.stage.read("server.json")).unwrap();
            let ports = [SERVER, NUMBERS];
            pair.server = pair
                .far
                .stage
                .run_on(&pair.far.machine, Mobula, "server", &config, &ports)
                .await;
            let took = pair.again(&echo).await;
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
        let log = pair.log("client");
        assert!(lines(&log, "[tcp-refused]") >= 1, "{log}");
        pair.until_no_tunnels().await;
        // The server is another process now; the client is the one that could have kept something.
        let before = pair.rest[0];
        pair.rest = [before, pair.holdings()[1]];
        pair.is_at_rest().await;
    });
}

#[test]
fn a_client_that_is_killed_leaves_nothing_at_the_server() {
    wire_with_faults::run(|far| async {
        let mut pair = Pair::start(far, Vmess::ws()).await;
        let echo = pair.echo();
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = traffic::connect(pair.socks, &echo).await.unwrap();
            traffic::exchange(&mut stream, b"all is well").await;
            streams.push(stream);
        }
        // With it goes its machine: not even a reset gets through.
        pair.far.wire.is_cut();
        let client = pair.far.stage.child(pair.client);
        client.signal("KILL");
        client.ended(LIMIT).await;
        let began = Instant::now();
        while pair
            .far
            .machine
            .within(|| number(NUMBERS, "mobula_tunnels"))
            > 0
        {
            assert!(
                began.elapsed() < 2 * LIMIT,
                "the server waits for who is gone"
            );
            sleep(Duration::from_millis(50)).await;
        }
        pair.far.wire.is_mended();
        drop(streams);
        let config: Value = serde_json::from_str(&pair.far.stage.read("client.json")).unwrap();
        let ports = [pair.socks, pair.numbers];
        pair.client = pair.far.stage.run(Mobula, "client", &config, &ports).await;
        pair.again(&echo).await;
        pair.until_no_tunnels().await;
        let now = pair.holdings();
        pair.rest[0] = now[0];
        pair.is_at_rest().await;
    });
}

#[test]
fn a_reset_in_the_handshake_is_told_and_forgotten() {
    wire_with_faults::run(|far| async {
        let mut pair = Pair::start(far, Vmess::ws()).await;
        let echo = pair.echo();
        // Whoever comes to the server's port is reset in the middle of what he says.
        let rules = "table inet faults { chain c { type filter hook input priority 0; tcp dport 8443 tcp flags & (syn | ack | psh) == ack | psh reject with tcp reset; }; }";
        pair.far.machine.nft(rules);
        for _ in 0..10 {
            assert!(!pair.answers(&echo).await);
        }
        pair.far.machine.nft("delete table inet faults");
        let log = pair.log("client");
        assert!(lines(&log, "[ws-") >= 1, "{log}");
        assert!(pair.again(&echo).await < Duration::from_secs(5));
        pair.is_at_rest().await;
    });
}

#[test]
fn a_target_that_dies_in_the_middle_is_no_end_in_order() {
    wire_with_faults::run(|far| async {
        let mut pair = Pair::start(far, Vmess::ws()).await;
        let at: SocketAddr = format!("{FAR}:{TARGET}").parse().unwrap();
        let listener = pair.far.machine.tcp_listen(at);
        for _ in 0..5 {
            let mut stream = traffic::connect(pair.socks, &To::Ip(at)).await.unwrap();
            stream.write_all(b"give me all").await.unwrap();
            let (mut target, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
            target.read_exact(&mut [0; 11]).await.unwrap();
            target.write_all(&traffic::bytes(50_000)).await.unwrap();
            sleep(Duration::from_millis(200)).await;
            target.set_zero_linger().unwrap();
            drop(target);
            assert_eq!(rest(&mut stream, LIMIT).await, (50_000, false));
        }
        pair.is_at_rest().await;
    });
}

#[test]
fn names_that_nobody_answers_hold_up_nobody_else() {
    wire_with_faults::run(|far| async {
        // It takes questions, and that is all.
        let deaf = far.machine.udp("127.0.0.53:53".parse().unwrap());
        let server = |config: &mut Value| {
            config["dns"] = json!({"servers": ["127.0.0.53"]});
            config["outbounds"][0]["settings"]["domainStrategy"] = json!("UseIP");
        };
        let mut pair = Pair::start_with(far, Vmess::ws(), server, |_| {}).await;
        let echo = pair.echo();
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let to = To::Name("nobody-answers.example", 80);
            let mut stream = traffic::connect(pair.socks, &to).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            waiting.push(stream);
        }
        let began = Instant::now();
        pair.word(&echo).await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        for stream in &mut waiting {
            let (got, _) = rest(stream, 3 * LIMIT).await;
            assert_eq!(got, 0);
        }
        let log = pair.log("server");
        assert!(lines(&log, "[dns") >= 1, "{log}");
        drop(waiting);
        drop(deaf);
        pair.is_at_rest().await;
    });
}

#[test]
fn a_disk_that_is_full_takes_the_log_and_nothing_else() {
    wire_with_faults::run(|far| async {
        let server = |config: &mut Value| {
            config["log"] =
                json!({"loglevel": "debug", "error": "/dev/full", "access": "/dev/full"});
        };
        let mut pair = Pair::start_with(far, Vmess::ws(), server, |_| {}).await;
        let echo = pair.echo();
        for _ in 0..20 {
            pair.word(&echo).await;
        }
        pair.is_at_rest().await;
        let said = pair.far.stage.log(pair.server);
        let told = lines(&said, "/dev/full");
        assert!((1..=4).contains(&told), "{said}");
    });
}

/// The kernel has no buffer for a datagram: it is lost, as datagrams are, and the session goes on.
#[tokio::test]
async fn a_system_without_buffers_costs_datagrams_and_no_session() {
    let mut stage = Stage::new();
    let echo = traffic::udp_echo().await;
    let port = free_port();
    let config = json!({
        "log": {"loglevel": "warning", "error": "error.log"},
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": echo.port(), "network": "udp"},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    let path = stage.write("mobula.json", config.to_string());
    let inner = Mobula.command(&path);
    let mut command = system("strace");
    // Every fourth datagram.
    command.args([
        // The tracer is the child, not the parent, and ends with what it traces.
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=sendto,sendmsg,sendmmsg",
    ]);
    command.args([
        "-e",
        "inject=sendto,sendmsg,sendmmsg:error=ENOBUFS:when=3+4",
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    let index = stage.start("mobula", &mut command, &[]).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let mut came = 0;
    let began = Instant::now();
    let mut n = 0u32;
    while came < 40 {
        assert!(
            began.elapsed() < 3 * LIMIT,
            "{came} of {n} came:\n{}",
            stage.log(index)
        );
        n += 1;
        // Before it listens, the system says so.
        if socket.send(&n.to_be_bytes()).await.is_err() {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let mut back = [0; 16];
        if let Ok(Ok(got)) = timeout(Duration::from_millis(200), socket.recv(&mut back)).await {
            assert_eq!(got, 4);
            came += 1;
        }
    }
    assert!(n > came, "nothing was lost, so nothing was tried");
}

/// The server's clock is set wrong and right again while it runs: tunnels that are open do not notice.
#[tokio::test]
async fn a_clock_that_jumps_is_named_and_ends_no_tunnel() {
    let mut stage = Stage::new();
    let (server, socks) = (free_port(), free_port());
    let vmess = Vmess::ws();
    let shift = stage.write("shift", "+0");
    let mut config = vmess.server(Mobula, server);
    config["log"] = json!({"loglevel": "warning", "error": "server.error", "access": "none"});
    let path = stage.write("server.json", config.to_string());
    let libraries = std::fs::read_dir("/usr/lib")
        .expect("Linux has it")
        .flatten();
    let library = libraries
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
        .expect("Debian's package faketime");
    let mut command = Mobula.command(&path);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &shift)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    stage.start("server", &mut command, &[server]).await;
    let mut config = vmess.client(Mobula, socks, server);
    config["log"] = json!({"loglevel": "warning", "error": "client.error", "access": "none"});
    stage.run(Mobula, "client", &config, &[socks]).await;
    let to = To::Ip(traffic::echo().await);
    let mut open = traffic::connect(socks, &to).await.unwrap();
    traffic::exchange(&mut open, b"before").await;
    for jump in ["+3600", "-3600"] {
        stage.write("shift", jump);
        traffic::exchange(&mut open, b"meanwhile").await;
        let mut late = traffic::connect(socks, &to).await.unwrap();
        late.write_all(b"anybody").await.unwrap();
        stage.until_file_has("server.error", "[clock-skew]").await;
        let answer = timeout(Duration::from_millis(300), late.read(&mut [0; 8])).await;
        assert!(!matches!(answer, Ok(Ok(1..))), "{jump}: {answer:?}");
        stage.write("server.error", "");
        stage.write("shift", "+0");
        let mut again = traffic::connect(socks, &to).await.unwrap();
        traffic::exchange(&mut again, b"again").await;
    }
    traffic::exchange(&mut open, b"after").await;
}
