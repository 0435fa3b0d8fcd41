//! Everything at once and for a long time: whatever comes through is what was sent, and nothing stays behind.
//!
//! Two clients share a server. Applications use them for streams, half-closes, datagrams and mux, and break off
//! in the middle; strangers disturb the server; one client is killed again and again. SHA-256 watches every
//! stream. When all have gone, server and surviving client must have the memory and the files that they had
//! after the first minute.
//!
//! ```sh
//! MOBULA_SOAK_SECONDS=3600 cargo test --test integration soak -- --ignored --nocapture
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port};
use crate::traffic::{self, LIMIT, To};

/// Without the variable; what CI runs.
const SECONDS: u64 = 180;

/// The longest stream.
const MOST: u64 = 1 << 20;

/// Applications of each way through the client that lives, and of that which does not.
const APPLICATIONS: [usize; 2] = [2, 1];

/// How the applications fared.
#[derive(Default)]
struct Tally {
    bytes: AtomicU64,
    streams: AtomicU64,
    datagrams: AtomicU64,
    broken: AtomicU64,
    kills: AtomicU64,
}

/// Where the applications' targets are.
#[derive(Clone, Copy)]
struct Targets {
    echo: SocketAddr,
    digester: SocketAddr,
    datagrams: SocketAddr,
}

