//! A config as a file of gost: services, and chains that lead where their sessions go.
//!
//! A service whose sessions would go another way there, or whose bytes others could read, is left out as a whole.

mod carrier;
mod chain;

use std::collections::HashSet;
use std::net::SocketAddr;

use super::print;
use crate::config::{Config, Inbound, Listen, LogLevel, Outbound};
use crate::dialect::tree::{At, Node, Value};
use crate::protocol::accounts::Account;
use crate::protocol::{InboundSettings, relay, socks};
use crate::routing::{Conditions, Target};
use crate::smux;

use carrier::listener;
use chain::chain;

/// Writes a config in YAML; what is not carried over is added to `lines`.
pub(in crate::dialect) fn write(config: &Config, lines: &mut Vec<String>) -> String {
    let mut root = map();
    let mut chains = Vec::new();
    let mut names = HashSet::new();
    for (n, inbound) in config.all_inbounds().enumerate() {
        let wished = inbound.tag.as_deref().filter(|tag| !tag.is_empty());
        let mut name = wished.map_or_else(|| format!("service-{n}"), str::to_owned);
        if !names.insert(name.clone()) {
            name = format!("{name}-{n}");
            names.insert(name.clone());
        }
        let written = service(config, inbound, &name, &mut chains, lines);
        match written {
            Ok(service) => root.push("services", service),
            Err(why) => lines.push(format!("{}: {why}: it is left out", inbound.name)),
        }
    }
    for (_, chain) in chains {
        root.push("chains", chain);
    }
    let level = match config.log.level {
        LogLevel::None | LogLevel::Error => "error",
        LogLevel::Warning => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let mut log = map();
    put(&mut log, "level", level);
    root.set("log", log);
    print::yaml(&root)
}

fn map() -> Node {
    Node::new(Value::Map(Vec::new()), &At::default())
}

fn put(node: &mut Node, key: &str, text: impl Into<String>) {
    node.set(key, Node::text(text, &At::default()));
}

fn typed(word: &str) -> Node {
    let mut node = map();
    put(&mut node, "type", word);
    node
}

fn service(
    config: &Config,
    inbound: &Inbound,
    name: &str,
    chains: &mut Vec<(String, Node)>,
    lines: &mut Vec<String>,
) -> Result<Node, String> {
    let (Listen::Ip(ip), [range]) = (&inbound.listen, &inbound.ports[..]) else {
        return Err("expected one address and one port".to_owned());
    };
    if range.from != range.to {
        return Err("expected one port".to_owned());
    }
    let mut service = map();
    put(&mut service, "name", name);
    put(
        &mut service,
        "addr",
        SocketAddr::new(*ip, range.from).to_string(),
    );
    let mut targets = Vec::new();
    let mut datagrams = false;
    let mut handler = match &inbound.protocol {
        InboundSettings::Socks(settings) => {
            let mut handler = typed(match settings.taken {
                socks::Taken::All => "auto",
                socks::Taken::Four => "socks4",
                socks::Taken::Five => "socks5",
            });
            if settings.udp || settings.udp_tunnel {
                keys(&mut handler, &[("udp", "true".to_owned())]);
            }
            auth(
                &mut handler,
                settings.accounts.as_deref().unwrap_or_default(),
            )?;
            if settings.accounts.as_deref().is_some_and(<[_]>::is_empty) {
                return Err(
                    "there is no account, and without one it would be open to everybody".to_owned(),
                );
            }
            handler
        }
        InboundSettings::Http(settings) => {
            let mut handler = typed("http");
            if settings.udp_tunnel {
                keys(&mut handler, &[("udp", "true".to_owned())]);
            }
            auth(&mut handler, &settings.accounts)?;
            handler
        }
        InboundSettings::Relay(settings) => {
            let mut handler = typed("relay");
            match &settings.service {
                relay::Service::Forward(to) => targets.extend(to.iter().cloned()),
                relay::Service::AsAsked { connect: false, .. } => {
                    return Err("a gost lets its clients connect to wherever they want".to_owned());
                }
                relay::Service::AsAsked { bind, .. } => {
                    if let Some(bind) = bind {
                        if !bind.ports.is_empty() {
                            return Err("`allowPorts` has no word, and all ports would be allowed"
                                .to_owned());
                        }
                        keys(&mut handler, &[("bind", "true".to_owned())]);
                        if bind.mux != smux::Version::One {
                            let version = (bind.mux as u8).to_string();
                            keys(&mut handler, &[("mux.version", version)]);
                        }
                    }
                }
            }
            auth(&mut handler, &settings.accounts)?;
            handler
        }
        InboundSettings::Dokodemo(settings) => {
            let Some(to) = settings.to.clone().filter(|_| !settings.follow_redirect) else {
                return Err("`followRedirect` has no word".to_owned());
            };
            if !settings.port_map.is_empty() {
                return Err("`portMap` has no word: write an inbound for each port".to_owned());
            }
            if settings.loopback {
                return Err("a door without an address has no word".to_owned());
            }
            if settings.same_port && to.port == 0 {
                return Err("a target without a port of its own has no word".to_owned());
            }
            if settings.tcp && settings.udp {
                return Err("TCP and UDP are two services there: write two inbounds".to_owned());
            }
            datagrams = settings.udp;
            targets.push(to);
            typed(if datagrams { "udp" } else { "tcp" })
        }
        _ => {
            return Err(
                "gost speaks `socks`, `http`, `relay` and `dokodemo-door` of this".to_owned(),
            );
        }
    };
    if inbound.sniffing.is_some() {
        lines.push(format!(
            "{}.sniffing: there is no word for it",
            inbound.name
        ));
    }
    if inbound.limits != Default::default() {
        lines.push(format!("{}.limits: there is no word for it", inbound.name));
    }
    if let Some(outbound) = leads(config, inbound)? {
        let chain = chain(config, outbound, chains, lines)?;
        if let Some(chain) = chain {
            put(&mut handler, "chain", chain);
        }
    }
    service.set("handler", handler);
    let listener = match datagrams {
        true => typed("udp"),
        false => listener(&inbound.transport)?,
    };
    service.set("listener", listener);
    let tls = inbound.transport.security.as_ref();
    if tls.is_some_and(|tls| tls.early_data) {
        lines.push(format!(
            "{}.streamSettings.tlsSettings.earlyData: there is no word for it",
            inbound.name
        ));
    }
    if !targets.is_empty() {
        let mut forwarder = map();
        for (n, to) in targets.iter().enumerate() {
            let mut node = map();
            put(&mut node, "name", format!("target-{n}"));
            put(&mut node, "addr", to.to_string());
            forwarder.push("nodes", node);
        }
        service.set("forwarder", forwarder);
    }
    Ok(service)
}

fn auth(part: &mut Node, accounts: &[Account]) -> Result<(), String> {
    match accounts {
        [] => Ok(()),
        [one] => {
            let mut auth = map();
            put(&mut auth, "username", one.user.clone());
            put(&mut auth, "password", String::clone(&one.pass));
            part.set("auth", auth);
            Ok(())
        }
        _ => Err(
            "expected one account: several stand in `authers` there, which are not written"
                .to_owned(),
        ),
    }
}

/// Adds to `metadata`.
fn keys(part: &mut Node, pairs: &[(&str, String)]) {
    let mut metadata = part.take("metadata").unwrap_or_else(map);
    for (key, value) in pairs {
        put(&mut metadata, key, value.clone());
    }
    part.set("metadata", metadata);
}

/// The outbound that carries the sessions of an inbound, if rules say no more than that.
fn leads<'a>(config: &'a Config, inbound: &Inbound) -> Result<Option<&'a Outbound>, String> {
    let tag = inbound.tag.as_deref().unwrap_or_default();
    for rule in &config.routing.rules {
        let names = &rule.conditions.inbounds;
        if !names.is_empty() && !names.iter().any(|name| name == tag) {
            continue;
        }
        let rest = Conditions {
            inbounds: Default::default(),
            ..rule.conditions.clone()
        };
        if rest != Conditions::default() {
            return Err(
                "a rule sends some of its sessions elsewhere, and rules are not carried over"
                    .to_owned(),
            );
        }
        return match &*rule.target {
            Target::Outbound(tag) => {
                let found = config
                    .outbounds
                    .iter()
                    .find(|one| one.tag.as_ref() == Some(tag));
                found
                    .map(Some)
                    .ok_or_else(|| "its outbound is not there".to_owned())
            }
            Target::Balancer(_) => Err("balancers are not carried over".to_owned()),
        };
    }
    Ok(config.outbounds.first())
}
