//! mobula in the place of v2ray-plugin (SIP003): started by shadowsocks-libev, with the real one, sing-box and mihomo at
//! the other end.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::configs::{Certificate, SERVER_NAME};
use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, connections, free_port, mobula, system};
use crate::scenario_recipes::{shown, with};
use crate::traffic::{self, LIMIT, To};
use crate::tunnel::EIGHT_MIB;

/// Who is the plugin of a shadowsocks-libev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    Ours,
    Real,
}
use Plugin::{Ours, Real};

const PAIRS: [(Plugin, Plugin); 4] = [(Ours, Real), (Real, Ours), (Ours, Ours), (Real, Real)];

pub const PASSWORD: &str = "a word, or two";
pub const METHOD: &str = "chacha20-ietf-poly1305";

impl Plugin {
    /// As `--plugin` has it.
    pub fn program(self) -> String {
        let command = match self {
            Ours => mobula(),
            Real => system("ss-v2ray-plugin"),
        };
        command.get_program().to_string_lossy().into_owned()
    }
}

/// `ss-local` or `ss-server`.
pub fn bare(program: &str, port: u16, password: &str) -> Command {
    let mut command = system(program);
    command.args(["-s", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["-k", password, "-m", METHOD]);
    command
}

/// `ss-local` or `ss-server` with a plugin that it starts.
pub fn libev(program: &str, port: u16, plugin: &str, options: &str) -> Command {
    let mut command = bare(program, port, PASSWORD);
    command.args(["--plugin", plugin]);
    if !options.is_empty() {
        command.args(["--plugin-opts", options]);
    }
    command
}

/// A server that listens on `port`; its index.
pub async fn ss_server(stage: &mut Stage, port: u16, plugin: &str, options: &str) -> usize {
    let mut server = libev("ss-server", port, plugin, options);
    stage.start("ss-server", &mut server, &[port]).await
}

/// A client of the server on `port`, once it carries something; its SOCKS port.
pub async fn ss_local(stage: &mut Stage, port: u16, plugin: &str, options: &str) -> u16 {
    let socks = free_port();
    let mut client = libev("ss-local", port, plugin, options);
    client.args(["-b", "127.0.0.1", "-l", &socks.to_string()]);
    stage.start("ss-local", &mut client, &[socks]).await;
    traffic::ready(socks).await;
    socks
}

pub async fn carries_streams(socks: u16) {
    carries_open_streams(socks).await;
    traffic::target_sends_and_closes(socks).await;
}

async fn carries_words(socks: u16) {
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::server_speaks_first(socks).await;
}

/// As many as are counted where connections are shared; each has carried a word.
async fn four_streams(socks: u16) -> Vec<TcpStream> {
    let to = To::Ip(traffic::echo().await);
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS");
        traffic::exchange(&mut stream, b"a word").await;
        open.push(stream);
    }
    open
}

async fn carries_open_streams(socks: u16) {
    carries_words(socks).await;
    traffic::both_ways(socks, EIGHT_MIB).await;
    traffic::many(socks, 30).await;
}

/// Between two shadowsocks-libevs, with these options at either end.
async fn carries(client: &str, server: &str) {
    for (near, far) in PAIRS {
        println!("{near:?} `{client}` to {far:?} `{server}`");
        let (mut stage, port) = (Stage::new(), free_port());
        ss_server(&mut stage, port, &far.program(), server).await;
        let socks = ss_local(&mut stage, port, &near.program(), client).await;
        carries_streams(socks).await;
    }
}

#[tokio::test]
async fn without_options_connections_are_reused() {
    carries("", "server").await;
}

#[tokio::test]
async fn without_mux_each_has_its_own() {
    carries("mux=0", "server;mux=0").await;
}

#[tokio::test]
async fn several_share_a_connection_at_a_path() {
    carries(
        r"mux=8;path=/a\;b\=c;host=a.example",
        r"server;path=/a\;b\=c;loglevel=none",
    )
    .await;
}

