//! `proxy_settings`.

use std::collections::HashMap;

use super::{dns, host, ports, strategy};
use crate::address::{self, Destination};
use crate::dialect::messages::protocols::{trojan_account, vless_account, vmess_account};
use crate::io::fragment::{Between, Cut, Fragment};
use crate::matching::Networks;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{
    AnyUser, InboundSettings, OutboundSettings, UserSettings, blackhole, dokodemo, freedom, http,
    socks, trojan, vless, vmess,
};
use crate::seam::{Fallback, FallbackTarget, ProxyVersion};
use crate::wire::common::net::Network;
use crate::wire::common::protocol::{SecurityConfig, SecurityType, ServerEndpoint, User};
use crate::wire::common::serial::TypedMessage;
use crate::wire::net;
use crate::wire::proxy::{self as shared, socks::AuthType};
use crate::wire::typed::{as_xray, seal_xray};
use crate::wire::xray::common::geodata::{Cidr, CidrRule, IpRule, ip_rule};
use crate::wire::xray::proxy::freedom::FinalRuleConfig;
use crate::wire::xray::proxy::freedom::final_rule_config::RuleAction;
use crate::wire::xray::{self, proxy};

/// A user, with what the protocol knows them by.
pub fn user(user: &AnyUser) -> User {
    let by_id = |user: &UserSettings, account: fn(String) -> TypedMessage| User {
        level: user.level,
        email: user.email.clone().unwrap_or_default(),
        account: Some(as_xray(account(user.id.to_string()))),
    };
    match user {
        // A server keeps no password, and the key that comes of it is no account.
        AnyUser::Shadowsocks(user) => User {
            level: user.level,
            email: user.email.clone().unwrap_or_default(),
            account: None,
        },
        AnyUser::Shadowsocks2022(user) => User {
            level: user.level,
            email: user.email.clone().unwrap_or_default(),
            account: None,
        },
        AnyUser::Trojan(user) => User {
            level: user.level,
            email: user.email.clone().unwrap_or_default(),
            account: Some(as_xray(trojan_account(user.password.to_string()))),
        },
        AnyUser::Vless(user) => by_id(user, vless_account),
        AnyUser::Vmess(user) => by_id(user, vmess_account),
    }
}

/// Its type, `dest` and `xver`.
pub(super) fn fallback(fallback: &Fallback) -> (String, String, u64) {
    let (kind, dest) = match &fallback.to {
        FallbackTarget::Port(port) => ("tcp", format!(":{port}")),
        FallbackTarget::Tcp(to) => ("tcp", to.to_string()),
        FallbackTarget::Unix(path) => ("unix", path.display().to_string()),
        FallbackTarget::Abstract(name) => ("unix", format!("@{}", String::from_utf8_lossy(name))),
    };
    let xver = match fallback.proxy_header {
        None => 0,
        Some(ProxyVersion::One) => 1,
        Some(ProxyVersion::Two) => 2,
    };
    (kind.to_owned(), dest, xver)
}

