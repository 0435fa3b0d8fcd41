//! The same for V2Ray, whose own form some messages have. What that form has no word for is refused: a server of V2Ray's
//! would do something else.

mod stream;

use super::{dns, domain, host, ip_address, protocols};
use crate::config::{self, Listen};
use crate::dialect::messages::protocols::{trojan_account, vless_account};
use crate::dns::Strategy;
use crate::protocol::{
    AnyUser, FallbackSettings, InboundSettings, OutboundSettings, blackhole, dokodemo, freedom,
};
use crate::wire::app::proxyman::{
    MultiplexingConfig, ReceiverConfig, SenderConfig, SniffingConfig,
};
use crate::wire::common::net::{Network, PortRange};
use crate::wire::common::protocol::{ServerEndpoint, User};
use crate::wire::common::serial::TypedMessage;
use crate::wire::transport::internet::ProxyConfig;
use crate::wire::typed::{as_v2ray, seal};
use crate::wire::{InboundHandlerConfig, OutboundHandlerConfig, proxy};

/// An inbound.
///
/// # Errors
///
/// When V2Ray's messages have no word for it.
pub fn v2ray_inbound(inbound: &config::Inbound) -> Result<InboundHandlerConfig, String> {
    let (listen, ports) = match &inbound.listen {
        Listen::Ip(ip) => (ip_address(*ip), &inbound.ports[..]),
        Listen::Unix(path) => (domain(&path.to_string_lossy()), &[][..]),
        Listen::Abstract(name) => (
            domain(&format!("@{}", String::from_utf8_lossy(name))),
            &[][..],
        ),
        Listen::Published => return Err(none("a port of another machine")),
    };
    let ports = match ports {
        [] => None,
        [range] => Some(PortRange {
            from: range.from.into(),
            to: range.to.into(),
        }),
        _ => return Err(none("several ranges of ports")),
    };
    let sniffing = inbound.sniffing.as_ref().map(|sniffing| {
        let sniffing = super::sniffed(sniffing);
        SniffingConfig {
            enabled: true,
            destination_override: sniffing.destination_override,
            metadata_only: sniffing.metadata_only,
        }
    });
    let receiver = ReceiverConfig {
        port_range: ports,
        listen: Some(listen),
        stream_settings: stream::server(&inbound.transport)?,
        receive_original_destination: inbound.protocol.traits().follows_redirect,
        sniffing_settings: sniffing,
    };
    Ok(InboundHandlerConfig {
        tag: super::tag(inbound.tag.as_deref()),
        receiver_settings: Some(seal("app.proxyman.ReceiverConfig", &receiver)),
        proxy_settings: Some(inbound_protocol(&inbound.protocol)?),
    })
}

/// An outbound.
///
/// # Errors
///
/// When V2Ray's messages have no word for it.
pub fn v2ray_outbound(outbound: &config::Outbound) -> Result<OutboundHandlerConfig, String> {
    let mux = outbound.mux.as_ref().map(|mux| MultiplexingConfig {
        enabled: true,
        concurrency: mux
            .concurrency
            .map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
    });
    let sender = SenderConfig {
        via: outbound.transport.sockopt.send_through.map(ip_address),
        stream_settings: stream::client(&outbound.transport)?,
        proxy_settings: outbound.through.as_ref().map(|through| ProxyConfig {
            tag: through.tag.to_string(),
            transport_layer_proxy: false,
        }),
        multiplex_settings: mux,
    };
    Ok(OutboundHandlerConfig {
        tag: super::tag(outbound.tag.as_deref()),
        sender_settings: Some(seal("app.proxyman.SenderConfig", &sender)),
        proxy_settings: Some(outbound_protocol(&outbound.protocol)?),
        ..OutboundHandlerConfig::default()
    })
}

fn none(what: &str) -> String {
    format!("V2Ray's messages have no word for {what}")
}

fn user(any: &AnyUser) -> User {
    let user = protocols::user(any);
    User {
        account: user.account.map(as_v2ray),
        ..user
    }
}

