use super::*;
use crate::testing::settings::read;
use serde_json::{Value, json};

const KEY: &str = "bCPY1dHSOODxnklfEDPYLA==";
const OTHER: &str = "gXMF4/c4QtBepX8hONnSrA==";
const LONG: &str = "bCPY1dHSOODxnklfEDPYLPpFv6HX/WpPEElNoxWBBpw=";

fn key(text: &str) -> Key {
    Key::from_base64(Cipher::Aes128Gcm, text).unwrap()
}

fn sound_inbound(value: &Value) -> InboundSettings {
    let (settings, said) = read(value, inbound);
    assert_eq!(said, [""; 0], "{value}");
    settings.unwrap()
}

fn sound_account(value: &Value) -> AccountSecret {
    let (settings, said) = read(value, outbound);
    assert_eq!(said, [""; 0], "{value}");
    let servers = settings.unwrap().servers;
    assert_eq!(servers[0].to.to_string(), "a.example:8388");
    servers[0].accounts[0].secret.clone()
}

#[test]
fn an_inbound_of_v2ray_has_one_password() {
    let own = sound_inbound(
        &json!({"method": "AES-128-GCM", "password": "p", "level": 1,
        "email": "a@b", "network": "tcp,udp", "ivCheck": true}),
    );
    assert_eq!((own.tcp, own.udp), (true, true));
    let Access::Passwords(users) = own.access else {
        panic!("it has a password");
    };
    let cipher = Cipher::Aes128Gcm;
    assert_eq!(users[0].key, AeadPassword::new(cipher, "p".to_owned()));
    assert_eq!(
        (users[0].email.as_deref(), users[0].level),
        (Some("a@b"), 1)
    );
    let own = sound_inbound(&json!({"method": "chacha20-ietf-poly1305", "password": "p"}));
    assert_eq!((own.tcp, own.udp), (true, false), "V2Ray's default");
    let own = sound_inbound(&json!({"method": "plain", "password": "p", "udp": true}));
    assert!(matches!(own.access, Access::Anybody(_)) && own.udp && own.tcp);
    let own = sound_inbound(&json!({"method": "none", "network": "udp", "packetEncoding": "None"}));
    assert!(own.udp && !own.tcp);
    let own = sound_inbound(&json!({"method": "2022-blake3-aes-128-gcm", "password": KEY}));
    assert!(matches!(own.access, Access::OneKey(user) if user.key.key == key(KEY)));
}

#[test]
fn an_inbound_of_xray_has_clients() {
    let clients = json!([
        {"method": "aes-128-gcm", "password": "a", "email": "a@x", "level": 0},
        {"password": "b", "email": "b@x", "enable": true, "tgId": "", "totalGB": 0},
    ]);
    for name in ["clients", "users"] {
        let own = sound_inbound(&json!({"method": "aes-256-gcm", "password": "x", name: clients}));
        let Access::Passwords(users) = own.access else {
            panic!("they have passwords");
        };
        let ciphers: Vec<_> = users.iter().map(|user| user.key.key().cipher).collect();
        assert_eq!(ciphers, [Cipher::Aes128Gcm, Cipher::Aes256Gcm]);
    }
    let own = sound_inbound(
        &json!({"method": "2022-blake3-aes-128-gcm", "password": KEY,
        "clients": [{"method": "", "password": OTHER, "email": "a@x"}]}),
    );
    let Access::Identities {
        key: server, users, ..
    } = own.access
    else {
        panic!("they have keys");
    };
    assert_eq!((server, users[0].key), (key(KEY), key(OTHER)));
}

#[test]
fn an_outbound_is_a_list_or_one_server() {
    let list = json!({"servers": [{"address": "a.example", "port": 8388, "method": "aes-128-gcm",
        "password": "p", "email": "x", "level": 0, "ota": false, "uot": false}]});
    let flat = json!({"address": "a.example", "port": "8388", "method": "AEAD_AES_128_GCM", "password": "p"});
    let expected = AccountSecret::Aead(AeadPassword::new(Cipher::Aes128Gcm, "p".to_owned()));
    assert_eq!(sound_account(&list), expected);
    assert_eq!(sound_account(&flat), expected);
    let none = json!({"address": "a.example", "port": 8388, "method": "none"});
    assert_eq!(sound_account(&none), AccountSecret::None);
    let expected = AccountSecret::Blake3 {
        key: Blake3Key {
            cipher: Cipher::Aes128Gcm,
            key: key(OTHER),
        },
        servers: vec![key(KEY)],
    };
    let both = json!({"address": "a.example", "port": 8388, "method": "2022-blake3-aes-128-gcm",
        "password": format!("{KEY}:{OTHER}")});
    assert_eq!(sound_account(&both), expected);
    let five = json!({"address": "a.example", "port": 8388, "method": "2022-blake3-aes-128-gcm",
        "psk": OTHER, "ipsk": [KEY]});
    let (settings, said) = read(&five, outbound_2022);
    assert_eq!(said, [""; 0]);
    assert_eq!(settings.unwrap().servers[0].accounts[0].secret, expected);
}

