//! A certificate that an authority issues, with Pebble as the authority and the clients of others behind it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::configs::{Certificate, ID, SERVER_NAME, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, system};
use crate::scenario_manager::pid;
use crate::traffic::{self, To};
use crate::{scenario_site, scenario_successor};

/// An authority, which looks for names on ports of this machine.
struct Pebble {
    directory: u16,
    management: u16,
    names: u16,
    tls: u16,
    http: u16,
    /// Vouches for the directory.
    own: Certificate,
    /// Vouches for what is issued.
    root: PathBuf,
}

impl Pebble {
    /// Nothing runs yet.
    fn new(stage: &Stage) -> Self {
        Self {
            directory: free_port(),
            management: free_port(),
            names: free_port(),
            tls: free_port(),
            http: free_port(),
            own: Certificate::with_names(stage, &["localhost", "127.0.0.1"]),
            root: stage.path("root.pem"),
        }
    }

    /// The same for clients that believe somebody else.
    fn with_root(&self, root: PathBuf) -> Self {
        Self {
            own: self.own.clone(),
            root,
            ..*self
        }
    }

    async fn started(stage: &mut Stage) -> Self {
        let pebble = Self::new(stage);
        pebble.start(stage).await;
        pebble
    }

    /// Starts it; it knows nothing of what an earlier one has done.
    async fn start(&self, stage: &mut Stage) -> usize {
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.directory),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.own.chain, "privateKey": self.own.key,
            "httpPort": self.http, "tlsPort": self.tls,
        }});
        let config = stage.write("pebble.json", config.to_string());
        let names = format!("127.0.0.1:{}", self.names);
        if !crate::peers::listening(self.names) {
            let mut server = system("pebble-challtestsrv");
            server.args([
                "-dns01",
                &names,
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
            ]);
            server.args(["-tlsalpn01", "", "-management", ""]);
            stage.start("names", &mut server, &[self.names]).await;
        }
        let mut server = system("pebble");
        server
            .arg("-config")
            .arg(config)
            .args(["-dnsserver", &names]);
        // It waits between its looks, and asks for a nonce again, as it likes.
        server.env("PEBBLE_VA_SLEEPTIME", "1");
        let ports = [self.directory, self.management];
        let index = stage.start("pebble", &mut server, &ports).await;
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let mut curl = system("curl");
        let asked = curl.args(["-sk", &url]).output().expect("curl runs");
        assert!(asked.stdout.starts_with(b"-----BEGIN"), "{asked:?}");
        fs::write(&self.root, asked.stdout).expect("the test's folder is ours");
        index
    }

    fn acme(&self, stage: &Stage) -> Value {
        json!({
            "domains": [SERVER_NAME, "www.mobula.test"], "email": "me@mobula.test",
            "directory": format!("https://127.0.0.1:{}/dir", self.directory),
            "folder": stage.path("state/acme"), "ca": self.own.authority,
        })
    }

    /// A client believes what is issued.
    fn vmess(&self) -> Vmess {
        Vmess {
            tls: Some(Certificate {
                authority: self.root.clone(),
                ..self.own.clone()
            }),
            ..Vmess::ws()
        }
    }

    /// The server of [`Pebble::vmess`] on the port that this authority looks at.
    fn server(&self, stage: &Stage) -> Value {
        let mut config = self.vmess().server(Mobula, self.tls);
        config["inbounds"][0]["streamSettings"]["tlsSettings"] = json!({"acme": self.acme(stage)});
        config["log"] = json!({"error": "error.log", "loglevel": "info"});
        config
    }
}

/// What mobula says when it has a certificate.
const HERE: &str = "the certificate is here, by ";

/// A tunnel of this client carries bytes.
async fn carries(stage: &mut Stage, client: Peer, pebble: &Pebble, server: u16) {
    let socks = free_port();
    let config = pebble.vmess().client(client, socks, server);
    let name = format!("client-{client:?}-{socks}");
    stage.run(client, &name, &config, &[socks]).await;
    traffic::ready(socks).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::both_ways(socks, 1024 * 1024).await;
}