#[tokio::test]
async fn what_android_and_libev_say_besides() {
    carries(
        "__android_vpn;fastOpen;mode=websocket;loglevel=debug;path=ray",
        "server;fastOpen;path=/ray;loglevel=error;",
    )
    .await;
}

#[tokio::test]
async fn with_tls() {
    let stage = Stage::new();
    let certificate = Certificate::new(&stage);
    let (authority, chain) = (certificate.authority.display(), certificate.chain.display());
    let raw = std::fs::read_to_string(&certificate.authority).unwrap();
    let raw: String = raw.lines().filter(|line| !line.contains("---")).collect();
    let server = format!(
        "server;tls;host={SERVER_NAME};cert={chain};key={}",
        certificate.key.display()
    );
    carries(&format!("tls;host={SERVER_NAME};cert={authority}"), &server).await;
    let raw = raw.replace('=', r"\=");
    carries(
        &format!("tls;mux=0;host={SERVER_NAME};certRaw={raw}"),
        &format!("{server};mux=0"),
    )
    .await;
}

/// With acme.sh's files in the home of whoever runs it; and a client that does not know their authority is refused.
#[tokio::test]
async fn with_the_certificate_of_acme_sh() {
    let (mut stage, port) = (Stage::new(), free_port());
    let certificate = Certificate::new(&stage);
    let home = stage.path(".acme.sh").join(SERVER_NAME);
    std::fs::create_dir_all(&home).unwrap();
    std::fs::copy(&certificate.chain, home.join("fullchain.cer")).unwrap();
    std::fs::copy(&certificate.key, home.join(format!("{SERVER_NAME}.key"))).unwrap();
    let options = format!("server;tls;host={SERVER_NAME}");
    let mut server = libev("ss-server", port, &Ours.program(), &options);
    server.env("HOME", stage.path(""));
    stage.start("ss-server", &mut server, &[port]).await;

    let stranger = free_port();
    let options = format!("tls;host={SERVER_NAME}");
    let mut client = libev("ss-local", port, &Ours.program(), &options);
    client.args(["-b", "127.0.0.1", "-l", &stranger.to_string()]);
    stage.start("stranger", &mut client, &[stranger]).await;
    let echo = To::Ip(traffic::echo().await);
    let deadline = Instant::now() + LIMIT;
    // Its plugin may not listen yet.
    while !stage
        .read_so_far("stranger.log")
        .contains("nobody we believe has issued")
    {
        assert!(Instant::now() < deadline, "{}", stage.read("stranger.log"));
        traffic::line(stranger, &echo).await;
    }

    let options = format!("{options};cert={}", certificate.authority.display());
    let socks = ss_local(&mut stage, port, &Ours.program(), &options).await;
    carries_streams(socks).await;
}

