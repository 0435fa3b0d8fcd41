//! The status page in a real browser, what it reads, and `mobula top`: while real clients have tunnels.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::chromium::Page;
use crate::configs::{ID, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray434};
use crate::peers::{Stage, free_port, mobula, python, root};
use crate::traffic::{self, To};

const OTHER_ID: &str = "7b2f0c86-90b7-4d0f-9a44-2f0c8690b7d1";
const UNKNOWN_ID: &str = "00000000-0000-4000-8000-000000000001";

/// An email is any text.
const OTHER_USER: &str = "<b>李明</b> 🇨🇳";

/// The answer to a request, head and body.
async fn ask(port: u16, path: &str, host: &str, headers: &str) -> (String, String) {
    let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = connecting.expect("metrics are served");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    let read = timeout(traffic::LIMIT, stream.read_to_string(&mut answer)).await;
    read.expect("in time").expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

async fn state(port: u16, headers: &str) -> Value {
    let (head, body) = ask(port, "/status.json", "127.0.0.1", headers).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// A server with two users and `metrics`.
async fn server(stage: &mut Stage, metrics: Value) -> u16 {
    let port = free_port();
    let mut config = Vmess::ws().server(Mobula, port);
    config["metrics"] = metrics;
    config["inbounds"][0]["tag"] = json!("front");
    config["outbounds"][0]["tag"] = json!("direct");
    let clients = config["inbounds"][0]["settings"]["clients"].as_array_mut();
    let other = json!({"id": OTHER_ID, "email": OTHER_USER, "alterId": 0});
    clients.expect("a list").push(other);
    stage.run(Mobula, "server", &config, &[port]).await;
    port
}

/// A client with this id; where its SOCKS is.
async fn client(stage: &mut Stage, peer: Peer, name: &str, server: u16, id: &str) -> u16 {
    let socks = free_port();
    let config = Vmess::ws().client(peer, socks, server);
    let config = config.to_string().replace(ID, id);
    let config = serde_json::from_str(&config).expect("JSON");
    stage.run(peer, name, &config, &[socks]).await;
    socks
}

/// A tunnel through a client, that has carried something.
async fn tunnel(socks: u16, to: SocketAddr) -> TcpStream {
    let mut stream = traffic::connect(socks, &To::Ip(to))
        .await
        .expect("SOCKS connects");
    traffic::exchange(&mut stream, &traffic::bytes(10_000)).await;
    stream
}

/// Somebody whom the server does not know.
async fn refused(stage: &mut Stage, server: u16) {
    let socks = client(stage, V2ray434, "stranger", server, UNKNOWN_ID).await;
    if let Ok(mut stream) = traffic::connect(socks, &To::Ip(traffic::echo().await)).await {
        let _ = stream.write_all(b"hello").await;
    }
    stage.until_file_has("access.log", "[user-unknown]").await;
}

fn top(args: &[&str]) -> Output {
    let output = mobula()
        .arg("top")
        .args(args)
        .env_remove("MOBULA_TOKEN")
        .output();
    output.expect("mobula runs")
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).expect("it is text")
}

#[tokio::test]
async fn a_browser_shows_who_has_a_tunnel_and_who_was_refused() {
    let mut stage = Stage::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let server = server(&mut stage, json!({"listen": listen})).await;
    let ours = client(&mut stage, V2ray434, "v2ray", server, ID).await;
    let other = client(&mut stage, SingBox, "sing-box", server, OTHER_ID).await;
    let (echo, elsewhere) = (traffic::echo().await, traffic::echo().await);
    let mut one = tunnel(ours, echo).await;
    let _other = tunnel(other, elsewhere).await;

    let url = format!("http://{listen}/");
    let mut page = Page::open(&mut stage, "chromium", &url).await;
    let (echo, elsewhere) = (echo.to_string(), elsewhere.to_string());
    let shown = [
        "a@mobula.test",
        OTHER_USER,
        &echo,
        &elsewhere,
        "front",
        "direct",
    ];
    page.until_shown("tunnels", &shown).await;
    page.until_shown("users", &["a@mobula.test", OTHER_USER])
        .await;
    page.until_shown("inbounds", &["front"]).await;
    page.until_shown("outbounds", &["direct"]).await;
    page.until_shown("tunnels-more", &["2 open"]).await;
    // The page has its style and its script, and nobody else's markup.
    assert_eq!(
        page.value("getComputedStyle(document.body).maxWidth").await,
        "1240px"
    );
    assert_eq!(page.value("document.querySelectorAll('b').length").await, 0);

    // Bytes grow.
    page.until_shown("tunnels", &["10 kB"]).await;
    traffic::exchange(&mut one, &traffic::bytes(400_000)).await;
    page.until_shown("tunnels", &["410 kB"]).await;
    page.until_shown("users", &["410 kB"]).await;

    // A stranger is told of with the code and what to do.
    refused(&mut stage, server).await;
    let explained = mobula()
        .args(["explain", "--json", "user-unknown"])
        .output();
    let explained: Value =
        serde_json::from_slice(&explained.expect("mobula runs").stdout).expect("JSON");
    let cure = explained[0]["cure"].as_str().expect("a cure");
    page.until_shown(
        "errors",
        &[
            "user-unknown",
            "no user matches",
            "at inbounds[0] (front)",
            "from 127.0.0.1",
            cure,
        ],
    )
    .await;
    page.until_shown("tiles", &["Refused\n"]).await;

    // Tables are sorted by buttons, which a keyboard reaches.
    let sort = "(() => { const button = [...document.querySelectorAll('#tunnels th button')].find(one => one.textContent === 'Down'); \
                button.focus(); button.click(); \
                return document.activeElement === button && button.parentElement.getAttribute('aria-sort'); })()";
    assert_eq!(page.value(sort).await, "descending");
    assert_eq!(page.value(sort).await, "ascending");
    let first = "document.querySelector('#tunnels tbody tr').innerText";
    assert!(
        page.value(first)
            .await
            .as_str()
            .expect("a row")
            .contains(&elsewhere)
    );
    page.value(
        "(() => { const filter = document.getElementById('filter'); filter.value = '李明'; \
                filter.dispatchEvent(new Event('input')); })()",
    )
    .await;
    page.until("document.querySelectorAll('#tunnels tbody tr').length === 1")
        .await;

    // Nothing is wider than the screen, be it a phone's.
    for width in [360, 768, 901, 1280] {
        page.resize(width, 800, "dark").await;
        page.until(&format!("innerWidth === {width}")).await;
        let wide = page.value("document.documentElement.scrollWidth").await;
        assert!(
            wide.as_u64().expect("a width") <= width.into(),
            "{wide} of {width}"
        );
    }
    let dark = page
        .value("getComputedStyle(document.documentElement).backgroundColor")
        .await;
    page.resize(360, 800, "light").await;
    let light = page
        .value("getComputedStyle(document.documentElement).backgroundColor")
        .await;
    assert_ne!(dark, light);

    // Nobody else was asked for anything, and nothing was forbidden.
    let foreign: Vec<_> = (page.requests.iter())
        .filter(|one| !one.starts_with(&url) && !one.starts_with("data:"))
        .collect();
    assert!(
        foreign.is_empty() && page.requests.len() > 3,
        "{:?}",
        page.requests
    );
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
    assert_eq!(
        page.value("localStorage.length + document.cookie.length")
            .await,
        0
    );

    // A tunnel that has ended is shown no more.
    drop(one);
    page.value("document.getElementById('filter').value = ''")
        .await;
    page.until_shown("tunnels-more", &["1 open"]).await;
    assert!(!page.text("tunnels").await.contains(&echo));
}

#[tokio::test]
async fn top_prints_the_same() {
    let mut stage = Stage::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let server = server(&mut stage, json!({"listen": listen})).await;
    let ours = client(&mut stage, V2ray434, "v2ray", server, ID).await;
    let other = client(&mut stage, SingBox, "sing-box", server, OTHER_ID).await;
    let echo = traffic::echo().await;
    let _both = (tunnel(ours, echo).await, tunnel(other, echo).await);
    refused(&mut stage, server).await;
    let config = stage.path("server.json");
    let config = config.to_str().expect("a path");
    let url = format!("http://{listen}");
    for args in [["--once", "--url", &url], ["--once", "-c", config]] {
        let output = top(&args);
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        let has = |texts: &[&str]| {
            text.lines()
                .any(|line| texts.iter().all(|text| line.contains(text)))
        };
        let target = echo.to_string();
        for line in [
            &["2 tunnels", "2 handshakes accepted"][..],
            &["a@mobula.test", &target, "front", "direct", "10 kB"],
            &[OTHER_USER, &target, "front", "direct", "10 kB"],
            &[
                "[user-unknown]",
                "at inbounds[0] (front)",
                "from 127.0.0.1:",
            ],
            &["  cure: "],
        ] {
            assert!(has(line), "{line:?} is in no line of\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    let output = top(&["--json", "--url", &url]);
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |status: &Value| {
        let list = status["tunnels"]["list"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut ids: Vec<_> = list.iter().map(|one| one["id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(of(&printed), of(&state(port, "").await));
    assert_eq!(of(&printed).len(), 2);
    // A bound of one's own.
    let (_, one) = ask(port, "/status.json?tunnels=1", "localhost", "").await;
    let one: Value = serde_json::from_str(&one).expect("JSON");
    assert_eq!((of(&one).len(), &one["tunnels"]["more"]), (1, &json!(1)));

    let nobody = format!("http://127.0.0.1:{}", free_port());
    let output = top(&["--once", "--url", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("is `metrics.listen` in the server's config"),
        "{}",
        said(&output)
    );
}

/// Every datagram's way is a tunnel, too.
#[tokio::test]
async fn associations_are_shown_with_where_they_go() {
    let mut stage = Stage::new();
    let port = free_port();
    let server = server(&mut stage, json!({"listen": format!("127.0.0.1:{port}")})).await;
    let socks = client(&mut stage, Mobula, "client", server, ID).await;
    let (_held, relay) = traffic::associate(socks).await;
    let target = traffic::udp_echo().await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a socket");
    let datagram = traffic::datagram(&To::Ip(target), &[7; 500]);
    let mut answer = [0; 1000];
    let answered = async {
        loop {
            socket.send_to(&datagram, relay).await.expect("it is sent");
            let receiving = socket.recv_from(&mut answer);
            if timeout(std::time::Duration::from_secs(2), receiving)
                .await
                .is_ok()
            {
                break;
            }
        }
    };
    timeout(traffic::LIMIT, answered).await.expect("an answer");
    let state = state(port, "").await;
    let list = state["tunnels"]["list"].as_array().expect("a list");
    let row = list
        .iter()
        .find(|one| one["network"] == "udp")
        .expect("the association");
    assert_eq!(
        (&row["target"], &row["user"]),
        (&json!(target.to_string()), &json!("a@mobula.test"))
    );
    assert!(row["down"].as_u64() >= Some(500), "{row}");
}

#[tokio::test]
async fn what_is_hidden_is_in_none_of_them() {
    let mut stage = Stage::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let metrics = json!({"listen": listen, "hide": ["targets", "users", "sources"]});
    let server = server(&mut stage, metrics).await;
    let ours = client(&mut stage, V2ray434, "v2ray", server, ID).await;
    let echo = traffic::echo().await;
    let _one = tunnel(ours, echo).await;
    refused(&mut stage, server).await;
    // A target that is out of reach is named by what the server says.
    let closed = To::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    if let Ok(mut stream) = traffic::connect(ours, &closed).await {
        let _ = stream.write_all(b"hello").await;
    }
    stage.until_file_has("server.log", "[tcp-refused]").await;
    let state = state(port, "").await;
    assert_eq!(state["tunnels"]["open"], 1);
    let row = &state["tunnels"]["list"][0];
    for key in ["source", "user", "target"] {
        assert!(row[key].is_null(), "{row}");
    }
    assert_eq!(
        (&row["inbound"], &row["outbound"]),
        (&json!("front"), &json!("direct"))
    );
    let codes: Vec<_> = state["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["code"])
        .collect();
    assert!(
        codes.contains(&&json!("user-unknown")) && codes.contains(&&json!("tcp-refused")),
        "{codes:?}"
    );
    let printed = said(&top(&["--once", "--url", &format!("http://{listen}")]));
    let mut page = Page::open(&mut stage, "chromium", &format!("http://{listen}/")).await;
    page.until_shown("errors", &["user-unknown", "tcp-refused"])
        .await;
    page.until_shown("tunnels", &["front"]).await;
    let shown = page.value("document.body.innerText").await.to_string();
    let printed = printed.replace(&listen, "");
    for text in [state.to_string(), printed, shown] {
        for hidden in ["127.0.0.1", "a@mobula.test", "李明"] {
            assert!(!text.contains(hidden), "{hidden} is in\n{text}");
        }
    }
}

#[tokio::test]
async fn strangers_pages_may_not_look() {
    let mut stage = Stage::new();
    let port = free_port();
    let metrics = json!({"listen": format!("127.0.0.1:{port}"), "hosts": ["status.example"]});
    server(&mut stage, metrics).await;
    for path in ["/", "/status.json", "/metrics"] {
        for host in ["127.0.0.1", "localhost:1", "[::1]:1", "status.example:443"] {
            let (head, _) = ask(port, path, host, "").await;
            assert!(head.starts_with("HTTP/1.1 200"), "{host}: {head}");
        }
        for host in [
            "rebound.example",
            "localhost.example:1",
            "127.0.0.1.example",
        ] {
            let (head, body) = ask(port, path, host, "").await;
            assert!(head.starts_with("HTTP/1.1 421"), "{host}: {head}");
            assert!(
                body.contains("`metrics.hosts`") && !body.contains("front"),
                "{body}"
            );
        }
        let foreign = "Origin: http://evil.example\r\n";
        let (head, _) = ask(port, path, "127.0.0.1", foreign).await;
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("access-control"), "{head}");
        for header in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none';",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "{header} is not in\n{head}");
        }
    }
}

#[tokio::test]
async fn beyond_loopback_the_page_asks_for_the_token() {
    let mut stage = Stage::new();
    let port = free_port();
    let metrics = json!({"listen": format!("0.0.0.0:{port}"), "token": "sesame"});
    let server = server(&mut stage, metrics).await;
    let ours = client(&mut stage, V2ray434, "v2ray", server, ID).await;
    let _one = tunnel(ours, traffic::echo().await).await;
    let token = "Authorization: Bearer sesame\r\n";
    for (path, headers) in [
        ("/status.json", ""),
        ("/status.json", "Authorization: Bearer open\r\n"),
        ("/status.json?token=sesame", ""),
        ("/status.json?access_token=sesame", ""),
        ("/metrics?token=sesame", ""),
        ("/?token=sesame", ""),
        ("/", ""),
    ] {
        let (head, body) = ask(port, path, "a.example", headers).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{path} {headers}: {head}");
        assert!(
            !body.contains("a@mobula.test") && !body.contains("mobula_"),
            "{body}"
        );
    }
    assert_eq!(state(port, token).await["tunnels"]["open"], 1);

    let url = format!("http://127.0.0.1:{port}/");
    let mut page = Page::open(&mut stage, "chromium", &url).await;
    let enter = |word: &str| {
        format!(
            "(() => {{ document.getElementById('token').value = '{word}'; document.querySelector('#door button').click(); }})()"
        )
    };
    page.until("!document.getElementById('door').hidden").await;
    assert_eq!(
        page.value("document.getElementById('main').hidden").await,
        true
    );
    page.value(&enter("open")).await;
    page.until_shown("door", &["The token is another one"])
        .await;
    page.value(&enter("sesame")).await;
    page.until_shown("tunnels", &["a@mobula.test"]).await;
    // It is this tab's alone, and stands in no address.
    page.call("Page.reload", json!({})).await;
    page.until("document.getElementById('tunnels').innerText.includes('a@mobula.test')")
        .await;
    assert_eq!(page.value("location.href").await, json!(url));
    assert_eq!(
        page.value("localStorage.length + document.cookie.length")
            .await,
        0
    );
    assert!(
        page.requests.iter().all(|one| !one.contains("sesame")),
        "{:?}",
        page.requests
    );
    page.value("document.getElementById('forget').click()")
        .await;
    page.until("!document.getElementById('door').hidden && sessionStorage.length === 0")
        .await;

    let at = format!("http://127.0.0.1:{port}");
    let output = top(&["--once", "--url", &at]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("the token is missing"),
        "{}",
        said(&output)
    );
    for given in [
        &["--token", "sesame", "--url", &at][..],
        &["-c", "server.json"],
    ] {
        let mut command = mobula();
        command
            .current_dir(stage.path(""))
            .args(["top", "--once"])
            .args(given);
        let output = command.output().expect("mobula runs");
        assert!(said(&output).contains("a@mobula.test"), "{}", said(&output));
    }
    let output = mobula()
        .args(["top", "--once", "--url", &at])
        .env("MOBULA_TOKEN", "sesame")
        .output();
    assert!(said(&output.expect("mobula runs")).contains("a@mobula.test"));
}

/// A terminal of its own: what `top` shows there, and how it leaves it.
#[tokio::test]
async fn top_gives_the_terminal_back() {
    let mut stage = Stage::new();
    let port = free_port();
    let server = server(&mut stage, json!({"listen": format!("127.0.0.1:{port}")})).await;
    let ours = client(&mut stage, V2ray434, "v2ray", server, ID).await;
    let _one = tunnel(ours, traffic::echo().await).await;
    let script = root().join("integration/peers/terminal.py");
    let url = format!("http://127.0.0.1:{port}");
    for end in ["q", "\u{3}", "\u{1b}", "TERM", "INT", "HUP"] {
        let program = mobula();
        let mut command: Command = python();
        command.arg(&script).arg(end).arg(program.get_program());
        command
            .args(["top", "--url", &url])
            .env_remove("MOBULA_TOKEN");
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("it runs").expect("python runs");
        let text = said(&output);
        assert!(output.status.success(), "{end:?}: {text}");
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(found["status"], 0, "{found}");
        assert_eq!(found["settings_are_back"], true, "{end:?}: {found}");
        let screen = found["screen"].as_str().expect("what was shown");
        let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
        assert!(
            screen.contains(enter) && screen.contains(leave),
            "{screen:?}"
        );
        assert!(screen.rfind(leave) > screen.rfind(enter), "{screen:?}");
        assert!(screen.contains("\u{1b}[?25h"), "{screen:?}");
        for shown in ["a@mobula.test", "OUTBOUND", "direct"] {
            assert!(screen.contains(shown), "{shown} is not in {screen:?}");
        }
    }
}
