//! What tests of `mobula backend` and `mobula probe` share: a web site to ask for through nodes, servers that other programs run, and
//! fronts.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use mobula::probe::codec::{BUILD_TOKEN, Request, Tokens};

use crate::configs::{ID, PASSWORD, SERVER_NAME, Vmess};
use crate::peers::Peer::{self, Mihomo, SingBox, V2ray445};
use crate::peers::{Stage, free_port, listen, mobula, python, root};

pub const TOKEN: &str = "a long token";

/// Nothing here is measured by a clock but what takes seconds.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A web site. `/204` has no content, `/file` has eight megabytes, `/slow` as many in small parts, `/moved` leads to `/file`,
/// `/close` ends without an answer, `/silent` says nothing, `/words` are no HTTP.
pub struct Site {
    pub port: u16,
    /// Connections that are open.
    pub open: Arc<AtomicUsize>,
    pub asked: Arc<AtomicUsize>,
}

pub const FILE: usize = 8 << 20;

impl Site {
    pub async fn start() -> Self {
        let listener = listen();
        let site = Self {
            port: listener.local_addr().expect("it is bound").port(),
            open: Arc::default(),
            asked: Arc::default(),
        };
        let (open, asked) = (site.open.clone(), site.asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (open, asked) = (open.clone(), asked.clone());
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    let _ = visit(stream, &asked).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        site
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

async fn visit(mut stream: TcpStream, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
            // Whoever speaks TLS here has the wrong port.
            if head == [0x16] {
                let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).await?;
                return Ok(());
            }
        }
        asked.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        match text.split(' ').nth(1).unwrap_or_default() {
            "/204" => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?,
            "/file" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {FILE}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&vec![7; FILE]).await?;
            }
            "/slow" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {FILE}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                for _ in 0..FILE / 1024 {
                    stream.write_all(&[7; 1024]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            "/moved" => {
                let head = "HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
            }
            "/close" => return Ok(()),
            "/silent" => {
                let _ = stream.read_u8().await?;
            }
            "/words" => stream.write_all(b"220 mail.example ESMTP\r\n").await?,
            _ => {
                stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    .await?;
            }
        }
    }
}

/// A server of another program for each protocol, and the node that leads there.
pub async fn servers(stage: &mut Stage) -> Vec<Value> {
    let mut nodes = Vec::new();
    let wss = Vmess::wss(stage);
    let trojan = Vmess::wss(stage).trojan();
    let plans: [(&str, Peer, &Vmess, Value); 4] = [
        (
            "香港 vmess-ws",
            SingBox,
            &Vmess::ws(),
            json!({"type": "vmess", "uuid": ID, "alterId": 0, "cipher": "auto", "network": "ws", "ws-opts": {"path": "/ray"}}),
        ),
        (
            "🇯🇵 vmess-tcp",
            V2ray445,
            &Vmess::tcp(),
            json!({"type": "vmess", "uuid": ID, "alterId": 0, "cipher": "auto"}),
        ),
        (
            "it's \"vless\"",
            SingBox,
            &wss.vless(),
            json!({"type": "vless", "uuid": ID, "tls": true, "servername": SERVER_NAME, "skip-cert-verify": true,
                   "network": "ws", "ws-opts": {"path": "/ray"}}),
        ),
        (
            "back\\slash trojan",
            Mihomo,
            &trojan,
            json!({"type": "trojan", "password": PASSWORD, "sni": SERVER_NAME, "skip-cert-verify": true,
                   "network": "ws", "ws-opts": {"path": "/ray"}}),
        ),
    ];
    for (n, (name, peer, vmess, mut node)) in plans.into_iter().enumerate() {
        let port = free_port();
        let config = vmess.server(peer, port);
        stage
            .run(peer, &format!("server{n}"), &config, &[port])
            .await;
        node["name"] = json!(name);
        node["server"] = json!("127.0.0.1");
        node["port"] = json!(port);
        node["udp"] = json!(true);
        nodes.push(node);
    }
    nodes
}

/// Nodes with nobody behind them, and words that the reason for each has.
pub async fn dead(site: &Site) -> Vec<(Value, &'static str)> {
    let node = |name: &str, port: u16, more: Value| {
        let mut node = json!({"name": name, "server": "127.0.0.1", "port": port, "type": "vmess", "uuid": ID,
                              "alterId": 0, "cipher": "auto"});
        for (key, value) in more.as_object().expect("an object") {
            node[key] = value.clone();
        }
        node
    };
    let ws = json!({"network": "ws", "ws-opts": {"path": "/nowhere"}});
    let tls = json!({"tls": true, "servername": SERVER_NAME});
    // It takes connections, and says nothing.
    let silent = listen();
    let silent_port = silent.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            kept.push(stream);
        }
    });
    vec![
        (node("refused", free_port(), json!({})), "tcp-refused"),
        (node("ws-404", site.port, ws), "ws-404"),
        (node("not-tls", site.port, tls), "tls-not-tls"),
        (node("silent", silent_port, json!({})), "timed out"),
        (
            node("nameless", 1, json!({"server": "nobody.invalid"})),
            "name not found",
        ),
        (node("unread", 1, json!({"type": "hysteria2"})), "hysteria2"),
    ]
}

