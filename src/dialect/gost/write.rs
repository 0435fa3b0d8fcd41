//! A config as a file of gost: services, and chains that lead where their sessions go.
//!
//! A service whose sessions would go another way there, or whose bytes others could read, is left out as a whole.

use std::collections::HashSet;
use std::net::SocketAddr;

use http::HeaderMap;
use http::header::HeaderValue;

use super::print;
use super::tree::{At, Node, Value};
use crate::address::Host;
use crate::config::{Config, Inbound, Listen, LogLevel, Outbound};
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{InboundSettings, OutboundSettings, http as http_proxy, relay, socks};
use crate::routing::{Conditions, Target};
use crate::smux;
use crate::transport::tls::{self, ClientAuth, Pem, Versions};
use crate::transport::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings as Server};

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
            let mut handler = typed("auto");
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

/// The name of the chain that leads through an outbound; `None` is straight to the target.
fn chain(
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
        OutboundSettings::Http(http_proxy::OutboundSettings {
            servers, headers, ..
        }) => {
            if !headers.is_empty() {
                lines.push(format!("{name}.settings.headers: there is no word for it"));
            }
            ("http", &servers[..])
        }
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
        if beside {
            keys(&mut connector, &[("relay", "udp".to_owned())]);
        }
        node.set("connector", connector);
        node.set("dialer", dialer.clone());
        all.push(node);
    }
    Ok(all)
}

/// The word for a carrier.
fn carrier(carrier: &str, has_tls: bool) -> &'static str {
    match (carrier, has_tls) {
        ("ws", false) => "ws",
        ("ws", true) => "wss",
        ("mws", false) => "mws",
        ("mws", true) => "mwss",
        (_, true) => "tls",
        (_, false) => "tcp",
    }
}

fn listener(transport: &Server) -> Result<Node, String> {
    let kept = Server {
        carrier: transport.carrier.clone(),
        security: transport.security.clone(),
        ..Server::default()
    };
    if *transport != kept {
        return Err(
            "what stands around it (`sockopt`, `acceptProxyProtocol`, a site) has no word"
                .to_owned(),
        );
    }
    let has_tls = transport.security.is_some();
    let mut listener = match &transport.carrier {
        ServerCarrier::Raw => typed(carrier("", has_tls)),
        ServerCarrier::Ws(ws) => {
            let mut node = typed(carrier("ws", has_tls));
            websocket(&mut node, &ws.path, &ws.headers, None);
            server_ws(ws.host.is_some(), ws.early_data.is_some())?;
            node
        }
        ServerCarrier::Mws(mws) => {
            let mut node = typed(carrier("mws", has_tls));
            websocket(&mut node, &mws.ws.path, &mws.ws.headers, None);
            server_ws(mws.ws.host.is_some(), mws.ws.early_data.is_some())?;
            multiplexed(&mut node, &mws.mux);
            node
        }
        _ => return Err("gost has `tcp`, `ws` and `mws` of this".to_owned()),
    };
    if let Some(tls) = &transport.security {
        let mut node = map();
        match &tls.certificates[..] {
            [] if tls.self_signed.is_some() => {}
            [own] => {
                let (Pem::File(certificate), Pem::File(key)) = (&own.certificate, &own.key.0)
                else {
                    return Err("its certificate stands in the config: gost wants files".to_owned());
                };
                put(&mut node, "certFile", certificate.display().to_string());
                put(&mut node, "keyFile", key.display().to_string());
            }
            _ => return Err("gost has one certificate for a service".to_owned()),
        }
        if tls.client_auth != ClientAuth::None || !tls.issuers.is_empty() || !tls.acme.is_empty() {
            return Err(
                "certificates of clients, or those that are issued, are not carried over"
                    .to_owned(),
            );
        }
        versions(&mut node, tls.versions);
        if !node.entries().is_empty() {
            listener.set("tls", node);
        }
    }
    Ok(listener)
}

fn server_ws(has_host: bool, has_early_data: bool) -> Result<(), String> {
    match (has_host, has_early_data) {
        (true, _) => {
            Err("gost looks at no host, and requests for others would be taken".to_owned())
        }
        (_, true) => Err("gost has no early data".to_owned()),
        _ => Ok(()),
    }
}

