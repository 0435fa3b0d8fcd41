//! A panel drives mobula in Xray's place, with Xray's own messages.

use serde_json::{Value, json};

use crate::configs::Vmess;
use crate::panel::{ANN, BOB, Panel, gets_through};
use crate::peers::Peer::{Mobula, V2ray445};
use crate::peers::free_port;

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
