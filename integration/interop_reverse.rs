//! Reverse tunnels with V2Ray at either end: people come to the portal, what they ask for stands at the bridge.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use crate::configs::Vmess;
use crate::peers::Peer::{self, Mobula, V2ray434, V2ray445};
use crate::peers::{Stage, connections, free_port};
use crate::scenario_recipes::{shown, with};
use crate::traffic::{self, LIMIT, To};

const DOMAIN: &str = "portal.mobula.test";

/// Portal and bridge.
const PAIRS: [(Peer, Peer); 5] = [
    (Mobula, Mobula),
    (Mobula, V2ray445),
    (V2ray445, Mobula),
    (Mobula, V2ray434),
    (V2ray434, Mobula),
];

/// Both ends, and what each is told.
struct Reverse {
    stage: Stage,
    portal: Peer,
    bridge: Peer,
    vmess: Vmess,
    /// Where people come.
    socks: u16,
    /// Where the bridge comes.
    port: u16,
}

impl Reverse {
    fn new(portal: Peer, bridge: Peer, vmess: Vmess) -> Self {
        println!("portal {portal:?}, bridge {bridge:?}, {vmess:?}");
        Self {
            stage: Stage::new(),
            portal,
            bridge,
            vmess,
            socks: free_port(),
            port: free_port(),
        }
    }

    async fn start(portal: Peer, bridge: Peer, vmess: Vmess) -> Self {
        let mut reverse = Self::new(portal, bridge, vmess);
        reverse.run_portal().await;
        reverse.run_bridge().await;
        carries(reverse.socks).await;
        reverse
    }

    fn portal_config(&self) -> Value {
        let mut config = self.vmess.server(self.portal, self.port);
        config["reverse"] = json!({"portals": [{"tag": "portal", "domain": DOMAIN}]});
        config["inbounds"][0]["tag"] = json!("bridges");
        let people = json!({
            "tag": "people", "listen": "127.0.0.1", "port": self.socks, "protocol": "socks",
            "settings": {"auth": "noauth", "udp": true, "ip": "127.0.0.1"},
        });
        let inbounds = config["inbounds"].as_array_mut().expect("a list");
        inbounds.push(people);
        config["outbounds"] = json!([{"tag": "direct", "protocol": "freedom"}]);
        config["routing"] = json!({"rules": [
            {"type": "field", "inboundTag": ["bridges"], "domain": [format!("full:{DOMAIN}")], "outboundTag": "portal"},
            {"type": "field", "inboundTag": ["people"], "outboundTag": "portal"},
        ]});
        config
    }

    fn bridge_config(&self) -> Value {
        let mut config = self.vmess.client(self.bridge, 1, self.port);
        config["reverse"] = json!({"bridges": [{"tag": "bridge", "domain": DOMAIN}]});
        config["inbounds"] = json!([]);
        config["dns"] = json!({"hosts": {"inside.mobula.test": "127.0.0.1"}});
        let mut tunnel = config["outbounds"][0].clone();
        tunnel["tag"] = json!("tunnel");
        config["outbounds"] = json!([
            {"tag": "inside", "protocol": "freedom", "settings": {"domainStrategy": "UseIP"}},
            tunnel,
        ]);
        config["routing"] = json!({"rules": [
            {"type": "field", "inboundTag": ["bridge"], "domain": [format!("full:{DOMAIN}")], "outboundTag": "tunnel"},
            {"type": "field", "inboundTag": ["bridge"], "outboundTag": "inside"},
        ]});
        config
    }

    async fn run_portal(&mut self) -> usize {
        let (config, ports) = (self.portal_config(), [self.port, self.socks]);
        self.stage.run(self.portal, "portal", &config, &ports).await
    }

    async fn run_bridge(&mut self) -> usize {
        let config = self.bridge_config();
        self.stage.run(self.bridge, "bridge", &config, &[]).await
    }

