//! What Clash's and sing-box' own files name on the web: each file by the program that it is for, and by mobula.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::configs::{ID, Vmess};
use crate::peers::Peer::{Mihomo, Mobula, SingBox};
use crate::peers::{Stage, free_port, listen};
use crate::scenario_forms_dns::run;
use crate::traffic::{self, To};

/// A web server that has these pages; heads of requests are told.
fn web(pages: Vec<(&'static str, String)>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = listen();
    let at = listener.local_addr().expect("it is bound");
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let n = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..n]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let page = pages.iter().find(|(name, _)| *name == path);
            let answer = match page {
                Some((_, page)) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", page.len()),
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n".to_owned(),
            };
            let page = page.map_or("", |(_, page)| page);
            let answer = format!("{answer}Connection: close\r\n\r\n{page}");
            let _ = tell.send(head);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (at, told)
}

#[tokio::test]
async fn proxies_and_rules_of_providers_are_fetched() {
    for (peer, nodes) in [(Mihomo, "/nodes"), (Mobula, "/nodes"), (Mobula, "/links")] {
        let (server, socks) = (free_port(), free_port());
        let mut far = Stage::new();
        let config = Vmess::ws().server(Mobula, server);
        far.run(Mobula, "server", &config, &[server]).await;
        let node = json!({
            "name": "node", "type": "vmess", "server": "127.0.0.1", "port": server, "uuid": ID, "alterId": 0,
            "cipher": "auto", "network": "ws", "ws-opts": {"path": "/ray"},
        });
        let proxies = json!({"proxies": [node]}).to_string();
        let link =
            format!("vmess://{ID}@127.0.0.1:{server}?type=ws&path=%2Fray&encryption=auto#a\n");
        let nets = "payload:\n- 127.0.0.0/8\n".to_owned();
        let (at, mut told) = web(vec![("/nodes", proxies), ("/links", link), ("/nets", nets)]);
        let config = json!({
            "mixed-port": socks, "mode": "rule", "find-process-mode": "off",
            "proxy-providers": {"far": {
                "type": "http", "url": format!("http://{at}{nodes}"), "path": "./nodes.yaml", "interval": 3600,
                "header": {"X-Token": ["sesame"]},
            }},
            "rule-providers": {"nets": {
                "type": "http", "behavior": "ipcidr", "url": format!("http://{at}/nets"), "path": "./nets.yaml",
            }},
            "proxy-groups": [{"name": "all", "type": "select", "use": ["far"]}],
            // What mihomo fetches goes by its rules, too.
            "rules": [format!("DST-PORT,{},DIRECT", at.port()), "RULE-SET,nets,all", "MATCH,REJECT"],
        });
        let mut stage = Stage::new();
        run(&mut stage, peer, &config, socks).await;
        // mihomo listens before it has fetched anything.
        let until = Instant::now() + traffic::LIMIT;
        while !far.read_so_far("access.log").contains(" accepted ") {
            assert!(Instant::now() < until, "{peer:?}: nothing goes by the node");
            traffic::ready(socks).await;
        }
        let mut heads = Vec::new();
        while let Ok(head) = told.try_recv() {
            heads.push(head.to_ascii_lowercase());
        }
        let is_asked = |head: &&String| head.starts_with(&format!("get {nodes} "));
        let asked = heads.iter().find(is_asked);
        let asked = asked.unwrap_or_else(|| panic!("{peer:?}: {heads:?}"));
        assert!(asked.contains("\r\nx-token: sesame\r\n"), "{asked}");
        assert!(asked.contains("\r\nuser-agent: clash.meta"), "{asked}");
    }
}

/// The most usual file: nobody is known before the provider is, so it is fetched straight.
#[tokio::test]
async fn a_file_with_nothing_but_a_provider_runs() {
    for peer in [Mihomo, Mobula] {
        let (far, socks) = (Far::new().await, free_port());
        let node = json!({
            "name": "node", "type": "vmess", "server": "127.0.0.1", "port": far.port, "uuid": ID, "alterId": 0,
            "cipher": "auto", "network": "ws", "ws-opts": {"path": "/ray"},
        });
        let (at, _told) = web(vec![("/nodes", json!({"proxies": [node]}).to_string())]);
        let config = json!({
            "mixed-port": socks, "mode": "rule", "find-process-mode": "off",
            "proxy-providers": {"far": {"type": "http", "url": format!("http://{at}/nodes"), "path": "./n.yaml"}},
            "proxy-groups": [{"name": "all", "type": "select", "use": ["far"]}],
            "rules": ["MATCH,all"],
        });
        let mut stage = Stage::new();
        run(&mut stage, peer, &config, socks).await;
        // mihomo listens before it has fetched anything.
        let until = Instant::now() + traffic::LIMIT;
        loop {
            let target = traffic::says("here").await;
            let _ = traffic::line(socks, &To::Ip(target)).await;
            if far.carried(target) {
                break;
            }
            assert!(Instant::now() < until, "{peer:?}: nothing goes by the node");
        }
        assert!(!far.carried(at), "{peer:?}");
    }
}