/// `mobula backend` on a port of its own.
pub async fn backend(stage: &mut Stage, more: &[&str]) -> u16 {
    let port = free_port();
    let mut command = mobula();
    let listen = format!("127.0.0.1:{port}");
    command
        .args(["backend", "--listen", &listen, "--token", TOKEN])
        .args(more);
    stage.start("backend", &mut command, &[port]).await;
    port
}

/// What a front of miaospeedlib is told by a back end, message by message.
pub async fn front(port: u16, asked: Value) -> Vec<Value> {
    let mut told = json!({"address": format!("127.0.0.1:{port}"), "token": TOKEN});
    for (key, value) in asked.as_object().expect("an object") {
        told[key] = value.clone();
    }
    let mut command = python();
    command
        .arg(root().join("integration/front.py"))
        .arg(told.to_string());
    let output = run(command).await;
    output
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// The standard output of a program that ends well.
pub async fn run(mut command: Command) -> String {
    let running = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
    let output = timeout(LIMIT, running).await.expect("it ends in time");
    let output = output.expect("its thread ends");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("it is text")
}

/// A WebSocket of ours.
pub struct Front(WebSocketStream<TcpStream>);

impl Front {
    pub async fn connect(port: u16) -> Self {
        Self::at(port, "/", &[]).await.expect("it is opened")
    }

    /// The status, where no WebSocket is opened.
    pub async fn at(port: u16, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("it listens");
        let request = format!("ws://127.0.0.1:{port}{path}").into_client_request();
        let mut request = request.expect("a request");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a value"));
        }
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                Err(answer.status().as_u16())
            }
            Err(e) => panic!("{e}"),
        }
    }

    pub async fn say(&mut self, text: String) {
        let _ = self.0.send(Message::from(text)).await;
    }

    /// The next message; `None` when the back end has closed.
    pub async fn hear(&mut self) -> Option<Value> {
        let next = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return Some(serde_json::from_str(&text).expect("JSON"));
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        };
        timeout(LIMIT, next).await.expect("something comes in time")
    }

    /// All messages up to the result, or to the end.
    pub async fn hear_all(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(message) = self.hear().await {
            let is_last = !message["Result"].is_null();
            all.push(message);
            if is_last {
                break;
            }
        }
        all
    }
}

/// A signed request.
pub fn request(nodes: &[Value], matrices: &[&str], configs: Value) -> Value {
    let nodes = nodes.iter().enumerate();
    let nodes: Vec<Value> = nodes
        .map(|(n, node)| json!({"Name": n.to_string(), "Payload": node.to_string()}))
        .collect();
    let matrices: Vec<Value> = matrices
        .iter()
        .map(|name| json!({"Type": name, "Params": "p"}))
        .collect();
    signed(json!({
        "Basics": {"ID": "a test", "Slave": "s", "SlaveName": "slave", "Invoker": "42", "Version": "1"},
        "Options": {"Filter": "", "Matrices": matrices},
        "Configs": configs, "Vendor": "Clash", "Nodes": nodes, "RandomSequence": "random", "Challenge": "",
    }))
}

pub fn signed(mut request: Value) -> Value {
    let read = Request::read(request.to_string().as_bytes()).expect("a request");
    let tokens = Tokens {
        token: TOKEN.to_owned().into(),
        build: BUILD_TOKEN.to_owned(),
    };
    request["Challenge"] = tokens.sign(&read).into();
    request
}

/// The slots of a result.
pub fn slots(messages: &[Value]) -> Vec<Value> {
    let last = messages.last().expect("a message");
    last["Result"]["Results"]
        .as_array()
        .unwrap_or_else(|| panic!("{last}"))
        .clone()
}

/// The payload of a matrix in a slot.
pub fn cell(slot: &Value, name: &str) -> Value {
    let cells = slot["Matrices"].as_array().expect("matrices");
    let cell = cells.iter().find(|cell| cell["Type"] == name);
    let cell = cell.unwrap_or_else(|| panic!("{name} in {slot}"));
    serde_json::from_str(cell["Payload"].as_str().expect("a text")).expect("JSON")
}
