//! `mobula backend` and the fronts that connect to it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::configs::Certificate;
use crate::peers::{Stage, free_port, mobula, system};
use crate::probing::{
    FILE, Front, Site, backend, cell, dead, front, request, run, servers, signed, slots,
};

const ALL_PINGS: [&str; 9] = [
    "TEST_PING_RTT",
    "TEST_PING_CONN",
    "TEST_PING_MAX_RTT",
    "TEST_PING_TOTAL_RTT",
    "TEST_PING_TOTAL_CONN",
    "TEST_PING_SD_RTT",
    "TEST_PING_SD_CONN",
    "TEST_HTTP_CODE",
    "TEST_PING_PACKET_LOSS",
];

fn quick(site: &Site) -> Value {
    json!({"PingAddress": site.url("/204"), "PingAverageOver": 1, "TaskTimeout": 2000})
}

/// The library that FullTclash's author publishes, with Python's own form of each node.
#[tokio::test]
async fn a_front_of_miaospeed_tests_nodes_through_servers_of_other_programs() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let port = backend(&mut stage, &["--path", "/don't set/a simple path"]).await;
    let mut nodes = servers(&mut stage).await;
    let alive = nodes.len();
    let dead = dead(&site).await;
    nodes.extend(dead.iter().map(|(node, _)| node.clone()));
    for version in [1, 2, 3] {
        let messages = front(
            port,
            json!({"path": "/don't set/a simple path", "nodes": nodes, "matrices": &ALL_PINGS[..8],
                   "configs": {"PingAddress": site.url("/204"), "PingAverageOver": 3, "TaskTimeout": 4000, "ApiVersion": version}}),
        )
        .await;
        let first = usize::from(version == 2);
        assert_eq!(
            messages.len(),
            first + nodes.len() + 1,
            "one for each node, and the result"
        );
        let mut indexes: Vec<_> = messages[first..nodes.len() + first]
            .iter()
            .map(|message| message["Progress"]["Index"].as_u64().unwrap())
            .collect();
        indexes.sort_unstable();
        assert_eq!(indexes, (0..nodes.len() as u64).collect::<Vec<_>>());
        let slots = slots(&messages);
        for (n, (slot, node)) in slots.iter().zip(&nodes).enumerate() {
            assert_eq!(
                slot["ProxyInfo"]["Name"], node["name"],
                "in the order of the request"
            );
            let rtts = cell(slot, "TEST_PING_TOTAL_RTT")["Values"]
                .as_array()
                .cloned();
            let codes = cell(slot, "TEST_HTTP_CODE")["Values"].clone();
            if n < alive {
                assert_eq!(codes, json!([204, 204, 204]), "{slot}");
                assert!(
                    rtts.unwrap().iter().all(|rtt| rtt.as_u64() > Some(0)),
                    "{slot}"
                );
                assert!(
                    cell(slot, "TEST_PING_CONN")["Value"].as_u64() > Some(0),
                    "{slot}"
                );
            } else {
                assert_eq!(cell(slot, "TEST_PING_RTT")["Value"], 0, "{slot}");
            }
        }
        let request = &messages.last().unwrap()["Result"]["Request"];
        assert_eq!(
            (&request["Challenge"], &request["Vendor"]),
            (&json!(""), &json!("Clash"))
        );
    }
    let log = stage
        .until_file_has("backend.log", "4 of 10 nodes answer")
        .await;
    assert!(
        !log.contains("b831381d") && !log.contains("a long token"),
        "{log}"
    );
    // A wrong token is a sign of life, too.
    for token in ["a long token", "another"] {
        let asked = json!({"alive": true, "path": "/don't set/a simple path", "token": token});
        assert_eq!(front(port, asked).await, [json!(true)]);
    }
    assert_eq!(
        front(port, json!({"alive": true})).await,
        [json!(false)],
        "another path"
    );
    let wrong = json!({"path": "/don't set/a simple path", "token": "another", "nodes": [], "matrices": ["TEST_PING_RTT"]});
    assert_eq!(
        front(port, wrong).await[0]["Error"],
        "cannot verify the request, please check your token"
    );
}

