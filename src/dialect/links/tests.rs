//! Links as they are published, and each that is written is read again.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::security::bare as bare_host;
use super::*;
use crate::config;
use crate::dialect::v2ray::{Format, Input, load, write_outbound};
use crate::report::Place;

const VECTORS: &str = include_str!("../../../testdata/vectors/links.json");
const ID: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";

fn vectors(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all[kind].as_array().unwrap().clone()
}

/// Nothing but where it stands differs.
fn bare(outbound: &Outbound) -> Outbound {
    Outbound {
        at: Place::default(),
        name: String::new(),
        ..outbound.clone()
    }
}

fn of_config(config: &Value) -> Vec<Outbound> {
    load_config(&json!({
        "inbounds": [{"port": 1, "listen": "127.0.0.1", "protocol": "socks"}],
        "outbounds": config,
    }))
    .outbounds
}

fn load_config(config: &Value) -> config::Config {
    let input = Input::Text {
        name: "c.json".to_owned(),
        text: config.to_string(),
    };
    let loaded = load(&[input], Format::V4);
    assert_eq!(loaded.errors, [], "{config:#}");
    loaded.config.unwrap()
}

#[test]
fn published_links_mean_what_they_say() {
    for vector in vectors("good") {
        let links = match vector["link"].as_str() {
            Some(link) => vec![link.to_owned(), format!(" {link}\n")],
            None => {
                let json = vector["json"].to_string();
                let whole = STANDARD.encode(&json);
                let (first, second) = whole.split_at(30);
                vec![
                    format!("vmess://{whole}"),
                    format!("VMESS://{}", URL_SAFE_NO_PAD.encode(&json)),
                    format!("vmess://{first}\r\n{second}"),
                ]
            }
        };
        for link in links {
            let read = read(&link).unwrap_or_else(|e| panic!("{link}: {e:?}"));
            assert_eq!(
                write_outbound(&read.outbound).unwrap(),
                vector["outbound"],
                "{link}"
            );
            assert_eq!(json!(read.left_out), vector["left_out"], "{link}");
            let loaded = of_config(&json!([vector["outbound"]]));
            assert_eq!(bare(&loaded[0]), bare(&read.outbound), "{link}");
            for form in [Form::Json, Form::Url] {
                let written = write(&read.outbound, form).unwrap();
                let again = super::read(&written.links[0]).unwrap();
                if written.left_out.is_empty() {
                    let mut named = Outbound {
                        // One without a name is called by its server.
                        tag: read.outbound.tag.clone(),
                        ..again.outbound
                    };
                    // Where other clients would take the host's, the server's own name is written out.
                    let was = read.outbound.transport.security.as_ref();
                    if let (Some(tls), Some(was)) = (&mut named.transport.security, was) {
                        let own = was.server_name.clone();
                        assert!(own == tls.server_name || own.is_none());
                        tls.server_name = own;
                    }
                    assert_eq!(named, read.outbound, "{link}\n{}", written.links[0]);
                }
            }
        }
    }
}

#[test]
fn a_bad_link_is_told_by_its_part_and_shows_no_key() {
    for vector in vectors("bad") {
        let link = vector[0].as_str().unwrap();
        let said = read(link).unwrap_err();
        assert!(
            said.contains(&vector[1].as_str().unwrap().to_owned()),
            "{link}: {said:?}"
        );
        for secret in [ID, "b831381d", "AAAA@"] {
            assert!(!said.concat().contains(secret), "{said:?}");
        }
    }
    // All that is wrong is told at once.
    let said = read("vless://b831381d@a b:0?type=kcp").unwrap_err();
    assert_eq!(said.len(), 4, "{said:?}");
}