#[tokio::test]
async fn as_many_share_a_connection_as_the_client_says() {
    for (near, far) in PAIRS {
        for (options, expected) in [("mux=3", 2), ("", 4), ("mux=0", 4)] {
            println!("{near:?} to {far:?}, `{options}`");
            let (mut stage, port) = (Stage::new(), free_port());
            let server = if options == "mux=0" {
                "server;mux=0"
            } else {
                "server"
            };
            ss_server(&mut stage, port, &far.program(), server).await;
            let socks = ss_local(&mut stage, port, &near.program(), options).await;
            // What made sure that it carries has ended.
            let deadline = Instant::now() + LIMIT;
            while options == "mux=0" && connections(port) > 0 {
                assert!(
                    Instant::now() < deadline,
                    "a connection outlives its only session"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let _open = four_streams(socks).await;
            let there = connections(port);
            // One that has just lost its session may not be taken for the next.
            let more = usize::from(options != "mux=0");
            assert!((expected..=expected + more).contains(&there), "{there}");
        }
    }
}

/// Options of sing-box's and mihomo's own v2ray-plugin, and of ours as the server of it.
fn built_in(certificate: &Certificate) -> Vec<(String, Value, String)> {
    let tls = format!(
        "server;tls;host={SERVER_NAME};cert={};key={}",
        certificate.chain.display(),
        certificate.key.display()
    );
    let authority = certificate.authority.display();
    vec![
        (
            "host=a.example;path=/ray".into(),
            json!({"mux": true, "host": "a.example", "path": "/ray"}),
            "server;path=/ray".into(),
        ),
        ("mux=0".into(), json!({"mux": false}), "server;mux=0".into()),
        (
            format!("tls;host={SERVER_NAME};cert={authority}"),
            json!({"mux": true, "tls": true, "host": SERVER_NAME, "skip-cert-verify": true}),
            tls.clone(),
        ),
        (
            format!("tls;mux=0;host={SERVER_NAME};cert={authority};path=/a"),
            json!({"mux": false, "tls": true, "host": SERVER_NAME, "skip-cert-verify": true, "path": "/a"}),
            format!("{tls};mux=0;path=/a"),
        ),
    ]
}

#[tokio::test]
async fn clients_that_have_it_built_in() {
    let folder = Stage::new();
    let certificate = Certificate::new(&folder);
    for (sing_box, mihomo, server) in built_in(&certificate) {
        for client in [SingBox, Mihomo] {
            println!("{client:?}: {sing_box} {mihomo}, {server}");
            let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
            ss_server(&mut stage, port, &Ours.program(), &server).await;
            let config = with_plugin(client, socks, port, &sing_box, &mihomo);
            stage.run(client, "client", &config, &[socks]).await;
            traffic::ready(socks).await;
            match (client, mihomo["mux"] == true) {
                // It reads the head of a frame into what its caller has room for, and fails with `short buffer` where fewer
                // than six bytes of a Shadowsocks chunk are left for the next frame: sooner or later in a long download.
                (SingBox, true) => carries_words(socks).await,
                // Its mux passes over the word for the end of a session, of the real one, too.
                (_, true) => carries_open_streams(socks).await,
                (_, false) => carries_streams(socks).await,
            }
        }
    }
}

/// The same nodes read here, with a plugin as the server: nobody starts one at the client.
#[tokio::test]
async fn nodes_of_other_programs_have_it_built_in_here_as_well() {
    let folder = Stage::new();
    let certificate = Certificate::new(&folder);
    for (sing_box, mihomo, server) in built_in(&certificate) {
        for (form, plugin) in [(SingBox, Real), (Mihomo, Real), (Mihomo, Ours)] {
            // A file of the plugin's own is believed there, and a node has no word for it here.
            if form == SingBox && sing_box.contains("tls") {
                continue;
            }
            println!("{form:?}: {sing_box} {mihomo}, {server} of {plugin:?}");
            let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
            ss_server(&mut stage, port, &plugin.program(), &server).await;
            let config = with_plugin(form, socks, port, &sing_box, &mihomo);
            stage.run(Mobula, "client", &config, &[socks]).await;
            carries_streams(socks).await;
        }
    }
}

/// As V2Ray has words for it: one outbound behind another.
#[tokio::test]
async fn a_link_of_it_becomes_two_outbounds() {
    for client in [Mobula, V2ray445] {
        let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
        ss_server(&mut stage, port, &Real.program(), "server;path=/ray").await;
        let user = STANDARD_NO_PAD.encode(format!("{METHOD}:{PASSWORD}"));
        let options = "v2ray-plugin%3Bmux%3D3%3Bhost%3Da.example%3Bpath%3D%2Fray";
        let link = format!("ss://{user}@127.0.0.1:{port}/?plugin={options}#far");
        let printed = mobula().args(["link", &link]).output().expect("mobula");
        let outbounds: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
        let through = &outbounds[0]["proxySettings"]["tag"];
        assert_eq!(through, &outbounds[1]["tag"]);
        let config = json!({
            "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
            "outbounds": outbounds,
        });
        stage.run(client, "client", &config, &[socks]).await;
        let _open = four_streams(socks).await;
        // How many V2Ray opens on a busy machine is its own affair.
        if client == Mobula {
            assert_eq!(connections(port), 2, "three share one");
        }
        carries_streams(socks).await;
    }
}

fn with_plugin(client: Peer, socks: u16, port: u16, sing_box: &str, mihomo: &Value) -> Value {
    if client == SingBox {
        return json!({
            "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
            "outbounds": [{
                "type": "shadowsocks", "server": "127.0.0.1", "server_port": port,
                "method": METHOD, "password": PASSWORD,
                "plugin": "v2ray-plugin", "plugin_opts": sing_box,
            }],
        });
    }
    let mut options = mihomo.clone();
    options["mode"] = "websocket".into();
    json!({
        "socks-port": socks, "bind-address": "127.0.0.1", "ipv6": false,
        "proxies": [{
            "name": "out", "type": "ss", "server": "127.0.0.1", "port": port,
            "cipher": METHOD, "password": PASSWORD, "plugin": "v2ray-plugin", "plugin-opts": options,
        }],
        "rules": ["MATCH,out"],
    })
}

/// A plugin by itself, as a Shadowsocks program would start it.
pub fn alone(remote: u16, local: u16, options: &str) -> Command {
    let mut command = mobula();
    command
        .env("SS_REMOTE_HOST", "127.0.0.1")
        .env("SS_REMOTE_PORT", remote.to_string())
        .env("SS_LOCAL_HOST", "127.0.0.1")
        .env("SS_LOCAL_PORT", local.to_string())
        .env("SS_PLUGIN_OPTIONS", options);
    command
}

/// A Shadowsocks of ours behind a plugin of ours.
#[tokio::test]
async fn in_front_of_our_own_shadowsocks() {
    let (mut stage, port, behind) = (Stage::new(), free_port(), free_port());
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": behind, "protocol": "shadowsocks",
            "settings": {"method": METHOD, "password": PASSWORD},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "shadowsocks", &config, &[behind]).await;
    let mut plugin = alone(port, behind, "server");
    stage.start("plugin", &mut plugin, &[port]).await;
    for client in [Ours, Real] {
        let socks = ss_local(&mut stage, port, &client.program(), "mux=4").await;
        carries_streams(socks).await;
    }
}

/// Of newer v2ray-plugins, which are V2Ray with its gRPC.
#[tokio::test]
async fn grpc_with_v2ray() {
    let grpc = json!({"network": "gun", "grpcSettings": {"serviceName": "GunService"}});
    let (mut stage, port, behind) = (Stage::new(), free_port(), free_port());
    let mut server = bare("ss-server", behind, PASSWORD);
    stage.start("ss-server", &mut server, &[behind]).await;
    let plugin = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door", "streamSettings": grpc,
            "settings": {"address": "127.0.0.1", "port": behind, "network": "tcp"},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(V2ray445, "server", &plugin, &[port]).await;
    let socks = ss_local(&mut stage, port, &Ours.program(), "mode=grpc").await;
    carries_streams(socks).await;

    let (port, local, socks) = (free_port(), free_port(), free_port());
    ss_server(&mut stage, port, &Ours.program(), "server;mode=grpc").await;
    let plugin = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": local, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": 1, "network": "tcp"},
        }],
        "outbounds": [{
            "protocol": "freedom", "streamSettings": grpc,
            "settings": {"redirect": format!("127.0.0.1:{port}")},
        }],
    });
    stage.run(V2ray445, "client", &plugin, &[local]).await;
    let mut client = bare("ss-local", local, PASSWORD);
    client.args(["-b", "127.0.0.1", "-l", &socks.to_string()]);
    stage.start("ss-local-2", &mut client, &[socks]).await;
    carries_streams(socks).await;
}

