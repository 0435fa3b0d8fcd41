//! A little Internet of a test's own, in which a published config runs as it stands.
//!
//! [`run`] gives a test a thread with a network namespace and a view of the file system. All addresses are on its loopback interface, so
//! every program of the test has its ports to itself, and nothing leaves. Names are answered by a name server in
//! there, `/var/log`, `/dev/shm` and `/usr/local/etc` are folders of the test, the latter with a certificate for
//! [`SERVER_NAME`]. It needs root.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::configs::Certificate;
use crate::name_server::NameServer;
use crate::peers::{Peer, Stage, geodata, system};
use crate::traffic::{self, LIMIT, To};

/// Where the servers are; the first one is [`SERVER_NAME`].
pub const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
pub const SERVER_NAME: &str = "server.example.com";
/// The name server of the world, and another one that knows the same.
pub const NAME_SERVERS: [Ipv4Addr; 2] =
    [Ipv4Addr::new(192, 0, 2, 53), Ipv4Addr::new(192, 0, 2, 153)];
/// The address of everything foreign.
pub const ABROAD: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
/// Another one.
pub const NAS: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 35);
/// An address of `geoip:cn`.
pub const CHINA: Ipv4Addr = Ipv4Addr::new(1, 0, 1, 1);
/// An address of `geoip:private`.
pub const PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
/// A content delivery network.
pub const CDN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// What the name servers know.
const NAMES: [(&str, Ipv4Addr); 8] = [
    (SERVER_NAME, SERVERS[0]),
    ("www.example.com", ABROAD),
    ("example.org", ABROAD),
    ("doubleclick.net", ABROAD),
    ("www.baidu.com", CHINA),
    ("home.example.org", CHINA),
    ("inside.example.org", PRIVATE),
    ("mail.example.com", NAS),
];

/// What a test has in its world.
pub struct World {
    pub stage: Stage,
    pub name_servers: [NameServer; 2],
}

/// Runs `test` in a world of its own.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send) {
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            let stage = Stage::new();
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect(
                "a network of one's own needs root: run the tests as root, or under `sudo -E`",
            );
            settle(&stage);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let name_servers = ["first", "second"].map(NameServer::new);
                for (server, at) in name_servers.iter().zip(NAME_SERVERS) {
                    for (name, ip) in NAMES {
                        server.has(name, &[&ip.to_string()]);
                    }
                    server.run_at((at, 53).into()).await;
                }
                for at in [ABROAD, NAS, CHINA, PRIVATE] {
                    for port in [22, 25, 80] {
                        web_server((at, port).into()).await;
                    }
                }
                test(World {
                    stage,
                    name_servers,
                })
                .await;
            });
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Addresses, names and folders.
fn settle(stage: &Stage) {
    done("mount", &["--make-rprivate", "/"]);
    done("ip", &["link", "set", "lo", "up"]);
    let here = [
        SERVERS.as_slice(),
        &NAME_SERVERS,
        &[ABROAD, NAS, CHINA, PRIVATE, CDN],
    ]
    .concat();
    for address in here {
        done(
            "ip",
            &["address", "add", &format!("{address}/32"), "dev", "lo"],
        );
    }
    for folder in ["log", "etc", "shm"] {
        fs::create_dir_all(stage.path(folder).join("v2ray")).expect("the test's folder is ours");
    }
    let certificate = Certificate::with_names(stage, &[SERVER_NAME, "localhost"]);
    for (file, name) in [
        (certificate.chain, "fullchain.pem"),
        (certificate.key, "privkey.pem"),
    ] {
        fs::copy(file, stage.path("etc/v2ray").join(name)).expect("the test's folder is ours");
    }
    let resolv = stage.write(
        "resolv.conf",
        format!("nameserver {}\noptions timeout:1\n", NAME_SERVERS[0]),
    );
    let hosts = stage.write("hosts", "127.0.0.1 localhost\n");
    for (ours, theirs) in [
        (stage.path("log"), "/var/log"),
        (stage.path("etc"), "/usr/local/etc"),
        (stage.path("shm"), "/dev/shm"),
        (resolv, "/etc/resolv.conf"),
        (hosts, "/etc/hosts"),
    ] {
        done("mount", &["--bind", &ours.display().to_string(), theirs]);
    }
}

