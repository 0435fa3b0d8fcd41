//! `mobula run -c` of what is no config of V2Ray's: it runs as it is, says what was understood, and nothing goes another way than was
//! meant.

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::configs::Vmess;
use crate::peers::Peer::{Mihomo, Mobula, SingBox};
use crate::peers::{Stage, free_port, listen, mobula, root};
use crate::traffic;

fn run(args: &[&str], stage: &Stage) -> Output {
    let output = mobula().args(args).current_dir(stage.path("")).output();
    output.expect("mobula runs")
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn converted(from: &str, to: &str, stage: &Stage) -> String {
    let output = run(&["convert", from, "--to", to], stage);
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Starts a client, and gives its index and the port of its SOCKS that it names.
async fn started(stage: &mut Stage, name: &str, command: &mut Command) -> (usize, u16) {
    let index = stage.start(name, command, &[]).await;
    let log = format!("{name}.log");
    let line = stage
        .until_line_has(&log, &["use it by socks5://127.0.0.1:"])
        .await;
    let (_, port) = line.split_once("socks5://127.0.0.1:").expect("it is there");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    (index, port.parse().expect("a port"))
}

async fn carries(stage: &mut Stage, name: &str, command: &mut Command) -> String {
    let (index, socks) = started(stage, name, command).await;
    traffic::ready(socks).await;
    traffic::both_ways(socks, 100_000).await;
    let log = stage.log(index);
    assert!(log.contains(&format!("http://127.0.0.1:{socks}")), "{log}");
    let child = stage.child(index);
    child.signal("KILL");
    // The next one may listen on its ports.
    child.ended(Duration::from_secs(5)).await;
    log
}

/// A client in each form, and what it says that it is.
fn forms(vmess: &Vmess, server: u16, stage: &Stage) -> Vec<(&'static str, String, &'static str)> {
    let four = vmess.client(Mobula, free_port(), server).to_string();
    stage.write("four.json", &four);
    let links = converted("four.json", "links", stage);
    vec![
        (
            "v5",
            converted("four.json", "v5", stage),
            "a config of V2Ray",
        ),
        (
            "clash",
            converted("four.json", "clash", stage),
            "a config of Clash",
        ),
        ("four", four, "a config of V2Ray"),
        (
            "sing-box",
            vmess.client(SingBox, free_port(), server).to_string(),
            "a config of sing-box",
        ),
        (
            "mihomo",
            vmess.client(Mihomo, free_port(), server).to_string(),
            "a config of Clash",
        ),
        ("base64", STANDARD.encode(&links), "a list of links"),
        ("links", links, "a list of links"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_form_runs_as_it_is() {
    let mut stage = Stage::new();
    let vmess = Vmess::ws();
    let server = free_port();
    stage
        .run(Mobula, "server", &vmess.server(Mobula, server), &[server])
        .await;
    for (name, text, form) in forms(&vmess, server, &stage) {
        let file = stage.write(name, &text);
        let tested = run(&["test", "-c", name], &stage);
        assert!(tested.status.success(), "{name}: {}", said(&tested));
        assert!(said(&tested).contains("Configuration OK."));
        let mut command = mobula();
        command.args(["run", "-c"]).arg(&file);
        let log = carries(&mut stage, &format!("file-{name}"), &mut command).await;
        assert!(log.contains(form) && log.contains("one server"), "{log}");
        // The same by a URL.
        let web = Web::new(&text);
        let mut command = mobula();
        command.args(["run", "-c", &web.url()]);
        let log = carries(&mut stage, &format!("url-{name}"), &mut command).await;
        assert!(log.contains(form) && !log.contains("secret"), "{log}");
        // And on standard input.
        let mut command = Command::new("sh");
        let program = mobula().get_program().to_owned();
        command
            .args(["-c", "exec \"$0\" run -c - < \"$1\""])
            .arg(program)
            .arg(&file);
        carries(&mut stage, &format!("stdin-{name}"), &mut command).await;
    }
    let link = stage.read("links");
    let link = link.trim();
    let mut command = mobula();
    command.args(["run", "-c", link]);
    carries(&mut stage, "link", &mut command).await;
    stage.write(
        "sip008.json",
        json!({"version": 1, "servers": []}).to_string(),
    );
    let output = run(&["convert", link, "--strict"], &stage);
    let value: Value = serde_json::from_slice(&output.stdout).expect("a config");
    assert_eq!(
        value["outbounds"][0]["protocol"],
        "vmess",
        "{}",
        said(&output)
    );
    let doctor = run(
        &[
            "doctor",
            "-c",
            link,
            "--url",
            &format!("http://127.0.0.1:{server}/"),
        ],
        &stage,
    );
    assert!(said(&doctor).contains("ok       auth"), "{}", said(&doctor));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_read_again_and_one_that_fails_changes_nothing() {
    let mut stage = Stage::new();
    let vmess = Vmess::ws();
    let [server, other] = [free_port(), free_port()];
    for port in [server, other] {
        stage
            .run(
                Mobula,
                &format!("server-{port}"),
                &vmess.server(Mobula, port),
                &[port],
            )
            .await;
    }
    let links = |stage: &Stage, port: u16| {
        stage.write("c.json", vmess.client(Mobula, 1, port).to_string());
        converted("c.json", "links", stage)
    };
    let web = Web::new(&links(&stage, server));
    let mut command = mobula();
    command.args(["run", "-c", &web.url()]);
    let (index, socks) = started(&mut stage, "client", &mut command).await;
    traffic::ready(socks).await;
    traffic::both_ways(socks, 100_000).await;
    web.answers("500 Internal Server Error", "");
    stage.child(index).signal("HUP");
    stage
        .until_line_has("client.log", &["127.0.0.1", "the server answers 500"])
        .await;
    stage
        .until_line_has("client.log", &["all goes on as it was"])
        .await;
    traffic::both_ways(socks, 100_000).await;
    web.answers("200 OK", &links(&stage, other));
    stage.child(index).signal("HUP");
    stage
        .until_line_has(
            "client.log",
            &["with one server", &format!("127.0.0.1:{other}")],
        )
        .await;
    // The port that was chosen is kept.
    traffic::both_ways(socks, 100_000).await;
    let log = stage.log(index);
    assert!(!log.contains("secret") && !log.contains("token"), "{log}");
}

const HK: &str =
    "proxies:\n- {name: hk, type: trojan, server: 192.0.2.1, port: 443, password: sesame}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_go_another_way_does_not_run() {
    let stage = Stage::new();
    let log = stage.path("app.log");
    let remote = |config: Value| Web::new(&config.to_string());
    let proxy = json!({"protocol": "trojan", "settings": {"servers": [{"address": "192.0.2.1", "port": 443, "password": "sesame"}]}});
    let writes = remote(json!({"log": {"access": log}, "outbounds": [proxy]}));
    let to_socket = json!({"network": "domainsocket", "dsSettings": {"path": "/run/some.sock"}});
    let leads =
        remote(json!({"outbounds": [{"protocol": "freedom", "streamSettings": to_socket}]}));
    stage.write(
        "rules",
        format!("{HK}rules: ['RULE-SET,x,DIRECT', 'MATCH,hk']\n"),
    );
    stage.write("tun", format!("{HK}tun: {{enable: true}}\n"));
    stage.write(
        "server",
        json!({"inbounds": [{"type": "vless", "listen_port": 1}],
            "outbounds": [{"type": "trojan", "server": "192.0.2.1", "server_port": 443, "password": "sesame"}]})
        .to_string(),
    );
    stage.write("good", HK);
    stage.write("empty", json!({"version": 1, "servers": []}).to_string());
    stage.write(
        "providers",
        "proxy-providers: {a: {type: http, url: 'https://a.example/x'}}\n",
    );
    stage.write("config.json", "{}");
    let (writes, leads) = (writes.url(), leads.url());
    for (args, expected) in [
        (
            &["-c", "rules"][..],
            "1 rule of kind `RULE-SET`, beginning here: not carried over: sessions would go another way",
        ),
        (&["-c", "tun"], "traffic is not caught here"),
        (
            &["-c", "server"],
            "inbounds of type `vless` are not carried over",
        ),
        (
            &["-c", "config.json", "-c", "good"],
            "good: this is a config of Clash, and configs of V2Ray alone are merged",
        ),
        (
            &["-c", "empty"],
            "this is a config of Shadowsocks, and there is no server in it",
        ),
        (
            &["-c", "providers"],
            "proxy-providers.a.url: https://a.example/…: ",
        ),
        (
            &["-c", &writes],
            "log.access: what was fetched may name no file, folder or socket",
        ),
        (
            &["-c", &leads],
            "outbounds[0].streamSettings: what was fetched may name no file, folder or socket",
        ),
        (
            &["-c", "hysteria2://secret@192.0.2.1:1"],
            "no server in it that could be used",
        ),
        (
            &["-c", "http://127.0.0.1:1/secret"],
            "http://127.0.0.1:1/…: ",
        ),
    ] {
        for command in ["run", "test"] {
            let output = run(&[&[command][..], args].concat(), &stage);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(23), "{args:?}: {said}");
            assert!(said.contains(expected), "{expected}: {said}");
            assert!(
                !said.contains("sesame") && !said.contains("secret"),
                "{said}"
            );
        }
    }
    let tested = run(&["test", "-c", "rules", "--skip-unbuilt"], &stage);
    assert!(tested.status.success(), "{}", said(&tested));
    assert!(
        said(&tested).contains("left out: rules:"),
        "{}",
        said(&tested)
    );
    assert!(!log.exists());
}

#[test]
fn what_has_nothing_to_listen_on_is_left_out_as_well() {
    let stage = Stage::new();
    let socks = json!({"listen": "127.0.0.1", "port": 1080, "protocol": "socks"});
    let config = json!({"inbounds": [{"protocol": "tun", "tag": "t"}, socks], "outbounds": [{"protocol": "freedom"}]});
    stage.write("tun", config.to_string());
    let refused = said(&run(&["test", "-c", "tun"], &stage));
    assert!(refused.contains("`tun` is not built"), "{refused}");
    assert!(!refused.contains("`port` is missing"), "{refused}");
    let tested = run(&["test", "-c", "tun", "--skip-unbuilt"], &stage);
    assert!(tested.status.success(), "{}", said(&tested));
}

#[test]
fn a_config_is_made_in_v2ray_5_s_words_of_every_form() {
    let stage = Stage::new();
    for file in [
        "mihomo.yaml",
        "sing-box.json",
        "subscription.txt",
        "sip008.json",
    ] {
        let from = root().join("testdata/convert").join(file);
        let text = converted(from.to_str().expect("a path of ours"), "v5", &stage);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let first = &value["outbounds"][0];
        assert!(first["settings"]["address"].is_string(), "{text}");
        assert!(
            first
                .get("streamSettings")
                .is_none_or(|stream| stream["transport"].is_string())
        );
        stage.write("five.json", &text);
        let tested = run(&["test", "-c", "five.json", "-format", "jsonv5"], &stage);
        assert!(tested.status.success(), "{}", said(&tested));
    }
}

/// A server that answers every request with the same, until it is told another answer.
struct Web {
    port: u16,
    answer: Arc<Mutex<String>>,
}

impl Web {
    fn new(body: &str) -> Self {
        let listener = listen();
        let port = listener.local_addr().expect("it listens").port();
        let web = Self {
            port,
            answer: Arc::default(),
        };
        web.answers("200 OK", body);
        let answer = web.answer.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a request"));
                }
                let answer = answer.lock().expect("nobody panics").clone();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        web
    }

    fn answers(&self, status: &str, body: &str) {
        *self.answer.lock().expect("nobody panics") = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/secret?token=x", self.port)
    }
}
