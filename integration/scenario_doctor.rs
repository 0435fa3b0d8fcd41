//! `mobula doctor`: each diagnosis against something that is really broken.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::configs::{self, Certificate, Early, SERVER_NAME, Vmess};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listen, mobula, system};

/// What a doctor has found.
pub struct Report {
    value: Value,
    pub exit: i32,
    pub text: String,
}

impl Report {
    /// Asks for it twice: for a program, and, where `text` says so, for a person.
    pub async fn of(stage: &Stage, config: &Value, args: &[&str]) -> Self {
        let file = stage.write("looked-at.json", format!("{config:#}"));
        let mut words = vec!["doctor", "-c", file.to_str().unwrap()];
        words.extend(args);
        words.push("--json");
        let output = Command::from(mobula())
            .args(words)
            .env("PATH", path_of(stage))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        let exit = output.status.code().unwrap();
        let report = Self { value, exit, text };
        assert_eq!(report.value["ok"] == true, exit == 0, "{}", report.text);
        report
    }

    pub fn step(&self, name: &str) -> &Value {
        let steps = self.value["steps"].as_array().unwrap();
        let found = steps.iter().find(|step| step["step"] == name);
        found.unwrap_or_else(|| panic!("no step {name}: {}", self.text))
    }

    fn names(&self) -> Vec<&str> {
        let steps = self.value["steps"].as_array().unwrap();
        steps
            .iter()
            .map(|step| step["step"].as_str().unwrap())
            .collect()
    }

    /// It breaks there, with this code; `words` stand in what was found or in the cure.
    #[track_caller]
    pub fn breaks(&self, name: &str, code: &str, words: &[&str]) {
        let step = self.step(name);
        assert_eq!(
            (step["ok"] == true, &step["code"]),
            (false, &json!(code)),
            "{}",
            self.text
        );
        let said = format!("{} {}", step["found"], step["cure"]);
        for word in words {
            assert!(said.contains(word), "`{word}` is not in {said}");
        }
        assert!(
            step["cure"].as_str().is_some_and(|cure| cure.len() > 5),
            "{said}"
        );
        assert_eq!(self.exit, 1);
    }

    /// All is well there; `words` stand in what was found.
    #[track_caller]
    pub fn is_well(&self, name: &str, words: &[&str]) {
        let step = self.step(name);
        assert_eq!(step["ok"], true, "{}", self.text);
        let found = step["found"].as_str().unwrap();
        for word in words {
            assert!(found.contains(word), "`{word}` is not in {found}");
        }
    }
}

/// Programs of the test's own come first.
fn path_of(stage: &Stage) -> String {
    let own = stage.path("bin").display().to_string();
    format!("{own}:{}", std::env::var("PATH").unwrap_or_default())
}

/// A web server that says 204, and then nothing for ever.
pub async fn target() -> String {
    let listener = listen();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buf = [0; 4096];
                while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{at}/generate_204")
}

pub async fn server(stage: &mut Stage, vmess: &Vmess) -> u16 {
    let port = free_port();
    stage
        .run(Mobula, "server", &vmess.server(Mobula, port), &[port])
        .await;
    port
}

pub async fn nginx(stage: &mut Stage, listen: &str, port: u16, location: &str) {
    let block =
        format!("listen 127.0.0.1:{port} {listen};\nserver_name {SERVER_NAME};\n{location}");
    let file = configs::nginx(stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[port]).await;
}

async fn nginx_with_tls(stage: &mut Stage, certificate: &Certificate, port: u16, behind: u16) {
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let listen = format!("ssl; ssl_certificate {chain}; ssl_certificate_key {key}");
    nginx(stage, &listen, port, &configs::documented_location(behind)).await;
}

