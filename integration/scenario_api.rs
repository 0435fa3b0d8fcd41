//! The gRPC API: counters, and users, inbounds and outbounds that come and go while tunnels run.
//!
//! Asked by Python's `grpcio` with messages made from `proto/v2ray`, by Debian's `v2ctl` and by `mobula
//! api`; the same questions are put to V2Ray's own API, so that the files say what V2Ray means.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::configs::Vmess;
use crate::panel::{ALTER, ANN, BOB, Panel, add_user, gets_through, remove_user};
use crate::peers::Peer::{Mobula, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, listening, mobula};
use crate::traffic::{self, To};

#[tokio::test]
async fn users_come_and_go_while_others_tunnels_run() {
    let mut panel = Panel::start(Mobula).await;
    let (ann, bob) = (panel.client(ANN).await, panel.client(BOB).await);
    let to = To::Ip(traffic::echo().await);
    let mut anns = traffic::connect(ann, &to).await.expect("SOCKS");
    traffic::exchange(&mut anns, b"before").await;
    assert!(!gets_through(bob).await, "bob is unknown");

    assert_eq!(
        panel.call(ALTER, add_user(BOB, "bob@example.com")),
        json!({})
    );
    assert!(gets_through(bob).await);
    let mut bobs = traffic::connect(bob, &to).await.expect("SOCKS");
    traffic::exchange(&mut bobs, b"bob is in").await;
    traffic::exchange(&mut anns, b"still here").await;

    assert_eq!(panel.call(ALTER, remove_user("BOB@example.com")), json!({}));
    assert!(!gets_through(bob).await, "bob is gone");
    traffic::exchange(&mut bobs, b"a running session goes on").await;
    traffic::exchange(&mut anns, b"still here").await;
    assert!(gets_through(ann).await);
}

#[tokio::test]
async fn mistakes_are_answered_as_v2ray_answers_them() {
    let other = |tag: &str| {
        let mut request = add_user(BOB, "bob@example.com");
        request["tag"] = tag.into();
        request
    };
    let calls = [
        (
            ALTER,
            add_user(BOB, "ann@example.com"),
            "User ann@example.com already exists.",
        ),
        (
            ALTER,
            remove_user("eve@example.com"),
            "User eve@example.com not found.",
        ),
        (ALTER, remove_user(""), "Email must not be empty."),
        (ALTER, other("nobody"), "handler not found: nobody"),
        (ALTER, other("panel"), "proxy is not a UserManager"),
        (
            "app.proxyman.command.HandlerService/RemoveInbound",
            json!({"tag": "nobody"}),
            "not enough information for making a decision",
        ),
        (
            "app.stats.command.StatsService/GetStats",
            json!({"name": "nothing"}),
            "nothing not found.",
        ),
    ];
    for peer in [Mobula, V2ray445] {
        let panel = Panel::start(peer).await;
        let asked = calls.clone().map(|(method, request, _)| (method, request));
        let answers = panel.ask(&[], &asked);
        for ((method, request, text), answer) in calls.iter().zip(&answers) {
            assert_eq!(
                answer["code"], "UNKNOWN",
                "{peer:?} {method} {request}: {answer}"
            );
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.contains(text), "{peer:?} {method} {request}: {error}");
        }
    }
}

