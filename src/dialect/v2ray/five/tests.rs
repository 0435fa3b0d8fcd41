use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::write;
use crate::config::Config;
use crate::dialect::v2ray::json::{Text, is_spelling_of};
use crate::dialect::v2ray::{Format, Input, load};
use crate::protocol::OutboundSettings;

const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

pub(in crate::dialect::v2ray) fn read(text: &str) -> Result<Config, Vec<String>> {
    let input = Input::Text {
        name: "x".to_owned(),
        text: text.to_owned(),
    };
    let loaded = load(&[input], Format::V5);
    let errors = loaded.errors.iter().map(ToString::to_string).collect();
    loaded.config.ok_or(errors)
}

/// Those of `testdata` that are good, each with its path.
pub(in crate::dialect::v2ray) fn configs() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/configs");
    let folders = ["good", "real"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let paths = folders
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    paths
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

pub(in crate::dialect::v2ray) fn written(text: &str) -> (Value, Vec<String>) {
    let (value, _) = Text::new(text.to_owned()).parse().unwrap();
    let mut lines = Vec::new();
    let five = write(&value, &mut lines);
    (five, lines)
}

#[test]
fn every_good_config_comes_back_as_it_was_or_says_what_is_lost() {
    let (mut whole, mut all) = (0, 0);
    let mut others = Vec::new();
    for (path, text) in configs() {
        // Some name files or outbounds that are not there.
        let Ok(was) = read(&text) else { continue };
        let (five, lines) = written(&text);
        let name = path.display();
        let strange = strangers(&five);
        if !strange.is_empty() {
            others.push(format!("{name}: V2Ray 5 does not start with {strange:?}"));
        }
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
    assert_eq!(others, [""; 0], "{}", others.join("\n\n"));
    assert!(
        all > 60 && whole > 30,
        "{whole} of {all} have nothing to lose"
    );
}

/// What is not as it was, wherever it is said that names are resolved before they are dialled.
pub(in crate::dialect::v2ray) fn differs(mut is: Config, mut was: Config) -> Option<String> {
    for config in [&mut is, &mut was] {
        if let Some(browser) = &mut config.browser {
            browser.name.clear();
        }
        // Where neither log is kept.
        config.log.level = Default::default();
        for outbound in &mut config.outbounds {
            if let OutboundSettings::Freedom(freedom) = &mut outbound.protocol {
                let own = std::mem::take(&mut freedom.strategy);
                if own != Default::default() {
                    outbound.strategy = own;
                }
            }
            outbound.name.clear();
        }
        for inbound in &mut config.inbounds {
            inbound.name.clear();
        }
    }
    let (is, was) = (without_places(&is), without_places(&was));
    let at = is.bytes().zip(was.bytes()).position(|(is, was)| is != was);
    let at = at.or_else(|| (is.len() != was.len()).then_some(is.len().min(was.len())))?;
    let around = |text: &str| text[at.saturating_sub(80)..text.len().min(at + 160)].to_owned();
    Some(format!("{}\n{}", around(&is), around(&was)))
}

/// A config as text, whatever its parts stand at.
fn without_places(config: &Config) -> String {
    let text = format!("{config:?}");
    let mut parts = text.split(" at: ");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([',', '}']).unwrap_or(part.len());
        all.push_str(&part[end..]);
    }
    all
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
            // One list has to hold and the other, too, if both are in one rule.
            "rule": [{"tag": "direct", "domain": [{"type": "RootDomain", "value": "a.test"}, {"type": "Plain", "value": "b"}],
                "geoip": [{"code": "cn", "inverseMatch": true}, {"cidr": [{"ipAddr": "10.0.0.0", "prefix": 8}]}],
                "portList": "53,1000-2000", "networks": "tcp", "userEmail": ["a@b"]},
                {"tag": "direct", "geoDomain": [{"code": "cn"}],
                "geoip": [{"code": "cn", "inverseMatch": true}, {"cidr": [{"ipAddr": "10.0.0.0", "prefix": 8}]}],
                "portList": "53,1000-2000", "networks": "tcp", "userEmail": ["a@b"]},
                {"balancingTag": "b", "sourceGeoip": [{"cidr": [{"ipAddr": "192.0.2.1", "prefix": 32}]}]}],
            "balancingRule": [{"tag": "b", "outbound_selector": ["proxy"], "strategy": "leastping"}]},
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
                "proxySettings": {"tag": "direct", "transportLayer": true}},
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
        "metrics": {"tag": "numbers"},
        "inbounds": [
            {"port": 1, "listen": "127.0.0.1", "protocol": "socks", "settings": {"auth": "password", "accounts": [{"user": "ann", "pass": "sesame"}]}},
            {"port": 2, "listen": "127.0.0.1", "protocol": "vless", "settings": {"clients": [{"id": ID, "email": "a@b"}, {"id": ID, "email": "c@d", "level": 1}], "decryption": "none"}},
        ],
        "outbounds": [
            outbound(json!({"network": "mws", "security": "tls"})),
            outbound(json!({"network": "ws", "wsSettings": {"heartbeatPeriod": 7}})),
        ],
    });
    let (five, lines) = written(&four.to_string());
    for (line, expected) in lines.iter().zip([
        "inbounds[0]: V2Ray 5's form has no accounts for it, and without them anybody could use it: it is left out",
        "inbounds[1].settings.users: `email` of 2: V2Ray 5's form has no word for it",
        "inbounds[1].settings.users: `level` of 1: V2Ray 5's form has no word for it",
        "outbounds[0].settings.vnext[0].users[0].security: V2Ray 5's form has no word for it, it is as with `auto`",
        "outbounds[0]: V2Ray 5's form has no transport `mws`: it is left out, what is meant for it is blocked",
        "outbounds[1].settings.vnext[0].users[0].security: V2Ray 5's form has no word for it, it is as with `auto`",
        "outbounds[1].streamSettings.wsSettings.heartbeatPeriod: V2Ray 5's form has no word for it",
        "metrics: V2Ray 5's form has no word for it",
    ]) {
        assert_eq!(line, expected, "{lines:#?}");
    }
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert_eq!(
        five["outbounds"][0],
        json!({"protocol": "blackhole", "settings": {}, "tag": "a"})
    );
    // A rule may lead to the numbers.
    assert_eq!(
        five["outbounds"][2],
        json!({"protocol": "blackhole", "settings": {}, "tag": "numbers"})
    );
    assert_eq!(five["inbounds"].as_array().unwrap().len(), 1);
    assert!(!five.to_string().contains("sesame"));
}