/// miaospeed takes what closes for the fastest node of all, waits for others without end, and dies of a bad URL.
#[tokio::test]
async fn what_does_not_answer_is_dead_and_every_task_ends() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let port = backend(&mut stage, &[]).await;
    let nodes = servers(&mut stage).await;
    let mut early = nodes[0].clone();
    early["ws-opts"]["path"] = "/ray?ed=2048".into();
    let mut socket = Front::connect(port).await;
    let matrices = ["TEST_PING_RTT", "TEST_PING_PACKET_LOSS", "MOBULA_CAUSE"];
    for (path, cause) in [
        ("/close", "closed without an answer"),
        ("/silent", "timed out after 1000 ms"),
        ("/words", "not HTTP"),
    ] {
        let configs = json!({"PingAddress": site.url(path), "TaskTimeout": 1000});
        let began = Instant::now();
        socket
            .say(request(&nodes, &matrices, configs).to_string())
            .await;
        for slot in slots(&socket.hear_all().await) {
            assert_eq!(cell(&slot, "TEST_PING_RTT")["Value"], 0, "{path}: {slot}");
            assert_eq!(cell(&slot, "TEST_PING_PACKET_LOSS")["Value"], 100, "{slot}");
            let told = cell(&slot, "MOBULA_CAUSE")["Value"].to_string();
            assert!(told.contains(cause), "{path}: {told}");
        }
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    for configs in [
        json!({"PingAddress": "nonsense"}),
        json!({"PingAddress": "http://[::1"}),
        json!({"PingAddress": site.url("/204"), "TaskTimeout": 1000}),
    ] {
        let one = request(std::slice::from_ref(&early), &matrices, configs);
        socket.say(one.to_string()).await;
        let slot = &slots(&socket.hear_all().await)[0];
        assert_eq!(slot["ProxyInfo"]["Name"], "香港 vmess-ws");
        assert_eq!(slot["Matrices"].as_array().unwrap().len(), 3);
    }
    // What is dead is told by its cause.
    let dead = dead(&site).await;
    let nodes: Vec<Value> = dead.iter().map(|(node, _)| node.clone()).collect();
    socket
        .say(request(&nodes, &matrices, quick(&site)).to_string())
        .await;
    for (slot, (node, cause)) in slots(&socket.hear_all().await).iter().zip(&dead) {
        let told = cell(slot, "MOBULA_CAUSE")["Value"].to_string();
        assert!(told.contains(cause), "{node}: {told}");
        assert_eq!(slot["ProxyInfo"]["Name"], node["name"]);
    }
}

#[tokio::test]
async fn what_is_not_known_here_is_declined() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let port = backend(&mut stage, &[]).await;
    let mut socket = Front::connect(port).await;
    let node = json!({"name": "a", "type": "socks5", "server": "127.0.0.1", "port": free_port()});
    let matrices = [
        "TEST_SCRIPT",
        "TEST_PING_MAX_CONN",
        "GEOIP_OUTBOUND",
        "UDP_TYPE",
        "TEST_PING_RTT",
    ];
    socket
        .say(request(&[node], &matrices, quick(&site)).to_string())
        .await;
    let slot = &slots(&socket.hear_all().await)[0];
    let kinds: Vec<_> = slot["Matrices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["Type"].clone())
        .collect();
    assert_eq!(
        kinds,
        [
            "TEST_SCRIPT",
            "INVALID",
            "GEOIP_OUTBOUND",
            "UDP_TYPE",
            "TEST_PING_RTT"
        ]
    );
    let script = cell(slot, "TEST_SCRIPT");
    assert_eq!((&script["Key"], &script["Text"]), (&json!("p"), &json!("")));
    assert_eq!(cell(slot, "UDP_TYPE")["Value"], "Unknown");
    // Nobody to test.
    socket
        .say(request(&[], &["TEST_PING_RTT"], json!({})).to_string())
        .await;
    let messages = socket.hear_all().await;
    assert_eq!(messages[0]["Progress"]["Record"]["InvokeDuration"], -1);
    assert_eq!(messages[1]["Result"]["Results"], json!([]));
}

