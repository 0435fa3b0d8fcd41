//! The other way: a config as sing-box's JSON.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::counted;
use crate::address::{Destination, Host};
use crate::config::{Config, Inbound, LogLevel, Outbound};
use crate::dialect::clients::groups::{self, Ways, Written};
use crate::dialect::clients::lost::{self, Door};
use crate::dialect::clients::nodes::packet_word;
use crate::dialect::links::said::Said;
use crate::dialect::links::{bare, write_plugin};
use crate::http::EarlyDataIn;
use crate::protocol::vmess::Security;
use crate::protocol::{OutboundSettings, socks};
use crate::routing::Strategy;
use crate::transport::http_header;
use crate::transport::http2::Pings;
use crate::transport::tls::Versions;
use crate::transport::{ClientCarrier, ClientSettings};

const PORT: &str = "server_port";

/// Writes what sing-box has words for; the rest is told.
pub(in crate::dialect) fn write(config: &Config, lines: &mut Vec<String>) -> String {
    let inbounds: Vec<Value> = config
        .all_inbounds()
        .filter_map(|inbound| self::inbound(inbound, lines))
        .collect();
    let mut outbounds = Vec::new();
    let ways = Ways::of(config);
    for outbound in config.outbounds.iter().filter(|one| !ways.has(one)) {
        outbounds.extend(self::outbound(outbound, lines));
    }
    let names_of = |outbounds: &[Value]| {
        let names = outbounds.iter().filter_map(|one| one["tag"].as_str());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let open = ways.open(&names_of(&outbounds));
    lost::dangling(&mut outbounds, "detour", "tag", &open, lines);
    let chosen = groups::written(config, &names_of(&outbounds), lines);
    ways.name(&mut outbounds, "detour", &chosen);
    outbounds.extend(chosen.iter().map(|chosen| group(chosen, lines)));
    let mut root =
        json!({"log": log(config.log.level), "inbounds": inbounds, "outbounds": outbounds});
    // Not one that goes straight there, where the config's own first could not be carried over.
    let is_server = |one: &&Value| one.get("server").is_some();
    let all = root["outbounds"].as_array();
    let server = all.and_then(|all| all.iter().find(is_server));
    let first = match config.outbounds.first().is_some_and(Outbound::leads_away) {
        true => server,
        false => root["outbounds"].get(0),
    };
    let default = chosen.iter().find(|one| one.is_default);
    let default = default.map(|one| json!(one.name));
    let first = first.and_then(|first| first.get("tag")).cloned();
    if let Some(tag) = default.or(first) {
        root["route"] = json!({"final": tag});
    }
    format!("{root:#}\n")
}

/// There are the fastest, and one that somebody chooses.
fn group(group: &Written, lines: &mut Vec<String>) -> Value {
    let mut instead = |word: &str| lines.push(groups::instead(&group.place, &group.strategy, word));
    let is_fastest = match &group.strategy {
        Strategy::LeastPing { .. } => true,
        Strategy::LeastLoad(_) => {
            instead("the one that answers soonest carries everything (`urltest`)");
            true
        }
        _ => {
            instead("the first carries everything until somebody chooses another one (`selector`)");
            false
        }
    };
    let mut value = json!({"tag": group.name, "outbounds": group.members});
    match (&group.probe, is_fastest) {
        (_, false) => {
            value["type"] = "selector".into();
            value["default"] = group.members[0].clone().into();
        }
        (probe, true) => {
            value["type"] = "urltest".into();
            // Without it 50 ms hold there.
            value["tolerance"] = group.tolerance().max(1).into();
            if let Some(probe) = probe {
                value["url"] = probe.url.to_string().into();
                value["interval"] = format!("{}ms", probe.interval.as_millis()).into();
                // The interval may be no longer.
                let idle = probe.interval.max(IDLE);
                if !probe.expected.is_any() {
                    let text =
                        "there is no word for `expectedStatus` of its observer: any answer will do";
                    lines.push(format!("{}: {text}", group.place));
                }
                value["idle_timeout"] = format!("{}ms", idle.as_millis()).into();
            }
        }
    }
    value
}

/// sing-box' own `idle_timeout`.
const IDLE: Duration = Duration::from_secs(1800);

fn log(level: LogLevel) -> Value {
    match level {
        LogLevel::None => json!({"disabled": true}),
        LogLevel::Error => json!({"level": "error"}),
        LogLevel::Warning => json!({"level": "warn"}),
        LogLevel::Info => json!({"level": "info"}),
        LogLevel::Debug => json!({"level": "debug"}),
    }
}

fn inbound(inbound: &Inbound, lines: &mut Vec<String>) -> Option<Value> {
    let mut said = Said::of_outbound(&inbound.name);
    let door = Door::of(inbound, &mut said);
    lost::take(said, lines);
    let door = door?;
    let mut value = json!({
        "type": if door.has_socks { "mixed" } else { "http" },
        "listen": door.listen.to_string(), "listen_port": door.port,
    });
    if let Some(tag) = &inbound.tag {
        value["tag"] = json!(&**tag);
    }
    if !door.accounts.is_empty() {
        let accounts = door.accounts.iter();
        value["users"] = accounts
            .map(|account| json!({"username": account.user, "password": *account.pass}))
            .collect();
    }
    Some(value)
}

/// An outbound for each account at each server.
fn outbound(outbound: &Outbound, lines: &mut Vec<String>) -> Vec<Value> {
    let mut said = Said::of_outbound(&outbound.name);
    let mut values = match &outbound.protocol {
        OutboundSettings::Freedom(settings) => {
            lost::freedom(settings, &mut said);
            vec![json!({"type": "direct"})]
        }
        OutboundSettings::Blackhole(_) => vec![json!({"type": "block"})],
        OutboundSettings::Vmess(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::vmess(account, said);
                // sing-box' `auto` is no cipher at all inside TLS, which Xray's servers refuse.
                let security = match (account.security, &outbound.transport.security) {
                    (Security::Auto, Some(_)) => Security::Aes128Gcm,
                    (security, _) => security,
                };
                let mut value = json!({
                    "type": "vmess", "uuid": account.id.to_string(), "security": security.name(), "alter_id": 0,
                });
                if account.authenticated_length {
                    value["authenticated_length"] = true.into();
                }
                value
            })
        }
        OutboundSettings::Vless(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::level(account.level, said);
                json!({"type": "vless", "uuid": account.id.to_string()})
            })
        }
        OutboundSettings::Trojan(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::level(account.level, said);
                json!({"type": "trojan", "password": *account.password})
            })
        }
        OutboundSettings::Shadowsocks(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::level(account.level, said);
                let (method, password) = lost::secret(account);
                json!({"type": "shadowsocks", "method": lost::method(method), "password": password})
            })
        }
        OutboundSettings::Socks(settings) => {
            let version = match settings.version {
                socks::Version::Four => "4",
                socks::Version::FourA => "4a",
                socks::Version::Five => "5",
            };
            lost::each_login(&settings.servers, PORT, |account| {
                let mut value = login(account);
                value["type"] = "socks".into();
                value["version"] = version.into();
                value
            })
        }
        OutboundSettings::Http(settings) => lost::each_login(&settings.servers, PORT, |account| {
            let mut value = login(account);
            value["type"] = "http".into();
            if !settings.headers.is_empty() {
                value["headers"] = lost::headers(&settings.headers, None);
            }
            value
        }),
        other => {
            let name = other.name();
            said.error(
                "protocol",
                format_args!("sing-box has no word for `{name}`"),
            );
            Vec::new()
        }
    };
    let several = values.len() > 1;
    for (n, value) in values.iter_mut().enumerate() {
        let tag = lost::tag(outbound, n);
        value["tag"] = tag.into();
        dressed(outbound, value, &mut said);
    }
    if several {
        let text = format!(
            "its servers took turns, here they are {}",
            counted(values.len(), "outbound")
        );
        said.left_out("settings", text);
    }
    let fails = !said.errors.is_empty();
    lost::take(said, lines);
    if fails {
        values.clear();
    }
    values
}

