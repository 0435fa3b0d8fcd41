//! Groups of Clash and sing-box with real servers: sessions go where the group would send them, and elsewhere when a server dies.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, AtomicU64};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::configs::ID;
use crate::peers::Peer::{Mihomo, Mobula, SingBox, V2ray445};
use crate::peers::{Stage, fetched, free_port, listen, mobula};
use crate::scenario_observatory::{
    PATIENCE, behind, behind_for, run_server, said, server, site, until_fast_then_slow_then_fast,
    until_said,
};
use crate::traffic;

/// What a line says of the group when the client starts.
async fn runs(stage: &mut Stage, name: &str, config: &str, socks: u16, line: &str) {
    let path = stage.write(name, config);
    let mut command = mobula();
    command.args(["run", "-c"]).arg(path);
    stage.start(name, &mut command, &[socks]).await;
    stage.until_line_has(&format!("{name}.log"), &[line]).await;
    traffic::ready(socks).await;
}

/// Proxies of a Clash file.
fn proxies(ways: &[(&str, u16)]) -> String {
    let proxy = |(name, port): &(&str, u16)| {
        format!(
            "- {{name: {name}, type: vmess, server: 127.0.0.1, port: {port}, uuid: {ID}, alterId: 0, cipher: auto, udp: true, \
             network: ws, ws-opts: {{path: /ray}}}}\n"
        )
    };
    ways.iter().map(proxy).collect()
}

#[tokio::test]
async fn url_test_goes_to_the_living_server_that_answers_soonest() {
    let mut stage = Stage::new();
    let (site, asked) = site(None).await;
    let (_, slow) = server(&mut stage, "way-slow").await;
    let (fast, port) = server(&mut stage, "way-fast").await;
    let near = behind(slow, [Duration::from_millis(150); 2]).await;
    let dead = free_port();
    let socks = free_port();
    let proxies = proxies(&[("dead", dead), ("way-slow", near), ("way-fast", port)]);
    let config = format!(
        "mixed-port: {socks}\nproxies:\n{proxies}proxy-groups:\n- {{name: PROXY, type: select, proxies: [auto, way-slow]}}\n\
         - {{name: auto, type: url-test, proxies: [dead, way-slow, way-fast], url: 'http://{site}/', interval: 1}}\n\
         rules:\n- 'MATCH,PROXY'\n"
    );
    let line = "`auto` is the one that answers soonest of `dead`, `way-slow`, `way-fast`";
    let path = stage.write("client", &config);
    let mut command = mobula();
    command.args(["run", "-c"]).arg(path);
    stage.start("client", &mut command, &[socks]).await;
    let log = stage.until_line_has("client.log", &[line]).await;
    assert!(!log.is_empty());
    until_fast_then_slow_then_fast(&mut stage, socks, fast, port).await;
    assert!(asked.load(Relaxed) > 3);
}

#[tokio::test]
async fn fallback_comes_back_to_its_first_server() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    // The spare answers sooner, and is the spare all the same.
    let (main, port) = server(&mut stage, "z-main").await;
    let (_, spare) = server(&mut stage, "a-spare").await;
    let near = behind(port, [Duration::from_millis(100); 2]).await;
    let socks = free_port();
    let proxies = proxies(&[("a-spare", spare), ("z-main", near)]);
    let config = format!(
        "mixed-port: {socks}\nproxies:\n{proxies}proxy-groups:\n\
         - {{name: main first, type: fallback, proxies: [z-main, a-spare], url: 'http://{site}/', interval: 1}}\n\
         rules:\n- 'MATCH,main first'\n"
    );
    let line = "`main first` is the first that answers of `z-main`, `a-spare`";
    runs(&mut stage, "client", &config, socks, line).await;
    for _ in 0..5 {
        assert_eq!(said(socks).await, "z-main");
    }
    stage.child(main).signal("KILL");
    stage.child(main).ended(PATIENCE).await;
    until_said(socks, "a-spare").await;
    run_server(&mut stage, "z-main", port).await;
    until_said(socks, "z-main").await;
}

