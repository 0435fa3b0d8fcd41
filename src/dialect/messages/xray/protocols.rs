//! The protocols whose messages differ; all others are read as V2Ray's.

use ::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::disguise::{fragment, noises};
use super::routing::networks;
use super::{dns, host_of, ports, strategy};
use crate::address::{self, Destination, Host};
use crate::dialect::messages::at::{At, all};
use crate::dialect::messages::protocols::{self, login, servers};
use crate::dialect::messages::{port, tag};
use crate::matching::{Geodata, geodata};
use crate::protocol::{InboundSettings, OutboundSettings, dokodemo, freedom, http, loopback};
use crate::seam::ProxyVersion;
use crate::wire::common::net::Network;
use crate::wire::common::protocol::ServerEndpoint;
use crate::wire::common::serial::TypedMessage;
use crate::wire::proxy::trojan as v2rays_trojan;
use crate::wire::proxy::vless::inbound as v2rays_vless;
use crate::wire::typed;
use crate::wire::xray::proxy::freedom::FinalRuleConfig;
use crate::wire::xray::proxy::freedom::final_rule_config::RuleAction;
use crate::wire::xray::{self, proxy};

pub(super) fn inbound(message: &TypedMessage, at: &At) -> Option<InboundSettings> {
    Some(match typed::name(message) {
        "proxy.dokodemo.Config" => InboundSettings::Dokodemo(door(&at.open(message)?, at)?),
        "proxy.shadowsocks.ServerConfig" => {
            let at = at.key("proxy_settings");
            return at.not_built("Xray's form of", "proxy.shadowsocks.ServerConfig");
        }
        "proxy.trojan.ServerConfig" => InboundSettings::Trojan(trojan(&at.open(message)?, at)?),
        "proxy.vless.inbound.Config" => InboundSettings::Vless(vless(message, at)?),
        _ => return protocols::inbound(message, at),
    })
}

pub(super) fn outbound(message: &TypedMessage, at: &At) -> Option<OutboundSettings> {
    Some(match typed::name(message) {
        "proxy.dns.Config" => OutboundSettings::Dns(dns::outbound(&at.open(message)?, at)?),
        "proxy.freedom.Config" => OutboundSettings::Freedom(direct(&at.open(message)?, at)?),
        "proxy.http.ClientConfig" => OutboundSettings::Http(web(&at.open(message)?, at)?),
        "proxy.loopback.Config" => {
            let config: proxy::loopback::Config = at.open(message)?;
            if config.sniffing.is_some_and(|sniffing| sniffing.enabled) {
                let text = "what goes round is not looked at once more";
                return at.key("sniffing").error(text);
            }
            OutboundSettings::Loopback(loopback::OutboundSettings {
                inbound: tag(&config.inbound_tag),
            })
        }
        _ => return protocols::outbound(message, at),
    })
}

/// Only its fallbacks look otherwise.
fn trojan(
    config: &proxy::trojan::ServerConfig,
    at: &At,
) -> Option<crate::protocol::trojan::InboundSettings> {
    let names = config.fallbacks.iter().map(|entry| entry.name.clone());
    let fallbacks = config
        .fallbacks
        .iter()
        .map(|entry| v2rays_trojan::Fallback {
            alpn: entry.alpn.clone(),
            path: entry.path.clone(),
            r#type: entry.r#type.clone(),
            dest: entry.dest.clone(),
            xver: entry.xver,
        });
    let v2rays = v2rays_trojan::ServerConfig {
        users: config.users.clone(),
        fallbacks: fallbacks.collect(),
    };
    let mut settings = protocols::trojan_inbound(&v2rays, at)?;
    for (entry, name) in settings.fallbacks.iter_mut().zip(names) {
        entry.name = name;
    }
    Some(settings)
}

/// Until the middle of 2025 Xray's was V2Ray's, with the last two fields in the other order.
fn vless(message: &TypedMessage, at: &At) -> Option<crate::protocol::vless::InboundSettings> {
    let mut names = Vec::new();
    let config: v2rays_vless::Config = match typed::open::<proxy::vless::inbound::Config>(message) {
        Ok(config) => v2rays_vless::Config {
            clients: config.users,
            decryption: config.decryption,
            fallbacks: config
                .fallbacks
                .into_iter()
                .map(|entry| {
                    names.push(entry.name);
                    v2rays_vless::Fallback {
                        alpn: entry.alpn,
                        path: entry.path,
                        r#type: entry.r#type,
                        dest: entry.dest,
                        xver: entry.xver,
                    }
                })
                .collect(),
        },
        Err(_) => at.open(message)?,
    };
    let mut settings = protocols::vless_inbound(&config, at)?;
    for (entry, name) in settings.fallbacks.iter_mut().zip(names) {
        entry.name = name;
    }
    Some(settings)
}