fn accounts() -> Vec<Value> {
    let server = |own: Value| {
        let mut server = json!({"address": "2001:db8::1", "port": 8443});
        server
            .as_object_mut()
            .unwrap()
            .extend(own.as_object().unwrap().clone());
        server
    };
    let vnext = |user: Value| json!({"vnext": [server(json!({"users": [user]}))]});
    let ss = |method: &str, password: &str| {
        let own = json!({"method": method, "password": password});
        json!({"protocol": "shadowsocks", "settings": {"servers": [server(own)]}})
    };
    let key = "bCPY1dHSOODxnklfEDPYLA==";
    let mut all: Vec<Value> = ["auto", "aes-128-gcm", "chacha20-poly1305", "none", "zero"]
        .iter()
        .map(|security| json!({"protocol": "vmess", "settings": vnext(json!({"id": ID, "security": security}))}))
        .collect();
    all.extend([
        json!({"protocol": "vless", "settings": vnext(json!({"id": ID, "encryption": "none"}))}),
        json!({"protocol": "trojan", "settings": {"servers": [server(json!({"password": "p@ss w/ö:?#&=+%rd"}))]}}),
        ss("aes-128-gcm", "p@ss w/ö:?#&=+%rd"),
        ss("chacha20-ietf-poly1305", "p"),
        ss("2022-blake3-aes-128-gcm", key),
        ss("2022-blake3-aes-128-gcm", &format!("{key}:{key}")),
        ss("none", ""),
    ]);
    all
}

fn carriers() -> Vec<Value> {
    let early =
        |name: &str| json!({"path": "/a?b=c d", "maxEarlyData": 2048, "earlyDataHeaderName": name});
    vec![
        json!({"network": "tcp"}),
        json!({"network": "tcp", "tcpSettings": {"header": {"type": "http"}}}),
        json!({"network": "tcp", "tcpSettings": {"header": {"type": "http", "request": {"path": ["/a", "/b"]}}}}),
        json!({"network": "ws"}),
        json!({"network": "ws", "wsSettings": {"path": "/ä&=#?", "host": "h.example"}}),
        json!({"network": "ws", "wsSettings": early("Sec-WebSocket-Protocol")}),
        json!({"network": "ws", "wsSettings": early("X-Early")}),
        json!({"network": "httpupgrade", "httpupgradeSettings": {"path": "/a?ed=9", "host": "h.example"}}),
        json!({"network": "httpupgrade", "httpupgradeSettings": early("X-Early")}),
        json!({"network": "grpc"}),
        json!({"network": "grpc", "grpcSettings": {"serviceName": "/a/b|c", "multiMode": true, "authority": "h.example"}}),
        json!({"network": "http"}),
        json!({"network": "h2", "httpSettings": {"path": "/a b", "host": ["h.example", "i.example"]}}),
    ]
}

fn securities() -> Vec<Value> {
    let pin = "ab".repeat(32);
    vec![
        json!({}),
        json!({"serverName": "s.example"}),
        json!({"serverName": "192.0.2.1", "allowInsecure": true}),
        json!({"serverName": "s.example", "pinnedPeerCertSha256": format!("{pin},{}", "cd".repeat(32)), "verifyPeerCertByName": "v.example,w.example"}),
    ]
}

/// What an outbound of each kind says comes back from its links.
#[test]
fn every_outbound_is_its_link() {
    let mut count = 0;
    for account in accounts() {
        for carrier in carriers() {
            for security in std::iter::once(None).chain(securities().into_iter().map(Some)) {
                let mut value = account.clone();
                value["tag"] = json!("a tag/ü #1");
                value["streamSettings"] = carrier.clone();
                if let Some(security) = security {
                    value["streamSettings"]["security"] = json!("tls");
                    value["streamSettings"]["tlsSettings"] = security;
                }
                let was = &of_config(&json!([value]))[0];
                for form in [Form::Json, Form::Url] {
                    let written = write(was, form).unwrap();
                    let lost = written.left_out.concat();
                    let read = read(&written.links[0]).unwrap_or_else(|e| panic!("{value}: {e:?}"));
                    assert_eq!(read.left_out, [""; 0], "{value}");
                    // What v2rayN and v2ray-plugin have no word for.
                    if lost.contains("early data") {
                        continue;
                    }
                    let mut expected = bare(was);
                    // The names that links give where other clients would take another.
                    if let (Some(tls), Some(read)) = (
                        &mut expected.transport.security,
                        &read.outbound.transport.security,
                    ) && tls.server_name.is_none()
                    {
                        tls.server_name.clone_from(&read.server_name);
                        let own = Some("2001:db8::1".to_owned());
                        let name = read.server_name.as_ref();
                        let name = name.map(security::bare);
                        assert!(
                            name.is_none() || name == own || name.as_deref() == Some("h.example")
                        );
                    }
                    set_plugin_host(&mut expected, &read.outbound);
                    assert_eq!(
                        bare(&read.outbound),
                        expected,
                        "{value:#}\n{}",
                        written.links[0]
                    );
                    count += 1;
                }
            }
        }
    }
    assert!(count > 1000, "{count}");
}