/// What OpenSSL finds at `port` when it asks for `name`, believing `root` alone.
fn shaken(root: &Path, port: u16, name: &str, alpn: &str) -> String {
    let mut client = system("openssl");
    client.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    client.args(["-servername", name, "-verify_hostname", name, "-alpn", alpn]);
    client.arg("-CAfile").arg(root).stdin(Stdio::null());
    let ended = client.output().expect("openssl runs");
    let said = [ended.stdout, ended.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// The file of the certificate.
fn kept(stage: &Stage) -> PathBuf {
    let files = fs::read_dir(stage.path("state/acme")).expect("the folder is there");
    let mut files = files.flatten().map(|file| file.path());
    let found = files.find(|file| file.extension().is_some_and(|kind| kind == "pem"));
    found.expect("a certificate")
}

/// Puts a certificate in the place of the one that is kept, valid for `secs` and half of that in the past; gives who
/// vouches for it.
fn age(stage: &Stage, secs: u64) -> PathBuf {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use std::time::SystemTime;

    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let names = vec![SERVER_NAME.to_owned(), "www.mobula.test".to_owned()];
    let mut leaf = CertificateParams::new(names).expect("names");
    let now = SystemTime::now();
    leaf.not_before = (now - Duration::from_secs(10 * secs)).into();
    leaf.not_after = (now + Duration::from_secs(secs)).into();
    let key = KeyPair::generate().expect("a key");
    let leaf = leaf.signed_by(&key, &authority).expect("a leaf");
    fs::write(kept(stage), key.serialize_pem() + &leaf.pem()).expect("the test's folder is ours");
    stage.write("old-root.pem", authority.pem())
}

#[tokio::test]
async fn a_server_gets_its_certificate_and_the_clients_of_others_believe_it() {
    let mut stage = Stage::new();
    let pebble = Pebble::new(&stage);
    let authority = pebble.start(&mut stage).await;
    let metrics = free_port();
    let mut config = pebble.server(&stage);
    config["metrics"] = json!({"listen": format!("127.0.0.1:{metrics}")});
    let server = stage.run(Mobula, "server", &config, &[pebble.tls]).await;
    let log = stage.until_file_has("error.log", HERE).await;
    assert!(log.contains("by TLS-ALPN-01, and valid until 20"), "{log}");
    for client in [SingBox, V2ray445, Mobula] {
        carries(&mut stage, client, &pebble, pebble.tls).await;
    }
    let said = shaken(&pebble.root, pebble.tls, "www.mobula.test", "http/1.1");
    assert!(said.contains("Verification: OK"), "{said}");
    assert!(
        said.contains("Peer signature type: ecdsa_secp256r1_sha256")
            || said.contains("Peer signature type: ECDSA"),
        "{said}"
    );

    // Nobody else reads the keys.
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o7777;
    let folder = stage.path("state/acme");
    assert_eq!(mode(&folder), 0o700);
    let files = fs::read_dir(&folder)
        .expect("the folder is there")
        .flatten();
    let files: Vec<_> = files
        .map(|file| (file.file_name(), mode(&file.path())))
        .collect();
    assert!(
        files.len() >= 2 && files.iter().all(|(_, mode)| *mode == 0o600),
        "{files:?}"
    );
    let mut curl = system("curl");
    let url = format!("http://127.0.0.1:{metrics}/metrics");
    let asked = curl.args(["-s", &url]).output().expect("curl runs");
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let mut lines = text.lines();
    let gauge = "mobula_certificate_expiry_timestamp_seconds{";
    let line = lines.find(|line| line.starts_with(gauge)).expect("a gauge");
    assert!(line.contains("www.mobula.test"), "{line}");
    assert!(
        line.rsplit(' ')
            .next()
            .is_some_and(|secs| secs.parse::<u64>().is_ok_and(|secs| secs > 1_700_000_000)),
        "{line}"
    );

    // A start later there is nobody to ask, and nothing to ask for. What is proved no more is not shown.
    let said = shaken(&pebble.root, pebble.tls, SERVER_NAME, "acme-tls/1");
    assert!(said.contains("No ALPN negotiated"), "{said}");
    stage.child(server).signal("TERM");
    stage.child(server).ended(traffic::LIMIT).await;
    let log_before = stage.read("error.log");
    config["inbounds"][0]["streamSettings"]["tlsSettings"]["acme"]["email"] =
        json!("you@mobula.test");
    stage.child(authority).signal("KILL");
    stage.child(authority).ended(traffic::LIMIT).await;
    stage
        .run(Mobula, "server-again", &config, &[pebble.tls])
        .await;
    carries(&mut stage, SingBox, &pebble, pebble.tls).await;
    let log = stage.read("error.log");
    let asked = |log: &str| log.matches("is asked for a certificate").count();
    assert_eq!([asked(&log_before), asked(&log)], [1, 1], "{log}");
}

#[tokio::test]
async fn the_old_certificate_goes_on_until_the_authority_is_there_again() {
    let mut stage = Stage::new();
    let pebble = Pebble::started(&mut stage).await;
    let config = pebble.server(&stage);
    let first = stage.run(Mobula, "first", &config, &[pebble.tls]).await;
    stage.until_file_has("error.log", HERE).await;
    stage.child(first).signal("TERM");
    stage.child(first).ended(traffic::LIMIT).await;
    let old = age(&stage, 600);

    // At the directory nobody is, yet.
    let before = pebble.with_root(old.clone());
    let mut proxied = config.clone();
    let gate = Gate::new(pebble.directory).await;
    let acme = &mut proxied["inbounds"][0]["streamSettings"]["tlsSettings"]["acme"];
    acme["directory"] = json!(format!("https://127.0.0.1:{}/dir", gate.port));
    let server = stage.run(Mobula, "server", &proxied, &[pebble.tls]).await;
    let told = [
        "mobula.test, www.mobula.test: no new certificate: cannot ask https://",
        "the old one goes on until 20",
        "[acme-unreachable]",
    ];
    stage.until_line_has("error.log", &told).await;
    carries(&mut stage, SingBox, &before, pebble.tls).await;
    carries(&mut stage, V2ray445, &before, pebble.tls).await;

    // A tunnel lives through the renewal.
    let socks = free_port();
    let client = before.vmess().client(V2ray445, socks, pebble.tls);
    stage.run(V2ray445, "long-client", &client, &[socks]).await;
    traffic::ready(socks).await;
    let to = To::Ip(traffic::echo().await);
    let mut long = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut long, b"before").await;
    gate.open();
    let log = stage.read("error.log");
    let had = log.matches(HERE).count();
    stage.child(server).signal("HUP");
    let renewed = async {
        while stage.read_so_far("error.log").matches(HERE).count() == had {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let renewed = tokio::time::timeout(3 * traffic::LIMIT, renewed).await;
    assert!(renewed.is_ok(), "{}", stage.read("error.log"));
    traffic::exchange(&mut long, b"behind").await;
    carries(&mut stage, SingBox, &pebble, pebble.tls).await;
    let said = shaken(&old, pebble.tls, SERVER_NAME, "h2,http/1.1");
    assert!(!said.contains("Verification: OK"), "{said}");
}

/// A port that leads to another one, once it is opened.
struct Gate {
    port: u16,
    is_open: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Gate {
    async fn new(to: u16) -> Self {
        let listener = crate::peers::listen();
        let port = listener.local_addr().expect("it listens").port();
        let is_open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let opened = is_open.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if opened.load(std::sync::atomic::Ordering::Relaxed) {
                    tokio::spawn(async move {
                        let mut far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await?;
                        tokio::io::copy_bidirectional(&mut near, &mut far).await
                    });
                }
            }
        });
        Self { port, is_open }
    }

    fn open(&self) {
        self.is_open
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The authority finds nobody on its TLS port, and asks the inbound without TLS, which has tunnels or a site of its own.
#[tokio::test]
async fn a_port_without_tls_proves_a_name_and_serves_as_before() {
    for carrier in ["raw", "ws", "site"] {
        let mut stage = Stage::new();
        let pebble = Pebble::started(&mut stage).await;
        let tls = free_port();
        let mut config = pebble.server(&stage);
        config["inbounds"][0]["port"] = json!(tls);
        config["inbounds"][0]["streamSettings"]["tlsSettings"]["acme"]["httpPort"] =
            json!(pebble.http);
        let mut plain = json!({
            "listen": "127.0.0.1", "port": pebble.http, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
        });
        let vmess = match carrier {
            "raw" => Vmess::tcp(),
            _ => {
                plain["streamSettings"] = json!({"network": "ws", "wsSettings": {"path": "/ray"}});
                Vmess::ws()
            }
        };
        if carrier == "site" {
            let folder = stage.path("site");
            fs::create_dir(&folder).expect("the test's folder is ours");
            fs::write(folder.join("index.html"), "welcome").expect("the test's folder is ours");
            plain["streamSettings"]["fallback"] = json!(folder);
        }
        let inbounds = config["inbounds"].as_array_mut().expect("a list");
        inbounds.push(plain);
        stage
            .run(Mobula, "server", &config, &[tls, pebble.http])
            .await;
        // While it is proved, too.
        let socks = free_port();
        let client = vmess.client(V2ray445, socks, pebble.http);
        stage.run(V2ray445, "client", &client, &[socks]).await;
        traffic::ready(socks).await;
        let log = stage.until_file_has("error.log", HERE).await;
        assert!(log.contains("by HTTP-01, and valid until"), "{log}");
        carries(&mut stage, SingBox, &pebble, tls).await;
        traffic::both_ways(socks, 1024 * 1024).await;
        if carrier == "site" {
            let mut curl = system("curl");
            let url = format!("http://127.0.0.1:{}/", pebble.http);
            let page = curl.args(["-s", &url]).output().expect("curl runs");
            assert_eq!(page.stdout, b"welcome");
        }
    }
}

#[tokio::test]
async fn without_a_certificate_clients_are_refused_and_the_log_says_why() {
    let mut stage = Stage::new();
    let pebble = Pebble::started(&mut stage).await;
    // The authority looks where nobody is.
    let port = free_port();
    let mut config = pebble.server(&stage);
    config["inbounds"][0]["port"] = json!(port);
    stage.run(Mobula, "server", &config, &[port]).await;
    let told = [
        "the authority did not find this server at ",
        "by TLS-ALPN-01",
        "there is none, and TLS clients are refused",
        "asked for again in 60 s",
        "[acme-validation]",
    ];
    stage.until_line_has("error.log", &told).await;
    let said = shaken(&pebble.root, port, SERVER_NAME, "http/1.1");
    assert!(said.contains("no peer certificate available"), "{said}");
    stage
        .until_line_has(
            "server.log",
            &["there is no certificate yet", "[tls-no-certificate-yet]"],
        )
        .await;
}

/// Whoever sits in between issues nothing.
#[tokio::test]
async fn an_authority_is_believed_only_with_a_certificate_of_its_own() {
    let mut stage = Stage::new();
    let pebble = Pebble::started(&mut stage).await;
    let mut config = pebble.server(&stage);
    let acme = &mut config["inbounds"][0]["streamSettings"]["tlsSettings"]["acme"];
    acme["ca"] = json!(Certificate::with_names(&stage, &["localhost"]).authority);
    stage.run(Mobula, "server", &config, &[pebble.tls]).await;
    let told = [
        "no authority that this system believes has issued its certificate",
        "asked for again in 5 s",
        "[acme-unreachable]",
    ];
    stage.until_line_has("error.log", &told).await;
    let files = fs::read_dir(stage.path("state/acme"))
        .expect("the folder is there")
        .flatten();
    let names: Vec<_> = files.map(|file| file.file_name()).collect();
    assert_eq!(names, ["lock"]);
}

/// Several places share a certificate, and several processes: nobody is asked twice.
#[tokio::test]
async fn inbounds_and_processes_share_a_certificate() {
    let mut stage = Stage::new();
    let pebble = Pebble::started(&mut stage).await;
    let second = free_port();
    let mut config = pebble.server(&stage);
    let first = config["inbounds"][0].clone();
    let mut other = first.clone();
    other["port"] = json!(second);
    let mut beside = first.clone();
    beside["streamSettings"]["wsSettings"]["path"] = json!("/other");
    let inbounds = config["inbounds"].as_array_mut().expect("a list");
    inbounds.extend([other, beside]);
    let file = stage.write("server.json", config.to_string());
    let mut command = Mobula.command(&file);
    command.args(["-pidfile", "server.pid"]);
    let server = stage
        .start("server", &mut command, &[pebble.tls, second])
        .await;
    stage.until_file_has("error.log", HERE).await;
    for port in [pebble.tls, second] {
        carries(&mut stage, SingBox, &pebble, port).await;
    }
    // A reload that changes the inbounds keeps what is there.
    config["inbounds"][0]["streamSettings"]["wsSettings"]["path"] = json!("/new");
    stage.write("server.json", config.to_string());
    stage.child(server).signal("HUP");
    stage
        .until_file_has("error.log", "the config was read again")
        .await;
    carries(&mut stage, SingBox, &pebble, second).await;
    let said = shaken(&pebble.root, pebble.tls, SERVER_NAME, "http/1.1");
    assert!(said.contains("Verification: OK"), "{said}");
    // Another process has the folder, too.
    let third = free_port();
    let mut alone = pebble.server(&stage);
    alone["inbounds"][0]["port"] = json!(third);
    stage.run(Mobula, "third", &alone, &[third]).await;
    carries(&mut stage, SingBox, &pebble, third).await;
    let asked = stage
        .read("error.log")
        .matches("is asked for a certificate")
        .count();
    assert_eq!(asked, 1, "{}", stage.read("error.log"));
}

/// Who takes over has the certificate from the folder, and asks nobody for another.
#[tokio::test]
async fn a_successor_shows_the_same_certificate() {
    let mut stage = Stage::new();
    let pebble = Pebble::new(&stage);
    let authority = pebble.start(&mut stage).await;
    let config = pebble.server(&stage);
    let server = scenario_successor::start(&mut stage, &config, &[], &[pebble.tls]).await;
    stage.until_file_has("error.log", HERE).await;
    let socks = free_port();
    let client = pebble.vmess().client(V2ray445, socks, pebble.tls);
    stage.run(V2ray445, "long-client", &client, &[socks]).await;
    traffic::ready(socks).await;
    let to = To::Ip(traffic::echo().await);
    let mut long = traffic::connect(socks, &to).await.expect("SOCKS connects");
    traffic::exchange(&mut long, b"before").await;

    // There is nobody to ask any more.
    stage.child(authority).signal("KILL");
    stage.child(authority).ended(traffic::LIMIT).await;
    let shown = fs::read(kept(&stage)).expect("it is kept");
    let old = pid(&stage);
    stage.child(server).signal("USR2");
    let _heir = scenario_successor::heir(&stage, old).await;
    for client in [SingBox, V2ray445] {
        carries(&mut stage, client, &pebble, pebble.tls).await;
    }
    traffic::exchange(&mut long, b"behind").await;
    let said = shaken(&pebble.root, pebble.tls, SERVER_NAME, "http/1.1");
    assert!(said.contains("Verification: OK"), "{said}");
    assert_eq!(fs::read(kept(&stage)).expect("it is kept"), shown);
    let log = stage.read("error.log");
    let asked = log.matches("is asked for a certificate").count();
    assert_eq!(asked, 1, "{log}");
}

/// While the authority looks at the port, it is a site's and a tunnel's as ever.
#[tokio::test]
async fn browsers_are_served_while_a_name_is_proved() {
    let mut stage = Stage::new();
    let pebble = Pebble::started(&mut stage).await;
    let mut config = pebble.server(&stage);
    let stream = &mut config["inbounds"][0]["streamSettings"];
    stream["fallback"] = json!(scenario_site::folder(&stage));
    stream["tlsSettings"]["alpn"] = json!(["h2", "http/1.1"]);
    let first = stage.run(Mobula, "first", &config, &[pebble.tls]).await;
    stage.until_file_has("error.log", HERE).await;
    stage.child(first).signal("TERM");
    stage.child(first).ended(traffic::LIMIT).await;
    age(&stage, 600);

    let url = format!("https://localhost:{}/ten.txt", pebble.tls);
    let visit = || {
        let mut curl = system("curl");
        let told = "%{http_version} %{response_code}";
        let ended = curl.args(["-ks", "--http2", "-w", told, &url]).output();
        String::from_utf8(ended.expect("curl runs").stdout).expect("text")
    };
    let had = stage.read("error.log").matches(HERE).count();
    stage.run(Mobula, "server", &config, &[pebble.tls]).await;
    let mut visits = 0;
    let renewed = async {
        while stage.read_so_far("error.log").matches(HERE).count() == had {
            assert_eq!(visit(), "01234567892 200", "visit {visits}");
            visits += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let renewed = tokio::time::timeout(3 * traffic::LIMIT, renewed).await;
    assert!(renewed.is_ok(), "{}", stage.read("error.log"));
    assert!(visits > 2, "{visits} visits came before the certificate");
    assert_eq!(visit(), "01234567892 200");
    carries(&mut stage, SingBox, &pebble, pebble.tls).await;
}

/// A config is looked at without asking anybody, and without making anything.
#[tokio::test]
async fn a_config_is_tested_without_a_network() {
    let stage = Stage::new();
    let pebble = Pebble::new(&stage);
    let test = |config: &Value| {
        let file = stage.write("test.json", config.to_string());
        let mut mobula: Command = crate::peers::mobula();
        let ended = mobula
            .args(["test", "-c"])
            .arg(file)
            .output()
            .expect("it runs");
        let said = [ended.stdout, ended.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    };
    let config = pebble.server(&stage);
    assert!(
        test(&config).contains("Configuration OK."),
        "{}",
        test(&config)
    );
    assert!(!stage.path("state").exists());
    for (key, value, told) in [
        ("domains", json!([]), "0 names, expected 1 to 100"),
        ("domains", json!(["*.a.example"]), "a wildcard needs DNS-01"),
        ("domains", json!("192.0.2.1"), "it is an address"),
        ("email", json!("me"), "`me` is no address of mail"),
        (
            "directory",
            json!("http://a.example/dir"),
            "expected a URL with `https://`",
        ),
        (
            "folder",
            json!(stage.path("test.json/acme")),
            "cannot be a folder",
        ),
        ("ca", json!(stage.path("nothing")), "there is no such file"),
        ("httpPort", json!(0), "is no port that anybody asks at"),
        ("names", json!(["a"]), "unknown key"),
    ] {
        let mut bad = config.clone();
        bad["inbounds"][0]["streamSettings"]["tlsSettings"]["acme"][key] = value;
        let said = test(&bad);
        let place = "inbounds[0].streamSettings.tlsSettings.acme";
        assert!(said.contains(told) && said.contains(place), "{key}: {said}");
    }
}