#[tokio::test]
async fn downloads_are_measured_and_end_with_their_front() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let port = backend(&mut stage, &[]).await;
    let nodes = servers(&mut stage).await;
    let matrices = [
        "SPEED_AVERAGE",
        "SPEED_MAX",
        "SPEED_PER_SECOND",
        "TEST_PING_RTT",
    ];
    let configs = |path: &str, seconds: u32| {
        json!({"DownloadURL": site.url(path), "DownloadDuration": seconds, "DownloadThreading": 2,
               "PingAddress": site.url("/204"), "TaskTimeout": 4000})
    };
    let mut socket = Front::connect(port).await;
    for path in ["/file", "/moved"] {
        socket
            .say(request(&nodes[..2], &matrices, configs(path, 1)).to_string())
            .await;
        for slot in slots(&socket.hear_all().await) {
            let average = cell(&slot, "SPEED_AVERAGE")["Value"].as_u64().unwrap();
            let seconds = cell(&slot, "SPEED_PER_SECOND");
            assert!(average > FILE as u64 / 8, "{path}: {slot}");
            assert_eq!(seconds["Average"], average);
            assert!(!seconds["Speeds"].as_array().unwrap().is_empty());
        }
    }
    // A file that is not there.
    socket
        .say(request(&nodes[..1], &matrices, configs("/gone", 1)).to_string())
        .await;
    let slot = &slots(&socket.hear_all().await)[0];
    assert_eq!(cell(slot, "SPEED_AVERAGE")["Value"], 0);
    // The front goes away in the middle of a long one.
    socket
        .say(request(&nodes[..1], &matrices, configs("/slow", 30)).to_string())
        .await;
    let began = Instant::now();
    while site.open.load(Ordering::SeqCst) < 2 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "no download begins"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(socket);
    let gone = Instant::now();
    while site.open.load(Ordering::SeqCst) > 0 {
        assert!(
            gone.elapsed() < Duration::from_secs(10),
            "the download goes on"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn tasks_run_at_once_and_a_small_one_does_not_wait_for_a_large_one() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let port = backend(&mut stage, &["--concurrency", "4"]).await;
    let nodes = servers(&mut stage).await;
    let silent: Vec<Value> = dead(&site)
        .await
        .into_iter()
        .map(|(node, _)| node)
        .filter(|node| node["name"] == "silent")
        .collect();
    let large: Vec<Value> = std::iter::repeat_n(&silent[0], 40).cloned().collect();
    let mut socket = Front::connect(port).await;
    let configs = json!({"PingAddress": site.url("/204"), "TaskTimeout": 1000});
    socket
        .say(request(&large, &["TEST_PING_RTT"], configs).to_string())
        .await;
    let first = socket.hear().await.unwrap()["ID"].clone();
    socket
        .say(request(&nodes[..1], &["TEST_PING_RTT"], quick(&site)).to_string())
        .await;
    let mut done = 1;
    loop {
        let message = socket.hear().await.unwrap();
        if message["ID"] != first && !message["Result"].is_null() {
            break;
        }
        done += usize::from(message["ID"] == first);
    }
    assert!(
        done < 30,
        "{done} of 40 nodes of the large one were done before"
    );
}

#[tokio::test]
async fn the_door_has_an_ordinary_face() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &["--path", "/secret"]).await;
    let opens = async |path: &str, headers: &[(&'static str, &str)]| {
        Front::at(port, path, headers).await.map(drop)
    };
    assert_eq!(opens("/secret", &[]).await, Ok(()));
    assert_eq!(opens("/secret?a=b", &[]).await, Ok(()));
    assert_eq!(opens("/other", &[]).await, Err(404));
    assert_eq!(opens("/", &[]).await, Err(404));
    assert_eq!(
        opens("/secret", &[("Origin", "https://evil.example")]).await,
        Err(403)
    );
    let own = format!("http://127.0.0.1:{port}");
    assert_eq!(opens("/secret", &[("Origin", &own)]).await, Ok(()));
    let get = async |path: &str| {
        let mut command = system("curl");
        command.args(["-s", "-i", &format!("http://127.0.0.1:{port}{path}")]);
        run(command).await.to_ascii_lowercase()
    };
    let page = get("/secret").await;
    assert!(
        page.starts_with("http/1.1 400") && page.contains("sec-websocket-version: 13"),
        "{page}"
    );
    assert!(get("/").await.starts_with("http/1.1 404"));

    let port = backend(&mut stage, &["--allow", "192.0.2.0/24,2001:db8::1"]).await;
    assert_eq!(Front::at(port, "/", &[]).await.map(drop), Err(403));
    let port = backend(&mut stage, &["--allow", "192.0.2.1,127.0.0.0/8"]).await;
    assert_eq!(Front::at(port, "/", &[]).await.map(drop), Ok(()));
}

