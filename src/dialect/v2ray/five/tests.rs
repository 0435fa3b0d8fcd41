use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::write;
use crate::config::Config;
use crate::dialect::v2ray::json::Text;
use crate::dialect::v2ray::{Format, Input, load};
use crate::protocol::OutboundSettings;

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

fn read(text: &str) -> Result<Config, Vec<String>> {
    let input = Input::Text {
        name: "x".to_owned(),
        text: text.to_owned(),
    };
    let loaded = load(&[input], Format::V5);
    let errors = loaded.errors.iter().map(ToString::to_string).collect();
    loaded.config.ok_or(errors)
}

fn written(text: &str) -> (Value, Vec<String>) {
    let (value, _) = Text::new(text.to_owned()).parse().unwrap();
    let mut lines = Vec::new();
    let five = write(&value, &mut lines);
    (five, lines)
}

#[test]
fn every_good_config_comes_back_as_it_was_or_says_what_is_lost() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/configs");
    let (mut whole, mut all) = (0, 0);
    let mut others = Vec::new();
    for folder in ["good", "real"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let is_json = path.extension().is_some_and(|end| end == "json");
            let Some(text) = is_json.then(|| fs::read_to_string(&path).unwrap()) else {
                continue;
            };
            // Some name files or outbounds that are not there.
            let Ok(was) = read(&text) else { continue };
            let (five, lines) = written(&text);
            let name = path.display();
            let is = match read(&five.to_string()) {
                Ok(is) => is,
                Err(errors) => {
                    others.push(format!("{name}: {errors:?}\n{five:#}\n{lines:?}"));
                    continue;
                }
            };
            all += 1;
            if is.outbounds.len() < was.outbounds.len() {
                others.push(format!("{name}: outbounds\n{five:#}"));
            }
            if lines.is_empty() {
                whole += 1;
                others.extend(differs(is, was).map(|what| format!("{name}: {what}\n{five:#}")));
            }
            // In its own words it stays what it is.
            let (again, more) = written(&five.to_string());
            if (&again, &more) != (&five, &Vec::new()) {
                others.push(format!("{name}: again\n{five:#}\n{again:#}\n{more:?}"));
            }
        }
    }
    assert!(
        all > 60 && whole > 30,
        "{whole} of {all} have nothing to lose"
    );
}

/// What is not as it was, wherever it is said that names are resolved before they are dialled.
fn differs(mut is: Config, mut was: Config) -> Option<String> {
    for config in [&mut is, &mut was] {
        for outbound in &mut config.outbounds {
            if let OutboundSettings::Freedom(freedom) = &mut outbound.protocol {
                outbound.strategy = std::mem::take(&mut freedom.strategy);
            }
            outbound.name.clear();
        }
        for inbound in &mut config.inbounds {
            inbound.name.clear();
        }
    }
    if is.inbounds != was.inbounds {
        return Some(format!("{:?}\n{:?}", is.inbounds, was.inbounds));
    }
    if is.outbounds != was.outbounds {
        return Some(format!("{:?}\n{:?}", is.outbounds, was.outbounds));
    }
    (is != was).then(|| format!("{is:?}\n{was:?}"))
}

