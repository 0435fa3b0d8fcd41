//! `settings` of a `shadowsocks` inbound or outbound.
//!
//! Inbound: `method` and `password`, or Xray's `clients` (also `users`), each with `method` and `password`; with a method
//! of 2022 the clients have keys alone, and the inbound's `password` is the server's. Outbound:
//! `servers: [{address, port, method, password}]`, or one server in `settings` itself. V2Ray 5 has an outbound of its own
//! for 2022, `shadowsocks2022`, with `psk` and `ipsk`.

use std::collections::HashSet;

use super::servers::destination;
use super::{clients, networks};
use crate::dialect::v2ray::json::{Node, Object, StringList, did_you_mean, either, found};
use crate::protocol::servers::ServerSettings;
use crate::protocol::shadowsocks::{
    Access, AccountSecret, AccountSettings, AeadPassword, Blake3Key, Cipher, InboundSettings, Key,
    MAX_SERVERS, Method, OutboundSettings, UserSettings,
};

pub(super) fn inbound(settings: &Object) -> Option<InboundSettings> {
    let (tcp, udp) = networks::read(settings);
    // The key that V2Ray had before `network`.
    let udp = settings.read_or("udp", false) || udp;
    let method = settings.get("method").map(|node| method(&node));
    let password = settings.get("password");
    let level = settings.read_or("level", 0);
    let email = email(settings);
    // Salts are remembered in any case.
    let _: Option<bool> = settings.read("ivCheck");
    refuse_packet_encoding(settings);
    let users = settings.first(&["clients", "users"]);
    let label = |key| UserSettings { key, email, level };
    let access = match users {
        Some(users) => several(settings, &users, method, password.as_ref()),
        None => {
            if method.is_none() {
                settings.node.error("`method` is missing");
            }
            one(settings, method??, password.as_ref(), label)
        }
    };
    Some(InboundSettings {
        access: access?,
        tcp,
        udp,
    })
}

/// One password for all.
fn one(
    settings: &Object,
    method: Method,
    password: Option<&Node>,
    label: impl FnOnce(()) -> UserSettings<()>,
) -> Option<Access> {
    let with = |user: UserSettings<()>| (user.email, user.level);
    match method {
        Method::None => {
            // V2Ray wants one, and does nothing with it.
            let _: Option<String> = password.and_then(Node::read);
            Some(Access::Anybody(label(())))
        }
        Method::Aead(cipher) => {
            let password = require_password(settings, password)?;
            let (email, level) = with(label(()));
            let key = AeadPassword::new(cipher, password);
            Some(Access::Passwords(vec![UserSettings { key, email, level }]))
        }
        Method::Blake3(cipher) => {
            let key = server_key(settings, cipher, password)?;
            let (email, level) = with(label(()));
            let key = Blake3Key { cipher, key };
            Some(Access::OneKey(UserSettings { key, email, level }))
        }
    }
}

/// Xray's `clients`.
fn several(
    settings: &Object,
    list: &Node,
    method: Option<Option<Method>>,
    password: Option<&Node>,
) -> Option<Access> {
    let nodes = list.array();
    if nodes.is_empty() && list.value.is_array() {
        list.warn("there is no user, nobody can connect");
    }
    match method {
        Some(None) => None,
        Some(Some(Method::Blake3(cipher))) => {
            let key = server_key(settings, cipher, password);
            if !cipher.is_aes() {
                list.error("only the methods `2022-blake3-aes-128-gcm` and `2022-blake3-aes-256-gcm` can tell users apart");
                return None;
            }
            let users = users(&nodes, |user| {
                no_relay(user);
                // Panels write an empty one.
                if let Some(node) = user.get("method").filter(|node| node.value != "") {
                    node.error("a user has no method of their own here, it is that of the inbound");
                }
                let node = user.require_node("password")?;
                let text: String = node.read()?;
                key_of(&node, cipher, &text)
            });
            Some(Access::Identities {
                cipher,
                key: key?,
                users: users?,
            })
        }
        Some(Some(own @ (Method::None | Method::Aead(_)))) => aead_users(&nodes, Some(own)),
        None => aead_users(&nodes, None),
    }
}