/// V2Ray 5.52 does not start with a key that it does not know, nor with a word of V2Ray 4 in its place.
#[test]
fn what_v2ray_4_writes_otherwise_is_written_as_v2ray_5_reads_it() {
    let four = json!({
        "log": {"error": {"type": "Console", "level": "info"}},
        "api": {"tag": "api", "services": ["HandlerService", "StatsService", "LoggerService"]},
        "fakedns": {"ipPool": "198.18.0.0/15"},
        "dns": {"servers": [{"address": "192.0.2.53", "expectIPs": ["geoip:cn", "10.0.0.0/8"]},
            {"address": {"address": "192.0.2.54", "network": "udp"}}]},
        "observatory": {"subjectSelector": ["a"], "probeURL": "http://a.test", "probeInterval": "10s"},
        "burstObservatory": {"subjectSelector": ["a"],
            "pingConfig": {"destination": "http://a.test", "interval": "1m", "sampling": 3, "timeout": "500ms"}},
        "multiObservatory": {"observers": [{"type": "burst", "tag": "m", "settings": {"subjectSelector": ["a"]}}]},
        "routing": {"balancers": [{"tag": "b", "selector": ["a"], "fallbackTag": "a", "strategy": {"type": "leastLoad",
            "settings": {"baselines": ["1s"], "maxRTT": "2s", "expected": 1, "observerTag": "m"}}}]},
        "inbounds": [
            {"port": 0, "protocol": "dokodemo-door", "settings": {"address": "127.0.0.1", "port": 53}},
            {"port": 1, "protocol": "vmess", "settings": {"clients": [{"id": ID}]}, "streamSettings": {
                "network": "http", "security": "tls", "httpSettings": {"host": ["a.test"], "path": "/a", "headers": {"X-A": ["b"]}},
                "tlsSettings": {"minVersion": "1.2", "maxVersion": "1.3"}}},
            {"port": 2, "protocol": "vmess", "settings": {"clients": [{"id": ID}]}, "streamSettings": {
                "network": "grpc", "grpcSettings": {"serviceName": "s", "authority": "a.test", "idle_timeout": 60}}},
        ],
        "outbounds": [
            {"tag": "a", "protocol": "freedom", "settings": {"redirect": "127.0.0.1:80"}, "proxySettings": {"tag": "b"},
                "mux": {"enabled": true, "concurrency": 8, "packetEncoding": "packet"}},
            {"tag": "b", "protocol": "vmess", "settings": {"address": "a.test", "port": 1, "id": ID},
                "streamSettings": {"network": "grpc", "grpcSettings": {"serviceName": "/own/Tun"}}},
        ],
    });
    let (five, lines) = written(&four.to_string());
    let expected = json!({
        "log": {"access": {"type": "Console"}, "error": {"type": "Console", "level": "Info"}},
        "dns": {"nameServer": [
            {"address": {"address": "192.0.2.53"}, "geoip": [{"code": "cn"}, {"cidr": [{"ipAddr": "10.0.0.0", "prefix": 8}]}]},
            {"address": {"address": "192.0.2.54", "network": "UDP"}}]},
        "router": {"balancingRule": [{"tag": "b", "outbound_selector": ["a"], "fallback_tag": "a", "strategy": "leastload",
            "strategy_settings": {"baselines": [1_000_000_000], "maxRTT": 2_000_000_000, "expected": 1, "observerTag": "m"}}]},
        "inbounds": [
            {"port": 0, "protocol": "dokodemo-door", "settings": {"address": "127.0.0.1", "port": 53, "networks": "tcp"}},
            {"port": 1, "protocol": "vmess", "settings": {"users": [ID]}, "streamSettings": {
                "transport": "h2", "security": "tls",
                "transportSettings": {"host": ["a.test"], "path": "/a", "header": [{"name": "X-A", "value": ["b"]}]},
                "securitySettings": {"minVersion": "TLS1_2", "maxVersion": "TLS1_3"}}},
            {"port": 2, "protocol": "vmess", "settings": {"users": [ID]}, "streamSettings": {
                "transport": "grpc", "security": "none", "transportSettings": {"serviceName": "s", "host": "a.test", "idleTimeout": 60}}},
        ],
        "outbounds": [
            {"tag": "a", "protocol": "freedom", "settings": {"destinationOverride": {"server": {"address": "127.0.0.1", "port": 80}}},
                "proxySettings": {"tag": "b", "transportLayer": true}, "mux": {"enabled": true, "concurrency": 8}},
            {"tag": "b", "protocol": "blackhole", "settings": {}},
        ],
        "services": {
            "commander": {"tag": "api", "name": ["proxyman", "stats"]},
            "fakeDns": {"ipPool": "198.18.0.0/15", "lruSize": 65535},
            "backgroundObservatory": {"subjectSelector": ["a"], "probeUrl": "http://a.test", "probeInterval": 10_000_000_000_u64},
            "burstObservatory": {"subjectSelector": ["a"], "pingConfig": {
                "destination": "http://a.test", "interval": 60_000_000_000_u64, "samplingCount": 3, "timeout": 500_000_000}},
            "multiobservatory": [{"type": "burstObservatory", "tag": "m", "settings": {"subjectSelector": ["a"]}}],
        },
    });
    assert_eq!(five, expected, "{five:#}");
    assert_eq!(
        lines,
        [
            "outbounds[0].mux.packetEncoding: V2Ray 5's form has no word for it",
            "outbounds[1]: V2Ray 5 has no `serviceName` that is a path: it is left out, what is meant for it is blocked",
            "api.services: `LoggerService`: V2Ray 5's form has no word for it",
        ],
        "{lines:#?}"
    );
    assert_eq!(strangers(&five), [""; 0]);
}

