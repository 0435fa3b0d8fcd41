//! `fallbacks`: whoever does not speak the inbound's protocol gets what stands behind it. V2Ray 4.45 is asked the same.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener as StdUnixListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha224};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::configs::{self, Certificate, PASSWORD, Vmess};
use crate::peers::Peer::{self, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, listen, system};
use crate::traffic::{self, LIMIT};

/// Says its name, and shows the first thing that it is told.
async fn site(tag: &'static str) -> u16 {
    let listener = listen();
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(show(tag, stream));
        }
    });
    port
}

async fn show(tag: &'static str, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut told = Vec::new();
    let mut buf = vec![0; 4096];
    // All of it, if it comes in pieces.
    while let Ok(Ok(1..)) = timeout(Duration::from_millis(200), async {
        let n = stream.read(&mut buf).await?;
        told.extend_from_slice(&buf[..n]);
        Ok::<_, std::io::Error>(n)
    })
    .await
    {}
    let shown = format!("{tag}: {}", told.escape_ascii());
    let _ = stream.write_all(shown.as_bytes()).await;
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

fn unix_site(tag: &'static str, at: UnixAddr) {
    let listener = StdUnixListener::bind_addr(&at).expect("the name is free");
    listener.set_nonblocking(true).expect("a socket");
    let listener = UnixListener::from_std(listener).expect("a listener");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(show(tag, stream));
        }
    });
}

/// What a visitor is answered.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, pieces: &[&[u8]]) -> String {
    for piece in pieces {
        stream.write_all(piece).await.expect("it is open");
        stream.flush().await.expect("it is open");
        if pieces.len() > 1 {
            sleep(Duration::from_millis(100)).await;
        }
    }
    let mut told = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut told)).await;
    read.expect("an answer in time").expect("it ends in order");
    String::from_utf8(told).expect("text")
}

/// A TLS client that believes the certificate and offers these protocols.
pub async fn over_tls(
    certificate: &Certificate,
    port: u16,
    name: &str,
    alpn: &[&str],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(&certificate.authority).expect("a certificate");
    roots.add(authority).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    shaken.await.expect("TLS")
}

/// A VLESS or Trojan server with these fallbacks; over TLS with a certificate.
fn server(peer: Peer, vmess: &Vmess, port: u16, fallbacks: &Value) -> Value {
    let mut config = vmess.server(peer, port);
    config["inbounds"][0]["settings"]["fallbacks"] = fallbacks.clone();
    config
}

fn both() -> [Vmess; 2] {
    [Vmess::tcp().vless(), Vmess::tcp().trojan()]
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n\r\n").into_bytes()
}

/// A whole Trojan header with a password that nobody has.
fn trojan_header(password: &str) -> Vec<u8> {
    let digits = Sha224::digest(password);
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut header = digits.into_bytes();
    header.extend(b"\r\n\x01\x01\x7f\0\0\x01\0\x50\r\nGET / HTTP/1.0\r\n\r\n");
    header
}

/// A whole VLESS header with an id that nobody has.
fn vless_header() -> Vec<u8> {
    let mut header = vec![0; 18];
    header[1..17].fill(7);
    header.extend(b"\x01\0\x50\x01\x7f\0\0\x01GET / HTTP/1.0\r\n\r\n");
    header
}