#[test]
fn what_cannot_work_is_said_with_the_cure() {
    let says = |value: Value| read(&value, |object| inbound(object).is_some()).1;
    let cases = [
        (json!({"password": "p"}), "config: `method` is missing"),
        (
            json!({"method": "aes-128-gcm"}),
            "config: `password` is missing",
        ),
        (
            json!({"method": "aes-128-gcm", "password": ""}),
            "password: the password is empty",
        ),
        (
            json!({"method": "2022-blake3-aes-256-gcm", "password": KEY}),
            "password: a key of 16 bytes, this method wants 32: `openssl rand -base64 32` makes one",
        ),
        (
            json!({"method": "2022-blake3-aes-256-gcm", "password": "a word"}),
            "password: a key of this method is base64, which this is not",
        ),
        (
            json!({"method": "2022-blake3-aes-128-gcm", "password": format!("{KEY}:{OTHER}")}),
            "password: a server has one key: those of its users go into `clients`",
        ),
        (
            json!({"method": "2022-blake3-chacha20-poly1305", "password": LONG, "clients": []}),
            "clients: only the methods `2022-blake3-aes-128-gcm` and `2022-blake3-aes-256-gcm` can tell users apart",
        ),
        (
            json!({"clients": [{"method": "none", "password": "p"}]}),
            "clients[0].method: among several users only the methods `aes-128-gcm`, `aes-256-gcm` and `chacha20-poly1305` work, or one of 2022 for the whole inbound",
        ),
        (
            json!({"clients": [{"password": "p"}]}),
            "clients[0]: `method` is missing",
        ),
        (
            json!({"method": "2022-blake3-aes-128-gcm", "password": KEY,
                "clients": [{"password": OTHER, "address": "192.0.2.1"}]}),
            "clients[0].address: a relay is not built: a user is somebody who connects here",
        ),
        (
            json!({"method": "none", "packetEncoding": "Packet"}),
            "packetEncoding: packetaddr inside of `shadowsocks` is not built: its datagrams go to any address as they are, expected `None`",
        ),
    ];
    for (value, expected) in cases {
        let said = says(value.clone());
        assert_eq!(
            said.first().map(String::as_str),
            Some(expected),
            "{value}: {said:?}"
        );
    }
    let twice = says(json!({"method": "aes-128-gcm", "clients": [
        {"password": "p", "email": "a"}, {"password": "q", "email": "A"}]}));
    assert_eq!(twice, ["clients[1]: another user has the email `A`"]);

    let says = |method: &str| {
        let value = json!({"address": "a.example", "port": 1, "method": method, "password": "p"});
        read(&value, |object| outbound(object).is_some()).1[0].clone()
    };
    let old = says("aes-256-cfb");
    assert!(
        old.starts_with("method: `aes-256-cfb` is one of the old methods"),
        "{old}"
    );
    let unbuilt = says("xchacha20-ietf-poly1305");
    assert!(unbuilt.contains("is not built"), "{unbuilt}");
    let typo = says("aes-128-gmc");
    assert!(typo.ends_with("did you mean `aes-128-gcm`?"), "{typo}");
}

#[test]
fn what_would_send_datagrams_or_streams_elsewhere_is_refused() {
    for (key, value) in [("uot", json!(true)), ("plugin", json!("v2ray-plugin"))] {
        let mut server =
            json!({"address": "a", "port": 1, "method": "aes-128-gcm", "password": "p"});
        server[key] = value;
        let said = read(&server, |object| outbound(object).is_some()).1;
        assert!(said.len() == 1 && said[0].starts_with(key), "{said:?}");
    }
}