/// `None` for one that these messages have no word for.
pub(super) fn inbound(settings: &InboundSettings) -> Option<TypedMessage> {
    Some(match settings {
        InboundSettings::Relay(_) | InboundSettings::Shadowsocks(_) => return None,
        InboundSettings::Dokodemo(settings) => seal_xray("proxy.dokodemo.Config", &door(settings)),
        InboundSettings::Http(settings) => seal_xray("proxy.http.ServerConfig", &web(settings)),
        InboundSettings::Socks(settings) => {
            seal_xray("proxy.socks.ServerConfig", &socks_server(settings))
        }
        InboundSettings::Trojan(settings) => {
            let users = settings.users.iter().cloned().map(AnyUser::Trojan);
            let fallbacks = settings.fallbacks.iter().map(|entry| {
                let (kind, dest, xver) = fallback(&entry.fallback);
                proxy::trojan::Fallback {
                    name: entry.name.clone(),
                    alpn: entry.alpn.clone(),
                    path: entry.path.clone(),
                    r#type: kind,
                    dest,
                    xver,
                }
            });
            let config = proxy::trojan::ServerConfig {
                users: users.map(|any| user(&any)).collect(),
                fallbacks: fallbacks.collect(),
            };
            seal_xray("proxy.trojan.ServerConfig", &config)
        }
        InboundSettings::Vless(settings) => {
            let users = settings.users.iter().cloned().map(AnyUser::Vless);
            let fallbacks = settings.fallbacks.iter().map(|entry| {
                let (kind, dest, xver) = fallback(&entry.fallback);
                proxy::vless::inbound::Fallback {
                    name: entry.name.clone(),
                    alpn: entry.alpn.clone(),
                    path: entry.path.clone(),
                    r#type: kind,
                    dest,
                    xver,
                }
            });
            let config = proxy::vless::inbound::Config {
                users: users.map(|any| user(&any)).collect(),
                fallbacks: fallbacks.collect(),
                decryption: "none".to_owned(),
            };
            seal_xray("proxy.vless.inbound.Config", &config)
        }
        InboundSettings::Vmess(settings) => {
            let users = settings.users.iter().cloned().map(AnyUser::Vmess);
            let config = shared::vmess::inbound::Config {
                user: users.map(|any| user(&any)).collect(),
                secure_encryption_only: settings.sealed_only,
                ..Default::default()
            };
            seal_xray("proxy.vmess.inbound.Config", &config)
        }
    })
}

/// `None` for one that these messages have no word for.
pub(super) fn outbound(settings: &OutboundSettings) -> Option<TypedMessage> {
    Some(match settings {
        OutboundSettings::Blackhole(settings) => {
            let response = match settings.response {
                blackhole::Response::None => None,
                blackhole::Response::Http => Some(seal_xray(
                    "proxy.blackhole.HTTPResponse",
                    &shared::blackhole::HttpResponse {},
                )),
            };
            let config = shared::blackhole::Config { response };
            seal_xray("proxy.blackhole.Config", &config)
        }
        OutboundSettings::Dns(settings) => seal_xray("proxy.dns.Config", &dns::xray(settings)?),
        OutboundSettings::Relay(_) | OutboundSettings::Shadowsocks(_) => return None,
        OutboundSettings::Freedom(settings) => seal_xray("proxy.freedom.Config", &direct(settings)),
        OutboundSettings::Http(settings) => {
            let header = settings.headers.iter();
            let header = header.map(|(key, value)| proxy::http::Header {
                key: key.to_string(),
                value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            });
            let config = proxy::http::ClientConfig {
                server: first(&settings.servers),
                header: header.collect(),
            };
            seal_xray("proxy.http.ClientConfig", &config)
        }
        OutboundSettings::Loopback(settings) => {
            let config = proxy::loopback::Config {
                inbound_tag: settings.inbound.as_deref().unwrap_or_default().to_owned(),
                sniffing: None,
            };
            seal_xray("proxy.loopback.Config", &config)
        }
        OutboundSettings::Socks(settings) => {
            let config = shared::socks::ClientConfig {
                server: all(&settings.servers, login),
                version: socks_version(settings.version).into(),
            };
            seal_xray("proxy.socks.ClientConfig", &config)
        }
        OutboundSettings::Trojan(settings) => {
            let account = |account: &trojan::AccountSettings| User {
                level: account.level,
                account: Some(as_xray(trojan_account(account.password.to_string()))),
                ..User::default()
            };
            let config = shared::trojan::ClientConfig {
                server: all(&settings.servers, account),
            };
            seal_xray("proxy.trojan.ClientConfig", &config)
        }
        OutboundSettings::Vless(settings) => {
            let account = |account: &vless::AccountSettings| User {
                level: account.level,
                account: Some(as_xray(vless_account(account.id.to_string()))),
                ..User::default()
            };
            let config = shared::vless::outbound::Config {
                vnext: all(&settings.servers, account),
            };
            seal_xray("proxy.vless.outbound.Config", &config)
        }
        OutboundSettings::Vmess(settings) => {
            let config = shared::vmess::outbound::Config {
                receiver: all(&settings.servers, vmess_client),
            };
            seal_xray("proxy.vmess.outbound.Config", &config)
        }
    })
}

