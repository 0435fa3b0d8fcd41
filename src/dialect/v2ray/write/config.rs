//! A whole config: inbounds of SOCKS and HTTP, and outbounds.

use serde_json::{Value, json};

use super::server;
use crate::address::Destination;
use crate::config::{Config, Inbound, Listen, LogLevel, LogTarget, Outbound};
use crate::dialect::v2ray::sniffing::word;
use crate::dns::Strategy;
use crate::protocol::accounts::Account;
use crate::protocol::dns::Act;
use crate::protocol::freedom::Redirect;
use crate::protocol::{InboundSettings, OutboundSettings, dokodemo, relay};
use crate::smux;
use crate::sniffing;
use crate::transport::tcp::{FastOpen, SockOpt};

/// Writes a config that other dialects can be read as; what else there may be in one is told.
pub(in crate::dialect) fn config(config: &Config, lines: &mut Vec<String>) -> Value {
    let inbounds: Vec<Value> = config
        .all_inbounds()
        .filter_map(|one| inbound(one).or_else(|| tell(lines, &one.name)))
        .collect();
    let outbounds: Vec<Value> = config
        .outbounds
        .iter()
        .flat_map(|one| {
            let written = outbound(one).or_else(|| tell(lines, &one.name));
            [written, super::plugin(one)]
        })
        .flatten()
        .collect();
    let level = match config.log.level {
        LogLevel::None => "none",
        LogLevel::Error => "error",
        LogLevel::Warning => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let mut log = json!({"loglevel": level});
    if config.log.access == LogTarget::None && config.log.level != LogLevel::None {
        log["access"] = "none".into();
    }
    let mut value = json!({"log": log, "inbounds": inbounds, "outbounds": outbounds});
    super::routing::observers(&config.observers, &mut value);
    value
}

fn tell(lines: &mut Vec<String>, name: &str) -> Option<Value> {
    lines.push(format!("{name}: it cannot be written: it is left out"));
    None
}

/// `None` where names are excluded, of whose patterns the text is not kept.
fn sniffing(sniffing: &sniffing::Settings) -> Option<Value> {
    let overriding: Vec<_> = sniffing.overriding.iter().map(word).collect();
    let mut value = json!({"enabled": true, "destOverride": overriding});
    for (key, is_on) in [
        ("routeOnly", sniffing.route_only),
        ("noResolve", sniffing.route_only && !sniffing.resolves_named),
        ("metadataOnly", sniffing.metadata_only),
    ] {
        if is_on {
            value[key] = true.into();
        }
    }
    sniffing.excluded.is_none().then_some(value)
}

fn inbound(inbound: &Inbound) -> Option<Value> {
    let (protocol, settings) = match &inbound.protocol {
        InboundSettings::Socks(settings) => {
            let mut value = json!({"udp": settings.udp});
            if settings.udp_tunnel {
                value["udpTunnel"] = true.into();
            }
            if let Some(list) = &settings.accounts {
                value["auth"] = "password".into();
                value["accounts"] = accounts(list);
            }
            ("socks", value)
        }
        InboundSettings::Http(settings) => {
            let mut value = json!({});
            if !settings.accounts.is_empty() {
                value["accounts"] = accounts(&settings.accounts);
            }
            if settings.udp_tunnel {
                value["udpTunnel"] = true.into();
            }
            ("http", value)
        }
        InboundSettings::Relay(settings) => ("relay", relay(settings)?),
        InboundSettings::Dokodemo(settings) => ("dokodemo-door", door(settings)),
        _ => return None,
    };
    let (Listen::Ip(ip), [range]) = (&inbound.listen, &inbound.ports[..]) else {
        return None;
    };
    let mut value = json!({
        "listen": ip.to_string(), "port": range.from, "protocol": protocol, "settings": settings,
    });
    if let Some(tag) = &inbound.tag {
        value["tag"] = json!(&**tag);
    }
    if let Some(sniffing) = &inbound.sniffing {
        value["sniffing"] = self::sniffing(sniffing)?;
    }
    let stream = server::server(&inbound.transport)?;
    if !stream.is_null() {
        value["streamSettings"] = stream;
    }
    Some(value)
}

fn relay(settings: &relay::InboundSettings) -> Option<Value> {
    let mut value = json!({});
    if !settings.accounts.is_empty() {
        value["users"] = accounts(&settings.accounts);
    }
    match &settings.service {
        relay::Service::Forward(targets) => {
            value["forward"] = targets.iter().map(ToString::to_string).collect();
        }
        relay::Service::AsAsked { connect, bind } => {
            if !connect {
                value["connect"] = false.into();
            }
            if let Some(bind) = bind {
                value["bind"] = true.into();
                if bind.mux != smux::Version::One {
                    value["muxVersion"] = (bind.mux as u8).into();
                }
                if !bind.ports.is_empty() {
                    return None;
                }
            }
        }
    }
    if settings.hidden {
        value["hidden"] = true.into();
    }
    (settings.stranger.is_none() && settings.level == 0).then_some(value)
}

fn door(settings: &dokodemo::InboundSettings) -> Value {
    let network = match (settings.tcp, settings.udp) {
        (true, true) => "tcp,udp",
        (false, true) => "udp",
        _ => "tcp",
    };
    let mut value = json!({"network": network});
    if let Some(to) = &settings.to {
        // A word of Xray's, beside which the address may be missing.
        let port = match settings.loopback {
            true => "rewritePort",
            false => {
                value["address"] = super::protocols::host(to).into();
                "port"
            }
        };
        if to.port != 0 || settings.same_port {
            value[port] = to.port.into();
        }
    }
    if !settings.port_map.is_empty() {
        let entries = settings.port_map.iter();
        let entries = entries.map(|(port, to)| (port.to_string(), json!(to.to_string())));
        value["portMap"] = Value::Object(entries.collect());
    }
    if settings.follow_redirect {
        value["followRedirect"] = true.into();
    }
    if settings.prompt_end {
        value["promptEnd"] = true.into();
    }
    if settings.level != 0 {
        value["userLevel"] = settings.level.into();
    }
    value
}

fn accounts(list: &[Account]) -> Value {
    let one = |account: &Account| json!({"user": account.user, "pass": *account.pass});
    list.iter().map(one).collect()
}

pub(super) fn outbound(outbound: &Outbound) -> Option<Value> {
    let mut value = match &outbound.protocol {
        OutboundSettings::Freedom(_) | OutboundSettings::Blackhole(_) => {
            let mut value = json!({"protocol": outbound.protocol.name()});
            if let OutboundSettings::Freedom(settings) = &outbound.protocol
                && let Redirect {
                    host: Some(host),
                    port: Some(port),
                } = &settings.redirect
            {
                let to = Destination::new(host.clone(), *port);
                value["settings"] = json!({"redirect": to.to_string()});
                value["streamSettings"] = super::stream::client(&outbound.transport);
            }
            if let OutboundSettings::Freedom(settings) = &outbound.protocol {
                if settings.strategy != Strategy::AsIs {
                    let strategy = super::strategy(settings.strategy);
                    value["settings"]["domainStrategy"] = strategy.into();
                }
                super::disguise::add(settings, &mut value);
            }
            if let Some(through) = &outbound.through {
                value["proxySettings"] = json!({"tag": &*through.tag});
            }
            if let Some(tag) = &outbound.tag {
                value["tag"] = json!(&**tag);
            }
            if let Some(ip) = outbound.transport.sockopt.send_through {
                value["sendThrough"] = ip.to_string().into();
            }
            value
        }
        // As other programs' files have it: it answers for addresses, and may refuse all else.
        OutboundSettings::Dns(settings) => {
            let mut value = json!({"tag": outbound.tag.as_deref(), "protocol": "dns"});
            if let Act::Reply(_) = settings.others {
                value["settings"]["nonIPQuery"] = "reject".into();
            }
            value
        }
        OutboundSettings::Loopback(settings) => {
            json!({"tag": outbound.tag.as_deref(), "protocol": "loopback", "settings": {"inboundTag": settings.inbound.as_deref()}})
        }
        _ => super::outbound(outbound)?,
    };
    if let Some(sockopt) = sockopt(&outbound.transport.sockopt) {
        value["streamSettings"]["sockopt"] = sockopt;
    }
    Some(value)
}

/// The options that other programs have a word for.
fn sockopt(sockopt: &SockOpt) -> Option<Value> {
    let mut value = json!({});
    if let Some(mark) = sockopt.mark {
        value["mark"] = mark.into();
    }
    if let Some(device) = &sockopt.device {
        value["bindToDevice"] = device.clone().into();
    }
    match sockopt.fast_open {
        FastOpen::Default => {}
        FastOpen::Off => value["tcpFastOpen"] = false.into(),
        FastOpen::On(_) => value["tcpFastOpen"] = true.into(),
    }
    if sockopt.mptcp {
        value["mptcp"] = true.into();
    }
    value
        .as_object()
        .is_some_and(|map| !map.is_empty())
        .then_some(value)
}
