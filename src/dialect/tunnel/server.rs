//! `[server]`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use super::text::{Table, Text, Value};
use super::{PATHS, PORT, account, certificate};
use crate::address::{Host, PortRange};
use crate::config::{Config, Inbound, Listen, Outbound, share};
use crate::dialect::v2ray::site::of_text;
use crate::dns::Strategy;
use crate::protocol::relay::{BindSettings, InboundSettings, Service};
use crate::protocol::{self, OutboundSettings, blackhole};
use crate::report::Place;
use crate::seam::{Fallback, FallbackTarget, ProxyVersion};
use crate::transport::{ServerCarrier, ServerSettings, mws, site, ws};

/// What carries a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Wss,
    Ws,
    Tls,
}

pub(super) const TRANSPORTS: [(&str, Transport); 3] = [
    ("wss", Transport::Wss),
    ("ws", Transport::Ws),
    ("tls", Transport::Tls),
];

/// A path that every client must know is as good as none; one of the operator's own is the only one.
pub(super) fn paths(path: Option<&Value<'_, '_>>) -> Option<Vec<String>> {
    let Some(path) = path else {
        return Some(PATHS.map(str::to_owned).to_vec());
    };
    let word = path.word()?;
    if !word.starts_with('/') || word.contains(['?', '#', ' ']) {
        let word = word.escape_debug();
        path.error(format!(
            "`{word}` is no path, expected one such as `/tunnel/v1`"
        ));
        return None;
    }
    Some(vec![word])
}

/// The first of these is spoken; the others where it does not get through.
pub(super) fn transports(table: &Table<'_, '_>) -> Option<Vec<Transport>> {
    let first = match table.get("transport") {
        Some(value) => value.one_of(&TRANSPORTS)?,
        None => Transport::Wss,
    };
    let mut all = vec![first];
    if let Some(fallback) = table.get("fallback") {
        for value in fallback.list() {
            let next = value.one_of(&TRANSPORTS)?;
            if next == Transport::Ws && first != Transport::Ws {
                value.error("without TLS everybody in between could read and change what passes: `ws` is no fallback");
                return None;
            }
            if !all.contains(&next) {
                all.push(next);
            }
        }
    }
    Some(all)
}

pub(super) fn auth_key(table: &Table<'_, '_>) -> Option<String> {
    let value = table.require("auth_key")?;
    let key = value.word()?;
    if key.len() > 255 {
        value.error(format!(
            "a key has at most 255 bytes, this one has {}",
            key.len()
        ));
        return None;
    }
    if key == "your-secret-key-here" {
        value.warn("this is the key of the manual, which everybody knows: choose another one");
    }
    Some(key)
}