/// The ways through a client: an inbound for each outbound.
const WAYS: [&str; 4] = ["tcp", "ws", "wss", "mux"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes: integration/test runs it beside the other steps"]
async fn soak() {
    let seconds = std::env::var("MOBULA_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let mut world = World::start().await;
    // Whatever is built once or kept for the next is there then.
    let warm_up = Duration::from_secs((seconds / 4).clamp(10, 60));
    world.play(warm_up).await;
    let before = world.at_rest(None).await;
    println!("at rest after {} s: {before:?}", warm_up.as_secs());
    let left = seconds.saturating_sub(world.began.elapsed().as_secs());
    world.play(Duration::from_secs(left.max(20))).await;
    let after = world.at_rest(Some(&before)).await;
    let Tally {
        bytes,
        streams,
        datagrams,
        broken,
        kills,
    } = &*world.tally;
    let [bytes, streams, datagrams, broken, kills] =
        [bytes, streams, datagrams, broken, kills].map(|n| n.load(Ordering::Relaxed));
    println!("at rest at the end: {after:?}");
    println!(
        "{} MiB in {streams} streams and {datagrams} datagrams arrived whole; a client was killed {kills} times, \
         which broke {broken} streams",
        bytes >> 20
    );
    assert!(
        streams > 50 && datagrams > 20 && kills > 1,
        "too little went on"
    );
}

struct World {
    stage: Stage,
    /// Server, the client that lives, the one that does not.
    server: usize,
    lives: usize,
    dies: usize,
    dying: Value,
    ports: [[u16; 4]; 2],
    server_ports: [u16; 3],
    targets: Targets,
    tally: Arc<Tally>,
    seed: u64,
    began: Instant,
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    kib: u64,
    files: usize,
}

impl World {
    async fn start() -> Self {
        let mut stage = Stage::new();
        let server_ports = [free_port(), free_port(), free_port()];
        let kinds = [Vmess::tcp(), Vmess::ws(), Vmess::wss(&stage)];
        let of = |index: usize| kinds[index].server(Mobula, server_ports[index]);
        let mut config = quiet(of(0));
        config["inbounds"] = (0..3).map(|i| of(i)["inbounds"][0].clone()).collect();
        let server = stage.run(Mobula, "server", &config, &server_ports).await;
        let ports = [(); 2].map(|()| [(); 4].map(|()| free_port()));
        let [living, dying] = ports.map(|ports| client(&kinds, ports, server_ports));
        let lives = stage.run(Mobula, "lives", &living, &ports[0]).await;
        let dies = stage.run(Mobula, "dies", &dying, &ports[1]).await;
        let targets = Targets {
            echo: traffic::echo().await,
            digester: traffic::digester().await,
            datagrams: traffic::udp_echo().await,
        };
        Self {
            stage,
            server,
            lives,
            dies,
            dying,
            ports,
            server_ports,
            targets,
            tally: Arc::default(),
            seed: 1,
            began: Instant::now(),
        }
    }

    /// Lets everybody loose for a while, and waits for the last of them.
    async fn play(&mut self, time: Duration) {
        let until = Instant::now() + time;
        let mut all = JoinSet::new();
        for (mortal, ports) in self.ports.into_iter().enumerate() {
            for port in ports {
                for _ in 0..APPLICATIONS[mortal] {
                    self.seed += 1;
                    let application = Application {
                        chance: Chance(self.seed * 0x9e37_79b9),
                        proxy: port,
                        targets: self.targets,
                        tally: self.tally.clone(),
                        is_mortal: mortal == 1,
                    };
                    all.spawn(application.run(until));
                }
            }
        }
        self.seed += 1;
        all.spawn(disturb(Chance(self.seed), self.server_ports, until));
        let mut chance = Chance(self.seed);
        while Instant::now() + Duration::from_secs(3) < until {
            sleep(Duration::from_millis(1500 + chance.below(2500))).await;
            let dying = self.stage.child(self.dies);
            dying.signal("KILL");
            dying.ended(LIMIT).await;
            self.tally.kills.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(chance.below(300))).await;
            self.dies = self
                .stage
                .run(Mobula, "dies", &self.dying, &self.ports[1])
                .await;
        }
        while let Some(ended) = all.join_next().await {
            ended.expect("all that arrives is what was sent");
        }
    }

    /// Waits until server and client hold about what they held `before`; without it, as long as they
    /// take to clear up.
    async fn at_rest(&mut self, before: Option<&[Holdings; 2]>) -> [Holdings; 2] {
        let began = Instant::now();
        loop {
            sleep(Duration::from_secs(1)).await;
            let now = [self.server, self.lives].map(|index| {
                let child = self.stage.child(index);
                Holdings {
                    kib: child.resident_kib(),
                    files: child.open_files(),
                }
            });
            match before {
                None if began.elapsed() > CLEARS_UP => return now,
                Some(before) if now.iter().zip(before).all(|(n, b)| n.is_within(b)) => return now,
                Some(before) if began.elapsed() > 3 * CLEARS_UP => {
                    panic!("server and client have {now:?} at rest, and had {before:?}")
                }
                _ => {}
            }
        }
    }
}

/// Idle links end, and free memory is given back, within this time.
const CLEARS_UP: Duration = Duration::from_secs(22);

impl Holdings {
    /// A tenth more is let pass: first flights are remembered for up to eight minutes, and the heap of a process that was busy for
    /// three has holes.
    fn is_within(&self, before: &Self) -> bool {
        10 * self.kib <= 11 * before.kib && 10 * self.files <= 11 * before.files
    }
}

/// Without a line for each session, and with idle links that end soon.
fn quiet(mut config: Value) -> Value {
    config["log"] = json!({"loglevel": "warning", "access": "none"});
    config["policy"]["levels"]["0"]["connIdle"] = json!(8);
    config
}

fn client(kinds: &[Vmess; 3], ports: [u16; 4], servers: [u16; 3]) -> Value {
    let mut config = quiet(kinds[0].client(Mobula, ports[0], servers[0]));
    let (mut inbounds, mut outbounds, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    for (index, way) in WAYS.into_iter().enumerate() {
        // The fourth one is WebSocket again, with many sessions in a link.
        let kind = if way == "mux" { 1 } else { index };
        let whole = kinds[kind].client(Mobula, ports[index], servers[kind]);
        let (mut inbound, mut outbound) =
            (whole["inbounds"][0].clone(), whole["outbounds"][0].clone());
        if way == "mux" {
            outbound["mux"] = json!({"enabled": true, "concurrency": 4});
        }
        inbound["tag"] = json!(format!("from-{way}"));
        outbound["tag"] = json!(format!("by-{way}"));
        let rule = json!({"type": "field", "inboundTag": [format!("from-{way}")],
            "outboundTag": format!("by-{way}")});
        inbounds.push(inbound);
        outbounds.push(outbound);
        rules.push(rule);
    }
    config["inbounds"] = inbounds.into();
    config["outbounds"] = outbounds.into();
    config["routing"] = json!({"rules": rules});
    config
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Why a session ended early.
type Broken = std::io::Error;

struct Application {
    chance: Chance,
    proxy: u16,
    targets: Targets,
    tally: Arc<Tally>,
    /// Its client may be killed at any moment.
    is_mortal: bool,
}

impl Application {
    async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            let session = timeout(2 * LIMIT, self.session()).await;
            match session.expect("a session does not hang") {
                Ok(()) => {}
                Err(_) if self.is_mortal => {
                    self.tally.broken.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => panic!("a session through a client that lives broke off: {e}"),
            }
            // CI does other things at the same time.
            sleep(Duration::from_millis(50 + self.chance.below(250))).await;
        }
    }

    async fn session(&mut self) -> Result<(), Broken> {
        let len = 1 + self.chance.below(MOST);
        match self.chance.below(10) {
            0..3 => self.echoes(len).await,
            3..6 => self.ends_first(len).await,
            6..8 => self.datagrams().await,
            8 => self.breaks_off(len).await,
            _ => self.pauses().await,
        }
    }

    /// There and back at the same time.
    async fn echoes(&self, len: u64) -> Result<(), Broken> {
        let data = traffic::bytes(len as usize);
        let mut stream = traffic::connect(self.proxy, &To::Ip(self.targets.echo)).await?;
        let (mut read, mut write) = stream.split();
        let send = async {
            write.write_all(&data).await?;
            write.shutdown().await
        };
        let receive = async {
            let mut back = Vec::new();
            // A reset in the middle is an error; an end in the middle would be a lie.
            read.read_to_end(&mut back).await?;
            Ok(back)
        };
        let ((), back) = tokio::try_join!(send, receive)?;
        self.same(&back, &data)?;
        self.arrived(2 * len)
    }

    /// A half-close: the answer comes after our end.
    async fn ends_first(&self, len: u64) -> Result<(), Broken> {
        let data = traffic::bytes(len as usize);
        let mut stream = traffic::connect(self.proxy, &To::Ip(self.targets.digester)).await?;
        stream.write_all(&data).await?;
        stream.shutdown().await?;
        let mut digest = Vec::new();
        stream.read_to_end(&mut digest).await?;
        if self.is_mortal && digest.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        assert_eq!(digest, traffic::sha256(&data), "{len} bytes came changed");
        self.arrived(len)
    }

    async fn datagrams(&mut self) -> Result<(), Broken> {
        if self.is_mortal {
            // An association that dies says nothing about it.
            return self.pauses().await;
        }
        let (association, relay) = traffic::associate(self.proxy).await;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut buf = vec![0; 4096];
        for _ in 0..8 {
            let data = traffic::bytes(1 + self.chance.below(1400) as usize);
            let datagram = traffic::datagram(&To::Ip(self.targets.datagrams), &data);
            let n = traffic::answered(&socket, relay, &datagram, &mut buf).await;
            // An answer to an earlier try may still have been on its way.
            let sent = n == datagram.len();
            assert!(!sent || buf[..n] == datagram, "a datagram came changed");
            self.tally.datagrams.fetch_add(1, Ordering::Relaxed);
        }
        drop(association);
        Ok(())
    }

    /// Gone in the middle of it, with a reset.
    async fn breaks_off(&mut self, len: u64) -> Result<(), Broken> {
        let mut stream = traffic::connect(self.proxy, &To::Ip(self.targets.echo)).await?;
        let data = traffic::bytes(len as usize);
        let some = Duration::from_millis(self.chance.below(50));
        let _ = timeout(some, stream.write_all(&data)).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    async fn pauses(&mut self) -> Result<(), Broken> {
        let mut stream = traffic::connect(self.proxy, &To::Ip(self.targets.echo)).await?;
        for _ in 0..3 {
            let data = traffic::bytes(1 + self.chance.below(4000) as usize);
            let mut back = vec![0; data.len()];
            stream.write_all(&data).await?;
            stream.read_exact(&mut back).await?;
            self.same(&back, &data)?;
            sleep(Duration::from_millis(self.chance.below(1200))).await;
        }
        self.arrived(0)
    }

    /// Streams whose client was killed may be short, but what has arrived is right.
    fn same(&self, back: &[u8], data: &[u8]) -> Result<(), Broken> {
        let is_begin = back.len() < data.len() && *back == data[..back.len()];
        if self.is_mortal && is_begin {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        assert_eq!(
            back.len(),
            data.len(),
            "a stream was cut off and looks whole"
        );
        assert_eq!(traffic::sha256(back), traffic::sha256(data));
        Ok(())
    }

    fn arrived(&self, bytes: u64) -> Result<(), Broken> {
        self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tally.streams.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Strangers at the server's ports, a few at a time.
async fn disturb(mut chance: Chance, ports: [u16; 3], until: Instant) {
    let mut held = Vec::new();
    while Instant::now() < until {
        let port = ports[chance.below(3) as usize];
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            let garbage = traffic::bytes(chance.below(200) as usize);
            let _ = stream.write_all(&garbage).await;
            held.push(stream);
        }
        if held.len() > 20 {
            held.swap_remove(chance.below(20) as usize);
        }
        sleep(Duration::from_millis(100)).await;
    }
}
