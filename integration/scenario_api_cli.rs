//! `mobula api` as Xray's and V2Ray's own commands: what they take, what they print, and that it happens.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::configs::Vmess;
use crate::panel::{Panel, gets_through};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, listening, mobula};
use crate::traffic::{self, To};

// Those that stand in V2Ray's documentation are warned about.
const ANN: &str = "5c3ae1b2-9d10-4f6e-8a77-0e1f4b6c2d93";
const BOB: &str = "9b0a7d6e-5f1c-4b23-a6d8-3c2e1f4a5b60";

/// What a command prints, which is to work.
fn said(panel: &Panel, args: &[&str]) -> String {
    let (worked, text) = panel.mobula(args);
    assert!(worked, "{args:?}: {text}");
    text
}

fn json_of(panel: &Panel, args: &[&str]) -> Value {
    let text = said(panel, args);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
}

/// A file on the panel's stage.
fn file(panel: &Panel, name: &str, config: &Value) -> String {
    let path = panel.stage.write(name, format!("{config:#}"));
    path.to_str().expect("text").to_owned()
}

fn inbound(tag: &str, port: u16, clients: &Value) -> Value {
    json!({"inbounds": [{
        "tag": tag, "listen": "127.0.0.1", "port": port, "protocol": "vmess",
        "settings": {"clients": clients},
        "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
    }]})
}

/// What scripts written for V2Ray 4 say to `v2ctl api`, beside Debian's, to a server of V2Ray's and to one of ours.
#[tokio::test]
async fn v2ctls_own_words_are_understood_and_answered_as_by_it() {
    for server in [V2ray445, Mobula] {
        let panel = Panel::start(server).await;
        for (method, request) in [
            ("StatsService.QueryStats", "pattern: \"user\" reset: false"),
            ("statsservice.querystats", "pattern:\"nothing\""),
            ("LoggerService.RestartLogger", ""),
        ] {
            let ours = said(&panel, &[method, request]);
            let theirs = panel.v2ctl(method, request);
            assert_eq!(ours.trim_end(), theirs.trim_end(), "{server:?}: {method}");
        }
        let sys = said(&panel, &["StatsService.GetSysStats", ""]);
        assert!(sys.starts_with("NumGoroutine: "), "{sys}");
        let counted = said(&panel, &["StatsService.QueryStats", "pattern: \"inbound\""]);
        assert!(counted.contains("stat: <\n  name: \""), "{counted}");
        let (worked, text) = panel.mobula(&["StatsService.QueryStats", "x: 1"]);
        assert!(!worked && text.contains("the request has no `x`"), "{text}");
    }
}