#[test]
fn v2ray_5_s_own_words_are_written() {
    let four = json!({
        "log": {"loglevel": "info", "access": "/var/log/a.log"},
        "policy": {"levels": {"0": {"connIdle": 7, "bufferSize": 4}}, "system": {"statsInboundUplink": true}},
        "stats": {},
        "dns": {"servers": ["192.0.2.53", {"address": "192.0.2.54", "port": 5353, "domains": ["domain:a.test", "geosite:cn"]}],
            "hosts": {"a.test": "192.0.2.1"}},
        "routing": {"domainStrategy": "IPIfNonMatch", "balancers": [{"tag": "b", "selector": ["proxy"], "strategy": {"type": "leastPing"}}],
            "rules": [{"type": "field", "domain": ["domain:a.test", "geosite:cn", "b"], "ip": ["10.0.0.0/8", "geoip:!cn"],
                "port": "53,1000-2000", "network": "tcp", "user": ["a@b"], "outboundTag": "direct"},
                {"type": "field", "source": "192.0.2.1", "balancerTag": "b"}]},
        "inbounds": [{"port": 1, "listen": "127.0.0.1", "protocol": "vmess", "settings": {"clients": [{"id": ID, "alterId": 0}]},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray?ed=2048", "headers": {"X-A": "1"}}}},
            {"port": 2, "listen": "127.0.0.1", "protocol": "socks", "settings": {"auth": "noauth", "udp": true, "ip": "127.0.0.1"}}],
        "outbounds": [{"tag": "proxy", "protocol": "vmess", "settings": {"vnext": [{"address": "a.test", "port": 443, "users": [{"id": ID}]}]},
            "streamSettings": {"network": "ws", "security": "tls", "wsSettings": {"host": "h.test"},
                "tlsSettings": {"serverName": "t.test", "alpn": ["http/1.1"], "certificates": [{"usage": "verify", "certificateFile": "a.pem"}]},
                "sockopt": {"mark": 5, "dialerProxy": "direct"}}},
            {"tag": "direct", "protocol": "freedom", "settings": {"domainStrategy": "UseIPv4"}}],
    });
    let (five, lines) = written(&four.to_string());
    assert_eq!(lines, [""; 0]);
    let expected = json!({
        "log": {"access": {"type": "File", "path": "/var/log/a.log"}, "error": {"type": "Console", "level": "Info"}},
        "dns": {
            "nameServer": [{"address": {"address": "192.0.2.53"}}, {"address": {"address": "192.0.2.54", "port": 5353},
                "prioritizedDomain": [{"type": "Subdomain", "domain": "a.test"}], "geoDomain": [{"code": "cn"}]}],
            "staticHosts": [{"type": "Full", "domain": "a.test", "ip": ["192.0.2.1"]}]},
        "router": {
            "domainStrategy": "IpIfNonMatch",
            "rule": [{"tag": "direct", "domain": [{"type": "RootDomain", "value": "a.test"}, {"type": "Plain", "value": "b"}],
                "geoDomain": [{"code": "cn"}],
                "geoip": [{"code": "cn", "inverseMatch": true}, {"cidr": [{"ipAddr": "10.0.0.0", "prefix": 8}]}],
                "portList": "53,1000-2000", "networks": "tcp", "userEmail": ["a@b"]},
                {"balancingTag": "b", "sourceGeoip": [{"cidr": [{"ipAddr": "192.0.2.1", "prefix": 32}]}]}],
            "balancingRule": [{"tag": "b", "outboundSelector": ["proxy"], "strategy": "leastping"}]},
        "inbounds": [
            {"protocol": "vmess", "settings": {"users": [ID]}, "listen": "127.0.0.1", "port": 1,
                "streamSettings": {"transport": "ws", "security": "none", "transportSettings": {"path": "/ray",
                    "maxEarlyData": 2048, "earlyDataHeaderName": "Sec-WebSocket-Protocol", "header": [{"key": "X-A", "value": "1"}]}}},
            {"protocol": "socks", "settings": {"address": "127.0.0.1", "udpEnabled": true}, "listen": "127.0.0.1", "port": 2}],
        "outbounds": [
            {"protocol": "vmess", "tag": "proxy", "settings": {"address": "a.test", "port": 443, "uuid": ID},
                "streamSettings": {"transport": "ws", "transportSettings": {"header": [{"key": "Host", "value": "h.test"}]},
                    "security": "tls", "securitySettings": {"serverName": "t.test", "nextProtocol": ["http/1.1"],
                        "certificate": [{"usage": "AUTHORITY_VERIFY", "certificateFile": "a.pem"}]},
                    "socketSettings": {"mark": 5}},
                "proxySettings": {"tag": "direct", "transportLayerProxy": true}},
            {"protocol": "freedom", "tag": "direct", "settings": {}, "domainStrategy": "UseIP4"}],
        "services": {"stats": {}, "policy": {"level": {"0": {"timeout": {"connectionIdle": {"value": 7}}, "buffer": {"connection": 4096}}},
            "system": {"stats": {"inboundUplink": true}}}},
    });
    assert_eq!(five, expected, "{five:#}");
}

#[test]
fn what_has_no_word_is_told_and_nothing_goes_elsewhere_for_it() {
    let outbound = |stream: Value| {
        json!({"tag": "a", "protocol": "vmess", "streamSettings": stream,
            "settings": {"vnext": [{"address": "a.test", "port": 443, "users": [{"id": ID, "security": "none"}]}]}})
    };
    let four = json!({
        "api": {"tag": "api", "services": ["StatsService"]},
        "inbounds": [
            {"port": 1, "listen": "127.0.0.1", "protocol": "socks", "settings": {"auth": "password", "accounts": [{"user": "ann", "pass": "sesame"}]}},
            {"port": 2, "listen": "127.0.0.1", "protocol": "vless", "settings": {"clients": [{"id": ID, "email": "a@b"}, {"id": ID, "email": "c@d", "level": 1}], "decryption": "none"}},
        ],
        "outbounds": [
            outbound(json!({"network": "http", "security": "tls"})),
            outbound(json!({"network": "ws", "wsSettings": {"heartbeatPeriod": 7}})),
        ],
    });
    let (five, lines) = written(&four.to_string());
    for (line, expected) in lines.iter().zip([
        "inbounds[0]: V2Ray 5's form has no accounts for it, and without them anybody could use it: it is left out",
        "inbounds[1].settings.users: `email` of 2: V2Ray 5's form has no word for it",
        "inbounds[1].settings.users: `level` of 1: V2Ray 5's form has no word for it",
        "outbounds[0].settings.vnext[0].users[0].security: V2Ray 5's form has no word for it, it is as with `auto`",
        "outbounds[0]: V2Ray 5's form has no transport `http`: it is left out, what is meant for it is blocked",
        "outbounds[1].settings.vnext[0].users[0].security: V2Ray 5's form has no word for it, it is as with `auto`",
        "outbounds[1].streamSettings.wsSettings.heartbeatPeriod: V2Ray 5's form has no word for it",
        "api: V2Ray 5's form has no word for it",
    ]) {
        assert_eq!(line, expected, "{lines:#?}");
    }
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert_eq!(
        five["outbounds"][0],
        json!({"protocol": "blackhole", "settings": {}, "tag": "a"})
    );
    // A rule may lead to the API.
    assert_eq!(
        five["outbounds"][2],
        json!({"protocol": "blackhole", "settings": {}, "tag": "api"})
    );
    assert_eq!(five["inbounds"].as_array().unwrap().len(), 1);
    assert!(!five.to_string().contains("sesame"));
}