fn login(account: Option<&crate::protocol::accounts::Account>) -> Value {
    match account {
        Some(account) => json!({"username": account.user, "password": *account.pass}),
        None => json!({}),
    }
}

/// What is around the protocol.
fn dressed(outbound: &Outbound, value: &mut Value, said: &mut Said) {
    let transport = &outbound.transport;
    let is_plain = !outbound.leads_away();
    let server = match value.get("server").and_then(Value::as_str) {
        Some(server) => server.to_owned(),
        None => String::new(),
    };
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    if kind == "shadowsocks" {
        plugin(outbound, &server, value, said);
    } else if !is_plain {
        let to = Host::parse(&server);
        let transport = &*match &to {
            Ok(host) => lost::with_host(transport, host),
            Err(_) => Cow::Borrowed(transport),
        };
        if let Some(tls) = tls(transport, said) {
            match kind == "socks" {
                true => said.error(
                    "streamSettings.security",
                    "sing-box has no TLS around SOCKS",
                ),
                false => value["tls"] = tls,
            }
        }
        match carrier(&transport.carrier, transport.has_tls(), said) {
            Some(_) if kind == "socks" || kind == "http" => {
                said.error(
                    "streamSettings.network",
                    "sing-box carries this protocol over plain TCP alone",
                );
            }
            Some(carrier) => value["transport"] = carrier,
            None => {}
        }
    }
    match packet_word(outbound.mux.as_ref()) {
        // Without a word it is XUDP there.
        Ok(None) if kind == "vless" => value["packet_encoding"] = "".into(),
        Ok(None) => {}
        Ok(Some(word)) if kind == "vmess" || kind == "vless" => {
            value["packet_encoding"] = word.into()
        }
        Ok(Some(_)) | Err(()) => {
            said.left_out(
                "mux",
                "sing-box has no Mux.Cool, each session has a connection: servers take either",
            );
        }
    }
    if let Some(through) = &outbound.through {
        value["detour"] = json!(&*through.tag);
    }
    lost::strategy(outbound, said);
    lost::fragment(transport, said);
    let options = lost::sockopt(&transport.sockopt, said);
    if let Some(device) = options.device {
        value["bind_interface"] = device.into();
    }
    if let Some(mark) = options.mark {
        value["routing_mark"] = mark.into();
    }
    if let Some(ip) = options.send_through {
        let key = if ip.is_ipv4() {
            "inet4_bind_address"
        } else {
            "inet6_bind_address"
        };
        value[key] = ip.to_string().into();
    }
    if options.fast_open {
        value["tcp_fast_open"] = true.into();
    }
    if options.mptcp {
        value["tcp_multi_path"] = true.into();
    }
}