/// A plugin's link always names a host, which is the address where none was named.
fn set_plugin_host(expected: &mut Outbound, read: &Outbound) {
    use crate::transport::ClientCarrier::Ws;
    let is_ss = matches!(expected.protocol, OutboundSettings::Shadowsocks(_));
    if let (true, Ws(own), Ws(read)) = (
        is_ss,
        &mut expected.transport.carrier,
        &read.transport.carrier,
    ) && own.host.is_none()
    {
        own.host.clone_from(&read.host);
    }
}

#[test]
fn what_a_link_has_no_word_for_is_told() {
    let value = json!([
        {
            "protocol": "vmess", "mux": {"enabled": true}, "sendThrough": "127.0.0.1",
            "domainStrategy": "UseIP",
            "settings": {"vnext": [{"address": "a.example", "port": 1, "users": [
                {"id": ID, "level": 1, "experiments": "AuthenticatedLength"}]}]},
            "streamSettings": {
                "network": "ws", "security": "tls", "sockopt": {"mark": 1},
                "wsSettings": {"headers": {"X-A": "1"}, "heartbeatPeriod": 5, "maxEarlyData": 5},
                "tlsSettings": {
                    "disableSystemRoot": true, "minVersion": "1.3",
                    "pinnedPeerCertificateChainSha256": ["q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="],
                    "certificates": [{"usage": "verify", "certificateFile": "testdata/certs/server.crt"}],
                },
            },
        },
        {"tag": "b", "protocol": "freedom"},
    ]);
    let outbounds = of_config(&value);
    let said = write(&outbounds[0], Form::Url).unwrap().left_out;
    let parts = [
        "settings: a link has no word for `level`",
        "settings: a link has no word for `experiments`",
        "streamSettings.wsSettings.maxEarlyData: no link has a word for early data behind the path",
        "streamSettings.wsSettings.headers: a link has a word for `Host` alone",
        "streamSettings.wsSettings.heartbeatPeriod: no link has a word for it",
        "streamSettings.tlsSettings.pinnedPeerCertificateChainSha256: no link has a word for it",
        "streamSettings.tlsSettings.disableSystemRoot: no link has a word for it",
        "streamSettings.tlsSettings.certificates: no link has a word for it",
        "streamSettings.tlsSettings.minVersion: no link has a word for it",
        "mux: no link has a word for it",
        "sendThrough: no link has a word for it",
        "streamSettings.sockopt: no link has a word for it",
        "domainStrategy: no link has a word for it",
    ];
    let expected: Vec<String> = parts
        .iter()
        .map(|part| format!("outbounds[0].{part}"))
        .collect();
    assert_eq!(said, expected);
    let said = write(&outbounds[1], Form::Url).unwrap_err();
    assert!(
        said.starts_with("outbounds[1]: there are links for"),
        "{said}"
    );
}

#[test]
fn a_link_that_would_go_around_another_outbound_is_not_written() {
    let mut value = json!([accounts()[0], {"tag": "b", "protocol": "socks", "settings": {"address": "192.0.2.1", "port": 1080}}]);
    value[0]["proxySettings"] = json!({"tag": "b"});
    let said = write(&of_config(&value)[0], Form::Url).unwrap_err();
    assert!(
        said.starts_with(
            "outbounds[0].proxySettings: a link cannot say that its connections go through `b`"
        ),
        "{said}"
    );
}