#[tokio::test]
async fn load_balance_takes_turns_among_the_living() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (_, one) = server(&mut stage, "one").await;
    let (two, port) = server(&mut stage, "two").await;
    let socks = free_port();
    let proxies = proxies(&[("one", one), ("two", port)]);
    let config = format!(
        "mixed-port: {socks}\nproxies:\n{proxies}proxy-groups:\n\
         - {{name: turns, type: load-balance, strategy: round-robin, proxies: [one, two], url: 'http://{site}/', interval: 1}}\n\
         rules:\n- 'MATCH,turns'\n"
    );
    let line = "`turns` is each in its turn of `one`, `two`";
    runs(&mut stage, "client", &config, socks, line).await;
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(said(socks).await);
    }
    heard.sort();
    assert_eq!(heard, ["one", "one", "one", "two", "two", "two"]);
    stage.child(two).signal("KILL");
    stage.child(two).ended(PATIENCE).await;
    until_said(socks, "one").await;
    let deadline = Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 6 {
        in_a_row = match &*said(socks).await {
            "one" => in_a_row + 1,
            _ => 0,
        };
        assert!(Instant::now() < deadline, "sessions go to a dead server");
    }
}

/// A client with a balancer of each kind, of which the first carries what no rule takes.
fn client(socks: u16, ways: &[(&str, u16)], site: &str, strategy: &str) -> Value {
    let outbounds: Vec<Value> = ways
        .iter()
        .map(|(tag, port)| {
            json!({
                "tag": tag, "protocol": "vmess",
                "settings": {"vnext": [{"address": "127.0.0.1", "port": port, "users": [{"id": ID}]}]},
                "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
            })
        })
        .collect();
    let kinds = [
        strategy,
        "leastPing",
        "firstAlive",
        "roundRobin",
        "random",
        "leastLoad",
    ];
    let balancers: Vec<Value> = kinds
        .iter()
        .enumerate()
        .map(|(n, kind)| {
            json!({"tag": format!("b{n}"), "selector": ["way-"], "fallbackTag": ways[0].0, "strategy": {"type": kind}})
        })
        .collect();
    json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {"udp": true}}],
        "outbounds": outbounds,
        "routing": {"balancers": balancers, "rules": [{"type": "field", "network": "tcp,udp", "balancerTag": "b0"}]},
        "burstObservatory": {"subjectSelector": ["way-"], "pingConfig": {
            "destination": format!("http://{site}/"), "interval": "1s", "sampling": 1}},
    })
}

/// sing-box and mihomo read what is written of balancers, and choose by it.
#[tokio::test]
async fn balancers_are_groups_to_sing_box_and_mihomo() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (_, slow) = server(&mut stage, "way-slow").await;
    let (fast, port) = server(&mut stage, "way-fast").await;
    let near = behind(slow, [Duration::from_millis(200); 2]).await;
    let ways = [("way-slow", near), ("way-fast", port)];
    for (peer, to, strategy, first, second) in [
        (Mihomo, "clash", "leastPing", "way-fast", None),
        (Mihomo, "clash", "firstAlive", "way-slow", None),
        (
            SingBox,
            "sing-box",
            "leastPing",
            "way-fast",
            Some("way-slow"),
        ),
    ] {
        println!("{to}, {strategy}");
        let socks = free_port();
        let given = client(socks, &ways, &site.to_string(), strategy);
        stage.write("given.json", given.to_string());
        let path = written(&stage, to);
        let mut check = match peer {
            Mihomo => std::process::Command::new(fetched("mihomo")),
            _ => std::process::Command::new(fetched("sing-box")),
        };
        match peer {
            Mihomo => check.arg("-d").arg(stage.path("")).arg("-t").arg("-f"),
            _ => check.args(["check", "-c"]),
        };
        let output = check.arg(&path).output().expect("the program runs");
        let heard = [output.stdout, output.stderr].concat();
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(
            output.status.success(),
            "{heard}\n{}",
            std::fs::read_to_string(&path).expect("it is there")
        );
        let name = format!("{to}-{strategy}");
        let client = stage.start(&name, &mut peer.command(&path), &[socks]).await;
        traffic::ready(socks).await;
        until_said(socks, first).await;
        if let Some(second) = second {
            stage.child(fast).signal("KILL");
            stage.child(fast).ended(PATIENCE).await;
            until_said(socks, second).await;
        }
        stage.child(client).signal("KILL");
        stage.child(client).ended(PATIENCE).await;
    }
}