/// What nobody reads in V2Ray 4's form, V2Ray 5 must not begin to obey.
#[test]
fn keys_with_underscores_count_in_v2ray_5_s_own_form_alone() {
    let config = |stream: Value| {
        json!({"outbounds": [{"protocol": "freedom", "tag": "a", "mux_": {"enabled": true, "concurrency": 8},
            "proxy_settings": {"tag": "b"}, "streamSettings": stream}]})
    };
    let (five, lines) = written(&config(json!({"network": "tcp"})).to_string());
    assert_eq!(five["outbounds"][0]["mux"], Value::Null);
    assert_eq!(five["outbounds"][0]["proxySettings"], Value::Null);
    assert_eq!(
        lines,
        [
            "outbounds[0].mux_: V2Ray 5's form has no word for it",
            "outbounds[0].proxy_settings: V2Ray 5's form has no word for it",
        ]
    );
    let (five, lines) = written(&config(json!({"transport": "tcp"})).to_string());
    assert_eq!(five["outbounds"][0]["mux"], Value::Null);
    assert_eq!(five["outbounds"][0]["proxySettings"]["tag"], "b");
    assert_eq!(
        lines,
        ["outbounds[0].mux_: V2Ray 5's form has no word for it"]
    );
}

#[test]
fn a_rule_of_regular_expressions_for_attributes_is_left_out() {
    let rule = |attrs: Value| json!({"routing": {"rules": [{"outboundTag": "a", "network": "tcp", "attrs": attrs}]}});
    let (five, lines) = written(&rule(json!({":method": "GET"})).to_string());
    assert_eq!(five["router"], Value::Null);
    assert_eq!(
        lines,
        [
            "routing.rules[0]: `attrs` that is an object: V2Ray 5's form has no word for it: it is left out"
        ]
    );
    for (attrs, expected) in [
        (
            json!("attrs[':method'] == 'GET'"),
            json!("attrs[':method'] == 'GET'"),
        ),
        (json!({}), Value::Null),
    ] {
        let (five, lines) = written(&rule(attrs).to_string());
        assert_eq!(five["router"]["rule"][0]["attributes"], expected);
        assert_eq!(lines, [""; 0]);
    }
}

