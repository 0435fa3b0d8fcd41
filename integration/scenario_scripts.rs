//! Scripts of fronts, which `mobula backend` runs for each node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::peers::{Stage, free_port, listen};
use crate::probing::{Front, backend, cell, front, servers, signed, slots};

/// A site for scripts: `/media` says who asks, in chunks; `/away` leads there by way of `/further`; `/silent` says nothing; `/large` is
/// larger than a script may have; `/packed` is gzip for those who take it, `/always` for everybody, `/bomb` without measure; whatever
/// speaks no HTTP is answered in its own words.
pub struct Site {
    pub port: u16,
    asked: Arc<AtomicUsize>,
    silent: Arc<AtomicUsize>,
}

impl Site {
    pub fn start() -> Self {
        let listener = listen();
        let site = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
            silent: Arc::default(),
        };
        let (asked, silent) = (site.asked.clone(), site.silent.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, silent) = (asked.clone(), silent.clone());
                tokio::spawn(async move {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let _ = visit(stream, &silent).await;
                });
            }
        });
        site
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

async fn visit(mut stream: TcpStream, silent: &AtomicUsize) -> std::io::Result<()> {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") && !said.ends_with(b"over\n") {
        said.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&said).into_owned();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    let line = text.lines().next().unwrap_or_default();
    let answer = match line.split(' ').nth(1).unwrap_or_default() {
        "/media" => {
            let find = |name: &str| {
                text.lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or("none")
                    .to_owned()
            };
            let method = line.split(' ').next().unwrap_or_default();
            let told = json!({"method": method, "region": "HK 香港", "agent": find("User-Agent: "), "cookie": find("Cookie: "),
                              "body": String::from_utf8_lossy(&body)})
            .to_string();
            let (first, second) = told.as_bytes().split_at(7);
            let mut answer = b"HTTP/1.1 403 Forbidden\r\nx-region: HK\r\nX-Region: JP\r\nSet-Cookie: id=7; Path=/; HttpOnly\r\n\
                               Transfer-Encoding: chunked\r\n\r\n"
                .to_vec();
            for part in [first, second, b""] {
                answer.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                answer.extend_from_slice(part);
                answer.extend_from_slice(b"\r\n");
            }
            answer
        }
        "/away" => {
            b"HTTP/1.1 302 Found\r\nLocation: further?x\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
        "/further?x" => {
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /media\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        }
        "/silent" => {
            silent.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read_u8().await;
            silent.fetch_sub(1, Ordering::SeqCst);
            return Ok(());
        }
        "/packed" if !text.contains("Accept-Encoding: gzip\r\n") => page("", b"plain"),
        "/packed" | "/always" => page("Content-Encoding: gzip\r\n", &gzip("香 packed".as_bytes())),
        "/bomb" => page("Content-Encoding: GZIP\r\n", &gzip(&vec![0; 64 << 20])),
        "/lies" => page("Content-Encoding: gzip\r\n", b"<html>"),
        "/large" => [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 5 << 20]].concat(),
        _ if line.starts_with("hello") => b"hello yourself".to_vec(),
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    stream.write_all(&answer).await
}

fn page(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    packed.extend(miniz_oxide::deflate::compress_to_vec(plain, 6));
    packed.extend(crc32fast::hash(plain).to_le_bytes());
    packed.extend((plain.len() as u32).to_le_bytes());
    packed
}

pub fn script(id: &str, millis: u64, content: &str) -> Value {
    json!({"ID": id, "Type": "media", "Content": content, "TimeoutMillis": millis})
}

/// A signed request that asks about each of these.
pub fn request(nodes: &[Value], scripts: &[Value], asked: &[&str]) -> String {
    let nodes = nodes
        .iter()
        .map(|node| json!({"Name": "0", "Payload": node.to_string()}));
    let asked = asked
        .iter()
        .map(|id| json!({"Type": "TEST_SCRIPT", "Params": id}));
    signed(json!({
        "Basics": {"ID": "a test", "Slave": "s", "SlaveName": "slave", "Invoker": "42", "Version": "1"},
        "Options": {"Filter": "", "Matrices": asked.collect::<Vec<_>>()},
        "Configs": {"Scripts": scripts}, "Vendor": "Clash", "Nodes": nodes.collect::<Vec<_>>(), "RandomSequence": "random",
        "Challenge": "",
    }))
    .to_string()
}

