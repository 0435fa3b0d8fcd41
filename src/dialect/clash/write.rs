//! The other way: a config as mihomo's YAML.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::groups::MAX_FAILED;
use super::yaml;
use crate::address::{Destination, Host};
use crate::config::{Config, LogLevel, Outbound};
use crate::dialect::groups::{self, Ways, Written};
use crate::dialect::links::{bare, server_name, write_plugin};
use crate::dialect::lost::{self, Door};
use crate::dialect::nodes::packet_word;
use crate::dialect::said::Said;
use crate::dialect::singbox::counted;
use crate::http::EarlyDataIn;
use crate::protocol::accounts::Account;
use crate::protocol::{OutboundSettings, socks};
use crate::routing::Strategy;
use crate::transport::http_header::{Request, Settings as HttpHeader};
use crate::transport::httpupgrade::EarlyData as UpgradeEarlyData;
use crate::transport::tls::Versions;
use crate::transport::{ClientCarrier, ClientSettings};

const PORT: &str = "port";

/// Writes what mihomo has words for; the rest is told.
pub(in crate::dialect) fn write(config: &Config, lines: &mut Vec<String>) -> String {
    let mut proxies = Vec::new();
    let ways = Ways::of(config);
    for outbound in config.outbounds.iter().filter(|one| !ways.has(one)) {
        proxies.extend(self::outbound(outbound, lines));
    }
    let open = ways.open(&names_of(&proxies));
    lost::dangling(&mut proxies, "dialer-proxy", "name", &open, lines);
    let mut root = json!({"mode": "rule", "log-level": level(config.log.level), "proxies": []});
    doors(config, &mut root, lines);
    // The first one is chosen: not one that goes straight there, where the config's own first could not be carried over.
    if config.outbounds.first().is_some_and(Outbound::leads_away)
        && let Some(server) = proxies
            .iter()
            .position(|proxy| proxy.get("server").is_some())
    {
        proxies[..=server].rotate_right(1);
    }
    let names = names_of(&proxies);
    let chosen = groups::written(config, &names, lines);
    ways.name(&mut proxies, "dialer-proxy", &chosen);
    root["proxies"] = json!(proxies);
    let names = groups::in_front(&chosen, names);
    let group = (1..)
        .map(|n| {
            if n == 1 {
                "PROXY".to_owned()
            } else {
                format!("PROXY {n}")
            }
        })
        .find(|name| !names.contains(name));
    if let Some(group) = group.filter(|_| !names.is_empty()) {
        let mut groups = vec![json!({"name": group, "type": "select", "proxies": names})];
        groups.extend(chosen.iter().map(|chosen| self::group(chosen, lines)));
        root["proxy-groups"] = groups.into();
        root["rules"] = json!([format!("MATCH,{group}")]);
    }
    yaml::text(&root)
}

fn names_of(proxies: &[Value]) -> Vec<String> {
    let names = proxies.iter().filter_map(|proxy| proxy["name"].as_str());
    names.map(str::to_owned).collect()
}