fn dialer(transport: &ClientSettings, name: &str, lines: &mut Vec<String>) -> Result<Node, String> {
    if transport.sockopt != Default::default() {
        lines.push(format!(
            "{name}.streamSettings.sockopt: there is no word for it"
        ));
    }
    let has_tls = transport.security.is_some();
    let mut early = false;
    let mut dialer = match &transport.carrier {
        ClientCarrier::Raw => typed(carrier("", has_tls)),
        ClientCarrier::Ws(ws) => {
            let mut node = typed(carrier("ws", has_tls));
            early = ws.early_data.is_some();
            websocket(&mut node, &ws.path, &ws.headers, ws.host.as_ref());
            alive(&mut node, ws.heartbeat);
            node
        }
        ClientCarrier::Mws(mws) => {
            let mut node = typed(carrier("mws", has_tls));
            early = mws.ws.early_data.is_some();
            websocket(
                &mut node,
                &mws.ws.path,
                &mws.ws.headers,
                mws.ws.host.as_ref(),
            );
            alive(&mut node, mws.ws.heartbeat);
            multiplexed(&mut node, &mws.mux);
            node
        }
        _ => return Err("gost has `tcp`, `ws` and `mws` of this".to_owned()),
    };
    if early {
        lines.push(format!("{name}.streamSettings: gost has no early data"));
    }
    if let Some(tls) = &transport.security {
        if tls.early_data {
            lines.push(format!(
                "{name}.streamSettings.tlsSettings.earlyData: there is no word for it"
            ));
        }
        dialer.set("tls", client_tls(tls)?);
    }
    Ok(dialer)
}

/// A gost believes everybody unless it is told to verify.
fn client_tls(tls: &tls::ClientSettings) -> Result<Node, String> {
    if !tls.authorities.0.is_empty() || tls.disable_system_root {
        return Err(
            "authorities of one's own are not carried over, and others would be believed"
                .to_owned(),
        );
    }
    if tls.allow_insecure && (!tls.pins.is_empty() || !tls.certificate_pins.is_empty()) {
        return Err(
            "a pin alone says who the server is here, and gost has no word for it".to_owned(),
        );
    }
    if tls.certificate.is_some() || !tls.verify_names.is_empty() {
        return Err(
            "certificates of clients and `verifyPeerCertByName` are not carried over".to_owned(),
        );
    }
    let mut node = map();
    if !tls.allow_insecure {
        put(&mut node, "secure", "true");
    }
    if let Some(name) = &tls.server_name {
        let name = match name {
            Host::Domain(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        };
        put(&mut node, "serverName", name);
    }
    versions(&mut node, tls.versions);
    Ok(node)
}

fn versions(node: &mut Node, versions: Versions) {
    let mut options = map();
    match versions {
        Versions::Both => return,
        Versions::Only12 => put(&mut options, "maxVersion", "VersionTLS12"),
        Versions::Only13 => put(&mut options, "minVersion", "VersionTLS13"),
    }
    node.set("options", options);
}

fn websocket(node: &mut Node, path: &str, headers: &HeaderMap, host: Option<&HeaderValue>) {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    keys(node, &[("path", path.to_owned())]);
    if let Some(host) = host {
        keys(node, &[("host", text(host))]);
    }
    if !headers.is_empty() {
        let mut own = map();
        for (name, value) in headers {
            put(&mut own, name.as_str(), text(value));
        }
        let mut metadata = node.take("metadata").unwrap_or_else(map);
        metadata.set("header", own);
        node.set("metadata", metadata);
    }
}

fn alive(node: &mut Node, heartbeat: Option<std::time::Duration>) {
    if let Some(period) = heartbeat {
        let ttl = format!("{}s", period.as_secs().max(1));
        keys(node, &[("keepAlive", "true".to_owned()), ("ttl", ttl)]);
    }
}

fn multiplexed(node: &mut Node, mux: &smux::Settings) {
    let default = smux::Settings::default();
    if mux.version != default.version {
        keys(node, &[("mux.version", (mux.version as u8).to_string())]);
    }
    match mux.keepalive {
        None => keys(node, &[("mux.keepaliveDisabled", "true".to_owned())]),
        Some(own) if mux.keepalive != default.keepalive => {
            let seconds = |time: std::time::Duration| format!("{}ms", time.as_millis());
            keys(
                node,
                &[
                    ("mux.keepaliveInterval", seconds(own.interval)),
                    ("mux.keepaliveTimeout", seconds(own.timeout)),
                ],
            );
        }
        Some(_) => {}
    }
    if mux.max_frame != default.max_frame {
        keys(node, &[("mux.maxFrameSize", mux.max_frame.to_string())]);
    }
    if let Some(bytes) = mux.receive_buffer {
        keys(node, &[("mux.maxReceiveBuffer", bytes.to_string())]);
    }
    if mux.stream_window != default.stream_window {
        keys(
            node,
            &[("mux.maxStreamBuffer", mux.stream_window.to_string())],
        );
    }
}