fn door(config: &proxy::dokodemo::Config, at: &At) -> Option<dokodemo::InboundSettings> {
    let map = config.port_map.iter().map(|(key, value)| {
        let at = at.key("port_map").key(key);
        at.ok(dokodemo::Mapped::parse(key, value))
    });
    let port_map = all(map)?.into_iter().collect();
    let has = |network: Network| config.allowed_networks.contains(&network.into());
    let host = host_of(config.rewrite_address.as_ref(), &at.key("rewrite_address"))?;
    let port = port(config.rewrite_port, &at.key("rewrite_port"))?;
    let loopback = host.is_none() && !config.follow_redirect;
    let to = match host {
        Some(host) => Some(Destination::new(host, port)),
        None if config.follow_redirect => None,
        None => Some(Destination::new(Host::Domain("localhost".to_owned()), port)),
    };
    let udp = has(Network::Udp);
    Some(dokodemo::InboundSettings {
        loopback,
        same_port: to.as_ref().is_some_and(|to| to.port == 0),
        to,
        port_map,
        follow_redirect: config.follow_redirect,
        // Xray's default.
        tcp: has(Network::Tcp) || !udp,
        udp,
        level: config.user_level,
        prompt_end: false,
    })
}

fn direct(config: &proxy::freedom::Config, at: &At) -> Option<freedom::OutboundSettings> {
    let proxy_header = match config.proxy_protocol {
        0 => Some(None),
        1 => Some(Some(ProxyVersion::One)),
        2 => Some(Some(ProxyVersion::Two)),
        other => {
            let text = format!("no version {other} of the PROXY protocol is known");
            at.key("proxy_protocol").error(text)
        }
    };
    let target = config.destination_override.as_ref();
    let target = target.and_then(|target| target.server.as_ref());
    let mut redirect = freedom::Redirect::default();
    if let Some(target) = target {
        let at = at.key("destination_override");
        let host = host_of(target.address.as_ref(), &at.key("address"))?;
        redirect = freedom::Redirect::of(host, port(target.port, &at.key("port"))?);
    }
    let fragment = match &config.fragment {
        Some(told) => Some(fragment(told, &at.key("fragment"))?),
        None => None,
    };
    Some(freedom::OutboundSettings {
        strategy: strategy(config.domain_strategy()),
        redirect,
        level: config.user_level,
        proxy_header: proxy_header?,
        rules: final_rules(&config.final_rules, &at.key("final_rules"))?,
        fragment,
        noises: noises(&config.noises, &at.key("noises"))?,
    })
}

fn final_rules(rules: &[FinalRuleConfig], at: &At) -> Option<freedom::FinalRules> {
    let geodata = Geodata::new(geodata::folders());
    let each = rules.iter().enumerate().map(|(i, rule)| {
        let at = at.index(i);
        let has = |network: Network| rule.networks.contains(&network.into());
        let named = [
            (
                has(Network::Tcp) || has(Network::RawTcp),
                address::Network::Tcp,
            ),
            (has(Network::Udp), address::Network::Udp),
        ];
        let named: Vec<_> = named.into_iter().filter(|(is_on, _)| *is_on).collect();
        if named.is_empty() && !rule.networks.is_empty() {
            return at.key("networks").error("none of them is TCP or UDP");
        }
        let ports = match &rule.port_list {
            Some(list) => ports(list, &at.key("port_list"))?,
            None => Vec::new(),
        };
        Some(freedom::FinalRule {
            action: match rule.action() {
                RuleAction::Allow => freedom::Action::Allow,
                RuleAction::Block => freedom::Action::Block,
            },
            networks: named.into_iter().map(|(_, network)| network).collect(),
            ports,
            ips: networks(&rule.ip, &geodata, &at.key("ip"))?,
        })
    });
    Some(freedom::FinalRules(all(each)?.into()))
}

fn web(config: &proxy::http::ClientConfig, at: &At) -> Option<http::OutboundSettings> {
    let mut headers = HeaderMap::new();
    for (i, header) in config.header.iter().enumerate() {
        let at = at.key("header").index(i);
        let name = at.ok(HeaderName::try_from(&header.key));
        let value = at.ok(HeaderValue::try_from(&header.value));
        headers.append(name?, value?);
    }
    let server: Vec<ServerEndpoint> = config.server.iter().map(endpoint).collect();
    Some(http::OutboundSettings {
        servers: servers(&server, login, &at.key("server"))?,
        headers,
        udp_tunnel: false,
    })
}

/// V2Ray's may have several users.
fn endpoint(server: &xray::common::protocol::ServerEndpoint) -> ServerEndpoint {
    ServerEndpoint {
        address: server.address.clone(),
        port: server.port,
        user: server.user.iter().cloned().collect(),
    }
}