#[tokio::test]
async fn everything_strange_goes_where_v2ray_sends_it() {
    let fallbacks = json!([
        {"dest": site("site").await},
        {"path": "/ws", "dest": format!("127.0.0.1:{}", site("ws").await)},
        {"path": "/v1", "dest": site("v1").await, "xver": 1},
        {"path": "/v2", "dest": site("v2").await.to_string(), "xver": 2},
        {"alpn": "h2", "dest": site("h2").await},
    ]);
    let mut requests = vec![
        get("/"),
        get("/ws"),
        get("/ws/"),
        get("/other?x=/ws"),
        b"POST /ws HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody".to_vec(),
        b"OPTIONS * HTTP/1.1\r\nHost: site.example\r\n\r\n".to_vec(),
        b"SSH-2.0-a_client_of_something_else\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ];
    for vmess in both() {
        let mut stage = Stage::new();
        let vmess = Vmess {
            tls: Some(Certificate::new(&stage)),
            ..vmess
        };
        let certificate = vmess.tls.clone().expect("a certificate");
        requests.push(match vmess.protocol {
            configs::Protocol::Trojan => trojan_header("nobody's"),
            _ => vless_header(),
        });
        let mut ports = Vec::new();
        for peer in [Mobula, V2ray445] {
            let port = free_port();
            let config = server(peer, &vmess, port, &fallbacks);
            let name = format!("server-{peer:?}");
            stage.run(peer, &name, &config, &[port]).await;
            ports.push(port);
        }
        for alpn in [&[][..], &["http/1.1"], &["h2"]] {
            for request in &requests {
                let mut said = Vec::new();
                for port in &ports {
                    let stream = over_tls(&certificate, *port, "mobula.test", alpn).await;
                    said.push(answer(stream, &[request]).await);
                }
                println!("{:?} {alpn:?}: {}", vmess.protocol, said[0]);
                assert_eq!(said[0], said[1]);
                assert!(said[0].ends_with(&request.escape_ascii().to_string()));
            }
            // The addresses are those of the connection, in the same form.
            for (path, signature) in [("/v1", "v1: PROXY TCP4 127.0.0.1 127.0.0.1 "), ("/v2", V2)] {
                for port in &ports {
                    let stream = over_tls(&certificate, *port, "mobula.test", alpn).await;
                    let from = stream.get_ref().0.local_addr().expect("bound").port();
                    let said = answer(stream, &[&get(path)]).await;
                    if alpn == ["h2"] {
                        // What is said for any protocol is said for h2.
                        assert!(said.starts_with(signature), "{said}");
                    }
                    assert!(said.starts_with(signature), "{said}");
                    let ports = match path {
                        "/v1" => format!("{from} {port}\\r\\nGET"),
                        _ => {
                            let both = [from.to_be_bytes(), port.to_be_bytes()].concat();
                            format!("{}GET", both.escape_ascii())
                        }
                    };
                    assert!(said.contains(&ports), "{said}");
                }
            }
        }
        requests.pop();
    }
}

const V2: &str = r"v2: \r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01";

/// Users are served as ever beside it.
#[tokio::test]
async fn users_pass_and_unix_sockets_are_reached() {
    let stage = Stage::new();
    let path = stage.path("site.sock");
    let id = free_port();
    let (plain, padded) = (format!("mobula-a-{id}"), format!("mobula-b-{id}"));
    unix_site(
        "file",
        UnixAddr::from_pathname(&path).expect("a short path"),
    );
    let name = UnixAddr::from_abstract_name(&plain).expect("a short name");
    unix_site("abstract", name);
    let mut whole = padded.as_bytes().to_vec();
    whole.resize(107, 0);
    unix_site(
        "padded",
        UnixAddr::from_abstract_name(&whole).expect("107 bytes"),
    );
    let fallbacks = json!([
        {"dest": path},
        {"path": "/abstract", "dest": format!("@{plain}")},
        {"path": "/padded", "dest": format!("@@{padded}"), "xver": 1},
    ]);
    for vmess in both() {
        for peer in [Mobula, V2ray445] {
            println!("{peer:?} {:?}", vmess.protocol);
            let mut stage = Stage::new();
            let (port, socks) = (free_port(), free_port());
            let config = server(peer, &vmess, port, &fallbacks);
            stage.run(peer, "server", &config, &[port]).await;
            for (path, tag) in [
                ("/", "file: GET /"),
                ("/abstract", "abstract: GET /"),
                ("/padded", "padded: PROXY TCP4 127.0.0.1 127.0.0.1 "),
            ] {
                let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
                let said = answer(stream, &[&get(path)]).await;
                assert!(said.starts_with(tag), "{said}");
            }
            let client = vmess.client(SingBox, socks, port);
            stage.run(SingBox, "client", &client, &[socks]).await;
            traffic::ready(socks).await;
            traffic::both_ways(socks, 1 << 20).await;
        }
    }
}

/// Where the others look at the first read alone.
#[tokio::test]
async fn what_comes_in_pieces_is_put_together_first() {
    let fallbacks = json!([
        {"dest": site("site").await},
        {"path": "/ws", "dest": site("ws").await},
    ]);
    for vmess in both() {
        let mut stage = Stage::new();
        let port = free_port();
        let config = server(Mobula, &vmess, port, &fallbacks);
        stage.run(Mobula, "server", &config, &[port]).await;
        let connect = async || TcpStream::connect(("127.0.0.1", port)).await.expect("open");
        // Xray's path, as its own clients ask for early data.
        for (pieces, tag) in [
            (
                &[&b"GE"[..], b"T /w", b"s HTTP/1.1\r\n\r\n"][..],
                "ws: GET /ws ",
            ),
            (&[b"GET /ws?ed=2048 HTTP/1.1\r\n\r\n"], "ws: GET /ws?ed"),
            (&[b"GET /wss HTTP/1.1\r\n\r\n"], "site: GET /wss "),
        ] {
            let said = answer(connect().await, pieces).await;
            assert!(said.starts_with(tag), "{said}");
        }
        // The beginning of a header, and then no more: a web server would have answered.
        let header = match vmess.protocol {
            configs::Protocol::Trojan => trojan_header("nobody's"),
            _ => vless_header(),
        };
        let began = Instant::now();
        let said = answer(connect().await, &[&header[..12]]).await;
        assert!(said.starts_with("site: "), "{said}");
        assert!(began.elapsed() < Duration::from_secs(5));
        // A user's header in pieces is one all the same.
        if vmess.protocol == configs::Protocol::Trojan {
            let target = traffic::greeter().await;
            let mut header = trojan_header(PASSWORD);
            header.truncate(58);
            header.extend(b"\x01\x01\x7f\0\0\x01");
            header.extend(target.port().to_be_bytes());
            header.extend(b"\r\n");
            let mut stream = connect().await;
            for piece in header.chunks(29) {
                stream.write_all(piece).await.expect("it is open");
                sleep(Duration::from_millis(700)).await;
            }
            let mut greeting = vec![0; traffic::GREETING.len()];
            let read = timeout(LIMIT, stream.read_exact(&mut greeting)).await;
            read.expect("in time").expect("a greeting");
        }
    }
}

/// Xray's `name`, which V2Ray does not know.
#[tokio::test]
async fn names_choose_as_in_xray() {
    let mut stage = Stage::new();
    let names = ["mobula.test", "a.mobula.test", "other.test"];
    let certificate = Certificate::with_names(&stage, &names);
    let fallbacks = json!([
        {"dest": site("default").await},
        {"name": "mobula.test", "dest": site("any").await},
        {"name": "a.mobula.test", "alpn": "h2", "dest": site("a and h2").await},
    ]);
    let vmess = Vmess {
        tls: Some(certificate.clone()),
        ..Vmess::tcp().vless()
    };
    let port = free_port();
    let config = server(Mobula, &vmess, port, &fallbacks);
    stage.run(Mobula, "server", &config, &[port]).await;
    for (name, alpn, tag) in [
        ("other.test", &[][..], "default: "),
        ("mobula.test", &["h2"], "any: "),
        ("a.mobula.test", &["h2"], "a and h2: "),
        ("A.Mobula.Test", &["h2"], "a and h2: "),
    ] {
        let stream = over_tls(&certificate, port, name, alpn).await;
        let said = answer(stream, &[&get("/")]).await;
        assert!(said.starts_with(tag), "{name}: {said}");
    }
}

/// The layout of most panels: one port, and behind it a site and other inbounds, which learn who comes.
#[tokio::test]
async fn one_port_for_a_site_and_three_protocols() {
    let mut stage = Stage::new();
    let certificate = Certificate::new(&stage);
    let (port, trojan, ws, web) = (free_port(), free_port(), free_port(), free_port());
    let block = format!(
        "listen 127.0.0.1:{web} proxy_protocol; set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;\n\
         location / {{ return 200 \"a page for $remote_addr$uri\\n\"; }}"
    );
    let file = configs::nginx(&stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[web]).await;

    let front = Vmess {
        tls: Some(certificate.clone()),
        ..Vmess::tcp().vless()
    };
    let mut config = server(
        Mobula,
        &front,
        port,
        &json!([
            {"dest": trojan, "xver": 1},
            {"path": "/ray", "dest": ws, "xver": 2},
        ]),
    );
    let behind = |vmess: Vmess, port| {
        let mut inbound = vmess.server(Mobula, port)["inbounds"][0].take();
        inbound["streamSettings"]["sockopt"] = json!({"acceptProxyProtocol": true});
        inbound
    };
    let mut second = behind(Vmess::tcp().trojan(), trojan);
    second["settings"]["fallbacks"] = json!([{"dest": web, "xver": 1}]);
    let third = behind(Vmess::ws(), ws);
    let inbounds = config["inbounds"].as_array_mut().expect("inbounds");
    inbounds.extend([second, third]);
    stage
        .run(Mobula, "server", &config, &[port, trojan, ws])
        .await;

    // Two requests on one connection.
    let stream = over_tls(&certificate, port, "mobula.test", &["http/1.1"]).await;
    let last = b"GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let said = answer(stream, &[&get("/one"), last]).await;
    assert!(said.contains("a page for 127.0.0.1/one"), "{said}");
    assert!(said.contains("a page for 127.0.0.1/two"), "{said}");
    for vmess in [front.clone(), front.clone().trojan()] {
        for client in [SingBox, V2ray445, Mobula] {
            let socks = free_port();
            let config = vmess.client(client, socks, port);
            let name = format!("client-{client:?}-{socks}");
            stage.run(client, &name, &config, &[socks]).await;
            traffic::both_ways(socks, 1 << 20).await;
        }
    }
    let ws = Vmess {
        tls: Some(certificate),
        ..Vmess::ws()
    };
    let socks = free_port();
    let config = ws.client(SingBox, socks, port);
    stage.run(SingBox, "client-ws", &config, &[socks]).await;
    traffic::ready(socks).await;
    traffic::both_ways(socks, 1 << 20).await;
    traffic::target_sends_and_closes(socks).await;
}

/// Half-close goes through, and what a slow visitor does not take stays where it is.
#[tokio::test]
async fn a_large_page_passes_whole_in_both_directions() {
    let listener = listen();
    let web = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut body = Vec::new();
                stream.read_to_end(&mut body).await?;
                stream.write_all(&body).await?;
                stream.shutdown().await
            });
        }
    });
    let mut stage = Stage::new();
    let port = free_port();
    let config = server(
        Mobula,
        &Vmess::tcp().trojan(),
        port,
        &json!([{"dest": web}]),
    );
    let running = stage.run(Mobula, "server", &config, &[port]).await;
    let before = stage.child(running).resident_kib();
    let page = traffic::bytes(32 << 20);
    let mut visitor = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
    visitor
        .write_all(b"PUT / HTTP/1.0\r\n\r\n")
        .await
        .expect("open");
    visitor.write_all(&page).await.expect("open");
    visitor.shutdown().await.expect("open");
    sleep(Duration::from_secs(1)).await;
    let grown = stage.child(running).resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    let mut back = Vec::new();
    let read = timeout(LIMIT, visitor.read_to_end(&mut back)).await;
    read.expect("in time").expect("it ends in order");
    assert!(back.strip_prefix(b"PUT / HTTP/1.0\r\n\r\n") == Some(&page[..]));
}