/// What each script said of a node, by its key.
pub fn said(slot: &Value) -> Vec<(String, Value)> {
    let cells = slot["Matrices"].as_array().unwrap().iter();
    let cells = cells.filter(|cell| cell["Type"] == "TEST_SCRIPT");
    let payloads =
        cells.map(|cell| serde_json::from_str::<Value>(cell["Payload"].as_str().unwrap()).unwrap());
    payloads
        .map(|payload| (payload["Key"].as_str().unwrap().to_owned(), payload))
        .collect()
}

/// miaospeedlib's own requests, through a server of another program.
#[tokio::test]
async fn a_front_of_miaospeed_has_scripts_run_for_each_node() {
    let mut stage = Stage::new();
    let site = Site::start();
    let port = backend(&mut stage, &[]).await;
    let mut nodes = servers(&mut stage).await;
    nodes.truncate(2);
    nodes.push(
        json!({"name": "dead", "type": "socks5", "server": "127.0.0.1", "port": free_port()}),
    );
    let media = format!(
        "const UA = 'Mozilla/5.0';
         function handler() {{
             const page = fetch('{}', {{headers: {{'User-Agent': UA}}, cookies: {{a: 'b'}}, retry: 2, timeout: 5000}});
             if (!page) return {{text: '失败 ' + proxy.Type, color: '#f00'}};
             const told = safeParse(page.body);
             println(page.body);
             return {{text: [get(told, 'region'), told.agent, told.cookie, page.statusCode, page.status, page.headers['X-Region'].join('+'),
                             page.cookies[0].Name + '=' + page.cookies[0].Value, page.redirects.join('>'), proxy.Name].join('|'),
                      color: '#fff', background: '#186'}};
         }}",
        site.url("/away")
    );
    let messages = front(
        port,
        json!({"nodes": nodes, "matrices": ["TEST_PING_RTT"], "configs": {"PingAddress": site.url("/gone"), "TaskTimeout": 4000},
               "scripts": [script("media", 20_000, &media)]}),
    )
    .await;
    let slots = slots(&messages);
    for (slot, node) in slots.iter().zip(&nodes).take(2) {
        let payload = cell(slot, "TEST_SCRIPT");
        let name = node["name"].as_str().unwrap();
        let text =
            format!("HK 香港|Mozilla/5.0|a=b|403|403 Forbidden|HK+JP|id=7|further?x>/media|{name}");
        assert_eq!(payload["Text"], text, "{slot}");
        assert_eq!(
            (&payload["Key"], &payload["Color"], &payload["Background"]),
            (&json!("media"), &json!("#fff"), &json!("#186"))
        );
        assert!(payload["TimeElapsed"].as_u64() > Some(0), "{slot}");
        assert!(
            cell(slot, "TEST_PING_RTT")["Value"].as_u64() > Some(0),
            "{slot}"
        );
    }
    let dead = cell(&slots[2], "TEST_SCRIPT");
    assert_eq!(
        (&dead["Text"], &dead["Color"]),
        (&json!("失败 Socks5"), &json!("#f00"))
    );
}

