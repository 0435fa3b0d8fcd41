//! Share links with real programs: mihomo dials by those that `mobula link` prints, and what it prints of others' links
//! carries to V2Ray and sing-box.

use std::path::Path;
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::configs::{Carrier, Certificate, Early, PASSWORD, SERVER_NAME, Vmess};
use crate::peers::Peer::{Mihomo, Mobula, SingBox, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, mobula};
use crate::traffic::{self, To};

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";
const USER_ID: &str = "27848739-7e62-4138-9fd3-098a63964b6b";
const KEY: &str = "bCPY1dHSOODxnklfEDPYLA==";
const USER_KEY: &str = "gXMF4/c4QtBepX8hONnSrA==";
const ODD_PASSWORD: &str = "p@ss w/ö:?#&=+%rd";

fn link(args: &[&str], stage: &Stage) -> Output {
    let output = mobula()
        .arg("link")
        .args(args)
        .current_dir(stage.path(""))
        .output();
    output.expect("mobula runs")
}

/// What it prints; nothing was left out.
fn printed(args: &[&str], stage: &Stage) -> String {
    let output = link(args, stage);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{args:?}: {said}"
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Protocols with one user each.
fn inbounds() -> Vec<Value> {
    let ss = |settings: Value| json!({"protocol": "shadowsocks", "settings": settings});
    let blake3 = "2022-blake3-aes-128-gcm";
    vec![
        json!({"protocol": "vmess", "settings": {"clients": [{"id": ID, "email": "ann@x"}]}}),
        json!({"protocol": "vless", "settings": {"decryption": "none", "clients": [{"id": ID, "email": "ann@x"}]}}),
        json!({"protocol": "trojan", "settings": {"clients": [{"password": ODD_PASSWORD, "email": "ann@x"}]}}),
        ss(json!({"method": "chacha20-poly1305", "password": ODD_PASSWORD, "network": "tcp,udp"})),
        ss(json!({"method": blake3, "password": KEY, "network": "tcp,udp"})),
        ss(
            json!({"method": blake3, "password": KEY, "network": "tcp,udp", "clients": [{"password": USER_KEY, "email": "ann@x"}]}),
        ),
    ]
}

/// `httpupgrade` is not among them: of a link for that mihomo 1.19 makes plain TCP.
fn streams() -> Vec<Value> {
    let ws =
        |path: &str| json!({"network": "ws", "wsSettings": {"path": path, "host": SERVER_NAME}});
    vec![
        json!({"network": "tcp"}),
        ws("/ray"),
        ws("/ray/ö?ed=2048"),
        json!({"network": "grpc", "grpcSettings": {"serviceName": "a.service"}}),
    ]
}

/// mihomo, whose only proxies are those that it makes of `links` itself.
async fn dial_by_mihomo(stage: &mut Stage, links: &str, authority: Option<&Path>) -> u16 {
    let socks = free_port();
    stage.write("links.txt", links);
    let config = json!({
        "socks-port": socks, "bind-address": "127.0.0.1", "ipv6": false, "mode": "rule", "log-level": "debug",
        "proxy-providers": {"p": {"type": "file", "path": "./links.txt", "health-check": {"enable": false}}},
        "proxy-groups": [{"name": "g", "type": "select", "use": ["p"]}],
        "rules": ["MATCH,g"],
    });
    stage
        .run_believing(authority, Mihomo, "mihomo", &config, &[socks])
        .await;
    traffic::ready(socks).await;
    socks
}

#[tokio::test]
async fn mihomo_dials_by_the_links_of_a_server() {
    let mut count = 0;
    for mut inbound in inbounds() {
        let is_ss = inbound["protocol"] == "shadowsocks";
        for stream in streams() {
            // It makes no transport but plain TCP of such links.
            if is_ss && stream["network"] != "tcp" {
                continue;
            }
            let mut stage = Stage::new();
            let port = free_port();
            let certificate = Certificate::new(&stage);
            inbound["listen"] = json!("127.0.0.1");
            inbound["port"] = json!(port);
            inbound["streamSettings"] = stream.clone();
            if !is_ss {
                inbound["streamSettings"]["security"] = json!("tls");
                inbound["streamSettings"]["tlsSettings"] = json!({"certificates": [
                    {"certificateFile": certificate.chain, "keyFile": certificate.key}]});
            }
            let config = json!({
                "log": {"loglevel": "debug"},
                "inbounds": [inbound], "outbounds": [{"protocol": "freedom"}],
            });
            stage.run(Mobula, "server", &config, &[port]).await;
            for form in [None, Some("--url")] {
                if form.is_some() && inbound["protocol"] != "vmess" {
                    continue;
                }
                let args = ["-c", "server.json", "--address", "127.0.0.1"];
                let args: Vec<&str> = args.into_iter().chain(form).collect();
                let links = printed(&args, &stage);
                println!("{links}");
                // A subscription is either.
                let provided = match count % 2 {
                    0 => links.clone(),
                    _ => STANDARD.encode(&links),
                };
                let authority = (!is_ss).then_some(&*certificate.authority);
                let socks = dial_by_mihomo(&mut stage, &provided, authority).await;
                traffic::both_ways(socks, 300_000).await;
                traffic::datagrams(socks, &[1, 1200]).await;
                count += 1;
            }
        }
    }
    assert_eq!(count, 4 * 4 + 3);
}

/// mihomo believes a certificate that nobody vouches for by the pin in the link.
#[tokio::test]
async fn a_certificate_of_one_s_own_is_pinned() {
    let mut stage = Stage::new();
    let port = free_port();
    let made = rcgen::generate_simple_self_signed(vec!["pinned.example".to_owned()]);
    let made = made.expect("a certificate");
    stage.write("own.pem", made.cert.pem());
    stage.write("own.key", made.signing_key.serialize_pem());
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "trojan", "settings": {"clients": [{"password": PASSWORD}]},
            "streamSettings": {"security": "tls", "tlsSettings": {"certificates": [
                {"certificateFile": stage.path("own.pem"), "keyFile": stage.path("own.key")}]}},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    let links = printed(&["-c", "server.json", "--address", "127.0.0.1"], &stage);
    assert!(links.contains("sni=pinned.example&pcs="), "{links}");
    let socks = dial_by_mihomo(&mut stage, &links, None).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    // Ours does, too.
    let outbound: Value = serde_json::from_str(&printed(&[links.trim()], &stage)).expect("JSON");
    let socks = dial(&mut stage, &outbound).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
}

/// mobula with an outbound that `mobula link` has printed.
async fn dial(stage: &mut Stage, outbound: &Value) -> u16 {
    let socks = free_port();
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": socks, "protocol": "socks",
            "settings": {"auth": "noauth", "udp": true, "ip": "127.0.0.1"},
        }],
        "outbounds": [outbound],
    });
    stage.run(Mobula, "client", &config, &[socks]).await;
    socks
}