/// Users of 2017. One that has no method has that of the inbound.
fn aead_users(nodes: &[Node], own: Option<Method>) -> Option<Access> {
    let users = users(nodes, |user| {
        let node = user.get("method").filter(|node| node.value != "");
        let method = match (&node, own) {
            (Some(node), _) => method(node)?,
            (None, Some(own)) => own,
            (None, None) => {
                user.node.error("`method` is missing");
                return None;
            }
        };
        let password = user.get("password");
        let password = require_password(user, password.as_ref());
        let Method::Aead(cipher) = method else {
            let at = node.as_ref().unwrap_or(&user.node);
            at.error(
                "among several users only the methods `aes-128-gcm`, `aes-256-gcm` and `chacha20-poly1305` work, or one of 2022 for the whole inbound",
            );
            return None;
        };
        Some(AeadPassword::new(cipher, password?))
    });
    Some(Access::Passwords(users?))
}

/// All users, each with what `read` makes of them; no two have the same key or email.
fn users<K: PartialEq>(
    nodes: &[Node],
    read: impl Fn(&Object) -> Option<K>,
) -> Option<Vec<UserSettings<K>>> {
    let mut users: Vec<UserSettings<K>> = Vec::new();
    let mut emails = HashSet::new();
    let mut sound = true;
    for node in nodes {
        let user = node.object().and_then(|object| {
            let key = read(&object);
            let email = email(&object);
            let level = object.read_or("level", 0);
            let _: Option<bool> = object.read("ivCheck");
            clients::pass_over_notes(&object);
            object.finish();
            let key = key?;
            Some(UserSettings { key, email, level })
        });
        let Some(user) = user else {
            sound = false;
            continue;
        };
        if users.iter().any(|other| other.key == user.key) {
            node.warn("another user has the same password, the last one counts");
            users.retain(|other| other.key != user.key);
        }
        if let Some(email) = &user.email
            && !emails.insert(email.to_lowercase())
        {
            node.error(format!("another user has the email `{email}`"));
            sound = false;
        }
        users.push(user);
    }
    sound.then_some(users)
}

fn email(object: &Object) -> Option<String> {
    let email: Option<String> = object.read("email");
    email.filter(|email| !email.is_empty())
}

/// A user of Xray's may be a server further on, whom this one passes everything to.
fn no_relay(user: &Object) {
    for key in ["address", "port"] {
        user.refuse(
            key,
            "a relay is not built: a user is somebody who connects here",
        );
    }
}

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let servers = match settings.get("servers") {
        Some(list) => {
            let nodes = list.array();
            if nodes.is_empty() && list.value.is_array() {
                list.error("there is no server, expected `[{address, port, method, password}]`");
            }
            let each = nodes.iter().map(|node| {
                let object = node.object()?;
                let server = server(&object);
                object.finish();
                server
            });
            let each: Vec<_> = each.collect();
            each.into_iter().collect::<Option<Vec<_>>>()?
        }
        None => vec![server(settings)?],
    };
    (!servers.is_empty()).then_some(OutboundSettings { servers })
}

fn server(object: &Object) -> Option<ServerSettings<AccountSettings>> {
    let to = destination(object);
    let node = object.require_node("method");
    let method = node.as_ref().and_then(method);
    let password = object.get("password");
    let level = object.read_or("level", 0);
    let _: Option<String> = object.read("email");
    let _: Option<bool> = object.read("ivCheck");
    // What V2Ray has taken out, and what makes salts look like text.
    object.silent(&["ota", "uotVersion", "experimentReducedIvHeadEntropy"]);
    object.refuse(
        "uot",
        "UDP over TCP is not built: without it datagrams go to the server as datagrams",
    );
    for key in ["plugin", "pluginOpts"] {
        object.refuse(
            key,
            "V2Ray's shadowsocks has no plugins: `proxySettings` to a `freedom` with `redirect`, `streamSettings` and `mux` does what v2ray-plugin does",
        );
    }
    let secret = match method? {
        Method::None => {
            let _: Option<String> = password.and_then(|node| node.read());
            AccountSecret::None
        }
        Method::Aead(cipher) => {
            let password = require_password(object, password.as_ref())?;
            AccountSecret::Aead(AeadPassword::new(cipher, password))
        }
        Method::Blake3(cipher) => {
            let text = require_password(object, password.as_ref())?;
            let node = password?;
            let keys = text.split(':').map(|text| key_of(&node, cipher, text));
            secret_2022(&node, cipher, keys.collect::<Option<_>>()?)?
        }
    };
    let at = node?.path.into();
    let account = AccountSettings { at, secret, level };
    Some(ServerSettings {
        to: to?,
        accounts: vec![account],
    })
}

