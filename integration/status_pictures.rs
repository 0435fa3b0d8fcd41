//! The pictures of the status page in `docs`. `WRITE_EXPECTED=1 cargo test --test integration status_pictures` takes them anew, of a
//! server with real clients and two minutes of traffic.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::chromium::Page;
use crate::configs::{ID, Vmess};
use crate::peers::Peer::{Mobula, V2ray434};
use crate::peers::{Stage, free_port, listen, root};
use crate::traffic::{self, To};

/// Name, width and height, and the colours that the reader's system has.
const PICTURES: [(&str, u32, u32, &str); 2] = [
    ("status.png", 1200, 900, "light"),
    ("status-phone.png", 390, 1180, "dark"),
];

struct User {
    email: &'static str,
    from: &'static str,
    /// Where to, with kilobytes a second.
    tunnels: &'static [(&'static str, u32)],
}

const USERS: [User; 5] = [
    User {
        email: "ann@example.com",
        from: "203.0.113.24",
        tunnels: &[
            ("video.example.net", 420),
            ("www.example.com", 3),
            ("mail.example.com", 0),
        ],
    },
    User {
        email: "李明 🇨🇳",
        from: "198.51.100.7",
        tunnels: &[("updates.example.org", 160), ("chat.example.com", 1)],
    },
    User {
        email: "josé@example.org",
        from: "2001:db8:20::5",
        tunnels: &[("radio.example.net", 24), ("git.example.org", 9)],
    },
    User {
        email: "family tv",
        from: "203.0.113.80",
        tunnels: &[("films.example.net", 260)],
    },
    // Whom the server does not know.
    User {
        email: "",
        from: "192.0.2.99",
        tunnels: &[("www.example.com", 1)],
    },
];

#[tokio::test]
async fn the_documents_have_small_pictures_of_it() {
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        take().await;
    }
    for (name, ..) in PICTURES {
        let bytes = fs::read(root().join("docs").join(name)).expect("it is there");
        assert!(bytes.starts_with(b"\x89PNG"), "{name} is a PNG");
        assert!(bytes.len() < 150_000, "{name} has {} bytes", bytes.len());
    }
}

async fn take() {
    let mut stage = Stage::new();
    let (port, at) = (free_port(), free_port());
    let target = source().await;
    let mut config = Vmess::ws().server(Mobula, at);
    config["metrics"] = json!({"listen": format!("127.0.0.1:{port}")});
    config["inbounds"][0]["tag"] = json!("front");
    config["outbounds"] = json!([
        {"tag": "direct", "protocol": "freedom", "settings": {"redirect": target.to_string()}},
        {"tag": "lost", "protocol": "freedom", "settings": {"redirect": format!("127.0.0.1:{}", free_port())}},
    ]);
    config["routing"] = json!({"rules": [
        {"type": "field", "domain": ["full:gone.example.com"], "outboundTag": "lost"},
    ]});
    let id = |i: usize| format!("7b2f0c86-90b7-4d0f-9a44-2f0c8690b7d{i}");
    let clients = USERS.iter().enumerate();
    let clients = clients.filter(|(_, user)| !user.email.is_empty());
    let clients = clients.map(|(i, user)| json!({"id": id(i), "email": user.email, "alterId": 0}));
    config["inbounds"][0]["settings"]["clients"] = clients.collect();
    stage.run(Mobula, "server", &config, &[at]).await;

    let mut tunnels = Vec::new();
    for (i, user) in USERS.iter().enumerate() {
        let socks = free_port();
        let config = Vmess::ws().client(V2ray434, socks, at).to_string();
        let mut config: serde_json::Value =
            serde_json::from_str(&config.replace(ID, &id(i))).expect("JSON");
        let stream = &mut config["outbounds"][0]["streamSettings"];
        stream["wsSettings"]["headers"] = json!({"X-Forwarded-For": user.from});
        stage
            .run(V2ray434, &format!("client-{i}"), &config, &[socks])
            .await;
        for (name, rate) in user.tunnels {
            let to = To::Name(name, 443);
            tunnels.extend(begin(socks, &to, *rate).await);
        }
        if i == 0 {
            begin(socks, &To::Name("gone.example.com", 443), 1).await;
        }
    }
    let prober = TcpStream::connect((Ipv4Addr::LOCALHOST, at)).await;
    let request =
        b"GET /wp-login.php HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n";
    prober
        .expect("it listens")
        .write_all(request)
        .await
        .expect("it reads");
    sleep(Duration::from_secs(130)).await;

    let mut page = Page::open(&mut stage, "chromium", &format!("http://127.0.0.1:{port}/")).await;
    page.until_shown("tunnels-more", &["8 open"]).await;
    for (name, width, height, scheme) in PICTURES {
        page.resize(width, height, scheme).await;
        page.until(&format!("innerWidth === {width}")).await;
        // Twice it has been drawn anew.
        sleep(Duration::from_secs(5)).await;
        page.picture(&root().join("docs").join(name)).await;
    }
    drop(tunnels);
}

/// A tunnel that asks for so much, reads it, and sends a little.
async fn begin(socks: u16, to: &To, rate: u32) -> Option<tokio::task::JoinHandle<()>> {
    let mut stream = traffic::connect(socks, to).await.ok()?;
    stream.write_u32(rate * 1000).await.ok()?;
    Some(tokio::spawn(async move {
        let (mut reader, mut writer) = stream.split();
        let mut buf = vec![0; 64 * 1024];
        let reading = async { while reader.read(&mut buf).await.is_ok_and(|n| n > 0) {} };
        tokio::join!(reading, send(&mut writer, rate * 120));
    }))
}

/// Sends as much a second as it is asked for.
async fn source() -> SocketAddr {
    let listener = listen();
    let at = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let rate = stream.read_u32().await.unwrap_or(0);
                let (mut reader, mut writer) = stream.split();
                let mut buf = vec![0; 64 * 1024];
                let reading = async { while reader.read(&mut buf).await.is_ok_and(|n| n > 0) {} };
                tokio::join!(reading, send(&mut writer, rate));
            });
        }
    });
    at
}

/// So much a second, in waves.
async fn send(writer: &mut (impl AsyncWrite + Unpin), rate: u32) {
    let began = Instant::now();
    loop {
        let phase = began.elapsed().as_secs_f64() / 9.0 + f64::from(rate % 7);
        let wave = 1.0 + 0.4 * phase.sin() + 0.3 * (2.3 * phase).cos();
        let slice = vec![7; (f64::from(rate) * wave / 10.0) as usize];
        if writer.write_all(&slice).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
