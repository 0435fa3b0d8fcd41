//! The gRPC API: counters, and users, inbounds and outbounds that come and go while tunnels run.
//!
//! Asked by Python's `grpcio` with messages made from `proto/v2ray`, by Debian's `v2ctl` and by `mobula
//! api`; the same questions are put to V2Ray's own API, so that the files say what V2Ray means.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mobula, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, listening, mobula, python, root, system};
use crate::traffic::{self, To};

const ANN: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";
const BOB: &str = "27848739-7e62-4138-9fd3-098a63964b6b";
const ALTER: &str = "app.proxyman.command.HandlerService/AlterInbound";

/// A server with an API, and what is asked of it.
struct Panel {
    stage: Stage,
    api: u16,
    vmess: u16,
}

impl Panel {
    async fn start(peer: Peer) -> Self {
        let (api, vmess) = (free_port(), free_port());
        let config = json!({
            "log": {"loglevel": "debug", "access": "access.log"},
            "stats": {},
            "policy": {"system": {"statsInboundUplink": true, "statsInboundDownlink": true}},
            "api": {
                "tag": "api",
                "services": ["HandlerService", "LoggerService", "RoutingService", "StatsService"],
            },
            "inbounds": [
                {
                    "tag": "panel", "listen": "127.0.0.1", "port": api, "protocol": "dokodemo-door",
                    "settings": {"address": "127.0.0.1"},
                },
                {
                    "tag": "vmess", "listen": "127.0.0.1", "port": vmess, "protocol": "vmess",
                    "settings": {"clients": [{"id": ANN, "email": "ann@example.com"}]},
                },
            ],
            "outbounds": [{"tag": "direct", "protocol": "freedom"}],
            "routing": {"rules": [
                {"type": "field", "inboundTag": ["panel"], "outboundTag": "api"},
                {"type": "field", "domain": ["full:rule.test"], "outboundTag": "direct"},
            ]},
        });
        let mut stage = Stage::new();
        stage.run(peer, "server", &config, &[api, vmess]).await;
        Self { stage, api, vmess }
    }

