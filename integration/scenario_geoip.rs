//! `GEOIP_INBOUND` and `GEOIP_OUTBOUND` of `mobula backend`: where a server is, and where its sessions leave.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::configs::Certificate;
use crate::name_server::NameServer;
use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port, listen, mobula};
use crate::probing::{Front, TOKEN, backend, cell, front, servers, signed, slots};

const BOTH: [&str; 2] = ["GEOIP_INBOUND", "GEOIP_OUTBOUND"];

/// A script in the manner of those that fronts send: it knows who tells addresses, and who places.
fn geo_script(site: &Asked) -> Value {
    let content = format!(
        "const RETRY = 1;
         function ip_resolve() {{
             const page = fetch('http://127.0.0.1:{port}/addresses', {{retry: RETRY, timeout: 3000}});
             return get(page, 'body', '').trim().split('\\n').filter((ip) => ip);
         }}
         function handler(ip) {{
             const told = safeParse(get(fetch('http://127.0.0.1:{port}/place/' + ip, {{retry: RETRY}}), 'body'));
             return {{ip: get(told, 'ip', ''), isp: proxy.Name, asn: parseInt('AS4760'.replace('AS', ''), 10), longitude: NaN,
                      latitude: 22.25, city: 'Hong Kong', country_code: get(told, 'cc', '')}};
         }}",
        port = site.port
    );
    json!({"ID": "GEOIP_INBOUND", "Type": "ip", "Content": content})
}

/// A front of miaospeedlib sends the script; another program's server is the node.
#[tokio::test]
async fn a_front_is_told_where_a_node_is_by_its_own_script() {
    let mut stage = Stage::new();
    let site = Asked::start(|path| match path {
        "/addresses" => {
            Some("203.0.113.7\n2001:db8::7\n203.0.113.7\nnonsense\n203.0.113.8\n".to_owned())
        }
        "/place/203.0.113.8" => None,
        path => {
            let ip = path.strip_prefix("/place/")?;
            Some(json!({"ip": ip, "cc": "HK"}).to_string())
        }
    });
    let port = backend(&mut stage, &["--concurrency", "1"]).await;
    let mut nodes = servers(&mut stage).await;
    nodes.truncate(1);
    nodes[0]["server"] = json!("localhost");
    nodes.push(json!({"name": "the same way", "type": "vmess"}));
    for (key, value) in nodes[0].clone().as_object().unwrap() {
        if key != "name" {
            nodes[1][key] = value.clone();
        }
    }
    nodes.push(json!({"name": "unread", "type": "hysteria2", "server": "127.0.0.1", "port": 1}));
    let scripts = [
        json!({"ID": "media", "Type": "media", "Content": "function handler() { return 'media' }"}),
        geo_script(&site),
        json!({"ID": "GEOIP_OUTBOUND", "Type": "ip", "Content": "function handler() { return {ip: 'the second is not asked'} }"}),
    ];
    let asked = json!({"nodes": nodes, "matrices": BOTH, "scripts": scripts});
    let slots = slots(&front(port, asked).await);
    let name = nodes[0]["name"].as_str().unwrap();
    let place = |ip: &str| {
        json!({"organization": "", "longitude": 0, "latitude": 22.25, "timezone": "", "isp": name, "asn": 4760, "asn_organization": "",
               "country": "", "ip": ip, "continent_code": "", "country_code": if ip.is_empty() { "" } else { "HK" }, "stackType": ""})
    };
    let expected = |name: &str| json!({"Domain": name, "MainStack": place(""), "IPv4Stack": [place("203.0.113.7"), place("")], "IPv6Stack": [place("2001:db8::7")]});
    let outbound = cell(&slots[0], "GEOIP_OUTBOUND");
    assert_eq!(outbound, expected(name));
    let inbound = cell(&slots[0], "GEOIP_INBOUND");
    assert_eq!(inbound["Domain"], "localhost");
    assert_eq!(inbound["MainStack"], place("127.0.0.1"));
    assert_eq!(inbound["IPv4Stack"], json!([place("127.0.0.1")]));
    assert_eq!(cell(&slots[0], "TEST_SCRIPT")["Text"], "media");
    // Where the second node is, is known by the first one's questions.
    let other = cell(&slots[1], "GEOIP_OUTBOUND");
    assert_eq!(other["Domain"], "the same way");
    assert_eq!(other["IPv4Stack"][0], place("203.0.113.7"));
    assert_eq!(site.count("/place/203.0.113.7"), 1, "of both nodes");
    assert_eq!(site.count("/addresses"), 2, "once of each");
    let nothing = json!({"organization": "", "longitude": 0, "latitude": 0, "timezone": "", "isp": "", "asn": 0, "asn_organization": "",
                         "country": "", "ip": "", "continent_code": "", "country_code": "", "stackType": ""});
    for kind in BOTH {
        let empty = json!({"Domain": "", "MainStack": nothing, "IPv4Stack": [], "IPv6Stack": []});
        assert_eq!(cell(&slots[2], kind), empty, "{kind}");
    }
}