pub(super) fn read(
    _text: &Text<'_>,
    root: Table<'_, '_>,
    folder: Option<&Path>,
    notes: &mut Vec<String>,
) -> Option<Config> {
    let server = root.require("server");
    for key in ["client", "proxies"] {
        if let Some(value) = root.get(key) {
            value.error(format!(
                "`{key}` is for `mobula tunnel client`, and a server is asked for"
            ));
        }
    }
    root.finish("a server's file");
    let server = server?.table()?;
    let ip = match server.get("bind_addr") {
        Some(value) => address(&value),
        None => Some(Ipv4Addr::UNSPECIFIED.into()),
    };
    let port = match server.get("bind_port") {
        Some(value) => value.port(),
        None => Some(PORT),
    };
    let transports = transports(&server);
    let key = auth_key(&server);
    let path = server.get("wss_path");
    let paths = paths(path.as_ref());
    let site = match server.get("site") {
        Some(value) => site(&value, folder, transports.as_deref()).map(Some),
        None => Some(None),
    };
    let ports = match server.get("allow_ports") {
        Some(value) => allowed(&value),
        None => Some(Vec::new()),
    };
    let visitors = match server.get("max_visitors") {
        Some(value) => visitors(&value),
        None => Some(BindSettings::default().visitors),
    };
    let has_tls = transports
        .as_ref()
        .is_none_or(|all| all[0] != Transport::Ws);
    let tls = match has_tls {
        true => certificate::read(&server, folder, notes).map(Some),
        false => {
            for name in ["cert_path", "key_path"] {
                if let Some(value) = server.get(name) {
                    value.error(
                        "`transport = \"ws\"` has no TLS and no certificate, expected `wss`",
                    );
                }
            }
            if let Some(value) = server.get("transport") {
                value.warn("without TLS everybody in between can read the key and what passes, unless a web server in front has it");
            }
            Some(None)
        }
    };
    server.finish("[server]");
    let (transports, paths, site) = (transports?, paths?, site?);
    let service = Service::AsAsked {
        connect: false,
        bind: Some(BindSettings {
            ports: ports?,
            visitors: visitors?,
            ..BindSettings::default()
        }),
    };
    let relay = InboundSettings {
        accounts: vec![account(key?)],
        level: 0,
        service,
        hidden: true,
        stranger: None,
    };
    let place = Listen::Ip(ip?);
    let ports = vec![PortRange::from(port?)];
    let tls = tls?;
    let inbound = |listen: &Listen, ports: &[PortRange], transport, relay| Inbound {
        name: "[server]".to_owned(),
        at: Place::default(),
        tag: None,
        listen: listen.clone(),
        ports: ports.to_vec(),
        transport,
        protocol: protocol::InboundSettings::Relay(relay),
        sniffing: None,
        limits: Default::default(),
        beside: Vec::new(),
    };
    let websockets = |listen: &Listen, ports: &[PortRange], behind: bool| {
        let one = |path: &String| {
            let transport = ServerSettings {
                accept_proxy_protocol: behind,
                security: tls.clone().filter(|_| !behind),
                site: site.clone(),
                carrier: ServerCarrier::Mws(mws::ServerSettings {
                    ws: ws::ServerSettings {
                        path: path.clone(),
                        ..mws::ServerSettings::default().ws
                    },
                    ..mws::ServerSettings::default()
                }),
                ..ServerSettings::default()
            };
            inbound(listen, ports, transport, relay.clone())
        };
        share(paths.iter().map(one).collect())
    };
    let is_websocket = |transport: &Transport| *transport != Transport::Tls;
    let has_websocket = transports.iter().any(is_websocket);
    let mut inbounds = Vec::new();
    if transports.contains(&Transport::Tls) {
        let mut bare = relay.clone();
        if has_websocket {
            // Both speak first, one with a version and the other with a letter.
            let name = format!("mobula-tunnel-{}", std::process::id()).into_bytes();
            bare.stranger = Some(Arc::new(Fallback {
                to: FallbackTarget::Abstract(name.clone()),
                proxy_header: Some(ProxyVersion::Two),
            }));
            inbounds.extend(websockets(&Listen::Abstract(name), &[], true));
        }
        let transport = ServerSettings {
            security: tls.clone(),
            ..ServerSettings::default()
        };
        inbounds.push(inbound(&place, &ports, transport, bare));
    } else {
        inbounds.extend(websockets(&place, &ports, false));
    }
    // A tunnel opens ports and leads nowhere else.
    let nowhere = Outbound {
        name: "nowhere".to_owned(),
        at: Place::default(),
        tag: None,
        transport: Default::default(),
        protocol: OutboundSettings::Blackhole(blackhole::OutboundSettings::default()),
        through: None,
        strategy: Strategy::AsIs,
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    };
    Some(Config {
        inbounds,
        outbounds: vec![nowhere],
        ..Config::default()
    })
}

/// A folder beside the file, `http://HOST:PORT` or `unix:/path`: what all see who ask for no tunnel.
fn site(
    value: &Value<'_, '_>,
    folder: Option<&Path>,
    transports: Option<&[Transport]>,
) -> Option<site::Settings> {
    let word = value.word()?;
    if transports.is_some_and(|all| all == [Transport::Tls]) {
        value.error("`transport = \"tls\"` speaks no HTTP and has no site, expected `wss`");
        return None;
    }
    let is_folder = !word.contains("://") && !word.starts_with("unix:");
    let word = match folder.filter(|_| is_folder) {
        Some(folder) => folder.join(word).display().to_string(),
        None => word,
    };
    of_text(&word).map_err(|text| value.error(text)).ok()
}

pub(super) fn address(value: &Value<'_, '_>) -> Option<IpAddr> {
    let word = value.word()?;
    match Host::parse(word.trim()) {
        Ok(Host::Ip(ip)) => Some(ip),
        _ => {
            let word = word.escape_debug();
            value.error(format!(
                "`{word}` is no address to listen on, expected one such as `0.0.0.0`"
            ));
            None
        }
    }
}

/// How many may be at one port at once.
fn visitors(value: &Value<'_, '_>) -> Option<usize> {
    let most = BindSettings::default().visitors;
    let n = value.integer()?;
    match usize::try_from(n) {
        Ok(n) if (1..=most).contains(&n) => Some(n),
        _ => {
            value.error(format!("{n} visitors are here, expected 1 to {most}"));
            None
        }
    }
}

/// `8080`, `"8000-8100"`, or an array of them.
fn allowed(value: &Value<'_, '_>) -> Option<Vec<PortRange>> {
    let mut ranges = Vec::new();
    for one in value.list() {
        if one.is_integer() {
            ranges.push(PortRange::from(one.port()?));
            continue;
        }
        let word = one.string()?;
        let (from, to) = word.split_once('-').unwrap_or((&word, &word));
        let (from, to) = (from.trim().parse(), to.trim().parse());
        match (from, to) {
            (Ok(from), Ok(to)) if 0 < from && from <= to => ranges.push(PortRange { from, to }),
            _ => {
                let word = word.escape_debug();
                one.error(format!(
                    "`{word}` is no range of ports, expected `8000-8100` or a number"
                ));
                return None;
            }
        }
    }
    if ranges.is_empty() {
        value.error("no port is allowed, so nothing can be published: leave it out to allow all");
        return None;
    }
    Some(ranges)
}