    /// Waits until a child has at most `most` files open.
    async fn has_open(&mut self, index: usize, most: usize) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let now = self.stage.child(index).open_files();
            if now <= most {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{now} files are open, {most} before"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn kill(&mut self, index: usize) {
        let child = self.stage.child(index);
        child.signal("KILL");
        child.ended(LIMIT).await;
    }
}

/// Waits until a session goes through.
async fn carries(socks: u16) {
    carries_to(socks, &To::Ip(traffic::echo().await)).await;
}

async fn carries_to(socks: u16, to: &To) {
    let deadline = Instant::now() + 3 * LIMIT;
    loop {
        let talk = async {
            let mut stream = traffic::connect(socks, to).await?;
            stream.write_all(b"a word").await?;
            let mut back = [0; 6];
            stream.read_exact(&mut back).await?;
            Ok::<_, std::io::Error>(back)
        };
        match timeout(Duration::from_secs(5), talk).await {
            Ok(Ok(back)) => return assert_eq!(&back, b"a word"),
            other => assert!(Instant::now() < deadline, "nothing is carried: {other:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn streams_and_datagrams_come_out_of_the_bridge() {
    for (portal, bridge) in PAIRS {
        let reverse = Reverse::start(portal, bridge, Vmess::ws()).await;
        let socks = reverse.socks;
        traffic::server_speaks_first(socks).await;
        traffic::both_ways(socks, crate::tunnel::EIGHT_MIB).await;
        traffic::target_sends_and_closes(socks).await;
        traffic::datagrams(socks, &[1, 60, 512, 1200, 1400]).await;
        let port = traffic::echo().await.port();
        traffic::word(socks, &To::Name("inside.mobula.test", port)).await;
    }
}

#[tokio::test]
async fn any_protocol_brings_bridges() {
    for (portal, bridge) in [(Mobula, V2ray445), (V2ray445, Mobula), (Mobula, Mobula)] {
        let mut kinds = vec![
            Vmess::tcp(),
            Vmess::ws().vless(),
            Vmess::ws_with(json!({"mux": {"enabled": true}})),
        ];
        // V2Ray's client of Trojan asks for nothing before it has something to say, and a bridge has not.
        if bridge == Mobula {
            kinds.push(Vmess::tcp().trojan());
        }
        for vmess in kinds {
            let reverse = Reverse::start(portal, bridge, vmess).await;
            traffic::server_speaks_first(reverse.socks).await;
            traffic::both_ways(reverse.socks, 1024 * 1024).await;
            traffic::datagrams(reverse.socks, &[1200]).await;
        }
    }
}

/// More than 16 sessions on average bring more connections, and each is let go after 256.
#[tokio::test]
async fn many_sessions_have_more_connections_and_none_is_lost() {
    for (portal, bridge) in PAIRS {
        let reverse = Reverse::start(portal, bridge, Vmess::ws()).await;
        for _ in 0..3 {
            traffic::many(reverse.socks, 120).await;
        }
        let deadline = Instant::now() + LIMIT;
        while connections(reverse.port) < 2 {
            assert!(Instant::now() < deadline, "one connection for all");
            let together = traffic::many(reverse.socks, 60);
            timeout(LIMIT, together).await.expect("all in time");
        }
        traffic::both_ways(reverse.socks, 1024 * 1024).await;
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself_between_two_mobulas() {
    let reverse = Reverse::start(Mobula, Mobula, Vmess::ws()).await;
    traffic::application_ends_first(reverse.socks).await;
    traffic::target_ends_first(reverse.socks, Duration::ZERO).await;
}

/// A session that nobody reads takes a bounded amount, and the others go on.
#[tokio::test]
async fn an_unread_session_holds_up_no_other() {
    for (portal, bridge) in [(Mobula, Mobula), (Mobula, V2ray445), (V2ray445, Mobula)] {
        let reverse = Reverse::start(portal, bridge, Vmess::ws()).await;
        let listener = crate::peers::listen();
        let at = To::Ip(listener.local_addr().expect("an address"));
        let mut near = traffic::connect(reverse.socks, &at).await.expect("SOCKS");
        near.write_all(b"x").await.expect("our way is open");
        let (mut far, _) = listener.accept().await.expect("a session");
        let data = traffic::bytes(3 * 1024 * 1024);
        let sent = data.clone();
        let sending = tokio::spawn(async move {
            far.write_all(&sent).await.expect("the way is open");
            far
        });
        sleep(Duration::from_millis(300)).await;
        traffic::both_ways(reverse.socks, 4 * 1024 * 1024).await;
        let mut got = vec![0; data.len()];
        let read = timeout(LIMIT, near.read_exact(&mut got)).await;
        read.expect("all in time").expect("all arrives");
        assert!(got == data, "it arrived changed");
        sending.await.expect("it is sent");
    }
}

#[tokio::test]
async fn either_end_may_be_killed_and_comes_back() {
    for (portal, bridge) in PAIRS {
        let mut reverse = Reverse::new(portal, bridge, Vmess::ws());
        // Nobody is there yet: the bridge tries again.
        let mut running = reverse.run_bridge().await;
        if bridge == Mobula {
            let said = [
                "bridge `bridge` is not connected",
                "tunnel",
                "[tcp-refused]",
            ];
            reverse.stage.until_line_has("bridge.log", &said).await;
        }
        let mut waiting = reverse.run_portal().await;
        carries(reverse.socks).await;
        let open = reverse.stage.child(waiting).open_files();
        // V2Ray's portal goes on with a bridge that has gone until it looks again, every 30 s.
        let times = if portal == Mobula { 3 } else { 1 };
        for _ in 0..times {
            reverse.kill(running).await;
            running = reverse.run_bridge().await;
            carries(reverse.socks).await;
        }
        if portal == Mobula {
            reverse.has_open(waiting, open + 2).await;
        }
        let open = reverse.stage.child(running).open_files();
        for _ in 0..2 {
            reverse.kill(waiting).await;
            waiting = reverse.run_portal().await;
            carries(reverse.socks).await;
        }
        if bridge == Mobula {
            reverse.has_open(running, open + 2).await;
        }
    }
}

#[tokio::test]
async fn without_a_bridge_nothing_leaves_and_the_log_says_why() {
    let mut reverse = Reverse::new(Mobula, Mobula, Vmess::ws());
    reverse.run_portal().await;
    let target = traffic::says("reached").await;
    assert_eq!(traffic::line(reverse.socks, &To::Ip(target)).await, "");
    let refused = [
        "portal",
        "no bridge of portal `portal` is connected",
        "[no-bridge]",
    ];
    reverse.stage.until_line_has("portal.log", &refused).await;
    let running = reverse.run_bridge().await;
    let connected = "bridge `bridge` is connected to the portal of portal.mobula.test";
    reverse.stage.until_file_has("bridge.log", connected).await;
    let connected = "portal `portal`: a bridge is connected";
    reverse.stage.until_file_has("portal.log", connected).await;
    assert_eq!(
        traffic::line(reverse.socks, &To::Ip(target)).await,
        "reached"
    );
    reverse.kill(running).await;
    let gone = "portal `portal`: no bridge is connected any more";
    reverse.stage.until_file_has("portal.log", gone).await;
    assert_eq!(traffic::line(reverse.socks, &To::Ip(target)).await, "");
}

#[tokio::test]
async fn a_target_that_is_down_is_told_at_the_bridge() {
    for portal in [Mobula, V2ray445] {
        let reverse = Reverse::start(portal, Mobula, Vmess::ws()).await;
        let to = SocketAddr::from(([127, 0, 0, 1], free_port()));
        assert_eq!(traffic::line(reverse.socks, &To::Ip(to)).await, "");
        let said = ["inside", &to.to_string(), "[tcp-refused]"];
        reverse.stage.until_line_has("bridge.log", &said).await;
        traffic::word(reverse.socks, &To::Ip(traffic::echo().await)).await;
    }
}

/// What rules say decides what goes in: the rest leaves from the portal.
#[tokio::test]
async fn rules_choose_what_goes_through_the_bridge() {
    for (portal, bridge) in [(Mobula, V2ray445), (V2ray445, Mobula), (Mobula, Mobula)] {
        let mut reverse = Reverse::new(portal, bridge, Vmess::ws());
        let mut config = reverse.portal_config();
        config["routing"]["rules"][1]["domain"] = json!(["domain:mobula.test"]);
        let ports = [reverse.port, reverse.socks];
        reverse.stage.run(portal, "portal", &config, &ports).await;
        let echo = traffic::echo().await;
        // Without a bridge.
        traffic::word(reverse.socks, &To::Name("localhost", echo.port())).await;
        reverse.run_bridge().await;
        carries_to(reverse.socks, &To::Name("inside.mobula.test", echo.port())).await;
        traffic::word(reverse.socks, &To::Name("localhost", echo.port())).await;
    }
}

/// A rule that is missing at either end is what people meet first.
#[tokio::test]
async fn a_rule_that_is_missing_is_told() {
    let mut reverse = Reverse::new(Mobula, Mobula, Vmess::ws());
    let mut config = reverse.bridge_config();
    config["routing"]["rules"][0]["inboundTag"] = json!(["other"]);
    let astray = reverse.stage.run(Mobula, "bridge", &config, &[]).await;
    let said = [
        "bridge `bridge` is not connected",
        "inside",
        "[bridge-astray]",
    ];
    reverse.stage.until_line_has("bridge.log", &said).await;
    reverse.kill(astray).await;
    let mut config = reverse.portal_config();
    config["routing"]["rules"][0]["inboundTag"] = json!(["other"]);
    config["dns"] = json!({"hosts": {DOMAIN: "127.0.0.1"}});
    config["outbounds"][0]["settings"] = json!({"domainStrategy": "UseIP"});
    let ports = [reverse.port, reverse.socks];
    reverse.stage.run(Mobula, "portal", &config, &ports).await;
    reverse.run_bridge().await;
    let said = ["bridge `bridge` is not connected", "[portal-unanswered]"];
    reverse.stage.until_line_has("bridge.log", &said).await;
}

/// The two configs of the document, with a target of the test's.
#[tokio::test]
async fn the_documents_portal_and_bridge_work_together() {
    let all = shown("config.md", "json");
    let found = |word: &str| {
        let found = all.iter().find(|text| text.contains(word));
        found
            .unwrap_or_else(|| panic!("no block has {word}"))
            .clone()
    };
    let (portal, bridge) = (found("\"portals\": ["), found("\"bridges\": ["));
    for (portal_peer, bridge_peer) in [(Mobula, Mobula), (V2ray445, Mobula), (Mobula, V2ray445)] {
        let (port, people, target) = (free_port(), free_port(), traffic::echo().await);
        let portal = with(
            &portal,
            &[
                ("10000", &port.to_string()),
                ("8080", &people.to_string()),
                ("\"port\": 80,", &format!("\"port\": {},", target.port())),
            ],
        );
        let bridge = with(
            &bridge,
            &[
                ("server.example.com", "127.0.0.1"),
                ("443", &port.to_string()),
                ("\"tls\"", "\"none\""),
            ],
        );
        let config = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let mut stage = Stage::new();
        let ports = [port, people];
        stage
            .run(portal_peer, "portal", &config(&portal), &ports)
            .await;
        stage
            .run(bridge_peer, "bridge", &config(&bridge), &[])
            .await;
        let deadline = Instant::now() + 2 * LIMIT;
        loop {
            let talk = async {
                let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", people)).await?;
                stream.write_all(b"a word").await?;
                stream.read_exact(&mut [0; 6]).await
            };
            if matches!(timeout(Duration::from_secs(5), talk).await, Ok(Ok(_))) {
                break;
            }
            assert!(Instant::now() < deadline, "nothing is carried");
            sleep(Duration::from_millis(100)).await;
        }
    }
}