/// Nodes that run at one time share what they ask, and what nobody knows is not asked for by all of them.
#[tokio::test]
async fn an_address_is_asked_about_for_all_nodes() {
    let mut stage = Stage::new();
    let site = Asked::start(|path| match path {
        "/addresses" => Some("203.0.113.7\n203.0.113.8\n".to_owned()),
        "/place/203.0.113.7" => Some(json!({"ip": "203.0.113.7", "cc": "HK"}).to_string()),
        _ => None,
    });
    let port = backend(&mut stage, &["--concurrency", "8"]).await;
    let node = servers(&mut stage).await.remove(0);
    let nodes = vec![node; 5];
    let configs = json!({"Scripts": [geo_script(&site)]});
    for slot in ask(port, &nodes, &["GEOIP_OUTBOUND"], configs).await {
        let stack = cell(&slot, "GEOIP_OUTBOUND")["IPv4Stack"].clone();
        assert_eq!(
            (&stack[0]["ip"], &stack[1]["ip"]),
            (&json!("203.0.113.7"), &json!(""))
        );
    }
    assert_eq!(site.count("/addresses"), 5);
    assert_eq!(site.count("/place/203.0.113.7"), 1);
    assert_eq!(
        site.count("/place/203.0.113.8"),
        2 * 3,
        "two nodes, three times each"
    );
}

/// The script of `docs/probe.md`, with a site of ours in it.
#[tokio::test]
async fn the_script_of_the_document_says_where_a_node_is() {
    let mut stage = Stage::new();
    let site = Asked::start(|path| match path {
        "/ip" => Some("203.0.113.7\n".to_owned()),
        "/203.0.113.7" => Some(json!({"asn": 4760, "isp": "HKT", "country": "HK"}).to_string()),
        _ => None,
    });
    let port = backend(&mut stage, &[]).await;
    let blocks = crate::scenario_documents::blocks("js");
    let written = blocks
        .iter()
        .find(|(place, text)| place.starts_with("probe.md") && text.contains("ip_resolve"));
    let (_, written) = written.expect("a script");
    let there = "https://api.example.com";
    assert_eq!(written.matches(there).count(), 2);
    let content = written.replace(there, &format!("http://127.0.0.1:{}", site.port));
    let nodes = [servers(&mut stage).await.remove(0)];
    let configs = json!({"Scripts": [{"ID": "where", "Type": "ip", "Content": content}]});
    let slot = ask(port, &nodes, &["GEOIP_OUTBOUND"], configs)
        .await
        .remove(0);
    let main = &cell(&slot, "GEOIP_OUTBOUND")["MainStack"];
    let said = ["ip", "asn", "isp", "country_code"].map(|key| main[key].clone());
    assert_eq!(
        said,
        [json!("203.0.113.7"), json!(4760), json!("HKT"), json!("HK")]
    );
}

