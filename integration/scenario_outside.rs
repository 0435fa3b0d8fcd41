//! What a stranger sees who attacks the first flight of VMess: of mobula, V2Ray and sing-box, in a table.
//!
//! The table of `docs/reliability.md` is what this suite has seen; `WRITE_EXPECTED=1 cargo test --test integration
//! scenario_outside` writes it anew. What is promised of mobula is asserted by itself: all that is refused looks alike, in
//! bytes and in time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use mobula::address::Destination;
use mobula::protocol::vmess::codec::auth_id::{CmdKey, Writer};
use mobula::protocol::vmess::codec::body::{Cipher, MAX_OVERHEAD, Sealer};
use mobula::protocol::vmess::codec::header::{self, Command, PREFIX, Request, option};
use mobula::protocol::vmess::codec::response::Keys;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::configs::{Early, ID, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, root};
use crate::traffic;

const SERVERS: [Peer; 3] = [Mobula, V2ray445, SingBox];

/// How long a stranger waits: longer than a handshake may take here.
const PATIENCE: Duration = Duration::from_secs(9);

/// What ends before this has not waited for a time to be up.
const AT_ONCE: Duration = Duration::from_millis(2500);

/// A first flight, and where its parts are.
#[derive(Clone)]
struct Flight {
    bytes: Vec<u8>,
    /// Where the header ends.
    header: usize,
}

/// A stranger's way to get one.
struct Forge {
    key: CmdKey,
    auth_ids: Writer,
    to: SocketAddr,
}

impl Forge {
    fn of(id: &str, to: SocketAddr) -> Self {
        let key = CmdKey::new(&id.parse().expect("an id"));
        let auth_ids = Writer::new(&key);
        Self { key, auth_ids, to }
    }

    /// A flight of a clock that is `skew` seconds before ours.
    fn flight(&self, skew: i64) -> Flight {
        let chance = uuid::Uuid::new_v4().into_bytes();
        let request = Request {
            iv: chance,
            key: uuid::Uuid::new_v4().into_bytes(),
            v: chance[0],
            options: option::CHUNKS | option::MASKING,
            cipher: Cipher::Aes128Gcm,
            marks_ends: false,
            padding: Default::default(),
            command: Command::Stream(Destination::from(self.to)),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("a time");
        let random = [chance[1], chance[2], chance[3], chance[4]];
        let auth_id = self.auth_ids.seal(now + skew, random);
        let nonce = std::array::from_fn(|i| chance[5 + i]);
        let mut plain = BytesMut::new();
        request.encode(&[], &mut plain).expect("an address");
        let mut bytes = header::seal(&self.key, &auth_id, &nonce, &plain).to_vec();
        let header = bytes.len();
        let (key, iv) = (request.key, request.iv);
        let keys = Keys { key, iv };
        let mut chunk = vec![0; WORD.len() + MAX_OVERHEAD];
        let mut sealer = Sealer::new(request.framing(), &keys, &keys);
        let len = sealer.seal(WORD, &mut chunk, &mut |padding| padding.fill(0));
        bytes.extend(&chunk[..len]);
        Flight { bytes, header }
    }
}

const WORD: &[u8] = b"a word for the echo";

/// What comes of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// Bytes came.
    Answered,
    /// It was closed while a client would still speak.
    ClosedAtOnce,
    ResetAtOnce,
    /// No byte, and an end when some time was up.
    Silence,
    /// The same with a reset.
    SilenceAndReset,
    /// No byte and no end.
    Open,
}

impl Seen {
    fn words(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ClosedAtOnce => "closed at once",
            Self::ResetAtOnce => "reset at once",
            Self::Silence => "silence",
            Self::SilenceAndReset => "silence, then a reset",
            Self::Open => "silence without an end",
        }
    }
}

/// Sends `bytes` behind `before`, which is answered with a head, and waits for what comes of it.
async fn see(port: u16, before: Option<String>, bytes: Vec<u8>, ends: bool) -> (Seen, Duration) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = stream.expect("it listens");
    let began = Instant::now();
    if let Some(before) = before {
        stream.write_all(before.as_bytes()).await.expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, stream.read_u8()).await {
                Ok(Ok(byte)) => head.push(byte),
                _ => return (Seen::ClosedAtOnce, began.elapsed()),
            }
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101 "),
            "{}",
            head.escape_ascii()
        );
    }
    // Who is closed in the middle of it may not get all of it out.
    let _ = stream.write_all(&bytes).await;
    if ends {
        let _ = stream.shutdown().await;
    }
    let mut answer = [0; 64];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await;
    let took = began.elapsed();
    let is_at_once = took < AT_ONCE;
    let seen = match read {
        Err(_) => Seen::Open,
        // A Close frame of a WebSocket is an end.
        Ok(Ok(n)) if n > 0 && !answer.starts_with(&[0x88]) => Seen::Answered,
        Ok(Ok(_)) if is_at_once => Seen::ClosedAtOnce,
        Ok(Ok(_)) => Seen::Silence,
        Ok(Err(_)) if is_at_once => Seen::ResetAtOnce,
        Ok(Err(_)) => Seen::SilenceAndReset,
    };
    (seen, took)
}

