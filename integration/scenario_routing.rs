//! Rules: each probe leaves by an outbound that leads to a server which says the outbound's tag.
//!
//! The same config runs in V2Ray, and both must lead every probe to the same place.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use mobula::matching::{Domains, geodata::codec::categories};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::configs::{decided_alike, saying};
use crate::peers::{Peer, Stage, free_port, geodata, mobula};
use crate::traffic::{self, To};

const NAMES: [&str; 44] = [
    "example.com",
    "www.example.com",
    "badexample.com",
    "EXAMPLE.com",
    "example.com.cn",
    "exact.test",
    "sub.exact.test",
    "a.keyword-here.net",
    "nokey.net",
    "re12.test",
    "re1.test",
    "xre12.test",
    "nas",
    "nas.lan",
    "baidu.com",
    "www.baidu.com",
    "tieba.baidu.com",
    "notbaidu.com",
    "qq.com",
    "im.qq.com",
    "taobao.com",
    "bilibili.com",
    "weibo.cn",
    "anything.cn",
    "china.com.cn",
    "google.com",
    "www.google.com",
    "google.cn",
    "www.google.cn",
    "mail.google.com",
    "youtube.com",
    "i.ytimg.com",
    "doubleclick.net",
    "ad.doubleclick.net",
    "facebook.com",
    "m.facebook.com",
    "fb.com",
    "twitter.com",
    "t.co",
    "github.com",
    "a.b.c.d.github.com",
    "google-analytics.com",
    "apple.com",
    "localhost",
];

const ADDRESSES: [&str; 20] = [
    "10.1.2.3",
    "127.0.0.2",
    "192.168.9.9",
    "172.15.255.255",
    "172.16.0.0",
    "100.64.0.1",
    "169.254.1.1",
    "1.0.1.1",
    "1.0.0.1",
    "114.114.114.114",
    "223.5.5.5",
    "8.8.8.8",
    "8.8.4.4",
    "91.108.56.1",
    "1.1.1.1",
    "224.0.0.1",
    "202.96.128.86",
    "5.5.5.5",
    "203.0.113.7",
    "198.51.100.1",
];

const TAGS: [&str; 7] = ["default", "a", "b", "c", "d", "e", "f"];

fn rules() -> Value {
    json!([
        {"type": "field", "domain": ["domain:example.com"], "port": "443", "outboundTag": "a"},
        {"type": "field", "domain": ["full:exact.test", "regexp:^re\\d{2}\\.test$"], "outboundTag": "b"},
        {"type": "field", "domain": ["keyword:keyword", "dotless:as"], "outboundTag": "c"},
        {"type": "field", "domain": ["geosite:google@ads", "geosite:category-ads-all"], "outboundTag": "d"},
        {"type": "field", "domain": ["ext:geosite.dat:google"], "port": "1000-2000,80", "outboundTag": "e"},
        {"type": "field", "domain": ["geosite:geolocation-!cn"], "network": "tcp", "outboundTag": "f"},
        {"type": "field", "domain": ["geosite:cn"], "outboundTag": "a"},
        {"type": "field", "ip": ["geoip:private", "8.8.0.0/16"], "outboundTag": "b"},
        {"type": "field", "ip": ["geoip:cn", "5.5.5.5"], "inboundTag": ["socks"], "outboundTag": "c"},
        {"type": "field", "ip": ["geoip:!us"], "port": 443, "outboundTag": "d"},
        {"type": "field", "source": ["10.0.0.0/8"], "outboundTag": "e"}
    ])
}

#[tokio::test]
async fn rules_decide_as_in_v2ray() {
    let ours = decisions(Peer::Mobula, "AsIs", &NAMES).await;
    let theirs = decisions(Peer::V2ray445, "AsIs", &NAMES).await;
    assert_eq!(ours.len(), 2 * (NAMES.len() + ADDRESSES.len()));
    decided_alike(&ours, &theirs, &TAGS);
}

#[tokio::test]
async fn a_name_that_no_rule_takes_is_resolved_as_in_v2ray() {
    let names = ["localhost", "www.google.com", "baidu.com"];
    let ours = decisions(Peer::Mobula, "IPIfNonMatch", &names).await;
    assert_eq!(
        ours,
        decisions(Peer::V2ray445, "IPIfNonMatch", &names).await
    );
    assert!(ours.contains(&"localhost:80 by b".to_owned()), "{ours:?}");
}