    /// What Python's client got, a line for each answer.
    fn ask(&self, options: &[&str], calls: &[(&str, Value)]) -> Vec<Value> {
        let mut command = self.python(options);
        for (method, request) in calls {
            command.arg(method).arg(request.to_string());
        }
        let output = command.output().expect("python runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let text = String::from_utf8(output.stdout).expect("JSON");
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }

    fn python(&self, options: &[&str]) -> Command {
        let mut command = python();
        command
            .arg(root().join("integration/peers/grpc_call.py"))
            .arg(root().join("proto"))
            .arg(format!("127.0.0.1:{}", self.api))
            .args(options);
        command
    }

    fn call(&self, method: &str, request: Value) -> Value {
        self.ask(&[], &[(method, request)]).remove(0)
    }

    /// `mobula api` with `args`: whether it worked, and what it printed.
    fn mobula(&self, args: &[&str]) -> (bool, String) {
        let output = mobula()
            .args(["api", "-s", &format!("127.0.0.1:{}", self.api)])
            .args(args)
            .output()
            .expect("mobula runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("text");
        (output.status.success(), text.trim().to_owned())
    }

    fn v2ctl(&self, method: &str, request: &str) -> String {
        let output = system("v2ctl")
            .args(["api", &format!("--server=127.0.0.1:{}", self.api)])
            .args([method, request])
            .output()
            .expect("v2ctl runs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A client of the user with this id; gives its SOCKS port.
    async fn client(&mut self, id: &str) -> u16 {
        let socks = free_port();
        let mut config = Vmess::tcp().client(V2ray445, socks, self.vmess);
        let vnext = &mut config["outbounds"][0]["settings"]["vnext"][0];
        vnext["users"][0]["id"] = id.into();
        let name = format!("client-{socks}");
        self.stage.run(V2ray445, &name, &config, &[socks]).await;
        socks
    }
}

fn add_user(id: &str, email: &str) -> Value {
    let account = json!({"@type": "proxy.vmess.Account", "id": id, "alterId": 0});
    let user = json!({"level": 0, "email": email, "account": account});
    json!({"tag": "vmess", "operation": {"@type": "app.proxyman.command.AddUserOperation", "user": user}})
}

fn remove_user(email: &str) -> Value {
    let operation = json!({"@type": "app.proxyman.command.RemoveUserOperation", "email": email});
    json!({"tag": "vmess", "operation": operation})
}

/// Whether a session of the client at `socks` reaches its target.
async fn gets_through(socks: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let to = To::Ip(traffic::echo().await);
    let Ok(mut stream) = traffic::connect(socks, &to).await else {
        return false;
    };
    let talk = async {
        stream.write_all(b"word").await?;
        stream.read_exact(&mut [0; 4]).await
    };
    let talked = tokio::time::timeout(Duration::from_secs(2), talk).await;
    talked.is_ok_and(|word| word.is_ok())
}

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

/// Added by the same messages to V2Ray and to us: a VLESS inbound, its users, and an outbound to it.
#[tokio::test]
async fn vless_comes_and_goes_too() {
    for peer in [Mobula, V2ray445] {
        println!("{peer:?}");
        let mut panel = Panel::start(peer).await;
        let port = free_port();
        let account =
            |id: &str| json!({"@type": "proxy.vless.Account", "id": id, "encryption": "none"});
        let user = |id: &str, email: &str| json!({"email": email, "account": account(id)});
        let inbound = json!({"inbound": {
            "tag": "vless",
            "receiverSettings": {
                "@type": "app.proxyman.ReceiverConfig",
                "portRange": {"From": port, "To": port},
                "listen": {"ip": "fwAAAQ=="},
            },
            "proxySettings": {
                "@type": "proxy.vless.inbound.Config",
                "clients": [user(ANN, "ann@example.com")], "decryption": "none",
            },
        }});
        let outbound = json!({"outbound": {
            "tag": "to-vless",
            "proxySettings": {
                "@type": "proxy.vless.outbound.Config",
                "vnext": [{
                    "address": {"ip": "fwAAAQ=="}, "port": port, "user": [user(ANN, "")],
                }],
            },
        }});
        let calls = [
            ("app.proxyman.command.HandlerService/AddInbound", inbound),
            ("app.proxyman.command.HandlerService/AddOutbound", outbound),
        ];
        assert_eq!(panel.ask(&[], &calls), [json!({}), json!({})]);

        let mut client = async |id: &str| {
            let socks = free_port();
            let mut config = Vmess::tcp().vless().client(V2ray445, socks, port);
            config["outbounds"][0]["settings"]["vnext"][0]["users"][0]["id"] = id.into();
            let name = format!("client-{socks}");
            panel.stage.run(V2ray445, &name, &config, &[socks]).await;
            socks
        };
        let (ann, bob) = (client(ANN).await, client(BOB).await);
        assert!(gets_through(ann).await);
        assert!(!gets_through(bob).await, "bob is unknown");
        let add = json!({"tag": "vless", "operation": {
            "@type": "app.proxyman.command.AddUserOperation", "user": user(BOB, "bob@example.com"),
        }});
        assert_eq!(panel.call(ALTER, add), json!({}));
        assert!(gets_through(bob).await);
        let mut remove = remove_user("bob@example.com");
        remove["tag"] = "vless".into();
        assert_eq!(panel.call(ALTER, remove), json!({}));
        assert!(!gets_through(bob).await, "bob is gone");

        let args = [
            "adduser",
            "--tag",
            "vless",
            "--email",
            "bob@example.com",
            "--id",
            BOB,
        ];
        if peer == Mobula {
            let (added, said) = panel.mobula(&args);
            assert!(
                !added && said.contains("the account is of another protocol"),
                "{said}"
            );
        }
        let args = [&args[..], &["--protocol", "vless"]].concat();
        assert_eq!(panel.mobula(&args), (true, String::new()));
        assert!(gets_through(bob).await);
    }
}

/// The same with Trojan, whose users have passwords.
#[tokio::test]
async fn trojan_comes_and_goes_too() {
    for peer in [Mobula, V2ray445] {
        println!("{peer:?}");
        let mut panel = Panel::start(peer).await;
        let port = free_port();
        let account =
            |password: &str| json!({"@type": "proxy.trojan.Account", "password": password});
        let user =
            |password: &str, email: &str| json!({"email": email, "account": account(password)});
        let inbound = json!({"inbound": {
            "tag": "trojan",
            "receiverSettings": {
                "@type": "app.proxyman.ReceiverConfig",
                "portRange": {"From": port, "To": port},
                "listen": {"ip": "fwAAAQ=="},
            },
            "proxySettings": {
                "@type": "proxy.trojan.ServerConfig", "users": [user("ann's", "ann@example.com")],
            },
        }});
        let outbound = json!({"outbound": {
            "tag": "to-trojan",
            "proxySettings": {
                "@type": "proxy.trojan.ClientConfig",
                "server": [{
                    "address": {"ip": "fwAAAQ=="}, "port": port, "user": [user("ann's", "")],
                }],
            },
        }});
        let calls = [
            ("app.proxyman.command.HandlerService/AddInbound", inbound),
            ("app.proxyman.command.HandlerService/AddOutbound", outbound),
        ];
        assert_eq!(panel.ask(&[], &calls), [json!({}), json!({})]);

        let mut client = async |password: &str| {
            let socks = free_port();
            let mut config = Vmess::tcp().trojan().client(V2ray445, socks, port);
            config["outbounds"][0]["settings"]["servers"][0]["password"] = password.into();
            let name = format!("client-{socks}");
            panel.stage.run(V2ray445, &name, &config, &[socks]).await;
            socks
        };
        let (ann, bob) = (client("ann's").await, client("bob's").await);
        assert!(gets_through(ann).await);
        assert!(!gets_through(bob).await, "bob is unknown");
        let add = |password: &str| {
            json!({"tag": "trojan", "operation": {
                "@type": "app.proxyman.command.AddUserOperation",
                "user": user(password, "bob@example.com"),
            }})
        };
        assert_eq!(panel.call(ALTER, add("bob's")), json!({}));
        assert!(gets_through(bob).await);
        let mut remove = remove_user("bob@example.com");
        remove["tag"] = "trojan".into();
        assert_eq!(panel.call(ALTER, remove.clone()), json!({}));
        assert!(!gets_through(bob).await, "bob is gone");
        assert!(gets_through(ann).await, "ann is not");
        if peer == Mobula {
            // Xray's clients of the API know the messages by other names.
            let answers = panel.ask(&["--xray"], &[(ALTER, add("bob's"))]);
            assert_eq!(answers, [json!({})]);
            assert!(gets_through(bob).await);
            assert_eq!(panel.call(ALTER, remove), json!({}));
            let args = ["adduser", "--tag", "trojan", "--email", "bob@example.com"];
            let args = [&args[..], &["--password", "bob's", "--protocol", "trojan"]].concat();
            assert_eq!(panel.mobula(&args), (true, String::new()));
            assert!(gets_through(bob).await);
        }
    }
}

/// The same with Shadowsocks, whose users have passwords and methods.
#[tokio::test]
async fn shadowsocks_comes_and_goes_too() {
    for peer in [Mobula, V2ray445] {
        println!("{peer:?}");
        let mut panel = Panel::start(peer).await;
        let port = free_port();
        let user = |password: &str, email: &str| {
            json!({"email": email, "account": {
                "@type": "proxy.shadowsocks.Account",
                "password": password, "cipherType": "AES_128_GCM",
            }})
        };
        let inbound = json!({"inbound": {
            "tag": "shadow",
            "receiverSettings": {
                "@type": "app.proxyman.ReceiverConfig",
                "portRange": {"From": port, "To": port},
                "listen": {"ip": "fwAAAQ=="},
            },
            "proxySettings": {
                "@type": "proxy.shadowsocks.ServerConfig",
                "user": user("ann's", "ann@example.com"), "network": ["TCP", "UDP"],
            },
        }});
        let outbound = json!({"outbound": {
            "tag": "to-shadow",
            "proxySettings": {
                "@type": "proxy.shadowsocks.ClientConfig",
                "server": [{
                    "address": {"ip": "fwAAAQ=="}, "port": port, "user": [user("ann's", "")],
                }],
            },
        }});
        let calls = [
            ("app.proxyman.command.HandlerService/AddInbound", inbound),
            ("app.proxyman.command.HandlerService/AddOutbound", outbound),
        ];
        assert_eq!(panel.ask(&[], &calls), [json!({}), json!({})]);
        let mut client = async |port: u16, method: &str, password: &str| {
            let socks = free_port();
            let config = json!({
                "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks",
                    "settings": {"udp": true, "ip": "127.0.0.1"}}],
                "outbounds": [{"protocol": "shadowsocks", "settings": {"servers": [
                    {"address": "127.0.0.1", "port": port, "method": method, "password": password},
                ]}}],
            });
            let name = format!("client-{socks}");
            panel.stage.run(Mobula, &name, &config, &[socks]).await;
            socks
        };
        let ann = client(port, "aes-128-gcm", "ann's").await;
        assert!(gets_through(ann).await);
        traffic::datagrams(ann, &[100]).await;
        if peer == V2ray445 {
            // It knows no users that come and go here.
            continue;
        }
        let bob = client(port, "aes-128-gcm", "bob's").await;
        assert!(!gets_through(bob).await, "bob is unknown");
        let add = |user: &Value, tag: &str| {
            json!({"tag": tag, "operation": {
                "@type": "app.proxyman.command.AddUserOperation", "user": user,
            }})
        };
        let bobs = user("bob's", "bob@example.com");
        assert_eq!(panel.call(ALTER, add(&bobs, "shadow")), json!({}));
        assert!(gets_through(bob).await);
        traffic::datagrams(bob, &[100]).await;
        let mut remove = remove_user("bob@example.com");
        remove["tag"] = "shadow".into();
        assert_eq!(panel.call(ALTER, remove), json!({}));
        assert!(!gets_through(bob).await, "bob is gone");
        assert!(gets_through(ann).await, "ann is not");
        // Xray has other numbers for the same ciphers.
        let mut bobs = bobs;
        bobs["account"]["cipherType"] = "XRAY_AES_128_GCM".into();
        let answers = panel.ask(&["--xray"], &[(ALTER, add(&bobs, "shadow"))]);
        assert_eq!(answers, [json!({})]);
        assert!(gets_through(bob).await);
    }
}

/// Those with keys of 2022, as Xray's panels write them.
#[tokio::test]
async fn users_of_shadowsocks_2022_come_and_go() {
    const KEYS: [&str; 2] = ["AAECAwQFBgcICQoLDA0ODw==", "bCPY1dHSOODxnklfEDPYLA=="];
    let (mut stage, port, api) = (Stage::new(), free_port(), free_port());
    let server = json!({
        "api": {"tag": "api", "services": ["HandlerService"]},
        "inbounds": [
            {"tag": "in", "listen": "127.0.0.1", "port": port, "protocol": "shadowsocks",
                "settings": {"method": "2022-blake3-aes-128-gcm", "password": KEYS[0],
                    "network": "tcp,udp", "clients": []}},
            {"tag": "api", "listen": "127.0.0.1", "port": api, "protocol": "dokodemo-door",
                "settings": {"address": "127.0.0.1"}},
        ],
        "outbounds": [{"protocol": "freedom"}],
        "routing": {"rules": [
            {"type": "field", "inboundTag": ["api"], "outboundTag": "api"},
        ]},
    });
    stage.run(Mobula, "server", &server, &[port, api]).await;
    let socks = free_port();
    let client = json!({
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks",
            "settings": {"udp": true, "ip": "127.0.0.1"}}],
        "outbounds": [{"protocol": "shadowsocks", "settings": {"servers": [
            {"address": "127.0.0.1", "port": port, "method": "2022-blake3-aes-128-gcm",
                "password": format!("{}:{}", KEYS[0], KEYS[1])},
        ]}}],
    });
    stage.run(Mobula, "client", &client, &[socks]).await;
    assert!(!gets_through(socks).await, "nobody is known");
    let told = |args: &[&str]| {
        let at = format!("127.0.0.1:{api}");
        let output = mobula().args(["api", "-s", &at]).args(args).output();
        let output = output.expect("mobula runs");
        assert!(output.status.success(), "{output:?}");
    };
    let email = ["--tag", "in", "--email", "ann@example.com"];
    let key = ["--protocol", "shadowsocks2022", "--password", KEYS[1]];
    told(&[&["adduser"], &email[..], &key].concat());
    assert!(gets_through(socks).await);
    traffic::datagrams(socks, &[100]).await;
    told(&[&["rmuser"], &email[..]].concat());
    assert!(!gets_through(socks).await, "ann is gone");
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
        assert_eq!(panel.mobula(&["restartlogger"]), ok(""));
        assert_eq!(panel.mobula(&["rmi", "vmess"]), ok(""));
        assert!(!listening(panel.vmess));
        let (worked, text) = panel.mobula(&["statssys"]);
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
        if panel.stage.read("watch.log").contains("ann@example.com") {
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
        if panel.stage.read("follow.log").contains(" accepted tcp:") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no line came");
}

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
