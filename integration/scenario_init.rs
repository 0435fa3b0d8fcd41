//! `mobula init`: what it writes is good in the eyes of those who read it, and carries.
//!
//! Each set runs as it was written, on the ports that it names, in a network of the test's own: private addresses are
//! blocked, and the targets are at public ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::peers::Peer::{self, Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, mobula, python, system};
use crate::traffic::To;
use crate::world::{self, SERVER_NAME, World};

const SOCKS: u16 = 1085;

fn init(stage: &Stage, args: &[&str]) -> Output {
    let mut command = mobula();
    command.arg("init").args(args).current_dir(stage.path(""));
    command.stdin(Stdio::null()).output().expect("mobula runs")
}

fn written(stage: &Stage, args: &[&str]) -> String {
    let output = init(stage, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    assert_eq!(said, "", "{args:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn is_taken(command: &mut Command) {
    let output = command.output().expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Its owner's, and nobody else's.
fn is_private(path: &Path) -> bool {
    let mode = fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode();
    mode & 0o777 == 0o600
}

fn caddy(stage: &Stage, words: &[&str]) -> Command {
    let mut caddy = system("caddy");
    caddy
        .env("XDG_DATA_HOME", stage.path("caddy"))
        .env("XDG_CONFIG_HOME", stage.path("caddy"))
        .env("HOME", stage.path("caddy"))
        .current_dir(stage.path(""))
        .args(words);
    caddy
}

/// The web server in front reads its file as it is, and runs by it.
async fn front(world: &mut World, behind: &str, port: u16) {
    let stage = &world.stage;
    let file = |name: &str| stage.path("set").join(name);
    let mut command = match behind {
        "nginx" => {
            let file = file("nginx.conf");
            fs::create_dir_all("/var/log/nginx").expect("a folder of the world");
            is_taken(system("nginx").arg("-t").arg("-c").arg(&file));
            let mut nginx = system("nginx");
            let pid = stage.path("nginx.pid").display().to_string();
            nginx.arg("-c").arg(file);
            nginx.arg("-g").arg(format!("daemon off; pid {pid};"));
            nginx
        }
        "caddy" => {
            let file = file("Caddyfile").display().to_string();
            let config = ["--adapter", "caddyfile", "--config", &file];
            is_taken(&mut caddy(stage, &[&["validate"][..], &config].concat()));
            // It would redirect from port 80, where the targets of this world are.
            let text = fs::read_to_string(&file).expect("it is written");
            fs::write(
                &file,
                format!("{{\n    auto_https disable_redirects\n}}\n{text}"),
            )
            .expect("the test's folder is ours");
            caddy(stage, &[&["run"][..], &config].concat())
        }
        "haproxy" => {
            let file = file("haproxy.cfg");
            is_taken(system("haproxy").arg("-c").arg("-f").arg(&file));
            let mut haproxy = system("haproxy");
            haproxy.arg("-db").arg("-f").arg(file);
            haproxy
        }
        _ => return,
    };
    world.start(behind, &mut command, &[port]).await;
}

/// A link, as its readers take it apart.
struct Link {
    protocol: String,
    secret: String,
    address: String,
    port: u16,
    path: String,
    tls: bool,
}

impl Link {
    fn read(link: &str) -> Self {
        let (protocol, rest) = link.split_once("://").unwrap();
        if protocol == "vmess" && !rest.contains('@') {
            let json: Value = serde_json::from_slice(&STANDARD.decode(rest).unwrap()).unwrap();
            let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
            return Self {
                protocol: protocol.to_owned(),
                secret: text("id"),
                address: text("add"),
                port: text("port")
                    .parse()
                    .or_else(|_| json["port"].to_string().parse())
                    .unwrap(),
                path: text("path"),
                tls: text("tls") == "tls",
            };
        }
        let (secret, rest) = rest.split_once('@').unwrap();
        let (at, rest) = rest.split_once('?').unwrap();
        let (address, port) = at.trim_end_matches('/').rsplit_once(':').unwrap();
        let query = rest.split('#').next().unwrap();
        let of = |name: &str| {
            let pair = query
                .split('&')
                .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            percent_decode_str(pair.unwrap_or_default())
                .decode_utf8()
                .unwrap()
                .into_owned()
        };
        Self {
            protocol: protocol.to_owned(),
            secret: secret.to_owned(),
            address: address.to_owned(),
            port: port.parse().unwrap(),
            path: of("path"),
            tls: of("security") == "tls",
        }
    }

    /// The path alone; the rest says what early data is sent.
    fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap()
    }

    /// V2Ray's client; it believes this authority.
    fn v2ray(&self, authority: &Path) -> Value {
        let to = json!({"address": self.address, "port": self.port});
        let mut settings = json!({"vnext": [to]});
        match &*self.protocol {
            "trojan" => {
                settings = json!({"servers": [to]});
                settings["servers"][0]["password"] = json!(self.secret);
            }
            "vless" => {
                settings["vnext"][0]["users"] = json!([{"id": self.secret, "encryption": "none"}])
            }
            _ => {
                settings["vnext"][0]["users"] =
                    json!([{"id": self.secret, "alterId": 0, "security": "auto"}])
            }
        }
        let mut stream = json!({"network": "ws", "wsSettings": {"path": self.path}});
        if self.tls {
            stream["security"] = json!("tls");
            stream["tlsSettings"] = json!({"serverName": self.address, "disableSystemRoot": true,
                "certificates": [{"usage": "verify", "certificateFile": authority}]});
        }
        json!({
            "inbounds": [{"listen": "127.0.0.1", "port": SOCKS, "protocol": "socks", "settings": {"auth": "noauth"}}],
            "outbounds": [{"protocol": self.protocol, "settings": settings, "streamSettings": stream}],
        })
    }

    fn sing_box(&self, authority: &Path) -> Value {
        let mut outbound = json!({
            "type": self.protocol, "server": self.address, "server_port": self.port,
            "transport": {"type": "ws", "path": self.bare_path(), "max_early_data": 2048,
                "early_data_header_name": "Sec-WebSocket-Protocol"},
        });
        let secret = if self.protocol == "trojan" {
            "password"
        } else {
            "uuid"
        };
        outbound[secret] = json!(self.secret);
        if self.tls {
            outbound["tls"] = json!({"enabled": true, "server_name": self.address, "certificate_path": authority});
        }
        json!({
            "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": SOCKS}],
            "outbounds": [outbound],
            "dns": {"servers": [{"type": "local", "tag": "l"}]},
            "route": {"default_domain_resolver": "l"},
        })
    }
}