#[test]
fn a_host_stands_for_the_name_of_a_server_that_has_none() {
    let name = |more: &str| {
        let link = format!("vless://{ID}@104.16.1.1:443?security=tls&{more}");
        let read = read(&link).unwrap();
        let security = read.outbound.transport.security;
        security.unwrap().server_name.map(|name| bare_host(&name))
    };
    for (more, expected) in [
        ("type=ws&host=my.example", Some("my.example")),
        ("type=ws&host=my.example:8443", Some("my.example")),
        ("type=httpupgrade&host=my.example", Some("my.example")),
        (
            "type=ws&host=my.example&sni=other.example",
            Some("other.example"),
        ),
        ("type=ws", None),
        ("type=tcp&host=my.example", Some("my.example")),
        ("type=grpc&authority=my.example", Some("my.example")),
    ] {
        assert_eq!(name(more).as_deref(), expected, "{more}");
    }
}

#[test]
fn parameters_that_say_what_is_spoken_are_not_passed_over() {
    for more in ["ws=1&wspath=/x", "obfs=websocket", "v2ray-plugin=eyJ9"] {
        let said = read(&format!("trojan://p@a.example:443?{more}")).unwrap_err();
        let name = more.split('=').next().unwrap();
        assert!(
            said[0].starts_with(&format!(
                "trojan://…: {name}: it says that another thing is spoken"
            )),
            "{said:?}"
        );
    }
    assert!(read("trojan://p@a.example:443?ws=0").is_ok());
    let copied = read("trojan://p@a.example:443?type=ws&amp;path=/x&amp;sni=b.example").unwrap();
    assert_eq!(copied.left_out, [""; 0]);
    let tls = copied.outbound.transport.security.unwrap();
    assert_eq!(
        tls.server_name.map(|name| bare_host(&name)).as_deref(),
        Some("b.example")
    );
}

#[test]
fn each_account_at_each_server_has_a_link() {
    let server = |address: &str| {
        json!({"address": address, "port": 1, "users": [
        {"id": ID, "encryption": "none"}, {"id": ID, "encryption": "none"}]})
    };
    let vnext = [server("a.example"), server("b.example")];
    let outbounds =
        of_config(&json!([{"tag": "x", "protocol": "vless", "settings": {"vnext": vnext}}]));
    let links = write(&outbounds[0], Form::Url).unwrap().links;
    assert_eq!(links.len(), 4);
    assert!(
        links[2].ends_with("@b.example:1?encryption=none&type=tcp&security=none#x%20b.example%3A1"),
        "{links:?}"
    );
}

fn public(address: &str, port: Option<u16>, tls: Option<bool>) -> Public {
    Public {
        address: crate::address::Host::parse(address).unwrap(),
        port,
        tls,
    }
}

fn links_of(inbound: Value, public: &Public) -> (Vec<String>, Vec<String>, usize) {
    let config =
        load_config(&json!({"inbounds": [inbound], "outbounds": [{"protocol": "freedom"}]}));
    let users = of_users(&config.inbounds[0], public).unwrap().unwrap();
    let links = users.outbounds.iter().flat_map(|outbound| {
        let written = write(outbound, Form::Url).unwrap();
        assert_eq!(written.left_out, [""; 0]);
        written.links
    });
    (links.collect(), users.left_out, users.remarks.len())
}

#[test]
fn the_users_of_a_server_have_links() {
    let users = json!({"decryption": "none", "clients": [{"id": ID, "email": "ann@x"}, {"id": "27848739-7e62-4138-9fd3-098a63964b6b"}]});
    let inbound = json!({"tag": "in", "listen": "127.0.0.1", "port": 10000, "protocol": "vless", "settings": users,
        "streamSettings": {"network": "ws", "wsSettings": {"path": "/ray?ed=2048", "host": "h.example"}}});
    let tail = "?encryption=none&type=ws&path=%2Fray%3Fed%3D2560&host=h.example";
    let (links, left_out, remarks) =
        links_of(inbound.clone(), &public("a.example", Some(443), None));
    assert_eq!(
        links,
        [
            format!("vless://{ID}@a.example:443{tail}&security=tls&sni=a.example#in-ann%40x"),
            format!(
                "vless://27848739-7e62-4138-9fd3-098a63964b6b@a.example:443{tail}&security=tls&sni=a.example#in-2"
            ),
        ]
    );
    assert_eq!((left_out.len(), remarks), (0, 1));
    let (links, _, remarks) = links_of(
        inbound.clone(),
        &public("a.example", Some(443), Some(false)),
    );
    assert!(
        links[0].contains("security=none") && remarks == 0,
        "{links:?}"
    );
    let (links, _, remarks) = links_of(inbound, &public("192.0.2.1", None, None));
    assert!(links[0].contains("@192.0.2.1:10000?") && links[0].contains("security=none"));
    assert_eq!(remarks, 0);
}