/// The link that somebody's client would have for this server.
fn published(vmess: &Vmess, protocol: &str, port: u16) -> String {
    let at = format!("127.0.0.1:{port}");
    let path = vmess.path.map(|path| path.replace('/', "%2F"));
    let path = path.unwrap_or_default();
    let name = vmess.path.unwrap_or_default().trim_start_matches('/');
    let ed = match vmess.early {
        Early::Header(_) => "%3Fed%3D2048",
        _ => "",
    };
    let kind = match (vmess.path, vmess.carrier) {
        (None, _) => "type=tcp&headerType=none".to_owned(),
        (_, Carrier::Ws) => format!("type=ws&path={path}{ed}"),
        (_, Carrier::HttpUpgrade) => format!("type=httpupgrade&path={path}"),
        (_, Carrier::Grpc) => format!("type=grpc&serviceName={name}&mode=gun"),
        (_, Carrier::H2) => format!("type=http&path={path}&host={SERVER_NAME}"),
        (_, Carrier::HttpHeader) => format!("type=tcp&headerType=http&path={path}"),
    };
    match protocol {
        "vmess" => {
            let (net, kind) = match (vmess.path, vmess.carrier) {
                (None, _) => ("tcp", "none"),
                (_, Carrier::HttpHeader) => ("tcp", "http"),
                (_, Carrier::H2) => ("h2", "none"),
                (_, Carrier::Grpc) => ("grpc", "gun"),
                (_, carrier) => (carrier.network(), "none"),
            };
            let path = match vmess.carrier {
                Carrier::Grpc => name.to_owned(),
                _ => vmess.path.unwrap_or_default().to_owned(),
            };
            let host = match vmess.carrier {
                Carrier::H2 => SERVER_NAME,
                _ => "",
            };
            let json = json!({
                "v": "2", "ps": "v", "add": "127.0.0.1", "port": port.to_string(), "id": crate::configs::ID, "aid": "0",
                "scy": "auto", "net": net, "type": kind, "host": host, "path": path, "tls": "", "sni": "", "alpn": "", "fp": "",
            });
            format!("vmess://{}", STANDARD.encode(json.to_string()))
        }
        "vless" => format!(
            "vless://{}@{at}?encryption=none&security=none&flow=&{kind}#v",
            crate::configs::ID
        ),
        _ => format!("trojan://{PASSWORD}@{at}?security=none&{kind}#t"),
    }
}