/// A list that is fetched straight says where sessions go.
#[tokio::test]
async fn lists_of_sing_box_are_fetched_straight() {
    for peer in [SingBox, Mobula] {
        let socks = free_port();
        let list = json!({"version": 3, "rules": [{"ip_cidr": ["127.0.0.0/8"]}]});
        let (at, _told) = web(vec![("/list.json", list.to_string())]);
        let far = json!({"type": "trojan", "tag": "far", "server": "192.0.2.1", "server_port": 443, "password": "p"});
        let config = json!({
            "log": {"level": "debug"},
            "inbounds": [{"type": "mixed", "listen": "127.0.0.1", "listen_port": socks}],
            "outbounds": [far, {"type": "direct", "tag": "near"}],
            "route": {
                "final": "far", "rules": [{"rule_set": "list", "outbound": "near"}],
                "rule_set": [{
                    "type": "remote", "tag": "list", "format": "source", "url": format!("http://{at}/list.json"),
                    "download_detour": "near",
                }],
            },
        });
        let mut stage = Stage::new();
        run(&mut stage, peer, &config, socks).await;
        traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    }
}

/// A server far away, and whether sessions to an address go by it.
struct Far {
    stage: Stage,
    port: u16,
}

impl Far {
    async fn new() -> Self {
        let (mut stage, port) = (Stage::new(), free_port());
        let config = Vmess::ws().server(Mobula, port);
        stage.run(Mobula, "server", &config, &[port]).await;
        Self { stage, port }
    }

    fn carried(&self, to: SocketAddr) -> bool {
        self.stage
            .read_so_far("access.log")
            .contains(&format!(" accepted tcp:{to}"))
    }
}

/// A list is fetched by what the file says, or by what carries all that no rule takes; what it says then holds.
#[tokio::test]
async fn lists_of_sing_box_are_fetched_by_outbounds() {
    for (peer, detour) in [
        (SingBox, None),
        (Mobula, None),
        (SingBox, Some("any")),
        (Mobula, Some("any")),
    ] {
        let (far, socks) = (Far::new().await, free_port());
        let list = json!({"version": 3, "rules": [{"ip_cidr": ["127.0.0.0/8"]}]});
        let (at, _told) = web(vec![("/list.json", list.to_string())]);
        let node = json!({
            "type": "vmess", "tag": "far", "server": "127.0.0.1", "server_port": far.port, "uuid": ID,
            "security": "auto", "transport": {"type": "ws", "path": "/ray"},
        });
        let mut set = json!({
            "type": "remote", "tag": "list", "format": "source", "url": format!("http://{at}/list.json"),
        });
        if let Some(detour) = detour {
            set["download_detour"] = detour.into();
        }
        let config = json!({
            "inbounds": [{"type": "mixed", "listen": "127.0.0.1", "listen_port": socks}],
            "outbounds": [
                {"type": "direct", "tag": "near"}, node,
                {"type": "selector", "tag": "any", "outbounds": ["far", "near"]},
            ],
            "route": {
                "final": "far", "rules": [{"rule_set": "list", "outbound": "near"}], "rule_set": [set],
            },
        });
        let mut stage = Stage::new();
        run(&mut stage, peer, &config, socks).await;
        assert!(far.carried(at), "{peer:?} {detour:?}");
        let echo = traffic::echo().await;
        traffic::word(socks, &To::Ip(echo)).await;
        assert!(!far.carried(echo), "{peer:?} {detour:?}");
    }
}

/// A provider is fetched by the proxy that it names, or as the rules have it, in which lists that are not there take nothing.
#[tokio::test]
async fn providers_are_fetched_by_proxies() {
    for (peer, through) in [
        (Mihomo, None),
        (Mobula, None),
        (Mihomo, Some("all")),
        (Mobula, Some("all")),
    ] {
        let (far, socks) = (Far::new().await, free_port());
        let (at, _told) = web(vec![("/nets", "payload:\n- 127.0.0.0/8\n".to_owned())]);
        let node = json!({
            "name": "node", "type": "vmess", "server": "127.0.0.1", "port": far.port, "uuid": ID, "alterId": 0,
            "cipher": "auto", "network": "ws", "ws-opts": {"path": "/ray"},
        });
        let mut nets = json!({
            "type": "http", "behavior": "ipcidr", "url": format!("http://{at}/nets"), "path": "./nets.yaml",
        });
        if let Some(through) = through {
            nets["proxy"] = through.into();
        }
        let last = if through.is_none() { "all" } else { "REJECT" };
        let config = json!({
            "mixed-port": socks, "mode": "rule", "find-process-mode": "off", "proxies": [node],
            "rule-providers": {"nets": nets},
            "proxy-groups": [{"name": "all", "type": "select", "proxies": ["node", "DIRECT"]}],
            "rules": ["RULE-SET,nets,DIRECT", format!("MATCH,{last}")],
        });
        let mut stage = Stage::new();
        run(&mut stage, peer, &config, socks).await;
        // mihomo listens before it has fetched anything.
        let until = Instant::now() + traffic::LIMIT;
        loop {
            let target = traffic::says("here").await;
            let answered = traffic::line(socks, &To::Ip(target)).await == "here";
            if answered && !far.carried(target) {
                break;
            }
            assert!(Instant::now() < until, "{peer:?} {through:?}");
        }
        assert!(far.carried(at), "{peer:?} {through:?}");
    }
}