async fn decisions(peer: Peer, strategy: &str, names: &[&'static str]) -> Vec<String> {
    let mut stage = Stage::new();
    let mut outbounds = Vec::new();
    for tag in TAGS {
        outbounds.push(saying(tag).await);
    }
    let socks = free_port();
    let config = json!({
        "inbounds": [{"tag": "socks", "listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": outbounds,
        "routing": {"domainStrategy": strategy, "rules": rules()}
    });
    run(&mut stage, peer, &config, socks).await;
    let mut lines = Vec::new();
    for port in [80, 443] {
        let names = names.iter().map(|name| (*name, To::Name(name, port)));
        let ips = ADDRESSES.iter().map(|ip| {
            let ip: std::net::IpAddr = ip.parse().expect("the table has addresses");
            To::Ip((ip, port).into())
        });
        for (shown, to) in names.chain(ADDRESSES.into_iter().zip(ips)) {
            lines.push(format!(
                "{shown}:{port} by {}",
                traffic::line(socks, &to).await
            ));
        }
    }
    lines
}

#[test]
fn every_category_of_v2rays_files_is_understood() {
    let names = fs::read(geodata().join("geosite.dat")).expect("it came with V2Ray");
    let mut patterns = 0;
    for category in categories(&names) {
        let category = category.expect("V2Ray wrote it");
        let all = category.patterns(&[]).expect("V2Ray wrote it");
        patterns += all.len();
        if let Err(error) = Domains::new(all) {
            panic!("{}: {error}", category.name);
        }
    }
    assert!(patterns > 40_000, "{patterns}");
    let networks = fs::read(geodata().join("geoip.dat")).expect("it came with V2Ray");
    for category in categories(&networks) {
        let cidrs = category.and_then(|category| category.networks());
        assert!(!cidrs.expect("V2Ray wrote it").is_empty());
    }
}

#[tokio::test]
async fn a_server_keeps_its_users_out_of_its_own_network() {
    let mut stage = Stage::new();
    let socks = free_port();
    let config = json!({
        "log": {"access": "access.log"},
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [{"tag": "direct", "protocol": "freedom"}, {"tag": "blocked", "protocol": "blackhole"}],
        "routing": {
            "domainStrategy": "IPIfNonMatch",
            "rules": [{"type": "field", "ip": ["geoip:private"], "outboundTag": "blocked"}]
        }
    });
    run(&mut stage, Peer::Mobula, &config, socks).await;
    let port = traffic::says("secret").await.port();
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    for to in [To::Ip(here), To::Name("localhost", port)] {
        assert_eq!(traffic::line(socks, &to).await, "");
    }
    let line = format!("accepted tcp:localhost:{port} [blocked]");
    stage.until_file_has("access.log", &line).await;
}

#[tokio::test]
async fn each_destination_of_datagrams_is_routed_by_itself() {
    let mut stage = Stage::new();
    let (open, closed) = (traffic::udp_echo().await, traffic::udp_echo().await);
    let socks = free_port();
    let rule = |to: SocketAddr, tag: &str| json!({"type": "field", "network": "udp", "port": to.port(), "outboundTag": tag});
    let config = json!({
        "log": {"access": "access.log"},
        "inbounds": [{
            "listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true}
        }],
        "outbounds": [
            {"tag": "unused", "protocol": "blackhole"},
            {"tag": "blocked", "protocol": "blackhole"},
            {"tag": "direct", "protocol": "freedom"}
        ],
        "routing": {"rules": [rule(open, "direct"), rule(closed, "blocked")]}
    });
    run(&mut stage, Peer::Mobula, &config, socks).await;
    let (_association, relay) = traffic::associate(socks).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut buf = [0; 100];
    for to in [closed, open, closed, open] {
        let datagram = traffic::datagram(&To::Ip(to), b"ping");
        socket.send_to(&datagram, relay).await.expect("UDP sends");
    }
    for _ in 0..2 {
        let answer = timeout(traffic::LIMIT, socket.recv_from(&mut buf)).await;
        let (n, _) = answer.expect("an answer in time").expect("an answer");
        assert_eq!(buf[..n], traffic::datagram(&To::Ip(open), b"ping"));
    }
    let more = timeout(Duration::from_millis(200), socket.recv_from(&mut buf)).await;
    assert!(more.is_err(), "what is blocked is not answered");
    let blocked = format!("accepted udp:{closed} [blocked]");
    let log = stage.until_file_has("access.log", &blocked).await;
    assert!(
        log.contains(&format!("accepted udp:{open} [direct]")),
        "{log}"
    );
}

#[tokio::test]
async fn a_loopback_has_the_rules_asked_once_more_as_in_v2ray() {
    for peer in [Peer::Mobula, Peer::V2ray445] {
        let mut stage = Stage::new();
        let mut outbounds = Vec::new();
        for tag in ["first", "seen", "again"] {
            outbounds.push(saying(tag).await);
        }
        let back = json!({"tag": "loop", "protocol": "loopback", "settings": {"inboundTag": "x"}});
        outbounds.push(back);
        let socks = free_port();
        let config = json!({
            "log": {"access": "access.log"},
            "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
            "outbounds": outbounds,
            "routing": {"rules": [
                {"type": "field", "inboundTag": ["x"], "port": 81, "outboundTag": "again"},
                {"type": "field", "domain": ["full:a.test"], "inboundTag": ["x"], "outboundTag": "seen"},
                {"type": "field", "domain": ["domain:a.test"], "outboundTag": "loop"},
                {"type": "field", "port": 81, "outboundTag": "seen"}
            ]}
        });
        run(&mut stage, peer, &config, socks).await;
        let cases = [
            ("a.test", 80, "seen"),
            ("a.test", 81, "again"),
            ("b.test", 80, "first"),
            ("b.test", 81, "seen"),
        ];
        for (name, port, tag) in cases {
            assert_eq!(traffic::line(socks, &To::Name(name, port)).await, tag);
        }
        // Only ours: V2Ray's logger holds the session's record itself, whose tag the second
        // decision changes, so that the first line may print the second tag.
        if peer == Peer::Mobula {
            for line in ["a.test:81 [loop]", "a.test:81 [again]", "b.test:81 [seen]"] {
                stage.until_file_has("access.log", line).await;
            }
        }
    }
}

#[tokio::test]
async fn loopbacks_that_go_round_end_the_session() {
    let mut stage = Stage::new();
    let socks = free_port();
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [{"tag": "round", "protocol": "loopback", "settings": {"inboundTag": "x"}}]
    });
    run(&mut stage, Peer::Mobula, &config, socks).await;
    assert_eq!(traffic::line(socks, &To::Name("a.test", 80)).await, "");
    let said = "the rules lead a session round in a circle of `loopback` outbounds";
    stage.until_file_has("mobula.log", said).await;
}

#[tokio::test]
async fn a_balancer_takes_its_outbounds_in_turn() {
    let mut stage = Stage::new();
    let mut outbounds = vec![json!({"tag": "other", "protocol": "blackhole"})];
    for tag in ["way-1", "way-2", "way-3"] {
        outbounds.push(saying(tag).await);
    }
    let socks = free_port();
    let config = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": outbounds,
        "routing": {
            "rules": [{"type": "field", "network": "tcp", "balancerTag": "ways"}],
            "balancers": [{"tag": "ways", "selector": ["way-"], "strategy": {"type": "roundRobin"}}]
        }
    });
    run(&mut stage, Peer::Mobula, &config, socks).await;
    let to = To::Name("example.com", 80);
    for tag in ["way-1", "way-2", "way-3", "way-1"] {
        assert_eq!(traffic::line(socks, &to).await, tag);
    }
}