/// A client whose id no server knows.
pub fn stranger(port: u16) -> Value {
    let mut client = client(&Vmess::ws(), port);
    client["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] =
        json!("00000000-0000-4000-8000-000000000001");
    client
}

pub fn client(vmess: &Vmess, port: u16) -> Value {
    vmess.client(Mobula, free_port(), port)
}

/// Over TLS by way of nginx, early data and all.
#[tokio::test]
async fn a_way_that_is_well_is_walked_to_its_end() {
    let mut stage = Stage::new();
    let early = Vmess::ws_early(Early::Header("Sec-WebSocket-Protocol"));
    let behind = server(&mut stage, &early).await;
    let certificate = Certificate::new(&stage);
    let port = free_port();
    nginx_with_tls(&mut stage, &certificate, port, behind).await;
    let vmess = Vmess {
        tls: Some(certificate),
        ..early
    };
    let url = target().await;
    let report = Report::of(
        &stage,
        &client(&vmess, port),
        &["--url", &url, "--idle", "2"],
    )
    .await;
    assert_eq!(
        report.names(),
        [
            "config",
            "dns",
            "tcp",
            "tls",
            "upgrade",
            "early_data",
            "auth",
            "request",
            "idle"
        ]
    );
    assert_eq!(report.exit, 0, "{}", report.text);
    report.is_well("tls", &["TLS 1.", SERVER_NAME, "ALPN http/1.1", "days"]);
    report.is_well("upgrade", &["101 at /ray", "its clock agrees with ours"]);
    report.is_well("request", &["answers 204"]);
    report.is_well("idle", &["lives for 2 s"]);
}

#[tokio::test]
async fn every_protocol_and_carrier_is_walked() {
    let url = target().await;
    for vmess in [
        Vmess::tcp(),
        Vmess::httpupgrade(),
        Vmess::http_header(),
        Vmess::ws().vless(),
        Vmess::ws().trojan(),
    ] {
        let mut stage = Stage::new();
        let port = server(&mut stage, &vmess).await;
        let report = Report::of(&stage, &client(&vmess, port), &["--url", &url]).await;
        assert_eq!(report.exit, 0, "{vmess:?} {}", report.text);
        report.is_well("request", &["answers 204"]);
    }
    for vmess in [Vmess::grpc(), Vmess::h2()] {
        let mut stage = Stage::new();
        let vmess = vmess.over_tls(&stage);
        let port = server(&mut stage, &vmess).await;
        let report = Report::of(&stage, &client(&vmess, port), &["--url", &url]).await;
        assert_eq!(report.exit, 0, "{vmess:?} {}", report.text);
        report.is_well("tls", &["ALPN h2"]);
        report.is_well("upgrade", &["a stream of"]);
    }
    let mut stage = Stage::new();
    let port = free_port();
    let method = "2022-blake3-aes-128-gcm";
    let key = "AAAAAAAAAAAAAAAAAAAAAA==";
    let server = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "shadowsocks", "settings": {"method": method, "password": key}}],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &server, &[port]).await;
    let client = |key| {
        json!({"outbounds": [{"tag": "s", "protocol": "shadowsocks",
            "settings": {"servers": [{"address": "127.0.0.1", "port": port, "method": method, "password": key}]}}]})
    };
    let report = Report::of(&stage, &client(key), &["--url", &url]).await;
    assert_eq!(report.exit, 0, "{}", report.text);
    let other = "AAAAAAAAAAAAAAAAAAAAAQ==";
    let report = Report::of(&stage, &client(other), &["--url", &url]).await;
    let code = report.step("auth")["code"].as_str().unwrap_or_default();
    assert!(matches!(code, "silent" | "no-answer"), "{}", report.text);
    report.breaks("auth", code, &["password"]);
}

#[tokio::test]
async fn what_is_no_clients_config_is_said() {
    let stage = Stage::new();
    let report = Report::of(
        &stage,
        &json!({"outbounds": [{"protocol": "freedom"}]}),
        &[],
    )
    .await;
    report.breaks("config", "config-no-server", &["--server"]);
    let report = Report::of(&stage, &json!({"outbounds": [{}]}), &[]).await;
    report.breaks(
        "config",
        "config-mistakes",
        &["outbounds[0]", "mobula test"],
    );
    let config = client(&Vmess::ws(), 9);
    let report = Report::of(&stage, &config, &["--outbound", "nobody"]).await;
    report.breaks("config", "config-no-server", &["nobody"]);
}

#[tokio::test]
async fn a_name_without_address_and_a_closed_port_are_told_apart() {
    let stage = Stage::new();
    let mut config = client(&Vmess::ws(), free_port());
    let report = Report::of(&stage, &config, &[]).await;
    report.breaks(
        "tcp",
        "tcp-refused",
        &["connection refused", "start the server"],
    );
    assert_eq!(report.names(), ["config", "dns", "tcp"]);
    config["outbounds"][0]["settings"]["vnext"][0]["address"] = json!("nowhere.invalid");
    let report = Report::of(&stage, &config, &[]).await;
    let code = report.step("dns")["code"].as_str().unwrap_or_default();
    assert!(code.starts_with("dns-"), "{}", report.text);
    report.breaks("dns", code, &["nowhere.invalid"]);
}