/// Xray has one server and one account; what has more says more than that.
pub(super) fn all<A>(
    servers: &[ServerSettings<A>],
    account: impl Fn(&A) -> User,
) -> Vec<ServerEndpoint> {
    let endpoint = |server: &ServerSettings<A>| ServerEndpoint {
        address: Some(host(&server.to.host)),
        port: server.to.port.into(),
        user: server.accounts.iter().map(&account).collect(),
    };
    servers.iter().map(endpoint).collect()
}

fn first(servers: &[ServerSettings<Account>]) -> Option<xray::common::protocol::ServerEndpoint> {
    // The message is that of SOCKS, under a name of its own.
    let http = |account: &Account| {
        let user = login(account);
        let account = user.account.map(|account| TypedMessage {
            r#type: "xray.proxy.http.Account".to_owned(),
            ..account
        });
        User { account, ..user }
    };
    let server = all(servers, http).into_iter().next()?;
    Some(xray::common::protocol::ServerEndpoint {
        address: server.address,
        port: server.port,
        user: server.user.into_iter().next(),
    })
}

pub(super) fn login(account: &Account) -> User {
    let message = shared::socks::Account {
        username: account.user.clone(),
        password: account.pass.to_string(),
    };
    User {
        level: account.level,
        account: Some(seal_xray("proxy.socks.Account", &message)),
        ..User::default()
    }
}

pub(super) fn vmess_client(account: &vmess::AccountSettings) -> User {
    let security = match account.security {
        vmess::Security::Auto => SecurityType::Auto,
        vmess::Security::Aes128Gcm => SecurityType::Aes128Gcm,
        vmess::Security::ChaCha20Poly1305 => SecurityType::Chacha20Poly1305,
        vmess::Security::None => SecurityType::None,
        vmess::Security::Zero => SecurityType::Zero,
    };
    let tests = [
        (account.authenticated_length, "AuthenticatedLength"),
        (account.no_end_mark, "NoTerminationSignal"),
    ];
    let tests = tests.iter().filter(|(is_on, _)| *is_on);
    let tests: Vec<&str> = tests.map(|(_, name)| *name).collect();
    let message = shared::vmess::Account {
        id: account.id.to_string(),
        security_settings: Some(SecurityConfig {
            r#type: security.into(),
        }),
        tests_enabled: tests.join("|"),
        ..Default::default()
    };
    User {
        level: account.level,
        account: Some(seal_xray("proxy.vmess.Account", &message)),
        ..User::default()
    }
}

pub(super) fn socks_version(version: socks::Version) -> shared::socks::Version {
    match version {
        socks::Version::Five => shared::socks::Version::Socks5,
        socks::Version::Four => shared::socks::Version::Socks4,
        socks::Version::FourA => shared::socks::Version::Socks4a,
    }
}

fn passwords(accounts: &[Account]) -> HashMap<String, String> {
    let pair = |account: &Account| (account.user.clone(), account.pass.to_string());
    accounts.iter().map(pair).collect()
}

fn web(settings: &http::InboundSettings) -> shared::http::ServerConfig {
    shared::http::ServerConfig {
        accounts: passwords(&settings.accounts),
        allow_transparent: settings.transparent,
        user_level: settings.level,
        ..Default::default()
    }
}

fn socks_server(settings: &socks::InboundSettings) -> shared::socks::ServerConfig {
    let auth = match settings.accounts {
        Some(_) => AuthType::Password,
        None => AuthType::NoAuth,
    };
    shared::socks::ServerConfig {
        auth_type: auth.into(),
        accounts: passwords(settings.accounts.as_deref().unwrap_or_default()),
        address: settings.udp_ip.as_ref().map(host),
        udp_enabled: settings.udp,
        user_level: settings.level,
        ..Default::default()
    }
}