fn done(program: &str, words: &[&str]) {
    let output = system(program)
        .args(words)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
}

impl World {
    /// Runs a config as it was published, by `mobula run -c FILE` or as V2Ray is told to.
    pub async fn publish(&mut self, peer: Peer, file: &Path, ports: &[u16]) -> usize {
        let mut command = peer.command(file);
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        self.start(&name, &mut command, ports).await
    }

    /// Starts a program that believes this world's authority.
    pub async fn start(&mut self, name: &str, command: &mut Command, ports: &[u16]) -> usize {
        command.env("SSL_CERT_FILE", self.stage.path("authority.pem"));
        command.env("V2RAY_LOCATION_ASSET", geodata());
        self.stage.start(name, command, ports).await
    }

    /// The last word on how a session to `to` went: the address that its target saw, or nothing.
    pub async fn seen(&self, socks: u16, to: &To) -> Option<IpAddr> {
        let host = match to {
            To::Ip(at) => at.ip().to_string(),
            To::Name(name, _) => (*name).to_owned(),
        };
        let talk = async {
            let mut stream = traffic::connect(socks, to).await.ok()?;
            visit(&mut stream, &host).await
        };
        timeout(LIMIT, talk).await.expect("an end in time")
    }

    /// Whether a server has nothing to say to a stranger; it need not close the connection.
    pub async fn is_silent(&self, socks: u16, to: &To) -> bool {
        let wait = Duration::from_secs(2);
        let seen = timeout(wait, self.seen(socks, to)).await;
        !matches!(seen, Ok(Some(_)))
    }

    /// The same by an HTTP proxy, as a browser does it.
    pub async fn seen_by_http(&self, proxy: u16, name: &str) -> Option<IpAddr> {
        let talk = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy))
                .await
                .ok()?;
            let request = format!("CONNECT {name}:80 HTTP/1.1\r\nHost: {name}:80\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let head = head(&mut stream).await?;
            if !head.starts_with("HTTP/1.1 200") && !head.starts_with("HTTP/1.0 200") {
                return None;
            }
            visit(&mut stream, name).await
        };
        timeout(LIMIT, talk).await.expect("an end in time")
    }

    /// Which name servers were asked for `name`.
    pub fn was_asked(&self, name: &str) -> Vec<Ipv4Addr> {
        let servers = self.name_servers.iter().zip(NAME_SERVERS);
        let asked = servers.filter(|(server, _)| server.was_asked(name));
        asked.map(|(_, at)| at).collect()
    }
}

/// What [`visit`] sends.
pub fn request(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Asks a web server of ours who we are.
pub async fn visit(stream: &mut TcpStream, host: &str) -> Option<IpAddr> {
    let request = request(host);
    stream.write_all(request.as_bytes()).await.ok()?;
    let answer = head(stream).await?;
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("X-You-Are: "))?;
    line.parse().ok()
}

async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Answers requests with the address that they came from.
async fn web_server(at: SocketAddr) {
    let listener = TcpListener::bind(at).await.expect("a world of one's own");
    tokio::spawn(async move {
        while let Ok((stream, source)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Some(line) = lines.next_line().await? {
                    if line.is_empty() {
                        write.write_all(response(source.ip()).as_bytes()).await?;
                    }
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
}

/// What a web server of ours answers to `who`.
pub fn response(who: IpAddr) -> String {
    format!("HTTP/1.1 200 OK\r\nX-You-Are: {who}\r\nContent-Length: 0\r\n\r\n")
}