#[tokio::test]
async fn scripts_ask_by_every_method_and_for_more_than_pages() {
    let mut stage = Stage::new();
    let site = Site::start();
    let port = backend(&mut stage, &[]).await;
    let node = servers(&mut stage).await.remove(0);
    let handler = |body: &str| format!("function handler() {{ {body} }}");
    let media = site.url("/media");
    let cases = [
        (
            "post",
            format!("return safeParse(fetch('{media}', {{method: 'POST', body: '香'}}).body).body"),
            "香",
        ),
        (
            "head",
            format!(
                "const p = fetch('{media}', {{method: 'HEAD'}}); return p.statusCode + '|' + p.body"
            ),
            "403|",
        ),
        (
            "stay",
            format!(
                "const p = fetch('{}', {{noRedir: true}}); return p.statusCode + p.redirects.join()",
                site.url("/away")
            ),
            "302",
        ),
        (
            "moved-post",
            format!(
                "return safeParse(fetch('{}', {{method: 'POST', body: 'x'}}).body).method",
                site.url("/away")
            ),
            "GET",
        ),
        (
            "late",
            format!(
                "return String(fetch('{}', {{timeout: 300}}))",
                site.url("/silent")
            ),
            "null",
        ),
        (
            "large",
            format!("return String(fetch('{}'))", site.url("/large")),
            "null",
        ),
        (
            "packed",
            format!(
                "const p = fetch('{}'); return p.body + '|' + p.headers['Content-Encoding'] + p.headers['Content-Length']",
                site.url("/packed")
            ),
            "香 packed|undefinedundefined",
        ),
        (
            "as-it-is",
            format!(
                "const p = fetch('{}', {{headers: {{'accept-encoding': 'identity'}}}});
                 return p.body.charCodeAt(0) + '|' + p.headers['Content-Encoding'][0]",
                site.url("/always")
            ),
            "31|gzip",
        ),
        (
            "plain",
            format!(
                "return fetch('{}', {{headers: {{'Range': 'bytes=0-'}}}}).body",
                site.url("/packed")
            ),
            "plain",
        ),
        (
            "bomb",
            format!(
                "return String(fetch('{}')) + fetch('{}')",
                site.url("/bomb"),
                site.url("/lies")
            ),
            "nullnull",
        ),
        (
            "host",
            format!("return String(fetch('{media}', {{useHost: true}}))"),
            "null",
        ),
        (
            "file",
            "return String(fetch('file:///etc/passwd'))".to_owned(),
            "null",
        ),
        (
            "words",
            format!(
                "const n = netcat('127.0.0.1:{}', 'hello\\nover\\n'); return n.error + '|' + n.data",
                site.port
            ),
            "|hello yourself",
        ),
        (
            "nowhere",
            "return netcat('nonsense', '').data + netcat('nonsense', '').error.length".to_owned(),
            "",
        ),
        (
            "many",
            format!("let n = 0; while (n < 9 && fetch('{media}')) n++; return n + ''"),
            "9",
        ),
    ];
    let scripts: Vec<Value> = cases
        .iter()
        .map(|(id, body, _)| script(id, 30_000, &handler(body)))
        .collect();
    let asked: Vec<&str> = cases.iter().map(|(id, ..)| *id).collect();
    let mut socket = Front::connect(port).await;
    socket.say(request(&[node], &scripts, &asked)).await;
    let slot = &slots(&socket.hear_all().await)[0];
    for ((key, payload), (id, _, text)) in said(slot).into_iter().zip(&cases) {
        assert_eq!(key, *id, "in the order of the request");
        match *id {
            "nowhere" => assert_ne!(payload["Text"], "0", "it says what is wrong"),
            _ => assert_eq!(payload["Text"], *text, "{payload}"),
        }
    }
}

/// The script of `docs/probe.md`, with a site of ours in it.
#[tokio::test]
async fn the_script_of_the_document_says_what_it_says() {
    let mut stage = Stage::new();
    let site = Site::start();
    let port = backend(&mut stage, &[]).await;
    let nodes = [
        servers(&mut stage).await.remove(0),
        json!({"name": "dead", "type": "socks5", "server": "127.0.0.1", "port": free_port()}),
    ];
    let blocks = crate::scenario_documents::blocks("js");
    let (_, written) = blocks
        .iter()
        .find(|(place, _)| place.starts_with("probe.md"))
        .expect("a script");
    assert!(written.contains("https://example.com/region"));
    let ours = written.replace("https://example.com/region", &site.url("/media"));
    let mut socket = Front::connect(port).await;
    let scripts = [script("region", 20_000, &ours)];
    socket.say(request(&nodes, &scripts, &["region"])).await;
    let slots = slots(&socket.hear_all().await);
    for (slot, expected) in slots
        .iter()
        .zip([["HK 香港", "", "#c80"], ["failed", "#fff", "#c33"]])
    {
        let payload = cell(slot, "TEST_SCRIPT");
        let said = ["Text", "Color", "Background"].map(|key| payload[key].clone());
        assert_eq!(said, expected.map(|text| json!(text)));
    }
}