#[test]
fn an_observer_without_settings_is_told() {
    let four = json!({"multiObservatory": {"observers": [
        {"type": "burst", "tag": "a"}, {"tag": "b", "settings": {"subjectSelector": ["x"]}}]}});
    let (five, lines) = written(&four.to_string());
    let all = five["services"]["multiobservatory"].as_array().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(
        lines,
        ["multiObservatory.observers[0]: `settings` are missing: it is left out"]
    );
}

/// The keys that V2Ray 5 has no field for, by the names of its messages: it takes none of them.
fn strangers(five: &Value) -> Vec<String> {
    let mut all = Vec::new();
    unknown_to_v2ray_5(five, "", &mut all);
    all
}

fn unknown_to_v2ray_5(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| unknown_to_v2ray_5(item, at, all)),
        Value::Object(map) => {
            for (key, value) in map {
                let fields = match at {
                    "" => ROOT,
                    // By the number of a level.
                    "services.policy.level" => key,
                    _ => fields(at),
                };
                // Either spelling but of a balancer's keys.
                let is = |field: &&str| match at {
                    "router.balancingRule" => *field == key,
                    _ => is_spelling_of(key, field),
                };
                let place = |key: &str| match at {
                    "" => key.to_owned(),
                    _ => format!("{at}.{key}"),
                };
                match fields.split(' ').find(is) {
                    Some(_) if at == "services.policy.level" => {
                        unknown_to_v2ray_5(value, &place("*"), all);
                    }
                    Some(field) => unknown_to_v2ray_5(value, &place(field), all),
                    None => all.push(place(key)),
                }
            }
        }
        _ => {}
    }
}