/// Without a script those are asked whom MiaoSpeed asks, through the node, and nobody else.
#[tokio::test]
async fn without_a_script_the_usual_places_are_asked_through_the_node() {
    let mut stage = Stage::new();
    let names = ["1.1.1.1", "2606:4700:4700::1111", "ipv4.ipleak.net"];
    let certificate = Certificate::with_names(&stage, &names);
    let site = Asked::start_with(Some(&certificate), |path| {
        match path {
        "1.1.1.1/cdn-cgi/trace" => Some("fl=1\nip=203.0.113.7\nts=1\n".to_owned()),
        "ipv4.ipleak.net/json/203.0.113.7" => {
            Some(json!({"query": "203.0.113.7", "as_number": 4760, "isp_name": "HKT", "city_name": "Central", "country_code": "HK"}).to_string())
        }
        _ => None,
    }
    });
    let node = free_port();
    let server = json!({
        "inbounds": [{"port": node, "listen": "127.0.0.1", "protocol": "socks"}],
        "outbounds": [{"protocol": "freedom", "settings": {"redirect": format!("127.0.0.1:{}", site.port)}}],
    });
    stage.run(Mobula, "node", &server, &[node]).await;
    let port = free_port();
    let mut command = mobula();
    command
        .args([
            "backend",
            "--token",
            TOKEN,
            "--listen",
            &format!("127.0.0.1:{port}"),
        ])
        .env("SSL_CERT_FILE", &certificate.authority);
    stage.start("backend", &mut command, &[port]).await;
    let nodes = [json!({"name": "hk", "type": "socks5", "server": "127.0.0.1", "port": node})];
    let ask = |matrix: &'static str| ask_of(port, &nodes, matrix);
    let slot = &ask("GEOIP_OUTBOUND").await[0];
    let outbound = cell(slot, "GEOIP_OUTBOUND");
    let main = &outbound["MainStack"];
    let said = ["ip", "asn", "isp", "country", "country_code"].map(|key| main[key].clone());
    assert_eq!(
        said,
        [
            json!("203.0.113.7"),
            json!(4760),
            json!("HKT"),
            json!("Central"),
            json!("HK")
        ]
    );
    assert_eq!(outbound["IPv6Stack"], json!([]));
    let mut asked = site.asked();
    asked.sort();
    assert_eq!(
        asked,
        [
            "1.1.1.1/cdn-cgi/trace",
            "[2606:4700:4700::1111]/cdn-cgi/trace",
            "ipv4.ipleak.net/json/203.0.113.7",
        ]
    );
    site.forget();
    // Nobody is asked about what was not.
    ask("TEST_SCRIPT").await;
    assert_eq!(site.asked(), Vec::<String>::new());
    let slot = &ask("GEOIP_INBOUND").await[0];
    let inbound = cell(slot, "GEOIP_INBOUND");
    assert_eq!(inbound["Domain"], "127.0.0.1");
    assert_eq!(inbound["IPv4Stack"][0]["ip"], "", "nobody knows it");
    assert_eq!(site.asked(), ["ipv4.ipleak.net/json/127.0.0.1"; 3]);
}

/// Names are asked of the servers that the front names.
#[tokio::test]
async fn a_servers_name_is_asked_of_the_fronts_name_servers() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &[]).await;
    let server = NameServer::new("theirs");
    server.has("node.example", &["192.0.2.7", "2001:db8::7"]);
    let at = server.run().await;
    let nodes = [json!({"name": "a", "type": "socks5", "server": "node.example", "port": 1})];
    let script = json!({"ID": "x", "Type": "ip", "Content": "const handler = (ip) => ({ip})"});
    let configs = json!({"DNSServers": ["nonsense://", at.to_string()], "Scripts": [script]});
    let inbound = cell(
        &ask(port, &nodes, &["GEOIP_INBOUND"], configs).await[0],
        "GEOIP_INBOUND",
    );
    let ips = |stack: &str| {
        inbound[stack]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["ip"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ips("IPv4Stack"), ips("IPv6Stack")),
        (vec![json!("192.0.2.7")], vec![json!("2001:db8::7")])
    );
    assert_eq!(inbound["Domain"], "node.example");
}

