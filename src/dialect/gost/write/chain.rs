//! Chains: the outbounds that one goes through, each a hop.

use super::carrier::{dialer, put_headers};
use super::{auth, keys, map, put, typed};
use crate::config::{Config, Outbound};
use crate::dialect::tree::Node;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{OutboundSettings, socks};

/// The name of the chain that leads through an outbound; `None` is straight to the target.
pub(super) fn chain(
    config: &Config,
    outbound: &Outbound,
    chains: &mut Vec<(String, Node)>,
    lines: &mut Vec<String>,
) -> Result<Option<String>, String> {
    let mut hops = Vec::new();
    let mut next = Some(outbound);
    while let Some(one) = next {
        if hops.len() > config.outbounds.len() {
            return Err("outbounds go through each other in a circle".to_owned());
        }
        let is_straight = matches!(&one.protocol, OutboundSettings::Freedom(settings) if *settings == Default::default());
        if is_straight && hops.is_empty() && one.through.is_none() {
            return Ok(None);
        }
        if !is_straight {
            hops.push(one);
        }
        let through = one.through.as_ref();
        next = match through {
            Some(through) => {
                let mut all = config.outbounds.iter();
                let found = all.find(|other| other.tag.as_ref() == Some(&through.tag));
                Some(found.ok_or_else(|| "what it goes through is not there".to_owned())?)
            }
            None => None,
        };
    }
    let key = outbound.name.clone();
    if let Some(n) = chains.iter().position(|(name, _)| *name == key) {
        return Ok(Some(format!("chain-{n}")));
    }
    let name = format!("chain-{}", chains.len());
    let mut chain = map();
    put(&mut chain, "name", name.clone());
    for (n, hop) in hops.iter().rev().enumerate() {
        let mut written = map();
        put(&mut written, "name", format!("hop-{n}"));
        for node in nodes(hop, lines)? {
            written.push("nodes", node);
        }
        chain.push("hops", written);
    }
    chains.push((key, chain));
    Ok(Some(name))
}

/// The servers of an outbound.
fn nodes(outbound: &Outbound, lines: &mut Vec<String>) -> Result<Vec<Node>, String> {
    let name = &outbound.name;
    let whole = |why: String| format!("{name}: {why}");
    if outbound.mux.is_some() {
        return Err(whole("Mux.Cool is not known there".to_owned()));
    }
    let (word, servers): (&str, &[ServerSettings<Account>]) = match &outbound.protocol {
        OutboundSettings::Socks(settings) => {
            let word = match settings.version {
                socks::Version::Four => "socks4",
                socks::Version::FourA => "socks4a",
                socks::Version::Five => "socks5",
            };
            (word, &settings.servers[..])
        }
        OutboundSettings::Http(settings) => ("http", &settings.servers[..]),
        OutboundSettings::Relay(settings) => ("relay", &settings.servers[..]),
        other => {
            return Err(whole(format!(
                "gost speaks `socks`, `http` and `relay`, and no `{}`",
                other.name()
            )));
        }
    };
    let dialer = dialer(&outbound.transport, name, lines).map_err(whole)?;
    // Its datagrams go inside the connection unless `relay` says otherwise, which only a bare one may.
    let of_five = match &outbound.protocol {
        OutboundSettings::Socks(settings) if settings.version == socks::Version::Five => {
            Some(settings.udp_tunnel)
        }
        _ => None,
    };
    let is_bare = outbound.transport.is_bare();
    let beside = of_five == Some(false) && is_bare;
    if of_five == Some(false) && !is_bare {
        lines.push(format!(
            "{name}: gost's datagrams go inside the connection, with SOCKS 5's command F3, which a gost knows"
        ));
    }
    if of_five == Some(true) && is_bare {
        lines.push(format!(
            "{name}.settings.udpTunnel: read again by mobula, datagrams go beside a bare connection"
        ));
    }
    let mut all = Vec::new();
    for (n, server) in servers.iter().enumerate() {
        let mut node = map();
        put(&mut node, "name", format!("node-{n}"));
        put(&mut node, "addr", server.to.to_string());
        let mut connector = typed(word);
        auth(&mut connector, &server.accounts).map_err(whole)?;
        if let OutboundSettings::Http(settings) = &outbound.protocol {
            put_headers(&mut connector, &settings.headers);
        }
        if beside {
            keys(&mut connector, &[("relay", "udp".to_owned())]);
        }
        node.set("connector", connector);
        node.set("dialer", dialer.clone());
        all.push(node);
    }
    Ok(all)
}