/// What is done to a server, and whether mobula's promise is that it looks as all other refusals.
struct Attack {
    name: String,
    is_refused: bool,
    /// What is sent, each on a connection of its own, and whether the stranger ends its side then.
    sent: Vec<(Vec<u8>, bool)>,
}

/// All at a time: what is sent in one attack is told apart by nothing but its bytes.
fn attacks(forge: &Forge, spent: &Flight) -> Vec<Attack> {
    let own = |skew| forge.flight(skew).bytes;
    let mut attacks = Vec::new();
    let mut add = |name: &str, is_refused, sent: Vec<Vec<u8>>| {
        let sent = sent.into_iter().map(|bytes| (bytes, false)).collect();
        attacks.push(Attack {
            name: name.to_owned(),
            is_refused,
            sent,
        });
    };
    add("a client of ours", false, vec![own(0)]);
    add("a clock that is 90 s off", false, vec![own(-90), own(90)]);
    add(
        "a clock that is 10 min off",
        true,
        vec![own(-600), own(600)],
    );
    let nobody = Forge::of("5783a3e7-e373-51cd-8642-c83782b807c5", forge.to);
    add("the id of nobody", true, vec![nobody.flight(0).bytes]);
    add("a recorded flight, again", true, vec![spent.bytes.clone()]);
    // The window of auth ids is two minutes wide.
    add("a recorded flight, after the window", true, vec![own(-180)]);
    for (name, from, to) in [
        ("auth id", 0, 16),
        ("sealed length", 16, 18),
        ("tag of the length", 18, 34),
        ("nonce", 34, PREFIX),
        ("sealed header", PREFIX, spent.header - 16),
        ("tag of the header", spent.header - 16, spent.header),
    ] {
        let flips = [from, (from + to) / 2, to - 1].map(|at| {
            let mut bytes = own(0);
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        add(&format!("a flipped bit: {name}"), true, flips.to_vec());
    }
    let random = [1, 15, 16, 17, 42, 60, 500].map(traffic::bytes);
    add("random bytes, up to 500", true, random.to_vec());
    add(
        "random bytes, 64 KiB",
        true,
        vec![traffic::bytes(64 * 1024)],
    );
    let cut = |len: usize| own(0)[..len].to_vec();
    let lengths = 1..spent.header;
    let name = format!("cut off at each of its {} lengths", lengths.len());
    add(&name, true, lengths.clone().map(cut).collect());
    attacks.push(Attack {
        name: "the same, and the stranger has ended".to_owned(),
        is_refused: false,
        sent: lengths.map(|len| (cut(len), true)).collect(),
    });
    attacks
}

/// Over WebSocket, in the request itself.
fn early(forge: &Forge, spent: &Flight) -> Vec<(&'static str, bool, Vec<u8>)> {
    let nobody = Forge::of("5783a3e7-e373-51cd-8642-c83782b807c5", forge.to);
    let mut flipped = forge.flight(0).bytes;
    flipped[50] ^= 4;
    vec![
        ("early data: a client of ours", false, forge.flight(0).bytes),
        ("early data: the id of nobody", true, nobody.flight(0).bytes),
        ("early data: recorded, again", true, spent.bytes.clone()),
        ("early data: a flipped bit", true, flipped),
        (
            "early data: cut off",
            true,
            forge.flight(0).bytes[..50].to_vec(),
        ),
    ]
}

fn upgrade(flight: &[u8]) -> String {
    format!(
        "GET /ray HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        URL_SAFE_NO_PAD.encode(flight)
    )
}

/// What came of one attack on each server.
struct Row {
    name: String,
    is_refused: bool,
    seen: Vec<Vec<(Seen, Duration)>>,
}

impl Row {
    fn cell(&self, server: usize) -> String {
        let kinds: BTreeSet<Seen> = self.seen[server].iter().map(|(seen, _)| *seen).collect();
        let words: Vec<_> = kinds.into_iter().map(Seen::words).collect();
        words.join(", or ")
    }
}

async fn all(attacks: Vec<Attack>, port: u16) -> Vec<Vec<(Seen, Duration)>> {
    let mut tasks = JoinSet::new();
    let mut rows: Vec<_> = attacks
        .iter()
        .map(|attack| Vec::with_capacity(attack.sent.len()))
        .collect();
    for (index, attack) in attacks.into_iter().enumerate() {
        for (bytes, ends) in attack.sent {
            tasks.spawn(async move { (index, see(port, None, bytes, ends).await) });
        }
    }
    while let Some(done) = tasks.join_next().await {
        let (index, seen) = done.expect("it was seen");
        rows[index].push(seen);
    }
    rows
}

/// A handshake may take as long as a test has patience for; by default it is a minute, as in V2Ray.
fn patient(peer: Peer, mut config: Value) -> Value {
    if peer.reads_v2ray_json() {
        config["policy"]["levels"]["0"]["handshake"] = json!(4);
    }
    config
}

/// All that is seen of all servers.
async fn rows() -> Vec<Row> {
    let to = traffic::echo().await;
    let mut rows: Vec<Row> = Vec::new();
    let mut put =
        |name: String, is_refused, seen| match rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.seen.push(seen),
            None => rows.push(Row {
                name,
                is_refused,
                seen: vec![seen],
            }),
        };
    for peer in SERVERS {
        let mut stage = Stage::new();
        let (port, ws) = (free_port(), free_port());
        let config = patient(peer, Vmess::tcp().server(peer, port));
        let running = stage.run(peer, "server", &config, &[port]).await;
        let forge = Forge::of(ID, to);
        let spent = forge.flight(0);
        let (first, _) = see(port, None, spent.bytes.clone(), false).await;
        assert_eq!(first, Seen::Answered, "{peer:?}");
        let told: Vec<_> = attacks(&forge, &spent)
            .iter()
            .map(|a| (a.name.clone(), a.is_refused))
            .collect();
        let seen = all(attacks(&forge, &spent), port).await;
        for ((name, is_refused), seen) in told.into_iter().zip(seen) {
            put(name, is_refused, seen);
        }
        // A bit behind the header: the session is there, and broken.
        let mut late = forge.flight(0);
        let last = late.bytes.len() - 1;
        late.bytes[last] ^= 1;
        let seen = see(port, None, late.bytes, false).await;
        put(
            "a flipped bit: first chunk of the body".to_owned(),
            false,
            vec![seen],
        );
        let spent = forge.flight(0);
        see(port, None, spent.bytes.clone(), false).await;
        stage.child(running).signal("KILL");
        stage.child(running).ended(traffic::LIMIT).await;
        stage.run(peer, "again", &config, &[port]).await;
        let seen = see(port, None, spent.bytes, false).await;
        put(
            "a recorded flight, after a restart".to_owned(),
            false,
            vec![seen],
        );

        let vmess = Vmess::ws_early(Early::Header("Sec-WebSocket-Protocol"));
        let config = patient(peer, vmess.server(peer, ws));
        stage.run(peer, "ws", &config, &[ws]).await;
        let spent = forge.flight(0);
        let (first, _) = see(ws, Some(upgrade(&spent.bytes)), Vec::new(), false).await;
        assert_eq!(first, Seen::Answered, "{peer:?}");
        let mut tasks = JoinSet::new();
        for (index, (name, is_refused, flight)) in early(&forge, &spent).into_iter().enumerate() {
            tasks.spawn(async move {
                let seen = see(ws, Some(upgrade(&flight)), Vec::new(), false).await;
                (index, name, is_refused, seen)
            });
        }
        let mut done = tasks.join_all().await;
        done.sort_by_key(|(index, ..)| *index);
        for (_, name, is_refused, seen) in done {
            put(name.to_owned(), is_refused, vec![seen]);
        }
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let mut text = "| attack | mobula | V2Ray 4.45 | sing-box |\n|---|---|---|---|\n".to_owned();
    for row in rows {
        let [a, b, c] = [0, 1, 2].map(|server| row.cell(server));
        let _ = writeln!(text, "| {} | {a} | {b} | {c} |", row.name);
    }
    text
}

/// Half of these took less.
fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_looks_alike_and_the_document_says_how_others_look() {
    let rows = rows().await;
    let refused: Vec<&Row> = rows.iter().filter(|row| row.is_refused).collect();
    assert!(refused.len() > 15);
    for row in &refused {
        let is_alike = row.seen[0].iter().all(|(seen, _)| *seen == Seen::Silence);
        assert!(is_alike, "{}: {}", row.name, row.cell(0));
    }
    // A timer ends each; what is done about it takes no time that could be told.
    let usual = median(
        refused
            .iter()
            .flat_map(|row| row.seen[0].iter().map(|(_, took)| *took)),
    );
    for row in &refused {
        let took = median(row.seen[0].iter().map(|(_, took)| *took));
        assert!(
            took.abs_diff(usual) < NOISE,
            "{}: {took:?}, others {usual:?}",
            row.name
        );
    }
    for row in &rows {
        println!("{} {:?}", row.name, row.seen);
    }
    is_in_the_document("flights", &table(&rows));
}

/// On a machine that does other things.
const NOISE: Duration = Duration::from_millis(700);

/// Compares a table with what stands between the marks of `name` in the document, or writes it there.
pub fn is_in_the_document(name: &str, table: &str) {
    let file = root().join("docs/reliability.md");
    let text = fs::read_to_string(&file).expect("it is there");
    let (begin, end) = (format!("<!-- {name}: -->\n"), format!("<!-- :{name} -->"));
    let (before, rest) = text.split_once(&begin).expect("where the table begins");
    let (there, after) = rest.split_once(&end).expect("where the table ends");
    println!("{table}");
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        let text = format!("{before}{begin}{table}{end}{after}");
        fs::write(&file, text).expect("the document can be written");
        return;
    }
    let differs = there
        .lines()
        .zip(table.lines())
        .find(|(there, seen)| there != seen);
    assert!(
        there == table,
        "docs/reliability.md says, and seen was: {differs:?}"
    );
}