/// Certificates for another name, of an unknown authority, and long expired.
#[tokio::test]
async fn a_certificate_is_said_to_be_what_it_is() {
    let mut stage = Stage::new();
    let port = free_port();
    let certificate = Certificate::new(&stage);
    let vmess = Vmess {
        tls: Some(certificate),
        ..Vmess::ws()
    };
    let config = vmess.server(Mobula, port);
    stage.run(Mobula, "server", &config, &[port]).await;
    let mut config = client(&vmess, port);
    let tls = &mut config["outbounds"][0]["streamSettings"]["tlsSettings"];
    tls["serverName"] = json!("other.test");
    let report = Report::of(&stage, &config, &[]).await;
    report.breaks(
        "tls",
        "tls-name",
        &[SERVER_NAME, "other.test", "serverName"],
    );
    let tls = &mut config["outbounds"][0]["streamSettings"]["tlsSettings"];
    tls["serverName"] = json!(SERVER_NAME);
    tls["certificates"] = json!([]);
    tls["disableSystemRoot"] = json!(false);
    let report = Report::of(&stage, &config, &[]).await;
    report.breaks("tls", "tls-issuer", &["it is for mobula.test"]);

    let mut stage = Stage::new();
    let port = free_port();
    let expired = certificate_until(&stage, new_year_2020());
    let vmess = Vmess {
        tls: Some(expired),
        ..Vmess::ws()
    };
    stage
        .run(Mobula, "server", &vmess.server(Mobula, port), &[port])
        .await;
    let report = Report::of(&stage, &client(&vmess, port), &[]).await;
    report.breaks("tls", "tls-expired", &["01 Jan 2020", "renew"]);
    let plain = server(&mut stage, &Vmess::tcp()).await;
    let report = Report::of(&stage, &client(&vmess, plain), &[]).await;
    assert_eq!(report.step("tls")["ok"], false, "{}", report.text);
}

pub fn new_year_2020() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800)
}

/// A leaf that its authority vouches for until then.
pub fn certificate_until(stage: &Stage, until: SystemTime) -> Certificate {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let mut authority = CertificateParams::default();
    let name = &mut authority.distinguished_name;
    name.push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
    leaf.not_before = rcgen::date_time_ymd(2019, 1, 1);
    leaf.not_after = until.into();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    Certificate {
        chain: stage.write("cert.pem", leaf.pem()),
        key: stage.write("key.pem", key.serialize_pem()),
        authority: stage.write("authority.pem", authority.pem()),
    }
}

/// What a web server in front may have wrong: each as nginx answers it.
#[tokio::test]
async fn each_status_of_a_broken_nginx_is_read() {
    let documented = configs::documented_location;
    let behind_nothing = free_port();
    type Edit<'a> = Box<dyn Fn(u16) -> String + 'a>;
    let cases: Vec<(&str, Edit<'_>, &[&str])> = vec![
        (
            "ws-404",
            Box::new(|port| documented(port).replace("location /ray", "location /other")),
            &[
                "a browser sees 404",
                "404 Not Found",
                "nginx",
                "compare `path`",
            ],
        ),
        (
            "ws-400",
            Box::new(|port| {
                let lines = documented(port);
                let kept = lines.lines().filter(|line| !line.contains("Upgrade"));
                let kept = kept.filter(|line| !line.contains("Connection"));
                kept.collect::<Vec<_>>().join("\n")
            }),
            &["Upgrade", "proxy_http_version 1.1"],
        ),
        (
            "ws-502",
            Box::new(|_| documented(behind_nothing)),
            &["start mobula", "proxy_pass"],
        ),
        (
            "ws-301",
            Box::new(|_| "location / { return 301 https://$host$request_uri; }".to_owned()),
            &["https://", "set `security` to `tls`"],
        ),
        (
            "ws-403",
            Box::new(|_| "location / { deny all; }".to_owned()),
            &["forbid", "CDN"],
        ),
        (
            "ws-426",
            Box::new(|_| "location / { return 426; }".to_owned()),
            &["did not forward"],
        ),
        (
            "ws-525",
            Box::new(|_| "location / { return 525; }".to_owned()),
            &["CDN", "TLS"],
        ),
        (
            "ws-200",
            Box::new(|_| {
                "location / { default_type text/html; return 200 '<html><title>My cats</title>'; }"
                    .to_owned()
            }),
            &["an ordinary web page", "My cats", "location"],
        ),
    ];
    for (code, edit, words) in cases {
        let mut stage = Stage::new();
        let behind = server(&mut stage, &Vmess::ws()).await;
        let port = free_port();
        nginx(&mut stage, "", port, &edit(behind)).await;
        let report = Report::of(&stage, &client(&Vmess::ws(), port), &[]).await;
        report.breaks("upgrade", code, words);
        assert_eq!(report.names().last(), Some(&"upgrade"), "{}", report.text);
    }
}