/// The config in the form `to`.
fn written(stage: &Stage, to: &str) -> PathBuf {
    let name = format!("written.{to}");
    let output = mobula()
        .args(["convert", "given.json", "--to", to, "--force", "-o", &name])
        .current_dir(stage.path(""))
        .output()
        .expect("mobula runs");
    let heard = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{heard}");
    stage.path(&name)
}

/// The chosen one stays while it is slower by less than the tolerance, in mihomo and sing-box as here.
#[tokio::test]
async fn the_chosen_server_stays_within_the_tolerance() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (_, one) = server(&mut stage, "way-one").await;
    let (_, two) = server(&mut stage, "way-two").await;
    let (one, delay_one) = delayed(one).await;
    let (two, delay_two) = delayed(two).await;
    for (peer, form) in [(Mobula, "config"), (Mihomo, "clash"), (SingBox, "sing-box")] {
        println!("{peer:?}, {form}");
        let socks = free_port();
        let ways = [("way-two", two), ("way-one", one)];
        let mut given = client(socks, &ways, &site.to_string(), "leastPing");
        given["routing"]["balancers"][0]["strategy"]["settings"] = json!({"keepWithin": "400ms"});
        let path = stage.write("given.json", given.to_string());
        let path = match form {
            "config" => path,
            form => written(&stage, form),
        };
        delay_one.store(0, Relaxed);
        delay_two.store(1000, Relaxed);
        let name = format!("{peer:?}-{form}");
        let client = stage.start(&name, &mut peer.command(&path), &[socks]).await;
        traffic::ready(socks).await;
        until_said(socks, "way-one").await;
        delay_two.store(0, Relaxed);
        delay_one.store(50, Relaxed);
        // For longer than two checks; mihomo holds on to its choice for 10 s in any case.
        let seconds = if peer == Mihomo { 12 } else { 3 };
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < deadline {
            assert_eq!(
                said(socks).await,
                "way-one",
                "it is slower by less than 400 ms"
            );
            sleep(Duration::from_millis(300)).await;
        }
        delay_one.store(900, Relaxed);
        until_said(socks, "way-two").await;
        stage.child(client).signal("KILL");
        stage.child(client).ended(PATIENCE).await;
    }
}

/// An answer of another status than was expected is none: the site says 503.
#[tokio::test]
async fn another_status_than_the_expected_one_is_no_answer() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (_, port) = server(&mut stage, "way").await;
    let (_, spare) = server(&mut stage, "spare").await;
    for (status, expected) in [("503", "way"), ("200-299/301", "dead")] {
        let socks = free_port();
        let proxies = proxies(&[("way", port), ("spare", spare)]);
        let config = format!(
            "mixed-port: {socks}\nlog-level: info\nproxies:\n{proxies}proxy-groups:\n\
             - {{name: first, type: fallback, proxies: [way, spare], url: 'http://{site}/', interval: 1, expected-status: {status}}}\n\
             rules:\n- 'MATCH,first'\n"
        );
        let line = match expected {
            "dead" => "answers 503, expected 200-299/301",
            _ => "the outbound `way` is alive",
        };
        runs(
            &mut stage,
            &format!("client-{expected}"),
            &config,
            socks,
            line,
        )
        .await;
    }
}