/// Shadowsocks knows no transports but plugins.
fn plugin(outbound: &Outbound, server: &str, value: &mut Value, said: &mut Said) {
    let transport = &outbound.transport;
    if transport.is_bare() {
        return;
    }
    let to = Host::parse(server).map(|host| Destination::new(host, 0));
    let tls = transport.tls();
    let written = to.ok().and_then(|to| {
        let mut plain = transport.clone();
        if let ClientCarrier::Ws(ws) = &mut plain.carrier {
            ws.path = lost::without_query(&ws.path, "sing-box", said).to_owned();
        }
        let plugin = (&plain, outbound.plugin_mux.as_ref());
        write_plugin(plugin, tls.as_ref(), &to, said)
    });
    match written.as_deref().and_then(|text| text.split_once(';')) {
        Some((name, options)) => {
            value["plugin"] = name.into();
            value["plugin_opts"] = options.into();
        }
        None => said.error(
            "streamSettings",
            "sing-box carries Shadowsocks over plain TCP and `v2ray-plugin` alone",
        ),
    }
}

fn tls(transport: &ClientSettings, said: &mut Said) -> Option<Value> {
    let tls = transport.security.as_ref()?;
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("enabled", true.into());
    if let Some(name) = &tls.server_name {
        put("server_name", bare(name).into());
    }
    if tls.allow_insecure {
        put("insecure", true.into());
    }
    if transport.carrier.alpn().is_none() {
        put("alpn", tls.alpn.clone().into());
    }
    if !tls.authorities.0.is_empty() {
        let pem = tls.authorities.to_pem();
        put("certificate", pem.lines().collect());
        if !tls.disable_system_root {
            let part = "streamSettings.tlsSettings.certificates";
            said.left_out(part, "where sing-box is given authorities it does not believe those of the system besides");
        }
    }
    if tls.fingerprint.is_some() {
        let text = "a sing-box that was not built with `utls` does not start with it: it sends a handshake of its own";
        said.left_out("streamSettings.tlsSettings.fingerprint", text);
    }
    match tls.versions {
        Versions::Both => {}
        Versions::Only12 => put("max_version", "1.2".into()),
        Versions::Only13 => put("min_version", "1.3".into()),
    }
    lost::tls(tls, "sing-box", !tls.authorities.0.is_empty(), false, said);
    Some(Value::Object(map))
}