/// The same files, whether ours or V2Ray's server takes them: each is asked in its own form.
#[tokio::test]
async fn inbounds_outbounds_and_users_come_from_files_and_go() {
    for peer in [Mobula, V2ray445] {
        println!("{peer:?}");
        let mut panel = Panel::start(peer).await;
        let port = free_port();
        let ann = json!([{"id": ANN, "email": "ann@added.test", "level": 0}]);
        let added = file(&panel, "in.json", &inbound("added", port, &ann));
        assert_eq!(said(&panel, &["adi", &added]), "adding: added\n{}");
        // V2Ray forgets the first one under a tag, and leaves it listening.
        if peer == Mobula {
            let (worked, text) = panel.mobula(&["adi", &added]);
            assert!(
                !worked && text.ends_with("existing tag found: added"),
                "{text}"
            );
        }

        let mut client = async |id: &str| {
            let socks = free_port();
            let mut config = Vmess::ws().client(V2ray445, socks, port);
            config["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = id.into();
            let name = format!("client-{socks}");
            panel.stage.run(V2ray445, &name, &config, &[socks]).await;
            socks
        };
        let (ann, bob) = (client(ANN).await, client(BOB).await);
        assert!(gets_through(ann).await && !gets_through(bob).await);

        // Xray's `adu`, which needs no port, and `rmu`.
        let mut users = inbound(
            "added",
            port,
            &json!([{"id": BOB, "email": "bob@added.test"}]),
        );
        users["inbounds"][0]
            .as_object_mut()
            .expect("an object")
            .remove("port");
        let users = file(&panel, "users.json", &users);
        assert_eq!(
            said(&panel, &["adu", &users]),
            "processing inbound: added\nadd user: bob@added.test\nresult: ok\nAdded 1 user(s) in total."
        );
        assert!(gets_through(bob).await);
        let (worked, text) = panel.mobula(&["adu", &users]);
        assert!(!worked && text.contains("already exists"), "{text}");
        assert!(text.ends_with("Added 0 user(s) in total."), "{text}");
        assert_eq!(
            said(&panel, &["rmu", "-tag=added", "bob@added.test"]),
            "remove user: bob@added.test\nRemoved 1 user(s) in total."
        );
        assert!(!gets_through(bob).await, "bob is gone");
        let (worked, text) = panel.mobula(&["rmu", "-tag", "added", "nobody@added.test"]);
        assert!(
            !worked && text.ends_with("Removed 0 user(s) in total."),
            "{text}"
        );

        let outbound = json!({"outbounds": [{
            "tag": "hole", "protocol": "blackhole", "settings": {"response": {"type": "http"}},
        }, {
            "tag": "onward", "protocol": "vmess",
            "settings": {"vnext": [{"address": "127.0.0.1", "port": port, "users": [{"id": ANN, "security": "auto"}]}]},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray", "headers": {"Host": "a.test"}}},
        }]});
        let outbounds = file(&panel, "out.json", &outbound);
        assert_eq!(
            said(&panel, &["ado", &outbounds]),
            "adding: hole\n{}\nadding: onward\n{}"
        );
        // By a tag, and by the file that has it.
        assert_eq!(said(&panel, &["rmo", "hole"]), "removing: hole\n{}");
        let text = said(&panel, &["rmo", &outbounds]);
        assert_eq!(text, "removing: hole\n{}\nremoving: onward\n{}");
        assert_eq!(said(&panel, &["rmi", &added]), "removing: added\n{}");
        assert!(!listening(port));
        assert_eq!(said(&panel, &["restartlogger"]), "{}");
    }
}

#[tokio::test]
async fn a_file_may_come_on_standard_input_and_its_mistakes_have_places() {
    let panel = Panel::start(Mobula).await;
    let port = free_port();
    let ask = |args: &[&str], text: &str| {
        let mut child = mobula()
            .args(["api", "-s", &format!("127.0.0.1:{}", panel.api)])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mobula runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("it is read");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (output.status.success(), text)
    };
    let config = inbound("piped", port, &json!([{"id": ANN}]));
    for args in [&["adi"][..], &["adi", "stdin:"]] {
        let (worked, text) = ask(args, &config.to_string());
        assert!(worked && text.contains("adding: piped\n{}"), "{text}");
        assert!(listening(port));
        said(&panel, &["rmi", "piped"]);
    }
    let wrong = inbound("wrong", port, &json!([{"id": "no"}, {"id": "b831381d"}]));
    let path = file(&panel, "wrong.json", &wrong);
    let (worked, text) = panel.mobula(&["adi", &path]);
    assert!(!worked);
    let place = "inbounds[0].settings.clients[1].id: `b831381d` is not a UUID";
    assert!(text.starts_with(&path) && text.contains(place), "{text}");
    let (worked, text) = panel.mobula(&["ado", &path]);
    assert!(
        !worked && text.contains("there is no outbound in it"),
        "{text}"
    );
    // What the messages have no word for is not lost, it is refused.
    let settings = json!({"rules": [{"action": "drop", "domain": ["a.test"]}]});
    let config = json!({"outbounds": [{"tag": "dns", "protocol": "dns", "settings": settings}]});
    let path = file(&panel, "dns.json", &config);
    let (worked, text) = panel.mobula(&["ado", &path]);
    assert!(!worked && text.contains("outbounds[0]"), "{text}");
    let (worked, text) = panel.mobula(&["adi", "/no/such.json"]);
    assert!(
        !worked && text.contains("/no/such.json: no such file or directory"),
        "{text}"
    );
}

#[tokio::test]
async fn what_there_is_is_printed_as_xray_prints_it() {
    let panel = Panel::start(Mobula).await;
    let port = free_port();
    let ann = json!([{"id": ANN, "email": "ann@added.test"}]);
    let added = file(&panel, "in.json", &inbound("added", port, &ann));
    said(&panel, &["adi", &added]);
    let all = json_of(&panel, &["lsi"]);
    let found = &all["inbounds"][2];
    assert_eq!(found["tag"], "added");
    assert_eq!(
        found["receiverSettings"]["_TypedMessage_"],
        "xray.app.proxyman.ReceiverConfig"
    );
    assert_eq!(found["receiverSettings"]["listen"], "127.0.0.1");
    assert_eq!(found["receiverSettings"]["portList"], port);
    let stream = &found["receiverSettings"]["streamSettings"];
    assert_eq!(stream["protocolName"], "websocket");
    assert_eq!(stream["transportSettings"][0]["settings"]["path"], "/ray");
    let user = json!({
        "email": "ann@added.test",
        "account": {
            "_TypedMessage_": "xray.proxy.vmess.Account", "id": ANN,
            "securitySettings": {"type": "AUTO"},
        },
    });
    assert_eq!(found["proxySettings"]["user"], json!([user]));
    let tags = json!({"inbounds": [{"tag": "panel"}, {"tag": "vmess"}, {"tag": "added"}]});
    assert_eq!(json_of(&panel, &["lsi", "--isOnlyTags=true"]), tags);
    let text = said(&panel, &["lsi", "-isOnlyTags=true"]);
    assert!(
        text.starts_with("{\n    \"inbounds\": [\n        {\n            \"tag\": \"panel\"\n"),
        "{text}"
    );
    let outbounds = json_of(&panel, &["lso"]);
    assert_eq!(outbounds["outbounds"][0]["tag"], "direct");
    assert_eq!(
        outbounds["outbounds"][0]["proxySettings"]["_TypedMessage_"],
        "xray.proxy.freedom.Config"
    );
    let users = json_of(&panel, &["inbounduser", "-tag=added"]);
    assert_eq!(users, json!({"users": [user]}));
    let one = json_of(
        &panel,
        &["inbounduser", "-tag", "added", "-email", "ann@added.test"],
    );
    assert_eq!(one, users);
    assert_eq!(
        json_of(&panel, &["inboundusercount", "-tag=added"]),
        json!({"count": 1})
    );
    let (worked, text) = panel.mobula(&["inboundusercount", "-tag=nobody"]);
    assert!(
        !worked && text.contains("handler not found: nobody"),
        "{text}"
    );

    let sys = json_of(&panel, &["statssys"]);
    assert!(
        sys["Alloc"].as_u64() > Some(0) && sys["NumGoroutine"].as_u64() > Some(0),
        "{sys}"
    );
    let name = "inbound>>>vmess>>>traffic>>>uplink";
    let stat = json_of(&panel, &["stats", "-name", name]);
    assert_eq!(stat, json!({"stat": {"name": name, "value": 0}}));
    let stats = json_of(
        &panel,
        &["statsquery", "-pattern", "inbound>>>vmess", "-reset=true"],
    );
    assert_eq!(stats["stat"][1], stat["stat"]);
    assert_eq!(
        json_of(&panel, &["statsquery", "-pattern", "nothing"]),
        json!({})
    );
}

#[tokio::test]
async fn rules_come_from_files_and_go_by_their_tags() {
    let panel = Panel::start(Mobula).await;
    let rules = json!({"routing": {"rules": [
        {"ruleTag": "mine", "domain": ["full:mine.test"], "outboundTag": "direct"},
        {"ruleTag": "net", "ip": ["10.0.0.0/8", "!geoip:private"], "port": "53,1000-2000", "network": "tcp,udp", "outboundTag": "direct"},
    ]}});
    let path = file(&panel, "rules.json", &rules);
    assert_eq!(said(&panel, &["adrules", "-append", &path]), "{}");
    let listed = json_of(&panel, &["lsrules"]);
    let tags: Vec<&Value> = listed["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|r| &r["ruleTag"])
        .collect();
    assert!(
        tags.contains(&&json!("mine")) && tags.contains(&&json!("net")),
        "{listed}"
    );
    let test = "app.router.command.RoutingService/TestRoute";
    let mine = json!({"RoutingContext": {"TargetDomain": "mine.test", "TargetPort": 80, "Network": "TCP"}});
    assert_eq!(panel.call(test, mine.clone())["OutboundTag"], "direct");
    let (worked, text) = panel.mobula(&["adrules", "-append", &path]);
    assert!(!worked && text.contains("duplicate ruleTag mine"), "{text}");
    assert_eq!(said(&panel, &["rmrules", "mine", "net"]), "{}\n{}");
    assert_eq!(panel.call(test, mine)["code"], "UNKNOWN");
    let (worked, text) = panel.mobula(&["adrules", &file(&panel, "none.json", &json!({}))]);
    assert!(!worked && text.contains("`routing` is missing"), "{text}");

    // Xray's `sib`: the sessions of an address go where the command says.
    said(
        &panel,
        &[
            "ado",
            &file(
                &panel,
                "hole.json",
                &json!({"outbounds": [{"tag": "hole", "protocol": "blackhole"}]}),
            ),
        ],
    );
    let of = |source: [u8; 4]| {
        use base64::Engine;
        let source = base64::engine::general_purpose::STANDARD.encode(source);
        let context = json!({"InboundTag": "vmess", "SourceIPs": [source], "SourcePort": 1, "TargetDomain": "a.test", "TargetPort": 80, "Network": "TCP"});
        panel.call(test, json!({"RoutingContext": context}))["OutboundTag"].clone()
    };
    let block = ["sib", "-outbound=hole", "-inbound=vmess", "192.0.2.1"];
    assert_eq!(said(&panel, &block), "{}");
    assert_eq!(
        (of([192, 0, 2, 1]), of([192, 0, 2, 2])),
        (json!("hole"), Value::Null)
    );
    let (worked, _) = panel.mobula(&block);
    assert!(!worked, "the rule's tag is taken");
    let again = [
        "sib",
        "-outbound=hole",
        "-inbound=vmess",
        "192.0.2.2",
        "-reset",
    ];
    assert_eq!(said(&panel, &again), "{}\n{}");
    assert_eq!(
        (of([192, 0, 2, 1]), of([192, 0, 2, 2])),
        (Value::Null, json!("hole"))
    );
}

/// New sessions go where the balancer was told to send them, and back once it has its choice again.
#[tokio::test]
async fn a_balancer_is_overridden_and_set_free() {
    let mut stage = Stage::new();
    let [api, socks, one, two] = std::array::from_fn(|_| free_port());
    let server = |port: u16| {
        json!({
            "log": {"access": stage_path(&stage, port), "loglevel": "warning"},
            "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "socks"}],
            "outbounds": [{"protocol": "freedom"}],
        })
    };
    let (first, second) = (server(one), server(two));
    let hop = |tag: &str, port: u16| json!({"tag": tag, "protocol": "socks", "settings": {"servers": [{"address": "127.0.0.1", "port": port}]}});
    let config = json!({
        "api": {"tag": "api", "listen": format!("127.0.0.1:{api}"), "services": ["RoutingService"]},
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks"}],
        "outbounds": [hop("exit-one", one), hop("other", two)],
        "routing": {
            "balancers": [{"tag": "exits", "selector": ["exit-"]}],
            "rules": [{"type": "field", "network": "tcp", "balancerTag": "exits"}],
        },
    });
    stage.run(Mobula, "one", &first, &[one]).await;
    stage.run(Mobula, "two", &second, &[two]).await;
    stage.run(Mobula, "client", &config, &[api, socks]).await;
    let panel = Panel {
        stage,
        api,
        vmess: 0,
    };
    let to = traffic::echo().await;
    let carried = |port: u16| {
        let log = panel.stage.read_so_far(&format!("access-{port}.log"));
        log.matches(&format!("tcp:{to}")).count()
    };
    let session = async |port: u16| {
        let before = carried(port);
        traffic::word(socks, &To::Ip(to)).await;
        for _ in 0..500 {
            if carried(port) > before {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("it was not carried by {port}");
    };
    session(one).await;
    assert_eq!(
        said(&panel, &["bi", "exits"]),
        "- Selects:\n    1   exit-one"
    );
    assert_eq!(said(&panel, &["bo", "-b", "exits", "other"]), "");
    let text = said(&panel, &["bi", "exits"]);
    assert!(
        text.starts_with("- Selecting Override:\n    1   other"),
        "{text}"
    );
    let shown = json_of(&panel, &["bi", "-json", "exits"]);
    assert_eq!(shown["balancer"]["override"]["target"], "other");
    session(two).await;
    assert_eq!(said(&panel, &["bo", "--balancer=exits", "-remove"]), "");
    session(one).await;
    let (worked, text) = panel.mobula(&["bo", "-b", "exits", "nobody"]);
    assert!(!worked && text.contains("nobody"), "{text}");
    let (worked, _) = panel.mobula(&["bi", "nobody"]);
    assert!(!worked);
}

fn stage_path(stage: &Stage, port: u16) -> String {
    let path = stage.path(&format!("access-{port}.log"));
    path.to_str().expect("text").to_owned()
}

/// Two users on tunnels from addresses of their own: who is online, from where, and nobody afterwards.
#[tokio::test]
async fn who_is_online_and_from_where_is_told_while_it_is_so() {
    let mut stage = Stage::new();
    let (api, port) = (free_port(), free_port());
    let level =
        json!({"statsUserOnline": true, "statsUserUplink": true, "statsUserDownlink": true});
    let config = json!({
        "log": {"loglevel": "warning"},
        "stats": {},
        "policy": {"levels": {"0": level}},
        "api": {"tag": "api", "listen": format!("127.0.0.1:{api}"), "services": ["StatsService"]},
        "inbounds": [{
            "listen": "127.0.0.1", "port": port, "protocol": "vmess",
            "settings": {"clients": [
                {"id": ANN, "email": "ann@example.com"}, {"id": BOB, "email": "bob@example.com"},
            ]},
        }],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[api, port]).await;
    let mut clients = Vec::new();
    for (id, from) in [(ANN, "127.0.0.2"), (ANN, "127.0.0.3"), (BOB, "127.0.0.4")] {
        let socks = free_port();
        let mut config = Vmess::tcp().client(V2ray445, socks, port);
        config["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = id.into();
        config["outbounds"][0]["sendThrough"] = from.into();
        stage
            .run(V2ray445, &format!("client-{socks}"), &config, &[socks])
            .await;
        clients.push(socks);
    }
    let panel = Panel {
        stage,
        api,
        vmess: 0,
    };
    let online = |email: &str| json_of(&panel, &["statsonline", "-email", email]);
    let value = |email: &str, n: u32| json!({"stat": {"name": format!("user>>>{email}>>>online"), "value": n}});
    assert_eq!(json_of(&panel, &["statsgetallonlineusers"]), json!({}));
    let (worked, text) = panel.mobula(&["statsonline", "-email", "nobody"]);
    assert!(
        !worked && text.contains("user>>>nobody>>>online not found."),
        "{text}"
    );

    let to = To::Ip(traffic::echo().await);
    let mut tunnels = Vec::new();
    for socks in clients {
        let mut tunnel = traffic::connect(socks, &to).await.expect("SOCKS");
        traffic::exchange(&mut tunnel, b"a word").await;
        tunnels.push(tunnel);
    }
    assert_eq!(online("ann@example.com"), value("ann@example.com", 2));
    assert_eq!(online("bob@example.com"), value("bob@example.com", 1));
    let users =
        json!({"users": ["user>>>ann@example.com>>>online", "user>>>bob@example.com>>>online"]});
    assert_eq!(json_of(&panel, &["statsgetallonlineusers"]), users);
    let list = json_of(&panel, &["statsonlineiplist", "-email", "ann@example.com"]);
    let ips = list["ips"].as_object().expect("addresses");
    assert_eq!(ips.keys().collect::<Vec<_>>(), ["127.0.0.2", "127.0.0.3"]);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs();
    let last = ips["127.0.0.2"].as_u64().expect("seconds");
    assert!(last <= now && last + 600 > now, "{last}");
    let all = json_of(&panel, &["statsonlineiplist", "-all", "-include-traffic"]);
    let bob = &all["users"][1];
    assert_eq!(
        (&bob["email"], &bob["ips"][0]["ip"]),
        (&json!("bob@example.com"), &json!("127.0.0.4"))
    );
    assert!(bob["traffic"]["uplink"].as_u64() >= Some(6), "{all}");

    drop(tunnels.pop());
    for _ in 0..500 {
        if json_of(&panel, &["statsgetallonlineusers"])["users"]
            == json!(["user>>>ann@example.com>>>online"])
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(tunnels);
    for _ in 0..500 {
        if json_of(&panel, &["statsgetallonlineusers"]) == json!({}) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("somebody is still online");
}
