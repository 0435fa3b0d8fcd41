//! `settings` of the protocols.

use std::collections::HashMap;

use serde_json::{Value, json};
use tonic::Status;

use super::super::typed::{self, unknown};
use super::super::wire::common::net::Network;
use super::super::wire::common::protocol::{SecurityType, ServerEndpoint, User};
use super::super::wire::common::serial::TypedMessage;
use super::super::wire::proxy::{blackhole, dokodemo, freedom, http, socks, vmess};
use super::host;

/// The protocol's name and its settings.
pub(super) fn inbound(message: &TypedMessage) -> Result<(&'static str, Value), Status> {
    Ok(match typed::name(message) {
        "proxy.dokodemo.Config" => ("dokodemo-door", dokodemo(&typed::open(message)?)?),
        "proxy.http.ServerConfig" => {
            let config: http::ServerConfig = typed::open(message)?;
            let settings = json!({
                "accounts": accounts(&config.accounts),
                "allowTransparent": config.allow_transparent,
                "userLevel": config.user_level,
            });
            ("http", settings)
        }
        "proxy.socks.ServerConfig" => ("socks", socks(&typed::open(message)?)?),
        "proxy.vmess.inbound.Config" => {
            let config: vmess::inbound::Config = typed::open(message)?;
            let clients: Vec<Value> = config.user.iter().map(user).collect::<Result<_, _>>()?;
            ("vmess", json!({"clients": clients}))
        }
        other => return Err(not_built(other, "inbound")),
    })
}

pub(super) fn outbound(message: &TypedMessage) -> Result<(&'static str, Value), Status> {
    Ok(match typed::name(message) {
        "proxy.blackhole.Config" => {
            let config: blackhole::Config = typed::open(message)?;
            let kind = match config.response.as_ref().map(typed::name) {
                Some("proxy.blackhole.HTTPResponse") => "http",
                _ => "none",
            };
            ("blackhole", json!({"response": {"type": kind}}))
        }
        "proxy.freedom.Config" => ("freedom", freedom(&typed::open(message)?)?),
        "proxy.http.ClientConfig" => {
            let config: http::ClientConfig = typed::open(message)?;
            (
                "http",
                json!({"servers": servers(&config.server, "users", login)?}),
            )
        }
        "proxy.socks.ClientConfig" => {
            let config: socks::ClientConfig = typed::open(message)?;
            let version = match config.version() {
                socks::Version::Socks5 => "5",
                socks::Version::Socks4 => "4",
                socks::Version::Socks4a => "4a",
            };
            let servers = servers(&config.server, "users", login)?;
            ("socks", json!({"servers": servers, "version": version}))
        }
        "proxy.vmess.outbound.Config" => {
            let config: vmess::outbound::Config = typed::open(message)?;
            (
                "vmess",
                json!({"vnext": servers(&config.receiver, "users", user)?}),
            )
        }
        other => return Err(not_built(other, "outbound")),
    })
}

/// A VMess user, as `clients` and `users` have one.
pub(in super::super) fn user(user: &User) -> Result<Value, Status> {
    let account = user.account.as_ref();
    let account = account.ok_or_else(|| unknown("a user has no account"))?;
    if typed::name(account) != "proxy.vmess.Account" {
        let found = account.r#type.escape_debug();
        let text = format!(
            "`{found}` is not an account of VMess, expected v2ray.core.proxy.vmess.Account"
        );
        return Err(unknown(text));
    }
    let account: vmess::Account = typed::open(account)?;
    let security = match account.security_settings.map(|s| s.r#type()) {
        None | Some(SecurityType::Unknown | SecurityType::Auto | SecurityType::Legacy) => "auto",
        Some(SecurityType::Aes128Gcm) => "aes-128-gcm",
        Some(SecurityType::Chacha20Poly1305) => "chacha20-poly1305",
        Some(SecurityType::None) => "none",
        Some(SecurityType::Zero) => "zero",
    };
    Ok(json!({
        "id": account.id, "email": user.email, "level": user.level,
        "security": security, "experiments": account.tests_enabled,
    }))
}

/// A user of an HTTP or SOCKS server; the two accounts are the same on the wire.
fn login(user: &User) -> Result<Value, Status> {
    let account = user.account.as_ref();
    let account = account.ok_or_else(|| unknown("a user has no account"))?;
    let account: socks::Account = typed::open(account)?;
    Ok(json!({"user": account.username, "pass": account.password}))
}

fn servers(
    servers: &[ServerEndpoint],
    key: &str,
    user: fn(&User) -> Result<Value, Status>,
) -> Result<Vec<Value>, Status> {
    let each = servers.iter().map(|server| {
        let address = server.address.as_ref();
        let address = address.ok_or_else(|| unknown("a server has no address"))?;
        let users: Vec<Value> = server.user.iter().map(user).collect::<Result<_, _>>()?;
        Ok(json!({"address": host(address)?, "port": server.port, key: users}))
    });
    each.collect()
}

fn accounts(accounts: &HashMap<String, String>) -> Vec<Value> {
    let each = accounts.iter();
    each.map(|(user, pass)| json!({"user": user, "pass": pass}))
        .collect()
}

fn dokodemo(config: &dokodemo::Config) -> Result<Value, Status> {
    let old = config.network_list.as_ref().map(|list| &list.network);
    let networks = if config.networks.is_empty() {
        old.unwrap_or(&config.networks)
    } else {
        &config.networks
    };
    let names = networks.iter().filter_map(|n| match Network::try_from(*n) {
        Ok(Network::Tcp | Network::RawTcp) => Some("tcp"),
        Ok(Network::Udp) => Some("udp"),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    let mut settings = json!({
        "followRedirect": config.follow_redirect,
        "userLevel": config.user_level,
    });
    if !names.is_empty() {
        settings["network"] = names.join(",").into();
    }
    if let Some(address) = &config.address {
        settings["address"] = host(address)?.into();
        settings["port"] = config.port.into();
    }
    Ok(settings)
}

fn socks(config: &socks::ServerConfig) -> Result<Value, Status> {
    let auth = match config.auth_type() {
        socks::AuthType::NoAuth => "noauth",
        socks::AuthType::Password => "password",
    };
    let mut settings = json!({
        "auth": auth, "accounts": accounts(&config.accounts),
        "udp": config.udp_enabled, "userLevel": config.user_level,
    });
    if let Some(address) = &config.address {
        settings["ip"] = host(address)?.into();
    }
    Ok(settings)
}

fn freedom(config: &freedom::Config) -> Result<Value, Status> {
    use freedom::config::DomainStrategy;
    let strategy = match config.domain_strategy() {
        DomainStrategy::AsIs => "AsIs",
        DomainStrategy::UseIp => "UseIP",
        DomainStrategy::UseIp4 => "UseIPv4",
        DomainStrategy::UseIp6 => "UseIPv6",
    };
    let mut settings = json!({"domainStrategy": strategy, "userLevel": config.user_level});
    let server = config
        .destination_override
        .as_ref()
        .and_then(|o| o.server.as_ref());
    if let Some(server) = server {
        let mut to = server
            .address
            .as_ref()
            .map(host)
            .transpose()?
            .unwrap_or_default();
        if to.contains(':') {
            to = format!("[{to}]");
        }
        settings["redirect"] = format!("{to}:{}", server.port).into();
    }
    Ok(settings)
}

fn not_built(found: &str, side: &str) -> Status {
    let found = found.escape_debug();
    unknown(format!("the {side} protocol of `{found}` is not built"))
}
