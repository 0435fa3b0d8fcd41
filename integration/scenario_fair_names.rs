//! Names that no DNS server answers for: one user who asks for thousands of them delays nobody else, and not
//! what is in a hosts file.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::{RData, Record, RecordType};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::configs::Vmess;
use crate::peers::Peer::Mobula;
use crate::peers::free_port;
use crate::traffic::{self, To};
use crate::world::{self, ABROAD, NAS, SERVER_NAME, SERVERS, World};

/// Answers for `*.live.test`; for all other names it is silent.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

const OTHER_ID: &str = "5783a3e7-e373-51cd-8642-c83782b807c5";

/// A moment that nobody minds.
const MOMENT: Duration = Duration::from_secs(3);

#[test]
fn dead_names_of_one_user_delay_nobody_else() {
    for (what, keys, sessions) in [
        ("the system's resolver", json!({}), 600),
        (
            "the DNS server 127.0.0.53",
            json!({
                "dns": {"servers": ["127.0.0.53"], "hosts": {"nas.home": NAS.to_string()}},
                "routing": {"domainStrategy": "IPIfNonMatch", "rules": [
                    {"type": "field", "ip": ["10.9.9.9"], "outboundTag": "nowhere"},
                ]},
            }),
            3000,
        ),
    ] {
        world::run(async |mut world| {
            settle(&world).await;
            let [quiet, greedy] = tunnel(&mut world, &keys).await;
            let _sessions = dead_sessions(greedy, sessions).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            for n in 0..5 {
                is_quick(&world, quiet, &name(&format!("a{n}.live.test")), ABROAD).await;
                is_quick(&world, quiet, &To::Name("nas.home", 80), NAS).await;
                is_quick(&world, greedy, &To::Name("nas.home", 80), NAS).await;
            }
            // The line is due when somebody has waited for long.
            let line = "user greedy@mobula.test waits for ";
            let log = world.stage.until_file_has("server.log", line).await;
            assert!(log.contains(&format!("answers of {what}")), "{log}");
            let lines = log
                .lines()
                .filter(|line| line.contains("names are not resolved"));
            assert!(lines.count() <= 2, "one line for each resolver: {log}");
        });
    }
}

/// Each association asks for one name at a time.
#[test]
fn datagrams_to_dead_names_delay_nobody_else() {
    world::run(async |mut world| {
        settle(&world).await;
        let [quiet, greedy] = tunnel(&mut world, &json!({})).await;
        let mut associations = Vec::new();
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        for n in 0..300 {
            let (association, relay) = traffic::associate(greedy).await;
            let word = traffic::datagram(&name(&format!("n{n}.dead.test")), b"a word");
            socket.send_to(&word, relay).await.expect("UDP sends");
            associations.push(association);
        }
        for n in 0..5 {
            is_quick(&world, quiet, &name(&format!("a{n}.live.test")), ABROAD).await;
            is_quick(&world, quiet, &To::Name("nas.home", 80), NAS).await;
        }
        let line = "user greedy@mobula.test waits for ";
        world.stage.until_file_has("server.log", line).await;
    });
}

/// A client that goes straight to some targets, and finds its server by name.
#[test]
fn dead_names_do_not_hide_the_name_of_a_server() {
    world::run(async |mut world| {
        settle(&world).await;
        let (port, socks) = (free_port(), free_port());
        let at = SocketAddr::from((SERVERS[0], port));
        let mut server = Vmess::ws().server(Mobula, port);
        server["inbounds"][0]["listen"] = json!(SERVERS[0].to_string());
        run(&mut world, "server", &server, at).await;
        let mut client = Vmess::ws().client(Mobula, socks, port);
        // So that they can be asked for without waiting for one another.
        client["inbounds"][0]["settings"]["waitForConnect"] = json!(false);
        client["outbounds"][0]["settings"]["vnext"][0]["address"] =
            json!(format!("{SERVER_NAME}.live.test"));
        client["outbounds"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"tag": "direct", "protocol": "freedom"}));
        client["routing"] = json!({"rules": [
            {"type": "field", "domain": ["domain:dead.test"], "outboundTag": "direct"},
        ]});
        run(
            &mut world,
            "client",
            &client,
            (Ipv4Addr::LOCALHOST, socks).into(),
        )
        .await;
        let _sessions = dead_sessions(socks, 600).await;
        for n in 0..3 {
            tokio::time::sleep(MOMENT / 4).await;
            is_quick(&world, socks, &name(&format!("a{n}.live.test")), ABROAD).await;
        }
    });
}