#[tokio::test]
async fn what_a_link_says_carries_to_v2ray_and_sing_box() {
    let tunnels = [
        Vmess::tcp(),
        Vmess::ws(),
        Vmess::ws_early(Early::Header("Sec-WebSocket-Protocol")),
        Vmess::http_header(),
        Vmess::httpupgrade(),
        Vmess::grpc(),
        Vmess::h2(),
    ];
    for tunnel in tunnels {
        for server in [V2ray434, V2ray445, SingBox] {
            // What each of them has.
            let is_old = server == V2ray434 || server == V2ray445;
            let has = match tunnel.carrier {
                _ if tunnel.path.is_none() => true,
                Carrier::Ws => true,
                Carrier::HttpUpgrade | Carrier::H2 => server == SingBox,
                Carrier::HttpHeader => is_old,
                Carrier::Grpc => server != V2ray434,
            };
            if !has || (server == V2ray434 && !matches!(tunnel.early, Early::No)) {
                continue;
            }
            for protocol in ["vmess", "vless", "trojan"] {
                // Its HTTP server may hand the first byte on alone, which its Trojan takes for a whole header.
                if (server, tunnel.carrier, protocol) == (SingBox, Carrier::HttpUpgrade, "trojan") {
                    continue;
                }
                let tunnel = match protocol {
                    "vless" => tunnel.clone().vless(),
                    "trojan" => tunnel.clone().trojan(),
                    _ => tunnel.clone(),
                };
                let mut stage = Stage::new();
                let port = free_port();
                let config = tunnel.server(server, port);
                stage.run(server, "server", &config, &[port]).await;
                let link = published(&tunnel, protocol, port);
                println!("{server:?} {link}");
                let outbound = printed(&[&link], &stage);
                let outbound = serde_json::from_str(&outbound).expect("JSON");
                let socks = dial(&mut stage, &outbound).await;
                traffic::word(socks, &To::Ip(traffic::echo().await)).await;
                traffic::both_ways(socks, 300_000).await;
            }
        }
    }
}

/// Shadowsocks over WebSocket is `v2ray-plugin` in a link, and that is what sing-box makes of it.
#[tokio::test]
async fn the_plugin_of_a_link_is_sing_box_s() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "shadowsocks",
            "settings": {"method": "aes-128-gcm", "password": PASSWORD},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/ss;a=b"}},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    let links = printed(&["-c", "server.json", "--address", "127.0.0.1"], &stage);
    let (_, plugin) = links.split_once("plugin=").expect("a plugin");
    let (plugin, _) = plugin.split_once('#').expect("a name");
    let plugin = percent_encoding::percent_decode_str(plugin)
        .decode_utf8()
        .expect("text");
    let (name, options) = plugin.split_once(';').expect("options");
    let socks = free_port();
    let config = json!({
        "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": socks}],
        "outbounds": [{
            "type": "shadowsocks", "server": "127.0.0.1", "server_port": port, "method": "aes-128-gcm",
            "password": PASSWORD, "plugin": name, "plugin_opts": options,
        }],
    });
    stage.run(SingBox, "sing-box", &config, &[socks]).await;
    traffic::ready(socks).await;
    traffic::both_ways(socks, 300_000).await;
    let outbound: Value = serde_json::from_str(&printed(&[links.trim()], &stage)).expect("JSON");
    let socks = dial(&mut stage, &outbound).await;
    traffic::both_ways(socks, 300_000).await;
}

#[test]
fn a_picture_is_read_back() {
    let stage = Stage::new();
    let vless =
        format!("vless://{ID}@a.example:443?encryption=none&type=ws&path=%2Fray&security=tls#a");
    let json = printed(&[&vless, "--png", "a.png", "--svg", "a.svg"], &stage);
    assert_eq!(printed(&["a.png"], &stage), json);
    assert!(stage.read("a.svg").starts_with("<svg "));
    let shown = printed(&[&vless, "--qr"], &stage);
    assert!(
        shown.contains('█') && !shown.contains("outbound") && !shown.contains(ID),
        "{shown}"
    );
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["streamSettings"]["wsSettings"]["path"], "/ray");

    // Of a config with several, each has its own.
    let config = json!({"outbounds": [value, {"protocol": "trojan", "tag": "b", "settings": {"servers": [
        {"address": "b.example", "port": 443, "password": "p"}]}, "streamSettings": {"security": "tls"}}]});
    stage.write("client.json", config.to_string());
    let output = link(&["-c", "client.json", "--png", "all.png"], &stage);
    let links = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = links.lines().collect();
    assert_eq!(lines.len(), 2, "{links}");
    for (i, line) in lines.iter().enumerate() {
        let picture = format!("all-{}.png", i + 1);
        assert_eq!(printed(&[&picture], &stage), printed(&[line], &stage));
    }
    let mode = std::fs::metadata(stage.path("all-1.png")).expect("the picture");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

