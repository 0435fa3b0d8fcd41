//! What comes back from every form, and what is said of what does not.

mod asked;
mod conditions;
mod lists;
mod names;

use serde_json::{Value, json};

use super::*;
use crate::protocol::OutboundSettings;
use crate::protocol::vmess::Security;
use crate::transport::ClientCarrier;

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

fn read_text(text: &str) -> Read {
    let read = read(text, "x", Outside::NOTHING);
    read.unwrap_or_else(|e| panic!("{e:#?}\n{text}"))
}

fn published(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/convert")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

fn loaded(text: &str) -> Config {
    let input = Input::Text {
        name: "c.json".to_owned(),
        text: text.to_owned(),
    };
    let loaded = v2ray::load(&[input], v2ray::Options::default());
    assert_eq!(loaded.errors, [], "{text}");
    loaded.config.unwrap()
}

#[test]
fn a_form_is_known_by_what_stands_in_it() {
    for (text, form) in [
        (r#"{"outbounds": [{"protocol": "freedom"}]}"#, Form::V2ray),
        (
            r#"// x
            {"outbounds": [{"type": "direct"}]}"#,
            Form::SingBox,
        ),
        (
            r#"{"version": 1, "servers": [{"server": "a", "server_port": 1, "method": "x"}]}"#,
            Form::Shadowsocks,
        ),
        (
            r#"{"server": "a", "server_port": 1, "method": "x"}"#,
            Form::Shadowsocks,
        ),
        ("port: 1\nproxies:\n  - {name: a}\n", Form::Clash),
        ("# vmess://x\nproxies: [{name: a}]\n", Form::Clash),
        ("\u{feff}ss://x\n", Form::Links),
        ("STATUS=x\nhysteria2://x\n", Form::Links),
        ("trojan-go://p@a.example:443?type=ws#a\n", Form::Links),
        ("log:\n  loglevel: info\n", Form::V2ray),
        ("nonsense", Form::V2ray),
        ("", Form::V2ray),
    ] {
        assert_eq!(recognise(text).0, form, "{text}");
    }
    let (form, inner) = recognise("cHJveGllczpbXQo=");
    assert_eq!((form, &*inner), (Form::Clash, "proxies:[]\n"));
}

/// What a config's outbound becomes on the way through other forms.
fn outbounds() -> Vec<Value> {
    let vmess = |stream: Value| {
        json!({"protocol": "vmess", "streamSettings": stream,
            "settings": {"vnext": [{"address": "a.example", "port": 443, "users": [{"id": ID, "security": "auto"}]}]}})
    };
    let tls = |mut stream: Value| {
        stream["security"] = "tls".into();
        stream["tlsSettings"] = json!({"serverName": "tls.example"});
        stream
    };
    let server = |own: Value| {
        let mut server = json!({"address": "2001:db8::1", "port": 8388});
        server
            .as_object_mut()
            .unwrap()
            .extend(own.as_object().unwrap().clone());
        json!({"servers": [server]})
    };
    let mut mux = vmess(tls(json!({"network": "tcp"})));
    mux["mux"] = json!({"enabled": true, "concurrency": -1, "packetEncoding": "packetaddr"});
    let mut options = vmess(json!({"network": "tcp"}));
    options["streamSettings"]["sockopt"] =
        json!({"mark": 255, "bindToDevice": "eth0", "tcpFastOpen": true, "mptcp": true});
    let mut insecure = vmess(tls(json!({"network": "tcp"})));
    insecure["streamSettings"]["tlsSettings"]["allowInsecure"] = true.into();
    insecure["streamSettings"]["tlsSettings"]["alpn"] = json!(["h2"]);
    vec![
        vmess(json!({"network": "tcp"})),
        mux,
        options,
        insecure,
        vmess(tls(
            json!({"network": "ws", "wsSettings": {"path": "/ray%3Fx=y", "headers": {"Host": "h.example", "X-A": "1"},
            "maxEarlyData": 2048, "earlyDataHeaderName": "Sec-WebSocket-Protocol"}}),
        )),
        vmess(json!({"network": "ws", "wsSettings": {"path": "/ray", "maxEarlyData": 7}})),
        vmess(tls(
            json!({"network": "httpupgrade", "httpupgradeSettings": {"path": "/up?x=%41", "host": "h.example", "headers": {"X-A": "1"}}}),
        )),
        vmess(tls(
            json!({"network": "grpc", "grpcSettings": {"serviceName": "a.service"}}),
        )),
        vmess(tls(
            json!({"network": "http", "httpSettings": {"host": ["a.example", "b.example"], "path": "/h2"}}),
        )),
        json!({"protocol": "vless", "streamSettings": tls(json!({"network": "tcp"})),
            "settings": {"vnext": [{"address": "192.0.2.1", "port": 443, "users": [{"id": ID, "encryption": "none"}]}]}}),
        json!({"protocol": "trojan", "streamSettings": tls(json!({"network": "ws", "wsSettings": {"path": "/t"}})),
            "settings": server(json!({"password": "0123: #\"ü"}))}),
        json!({"protocol": "shadowsocks", "settings": server(json!({"method": "chacha20-poly1305", "password": "yes"}))}),
        json!({"protocol": "shadowsocks", "settings": server(json!({"method": "2022-blake3-aes-128-gcm", "password": "bCPY1dHSOODxnklfEDPYLA=="}))}),
        json!({"protocol": "socks", "settings": server(json!({"users": [{"user": "ann", "pass": "1e3"}]}))}),
        json!({"protocol": "http", "settings": server(json!({})), "streamSettings": tls(json!({"network": "tcp"}))}),
    ]
}

fn config_of(mut outbounds: Vec<Value>) -> String {
    for (n, outbound) in outbounds.iter_mut().enumerate() {
        outbound["tag"] = format!("out: {n}").into();
    }
    let last = outbounds.len() - 1;
    outbounds[0]["proxySettings"] = json!({"tag": format!("out: {last}")});
    json!({
        "log": {"loglevel": "error"},
        "inbounds": [
            {"listen": "127.0.0.1", "port": 1080, "protocol": "socks", "tag": "mixed",
             "settings": {"udp": true, "auth": "password", "accounts": [{"user": "ann", "pass": "se:same"}]}},
            {"listen": "::1", "port": 1081, "protocol": "http", "tag": "http"},
        ],
        "outbounds": outbounds,
    })
    .to_string()
}

#[test]
fn a_config_comes_back_from_every_form_as_it_was() {
    let text = config_of(outbounds());
    let was = loaded(&text);
    let first = read_text(&text);
    for target in [Target::Config, Target::SingBox, Target::Clash] {
        let there = write(&first, &text, target).unwrap();
        assert_eq!(there.left_out, [""; 0], "{target:?}");
        let again = read_text(&there.text);
        assert_eq!(again.left_out_lines(), [""; 0], "{}", there.text);
        let back = write(&again, &there.text, Target::Config).unwrap();
        assert_eq!(back.left_out, [""; 0], "{}", back.text);
        let is = loaded(&back.text);
        assert_eq!(is.outbounds.len(), was.outbounds.len());
        for (is, was) in is.outbounds.iter().zip(&was.outbounds) {
            let mut is = is.clone();
            // The name of the request is that of TLS, said in two places.
            if let (Some(tls), Some(other)) = (&mut is.transport.security, &was.transport.security)
                && other.server_name.is_none()
            {
                tls.server_name = None;
            }
            // What we ask for without being told is told to others.
            if let (ClientCarrier::Ws(ws), ClientCarrier::Ws(other)) =
                (&mut is.transport.carrier, &was.transport.carrier)
                && other.host.is_none()
                && ws.host.as_ref().is_some_and(|host| host == "tls.example")
            {
                ws.host = None;
            }
            // `auto` would be no cipher at all there, which Xray's servers refuse.
            if let OutboundSettings::Vmess(vmess) = &mut is.protocol
                && (target, was.transport.security.is_some()) == (Target::SingBox, true)
            {
                let account = &mut vmess.servers[0].accounts[0];
                assert_eq!(account.security, Security::Aes128Gcm);
                account.security = Security::Auto;
            }
            assert_eq!(is, *was, "{target:?}\n{}", there.text);
        }
        assert_eq!(
            (is.inbounds, is.log),
            (was.inbounds.clone(), was.log.clone()),
            "{}",
            there.text
        );
    }
}

#[test]
fn what_mihomo_s_documentation_has_is_read() {
    let read = read_text(&published("mihomo.yaml"));
    let tags: Vec<_> = read
        .config
        .outbounds
        .iter()
        .filter_map(|o| o.tag.as_deref())
        .collect();
    assert_eq!(
        tags,
        [
            "vmess ws",
            "vmess h2",
            "vmess http",
            "vless grpc",
            "vless httpupgrade",
            "trojan",
            "ss",
            "ss 2022",
            "ss plugin",
            "socks",
            "web",
            "direct"
        ]
    );
    let OutboundSettings::Trojan(trojan) = &read.config.outbounds[5].protocol else {
        panic!("expected trojan");
    };
    assert_eq!(*trojan.servers[0].accounts[0].password, "0123");
    let ClientCarrier::Ws(ws) = &read.config.outbounds[0].transport.carrier else {
        panic!("expected ws");
    };
    assert!(ws.early_data.is_some() && ws.host.is_some());
    assert_eq!(read.config.inbounds[0].ports, [7890.into()]);
    let lines = read.left_out_lines().join("\n");
    for part in [
        "proxies[11].flow: this flow is not built",
        "proxies[12].type: `hysteria2` is not built",
        "proxy-groups[1]: `url-test`: nothing leads to `auto` here, which is left out",
        "rules[2]: 1 rule of kind `RULE-SET`, beginning here: not carried over",
        "external-controller",
    ] {
        assert!(lines.contains(part), "{part}\n{lines}");
    }
    assert!(!lines.contains(ID) && !lines.contains("sesame"), "{lines}");
}

#[test]
fn whose_handshake_is_imitated_is_carried_over() {
    let tls = json!({"serverName": "s.example", "fingerprint": "firefox"});
    let text = json!({"outbounds": [{"protocol": "trojan", "tag": "a",
        "settings": {"servers": [{"address": "a.example", "port": 443, "password": "p"}]},
        "streamSettings": {"security": "tls", "tlsSettings": tls}}]})
    .to_string();
    let mut read = read_text(&text);
    for target in [Target::Clash, Target::Links, Target::Config] {
        let written = write(&read, &text, target).unwrap();
        assert_eq!(written.left_out, [""; 0], "{target:?}");
        assert!(
            written.text.contains("firefox"),
            "{target:?}: {}",
            written.text
        );
        read = read_text(&written.text);
        let tls = read.config.outbounds[0]
            .transport
            .security
            .as_ref()
            .unwrap();
        assert_eq!(tls.fingerprint.as_deref(), Some("firefox"), "{target:?}");
        assert_eq!(read.left_out_lines(), [""; 0], "{target:?}");
    }
    let sing_box = write(&read, &text, Target::SingBox)
        .unwrap()
        .left_out
        .join("\n");
    assert!(sing_box.contains("tlsSettings.fingerprint"), "{sing_box}");
    // What does nothing here is told where it gets lost.
    let text = text.replace(
        r#""fingerprint":"firefox""#,
        r#""cipherSuites":"TLS_AES_128_GCM_SHA256""#,
    );
    let read = read_text(&text);
    let told = |target| write(&read, &text, target).unwrap().left_out.join("\n");
    assert!(told(Target::Clash).contains("cipherSuites"));
    assert!(!told(Target::Config).contains("cipherSuites"));
}

#[test]
fn what_sing_box_s_documentation_has_is_read() {
    let read = read_text(&published("sing-box.json"));
    let tags: Vec<_> = read
        .config
        .outbounds
        .iter()
        .filter_map(|o| o.tag.as_deref())
        .collect();
    // The one that its groups choose is the first.
    assert_eq!(
        tags,
        [
            "vmess-ws",
            "direct",
            "vless-raw",
            "trojan-grpc",
            "vmess-h2",
            "vless-up",
            "ss-out",
            "ss-plugin",
            "socks-out",
            "http-out",
            "dns-out"
        ]
    );
    assert_eq!(
        read.config.outbounds[3].through.as_ref().map(|t| &*t.tag),
        Some("socks-out")
    );
    let ports: Vec<_> = read
        .config
        .inbounds
        .iter()
        .map(|inbound| inbound.ports[0].from)
        .collect();
    assert_eq!(ports, [2080, 2081]);
    let lines = read.left_out_lines().join("\n");
    for part in [
        "x: inbounds[0]: inbounds of type `tun` are not carried over",
        "x: outbounds[12].flow: this flow is not built",
        "x: outbounds[13].type: outbounds of type `hysteria2` are not built",
        "x: outbounds[4].multiplex: sing-box's own multiplexing is not built",
    ] {
        assert!(lines.contains(part), "{part}\n{lines}");
    }
    assert!(!lines.contains(ID) && !lines.contains("sesame"), "{lines}");
}

#[test]
fn subscriptions_are_read_whatever_is_around_them() {
    let read = read_text(&published("subscription.txt")).with_inbounds(PORTS);
    assert_eq!(read.form, Form::Links);
    let tags: Vec<_> = read
        .config
        .outbounds
        .iter()
        .filter_map(|o| o.tag.as_deref())
        .collect();
    assert_eq!(tags, ["one", "one 2"]);
    assert_eq!(
        read.left_out_lines().len(),
        2,
        "{:?}",
        read.left_out_lines()
    );
    assert!(read.left_out_lines()[0].starts_with("x: link 2: "));
    assert_eq!(read.config.inbounds.len(), 2);
    let read = read_text(&published("sip008.json"));
    assert_eq!(
        (read.config.outbounds.len(), read.left_out_lines()),
        (2, Vec::new())
    );
}

#[test]
fn mistakes_name_their_place_and_what_is_expected() {
    for (text, expected) in [
        (
            "proxies:\n- {name: a, type: vmess, server: b, port: x, uuid: q}\n",
            "x:2:43: proxies[0].port: a text or a number is here that cannot be used, expected a number",
        ),
        (
            "proxies:\n- {name: a, type: vless, server: b, port: 1, uuid: b831381d-6324-4d53-ad4f-8cda48b3081}\n",
            "proxies[0].uuid: it is not a UUID",
        ),
        (
            "proxies:\n- 5\n",
            "x:2:3: proxies[0]: a text or a number is here that cannot be used, expected a map",
        ),
        (
            "proxies:\n- {name: a, type: ss, server: b, port: 1, cipher: rc4, password: secret}\n",
            "proxies[0].cipher: it is none of",
        ),
        ("proxies: [\n", "x:"),
        (
            r#"{"outbounds": [{"type": "vmess", "server_port": 0}]}"#,
            "x: outbounds[0].server: it is missing",
        ),
        (
            r#"{"outbounds": [{"type": "trojan", "server": "a", "server_port": 1, "password": "p", "transport": {"type": "quic"}}]}"#,
            "x: outbounds[0].transport.type: `quic` is not built, expected",
        ),
        (
            r#"{"outbounds": [{"type": "direct"}]}"#,
            "x: this is a config of sing-box, and there is no server in it that could be used; what is for a server is not taken in this form",
        ),
        (
            "hy2://x\n",
            "x: this is a list of links, and there is no server in it that could be used",
        ),
    ] {
        let lines: Vec<String> = match read(text, "x", Outside::NOTHING) {
            Ok(read) => panic!("{text}: {read:?}"),
            Err(messages) => messages.iter().map(ToString::to_string).collect(),
        };
        let lines = lines.join("\n");
        assert!(lines.contains(expected), "{expected}\n{lines}");
        assert!(!lines.contains("secret"), "{lines}");
    }
}

#[test]
fn what_would_let_others_read_is_not_written() {
    let pin = "ab".repeat(32);
    let outbound = |tls: Value| {
        json!({"protocol": "trojan", "settings": {"servers": [{"address": "a.example", "port": 443, "password": "p"}]},
            "streamSettings": {"network": "tcp", "security": "tls", "tlsSettings": tls}})
    };
    let pinned = outbound(json!({"allowInsecure": true, "pinnedPeerCertSha256": pin}));
    let good = outbound(json!({}));
    let text = config_of(vec![pinned, good]);
    let first = read_text(&text);
    let written = write(&first, &text, Target::SingBox).unwrap();
    assert!(!written.text.contains("insecure"), "{}", written.text);
    assert!(
        written.left_out[0].contains("outbounds[0].streamSettings.tlsSettings.allowInsecure: "),
        "{:?}",
        written.left_out
    );
    assert!(written.left_out[0].ends_with("it is left out"));
    // Clash has a word for it.
    let written = write(&first, &text, Target::Clash).unwrap();
    assert!(written.text.contains(&pin), "{}", written.text);
}

#[test]
fn nothing_goes_past_the_servers_because_of_its_place() {
    let text = format!(
        "authentication: ['u:p']\nlisteners: [{{name: door, type: mixed, port: 7899}}]\n\
         tls: &tls {{tls: true, servername: a.example}}\nws: &ws {{network: ws, ws-opts: {{path: /ray}}}}\n\
         proxies:\n- {{name: straight, type: direct}}\n\
         - {{<<: [*tls, *ws], name: hk, type: vmess, server: a.example, port: 443, uuid: {ID}, alterId: 0, cipher: auto}}\n"
    );
    let read = read_text(&text);
    let first = &read.config.outbounds[0];
    assert_eq!(first.tag.as_deref(), Some("hk"));
    assert!(first.transport.security.is_some());
    assert!(matches!(first.transport.carrier, ClientCarrier::Ws(_)));
    let InboundSettings::Socks(door) = &read.config.inbounds[0].protocol else {
        panic!("{:?}", read.config.inbounds[0].protocol)
    };
    assert_eq!(door.accounts.as_ref().map(Vec::len), Some(1));

    // What cannot be carried over gives its place to a server.
    let outbounds = json!([
        {"protocol": "vmess", "tag": "lost", "settings": {"vnext": [{"address": "a.example", "port": 443, "users": [{"id": ID}]}]},
         "streamSettings": {"network": "mws"}},
        {"protocol": "freedom", "tag": "straight"},
        {"protocol": "vmess", "tag": "hk", "settings": {"vnext": [{"address": "a.example", "port": 443, "users": [{"id": ID}]}]},
         "streamSettings": {"network": "ws"}},
    ]);
    let read = read_text(&json!({"outbounds": outbounds}).to_string());
    for target in [Target::SingBox, Target::Clash] {
        let written = write(&read, "", target).unwrap();
        let again = read_text(&written.text);
        assert_eq!(
            again.config.outbounds[0].tag.as_deref(),
            Some("hk"),
            "{}",
            written.text
        );
    }
}

/// Who carries what, by the rules of a text and of what is written of it.
fn carried(text: &str) -> (Read, Vec<Value>) {
    let read = read_text(text);
    let written = write(&read, text, Target::Config).unwrap();
    let config = loaded(&written.text);
    assert_eq!(config.routing, read.config.routing, "{}", written.text);
    let written: Value = serde_json::from_str(&written.text).unwrap();
    let rules = written["routing"]["rules"].as_array().cloned();
    (read, rules.unwrap_or_default())
}

const HK: &str = "proxies:\n- {name: hk, type: trojan, server: a.example, port: 443, password: p}\n\
    - {name: jp, type: trojan, server: b.example, port: 443, password: p}\n\
    - {name: hy, type: hysteria2, server: c.example, port: 443, password: p}\n";

#[test]
fn rules_of_clash_go_where_they_went() {
    let text = format!(
        "{HK}proxy-groups:\n- {{name: PROXY, type: select, proxies: [hy, DIRECT, jp]}}\n\
         - {{name: last, type: select, proxies: [DIRECT, PROXY]}}\nrules:\n- IP-CIDR,192.168.0.0/16,DIRECT,no-resolve\n\
         - DOMAIN-SUFFIX,a.test,hk\n- DOMAIN,b.test,hk\n- DOMAIN-KEYWORD,ads,REJECT\n- DST-PORT,80/443,PROXY\n\
         - DOMAIN-REGEX,^r{{1,2}}\\.test$,hk\n- GEOIP,LAN,DIRECT\n- SRC-IP-CIDR,192.0.2.0/24,hk\n- NETWORK,UDP,REJECT\n- MATCH,last\n- DOMAIN,c.test,hk\n"
    );
    let (read, rules) = carried(&text);
    let field = |mut rule: Value, tag: &str| {
        rule["type"] = "field".into();
        rule["outboundTag"] = tag.into();
        rule
    };
    assert_eq!(
        rules,
        [
            // Rules for names stand in front, so that no name is resolved for an address that no-resolve keeps it from.
            field(json!({"domain": ["domain:a.test", "full:b.test"]}), "hk"),
            field(json!({"domain": ["keyword:ads"]}), "reject"),
            field(
                json!({"ip": ["192.168.0.0/16"], "noResolve": true}),
                "direct"
            ),
            field(json!({"port": "80,443"}), "jp"),
            field(json!({"domain": [r"regexp:^r{1,2}\.test$"]}), "hk"),
            field(json!({"ip": ["geoip:private"]}), "direct"),
            field(json!({"source": ["192.0.2.0/24"]}), "hk"),
            field(json!({"network": ["udp"]}), "reject"),
        ]
    );
    // What no rule takes goes straight there, for that is what stands first in its group.
    assert_eq!(read.config.outbounds[0].tag.as_deref(), Some("direct"));
    assert_eq!(read.astray_lines(), [""; 0]);
    assert!(
        read.left_out_lines()
            .iter()
            .any(|line| line.contains("`jp` takes the place of `PROXY`"))
    );
    // Where rules have no word, nothing may go straight there because of that.
    let written = write(&read, &text, Target::SingBox).unwrap();
    assert_eq!(
        read_text(&written.text).config.outbounds[0].tag.as_deref(),
        Some("hk")
    );
}

#[test]
fn what_a_file_of_clash_keeps_to_refer_to_is_told_in_one_line() {
    let told = |keys: &str| read_text(&format!("{HK}{keys}")).left_out_lines().len();
    let before = told("");
    assert_eq!(told("a: {x: 1}\nb: {x: 1}\n"), before + 2);
    assert_eq!(
        told("a: {x: 1}\nb: {x: 1}\nc: {x: 1}\nd: {x: 1}\ne: {x: 1}\n"),
        before + 1
    );
}

#[test]
fn what_sends_sessions_astray_is_told_apart() {
    let mihomo = |text: &str| format!("{HK}{text}\n");
    for (text, expected) in [
        (
            mihomo("rules: ['RULE-SET,x,DIRECT', 'RULE-SET,y,DIRECT', 'MATCH,hk']"),
            "2 rules of kind `RULE-SET`",
        ),
        (
            mihomo("rules: ['DOMAIN,x,hy', 'MATCH,hk']"),
            "1 rule to `hy`",
        ),
        (
            mihomo("rules: ['MATCH,hy']"),
            "what no rule takes goes by `hy`",
        ),
        (
            mihomo("rules: ['IP-CIDR,ext:x:y,hk', 'MATCH,hk']"),
            "is not an IP address",
        ),
        (mihomo("tun: {enable: true}"), "traffic is not caught"),
        (mihomo("tproxy-port: 1"), "such inbounds"),
        (mihomo("hosts: {a.test: b.test}"), "hosts"),
        (
            mihomo("listeners: [{name: x, type: vmess, port: 1}]"),
            "listeners of type `vmess`",
        ),
        (
            mihomo("lan-allowed-ips: [192.0.2.0/24]"),
            "whoever reaches the port",
        ),
        (
            sing_box(json!({"inbounds": [{"type": "tun"}]})),
            "inbounds of type `tun`",
        ),
        (
            sing_box(json!({"inbounds": [{"type": "vless", "listen_port": 1}]})),
            "inbounds of type `vless`",
        ),
        (
            sing_box(json!({"route": {"rules": [{"rule_set": ["x"], "outbound": "hk"}]}})),
            "`rule_set` is not carried over",
        ),
        (
            sing_box(
                json!({"route": {"rules": [{"domain": ["x"], "invert": true, "outbound": "hk"}]}}),
            ),
            "`invert` of a `domain` that must not hold is not carried over",
        ),
        (
            sing_box(json!({"route": {"final": "gone"}})),
            "everything goes by `gone`",
        ),
    ] {
        let read = read_text(&text);
        let lines = read.astray_lines().join("\n");
        assert!(
            lines.contains(expected),
            "{expected}: {lines}\n{:?}",
            read.left_out_lines()
        );
        assert!(
            read.astray_lines()
                .iter()
                .all(|line| read.left_out_lines().contains(line)),
            "{lines}"
        );
    }
    for text in [
        mihomo("mode: rule\nrules: ['MATCH,hk']\nhosts: {a.test: 192.0.2.1}\ndns: {enable: true}"),
        mihomo("proxy-groups: [{name: a, type: select, proxies: [hk]}]\nrules: ['MATCH,a']"),
        sing_box(
            json!({"dns": {"servers": [{"type": "local"}]}, "route": {"rules": [{"action": "sniff"}], "final": "hk"}}),
        ),
        "trojan://p@a.example:443#a\nhy2://p@b.example:443\n".to_owned(),
    ] {
        assert_eq!(read_text(&text).astray_lines(), [""; 0], "{text}");
    }
}

#[test]
fn rules_of_a_mode_count_where_it_is_the_one_that_a_config_begins_with() {
    let of = |mode: &str, invert: bool| {
        let (read, rules) = carried(&sing_box(json!({
            "experimental": {"clash_api": {"default_mode": mode}},
            "route": {"final": "direct", "rules": [{"clash_mode": "Global", "invert": invert, "port": 25, "outbound": "hk"}]},
        })));
        (rules.len(), read.astray_lines().len())
    };
    assert_eq!(of("global", false), (1, 0));
    assert_eq!(of("Direct", false), (0, 0));
    // One that is turned round takes what it would not take.
    assert_eq!(of("Direct", true), (1, 0));
}

fn sing_box(mut config: Value) -> String {
    config["outbounds"] = json!([
        {"type": "trojan", "tag": "hk", "server": "a.example", "server_port": 443, "password": "p"},
        {"type": "direct", "tag": "direct"},
    ]);
    config.to_string()
}

#[test]
fn rules_of_sing_box_go_where_they_went() {
    let (read, rules) = carried(&sing_box(json!({"route": {"final": "direct", "rules": [
        {"action": "sniff"},
        {"protocol": "dns", "action": "hijack-dns"},
        {"clash_mode": "Direct", "outbound": "direct"},
        {"network": ["icmp"], "outbound": "direct"},
        {"domain_suffix": [".a.test", "b.test"], "ip_cidr": "192.0.2.0/24", "port": 443, "port_range": ["1000:2000", ":9"], "outbound": "hk"},
        {"network": "udp", "inbound": ["in"], "action": "reject"},
        {"clash_mode": "rule", "port": 25, "outbound": "hk"},
        {"domain": [], "ip_is_private": false, "port": [26], "action": "reject", "method": "drop"},
        {"domain": [], "outbound": "hk"},
    ]}})));
    let field = |mut rule: Value, tag: &str| {
        rule["type"] = "field".into();
        rule["outboundTag"] = tag.into();
        rule
    };
    let ports = "443,1000-2000,0-9";
    assert_eq!(
        rules,
        [
            field(json!({"port": "53"}), "dns-out"),
            field(
                json!({"domain": ["regexp:\\.a\\.test$", "domain:b.test"], "port": ports}),
                "hk"
            ),
            field(json!({"ip": ["192.0.2.0/24"], "port": ports}), "hk"),
            field(json!({"network": ["udp"], "inboundTag": ["in"]}), "block"),
            field(json!({"port": "25"}), "hk"),
            field(json!({"port": "26"}), "block"),
            field(json!({"network": ["tcp,udp"]}), "hk"),
        ]
    );
    assert_eq!(read.config.outbounds[0].tag.as_deref(), Some("direct"));
    assert_eq!(read.astray_lines(), [""; 0]);
}

#[test]
fn rules_of_sing_box_that_are_lost_are_named() {
    let (read, rules) = carried(&sing_box(json!({"route": {"final": "direct", "rules": [
        {"protocol": "dns", "action": "hijack-dns"},
        {"action": "resolve", "strategy": "prefer_ipv4"},
        {"port": 53, "action": "route-options", "udp_timeout": "5m"},
        {"action": "route-options", "override_port": 5},
        {"rule_set": "a", "outbound": "hk"},
        {"rule_set": ["b", "c"], "outbound": "direct"},
        {"wifi_ssid": "x", "outbound": "hk"},
        {"type": "logical", "mode": "and", "rules": [], "outbound": "hk"},
        {"port": 25, "outbound": "hk"},
    ]}})));
    assert_eq!(rules.len(), 2);
    let lost = read.astray_lines().join("\n");
    for part in [
        "route.rules[3]: `override_port` is not carried over",
        "route.rules[4]: 2 rules beginning here: `rule_set` is not carried over",
        "route.rules[6]: `wifi_ssid` is not carried over",
        "route.rules[7]: `type: logical` is not carried over",
    ] {
        assert!(lost.contains(part), "{part}\n{lost}");
    }
    assert_eq!(read.astray_lines().len(), 4, "{lost}");
    let told = read.left_out_lines().join("\n");
    for action in [
        "rules[1]: what `resolve` says",
        "rules[2]: what `route-options` says",
    ] {
        assert!(told.contains(action), "{action}: {told}");
    }
}

#[test]
fn what_v2ray_itself_does_not_read_of_a_config_json_is_told() {
    let five = r#"{"inbounds": [], "outbounds": [{"protocol": "freedom"}], "router": {"rule": [{"networks": "udp", "tag": "a"}]}}"#;
    let written = write(&read_text(five), five, Target::Config).unwrap();
    assert_eq!(written.left_out, [""; 0]);
    assert!(written.text.contains("outboundTag"), "{}", written.text);
    let four = r#"{"inbounds": [], "outbounds": [{"protocol": "freedom"}], "routing": {}}"#;
    let written = write(&read_text(four), four, Target::Config).unwrap();
    assert_eq!(written.left_out, [""; 0]);
}

#[test]
fn sing_box_may_have_a_comma_behind_the_last_value() {
    let text = "{\"outbounds\": [{\"type\": \"trojan\", \"tag\": \"a,]\", \"server\": \"a.example\",\n\
        \"server_port\": 443, \"password\": \"p\\\",}\", }, // one\n ], }";
    let read = read_text(text);
    assert_eq!(read.form, Form::SingBox);
    assert_eq!(read.config.outbounds[0].tag.as_deref(), Some("a,]"));
    // V2Ray refuses them, and says where.
    let (form, _) = recognise("{\"outbounds\": [{\"protocol\": \"freedom\",}]}");
    assert_eq!(form, Form::V2ray);
}

#[test]
fn a_head_of_http_is_sing_box_s_http_without_tls() {
    let request = json!({"path": ["/a"], "method": "PUT", "headers": {"Host": ["a.example", "b.example"], "X-A": ["b"]}});
    let text = json!({"outbounds": [{"protocol": "vless", "tag": "a",
        "settings": {"vnext": [{"address": "192.0.2.1", "port": 80, "users": [{"id": ID, "encryption": "none"}]}]},
        "streamSettings": {"network": "tcp", "tcpSettings": {"header": {"type": "http", "request": request}}}}]})
    .to_string();
    let read = read_text(&text);
    let written = write(&read, &text, Target::SingBox).unwrap();
    assert_eq!(written.left_out, [""; 0]);
    let again = read_text(&written.text);
    assert_eq!(again.left_out_lines(), [""; 0]);
    let carrier = |read: &Read| read.config.outbounds[0].transport.carrier.clone();
    assert_eq!(carrier(&again), carrier(&read));
}
