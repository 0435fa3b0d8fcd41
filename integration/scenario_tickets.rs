//! TLS sessions that are taken up again.

use std::fs;

use serde_json::json;

use crate::configs::{ID, SERVER_NAME};
use crate::peers::Peer::{Mobula, SingBox};
use crate::peers::{Stage, free_port, python, root, system};
use crate::traffic::{self, To};

fn certificate(kind: &str) -> String {
    root()
        .join(format!("testdata/certs/odd/ed25519.{kind}"))
        .display()
        .to_string()
}

#[tokio::test]
async fn a_client_takes_its_session_up_again_with_nginx() {
    let mut stage = Stage::new();
    let (inner, front, socks) = (free_port(), free_port(), free_port());
    let server = json!({
        "inbounds": [{
            "type": "vmess", "listen": "127.0.0.1", "listen_port": inner, "users": [{"uuid": ID}],
            "transport": {"type": "ws", "path": "/ray"},
        }],
        "outbounds": [{"type": "direct"}],
    });
    stage.run(SingBox, "server", &server, &[inner]).await;

    let (tmp, pid) = (stage.path("tmp"), stage.path("pid"));
    let (tmp, pid, log) = (tmp.display(), pid.display(), stage.path("reused.log"));
    let text = format!(
        "daemon off; pid {pid}; error_log stderr info; worker_processes 1;
        events {{ worker_connections 512; }}
        http {{
            log_format reused $ssl_protocol,$ssl_session_reused; access_log {} reused;
            client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp};
            uwsgi_temp_path {tmp}; scgi_temp_path {tmp};
            server {{
                listen 127.0.0.1:{front} ssl;
                ssl_certificate {}; ssl_certificate_key {};
                ssl_protocols TLSv1.2 TLSv1.3;
                location /ray {{
                    proxy_pass http://127.0.0.1:{inner}; proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
                }}
            }}
        }}",
        log.display(),
        certificate("crt"),
        certificate("key"),
    );
    let file = stage.write("nginx.conf", text);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[front]).await;

    let outbound = |tag: &str, versions: (&str, &str)| {
        json!({
            "tag": tag, "protocol": "vmess",
            "settings": {"vnext": [{"address": "127.0.0.1", "port": front, "users": [{"id": ID}]}]},
            "streamSettings": {
                "network": "ws", "wsSettings": {"path": "/ray"}, "security": "tls",
                "tlsSettings": {
                    "allowInsecure": true, "serverName": SERVER_NAME,
                    "minVersion": versions.0, "maxVersion": versions.1,
                },
            },
        })
    };
    let older = free_port();
    let client = json!({
        "inbounds": [
            {"tag": "1.3", "listen": "127.0.0.1", "port": socks, "protocol": "socks"},
            {"tag": "1.2", "listen": "127.0.0.1", "port": older, "protocol": "socks"},
        ],
        "outbounds": [outbound("1.3", ("1.3", "1.3")), outbound("1.2", ("1.2", "1.2"))],
        "routing": {"rules": [{"type": "field", "inboundTag": ["1.2"], "outboundTag": "1.2"}]},
    });
    stage.run(Mobula, "client", &client, &[socks, older]).await;
    let echo = To::Ip(traffic::echo().await);
    for version in ["1.3", "1.2"] {
        let port = if version == "1.3" { socks } else { older };
        for visit in 1..=3 {
            traffic::word(port, &echo).await;
            let expected = if visit == 1 { "." } else { "r" };
            let line = format!("TLSv{version},{expected}");
            stage.until_file_has("reused.log", &line).await;
        }
        let lines = fs::read_to_string(&log).expect("nginx writes it");
        let first = format!("TLSv{version},.");
        let whole = lines.lines().filter(|line| **line == *first).count();
        assert_eq!(whole, 1, "one handshake shows a certificate: {lines}");
    }
}

/// Python's TLS is OpenSSL's, as that of most programs.
const MANY: &str = r#"
import socket, ssl, sys
port, version = int(sys.argv[1]), sys.argv[2]

def visit(session=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    if session is not None:
        context = session[0]
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with context.wrap_socket(plain, server_hostname="a.test", session=session and session[1]) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            while tls.recv(4096):
                pass
            return (context, tls.session), tls.session_reused

first = [visit() for _ in range(int(sys.argv[3]))]
assert not any(reused for _, reused in first)
again = [visit(session)[1] for session, _ in first]
print(sum(again))
"#;

#[tokio::test]
async fn a_server_knows_every_client_again_however_many_there_were() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = json!({"inbounds": [{
        "listen": "127.0.0.1", "port": port, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
        "streamSettings": {
            "network": "ws", "wsSettings": {"path": "/ray"}, "security": "tls",
            "tlsSettings": {"certificates": [
                {"certificateFile": certificate("crt"), "keyFile": certificate("key")},
            ]},
        },
    }]});
    stage.run(Mobula, "server", &config, &[port]).await;
    for version in ["TLSv1_3", "TLSv1_2"] {
        let mut visits = python();
        visits.args(["-c", MANY, &port.to_string(), version, "400"]);
        let ended = tokio::task::spawn_blocking(move || visits.output()).await;
        let ended = ended.expect("no panic").expect("python runs");
        let (out, err) = (
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr),
        );
        assert_eq!(out.trim(), "400", "{version}: {err}");
    }
}