/// A node that nobody answers for, and scripts that do not end: the task does.
#[tokio::test]
async fn what_is_not_found_out_is_empty_and_in_time() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &[]).await;
    let nodes =
        [json!({"name": "dead", "type": "socks5", "server": "127.0.0.1", "port": free_port()})];
    let ends = |stack: &Value| (stack["IPv4Stack"].clone(), stack["IPv6Stack"].clone());
    for content in [
        "",
        "for (;;) {}",
        "function ip_resolve() { for (;;) {} }",
        "const ip_resolve = () => ({}); const handler = () => 7",
    ] {
        let began = Instant::now();
        let script = json!({"ID": "x", "Type": "ip", "Content": content, "TimeoutMillis": 1000});
        let slot = ask(port, &nodes, &BOTH, json!({"Scripts": [script]}))
            .await
            .remove(0);
        let outbound = cell(&slot, "GEOIP_OUTBOUND");
        assert_eq!(
            (&outbound["Domain"], ends(&outbound)),
            (&json!("dead"), (json!([]), json!([]))),
            "{content}"
        );
        let inbound = cell(&slot, "GEOIP_INBOUND");
        assert_eq!(inbound["IPv4Stack"][0]["ip"], "", "{content}");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{content}: {:?}",
            began.elapsed()
        );
    }
}

async fn ask_of(port: u16, nodes: &[Value], matrix: &str) -> Vec<Value> {
    ask(port, nodes, &[matrix], json!({})).await
}

async fn ask(port: u16, nodes: &[Value], matrices: &[&str], configs: Value) -> Vec<Value> {
    let nodes = nodes
        .iter()
        .map(|node| json!({"Name": "0", "Payload": node.to_string()}));
    let matrices = matrices
        .iter()
        .map(|kind| json!({"Type": kind, "Params": ""}));
    let request = signed(json!({
        "Basics": {"ID": "a test", "Slave": "s", "SlaveName": "slave", "Invoker": "42", "Version": "1"},
        "Options": {"Filter": "", "Matrices": matrices.collect::<Vec<_>>()},
        "Configs": configs, "Vendor": "Clash", "Nodes": nodes.collect::<Vec<_>>(), "RandomSequence": "random", "Challenge": "",
    }));
    let mut socket = Front::connect(port).await;
    socket.say(request.to_string()).await;
    slots(&socket.hear_all().await)
}

/// A site that remembers what it was asked for: paths, and by TLS with the host in front.
struct Asked {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Asked {
    fn start(answer: fn(&str) -> Option<String>) -> Self {
        Self::start_with(None, answer)
    }

    fn start_with(certificate: Option<&Certificate>, answer: fn(&str) -> Option<String>) -> Self {
        let acceptor = certificate.map(|certificate| certificate.acceptor(&["http/1.1"]));
        let listener = listen();
        let port = listener.local_addr().expect("it is bound").port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let remembered = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, remembered) = (acceptor.clone(), remembered.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            let stream = acceptor.accept(stream).await?;
                            visit(stream, true, &remembered, answer).await
                        }
                        None => visit(stream, false, &remembered, answer).await,
                    }
                });
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics").clone()
    }

    fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == path).count()
    }

    fn forget(&self) {
        self.asked.lock().expect("nobody panics").clear();
    }
}

async fn visit(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    with_host: bool,
    asked: &Mutex<Vec<String>>,
    answer: fn(&str) -> Option<String>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let host = head.lines().find_map(|line| line.strip_prefix("Host: "));
    let host = host.filter(|_| with_host).unwrap_or_default();
    let place = format!("{host}{path}");
    asked.lock().expect("nobody panics").push(place.clone());
    let said = match answer(&place) {
        Some(body) => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    stream.write_all(said.as_bytes()).await?;
    stream.shutdown().await
}
