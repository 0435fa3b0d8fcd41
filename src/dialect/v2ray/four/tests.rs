use serde_json::json;

use super::write;
use crate::config::Config;
use crate::dialect::v2ray::five::tests::{configs, differs, read, written};
use crate::dialect::v2ray::{Input, Options, load};

fn read_four(text: &str) -> Result<Config, Vec<String>> {
    let input = Input::Text {
        name: "x".to_owned(),
        text: text.to_owned(),
    };
    let loaded = load(&[input], Options::default());
    let errors = loaded.errors.iter().map(ToString::to_string).collect();
    loaded.config.ok_or(errors)
}

/// What V2Ray 5's form of a config means comes back.
#[test]
fn every_good_config_comes_back_from_v2ray_5_s_form() {
    let (mut others, mut all) = (Vec::new(), 0);
    for (path, text) in configs() {
        if read(&text).is_err() {
            continue;
        }
        let five = written(&text).0;
        let Ok(was) = read(&five.to_string()) else {
            continue;
        };
        let mut lines = Vec::new();
        let four = write(&five, &mut lines);
        let name = path.display();
        match read_four(&four.to_string()) {
            Ok(is) if lines.is_empty() => {
                all += 1;
                others.extend(differs(is, was).map(|what| format!("{name}: {what}\n{four:#}")));
            }
            Ok(_) => {}
            Err(errors) => others.push(format!("{name}: {errors:?}\n{four:#}\n{lines:?}")),
        }
    }
    assert_eq!(others, [""; 0], "{}", others.join("\n\n"));
    assert!(all > 60, "{all}");
}

#[test]
fn v2ray_4_s_words_are_written() {
    let five = json!({
        "log": {"access": {"type": "None"}, "error": {"type": "File", "path": "/e.log", "level": "Info"}},
        "router": {"domainStrategy": "IpIfNonMatch", "rule": [{"tag": "direct",
            "domain": [{"type": "RootDomain", "value": "a.test"}, {"type": "Regex", "value": "b"}],
            "geoip": [{"code": "cn", "inverseMatch": true}, {"cidr": [{"ipAddr": "10.0.0.0", "prefix": 8}]}], "networks": "tcp,udp", "portList": "1-9"},
            {"tag": "direct", "geoDomain": [{"code": "cn"}]},
            {"tag": "direct", "geoDomain": [{"code": "cn"}], "domain": [{"type": "Full", "value": "a.test"}]}]},
        "outbounds": [{"protocol": "vmess", "settings": {"address": "a.test", "port": 443, "uuid": "b831381d-6324-4d53-ad4f-8cda48b30811"},
            "streamSettings": {"transport": "ws", "transportSettings": {"path": "/r", "header": [{"key": "Host", "value": "h.test"}]},
                "security": "tls", "securitySettings": {"serverName": "a.test", "nextProtocol": ["http/1.1"], "minVersion": "TLS1_2"}}}],
        "services": {"policy": {"level": {"0": {"timeout": {"connectionIdle": {"value": 7}}}}}},
    });
    let mut lines = Vec::new();
    let four = write(&five, &mut lines);
    assert_eq!(
        lines,
        ["router.rule[2]: `domain` and `geoDomain`, which both have to hold: it is left out"]
    );
    let expected = json!({
        "log": {"access": "none", "error": "/e.log", "loglevel": "info"},
        "routing": {"domainStrategy": "IPIfNonMatch", "rules": [{"type": "field", "outboundTag": "direct",
            "domain": ["domain:a.test", "regexp:b"], "ip": ["geoip:!cn", "10.0.0.0/8"], "network": "tcp,udp", "port": "1-9"},
            {"type": "field", "outboundTag": "direct", "domain": ["geosite:cn"]}]},
        "inbounds": [],
        "outbounds": [{"protocol": "vmess",
            "settings": {"vnext": [{"address": "a.test", "port": 443, "users": [{"id": "b831381d-6324-4d53-ad4f-8cda48b30811", "security": "auto"}]}]},
            "streamSettings": {"network": "ws", "wsSettings": {"path": "/r", "headers": {"Host": "h.test"}},
                "security": "tls", "tlsSettings": {"serverName": "a.test", "alpn": ["http/1.1"], "minVersion": "1.2"}}}],
        "policy": {"levels": {"0": {"connIdle": 7}}},
    });
    assert_eq!(four, expected, "{four:#}");
    let lost = json!({"dns": {"nameServer": [{"address": {"address": "192.0.2.1"}, "cacheStrategy": "CacheDisabled"}]}});
    write(&lost, &mut lines);
    assert_eq!(
        lines[1..],
        ["dns.nameServer[0].cacheStrategy: V2Ray 4's form has no word for it"]
    );
}