#[tokio::test]
async fn nobody_behind_is_told_and_found_again() {
    let mut stage = Stage::new();
    let (port, web) = (free_port(), free_port());
    let config = server(Mobula, &Vmess::tcp().vless(), port, &json!([{"dest": web}]));
    stage.run(Mobula, "server", &config, &[port]).await;
    let mut visitor = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
    visitor.write_all(&get("/")).await.expect("open");
    let end = timeout(LIMIT, visitor.read(&mut [0])).await;
    assert!(matches!(end, Ok(Ok(0))), "{end:?}");
    let told = format!("nobody answers at the fallback port {web}: cannot connect to ");
    let log = stage.until_file_has("server.log", &told).await;
    assert!(log.contains("[fallback-down]"), "{log}");
    // A web server that is just starting is waited for.
    let mut visitor = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
    visitor.write_all(&get("/")).await.expect("open");
    sleep(Duration::from_millis(150)).await;
    let block = format!("listen 127.0.0.1:{web};\nlocation / {{ return 200 \"here\"; }}");
    let file = configs::nginx(&stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[web]).await;
    let mut said = vec![0; 12];
    let read = timeout(LIMIT, visitor.read_exact(&mut said)).await;
    read.expect("in time").expect("an answer");
    assert_eq!(said, b"HTTP/1.1 200");
}