/// The same messages make the same inbound in V2Ray.
#[tokio::test]
async fn an_inbound_and_an_outbound_come_and_go() {
    for peer in [Mobula, V2ray445] {
        println!("{peer:?}");
        let mut panel = Panel::start(peer).await;
        let (first, port) = (panel.vmess, free_port());
        let user = json!({
            "email": "bob@example.com",
            "account": {"@type": "proxy.vmess.Account", "id": BOB, "securitySettings": {"type": "AUTO"}},
        });
        let stream = json!({
            "protocolName": "websocket",
            "transportSettings": [{
                "protocolName": "websocket",
                "settings": {
                    "@type": "transport.internet.websocket.Config",
                    "path": "/ray", "header": [{"key": "X-Of", "value": "panel"}],
                },
            }],
        });
        let inbound = json!({"inbound": {
            "tag": "added",
            "receiverSettings": {
                "@type": "app.proxyman.ReceiverConfig",
                "portRange": {"From": port, "To": port},
                "listen": {"ip": "fwAAAQ=="},
                "streamSettings": stream,
            },
            "proxySettings": {"@type": "proxy.vmess.inbound.Config", "user": [user]},
        }});
        let add = "app.proxyman.command.HandlerService/AddInbound";
        let remove = "app.proxyman.command.HandlerService/RemoveInbound";
        assert_eq!(panel.call(add, inbound.clone()), json!({}));
        // V2Ray forgets the first one under a tag, and leaves it listening.
        if peer == Mobula {
            let again = panel.call(add, inbound.clone());
            assert_eq!(again["error"], "existing tag found: added");
        }

        panel.vmess = port;
        let socks = free_port();
        let mut config = Vmess::ws().client(V2ray445, socks, port);
        config["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = BOB.into();
        panel.stage.run(V2ray445, "client", &config, &[socks]).await;
        let to = To::Ip(traffic::echo().await);
        let mut stream = traffic::connect(socks, &to).await.expect("SOCKS");
        traffic::exchange(&mut stream, b"over what was added").await;

        assert_eq!(panel.call(remove, json!({"tag": "added"})), json!({}));
        assert!(!listening(port));
        traffic::exchange(&mut stream, b"its tunnels go on").await;
        assert!(TcpStream::connect(("127.0.0.1", first)).await.is_ok());
        assert_eq!(panel.call(add, inbound), json!({}));
        assert!(gets_through(socks).await, "it is back");

        let outbound = json!({"outbound": {
            "tag": "hole",
            "proxySettings": {
                "@type": "proxy.blackhole.Config",
                "response": {"@type": "proxy.blackhole.HTTPResponse"},
            },
        }});
        let calls = [
            ("app.proxyman.command.HandlerService/AddOutbound", outbound),
            (
                "app.proxyman.command.HandlerService/RemoveOutbound",
                json!({"tag": "hole"}),
            ),
        ];
        assert_eq!(panel.ask(&[], &calls), [json!({}), json!({})]);
    }
}

#[tokio::test]
async fn a_wrong_inbound_is_refused_with_all_its_mistakes() {
    let panel = Panel::start(Mobula).await;
    let inbound = json!({"inbound": {
        "tag": "wrong",
        "receiverSettings": {
            "@type": "app.proxyman.ReceiverConfig",
            "portRange": {"From": panel.vmess, "To": panel.vmess},
        },
        "proxySettings": {
            "@type": "proxy.vmess.inbound.Config",
            "user": [{"account": {"@type": "proxy.vmess.Account", "id": "no"}},
                     {"account": {"@type": "proxy.vmess.Account", "id": "b831381d"}}],
        },
    }});
    let add = "app.proxyman.command.HandlerService/AddInbound";
    let answer = panel.call(add, inbound.clone());
    let text = answer["error"].as_str().expect("an error");
    assert_eq!(
        text,
        "user[1].account.id: `b831381d` is not a UUID, it has 8 of 32 hex digits"
    );
    let mut taken = inbound;
    let settings = &mut taken["inbound"]["proxySettings"];
    settings["user"] = json!([]);
    let answer = panel.call(add, taken);
    let text = answer["error"].as_str().expect("an error");
    assert!(text.contains("address already in use"), "{text}");
}

/// Names of V2Ray 4 are used everywhere else.
#[tokio::test]
async fn the_names_of_v2ray_5_and_xray_are_known() {
    let panel = Panel::start(Mobula).await;
    let mut request = add_user(BOB, "bob@example.com");
    request["operation"]["@type"] = "types.v2fly.org/app.proxyman.command.AddUserOperation".into();
    request["operation"]["user"]["account"]["@type"] = "types.v2fly.org/proxy.vmess.Account".into();
    assert_eq!(panel.call(ALTER, request), json!({}));
    let calls = [
        (ALTER, remove_user("bob@example.com")),
        (ALTER, add_user(BOB, "bob@example.com")),
        ("app.stats.command.StatsService/GetSysStats", json!({})),
    ];
    let answers = panel.ask(&["--xray"], &calls);
    assert_eq!(answers[..2], [json!({}), json!({})]);
    assert!(
        answers[2]["NumGoroutine"].as_u64() > Some(0),
        "{}",
        answers[2]
    );
    assert_ne!(answers[2]["Alloc"], Value::Null);
}

#[tokio::test]
async fn debians_v2ctl_is_answered() {
    let panel = Panel::start(Mobula).await;
    let text = panel.v2ctl("StatsService.GetSysStats", "");
    assert!(text.contains("NumGoroutine: "), "{text}");
    let text = panel.v2ctl("StatsService.GetStats", "name: \"nothing\" reset: false");
    assert!(
        text.contains("code = Unknown desc = nothing not found."),
        "{text}"
    );
    let text = panel.v2ctl("StatsService.QueryStats", "pattern: \"\" reset: false");
    assert!(!text.contains("failed"), "{text}");
    let log = panel.stage.path("access.log");
    std::fs::remove_file(&log).expect("the log is there");
    let text = panel.v2ctl("LoggerService.RestartLogger", "");
    assert!(!text.contains("failed"), "{text}");
    for _ in 0..100 {
        if log.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the log was not opened anew");
}

#[tokio::test]
async fn mobula_is_a_client_of_itself_and_of_v2ray() {
    for peer in [Mobula, V2ray434, V2ray445] {
        println!("{peer:?}");
        let mut panel = Panel::start(peer).await;
        let bob = panel.client(BOB).await;
        let ok = |text: &str| (true, text.to_owned());
        let user = ["--tag", "vmess", "--email", "bob@example.com"];
        let add = [&["adduser", "-id", BOB], &user[..]].concat();
        assert_eq!(panel.mobula(&add), ok(""));
        assert!(gets_through(bob).await);
        let (worked, text) = panel.mobula(&add);
        assert!(!worked && text.contains("already exists"), "{text}");
        assert_eq!(panel.mobula(&[&["rmuser"], &user[..]].concat()), ok(""));
        assert!(!gets_through(bob).await);
        assert_eq!(panel.mobula(&["restartlogger"]), ok("{}"));
        assert_eq!(panel.mobula(&["rmi", "vmess"]), ok("removing: vmess\n{}"));
        assert!(!listening(panel.vmess));
        let (worked, text) = panel.mobula(&["stats", "-runtime"]);
        assert!(worked && text.contains("  memory"), "{text}");
        let (worked, text) = panel.mobula(&["stats", "--json", "--runtime"]);
        let sys: Value = serde_json::from_str(&text).expect("JSON");
        assert!(worked && sys["Sys"].as_u64() > Some(0), "{text}");
        let (worked, text) = panel.mobula(&["stats", "--json", "inbound>>>panel"]);
        assert!(worked, "{text}");
        let stats: Value = serde_json::from_str(&text).expect("JSON");
        assert!(stats["stat"].is_array(), "{text}");
        if peer != Mobula {
            let names = text.matches("inbound>>>panel>>>traffic>>>").count();
            assert_eq!(names, 2, "{text}");
            let (worked, text) = panel.mobula(&["statsquery", "--pattern", "uplink"]);
            assert!(
                worked && text.contains("inbound>>>panel>>>traffic>>>uplink"),
                "{text}"
            );
        }
        let (worked, text) = panel.mobula(&["stats", "--name", "nothing"]);
        assert!(!worked && text.contains("nothing not found."), "{text}");
    }
}

#[tokio::test]
async fn rules_are_asked_and_watched() {
    let mut panel = Panel::start(Mobula).await;
    let test = "app.router.command.RoutingService/TestRoute";
    let asked = json!({"RoutingContext": {"TargetDomain": "rule.test", "TargetPort": 80, "Network": "TCP"}});
    let answer = panel.call(test, asked);
    assert_eq!(answer["OutboundTag"], "direct");
    assert_eq!(answer["TargetDomain"], "rule.test");
    let answer = panel.call(
        test,
        json!({"RoutingContext": {"TargetDomain": "other.test"}}),
    );
    assert_eq!(answer["code"], "UNKNOWN");

    let mut watch = panel.python(&["--count", "50"]);
    watch
        .arg("app.router.command.RoutingService/SubscribeRoutingStats")
        .arg(json!({"FieldSelectors": ["user", "outbound", "inbound"]}).to_string());
    let ann = panel.client(ANN).await;
    panel.stage.start("watch", &mut watch, &[]).await;
    panel.stage.until_file_has("watch.log", "{}").await;
    for _ in 0..50 {
        assert!(gets_through(ann).await);
        if panel
            .stage
            .read_so_far("watch.log")
            .contains("ann@example.com")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seen = panel
        .stage
        .until_file_has("watch.log", "ann@example.com")
        .await;
    let line = seen
        .lines()
        .find(|line| line.contains("ann@"))
        .expect("a line");
    let seen: Value = serde_json::from_str(line).expect("JSON");
    let expected =
        json!({"InboundTag": "vmess", "User": "ann@example.com", "OutboundTag": "direct"});
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_log_is_followed() {
    let mut panel = Panel::start(Mobula).await;
    let mut follow = mobula();
    follow.args(["api", "log", "-s", &format!("127.0.0.1:{}", panel.api)]);
    panel.stage.start("follow", &mut follow, &[]).await;
    for _ in 0..100 {
        assert!(panel.mobula(&["statssys"]).0);
        if panel
            .stage
            .read_so_far("follow.log")
            .contains(" accepted tcp:")
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no line came");
}

/// What is no HTTP/2, and what is no message, ends that connection or call and nothing else.
#[tokio::test]
async fn nonsense_is_survived() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let panel = Panel::start(Mobula).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096]] {
        let mut stream = TcpStream::connect(("127.0.0.1", panel.api))
            .await
            .expect("it listens");
        stream.write_all(bytes).await.expect("it is read");
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
        end.await.expect("it is closed").ok();
    }
    let nonsense = json!({"tag": "vmess", "operation": {"type": "v2ray.core.app.proxyman.command.AddUserOperation", "value": "////"}});
    let answer = panel.call(ALTER, nonsense);
    assert_eq!(answer["code"], "INVALID_ARGUMENT", "{answer}");
    let long = json!({"name": "x".repeat(5 * 1024 * 1024)}).to_string();
    panel.stage.write("long.json", long);
    let request = format!("@{}", panel.stage.path("long.json").display());
    let output = panel
        .python(&[])
        .args(["app.stats.command.StatsService/GetStats", &request])
        .output();
    let text = String::from_utf8(output.expect("python runs").stdout).expect("text");
    assert!(text.contains("OUT_OF_RANGE"), "{text}");
    let (worked, _) = panel.mobula(&["statssys"]);
    assert!(worked);
}

#[tokio::test]
async fn only_the_services_that_are_named_are_answered() {
    let mut stage = Stage::new();
    let port = free_port();
    let config = json!({
        "api": {"tag": "api", "services": ["StatsService"], "listen": format!("127.0.0.1:{port}")},
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[port]).await;
    let panel = Panel {
        stage,
        api: port,
        vmess: 0,
    };
    assert!(panel.mobula(&["statssys"]).0);
    let (worked, text) = panel.mobula(&["restartlogger"]);
    assert!(!worked);
    assert!(
        text.contains("`LoggerService` is not in `api.services`"),
        "{text}"
    );
}