fn mihomo() -> Value {
    json!({
        "socks-port": SOCKS, "bind-address": "127.0.0.1", "ipv6": false, "mode": "rule",
        "proxy-providers": {"p": {"type": "file", "path": "./links.txt", "health-check": {"enable": false}}},
        "proxy-groups": [{"name": "g", "type": "select", "use": ["p"]}],
        "rules": ["MATCH,g"],
    })
}

fn public() -> To {
    To::Name("www.example.com", 80)
}

/// It carries to a public address and to no private one.
async fn carries(world: &World, socks: u16, who: &str) {
    let seen = world.seen(socks, &public()).await;
    assert!(seen.is_some(), "{who}: nothing is carried");
    let inside = world.seen(socks, &To::Name("inside.example.org", 80)).await;
    assert_eq!(inside, None, "{who}: a private address is reached");
}

async fn with_client(world: &mut World, peer: Peer, config: &Value, authority: &Path) {
    let name = format!("by-{peer:?}");
    let file = world
        .stage
        .write(&format!("{name}.json"), config.to_string());
    let mut command = peer.command(&file);
    command.env("SSL_CERT_FILE", authority);
    let index = world.stage.start(&name, &mut command, &[SOCKS]).await;
    // mihomo listens before it carries anything.
    for _ in 0..100 {
        if world.seen(SOCKS, &public()).await.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    carries(world, SOCKS, &name).await;
    let child = world.stage.child(index);
    child.signal("KILL");
    child.ended(std::time::Duration::from_secs(10)).await;
}

/// One set: it is written, read by everybody, and used.
async fn a_set_works(mut world: World, behind: &str, tls: &str, protocol: &str) {
    println!("behind {behind}, tls {tls}, {protocol}");
    let stage = &world.stage;
    let authority = match tls {
        "files" => stage.path("authority.pem"),
        _ => stage.path("set/fullchain.pem"),
    };
    let (cert, key) = (
        "/usr/local/etc/v2ray/fullchain.pem",
        "/usr/local/etc/v2ray/privkey.pem",
    );
    // On port 80 are the targets of this world, so nobody listens on all addresses there.
    let port: u16 = match (tls, behind) {
        ("none", _) => 8080,
        (_, "nginx") => 8443,
        _ => 443,
    };
    let port_text = port.to_string();
    let mut args = vec![
        "--port",
        &port_text,
        "--domain",
        SERVER_NAME,
        "--behind",
        behind,
        "--tls",
        tls,
        "--protocol",
        protocol,
        "--users",
        "2",
        "--out",
        "set",
        "--yes",
    ];
    if tls == "files" {
        args.extend(["--cert", cert, "--key", key]);
    }
    let told = written(stage, &args);
    for name in [
        "server.json",
        "client.json",
        "links.txt",
        "user1.png",
        "user2.svg",
        "mobula.service",
    ] {
        assert!(told.contains(name), "{told}");
    }
    for name in ["server.json", "client.json"] {
        is_taken(
            mobula()
                .args(["test", "--strict", "-c"])
                .arg(stage.path("set").join(name)),
        );
    }
    for secret in [
        "server.json",
        "client.json",
        "links.txt",
        "user1.png",
        "user2.svg",
    ] {
        assert!(is_private(&stage.path("set").join(secret)), "{secret}");
    }
    let links = stage.read("set/links.txt");
    assert_eq!(links.lines().count(), 2, "{links}");
    for (n, link) in links.lines().enumerate() {
        let picture = stage.path("set").join(format!("user{}.png", n + 1));
        let of = |what: &std::ffi::OsStr| mobula().arg("link").arg(what).output().unwrap().stdout;
        assert_eq!(of(picture.as_os_str()), of(link.as_ref()), "{link}");
    }

    let mut server = Mobula.command(&stage.path("set/server.json"));
    let listens = if behind == "none" { port } else { 10000 };
    world.start("server", &mut server, &[listens]).await;
    front(&mut world, behind, port).await;
    let mut client = Mobula.command(&world.stage.path("set/client.json"));
    world.start("client", &mut client, &[1080, 1081]).await;
    carries(&world, 1080, "client.json").await;
    assert!(world.seen_by_http(1081, "www.example.com").await.is_some());
    // The name server of the world goes on meanwhile.
    let doctor = tokio::process::Command::from(mobula())
        .args(["doctor", "--url", "http://www.example.com/", "-c"])
        .arg(world.stage.path("set/client.json"))
        .env("SSL_CERT_FILE", world.stage.path("authority.pem"))
        .output()
        .await
        .unwrap();
    assert!(
        doctor.status.success(),
        "{}",
        String::from_utf8_lossy(&doctor.stdout)
    );

    // The last of the commands that are told: whether the world finds this server, whoever vouches for its certificate.
    let last = told.lines().find(|line| line.contains("--server --url"));
    let url = last.and_then(|line| line.split_whitespace().last());
    let url = url.unwrap_or_else(|| panic!("{told}"));
    let looked = tokio::process::Command::from(mobula())
        .args(["doctor", "--server", "--json", "--url", url, "-c"])
        .arg(world.stage.path("set/server.json"))
        .env("SSL_CERT_FILE", world.stage.path("authority.pem"))
        .output()
        .await
        .unwrap();
    let looked: Value = serde_json::from_slice(&looked.stdout).unwrap();
    let steps = looked["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == "url").unwrap();
    assert_eq!(step["ok"], true, "{step}");
    let found = step["found"].as_str().unwrap();
    let is_pinned = found.contains("clients have to pin it");
    assert_eq!(
        is_pinned,
        tls == "self-signed" && behind != "none",
        "{found}"
    );

    let link = Link::read(links.lines().nth(1).unwrap());
    assert_eq!(link.tls, tls != "none");
    let old = link.v2ray(&authority);
    with_client(&mut world, V2ray434, &old, &authority).await;
    with_client(&mut world, V2ray445, &old, &authority).await;
    with_client(&mut world, SingBox, &link.sing_box(&authority), &authority).await;
    world.stage.write("links.txt", links);
    // What made its own certificate is believed by the pin in the link, and by nothing else.
    let nobody = world.stage.write("nobody.pem", "");
    let believed = if tls == "self-signed" {
        &nobody
    } else {
        &authority
    };
    with_client(&mut world, Mihomo, &mihomo(), believed).await;
}

#[test]
fn behind_nginx_a_set_works() {
    for (tls, protocol) in [
        ("files", "vless"),
        ("self-signed", "trojan"),
        ("none", "vmess"),
    ] {
        world::run(|world| a_set_works(world, "nginx", tls, protocol));
    }
}

#[test]
fn behind_caddy_a_set_works() {
    for (tls, protocol) in [("files", "trojan"), ("self-signed", "vmess")] {
        world::run(|world| a_set_works(world, "caddy", tls, protocol));
    }
}

#[test]
fn behind_haproxy_a_set_works() {
    for (tls, protocol) in [
        ("files", "vless"),
        ("self-signed", "trojan"),
        ("none", "vmess"),
    ] {
        world::run(|world| a_set_works(world, "haproxy", tls, protocol));
    }
}

#[test]
fn alone_a_set_works() {
    for (tls, protocol) in [
        ("files", "trojan"),
        ("self-signed", "vless"),
        ("none", "vmess"),
    ] {
        world::run(|world| a_set_works(world, "none", tls, protocol));
    }
}

/// Web servers start with the certificate that stands in until certbot has been run; Caddy gets its own.
#[test]
fn with_acme_web_servers_take_their_files_before_there_is_a_certificate() {
    world::run(|world| async move {
        let stage = &world.stage;
        fs::create_dir_all("/var/log/nginx").unwrap();
        for behind in ["nginx", "caddy", "haproxy"] {
            let out = format!("for-{behind}");
            let told = written(
                stage,
                &[
                    "--domain",
                    SERVER_NAME,
                    "--behind",
                    behind,
                    "--tls",
                    "acme",
                    "--out",
                    &out,
                    "--yes",
                ],
            );
            let file = |name: &str| stage.path(&out).join(name);
            match behind {
                "nginx" => is_taken(system("nginx").arg("-t").arg("-c").arg(file("nginx.conf"))),
                "haproxy" => is_taken(
                    system("haproxy")
                        .arg("-c")
                        .arg("-f")
                        .arg(file("haproxy.cfg")),
                ),
                _ => {
                    let path = file("Caddyfile").display().to_string();
                    let words = ["validate", "--adapter", "caddyfile", "--config", &path];
                    is_taken(&mut caddy(stage, &words));
                }
            }
            assert_eq!(
                told.contains("certbot certonly"),
                behind != "caddy",
                "{told}"
            );
            let client = stage.read(&format!("{out}/client.json"));
            assert!(
                !client.contains("BEGIN CERTIFICATE"),
                "what stands in is believed: {client}"
            );
        }
    });
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let stage = Stage::new();
    let args = [
        "--domain",
        "example.com",
        "--behind",
        "nginx",
        "--tls",
        "none",
        "--out",
        "set",
        "--yes",
    ];
    written(&stage, &args);
    let first = stage.read("set/server.json");
    fs::remove_file(stage.path("set/client.json")).unwrap();
    let again = init(&stage, &args);
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said.contains("server.json") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(stage.read("set/server.json"), first);
    assert!(
        !stage.path("set/client.json").exists(),
        "something was written"
    );
    written(&stage, &[&args[..], &["--force"]].concat());
    // Ids and paths are drawn each time.
    assert_ne!(stage.read("set/server.json"), first);
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_is_written() {
    let stage = Stage::new();
    for (args, words) in [
        (&["--out", "set"][..], "--domain is missing"),
        (&["--domain", "example.com"], "--out is missing"),
        (
            &["--domain", "https://example.com", "--out", "set"],
            "is a URL",
        ),
        (
            &["--domain", "192.0.2.1", "--tls", "acme", "--out", "set"],
            "is an address",
        ),
        (
            &["--domain", "localhost", "--tls", "acme", "--out", "set"],
            "nobody issues certificates for `localhost`",
        ),
        (
            &["--domain", "example.com", "--port", "8443", "--out", "set"],
            "asks at port 443",
        ),
        (
            &["--domain", "example.com", "--port", "80", "--out", "set"],
            "the port of HTTP in the clear",
        ),
        (
            &[
                "--domain",
                "example.com",
                "--behind",
                "caddy",
                "--port",
                "10000",
                "--out",
                "set",
            ],
            "has that port",
        ),
        (
            &["--domain", "example.com", "--tls", "files", "--out", "set"],
            "wants --cert and --key",
        ),
        (
            &["--domain", "example.com", "--path", "/", "--out", "set"],
            "the whole site",
        ),
        (
            &["--domain", "example.com", "--path", "/a b", "--out", "set"],
            "other characters",
        ),
        (
            &[
                "--domain",
                "example.com",
                "--behind",
                "nginx",
                "--listen",
                "0.0.0.0:443",
                "--out",
                "set",
            ],
            "has that port",
        ),
        (
            &[
                "--domain",
                "example.com",
                "--cert",
                "no.pem",
                "--key",
                "no.key",
                "--out",
                "set",
            ],
            "no.pem",
        ),
    ] {
        let output = init(&stage, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?} {said}");
        assert!(said.contains(words), "{args:?}: {said}");
        assert!(!stage.path("set").exists());
    }
}

/// The unit is one that systemd takes, and names the config.
#[test]
fn the_unit_is_a_good_one() {
    let stage = Stage::new();
    let args = [
        "--domain",
        "example.com",
        "--behind",
        "caddy",
        "--out",
        "set",
        "--yes",
    ];
    written(&stage, &args);
    let unit = stage.read("set/mobula.service");
    let config = stage.path("set/server.json").canonicalize().unwrap();
    assert!(
        unit.contains(&format!("run -c {}", config.display())),
        "{unit}"
    );
    // A program that is there, in the place of the installed one.
    let unit = unit.replace(
        "/usr/local/bin/mobula",
        mobula().get_program().to_str().unwrap(),
    );
    let file = stage.write("mobula.service", unit);
    let output = system("systemd-analyze")
        .arg("verify")
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let about = said.lines().find(|line| line.contains("mobula.service"));
    assert_eq!(about, None, "{said}");
}

/// Somebody at a terminal is asked for what no flag says, twice where an answer is none.
#[test]
fn on_a_terminal_it_asks_for_what_is_missing() {
    let stage = Stage::new();
    let script = stage.write(
        "ask.py",
        "import os, pty, sys\n\
         pid, fd = pty.fork()\n\
         if pid == 0:\n\
         \x20   os.execv(sys.argv[1], sys.argv[1:])\n\
         answers = [b'https://example.com', b'example.com', b'apache', b'nginx', b'none', b'', b'2', b'set']\n\
         seen, out = b'', b''\n\
         while True:\n\
         \x20   try:\n\
         \x20       part = os.read(fd, 4096)\n\
         \x20   except OSError:\n\
         \x20       break\n\
         \x20   if not part:\n\
         \x20       break\n\
         \x20   seen += part\n\
         \x20   out += part\n\
         \x20   if seen.endswith(b': ') and answers:\n\
         \x20       os.write(fd, answers.pop(0) + b'\\n')\n\
         \x20       seen = b''\n\
         sys.stdout.buffer.write(out)\n\
         sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    );
    let output = python()
        .arg(script)
        .arg(mobula().get_program())
        .arg("init")
        .current_dir(stage.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("is a URL") && said.contains("expected one of: nginx"),
        "{said}"
    );
    // A QR code for a phone in front of the screen.
    assert!(said.contains('█'), "{said}");
    assert!(
        stage
            .read("set/nginx.conf")
            .contains("server_name example.com;")
    );
    assert_eq!(stage.read("set/links.txt").lines().count(), 2);
    let server: Value = serde_json::from_str(&stage.read("set/server.json")).unwrap();
    assert_eq!(server["inbounds"][0]["protocol"], "vmess");
}