const PAGE: &str = "shadowsocks-plugin.md";

/// One of the document's commands, with other words in it, in a shell that finds mobula.
fn command(stage: &Stage, n: usize, words: &[(&str, &str)]) -> Command {
    let line = with(&shown(PAGE, "console")[n], words);
    let line = line.strip_prefix("$ ").expect("a command").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let own = stage.path("bin");
    let _ = std::fs::create_dir(&own);
    let _ = symlink(mobula().get_program(), own.join("mobula"));
    let mut shell = system("sh");
    shell.args(["-c", &format!("exec {line}")]);
    shell.env("PATH", format!("{}:{path}:/usr/sbin", own.display()));
    shell.env("HOME", stage.path(""));
    shell.env("SSL_CERT_FILE", stage.path("authority.pem"));
    shell
}

/// A certificate where acme.sh would put it, and its authority.
fn acme(stage: &Stage) -> Certificate {
    let certificate = Certificate::with_names(stage, &["example.com", "localhost"]);
    let home = stage.path(".acme.sh/example.com");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::copy(&certificate.chain, home.join("fullchain.cer")).unwrap();
    std::fs::copy(&certificate.key, home.join("example.com.key")).unwrap();
    certificate
}

#[tokio::test]
async fn the_two_commands_of_the_document_are_a_tunnel() {
    let (mut stage, port, socks) = (Stage::new(), free_port(), free_port());
    acme(&stage);
    let (port_is, socks_is) = (format!("-p {port}"), format!("-l {socks}"));
    let mut server = command(&stage, 0, &[("-p 443", &port_is)]);
    stage.start("ss-server", &mut server, &[port]).await;
    let words = [
        ("-p 443", &*port_is),
        ("-l 1080", &socks_is),
        ("-s example.com", "-s 127.0.0.1"),
    ];
    let mut client = command(&stage, 1, &words);
    stage.start("ss-local", &mut client, &[socks]).await;
    traffic::ready(socks).await;
    carries_streams(socks).await;
}