#[test]
fn a_certificate_s_name_and_pin_are_told() {
    let inbound = json!({"listen": "127.0.0.1", "port": 443, "protocol": "trojan", "settings": {"clients": [{"password": "p", "email": "ann"}]},
        "streamSettings": {"security": "tls", "tlsSettings": {"certificates": [
            {"certificateFile": "testdata/certs/server.crt", "keyFile": "testdata/certs/server.key"}]}}});
    let (links, left_out, _) = links_of(inbound, &public("192.0.2.1", None, None));
    let link = read(&links[0]).unwrap().outbound;
    let tls = link.transport.security.unwrap();
    assert!(tls.server_name.is_some(), "{links:?}");
    assert_eq!(
        (tls.certificate_pins.len(), left_out.len()),
        (1, 0),
        "{links:?}"
    );

    let inbound = json!({"listen": "127.0.0.1", "port": 443, "protocol": "trojan", "settings": {"clients": [{"password": "p"}]},
        "streamSettings": {"security": "tls", "tlsSettings": {"selfSigned": true}}});
    let (_, left_out, _) = links_of(inbound, &public("a.example", None, None));
    assert!(left_out[0].contains("selfSigned"), "{left_out:?}");
}

#[test]
fn users_of_shadowsocks_have_theirs() {
    let inbound = |settings: Value| json!({"listen": "127.0.0.1", "port": 8388, "protocol": "shadowsocks", "settings": settings});
    let key = "bCPY1dHSOODxnklfEDPYLA==";
    let at = public("a.example", None, None);
    for (settings, password) in [
        (
            json!({"method": "aes-128-gcm", "password": "p"}),
            "p".to_owned(),
        ),
        (
            json!({"method": "2022-blake3-aes-128-gcm", "password": key}),
            key.to_owned(),
        ),
        (
            json!({"method": "2022-blake3-aes-128-gcm", "password": key, "clients": [{"password": "gXMF4/c4QtBepX8hONnSrA=="}]}),
            format!("{key}:gXMF4/c4QtBepX8hONnSrA=="),
        ),
    ] {
        let (links, left_out, _) = links_of(inbound(settings), &at);
        let value = write_outbound(&read(&links[0]).unwrap().outbound).unwrap();
        assert_eq!(value["settings"]["servers"][0]["password"], password);
        assert_eq!(left_out, [""; 0]);
    }
}

#[test]
fn shadowrocket_s_own_form_means_what_a_url_says() {
    let inside = STANDARD.encode(format!("auto:{ID}@a.example:443"));
    for (own, url) in [
        (
            "remarks=x%20y&obfs=websocket&obfsParam=%7B%22Host%22:%22h.example%22%7D&path=/ray&tls=1&peer=s.example&alterId=0&tfo=1",
            "type=ws&host=h.example&path=/ray&security=tls&sni=s.example#x%20y",
        ),
        (
            "remarks=x%20y&obfs=grpc&path=tun&tls=1&peer=s.example",
            "type=grpc&serviceName=tun&security=tls&sni=s.example#x%20y",
        ),
        ("remarks=x%20y", "type=tcp#x%20y"),
    ] {
        let own = read(&format!("vmess://{inside}?{own}")).unwrap();
        let url = read(&format!("vmess://{ID}@a.example:443?encryption=auto&{url}")).unwrap();
        assert_eq!(own.outbound, url.outbound);
        assert!(own.left_out.len() <= 1, "{:?}", own.left_out);
    }
    // v2rayN's object has these signs in its path.
    let object = json!({"v": "2", "add": "a.example", "port": "443", "id": ID, "net": "ws", "path": "/a:b@c"});
    let written = read(&format!("vmess://{}", STANDARD.encode(object.to_string())));
    assert_eq!(written.unwrap().left_out, [""; 0]);
    let original = read("trojan://p@a.example:443?type=original").unwrap();
    assert_eq!(
        original.outbound.transport.carrier,
        crate::transport::ClientCarrier::Raw
    );
    let quic = read(&format!("vmess://{inside}?obfs=quic")).unwrap_err();
    assert!(quic.join("").contains("quic"), "{quic:?}");
}