/// mihomo passes over those that are dead, whatever the group is.
fn group(group: &Written, lines: &mut Vec<String>) -> Value {
    let mut instead = |word: &str| lines.push(groups::instead(&group.place, &group.strategy, word));
    let (kind, strategy) = match &group.strategy {
        Strategy::LeastPing { .. } => ("url-test", None),
        Strategy::LeastLoad(_) => {
            instead("the one that answers soonest carries everything (`url-test`)");
            ("url-test", None)
        }
        Strategy::First | Strategy::FirstAlive => ("fallback", None),
        Strategy::Random(_) => {
            instead("they take turns (`load-balance`)");
            ("load-balance", Some("round-robin"))
        }
        Strategy::RoundRobin(_) => ("load-balance", Some("round-robin")),
    };
    let mut value = json!({"name": group.name, "type": kind, "proxies": group.members});
    if let Some(strategy) = strategy {
        value["strategy"] = strategy.into();
    }
    if group.tolerance() > 0 {
        value["tolerance"] = group.tolerance().into();
    }
    if let Some(probe) = &group.probe {
        if !probe.expected.is_any() {
            value["expected-status"] = probe.expected.to_string().into();
        }
        if let Some(max) = probe.max_failed.filter(|max| max.get() != MAX_FAILED) {
            value["max-failed-times"] = max.get().into();
        }
        value["url"] = probe.url.to_string().into();
        // There are whole seconds alone.
        value["interval"] = json!(probe.interval.as_millis().div_ceil(1000));
        if let Some(timeout) = probe.timeout {
            value["timeout"] = json!(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
    }
    value
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::None => "silent",
        LogLevel::Error => "error",
        LogLevel::Warning => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

/// The first of each kind has a key of its own as long as they are alike; others are `listeners`.
fn doors(config: &Config, root: &mut Value, lines: &mut Vec<String>) {
    let mut first: Option<(IpAddr, &[Account])> = None;
    let mut listeners = Vec::new();
    for (n, inbound) in config.all_inbounds().enumerate() {
        let mut said = Said::of_outbound(&inbound.name);
        let door = Door::of(inbound, &mut said);
        lost::take(said, lines);
        let Some(door) = door else { continue };
        let key = if door.has_socks { "mixed-port" } else { "port" };
        let alike = (door.listen, door.accounts);
        if first.is_none_or(|first| first == alike) && root.get(key).is_none() {
            first = Some(alike);
            root[key] = door.port.into();
            continue;
        }
        let tag = inbound.tag.as_deref().map(str::to_owned);
        let mut listener = json!({
            "name": tag.unwrap_or_else(|| format!("in-{n}")), "type": if door.has_socks { "mixed" } else { "http" },
            "listen": door.listen.to_string(), "port": door.port,
        });
        // Without it those of `authentication` hold.
        let users = door.accounts.iter();
        listener["users"] = users
            .map(|user| json!({"username": user.user, "password": *user.pass}))
            .collect();
        listeners.push(listener);
    }
    if !listeners.is_empty() {
        root["listeners"] = listeners.into();
    }
    let Some((listen, accounts)) = first else {
        return;
    };
    if listen != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        root["allow-lan"] = true.into();
        root["bind-address"] = match listen.is_unspecified() {
            true => "*".into(),
            false => listen.to_string().into(),
        };
    }
    if !accounts.is_empty() {
        let pairs = accounts.iter();
        root["authentication"] = pairs
            .map(|one| format!("{}:{}", one.user, *one.pass))
            .collect();
    }
}

/// A proxy for each account at each server.
fn outbound(outbound: &Outbound, lines: &mut Vec<String>) -> Vec<Value> {
    let mut said = Said::of_outbound(&outbound.name);
    let mut values = match &outbound.protocol {
        OutboundSettings::Freedom(settings) => {
            lost::freedom(settings, &mut said);
            vec![json!({"type": "direct", "udp": true})]
        }
        OutboundSettings::Blackhole(_) => vec![json!({"type": "reject"})],
        OutboundSettings::Vmess(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::vmess(account, said);
                let mut value = json!({
                    "type": "vmess", "uuid": account.id.to_string(), "alterId": 0, "cipher": account.security.name(), "udp": true,
                });
                if account.authenticated_length {
                    value["authenticated-length"] = true.into();
                }
                value
            })
        }
        OutboundSettings::Vless(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::level(account.level, said);
                json!({"type": "vless", "uuid": account.id.to_string(), "udp": true})
            })
        }
        OutboundSettings::Trojan(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::level(account.level, said);
                json!({"type": "trojan", "password": *account.password, "udp": true})
            })
        }
        OutboundSettings::Shadowsocks(settings) => {
            lost::each(&settings.servers, PORT, &mut said, |account, said| {
                lost::level(account.level, said);
                let (cipher, password) = lost::secret(account);
                json!({"type": "ss", "cipher": cipher, "password": password, "udp": true})
            })
        }
        OutboundSettings::Socks(settings) => {
            if settings.version != socks::Version::Five {
                said.error("settings.version", "there is SOCKS 5 alone");
            }
            lost::each_login(&settings.servers, PORT, |account| login("socks5", account))
        }
        OutboundSettings::Http(settings) => lost::each_login(&settings.servers, PORT, |account| {
            let mut value = login("http", account);
            if !settings.headers.is_empty() {
                value["headers"] = lost::headers(&settings.headers, None);
            }
            value
        }),
        other => {
            let name = other.name();
            said.error("protocol", format_args!("Clash has no word for `{name}`"));
            Vec::new()
        }
    };
    let several = values.len() > 1;
    for (n, value) in values.iter_mut().enumerate() {
        value["name"] = lost::tag(outbound, n).into();
        dressed(outbound, value, &mut said);
    }
    if several {
        let text = format!(
            "its servers took turns, here they are {}",
            counted(values.len(), "proxy").replace("proxys", "proxies")
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

fn login(kind: &str, account: Option<&Account>) -> Value {
    let mut value = json!({"type": kind});
    if let Some(account) = account {
        value["username"] = account.user.clone().into();
        value["password"] = account.pass.to_string().into();
    }
    if kind == "socks5" {
        value["udp"] = true.into();
    }
    value
}

/// What is around the protocol.
fn dressed(outbound: &Outbound, value: &mut Value, said: &mut Said) {
    let transport = &outbound.transport;
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    let to = value["server"]
        .as_str()
        .and_then(|server| Host::parse(server).ok());
    let to = to.map(|host| Destination::new(host, 0));
    match (&*kind, &to) {
        ("ss", Some(to)) => plugin(transport, to, value, said),
        ("socks5" | "http", Some(to)) => {
            if transport.carrier != ClientCarrier::Raw {
                said.error(
                    "streamSettings.network",
                    "Clash carries this protocol over plain TCP alone",
                );
            }
            tls(transport, to, "sni", value, said);
        }
        (_, Some(to)) if outbound.leads_away() => {
            if kind == "trojan" && !transport.has_tls() {
                said.error(
                    "streamSettings.security",
                    "Trojan is always inside TLS there",
                );
            }
            let name = if kind == "trojan" {
                "sni"
            } else {
                "servername"
            };
            tls(transport, to, name, value, said);
            carrier(&transport.carrier, transport.has_tls(), &kind, value, said);
        }
        _ => {}
    }
    match packet_word(outbound.mux.as_ref()) {
        Ok(None) => {}
        Ok(Some(word)) if kind == "vmess" || kind == "vless" => {
            value["packet-encoding"] = word.into()
        }
        Ok(Some(_)) | Err(()) => {
            said.left_out(
                "mux",
                "mihomo has no Mux.Cool, each session has a connection: servers take either",
            );
        }
    }
    if let Some(through) = &outbound.through {
        value["dialer-proxy"] = json!(&*through.tag);
    }
    lost::strategy(outbound, said);
    let options = lost::sockopt(&transport.sockopt, said);
    if let Some(device) = options.device {
        value["interface-name"] = device.into();
    }
    if let Some(mark) = options.mark {
        value["routing-mark"] = mark.into();
    }
    if options.send_through.is_some() {
        said.left_out("sendThrough", lost::NO_WORD);
    }
    if options.fast_open {
        value["tfo"] = true.into();
    }
    if options.mptcp {
        value["mptcp"] = true.into();
    }
}

/// Shadowsocks knows no transports but plugins.
fn plugin(transport: &ClientSettings, to: &Destination, value: &mut Value, said: &mut Said) {
    if transport.is_bare() {
        return;
    }
    let tls = transport.tls();
    let ClientCarrier::Ws(ws) = &transport.carrier else {
        return said.error(
            "streamSettings",
            "Clash carries Shadowsocks over plain TCP and `v2ray-plugin` alone",
        );
    };
    if write_plugin(transport, tls.as_ref(), to, said).is_none() {
        return said.error("streamSettings", "`v2ray-plugin` has no words for it");
    }
    let host = ws.host.as_ref().map(lost::text);
    let name = tls.as_ref().and_then(|tls| server_name(transport, tls, to));
    let mut options = json!({"mode": "websocket", "mux": false, "path": ws.path});
    options["host"] = name.or(host).unwrap_or_else(|| bare(&to.host)).into();
    if transport.has_tls() {
        options["tls"] = true.into();
    }
    value["plugin"] = "v2ray-plugin".into();
    value["plugin-opts"] = options;
}

fn tls(
    transport: &ClientSettings,
    to: &Destination,
    key: &str,
    value: &mut Value,
    said: &mut Said,
) {
    let Some(tls) = &transport.security else {
        return;
    };
    if value["type"] != "trojan" {
        value["tls"] = true.into();
    }
    if let Some(name) = server_name(transport, tls, to) {
        value[key] = name.into();
    }
    if tls.allow_insecure {
        value["skip-cert-verify"] = true.into();
    }
    if transport.carrier.alpn().is_none() {
        value["alpn"] = tls.alpn.clone().into();
    }
    let pin = match &tls.certificate_pins[..] {
        [] => None,
        [one, rest @ ..] => {
            if !rest.is_empty() {
                said.left_out(
                    "streamSettings.tlsSettings.pinnedPeerCertSha256",
                    "there is a word for one certificate, the others are not believed",
                );
            }
            Some(one)
        }
    };
    if let Some(pin) = pin {
        let hex: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
        value["fingerprint"] = hex.into();
    }
    if !tls.authorities.0.is_empty() {
        said.left_out(
            "streamSettings.tlsSettings.certificates",
            "there is no word for authorities of one's own: what they have issued is not believed",
        );
    }
    if tls.versions != Versions::Both {
        said.left_out("streamSettings.tlsSettings.minVersion", lost::NO_WORD);
    }
    lost::tls(tls, "Clash", pin.is_some(), pin.is_some(), said);
}

fn carrier(carrier: &ClientCarrier, has_tls: bool, kind: &str, value: &mut Value, said: &mut Said) {
    lost::carrier(carrier, "Clash", said);
    let only_some = "Trojan is carried by `tcp`, `ws` and `grpc` alone there";
    match carrier {
        ClientCarrier::Raw => {}
        ClientCarrier::Mws(_) => said.error("streamSettings.network", "Clash has no word for it"),
        ClientCarrier::HttpHeader(_) | ClientCarrier::H2(_) if kind == "trojan" => {
            said.error("streamSettings.network", only_some);
        }
        ClientCarrier::HttpHeader(header) => {
            value["network"] = "http".into();
            value["http-opts"] = head(header, said);
        }
        ClientCarrier::Ws(ws) | ClientCarrier::Browser(ws) => {
            let mut options = json!({"path": ws.path});
            if !ws.headers.is_empty() || ws.host.is_some() {
                options["headers"] = lost::headers(&ws.headers, ws.host.as_ref());
            }
            if let Some(early) = &ws.early_data {
                options["max-early-data"] = early.max.into();
                if let EarlyDataIn::Header(name) = &early.carried_in {
                    options["early-data-header-name"] = lost::spelled(name).into();
                }
            }
            value["network"] = "ws".into();
            value["ws-opts"] = options;
        }
        ClientCarrier::HttpUpgrade(upgrade) => {
            let mut options = json!({"path": upgrade.path, "v2ray-http-upgrade": true});
            if !upgrade.headers.is_empty() || upgrade.host.is_some() {
                options["headers"] = lost::headers(&upgrade.headers, upgrade.host.as_ref());
            }
            match &upgrade.early_data {
                None => {}
                Some(UpgradeEarlyData::Ahead) => {
                    options["v2ray-http-upgrade-fast-open"] = true.into()
                }
                Some(UpgradeEarlyData::Header(_)) => said.left_out(
                    "streamSettings.httpupgradeSettings.maxEarlyData",
                    "there is no early data in a header there",
                ),
            }
            value["network"] = "ws".into();
            value["ws-opts"] = options;
        }
        ClientCarrier::Grpc(grpc) => {
            if !has_tls {
                said.error("streamSettings.security", "gRPC is always inside TLS there");
            }
            let others = [
                ("authority", grpc.authority.is_some()),
                ("idle_timeout", grpc.pings.is_some()),
            ];
            for (key, _) in others.iter().filter(|(_, is_there)| *is_there) {
                said.left_out(&format!("streamSettings.grpcSettings.{key}"), lost::NO_WORD);
            }
            value["network"] = "grpc".into();
            value["grpc-opts"] = json!({"grpc-service-name": grpc.paths.name()});
        }
        ClientCarrier::H2(h2) => {
            if !has_tls {
                said.error("streamSettings.security", "`h2` is always inside TLS there");
            }
            let others = [
                ("method", h2.method != http::Method::PUT),
                ("headers", !h2.headers.is_empty()),
                ("read_idle_timeout", h2.pings.is_some()),
            ];
            for (key, _) in others.iter().filter(|(_, is_there)| *is_there) {
                said.left_out(&format!("streamSettings.httpSettings.{key}"), lost::NO_WORD);
            }
            let mut options = json!({"path": h2.path});
            if !h2.hosts.is_empty() {
                options["host"] = h2.hosts.clone().into();
            }
            value["network"] = "h2".into();
            value["h2-opts"] = options;
        }
    }
}

fn head(header: &HttpHeader, said: &mut Said) -> Value {
    let (request, default) = (&header.request, Request::default());
    if request.version != default.version || header.response != Default::default() {
        said.left_out(
            "streamSettings.tcpSettings.header",
            "there are words for method, path and headers of the request alone",
        );
    }
    let headers = request.headers.iter();
    let headers: serde_json::Map<String, Value> = headers
        .map(|header| (header.name.clone(), json!(header.values)))
        .collect();
    json!({"method": request.method, "path": request.paths, "headers": headers})
}