#[tokio::test]
async fn the_configs_of_the_document_need_no_other_program() {
    let (mut stage, port, socks, behind) = (Stage::new(), free_port(), free_port(), free_port());
    acme(&stage);
    let (port_is, behind_is, socks_is) = (port.to_string(), behind.to_string(), socks.to_string());
    let configs = shown(PAGE, "json");
    let config = with(&configs[0], &[("8388", &behind_is)]);
    let config = serde_json::from_str(&config).expect("JSON");
    stage.run(Mobula, "shadowsocks", &config, &[behind]).await;
    let words = [
        ("-localPort 443", &*format!("-localPort {port_is}")),
        ("-remotePort 8388", &format!("-remotePort {behind_is}")),
    ];
    let mut plugin = command(&stage, 3, &words);
    stage.start("plugin", &mut plugin, &[port]).await;
    let redirect = format!("localhost:{port_is}");
    let words = [("1080", &*socks_is), ("example.com:443", &redirect)];
    let config = serde_json::from_str(&with(&configs[1], &words)).expect("JSON");
    let authority = stage.path("authority.pem");
    stage
        .run_believing(Some(&authority), Mobula, "client", &config, &[socks])
        .await;
    carries_streams(socks).await;

    // And the real one behind it.
    let (port, socks) = (free_port(), free_port());
    let home = stage.path(".acme.sh/example.com");
    let options = format!(
        "server;tls;cert={0}/fullchain.cer;key={0}/example.com.key",
        home.display()
    );
    let mut server = bare("ss-server", port, "PASSWORD");
    server.args(["--plugin", &Real.program(), "--plugin-opts", &options]);
    stage.start("ss-server", &mut server, &[port]).await;
    let (socks_is, redirect) = (socks.to_string(), format!("localhost:{port}"));
    let words = [("1080", &*socks_is), ("example.com:443", &redirect)];
    let config = serde_json::from_str(&with(&configs[1], &words)).expect("JSON");
    stage
        .run_believing(Some(&authority), Mobula, "client-2", &config, &[socks])
        .await;
    carries_streams(socks).await;
}