#[test]
fn what_is_left_out_is_told_and_may_be_an_error() {
    let stage = Stage::new();
    let config = json!({"outbounds": [
        {"protocol": "vless", "tag": "a", "mux": {"enabled": true}, "settings": {"vnext": [
            {"address": "a.example", "port": 443, "users": [{"id": ID, "encryption": "none"}]}]},
         "streamSettings": {"security": "tls", "network": "ws", "wsSettings": {"headers": {"X-A": "1"}}}},
        {"protocol": "freedom", "tag": "direct"},
        {"protocol": "http", "tag": "s", "settings": {"servers": [{"address": "b.example", "port": 1080}]}},
    ]});
    stage.write("client.json", config.to_string());
    let output = link(&["-c", "client.json"], &stage);
    let (shown, said) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{said}");
    assert_eq!(shown.lines().count(), 1);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "left out: outbounds[0].streamSettings.wsSettings.headers: a link has a word for `Host` alone",
            "left out: outbounds[0].mux: no link has a word for it",
            "left out: outbounds[2]: there are links for `vmess`, `vless`, `trojan`, `shadowsocks` and `socks` alone",
        ]
    );
    let output = link(&["-c", "client.json", "-strict"], &stage);
    assert_eq!(output.status.code(), Some(23));
    assert!(output.stdout.is_empty());

    for (args, part) in [
        (
            &["vless://secret-of-mine@a.example:abc"][..],
            "vless://…: port: found `abc`, expected 1 to 65535",
        ),
        (
            &["nothing.txt"],
            "nothing.txt: no such file or directory, expected a link, a picture or a file of links",
        ),
        (&[], "give a link to read, or `-c FILE`"),
    ] {
        let output = link(args, &stage);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(23), "{said}");
        assert!(
            said.contains(part) && !said.contains("secret-of-mine"),
            "{said}"
        );
    }
    // A server's config says who it is for, not where it is.
    stage.write(
        "server.json",
        json!({"inbounds": [{"port": 1, "listen": "127.0.0.1", "protocol": "vmess", "settings": {"clients": [{"id": ID}]}}],
            "outbounds": [{"protocol": "freedom"}]}).to_string(),
    );
    let output = link(&["-c", "server.json"], &stage);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`--address HOST`"), "{said}");
}

#[test]
fn a_subscription_gives_all_that_can_be_read() {
    let stage = Stage::new();
    let links = format!(
        "vless://{ID}@a.example:443?encryption=none#a\nhysteria2://x@y:1\ntrojan://p@b.example:443#b\n"
    );
    stage.write("plain.txt", &links);
    stage.write("base64.txt", STANDARD.encode(&links));
    for file in ["plain.txt", "base64.txt"] {
        let output = link(&[file], &stage);
        let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let tags: Vec<&str> = value
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|o| o["tag"].as_str())
            .collect();
        assert_eq!(tags, ["a", "b"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("left out: link 2: hysteria2://…: scheme"),
            "{said}"
        );
        assert!(said.contains("1 of 3 links cannot be read"), "{said}");
        assert_eq!(output.status.code(), Some(23));
        assert!(link(&[file, "--strict"], &stage).stdout.is_empty());
    }
}

/// Each line of the page is a command that does what is said beside it.
#[test]
fn the_commands_of_the_page_work() {
    let stage = Stage::new();
    let vless = format!("vless://{ID}@a.example:443?encryption=none&security=tls#a");
    let outbound: Value =
        serde_json::from_str(&printed(&[&vless, "--png", "code.png"], &stage)).expect("JSON");
    stage.write("client.json", json!({"outbounds": [outbound]}).to_string());
    stage.write("subscription.txt", format!("{vless}\n{vless}2\n"));
    let server = json!({
        "inbounds": [{"port": 443, "protocol": "vless", "settings": {"decryption": "none", "clients": [{"id": ID}, {"id": USER_ID}]}}],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.write("server.json", server.to_string());
    let page = crate::scenario_documents::blocks("text");
    let lines = page.iter().flat_map(|(_, text)| text.lines());
    let commands = lines.filter(|line| line.starts_with("mobula link "));
    let mut results = Vec::new();
    for line in commands {
        let command = line.split("  ").next().expect("a command");
        let words = command.split(' ').skip(2).map(|word| match word {
            "'vless://…'" => &vless,
            word => word,
        });
        let words: Vec<&str> = words.collect();
        results.push((command, printed(&words, &stage)));
    }
    let [link, picture, all, client, server] = &results[..] else {
        panic!("{results:?}");
    };
    assert_eq!(link.1, picture.1);
    let all: Value = serde_json::from_str(&all.1).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    assert!(
        client
            .1
            .starts_with(&format!("vless://{ID}@a.example:443?")),
        "{client:?}"
    );
    assert_eq!(
        server.1.matches("@example.com:443?").count(),
        2,
        "{server:?}"
    );
}