/// A server that dies is passed over when sessions fail, long before the next check: after the first one that is refused, and
/// after some that hear nothing.
#[tokio::test]
async fn sessions_that_fail_bring_the_next_check() {
    let mut stage = Stage::new();
    let (site, asked) = site(None).await;
    let (main, port) = server(&mut stage, "main").await;
    let (_, spare) = server(&mut stage, "spare").await;
    let (way, delay) = delayed(spare).await;
    let socks = free_port();
    let proxies = proxies(&[("main", port), ("spare", way)]);
    let config = format!(
        "mixed-port: {socks}\nproxies:\n{proxies}proxy-groups:\n\
         - {{name: first, type: fallback, proxies: [main, spare], url: 'http://{site}/', interval: 3600}}\n\
         rules:\n- 'MATCH,first'\n"
    );
    let line = "`first` is the first that answers of `main`, `spare`";
    runs(&mut stage, "client", &config, socks, line).await;
    until_said(socks, "main").await;
    assert_eq!(delay.load(Relaxed), 0);
    stage.child(main).signal("KILL");
    stage.child(main).ended(PATIENCE).await;
    let before = asked.load(Relaxed);
    until_said(socks, "spare").await;
    assert!(asked.load(Relaxed) > before, "the site was asked once more");
}

/// What goes through a group goes through the one that it chooses, TCP and UDP, in V2Ray's form and in those of others.
#[tokio::test]
async fn a_server_is_reached_through_a_group() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let mut ways = Vec::new();
    for (name, delay) in [("near-a", 0), ("near-b", 150)] {
        // Each leads to a server of its own, so what that says tells the way.
        let (_, far) = server(&mut stage, &format!("far-by-{name}")).await;
        let port = free_port();
        let config = json!({
            "inbounds": [{
                "listen": "127.0.0.1", "port": port, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
                "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}}
            }],
            "outbounds": [
                {"protocol": "freedom"},
                {"protocol": "freedom", "tag": "far", "settings": {"redirect": format!("127.0.0.1:{far}")}}
            ],
            "routing": {"rules": [{"type": "field", "port": FAR, "outboundTag": "far"}]}
        });
        let index = stage.run(V2ray445, name, &config, &[port]).await;
        let at = behind(port, [Duration::from_millis(delay); 2]).await;
        ways.push((name, index, port, at, config));
    }
    let near = [(ways[0].0, ways[0].3), (ways[1].0, ways[1].3)];
    for (peer, form) in [
        (Mobula, "config"),
        (Mobula, "clash"),
        (Mobula, "sing-box"),
        (Mihomo, "clash"),
        (SingBox, "sing-box"),
        (V2ray445, "plain"),
    ] {
        println!("{peer:?}, {form}");
        let socks = free_port();
        let mut given = client(socks, &near, &site.to_string(), "leastPing");
        let mut far = client(socks, &[("far", FAR)], "", "random")["outbounds"][0].clone();
        far["proxySettings"] = json!({"tag": "to near", "transportLayer": true});
        let outbounds = given["outbounds"].as_array_mut().expect("a list");
        outbounds.insert(0, far);
        outbounds.push(json!({"tag": "to near", "protocol": "loopback", "settings": {"inboundTag": "to near"}}));
        given["burstObservatory"]["subjectSelector"] = json!(["near-"]);
        let strategy = if form == "plain" {
            "random"
        } else {
            "leastPing"
        };
        given["routing"] = json!({
            "balancers": [{"tag": "near", "selector": ["near-"], "strategy": {"type": strategy}}],
            "rules": [{"type": "field", "inboundTag": ["to near"], "balancerTag": "near"}],
        });
        if form == "plain" {
            given["burstObservatory"].take();
        }
        let path = stage.write("given.json", given.to_string());
        let path = match form {
            "config" | "plain" => path,
            form => written(&stage, form),
        };
        let name = format!("{peer:?}-{form}");
        let index = stage.start(&name, &mut peer.command(&path), &[socks]).await;
        match form {
            "plain" => {
                until_said(socks, "far-by-near-b").await;
                until_said(socks, "far-by-near-a").await;
            }
            _ => until_said(socks, "far-by-near-a").await,
        }
        traffic::datagrams(socks, &[1, 500, 1200]).await;
        if peer == Mobula && form == "config" {
            stage.child(ways[0].1).signal("KILL");
            stage.child(ways[0].1).ended(PATIENCE).await;
            until_said(socks, "far-by-near-b").await;
            traffic::datagrams(socks, &[1, 500, 1200]).await;
            let (name, _, port, _, config) = &ways[0];
            stage.run(V2ray445, name, config, &[*port]).await;
            until_said(socks, "far-by-near-a").await;
        }
        stage.child(index).signal("KILL");
        stage.child(index).ended(PATIENCE).await;
    }
}