/// V2Ray 5's `shadowsocks2022`.
pub(super) fn outbound_2022(settings: &Object) -> Option<OutboundSettings> {
    let to = destination(settings);
    let node = settings.require_node("method");
    let cipher = node.as_ref().and_then(|node| match method(node)? {
        Method::Blake3(cipher) => Some(cipher),
        Method::None | Method::Aead(_) => {
            node.error(
                "`shadowsocks2022` is for the methods of 2022, the protocol is `shadowsocks`",
            );
            None
        }
    });
    let user = settings.require_node("psk");
    let servers = settings.get("ipsk");
    let (cipher, user) = (cipher?, user?);
    let mut keys = Vec::new();
    if let Some(node) = &servers {
        let StringList(texts) = node.read()?;
        for text in texts {
            keys.push(key_of(node, cipher, &text)?);
        }
    }
    keys.push(key_of(&user, cipher, &user.read::<String>()?)?);
    let account = AccountSettings {
        at: node?.path.into(),
        secret: secret_2022(&user, cipher, keys)?,
        level: 0,
    };
    let server = ServerSettings {
        to: to?,
        accounts: vec![account],
    };
    Some(OutboundSettings {
        servers: vec![server],
    })
}

/// Of keys of which the last one is ours.
fn secret_2022(node: &Node, cipher: Cipher, mut keys: Vec<Key>) -> Option<AccountSecret> {
    let key = keys.pop()?;
    if !keys.is_empty() && !cipher.is_aes() {
        node.error("several keys are for the methods `2022-blake3-aes-128-gcm` and `2022-blake3-aes-256-gcm` alone");
        return None;
    }
    if keys.len() > MAX_SERVERS {
        node.error(format!(
            "{} keys of servers, at most {MAX_SERVERS} can be",
            keys.len()
        ));
        return None;
    }
    Some(AccountSecret::Blake3 {
        key: Blake3Key { cipher, key },
        servers: keys,
    })
}

fn method(node: &Node) -> Option<Method> {
    const OLD: [&str; 5] = ["-cfb", "-ctr", "rc4", "salsa20", "-ofb"];
    const OTHERS: [&str; 6] = [
        "xchacha20-poly1305",
        "xchacha20-ietf-poly1305",
        "aead_xchacha20_poly1305",
        "2022-blake3-chacha8-poly1305",
        "2022-blake3-chacha12-poly1305",
        "2022-blake3-aes-192-gcm",
    ];
    let name: String = node.read()?;
    let found = Method::named(&name);
    if found.is_none() {
        let names = Method::NAMES.map(|(name, _)| name);
        let lower = name.to_ascii_lowercase();
        let shown = name.escape_debug();
        let expected = either(&names);
        if OTHERS.contains(&&*lower) {
            node.unbuilt(format!(
                "the method `{shown}` is not built, expected {expected}"
            ));
        } else if OLD.iter().any(|old| lower.contains(old)) || lower == "chacha20" {
            node.error(format!(
                "`{shown}` is one of the old methods, which V2Ray has no more: anybody could change what they seal, expected {expected}"
            ));
        } else {
            let guess = did_you_mean(&name, names.into_iter());
            node.error(format!("`{shown}` is unknown, expected {expected}{guess}"));
        }
    }
    found
}

fn require_password(object: &Object, node: Option<&Node>) -> Option<String> {
    let Some(node) = node else {
        object.node.error("`password` is missing");
        return None;
    };
    let text: String = node.read()?;
    if text.is_empty() {
        node.error("the password is empty");
    }
    (!text.is_empty()).then_some(text)
}

/// The one key of an inbound of 2022.
fn server_key(settings: &Object, cipher: Cipher, node: Option<&Node>) -> Option<Key> {
    let text = require_password(settings, node)?;
    let node = node?;
    if text.contains(':') {
        node.error("a server has one key: those of its users go into `clients`");
        return None;
    }
    key_of(node, cipher, &text)
}

fn key_of(node: &Node, cipher: Cipher, text: &str) -> Option<Key> {
    let key = Key::from_base64(cipher, text);
    key.map_err(|e| node.error(e.to_string())).ok()
}

/// V2Ray 5's packetaddr inside of Shadowsocks.
fn refuse_packet_encoding(settings: &Object) {
    let Some(node) = settings.get("packetEncoding") else {
        return;
    };
    match node.value.as_str() {
        Some(word) if word.is_empty() || word.eq_ignore_ascii_case("none") => {}
        Some(_) => node.unbuilt("packetaddr inside of `shadowsocks` is not built: its datagrams go to any address as they are, expected `None`"),
        None => node.error(format!("{} is not a string", found(node.value))),
    }
}

#[cfg(test)]
#[path = "shadowsocks_tests.rs"]
mod tests;