/// There is room for 64 guests, and one who may not come is none.
#[tokio::test]
async fn those_who_may_not_come_take_nobodys_place() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &["--allow", "127.0.0.2"]).await;
    let to = ([127, 0, 0, 1], port).into();
    let own = TcpSocket::new_v4().unwrap();
    own.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut front = own.connect(to).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut outsiders = Vec::new();
    for _ in 0..100 {
        outsiders.push(TcpStream::connect(to).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = async |stream: &mut TcpStream| {
        let _ = stream.write_all(asked).await;
        let mut status = [0; 12];
        let read = stream.read_exact(&mut status).await;
        read.map(|_| String::from_utf8_lossy(&status).into_owned())
    };
    assert_eq!(answer(&mut front).await.unwrap(), "HTTP/1.1 400");
    let last = outsiders.last_mut().unwrap();
    assert_eq!(answer(last).await.unwrap(), "HTTP/1.1 403");
    assert!(answer(&mut outsiders[0]).await.is_err(), "few of them stay");
}

/// A message of 192 MiB took miaospeed 656 MiB of memory.
#[tokio::test]
async fn a_stranger_fills_no_memory_and_is_told_what_is_wrong() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &["--invoker", "7,42", "--no-speed"]).await;
    let filled = |len: usize| {
        let mut one = request(&[], &["TEST_PING_RTT"], json!({}));
        one["Nodes"] = json!([{"Name": "n", "Payload": "x".repeat(len)}]);
        one
    };
    let mut fronts = Vec::new();
    for _ in 0..12 {
        let one = filled(7 << 20).to_string();
        fronts.push(tokio::spawn(async move {
            let mut front = Front::connect(port).await;
            front.say(one).await;
            front.hear().await
        }));
    }
    for front in fronts {
        if let Some(answer) = front.await.unwrap() {
            assert_eq!(
                answer["Error"],
                "cannot verify the request, please check your token"
            );
        }
    }
    let resident = stage.child(0).resident_kib() / 1024;
    assert!(resident < 128, "{resident} MiB");
    let mut front = Front::connect(port).await;
    front.say(filled(9 << 20).to_string()).await;
    let answer = front
        .hear()
        .await
        .unwrap_or_else(|| json!({"Error": "at most 8 MiB"}));
    assert!(
        answer["Error"].as_str().unwrap().contains("at most 8 MiB"),
        "{answer}"
    );
    // What a front may well send.
    let mut front = Front::connect(port).await;
    front.say(signed(filled(3 << 20)).to_string()).await;
    assert_eq!(slots(&front.hear_all().await).len(), 1);
    let errors = async |mut one: Value, sign: bool| {
        if sign {
            one = signed(one);
        }
        let mut front = Front::connect(port).await;
        front.say(one.to_string()).await;
        let error = front.hear().await.unwrap()["Error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(front.hear().await, None, "the connection ends");
        error
    };
    let plain = request(&[], &["TEST_PING_RTT"], json!({}));
    let mut other = plain.clone();
    other["Basics"]["Invoker"] = "8".into();
    assert_eq!(
        errors(other.clone(), false).await,
        "cannot verify the request, please check your token"
    );
    assert_eq!(
        errors(other, true).await,
        "the bot id is not in the whitelist"
    );
    let speed = request(&[], &["SPEED_MAX"], json!({}));
    assert_eq!(
        errors(speed, false).await,
        "speedtest is disabled on backend"
    );
    let mut odd = plain;
    odd["Configs"]["TaskTimeout"] = "3".into();
    assert!(
        errors(odd, false)
            .await
            .starts_with("the request cannot be read")
    );
    let log = stage.log(0);
    assert!(!log.contains("panic"), "{log}");
}