/// Nothing listens there: it is a server only to those who come through another one.
const FAR: u16 = 4443;

/// A way to `port` whose answers take as many milliseconds as the number says.
async fn delayed(port: u16) -> (u16, Arc<AtomicU64>) {
    let millis = Arc::new(AtomicU64::new(0));
    let at = behind_for(port, {
        let millis = millis.clone();
        move || Duration::from_millis(millis.load(Relaxed))
    });
    (at.await, millis)
}

/// Shadowsocks has datagrams of its own beside its connections: they go through the group as well.
#[tokio::test]
async fn datagrams_to_a_server_go_through_a_group() {
    let mut stage = Stage::new();
    let (site, _) = site(None).await;
    let (far, near) = (free_port(), free_port());
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": far, "protocol": "shadowsocks",
            "settings": {"method": "aes-128-gcm", "password": "p", "network": "tcp,udp"}
        }],
        "outbounds": [{"protocol": "freedom"}]
    });
    stage.run(Mobula, "far", &config, &[far]).await;
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": near, "protocol": "vmess", "settings": {"clients": [{"id": ID}]},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}}
        }],
        "outbounds": [
            {"protocol": "freedom"},
            {"protocol": "freedom", "tag": "far", "settings": {"redirect": format!("127.0.0.1:{far}")}}
        ],
        "routing": {"rules": [{"type": "field", "port": FAR, "outboundTag": "far"}]}
    });
    stage.run(Mobula, "near", &config, &[near]).await;
    let socks = free_port();
    let proxies = proxies(&[("near", near), ("dead", free_port())]);
    let config = format!(
        "mixed-port: {socks}\nproxies:\n{proxies}\
         - {{name: far, type: ss, server: 127.0.0.1, port: {FAR}, cipher: aes-128-gcm, password: p, udp: true, dialer-proxy: auto}}\n\
         proxy-groups:\n- {{name: auto, type: url-test, proxies: [near, dead], url: 'http://{site}/', interval: 1}}\n\
         rules:\n- 'MATCH,far'\n"
    );
    let line = "`auto` is the one that answers soonest of `near`, `dead`";
    runs(&mut stage, "client", &config, socks, line).await;
    traffic::datagrams(socks, &[1, 500, 1200]).await;
}

/// The rules may lead a connection through the outbound that it is for: it ends, and the log says why.
#[tokio::test]
async fn a_way_that_comes_back_to_itself_ends() {
    for carrier in ["ws", "grpc", "mws"] {
        comes_back_to_itself(carrier).await;
    }
}

/// Those that share a connection wait for it, and this one would wait for itself.
async fn comes_back_to_itself(carrier: &str) {
    let mut stage = Stage::new();
    let socks = free_port();
    let mut config = client(socks, &[("way", free_port())], "127.0.0.1:1", "random");
    config["outbounds"][0]["proxySettings"] = json!({"tag": "again"});
    config["outbounds"][0]["streamSettings"] = json!({"network": carrier});
    let outbounds = config["outbounds"].as_array_mut().expect("a list");
    outbounds
        .push(json!({"tag": "again", "protocol": "loopback", "settings": {"inboundTag": "again"}}));
    config["routing"] =
        json!({"rules": [{"type": "field", "inboundTag": ["again"], "outboundTag": "way"}]});
    config["burstObservatory"].take();
    stage.run(Mobula, "client", &config, &[socks]).await;
    let began = Instant::now();
    assert_eq!(said(socks).await, "", "{carrier}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{carrier}: {:?}",
        began.elapsed()
    );
    let text = "round in a circle of";
    let log = stage.until_line_has("client.log", &[text]).await;
    assert!(!log.is_empty());
}

