//! A panel drives mobula in Xray's place, with Xray's own messages.

use serde_json::{Value, json};

use crate::configs::{SERVER_NAME, Vmess};
use crate::panel::{ANN, BOB, Panel, gets_through};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, python, root, system};
use crate::traffic::{self, To};

/// In Xray's own messages, as its panels send them.
#[tokio::test]
async fn a_panel_of_xrays_finds_its_way() {
    let mut panel = Panel::start(Mobula).await;
    let port = free_port();
    let ask = |panel: &Panel, method: &str, request: Value| {
        panel.ask(&["--xray-form"], &[(method, request)]).remove(0)
    };
    let handler = |method: &str| format!("app.proxyman.command.HandlerService/{method}");
    let routing = |method: &str| format!("app.router.command.RoutingService/{method}");
    let user = |id: &str, email: &str| json!({"email": email, "account": {"@type": "proxy.vmess.Account", "id": id}});
    let inbound = json!({"inbound": {
        "tag": "added",
        "receiverSettings": {
            "@type": "app.proxyman.ReceiverConfig",
            "portList": {"range": [{"From": port, "To": port}]},
            "listen": {"ip": "fwAAAQ=="},
            "streamSettings": {
                "protocolName": "websocket",
                "transportSettings": [{
                    "protocolName": "websocket",
                    "settings": {
                        "@type": "transport.internet.websocket.Config",
                        "path": "/ray", "header": {"X-Of": "panel"},
                    },
                }],
            },
        },
        "proxySettings": {"@type": "proxy.vmess.inbound.Config", "user": [user(ANN, "ann@example.com")]},
    }});
    assert_eq!(
        ask(&panel, &handler("AddInbound"), inbound.clone()),
        json!({})
    );
    let again = ask(&panel, &handler("AddInbound"), inbound);
    assert_eq!(again["error"], "existing tag found: added");
    let add = json!({"tag": "added", "operation": {
        "@type": "app.proxyman.command.AddUserOperation", "user": user(BOB, "bob@example.com"),
    }});
    assert_eq!(ask(&panel, &handler("AlterInbound"), add), json!({}));
    let count = ask(
        &panel,
        &handler("GetInboundUsersCount"),
        json!({"tag": "added"}),
    );
    assert_eq!(count, json!({"count": "2"}));
    let users = ask(&panel, &handler("GetInboundUsers"), json!({"tag": "added"}));
    assert_eq!(users["users"][1]["email"], "bob@example.com");
    assert_eq!(
        users["users"][1]["account"]["type"],
        "xray.proxy.vmess.Account"
    );
    let all = ask(
        &panel,
        &handler("ListInbounds"),
        json!({"isOnlyTags": true}),
    );
    let tags = json!({"inbounds": [{"tag": "panel"}, {"tag": "vmess"}, {"tag": "added"}]});
    assert_eq!(all, tags);

    panel.vmess = port;
    let socks = free_port();
    let mut config = Vmess::ws().client(V2ray445, socks, port);
    config["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = BOB.into();
    panel.stage.run(V2ray445, "client", &config, &[socks]).await;
    assert!(gets_through(socks).await);
    let remove = json!({"tag": "added", "operation": {
        "@type": "app.proxyman.command.RemoveUserOperation", "email": "bob@example.com",
    }});
    assert_eq!(ask(&panel, &handler("AlterInbound"), remove), json!({}));
    assert!(!gets_through(socks).await, "bob is gone");

    let rule = json!({"shouldAppend": true, "config": {"@type": "app.router.Config", "rule": [{
        "ruleTag": "mine", "tag": "direct",
        "domain": [{"custom": {"type": "Full", "value": "mine.test"}}],
    }]}});
    assert_eq!(ask(&panel, &routing("AddRule"), rule.clone()), json!({}));
    let again = ask(&panel, &routing("AddRule"), rule);
    assert_eq!(again["error"], "duplicate ruleTag mine");
    let test = json!({"RoutingContext": {"TargetDomain": "mine.test", "TargetPort": 80, "Network": "TCP"}});
    let answer = ask(&panel, &routing("TestRoute"), test.clone());
    assert_eq!(answer["OutboundTag"], "direct");
    let rules = ask(&panel, &routing("ListRule"), json!({}));
    assert_eq!(
        rules["rules"][2],
        json!({"tag": "direct", "ruleTag": "mine"})
    );
    assert_eq!(
        ask(&panel, &routing("RemoveRule"), json!({"ruleTag": "mine"})),
        json!({})
    );
    assert_eq!(ask(&panel, &routing("TestRoute"), test)["code"], "UNKNOWN");
    let nobody = json!({"name": "user>>>nobody>>>online"});
    let answer = ask(
        &panel,
        "app.stats.command.StatsService/GetStatsOnline",
        nobody,
    );
    assert_eq!(answer["code"], "NOT_FOUND");
}

/// What a script of ours in python prints, a line of JSON for each answer.
fn python_says(script: &str, api: u16, args: &[String]) -> Vec<Value> {
    let output = python()
        .arg(root().join("integration/peers").join(script))
        .arg(format!("127.0.0.1:{api}"))
        .args(args)
        .output()
        .expect("python runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("JSON");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

/// Users of three protocols, who are nobody before and after, and what they have used in between.
#[tokio::test]
async fn a_client_from_pypi_manages_users_and_reads_what_they_use() {
    let mut stage = Stage::new();
    let [api, vmess, vless, trojan] = std::array::from_fn(|_| free_port());
    let level = json!({"statsUserUplink": true, "statsUserDownlink": true});
    let config = json!({
        "log": {"loglevel": "warning"},
        "stats": {},
        "policy": {"levels": {"0": level}},
        "api": {
            "tag": "api", "listen": format!("127.0.0.1:{api}"),
            "services": ["HandlerService", "StatsService"],
        },
        "inbounds": [
            {"tag": "vmess", "listen": "127.0.0.1", "port": vmess, "protocol": "vmess"},
            {"tag": "vless", "listen": "127.0.0.1", "port": vless, "protocol": "vless",
             "settings": {"decryption": "none"}},
            {"tag": "trojan", "listen": "127.0.0.1", "port": trojan, "protocol": "trojan"},
        ],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage
        .run(Mobula, "server", &config, &[api, vmess, vless, trojan])
        .await;
    let ask = |steps: &[Value]| {
        let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
        python_says("xray_panel.py", api, &steps)
    };
    for (tag, port, client) in [
        ("vmess", vmess, Vmess::tcp()),
        ("vless", vless, Vmess::tcp().vless()),
        ("trojan", trojan, Vmess::tcp().trojan()),
    ] {
        let socks = free_port();
        let config = client.client(V2ray445, socks, port);
        let key = match tag {
            "trojan" => crate::configs::PASSWORD,
            _ => crate::configs::ID,
        };
        let name = format!("client-{tag}");
        stage.run(V2ray445, &name, &config, &[socks]).await;
        assert!(!gets_through(socks).await, "{tag}: nobody knows them");
        let email = format!("{tag}@example.com");
        let add = json!(["add", tag, tag, key, email]);
        assert_eq!(
            ask(&[add.clone(), add]),
            [json!({}), json!("UNKNOWN")],
            "{tag}"
        );
        assert!(gets_through(socks).await, "{tag}");
        let stats = ask(&[json!(["stats", email])]).remove(0);
        for direction in ["uplink", "downlink"] {
            let name = format!("user>>>{email}>>>traffic>>>{direction}");
            assert!(stats[&name].as_i64() >= Some(4), "{stats}");
        }
        let asked = ask(&[json!(["count", tag]), json!(["emails", tag])]);
        assert_eq!(asked, [json!(1), json!([email])]);
        let remove = json!(["remove", tag, email]);
        assert_eq!(
            ask(&[remove.clone(), remove]),
            [json!({}), json!("UNKNOWN")],
            "{tag}"
        );
        assert!(!gets_through(socks).await, "{tag}: they are gone");
    }
    let asked = ask(&[json!(["inbounds"]), json!(["sys"])]);
    assert_eq!(asked, [json!(["vmess", "vless", "trojan"]), json!(true)]);
}

#[tokio::test]
async fn the_api_describes_itself_to_a_client_of_grpcs_own() {
    let mut stage = Stage::new();
    let api = free_port();
    let config = json!({
        "api": {
            "tag": "api", "listen": format!("127.0.0.1:{api}"),
            "services": ["StatsService", "HandlerService", "ReflectionService"],
        },
        "outbounds": [{"protocol": "freedom"}],
    });
    stage.run(Mobula, "server", &config, &[api]).await;
    let symbols = [
        "xray.app.proxyman.command.HandlerService",
        "v2ray.core.app.stats.command.StatsService",
        "xray.app.stats.command.Stat",
        "xray.app.proxyman.command.Nothing",
    ];
    let said = python_says("grpc_describe.py", api, &symbols.map(str::to_owned));
    let services = said[0].as_array().expect("a list");
    for name in [
        "grpc.reflection.v1alpha.ServerReflection",
        "v2ray.core.app.stats.command.StatsService",
        "xray.app.proxyman.command.HandlerService",
        "xray.app.stats.command.StatsService",
    ] {
        assert!(services.contains(&json!(name)), "{name}: {services:?}");
    }
    assert!(!services.contains(&json!("xray.app.router.command.RoutingService")));
    let methods = |answer: &Value| answer.as_array().expect("a list").clone();
    assert!(methods(&said[1]).contains(&json!("AlterInbound")));
    assert!(methods(&said[2]).contains(&json!("QueryStats")));
    assert_eq!(said[3], json!(["name", "value"]));
    assert_eq!(said[4], Value::Null);
    assert_eq!(said[5], json!(true), "what was described is what is spoken");
}

/// A config of the shape that 3x-ui writes for a fresh server, with one VLESS inbound of its user's.
fn of_3x_ui(api: u16, port: u16) -> Value {
    json!({
        "api": {"services": ["HandlerService", "LoggerService", "StatsService", "RoutingService"], "tag": "api"},
        "inbounds": [
            {"listen": "127.0.0.1", "port": api, "protocol": "tunnel", "settings": {"rewriteAddress": "127.0.0.1"}, "tag": "api"},
            {
                "listen": "127.0.0.1", "port": port, "protocol": "vless", "tag": "inbound-1",
                "settings": {
                    "clients": [{"email": "ann", "flow": "", "id": ANN, "security": ""}],
                    "decryption": "none", "encryption": "none",
                },
                "streamSettings": {"network": "ws", "security": "none", "wsSettings": {
                    "acceptProxyProtocol": false, "headers": {}, "heartbeatPeriod": 0, "host": "", "path": "/ray",
                }},
                "sniffing": {"enabled": true, "destOverride": ["http", "tls", "quic"], "metadataOnly": false, "routeOnly": false},
            },
        ],
        "log": {"access": "none", "dnsLog": false, "error": "", "loglevel": "warning", "maskAddress": ""},
        "metrics": {"listen": "127.0.0.1:0", "tag": "metrics_out"},
        "outbounds": [
            {
                "protocol": "freedom", "tag": "direct",
                "settings": {"domainStrategy": "AsIs", "finalRules": [
                    {"action": "block", "ip": ["geoip:private"]}, {"action": "allow"},
                ]},
            },
            {"protocol": "blackhole", "settings": {}, "tag": "blocked"},
        ],
        "policy": {
            "levels": {"0": {"statsUserDownlink": true, "statsUserUplink": true, "statsUserOnline": true}},
            "system": {
                "statsInboundDownlink": true, "statsInboundUplink": true,
                "statsOutboundDownlink": false, "statsOutboundUplink": false,
            },
        },
        "routing": {"domainStrategy": "AsIs", "rules": [
            {"type": "field", "inboundTag": ["api"], "outboundTag": "api"},
            {"type": "field", "ip": ["geoip:private"], "outboundTag": "blocked"},
            {"type": "field", "protocol": ["bittorrent"], "outboundTag": "blocked"},
        ]},
        "stats": {},
    })
}

/// A config of the shape that Marzban has for a fresh server, with what it adds before it starts one.
fn of_marzban(api: u16, port: u16) -> Value {
    json!({
        "log": {"loglevel": "warning"},
        "api": {"services": ["HandlerService", "StatsService", "LoggerService"], "tag": "API"},
        "stats": {},
        "policy": {
            "levels": {"0": {"statsUserUplink": true, "statsUserDownlink": true}},
            "system": {
                "statsInboundDownlink": false, "statsInboundUplink": false,
                "statsOutboundDownlink": true, "statsOutboundUplink": true,
            },
        },
        "routing": {"rules": [
            {"inboundTag": ["API_INBOUND"], "outboundTag": "API", "type": "field"},
            {"ip": ["geoip:private"], "outboundTag": "BLOCK", "type": "field"},
        ]},
        "inbounds": [
            {
                "listen": "127.0.0.1", "port": api, "protocol": "dokodemo-door",
                "settings": {"address": "127.0.0.1"}, "tag": "API_INBOUND",
            },
            {
                "tag": "inbound-1", "listen": "127.0.0.1", "port": port, "protocol": "vless",
                "settings": {"clients": [{"email": "ann", "id": ANN, "flow": ""}], "decryption": "none"},
                "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray"}},
            },
            {
                "tag": "Shadowsocks TCP", "listen": "127.0.0.1", "port": free_port(), "protocol": "shadowsocks",
                "settings": {"clients": [], "network": "tcp,udp"},
            },
        ],
        "outbounds": [{"protocol": "freedom", "tag": "DIRECT"}, {"protocol": "blackhole", "tag": "BLOCK"}],
    })
}

/// As a panel looks for the address of a user in Xray's log.
fn sources_of_users() -> regex::Regex {
    regex::Regex::new(
        r"^[0-9/]+ [0-9:]+\.[0-9]{6} from (?:tcp:|udp:)?\[?([0-9a-fA-F\.:]+)\]?:[0-9]+ accepted tcp:[^ ]+ \[inbound-1 (?:>>|->) [a-z]+\] email: ann$",
    )
    .expect("an expression")
}

#[tokio::test]
async fn what_panels_write_for_a_fresh_server_runs_and_their_calls_succeed() {
    for name in ["3x-ui", "Marzban", "Marzban's node"] {
        println!("{name}");
        let mut stage = Stage::new();
        let (api, port) = (free_port(), free_port());
        let mut config = match name {
            "3x-ui" => of_3x_ui(api, port),
            _ => of_marzban(api, port),
        };
        if name == "3x-ui" {
            config["log"]["access"] = json!(stage.path("access.log"));
        }
        let mut tls = Vec::new();
        if name == "Marzban's node" {
            // What a node is asked comes over TLS, from the panel alone.
            let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| stage.path(name));
            let made = system("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                ])
                .args(["-nodes", "-days", "30", "-subj", "/CN=mobula.test"])
                .args(["-addext", "subjectAltName=DNS:mobula.test"])
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate)
                .output()
                .expect("openssl runs");
            assert!(made.status.success(), "{made:?}");
            config["inbounds"][0]["streamSettings"] = json!({"security": "tls", "tlsSettings": {
                "certificates": [{"certificateFile": certificate, "keyFile": key}],
            }});
            config["routing"]["rules"][0]["source"] = json!(["127.0.0.1", "192.0.2.1"]);
            let certificate = certificate.to_str().expect("text");
            tls = ["--tls", certificate, SERVER_NAME]
                .map(str::to_owned)
                .into();
        }
        // As panels run it: by Xray's name, with the config on standard input or in a file.
        let xray = stage.path("xray-linux-amd64");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mobula"), &xray)
            .expect("the folder is ours");
        let version = std::process::Command::new(&xray)
            .arg("version")
            .output()
            .expect("it runs");
        let version = String::from_utf8(version.stdout).expect("text");
        let number = version
            .strip_prefix("Xray ")
            .and_then(|rest| rest.split(' ').next());
        let number: Vec<&str> = number.expect("a version").split('.').collect();
        assert!(
            number.len() == 3 && number.iter().all(|n| n.parse::<u16>().is_ok()),
            "{version}"
        );
        let path = stage.write("config.json", config.to_string());
        let tested = std::process::Command::new(&xray)
            .args(["run", "-test", "-c"])
            .arg(&path)
            .output()
            .expect("it runs");
        let warned = String::from_utf8_lossy(&tested.stderr);
        assert!(!warned.contains("connections will fail"), "{warned}");
        assert!(
            tested.status.success(),
            "{}",
            String::from_utf8_lossy(&tested.stderr)
        );
        let mut run = std::process::Command::new(&xray);
        run.arg("run").arg("-c").arg(&path);
        stage.start("server", &mut run, &[api, port]).await;

        let steps = [
            json!(["sys"]),
            json!(["add", "inbound-1", "vless", BOB, "bob"]),
            json!(["emails", "inbound-1"]),
            json!(["stats", ""]),
            json!(["remove", "inbound-1", "bob"]),
            json!(["count", "inbound-1"]),
        ];
        let steps = steps.map(|step| step.to_string());
        let said = python_says("xray_panel.py", api, &[&tls[..], &steps].concat());
        assert_eq!(said[..3], [json!(true), json!({}), json!(["ann", "bob"])]);
        assert!(said[3].is_object());
        assert_eq!(said[4..], [json!({}), json!(1)]);

        // A session is carried as far as the rules say: a private address is nobody's to reach.
        let socks = free_port();
        let mut client = Vmess::ws().vless().client(V2ray445, socks, port);
        client["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = ANN.into();
        stage.run(V2ray445, "client", &client, &[socks]).await;
        assert!(!gets_through(socks).await);
        let to = To::Name("localhost", traffic::echo().await.port());
        let stream = traffic::connect(socks, &to).await;
        let mut stream = stream.expect("V2Ray says yes first");
        let reached = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            stream.write_all(b"word").await?;
            stream.read_exact(&mut [0; 4]).await
        };
        // Which addresses a user comes from is read from this log, by an expression like this.
        if name == "3x-ui" {
            let log = stage.read("access.log");
            let lines = log.lines().filter(|line| line.contains(" email: ann"));
            let sources: Vec<_> = lines
                .map(|line| sources_of_users().captures(line))
                .collect();
            assert!(!sources.is_empty(), "{log}");
            for source in sources {
                assert_eq!(&source.expect(&log)[1], "127.0.0.1");
            }
        }
        // The rules are asked about the name, `finalRules` about where it leads.
        if name == "3x-ui" {
            let reached = tokio::time::timeout(traffic::LIMIT, reached).await;
            assert!(reached.expect("an end").is_err());
        }
    }
}
