//! Inbounds and users of each protocol come and go by the API.

use serde_json::{Value, json};

use crate::configs::Vmess;
use crate::panel::{ALTER, ANN, BOB, Panel, gets_through, remove_user};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::{Stage, free_port, mobula};
use crate::traffic::{self};

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