/// Those of the object at this place.
fn fields(at: &str) -> &'static str {
    let mut all = FIELDS.iter();
    let found = all.find(|(object, _)| {
        let rest = at.strip_suffix(object);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    found.map_or("", |(_, fields)| fields)
}

const ROOT: &str = "log dns router inbounds outbounds services extension";

/// Objects by the end of their path, and their fields.
const FIELDS: &[(&str, &str)] = &[
    ("log", "access error"),
    ("log.access", "type level path"),
    ("log.error", "type level path"),
    (
        "dns",
        "nameServer clientIp staticHosts fakeDns tag domainMatcher disableCache disableFallback disableFallbackIfMatch \
         queryStrategy cacheStrategy fallbackStrategy",
    ),
    (
        "dns.nameServer",
        "address clientIp tag prioritizedDomain geoip originalRules fakeDns skipFallback queryStrategy cacheStrategy \
         fallbackStrategy geoDomain",
    ),
    ("nameServer.address", "network address port"),
    ("prioritizedDomain", "type domain"),
    ("staticHosts", "type domain ip proxiedDomain"),
    ("fakeDns", "pools ipPool lruSize"),
    ("fakeDnsMulti", "pools"),
    ("pools", "ipPool lruSize"),
    ("geoip", "code countryCode cidr inverseMatch filePath"),
    ("sourceGeoip", "code countryCode cidr inverseMatch filePath"),
    ("cidr", "ip ipAddr prefix"),
    ("geoDomain", "code countryCode domain filePath"),
    ("router", "domainStrategy rule balancingRule"),
    (
        "router.rule",
        "tag balancingTag domain geoip portList networks sourceGeoip sourcePortList userEmail inboundTag protocol attributes \
         domainMatcher geoDomain",
    ),
    ("rule.domain", "type value"),
    (
        "balancingRule",
        "tag outbound_selector strategy strategy_settings fallback_tag",
    ),
    (
        "strategy_settings",
        "costs baselines expected maxRTT tolerance observerTag aliveOnly stickyChoice",
    ),
    ("costs", "regexp match value"),
    (
        "inbounds",
        "protocol port listen settings tag sniffing streamSettings",
    ),
    ("sniffing", "enabled destOverride metadataOnly"),
    (
        "inbounds.settings",
        "users packetEncoding method password networks address udpEnabled deferLastReply port followRedirect",
    ),
    (
        "outbounds",
        "protocol sendThrough tag settings streamSettings proxySettings mux domainStrategy",
    ),
    (
        "outbounds.settings",
        "address port uuid password method psk ipsk destinationOverride protocolReplacement inboundTag overrideResponseTtl \
         responseTtl h1SkipWaitForReply experimentReducedIvHeadEntropy",
    ),
    ("destinationOverride", "server"),
    ("server", "address port"),
    ("proxySettings", "tag transportLayer"),
    ("mux", "enabled concurrency"),
    (
        "streamSettings",
        "transport transportSettings security securitySettings socketSettings",
    ),
    (
        "transportSettings",
        "acceptProxyProtocol path header maxEarlyData useBrowserForwarding earlyDataHeaderName parseXForwardedFor host \
         serviceName idleTimeout healthCheckTimeout permitWithoutStream initialWindowsSize method abstract padding",
    ),
    ("header", "key name value"),
    (
        "securitySettings",
        "certificate serverName nextProtocol enableSessionResumption disableSystemRoot pinnedPeerCertificateChainSha256 \
         verifyClientCertificate minVersion maxVersion allowInsecureIfPinnedPeerCertificate tlsConfig imitate noSNI forceAlpn",
    ),
    ("tlsConfig", "certificate serverName nextProtocol"),
    (
        "certificate",
        "Certificate Key usage certificateFile keyFile",
    ),
    (
        "socketSettings",
        "mark tcpFastOpen tproxy acceptProxyProtocol tcpKeepAliveInterval tcpKeepAliveIdle tcpFastOpenQueueLength \
         bindToDevice rxBufSize txBufSize forceBufSize mptcp",
    ),
    (
        "services",
        "browser backgroundObservatory burstObservatory commander fakeDns fakeDnsMulti multiobservatory policy reverse stats",
    ),
    ("browser", "listen_addr listen_port"),
    (
        "backgroundObservatory",
        "subjectSelector probeUrl probeInterval persistentProbeResult",
    ),
    ("burstObservatory", "subjectSelector pingConfig"),
    (
        "pingConfig",
        "destination connectivity interval samplingCount timeout",
    ),
    ("multiobservatory", "type tag settings"),
    (
        "multiobservatory.settings",
        "subjectSelector probeUrl probeInterval persistentProbeResult pingConfig",
    ),
    ("commander", "tag name"),
    ("reverse", "bridgeConfig portalConfig"),
    ("bridgeConfig", "tag domain"),
    ("portalConfig", "tag domain"),
    ("services.policy", "level system"),
    ("policy.level", "*"),
    ("policy.level.*", "timeout stats buffer"),
    (
        "level.*.timeout",
        "handshake connectionIdle uplinkOnly downlinkOnly",
    ),
    ("level.*.stats", "userUplink userDownlink"),
    ("level.*.buffer", "connection"),
    ("handshake", "value"),
    ("connectionIdle", "value"),
    ("uplinkOnly", "value"),
    ("downlinkOnly", "value"),
    ("policy.system", "stats overrideAccessLogDest"),
    (
        "system.stats",
        "inboundUplink inboundDownlink outboundUplink outboundDownlink",
    ),
];

/// As V2Ray 5.52 takes it, in either spelling of its names.
#[test]
fn a_config_in_the_spelling_of_its_messages_is_read_alike() {
    let five = json!({
        "dns": {"nameServer": [{"address": {"address": "192.0.2.53", "network": "UDP"}, "queryStrategy": "USE_IP4",
            "prioritizedDomain": [{"type": "Full", "domain": "a.test"}]}],
            "staticHosts": [{"type": "Full", "domain": "b.test", "proxiedDomain": "c.test"}]},
        "router": {"domainStrategy": "IpOnDemand", "rule": [
            {"balancingTag": "b", "portList": "53", "geoip": [{"cidr": [{"ip": "CgAAAA==", "prefix": 8}, {"ipAddr": "192.0.2.0", "prefix": 24}]}]},
            {"tag": "api", "inboundTag": ["panel"]}],
            "balancingRule": [{"tag": "b", "outboundSelector": ["a"], "fallbackTag": "a", "strategy": "leastload",
                "strategySettings": {"baselines": [1_000_000_000], "maxRTT": 2_000_000_000}}]},
        "inbounds": [
            {"tag": "panel", "port": 1, "listen": "127.0.0.1", "protocol": "dokodemo-door",
                "settings": {"address": "127.0.0.1", "networks": "tcp", "followRedirect": false}},
            {"port": 2, "listen": "127.0.0.1", "protocol": "vmess", "settings": {"users": [ID]}, "streamSettings": {
                "transport": "h2", "security": "tls",
                "transportSettings": {"host": ["a.test"], "header": [{"name": "X-A", "value": ["b", "c"]}], "parseXForwardedFor": true},
                "securitySettings": {"minVersion": "TLS1_3", "certificate": [
                    {"certificateFile": "testdata/certs/server.crt", "keyFile": "testdata/certs/server.key"}]}}},
        ],
        "outbounds": [
            {"tag": "a", "protocol": "vmess", "settings": {"address": "192.0.2.1", "port": 1, "uuid": ID}, "streamSettings": {
                "transport": "grpc", "transportSettings": {"serviceName": "s", "host": "a.test", "idleTimeout": 60, "permitWithoutStream": true},
                "security": "utls", "securitySettings": {"tlsConfig": {"serverName": "t.test"}, "forceAlpn": "NO_ALPN"}}},
            {"tag": "f", "protocol": "freedom", "settings": {"protocolReplacement": "IDENTITY",
                "destinationOverride": {"server": {"address": "127.0.0.1", "port": 80}}}},
        ],
        "services": {"commander": {"tag": "api", "name": ["stats"]}, "stats": {},
            "fakeDns": {"ipPool": "198.18.0.0/15", "lruSize": 100},
            "burstObservatory": {"subjectSelector": ["a"], "pingConfig": {"samplingCount": 3}}},
    });
    let text = five.to_string();
    let camel = read(&text).expect("a good config");
    let snake = read(&snaked(&text)).expect("a good config");
    assert_eq!(without_places(&camel), without_places(&snake));
    let plain = text.replace(r#""ip":"CgAAAA==""#, r#""ipAddr":"10.0.0.0""#);
    assert_ne!(plain, text);
    let plain = read(&plain).expect("a good config");
    assert_eq!(without_places(&camel), without_places(&plain));
    let shown = without_places(&camel);
    for part in [
        "host: Some(Ip(127.0.0.1)), port: Some(80)",
        "authority: Some(\"a.test\")",
        "server_name: Some(Domain(\"t.test\"))",
        "versions: Only13",
        "\"x-a\": \"b\", \"x-a\": \"c\"",
        "fallback: Some(",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let text = text.replace("IDENTITY", "FORCE_UDP");
    let errors = read(&text).expect_err("not built");
    assert!(errors[0].contains("protocolReplacement"), "{errors:?}");
}

/// The keys of protobufs with underscores.
fn snaked(text: &str) -> String {
    let keys = [
        "nameServer",
        "queryStrategy",
        "prioritizedDomain",
        "staticHosts",
        "proxiedDomain",
        "domainStrategy",
        "balancingTag",
        "portList",
        "ipAddr",
        "inboundTag",
        "balancingRule",
        "outboundSelector",
        "fallbackTag",
        "strategySettings",
        "followRedirect",
        "parseXForwardedFor",
        "minVersion",
        "certificateFile",
        "keyFile",
        "serviceName",
        "idleTimeout",
        "permitWithoutStream",
        "tlsConfig",
        "serverName",
        "forceAlpn",
        "protocolReplacement",
        "destinationOverride",
        "ipPool",
        "subjectSelector",
        "pingConfig",
    ];
    keys.iter().fold(text.to_owned(), |text, key| {
        let mut snake = String::new();
        for letter in key.chars() {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        text.replace(&format!("\"{key}\":"), &format!("\"{snake}\":"))
    })
}

#[test]
fn a_door_whose_target_is_open_has_no_word() {
    for (settings, said) in [
        (json!({"rewritePort": 5}), "address"),
        (json!({"address": "a.test", "port": 0}), "port"),
        (json!({"rewriteAddress": "a.test"}), "port"),
        (
            json!({"address": "a.test", "port": 0, "rewritePort": 5}),
            "",
        ),
        (json!({"address": "a.test"}), ""),
        (json!({"followRedirect": true}), ""),
    ] {
        let inbound = json!({"port": 1, "protocol": "dokodemo-door", "settings": settings});
        let (five, lines) = written(&json!({"inbounds": [inbound]}).to_string());
        let lost = format!("settings.{said}: without it, V2Ray 5's form has no word for it");
        let is_lost = lines.iter().any(|line| line.contains(&lost));
        assert_eq!(is_lost, !said.is_empty(), "{settings}: {lines:?}");
        let count = five["inbounds"].as_array().map_or(0, Vec::len);
        assert_eq!(count, usize::from(said.is_empty()), "{settings}");
        if settings.get("rewritePort").is_some() && said.is_empty() {
            assert_eq!(five["inbounds"][0]["settings"]["port"], 5);
        }
    }
}

#[test]
fn xray_s_newer_names_of_protocols_are_v2ray_s_older_ones() {
    let (five, lines) = written(
        r#"{"inbounds": [{"port": 1, "protocol": "mixed"}, {"port": 2, "protocol": "tunnel", "settings": {"address": "192.0.2.1", "port": 3}}],
            "outbounds": [{"protocol": "direct"}, {"tag": "b", "protocol": "block"}]}"#,
    );
    assert_eq!(lines, [""; 0]);
    let names = |key: &str| {
        let parts = five[key].as_array().unwrap();
        let names = parts
            .iter()
            .map(|part| part["protocol"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("inbounds"), ["socks", "dokodemo-door"]);
    assert_eq!(names("outbounds"), ["freedom", "blackhole"]);
}