/// It is on where nothing is said.
#[test]
fn the_plugin_s_mux_is_read_and_written() {
    for (said, shares) in [("", Some(1)), (";mux=0", None), (";mux=7", Some(7))] {
        let link = format!("ss://YWVzLTEyOC1nY206cA@a.example:443/?plugin=v2ray-plugin{said}#x");
        let link = link
            .replace(';', "%3B")
            .replace("n=v2ray-plugin%3Bmux=", "n=v2ray-plugin%3Bmux%3D");
        let read = read(&link).unwrap_or_else(|e| panic!("{link}: {e:?}"));
        let mux = read.outbound.plugin_mux.as_ref();
        assert_eq!(mux.and_then(|mux| mux.concurrency), shares, "{link}");
        let again = write(&read.outbound, Form::Url).unwrap();
        let again = super::read(&again.links[0]).unwrap();
        assert_eq!(again.outbound.plugin_mux, read.outbound.plugin_mux);
        let config = json!([
            write_outbound(&read.outbound),
            crate::dialect::v2ray::write_plugin(&read.outbound)
        ]);
        let outbounds = of_config(&json!(
            config
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| !one.is_null())
                .collect::<Vec<_>>()
        ));
        assert_eq!(outbounds.len(), 1 + usize::from(shares.is_some()));
        let through = outbounds[0].through.as_ref().map(|through| &through.tag);
        assert_eq!(through, outbounds.get(1).and_then(|one| one.tag.as_ref()));
    }
}

#[test]
fn no_message_shows_what_stands_in_base64_where_an_address_should() {
    for link in [
        "vless://YXV0bzpiODMxMzgxZC02MzI0LTRkNTMtYWQ0Zi04Y2RhNDhiMzA4MTFAaC50ZXN0OjQ0Mw?remarks=hi",
        "trojan://c2VjcmV0cHdAaC50ZXN0OjQ0Mw",
        "trojan://p@c2VjcmV0cHdAaC50ZXN0OjQ0Mw==:443",
    ] {
        let said = read(link).unwrap_err().join("\n");
        assert!(!said.contains("YXV0") && !said.contains("c2Vj"), "{said}");
    }
}

#[test]
fn numbers_and_strange_keys_of_v2rayns_form_lose_no_node() {
    let object = json!({
        "v": "2", "add": "a.example", "port": 443.0, "aid": 0.0, "id": ID, "net": "ws", "path": "/ray",
        "ws-opts": {"path": "/other"},
    });
    let link = format!("vmess://{}", STANDARD.encode(object.to_string()));
    let read = read(&link).unwrap();
    assert_eq!(
        read.left_out,
        ["vmess://…: ws-opts: it is not known, it has no effect"]
    );
    let OutboundSettings::Vmess(settings) = &read.outbound.protocol else {
        panic!("{:?}", read.outbound.protocol);
    };
    assert_eq!(settings.servers[0].to.to_string(), "a.example:443");
    let object = json!({"v": "2", "add": "a.example", "port": {}, "id": ID});
    let link = format!("vmess://{}", STANDARD.encode(object.to_string()));
    assert!(super::read(&link).unwrap_err()[0].contains("port: expected a text or a number"));
}

#[test]
fn a_link_of_socks_that_asks_for_tls_goes_over_tls() {
    let read = read("socks://Og@a.example:443?security=tls&type=ws&path=/x").unwrap();
    assert_eq!(read.left_out, [""; 0]);
    assert!(read.outbound.transport.security.is_some());
    // Who reads it may pass over such words, and the password would be sent in the open.
    let said = write(&read.outbound, Form::Url).unwrap_err();
    assert!(
        said.contains("a link of SOCKS has no word for it"),
        "{said}"
    );
}