#[tokio::test]
async fn plain_http_to_an_https_port_is_seen_as_that() {
    let mut stage = Stage::new();
    let behind = server(&mut stage, &Vmess::ws()).await;
    let certificate = Certificate::new(&stage);
    let port = free_port();
    nginx_with_tls(&mut stage, &certificate, port, behind).await;
    let report = Report::of(&stage, &client(&Vmess::ws(), port), &[]).await;
    report.breaks(
        "upgrade",
        "ws-400",
        &["this is a port of HTTPS", "security"],
    );
}

/// Either asks for the same path, and V2Ray's and Xray's words are a 400 or a 404.
#[tokio::test]
async fn one_carrier_that_is_taken_for_the_other_is_told() {
    let url = target().await;
    // Who takes httpupgrade grants the request of a WebSocket as well.
    for (there, asked, step) in [
        ("ws", "httpupgrade", "upgrade"),
        ("httpupgrade", "ws", "auth"),
    ] {
        let mut stage = Stage::new();
        let port = free_port();
        let mut config = Vmess::ws().server(Mobula, port);
        let to = |config: &mut Value, network: &str| {
            config["streamSettings"]["network"] = json!(network);
            config["streamSettings"][format!("{network}Settings")] = json!({"path": "/ray"});
        };
        to(&mut config["inbounds"][0], there);
        stage.run(Mobula, "server", &config, &[port]).await;
        let mut client = client(&Vmess::ws(), port);
        to(&mut client["outbounds"][0], asked);
        let report = Report::of(&stage, &client, &["--url", &url]).await;
        let words = [&*format!("takes `{there}` at this path"), "network"];
        report.breaks(step, "other-carrier", &words);
    }
}

/// Letters stand where the length of a frame should.
#[tokio::test]
async fn what_speaks_no_http_2_is_told() {
    let url = target().await;
    let mut stage = Stage::new();
    let [port, front] = [free_port(), free_port()];
    let config = Vmess::ws().server(Mobula, port);
    stage.run(Mobula, "server", &config, &[port]).await;
    nginx(&mut stage, "", front, "").await;
    for (at, network, settings) in [
        (port, "grpc", "grpcSettings"),
        (port, "http", "httpSettings"),
        (front, "grpc", "grpcSettings"),
    ] {
        let mut client = client(&Vmess::ws(), at);
        client["outbounds"][0]["streamSettings"] = json!({"network": network, settings: {}});
        let report = Report::of(&stage, &client, &["--url", &url]).await;
        report.breaks(
            "upgrade",
            "h2-not-http2",
            &["does not speak HTTP/2", "http2 on"],
        );
    }
}

/// The header that carries it is taken out on the way, or the location does not match what is behind the path.
#[tokio::test]
async fn early_data_that_does_not_survive_is_told() {
    let url = target().await;
    let mut stage = Stage::new();
    let early = Vmess::ws_early(Early::Header("X-Early"));
    let behind = server(&mut stage, &early).await;
    let port = free_port();
    let location = configs::documented_location(behind).replace(
        "proxy_pass",
        "proxy_set_header X-Early \"\";\n    proxy_pass",
    );
    nginx(&mut stage, "", port, &location).await;
    let report = Report::of(&stage, &client(&early, port), &["--url", &url]).await;
    report.breaks("early_data", "early-data-lost", &["maxEarlyData"]);
    report.is_well("request", &["204"]);

    let mut stage = Stage::new();
    let early = Vmess::ws_early(Early::Path);
    let behind = server(&mut stage, &early).await;
    let port = free_port();
    let location = configs::documented_location(behind).replace("location /ray", "location = /ray");
    nginx(&mut stage, "", port, &location).await;
    let report = Report::of(&stage, &client(&early, port), &["--url", &url]).await;
    report.breaks("early_data", "ws-404", &["early data behind it"]);
    report.is_well("upgrade", &["101"]);
}

#[tokio::test]
async fn an_unknown_id_is_told_from_a_clock_and_from_a_target() {
    let url = target().await;
    let mut stage = Stage::new();
    let port = server(&mut stage, &Vmess::ws()).await;
    let report = Report::of(&stage, &stranger(port), &["--url", &url]).await;
    let code = report.step("auth")["code"].as_str().unwrap_or_default();
    assert!(matches!(code, "silent" | "no-answer"), "{}", report.text);
    report.breaks("auth", code, &["clock agrees", "compare `id`"]);

    // The server says itself that it has no way to the target.
    let nowhere = format!("http://127.0.0.1:{}/", free_port());
    let known = client(&Vmess::ws(), port);
    let report = Report::of(&stage, &known, &["--url", &nowhere]).await;
    report.is_well("auth", &["knows us"]);
    report.breaks("request", "far-refused", &["refuses"]);

    for (ahead, words) in [
        (3600, "behind the server's"),
        (-900, "ahead of the server's"),
    ] {
        let port = server_of_another_time(ahead).await;
        let report = Report::of(&stage, &client(&Vmess::ws(), port), &["--url", &url]).await;
        report.breaks("auth", "clock-skew", &[words, "timedatectl"]);
    }
}

