//! `inbounds`: SOCKS, HTTP, both on one port, and doors to a fixed place.

use std::net::{IpAddr, Ipv4Addr};

use super::sniff;
use crate::address::{Destination, Host};
use crate::config::Inbound;
use crate::dialect::clients::nodes::{account, inbound, mixed};
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::protocol::{InboundSettings, dokodemo, http};

/// Reads an inbound, which may be one by whose tag all `is_answered` here; what is wrong with it, or that there is no such here, is told.
pub(super) fn read(
    node: &Node,
    is_answered: impl Fn(&str) -> bool,
    notes: &Notes,
) -> Option<Inbound> {
    let before = notes.errors();
    let keys = Keys::of(node, notes)?;
    let kind = keys.word("type").unwrap_or_default();
    if !matches!(&*kind, "socks" | "http" | "mixed" | "direct") {
        let text = format!(
            "inbounds of type `{}` are not carried over, expected `mixed`, `socks`, `http` or `direct`",
            kind.escape_debug()
        );
        notes.left_out(&node.at, text);
        return None;
    }
    let listen = keys.text("listen").map(str::parse);
    let listen: IpAddr = match listen {
        None => Ipv4Addr::LOCALHOST.into(),
        Some(Ok(ip)) => ip,
        Some(Err(_)) => {
            keys.error(
                "listen",
                "this is no address, expected one such as `127.0.0.1`",
            );
            return None;
        }
    };
    let port: Option<u16> = match keys.required("listen_port") {
        Some(_) => keys.number("listen_port"),
        None => None,
    };
    let mut accounts = Vec::new();
    for user in keys.items("users") {
        let Some(user) = Keys::of(user, notes) else {
            continue;
        };
        accounts.extend(account(&user));
        user.finish();
    }
    keys.refuse(&["tls"], "TLS in front of an inbound is not carried over, and without it everybody could read what passes");
    keys.silent(&[
        "domain_strategy",
        "tcp_fast_open",
        "set_system_proxy",
        "sniff_timeout",
    ]);
    let sniffing = sniff::of_inbound(&keys);
    let tag = keys.text("tag");
    let door = match &*kind {
        "direct" => Some(door(&keys, tag.is_some_and(is_answered))),
        _ => None,
    };
    keys.finish();
    let protocol = match &*kind {
        "direct" => InboundSettings::Dokodemo(door.flatten()?),
        "http" => InboundSettings::Http(http::InboundSettings {
            accounts,
            ..http::InboundSettings::default()
        }),
        _ => mixed(accounts),
    };
    let made = Inbound {
        sniffing,
        ..inbound(node.at.path.clone(), tag, listen, port?, protocol)
    };
    (notes.errors() == before).then_some(made)
}

/// Where all that comes in goes; nowhere, where all of it `is_answered` here.
fn door(keys: &Keys, is_answered: bool) -> Option<dokodemo::InboundSettings> {
    let network = keys.word("network");
    let host = keys.text("override_address").map(Host::parse);
    let port = keys.number::<u16>("override_port");
    keys.silent(&["udp_timeout"]);
    let host = match host {
        Some(Ok(host)) => host,
        Some(Err(e)) => {
            keys.error("override_address", e);
            return None;
        }
        // Nobody's name (RFC 6761, section 6.4): what is answered here goes nowhere.
        None if is_answered => Host::Domain("invalid".to_owned()),
        None => {
            let text = "it is missing: what comes in would go to the port that it comes in by";
            keys.error("override_address", text);
            return None;
        }
    };
    let port = port.or(is_answered.then_some(53));
    Some(dokodemo::InboundSettings {
        same_port: port.is_none(),
        to: Some(Destination::new(host, port.unwrap_or(0))),
        tcp: network.as_deref() != Some("udp"),
        udp: network.as_deref() != Some("tcp"),
        ..dokodemo::InboundSettings::default()
    })
}