fn inbound_protocol(settings: &InboundSettings) -> Result<TypedMessage, String> {
    Ok(match settings {
        InboundSettings::Relay(_) => return Err(none("a `relay` inbound")),
        InboundSettings::Shadowsocks(_) => return Err(none("this `shadowsocks` inbound")),
        InboundSettings::Dokodemo(settings) if !settings.port_map.is_empty() => {
            return Err(none("`portMap`"));
        }
        InboundSettings::Dokodemo(settings) if settings.loopback => {
            return Err(none("a door without an address"));
        }
        InboundSettings::Dokodemo(settings)
            if settings.same_port && settings.to.as_ref().is_some_and(|to| to.port == 0) =>
        {
            return Err(none("a target without a port of its own"));
        }
        InboundSettings::Dokodemo(settings) => seal("proxy.dokodemo.Config", &door(settings)),
        // These look alike.
        InboundSettings::Http(_) | InboundSettings::Socks(_) => {
            let alike = protocols::inbound(settings);
            as_v2ray(alike.ok_or_else(|| none("this inbound"))?)
        }
        InboundSettings::Trojan(settings) => {
            let users = settings.users.iter().cloned().map(AnyUser::Trojan);
            let fallbacks = settings.fallbacks.iter().map(|entry| {
                let (r#type, dest, xver) = protocols::fallback(&entry.fallback);
                proxy::trojan::Fallback {
                    alpn: entry.alpn.clone(),
                    path: entry.path.clone(),
                    r#type,
                    dest,
                    xver,
                }
            });
            let config = proxy::trojan::ServerConfig {
                users: users.map(|any| user(&any)).collect(),
                fallbacks: fallbacks.collect(),
            };
            nameless(&settings.fallbacks)?;
            seal("proxy.trojan.ServerConfig", &config)
        }
        InboundSettings::Vless(settings) => {
            let users = settings.users.iter().cloned().map(AnyUser::Vless);
            let fallbacks = settings.fallbacks.iter().map(|entry| {
                let (r#type, dest, xver) = protocols::fallback(&entry.fallback);
                proxy::vless::inbound::Fallback {
                    alpn: entry.alpn.clone(),
                    path: entry.path.clone(),
                    r#type,
                    dest,
                    xver,
                }
            });
            let config = proxy::vless::inbound::Config {
                clients: users.map(|any| user(&any)).collect(),
                fallbacks: fallbacks.collect(),
                decryption: "none".to_owned(),
            };
            nameless(&settings.fallbacks)?;
            seal("proxy.vless.inbound.Config", &config)
        }
        InboundSettings::Vmess(settings) => {
            let users = settings.users.iter().cloned().map(AnyUser::Vmess);
            let config = proxy::vmess::inbound::Config {
                user: users.map(|any| user(&any)).collect(),
                secure_encryption_only: settings.sealed_only,
                ..Default::default()
            };
            seal("proxy.vmess.inbound.Config", &config)
        }
    })
}

fn nameless(fallbacks: &[FallbackSettings]) -> Result<(), String> {
    match fallbacks.iter().all(|entry| entry.name.is_empty()) {
        true => Ok(()),
        false => Err(none("`name` of a fallback")),
    }
}

fn door(settings: &dokodemo::InboundSettings) -> proxy::dokodemo::Config {
    let to = settings.to.as_ref();
    let networks = [(settings.tcp, Network::Tcp), (settings.udp, Network::Udp)];
    let networks = networks.into_iter().filter(|(is_on, _)| *is_on);
    proxy::dokodemo::Config {
        address: to.map(|to| host(&to.host)),
        port: to.map_or(0, |to| to.port.into()),
        follow_redirect: settings.follow_redirect,
        user_level: settings.level,
        networks: networks.map(|(_, network)| network.into()).collect(),
        ..Default::default()
    }
}

fn outbound_protocol(settings: &OutboundSettings) -> Result<TypedMessage, String> {
    Ok(match settings {
        OutboundSettings::Blackhole(settings) => {
            let response = match settings.response {
                blackhole::Response::None => None,
                blackhole::Response::Http => {
                    let http = proxy::blackhole::HttpResponse {};
                    Some(seal("proxy.blackhole.HTTPResponse", &http))
                }
            };
            seal(
                "proxy.blackhole.Config",
                &proxy::blackhole::Config { response },
            )
        }
        OutboundSettings::Dns(settings) => {
            seal("proxy.dns.Config", &dns::v2ray(settings).map_err(none)?)
        }
        OutboundSettings::Loopback(_) => return Err(none("a `loopback` outbound")),
        OutboundSettings::Relay(_) => return Err(none("a `relay` outbound")),
        OutboundSettings::Shadowsocks(_) => return Err(none("this `shadowsocks` outbound")),
        OutboundSettings::Freedom(settings) => seal("proxy.freedom.Config", &direct(settings)?),
        OutboundSettings::Http(settings) => {
            if !settings.headers.is_empty() {
                return Err(none("`headers` of an `http` outbound"));
            }
            let server = protocols::all(&settings.servers, |account| {
                named(protocols::login(account), "proxy.http.Account")
            });
            seal(
                "proxy.http.ClientConfig",
                &proxy::http::ClientConfig { server },
            )
        }
        OutboundSettings::Socks(settings) => {
            let server = protocols::all(&settings.servers, |account| {
                named(protocols::login(account), "proxy.socks.Account")
            });
            let config = proxy::socks::ClientConfig {
                server,
                version: protocols::socks_version(settings.version).into(),
            };
            seal("proxy.socks.ClientConfig", &config)
        }
        OutboundSettings::Trojan(settings) => {
            let server = protocols::all(&settings.servers, |account| User {
                level: account.level,
                account: Some(trojan_account(account.password.to_string())),
                ..User::default()
            });
            seal(
                "proxy.trojan.ClientConfig",
                &proxy::trojan::ClientConfig { server },
            )
        }
        OutboundSettings::Vless(settings) => {
            let vnext = protocols::all(&settings.servers, |account| User {
                level: account.level,
                account: Some(vless_account(account.id.to_string())),
                ..User::default()
            });
            seal(
                "proxy.vless.outbound.Config",
                &proxy::vless::outbound::Config { vnext },
            )
        }
        OutboundSettings::Vmess(settings) => {
            let receiver = protocols::all(&settings.servers, |account| {
                named(protocols::vmess_client(account), "proxy.vmess.Account")
            });
            seal(
                "proxy.vmess.outbound.Config",
                &proxy::vmess::outbound::Config { receiver },
            )
        }
    })
}

/// With an account under V2Ray's name of it.
fn named(user: User, name: &str) -> User {
    let account = user.account.map(|account| TypedMessage {
        r#type: format!("v2ray.core.{name}"),
        ..account
    });
    User { account, ..user }
}

fn direct(settings: &freedom::OutboundSettings) -> Result<proxy::freedom::Config, String> {
    use proxy::freedom::config::DomainStrategy;
    if !settings.rules.0.is_empty() {
        return Err(none("`finalRules`"));
    }
    if settings.fragment.is_some() {
        return Err(none("`fragment`"));
    }
    if settings.proxy_header.is_some() {
        return Err(none("`proxyProtocol`"));
    }
    if !settings.noises.is_empty() {
        return Err(none("`noises`"));
    }
    let strategy = match settings.strategy {
        Strategy::AsIs => DomainStrategy::AsIs,
        Strategy::UseIp => DomainStrategy::UseIp,
        Strategy::UseIpv4 => DomainStrategy::UseIp4,
        Strategy::UseIpv6 => DomainStrategy::UseIp6,
        Strategy::PreferIpv4 | Strategy::PreferIpv6 => {
            return Err(none("this `domainStrategy`"));
        }
    };
    let freedom::Redirect { host: to, port } = &settings.redirect;
    let target = (to.is_some() || port.is_some()).then(|| proxy::freedom::DestinationOverride {
        server: Some(ServerEndpoint {
            address: to.as_ref().map(host),
            port: port.unwrap_or(0).into(),
            user: Vec::new(),
        }),
    });
    Ok(proxy::freedom::Config {
        domain_strategy: strategy.into(),
        destination_override: target,
        user_level: settings.level,
        ..Default::default()
    })
}