/// A member that fails inside the way of another outbound is heard of, too.
#[tokio::test]
async fn sessions_that_fail_inside_a_way_bring_the_next_check() {
    let mut stage = Stage::new();
    let (site, asked) = site(None).await;
    let (main, port) = server(&mut stage, "main").await;
    let (_, spare) = server(&mut stage, "spare").await;
    let (way, delay) = delayed(spare).await;
    let (_, far) = server(&mut stage, "far").await;
    let socks = free_port();
    let proxies = proxies(&[("main", port), ("spare", way), ("far", far)]).replacen(
        &format!("port: {far},"),
        &format!("port: {far}, dialer-proxy: first,"),
        1,
    );
    let config = format!(
        "mixed-port: {socks}\nproxies:\n{proxies}proxy-groups:\n\
         - {{name: first, type: fallback, proxies: [main, spare], url: 'http://{site}/', interval: 3600}}\n\
         rules:\n- 'MATCH,far'\n"
    );
    let line = "`first` is the first that answers of `main`, `spare`";
    runs(&mut stage, "client", &config, socks, line).await;
    assert_eq!(delay.load(Relaxed), 0);
    stage.child(main).signal("KILL");
    stage.child(main).ended(PATIENCE).await;
    let before = asked.load(Relaxed);
    // The servers' own targets say who they are, and this one is asked for by way of either.
    until_said(socks, "far").await;
    assert!(asked.load(Relaxed) > before, "the site was asked once more");
}