/// Two users of one server, each by a client of their own; where these listen.
async fn tunnel(world: &mut World, keys: &Value) -> [u16; 2] {
    let port = free_port();
    let mut server = Vmess::ws().server(Mobula, port);
    server["log"] = json!({"loglevel": "warning", "access": "none"});
    let greedy = json!({"id": OTHER_ID, "email": "greedy@mobula.test"});
    let clients = server["inbounds"][0]["settings"]["clients"].as_array_mut();
    clients.expect("a list of users").push(greedy);
    let nowhere = json!({"tag": "nowhere", "protocol": "blackhole"});
    server["outbounds"]
        .as_array_mut()
        .expect("a list")
        .push(nowhere);
    for (key, value) in keys.as_object().expect("keys") {
        server[key] = value.clone();
    }
    run(world, "server", &server, (Ipv4Addr::LOCALHOST, port).into()).await;
    let ports = [free_port(), free_port()];
    for (socks, id) in ports.iter().zip([None, Some(OTHER_ID)]) {
        let mut client = Vmess::ws().client(Mobula, *socks, port);
        client["log"] = json!({"loglevel": "warning", "access": "none"});
        if let Some(id) = id {
            client["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = json!(id);
        }
        let name = if id.is_some() { "greedy" } else { "quiet" };
        run(world, name, &client, (Ipv4Addr::LOCALHOST, *socks).into()).await;
    }
    ports
}

async fn run(world: &mut World, name: &str, config: &Value, at: SocketAddr) {
    let path = world
        .stage
        .write(&format!("{name}.json"), config.to_string());
    world.publish(Mobula, &path, &[at.port()]).await;
}

/// Sessions to a dead name each.
async fn dead_sessions(socks: u16, count: usize) -> Vec<TcpStream> {
    let mut opening = JoinSet::new();
    let mut open = Vec::new();
    for n in 0..count {
        opening.spawn(async move {
            let mut stream = traffic::connect(socks, &name(&format!("n{n}.dead.test"))).await?;
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await?;
            Ok::<_, std::io::Error>(stream)
        });
        if n % 50 == 49 {
            while let Some(stream) = opening.join_next().await {
                open.push(stream.expect("no panic").expect("SOCKS grants it"));
            }
        }
    }
    open
}

fn name(text: &str) -> To {
    To::Name(text.to_owned().leak(), 80)
}

async fn is_quick(world: &World, socks: u16, to: &To, at: Ipv4Addr) {
    let begin = Instant::now();
    let seen = world.seen(socks, to).await;
    let waited = begin.elapsed();
    let To::Name(name, _) = to else {
        panic!("it is about names")
    };
    // On loopback who asks has the address of whom it asks.
    assert_eq!(seen, Some(at.into()), "{name}");
    assert!(waited < MOMENT, "{name} took {waited:?}");
}

/// Who answers for names in this world.
async fn settle(world: &World) {
    let write = |name: &str, text: &str| {
        // The same file, for it is mounted where the system looks.
        fs::write(world.stage.path(name), text).expect("the test's folder is ours");
    };
    write("resolv.conf", "nameserver 127.0.0.53\n");
    write("hosts", &format!("127.0.0.1 localhost\n{NAS} nas.home\n"));
    let socket = UdpSocket::bind((NAME_SERVER, 53))
        .await
        .expect("a world of one's own");
    tokio::spawn(async move {
        let mut buf = [0; 1024];
        while let Ok((n, from)) = socket.recv_from(&mut buf).await {
            if let Some(reply) = reply(&buf[..n]) {
                let _ = socket.send_to(&reply, from).await;
            }
        }
    });
}

fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let name = question.name.to_ascii();
    if !name.trim_end_matches('.').ends_with(".live.test") {
        return None;
    }
    let ip = if name.starts_with(SERVER_NAME) {
        SERVERS[0]
    } else {
        ABROAD
    };
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.add_query(question.clone());
    if question.query_type == RecordType::A {
        let record = Record::from_rdata(question.name, 300, RData::A(ip.into()));
        reply.answers.push(record);
    }
    reply.to_vec().ok()
}