fn carrier(carrier: &ClientCarrier, has_tls: bool, said: &mut Said) -> Option<Value> {
    lost::carrier(carrier, "sing-box", said);
    let mut value = match carrier {
        ClientCarrier::Raw => return None,
        ClientCarrier::HttpHeader(header) if !has_tls => head(&header.request, said),
        ClientCarrier::Unix(_) | ClientCarrier::HttpHeader(_) | ClientCarrier::Mws(_) => {
            said.error("streamSettings.network", "sing-box has no word for it");
            return None;
        }
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            let path = lost::without_query(&ws.path, "sing-box", said);
            let mut value = json!({"type": "ws", "path": path});
            if !ws.headers.is_empty() || ws.host.is_some() {
                value["headers"] = lost::headers(&ws.headers, ws.host.as_ref());
            }
            if let Some(early) = &ws.early_data {
                value["max_early_data"] = early.max.into();
                if let EarlyDataIn::Header(name) = &early.carried_in {
                    value["early_data_header_name"] = lost::spelled(name).into();
                }
            }
            value
        }
        ClientCarrier::HttpUpgrade(upgrade) => {
            let mut value = json!({"type": "httpupgrade", "path": upgrade.path_in_url()});
            if let Some(host) = &upgrade.host {
                value["host"] = lost::text(host).into();
            }
            if !upgrade.headers.is_empty() {
                value["headers"] = lost::headers(&upgrade.headers, None);
            }
            if upgrade.early_data.is_some() {
                let part = "streamSettings.httpupgradeSettings.path";
                said.left_out(
                    part,
                    "sing-box waits for the answer before it sends anything: no early data",
                );
            }
            value
        }
        ClientCarrier::Grpc(grpc) => {
            if grpc.paths.name().starts_with('/') {
                let text = "paths of one's own have no word there, expected a plain name";
                said.error("streamSettings.grpcSettings.serviceName", text);
            }
            let mut value = json!({"type": "grpc", "service_name": grpc.paths.name()});
            if grpc.authority.is_some() {
                said.left_out(
                    "streamSettings.grpcSettings.authority",
                    "sing-box names the server that TLS asks for",
                );
            }
            pings(grpc.pings, &mut value);
            value
        }
        ClientCarrier::H2(h2) => {
            if !has_tls {
                said.error(
                    "streamSettings.security",
                    "without TLS sing-box speaks HTTP/1.1 there, expected `tls`",
                );
            }
            let host = match h2.hosts.is_empty() {
                true => vec![crate::transport::h2::DEFAULT_HOST.to_owned()],
                false => h2.hosts.clone(),
            };
            let path = lost::without_query(&h2.path, "sing-box", said);
            let mut value = json!({"type": "http", "host": host, "path": path});
            if h2.method != http::Method::PUT {
                value["method"] = h2.method.as_str().into();
            }
            if !h2.headers.is_empty() {
                value["headers"] = lost::headers(&h2.headers, None);
            }
            pings(h2.pings, &mut value);
            value
        }
    };
    if value["path"] == "" {
        value["path"] = "/".into();
    }
    Some(value)
}

/// Without TLS `http` is a head of HTTP/1.1 there, and what is carried behind it.
fn head(request: &http_header::Request, said: &mut Said) -> Value {
    let part = "streamSettings.tcpSettings.header.request";
    if request.paths.len() > 1 {
        said.left_out(&format!("{part}.path"), "the first one alone is asked for");
    }
    let path = request.paths.first().map_or("/", |path| path);
    let mut value = json!({"type": "http", "path": path, "method": request.method});
    let mut headers = Map::new();
    for header in &request.headers {
        match header.name.eq_ignore_ascii_case("host") {
            true => value["host"] = header.values.clone().into(),
            false => {
                // All of them would be sent.
                let one = header.values.first().map_or("", |value| value);
                headers.insert(header.name.clone(), one.into());
            }
        }
    }
    if !headers.is_empty() {
        value["headers"] = Value::Object(headers);
    }
    value
}

fn pings(pings: Option<Pings>, value: &mut Value) {
    let Some(pings) = pings else { return };
    value["idle_timeout"] = format!("{}s", pings.period.as_secs()).into();
    value["ping_timeout"] = format!("{}s", pings.limit.as_secs()).into();
    if pings.without_stream {
        value["permit_without_stream"] = true.into();
    }
}