/// What a SOCKS server says of a target is no failure of the server's.
#[tokio::test]
async fn a_target_that_refuses_brings_no_check() {
    let mut stage = Stage::new();
    let (site, asked) = site(None).await;
    let main = socks_server(|port| port == FAR).await;
    let spare = socks_server(|_| true).await;
    let socks = free_port();
    let config = format!(
        "mixed-port: {socks}\nproxies:\n- {{name: main, type: socks5, server: 127.0.0.1, port: {main}}}\n\
         - {{name: spare, type: socks5, server: 127.0.0.1, port: {spare}}}\nproxy-groups:\n\
         - {{name: first, type: fallback, proxies: [main, spare], url: 'http://{site}/', interval: 3600}}\n\
         rules:\n- 'MATCH,first'\n"
    );
    let line = "`first` is the first that answers of `main`, `spare`";
    runs(&mut stage, "client", &config, socks, line).await;
    let deadline = Instant::now() + PATIENCE;
    while asked.load(Relaxed) == 0 {
        assert!(Instant::now() < deadline, "`main` is not asked");
        sleep(Duration::from_millis(20)).await;
    }
    let far = traffic::To::Ip(([127, 0, 0, 1], FAR).into());
    let before = asked.load(Relaxed);
    for _ in 0..6 {
        // Whether the refusal comes before or behind the answer is the application's affair.
        if let Ok(mut stream) = traffic::connect(socks, &far).await {
            let _ = stream.read_u8().await;
        }
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(asked.load(Relaxed), before, "nobody was asked anew");
}

/// What a SOCKS server says of another server that is behind it, is a failure of that one's.
#[tokio::test]
async fn a_server_behind_another_that_is_gone_brings_a_check() {
    static GONE: AtomicU16 = AtomicU16::new(0);
    let mut stage = Stage::new();
    let (site, asked) = site(None).await;
    let way = socks_server(|port| port == GONE.load(Relaxed)).await;
    let main = socks_server(|_| false).await;
    let spare = socks_server(|_| false).await;
    let socks = free_port();
    let config = format!(
        "mixed-port: {socks}\nproxies:\n- {{name: way, type: socks5, server: 127.0.0.1, port: {way}}}\n\
         - {{name: main, type: socks5, server: 127.0.0.1, port: {main}, dialer-proxy: way}}\n\
         - {{name: spare, type: socks5, server: 127.0.0.1, port: {spare}}}\nproxy-groups:\n\
         - {{name: first, type: fallback, proxies: [main, spare], url: 'http://{site}/', interval: 3600}}\n\
         rules:\n- 'MATCH,first'\n"
    );
    let line = "`first` is the first that answers of `main`, `spare`";
    runs(&mut stage, "client", &config, socks, line).await;
    let asked_for = async |times: usize| {
        let deadline = Instant::now() + PATIENCE;
        while asked.load(Relaxed) < times {
            assert!(Instant::now() < deadline, "a check is not made");
            sleep(Duration::from_millis(20)).await;
        }
    };
    asked_for(2).await;
    let before = asked.load(Relaxed);
    GONE.store(main, Relaxed);
    let to = traffic::To::Ip(traffic::echo().await);
    for _ in 0..6 {
        if let Ok(mut stream) = traffic::connect(socks, &to).await {
            let _ = timeout(Duration::from_millis(200), stream.read_u8()).await;
        }
    }
    // The one that is left answers.
    asked_for(before + 1).await;
}

/// A SOCKS server that refuses these ports in the name of their targets, and is one for all others.
async fn socks_server(refuses: fn(u16) -> bool) -> u16 {
    let listener = listen();
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut greeting = [0; 3];
                stream.read_exact(&mut greeting).await?;
                stream.write_all(&[5, 0]).await?;
                let mut request = [0; 10];
                stream.read_exact(&mut request).await?;
                let ip: [u8; 4] = [request[4], request[5], request[6], request[7]];
                let to = u16::from_be_bytes([request[8], request[9]]);
                let code = if refuses(to) { 5 } else { 0 };
                stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
                if code == 0 {
                    let mut target = TcpStream::connect((std::net::Ipv4Addr::from(ip), to)).await?;
                    copy_bidirectional(&mut stream, &mut target).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    port
}

/// A list of hundreds does not open hundreds of connections at one time.
#[tokio::test]
async fn members_are_asked_some_at_a_time() {
    let mut stage = Stage::new();
    let listener = listen();
    let port = listener.local_addr().expect("it is bound").port();
    let (open, most, all) = (
        Arc::<AtomicU64>::default(),
        Arc::<AtomicU64>::default(),
        Arc::<AtomicU64>::default(),
    );
    let seen = (open.clone(), most.clone(), all.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (open, most, all) = seen.clone();
            most.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
            all.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                sleep(Duration::from_millis(300)).await;
                open.fetch_sub(1, Relaxed);
                let _ = stream.shutdown().await;
            });
        }
    });
    let socks = free_port();
    let names: Vec<String> = (100..220).map(|n| format!("n{n}")).collect();
    let proxies: String = names
        .iter()
        .map(|name| format!("- {{name: {name}, type: http, server: 127.0.0.1, port: {port}, username: {name}, password: p}}\n"))
        .collect();
    let config = format!(
        "mixed-port: {socks}\nproxies:\n{proxies}proxy-groups:\n\
         - {{name: all, type: url-test, proxies: [{}], url: 'http://127.0.0.1:1/', interval: 3600}}\nrules:\n- 'MATCH,all'\n",
        names.join(", ")
    );
    let path = stage.write("client", &config);
    let mut command = mobula();
    command.args(["run", "-c"]).arg(path);
    stage.start("client", &mut command, &[socks]).await;
    let deadline = Instant::now() + PATIENCE;
    while all.load(Relaxed) < names.len() as u64 {
        assert!(
            Instant::now() < deadline,
            "{} were asked",
            all.load(Relaxed)
        );
        sleep(Duration::from_millis(20)).await;
    }
    let most = most.load(Relaxed);
    assert!((8..=32).contains(&most), "{most} at one time");
}