/// What a script does wrong is its own loss: it ends, the others have their answers, and the back end is there.
#[tokio::test]
async fn a_script_harms_nobody() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &[]).await;
    let node = json!({"name": "a", "type": "socks5", "server": "127.0.0.1", "port": free_port()});
    let bad = [
        ("throws", "function handler() { throw new Error('no') }"),
        ("loops", "for (;;) {}"),
        (
            "counts",
            "function handler() { return [].indexOf.call({length: 2 ** 53 - 1}, 1) + '' }",
        ),
        // One call of the engine's own: nothing in it asks for the time.
        (
            "searches",
            "function handler() { const a = 'a'.repeat(1 << 23); return a.indexOf(a.slice(1 << 22) + 'b') + '' }",
        ),
        (
            "eats",
            "function handler() { const a = []; for (;;) a.push('x'.repeat(1000) + a.length) }",
        ),
        ("digs", "function handler() { return handler() }"),
        (
            "never",
            "function handler() { return new Promise(() => {}) }",
        ),
        ("none", "const nothing = 1"),
        ("broken", "function handler( {"),
        (
            "reads",
            "function handler() { return require('/etc/passwd') }",
        ),
        ("long", "function handler() { return 'x'.repeat(1e6) }"),
    ];
    let mut scripts: Vec<Value> = bad
        .iter()
        .map(|(id, content)| script(id, 1000, content))
        .collect();
    scripts.push(script(
        "good",
        10_000,
        "function handler() { return 'good' }",
    ));
    scripts.push(json!({"ID": "ip", "Type": "ip", "Content": "function handler() { return 'ip' }", "TimeoutMillis": 1000}));
    let mut asked: Vec<&str> = bad.iter().map(|(id, _)| *id).collect();
    asked.extend(["nobody's", "ip", "good"]);
    let mut socket = Front::connect(port).await;
    let began = Instant::now();
    socket
        .say(request(&[node.clone(), node], &scripts, &asked))
        .await;
    let slots = slots(&socket.hear_all().await);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(slots.len(), 2);
    for slot in &slots {
        let said = said(slot);
        let keys: Vec<&str> = said.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, asked);
        for (key, payload) in &said {
            match &**key {
                "good" => assert_eq!(payload["Text"], "good"),
                "long" => assert_eq!(payload["Text"], "x".repeat(1024)),
                _ => assert_eq!(payload["Text"], "", "{payload}"),
            }
        }
    }
    // Nothing runs on, and one too many is told.
    until(|| stage.child(0).children() == 0).await;
    let many: Vec<&str> = vec!["good"; 129];
    socket.say(request(&[], &scripts, &many)).await;
    assert_eq!(
        socket.hear().await.unwrap()["Error"],
        "too many scripts, at most 128 are run"
    );
}

#[tokio::test]
async fn scripts_end_with_their_front() {
    let mut stage = Stage::new();
    let site = Site::start();
    let port = backend(&mut stage, &[]).await;
    let node = servers(&mut stage).await.remove(0);
    let waits = format!(
        "function handler() {{ return fetch('{}', {{timeout: 60000}}) + '' }}",
        site.url("/silent")
    );
    let scripts = [
        script("waits", 0, &waits),
        script("loops", 0, "for (;;) {}"),
    ];
    let mut socket = Front::connect(port).await;
    socket
        .say(request(&[node], &scripts, &["waits", "loops"]))
        .await;
    until(|| site.silent.load(Ordering::SeqCst) == 1 && stage.child(0).children() == 2).await;
    assert_eq!(site.asked.load(Ordering::SeqCst), 1);
    drop(socket);
    let gone = Instant::now();
    until(|| site.silent.load(Ordering::SeqCst) == 0 && stage.child(0).children() == 0).await;
    assert!(
        gone.elapsed() < Duration::from_secs(5),
        "{:?}",
        gone.elapsed()
    );
    let mut socket = Front::connect(port).await;
    socket.say(request(&[], &[], &[])).await;
    assert_eq!(socket.hear_all().await.len(), 2, "others are served");
}

pub async fn until(mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it does not come to that"
        );
        sleep(Duration::from_millis(20)).await;
    }
}