/// V2Ray says nothing of a target that is out of reach; the account is known by another one.
#[tokio::test]
async fn behind_a_v2ray_a_dead_target_is_told_from_an_unknown_id() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = Vmess::ws().server(V2ray445, port);
    stage.run(V2ray445, "server", &config, &[port]).await;
    let nowhere = format!("http://127.0.0.1:{}/", free_port());
    let report = Report::of(&stage, &client(&Vmess::ws(), port), &["--url", &nowhere]).await;
    report.is_well("auth", &["it has carried a request to 127.0.0.1"]);
    let code = report.step("request")["code"].as_str().unwrap_or_default();
    assert!(code.starts_with("no-answer"), "{}", report.text);
}

/// It opens a WebSocket, says what time it is there, and is silent, as V2Ray is to a client of another time.
async fn server_of_another_time(ahead: i64) -> u16 {
    let listener = listen();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(silent(stream, ahead));
        }
    });
    port
}

#[expect(clippy::result_large_err, reason = "the library's own signature")]
async fn silent(stream: tokio::net::TcpStream, ahead: i64) {
    let span = Duration::from_secs(ahead.unsigned_abs());
    let there = match ahead {
        0.. => SystemTime::now() + span,
        _ => SystemTime::now() - span,
    };
    let date = httpdate::fmt_http_date(there);
    let dated = |_: &Request, mut response: Response| {
        response.headers_mut().insert("date", date.parse().unwrap());
        Ok(response)
    };
    if let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, dated).await {
        let _ = socket.into_inner().read_to_end(&mut Vec::new()).await;
    }
}

/// A server of Trojan or VLESS leads strangers to a site, whose words a target may have as well.
#[tokio::test]
async fn a_fallback_is_told_from_a_target_with_the_same_words() {
    let url = target().await;
    let mut stage = Stage::new();
    let site = free_port();
    nginx(&mut stage, "", site, "location / { return 400; }").await;
    for protocol in ["trojan", "vless"] {
        let port = free_port();
        let id = "5783a3e7-e373-51cd-8642-c83782b807c5";
        let user = json!({"password": id, "id": id});
        let server = json!({
            "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": protocol,
                "settings": {"clients": [user], "decryption": "none", "fallbacks": [{"dest": site}]}}],
            "outbounds": [{"protocol": "freedom"}],
        });
        stage.run(Mobula, protocol, &server, &[port]).await;
        let client = |id: &str| {
            let user = json!({"id": id, "encryption": "none"});
            let settings = match protocol {
                "trojan" => {
                    json!({"servers": [{"address": "127.0.0.1", "port": port, "password": id}]})
                }
                _ => json!({"vnext": [{"address": "127.0.0.1", "port": port, "users": [user]}]}),
            };
            json!({"outbounds": [{"protocol": protocol, "settings": settings}]})
        };
        let stranger = client("00000000-0000-4000-8000-000000000001");
        let report = Report::of(&stage, &stranger, &["--url", &url]).await;
        let code = match protocol {
            "trojan" => "fallback-answers",
            _ => "other-server",
        };
        report.breaks("auth", code, &["compare"]);
        let asks = format!("http://127.0.0.1:{site}/");
        let report = Report::of(&stage, &client(id), &["--url", &asks]).await;
        report.is_well("auth", &["knows us"]);
        report.is_well("request", &["answers 400"]);
    }
}

#[tokio::test]
async fn a_person_reads_a_line_for_each_step() {
    let stage = Stage::new();
    let config = client(&Vmess::ws(), free_port());
    let file = stage.write("client.json", config.to_string());
    let output = mobula().arg("doctor").arg("-c").arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("ok       config"), "{text}");
    assert!(lines[1].starts_with("skipped  dns"), "{text}");
    assert!(
        lines[2].starts_with("BROKEN   tcp") && lines[2].ends_with("[tcp-refused]"),
        "{text}"
    );
    assert!(lines[3].trim_start().starts_with("cure: "), "{text}");
    assert_eq!(lines.last(), Some(&"it breaks at `tcp`"));
}