/// Whose data is made anew each week may lose a mark, and a server has to start all the same.
#[tokio::test]
async fn a_mark_that_nothing_has_takes_nothing_as_in_v2ray() {
    for peer in [Peer::Mobula, Peer::V2ray445] {
        println!("{peer:?}");
        let mut stage = Stage::new();
        let socks = free_port();
        let marked = "geosite:youtube@nobody";
        let config = json!({
            "inbounds": [{
                "listen": "127.0.0.1", "port": socks, "protocol": "socks",
                "sniffing": {"enabled": true, "destOverride": ["http"], "domainsExcluded": [marked]}
            }],
            "outbounds": [saying("first").await, saying("second").await],
            "dns": {
                "hosts": {marked: "127.0.0.2"},
                "servers": [{"address": "127.0.0.1", "domains": [marked]}]
            },
            "routing": {"rules": [
                {"type": "field", "domain": [marked, "full:other.test"], "outboundTag": "second"}
            ]}
        });
        run(&mut stage, peer, &config, socks).await;
        for (name, tag) in [("youtube.com", "first"), ("other.test", "second")] {
            assert_eq!(traffic::line(socks, &To::Name(name, 80)).await, tag);
        }
    }
}

async fn run(stage: &mut Stage, peer: Peer, config: &Value, port: u16) {
    if peer.or_stand_in() != Peer::Mobula {
        // V2Ray has its data beside it.
        stage.run(peer, "peer", config, &[port]).await;
        return;
    }
    let path = stage.write("mobula.json", format!("{config:#}"));
    let mut command = mobula();
    command.arg("run").arg("-c").arg(path);
    command.env("V2RAY_LOCATION_ASSET", geodata());
    stage.start("mobula", &mut command, &[port]).await;
}