#[tokio::test]
async fn wss_ipv6_and_the_old_front_of_fulltclash() {
    let mut stage = Stage::new();
    let certificate = Certificate::new(&stage);
    let paths = [&certificate.chain, &certificate.key].map(|path| path.display().to_string());
    let wss = ["--cert", &paths[0], "--key", &paths[1]];
    for flags in [&wss[..], &["--self-signed"]] {
        let port = backend(&mut stage, flags).await;
        let asked = json!({"tls": true, "nodes": [], "matrices": ["TEST_PING_RTT"]});
        assert_eq!(front(port, asked).await.len(), 2, "{flags:?}");
    }
    let port = free_port();
    let mut command = mobula();
    let listen = format!("[::1]:{port}");
    command
        .args(["backend", "--listen", &listen, "--fulltclash"])
        .env("MOBULA_TOKEN", "a long token");
    let index = stage.start("six", &mut command, &[port]).await;
    let asked = json!({"address": listen, "alive": true});
    assert_eq!(front(port, asked).await, [json!(true)]);
    stage.child(index).signal("TERM");
    let status = stage.child(index).ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    // Without a token nothing starts.
    let output = mobula()
        .args(["backend", "--listen", "127.0.0.1:0", "--token", ""])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn a_request_without_signed_nodes_is_taken_where_that_is_asked_for() {
    let vectors = include_str!("../testdata/vectors/miaospeed.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let all = vectors["signing"].as_array().unwrap();
    let vector = all
        .iter()
        .find(|one| one["name"] == "unsigned-nodes")
        .unwrap();
    let mut one = vector["request"].clone();
    one["Challenge"] = vector["challenge"].clone();
    let mut stage = Stage::new();
    for (flags, taken) in [(&["--fulltclash"][..], true), (&[], false)] {
        let port = free_port();
        let mut command = mobula();
        let listen = format!("127.0.0.1:{port}");
        command
            .args(["backend", "--listen", &listen, "--token", "probe-token"])
            .args(flags);
        stage
            .start(&format!("backend{taken}"), &mut command, &[port])
            .await;
        let mut front = Front::connect(port).await;
        front.say(one.to_string()).await;
        assert_eq!(front.hear_all().await[0]["Error"] == "", taken);
    }
}

/// A STUN server with two ports, beside a Shadowsocks server that lets anybody answer.
#[tokio::test]
async fn the_kind_of_nat_is_that_of_the_server() {
    let mut stage = Stage::new();
    let (first, second) = (
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    );
    let (port, other) = (
        first.local_addr().unwrap().port(),
        second.local_addr().unwrap().port(),
    );
    tokio::spawn(async move {
        let mut datagram = [0; 1500];
        loop {
            let (len, from) = first.recv_from(&mut datagram).await.unwrap();
            let mut answer = vec![1, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42];
            answer.extend_from_slice(&datagram[8..20]);
            for (kind, port) in [(1_u8, from.port()), (5, other)] {
                answer.extend_from_slice(&[0, kind, 0, 8, 0, 1]);
                answer.extend_from_slice(&port.to_be_bytes());
                answer.extend_from_slice(&[127, 0, 0, 1]);
            }
            let socket = if len > 20 { &second } else { &first };
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    let server = free_port();
    let config = json!({
        "inbounds": [{"type": "shadowsocks", "listen": "127.0.0.1", "listen_port": server, "method": "aes-128-gcm", "password": "p"}],
        "outbounds": [{"type": "direct"}],
    });
    stage
        .run(crate::peers::Peer::SingBox, "server", &config, &[server])
        .await;
    let node = json!({"name": "ss", "type": "ss", "server": "127.0.0.1", "port": server, "cipher": "aes-128-gcm", "password": "p", "udp": true});
    let at = backend(&mut stage, &[]).await;
    let mut socket = Front::connect(at).await;
    let configs = json!({"STUNURL": format!("udp://127.0.0.1:{port}")});
    socket
        .say(request(&[node], &["UDP_TYPE"], configs).to_string())
        .await;
    let slot = &slots(&socket.hear_all().await)[0];
    assert_eq!(cell(slot, "UDP_TYPE")["Value"], "FullCone");
}

/// The real one takes 25 s for 1500 of them.
#[tokio::test]
async fn a_thousand_dead_nodes_are_soon_done() {
    let mut stage = Stage::new();
    let site = Site::start().await;
    let port = backend(&mut stage, &[]).await;
    let nodes: Vec<Value> = (0..1000)
        .map(|n| json!({"name": format!("n{n}"), "type": "socks5", "server": "127.0.0.1", "port": 1}))
        .collect();
    let began = Instant::now();
    let mut socket = Front::connect(port).await;
    socket
        .say(request(&nodes, &["TEST_PING_RTT"], quick(&site)).to_string())
        .await;
    let messages = socket.hear_all().await;
    assert_eq!(messages.len(), 1001);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// Whoever says nothing is sent away.
#[tokio::test]
async fn a_silent_connection_is_closed_within_a_minute() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &[]).await;
    let mut bare = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut half = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    half.write_all(b"GET / HT").await.unwrap();
    let mut front = Front::connect(port).await;
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = bare.read_to_end(&mut rest).await;
    let _ = half.read_to_end(&mut rest).await;
    assert_eq!(front.hear().await, None);
    assert!(
        began.elapsed() < Duration::from_secs(59),
        "{:?}",
        began.elapsed()
    );
}