fn door(settings: &dokodemo::InboundSettings) -> proxy::dokodemo::Config {
    let to = settings.to.as_ref();
    let networks = [(settings.tcp, Network::Tcp), (settings.udp, Network::Udp)];
    let networks = networks.into_iter().filter(|(is_on, _)| *is_on);
    proxy::dokodemo::Config {
        rewrite_address: to.filter(|_| !settings.loopback).map(|to| host(&to.host)),
        rewrite_port: to.map_or(0, |to: &Destination| to.port.into()),
        port_map: settings.port_map.iter().map(mapped).collect(),
        follow_redirect: settings.follow_redirect,
        user_level: settings.level,
        allowed_networks: networks.map(|(_, network)| network.into()).collect(),
    }
}

fn mapped((port, to): (&u16, &dokodemo::Mapped)) -> (String, String) {
    (port.to_string(), to.to_string())
}

fn direct(settings: &freedom::OutboundSettings) -> proxy::freedom::Config {
    let freedom::Redirect { host: to, port } = &settings.redirect;
    let target = (to.is_some() || port.is_some()).then(|| shared::freedom::DestinationOverride {
        server: Some(ServerEndpoint {
            address: to.as_ref().map(host),
            port: port.unwrap_or(0).into(),
            user: Vec::new(),
        }),
    });
    proxy::freedom::Config {
        domain_strategy: strategy(settings.strategy).into(),
        destination_override: target,
        user_level: settings.level,
        final_rules: settings.rules.0.iter().map(final_rule).collect(),
        fragment: settings.fragment.as_ref().map(fragment),
        proxy_protocol: match settings.proxy_header {
            None => 0,
            Some(ProxyVersion::One) => 1,
            Some(ProxyVersion::Two) => 2,
        },
        noises: settings.noises.iter().map(noise).collect(),
    }
}

fn fragment(fragment: &Fragment) -> proxy::freedom::Fragment {
    let (packets_from, packets_to) = match fragment.cut {
        Cut::All => (0, 0),
        Cut::TlsHello => (0, 1),
        Cut::Writes { from, to } => (from.into(), to.into()),
    };
    proxy::freedom::Fragment {
        packets_from,
        packets_to,
        length_min: fragment.length.from.into(),
        length_max: fragment.length.to.into(),
        interval_min: fragment.interval.from.into(),
        interval_max: fragment.interval.to.into(),
        max_split_min: fragment.max_split.from.into(),
        max_split_max: fragment.max_split.to.into(),
    }
}

fn noise(noise: &freedom::Noise) -> proxy::freedom::Noise {
    let (length, packet) = match &noise.packet {
        freedom::Content::Random(length) => (*length, Vec::new()),
        freedom::Content::Given(bytes) => (Between::default(), bytes.to_vec()),
    };
    let apply_to = match noise.to {
        freedom::Family::Any => "ip",
        freedom::Family::V4 => "ipv4",
        freedom::Family::V6 => "ipv6",
    };
    proxy::freedom::Noise {
        length_min: length.from.into(),
        length_max: length.to.into(),
        delay_min: noise.delay.from.into(),
        delay_max: noise.delay.to.into(),
        packet,
        apply_to: apply_to.to_owned(),
    }
}

fn final_rule(rule: &freedom::FinalRule) -> FinalRuleConfig {
    let action = match rule.action {
        freedom::Action::Allow => RuleAction::Allow,
        freedom::Action::Block => RuleAction::Block,
    };
    let networks = rule.networks.iter().map(|network| match network {
        address::Network::Tcp => Network::Tcp,
        address::Network::Udp => Network::Udp,
    });
    let ips = rule.ips.iter().flat_map(Networks::networks);
    let ips = ips.map(|net| IpRule {
        value: Some(ip_rule::Value::Custom(CidrRule {
            cidr: Some(Cidr {
                ip: net::bytes(net.addr()),
                prefix: net.prefix_len().into(),
            }),
            reverse_match: false,
        })),
    });
    FinalRuleConfig {
        action: action.into(),
        networks: networks.map(Into::into).collect(),
        port_list: (!rule.ports.is_empty()).then(|| ports(&rule.ports)),
        ip: ips.collect(),
    }
}
