//! Where applications come in: `port`, `socks-port`, `mixed-port` and `listeners`.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::Inbound;
use crate::dialect::clients::nodes::{account, inbound, mixed};
use crate::dialect::tree::At;
use crate::dialect::tree::keys::Keys;
use crate::protocol::accounts::Account;
use crate::protocol::{InboundSettings, http};

/// A listener all of whose sessions go by one proxy.
pub(super) struct Bound<'n> {
    pub(super) at: &'n At,
    /// That of its inbound.
    pub(super) tag: String,
    pub(super) proxy: &'n str,
}

/// Reads the ways in, and which of them have a way out of their own.
pub(super) fn read<'n>(keys: &Keys<'n>) -> (Vec<Inbound>, Vec<Bound<'n>>) {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let bind = match keys.text("bind-address") {
        None | Some("*") => Some(everywhere),
        Some(text) => text.trim_matches(['[', ']']).parse().ok(),
    };
    if bind.is_none() {
        keys.error(
            "bind-address",
            "this is no address, expected one such as `127.0.0.1`, or `*`",
        );
    }
    let listen = match keys.switch("allow-lan") {
        true => bind,
        false => Some(Ipv4Addr::LOCALHOST.into()),
    };
    let networks = "it is not carried over: whoever reaches the port may use it, with the password if there is one";
    keys.no_way(&["lan-disallowed-ips"], networks);
    let everybody = ["0.0.0.0/0", "::/0"];
    let allowed: Vec<&str> = keys
        .list("lan-allowed-ips")
        .iter()
        .map(|(_, net)| *net)
        .collect();
    if !allowed.is_empty() && !everybody.iter().all(|net| allowed.contains(net)) {
        keys.astray("lan-allowed-ips", networks);
    }
    let accounts = accounts(keys);
    match accounts.is_empty() && keys.get("listeners").is_none() {
        // Nobody is asked for one.
        true => keys.silent(&["skip-auth-prefixes"]),
        false => keys.no_way(
            &["skip-auth-prefixes"],
            "it is not carried over: everybody is asked for the password",
        ),
    }
    let (mut all, mut bound) = (Vec::new(), Vec::new());
    let mixed = keys.number::<u16>("mixed-port");
    for (key, tag) in [
        ("mixed-port", "mixed"),
        ("socks-port", "socks"),
        ("port", "http"),
    ] {
        let port = keys.number::<u16>(key).filter(|port| *port > 0);
        let (Some(port), Some(listen)) = (port, listen) else {
            continue;
        };
        if tag != "mixed" && mixed == Some(port) {
            keys.left_out(key, "`mixed-port` takes both on this port");
            continue;
        }
        let protocol = protocol(tag == "http", accounts.clone());
        all.push(inbound(key.to_owned(), Some(tag), listen, port, protocol));
    }
    let text = "such inbounds are not carried over";
    let transparent = ["redir-port", "tproxy-port"];
    match all.is_empty() {
        true => keys.no_way(&transparent, text),
        // They stand in files that were copied, and nothing comes to them but by rules of a firewall.
        false => keys.no_word(&transparent, text),
    }
    keys.no_way(&["ss-config", "vmess-config", "tuic-server"], text);
    for node in keys.items("listeners") {
        let Some(listener) = Keys::of(node, keys.notes()) else {
            continue;
        };
        let mark = keys.notes().mark();
        let read = read_listener(&listener, bind.unwrap_or(everywhere), &accounts);
        if read.is_none() {
            keys.notes().all_astray(mark);
        }
        if let (Some(inbound), Some(proxy)) = (&read, listener.text("proxy")) {
            bound.push(Bound {
                at: listener.at(),
                tag: inbound.tag.as_deref().unwrap_or_default().to_owned(),
                proxy,
            });
        }
        all.extend(read);
    }
    (all, bound)
}

fn protocol(is_http: bool, accounts: Vec<Account>) -> InboundSettings {
    match is_http {
        true => InboundSettings::Http(http::InboundSettings {
            accounts,
            ..http::InboundSettings::default()
        }),
        false => mixed(accounts),
    }
}

/// `authentication`: `user:password` for each.
fn accounts(keys: &Keys) -> Vec<Account> {
    let mut all = Vec::new();
    for (node, text) in keys.list("authentication") {
        match text.split_once(':') {
            Some((user, pass)) => all.push(Account {
                user: user.to_owned(),
                pass: pass.to_owned().into(),
                level: 0,
            }),
            None => keys
                .notes()
                .error(&node.at, "there is no `:` in it, expected `user:password`"),
        }
    }
    all
}

/// Without `users` of its own it has those of `authentication`.
fn read_listener(keys: &Keys, everywhere: IpAddr, everybody: &[Account]) -> Option<Inbound> {
    let kind = keys.word("type").unwrap_or_default();
    if !matches!(&*kind, "socks" | "http" | "mixed") {
        let text = format!(
            "listeners of type `{}` are not carried over, expected `mixed`, `socks` or `http`",
            kind.escape_debug()
        );
        keys.left_out("type", text);
        return None;
    }
    let before = keys.notes().errors();
    let listen = match keys.text("listen").map(str::parse) {
        None => Some(everywhere),
        Some(Ok(ip)) => Some(ip),
        Some(Err(_)) => {
            keys.error(
                "listen",
                "this is no address, expected one such as `127.0.0.1`",
            );
            None
        }
    };
    let port = keys.number::<u16>("port").filter(|port| *port > 0);
    let mut accounts = Vec::new();
    for user in keys.items("users") {
        let Some(user) = Keys::of(user, keys.notes()) else {
            continue;
        };
        accounts.extend(account(&user));
    }
    if keys.get("users").is_none() {
        accounts = everybody.to_vec();
    }
    keys.no_way(
        &["rule"],
        "what comes in here goes where other rules send it",
    );
    keys.refuse(
        &["certificate", "private-key"],
        "TLS in front of it is not carried over, and without it everybody could read what passes",
    );
    if port.is_none() {
        keys.error("port", "it is missing, expected 1 to 65535");
    }
    let path = &keys.at().path;
    let name = keys.text("name").unwrap_or(path);
    if keys.notes().errors() > before {
        return None;
    }
    let protocol = protocol(kind == "http", accounts);
    Some(inbound(path.clone(), Some(name), listen?, port?, protocol))
}
