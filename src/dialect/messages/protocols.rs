//! The messages of protocols: `proxy_settings`.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::at::{At, all};
use super::{host, misplaced, port};
use crate::address::Destination;
use crate::dialect::v2ray::protocols::ids;
use crate::dns::Strategy;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{
    Grant, InboundSettings, OutboundSettings, UserSettings, blackhole, dokodemo, freedom, http,
    socks, vless, vmess,
};
use crate::secret::Secret;
use crate::wire::common::net::Network;
use crate::wire::common::protocol::{SecurityType, ServerEndpoint, User};
use crate::wire::common::serial::TypedMessage;
use crate::wire::{proxy, typed};

pub(super) fn inbound(message: &TypedMessage, at: &At) -> Option<InboundSettings> {
    Some(match typed::name(message) {
        "proxy.dokodemo.Config" => {
            InboundSettings::Dokodemo(dokodemo_inbound(&at.open(message)?, at)?)
        }
        "proxy.http.ServerConfig" => {
            let config: proxy::http::ServerConfig = at.open(message)?;
            InboundSettings::Http(http::InboundSettings {
                accounts: accounts(&config.accounts),
                level: config.user_level,
                transparent: config.allow_transparent,
                grant: Grant::default(),
            })
        }
        "proxy.socks.ServerConfig" => {
            InboundSettings::Socks(socks_inbound(&at.open(message)?, at)?)
        }
        "proxy.vless.inbound.Config" => {
            InboundSettings::Vless(vless_inbound(&at.open(message)?, at)?)
        }
        "proxy.vmess.inbound.Config" => {
            InboundSettings::Vmess(vmess_inbound(&at.open(message)?, at)?)
        }
        other => {
            return at
                .key("proxy_settings")
                .not_built("the inbound protocol of", other);
        }
    })
}

pub(super) fn outbound(message: &TypedMessage, at: &At) -> Option<OutboundSettings> {
    Some(match typed::name(message) {
        "proxy.blackhole.Config" => {
            let config: proxy::blackhole::Config = at.open(message)?;
            let response = match config.response.as_ref().map(typed::name) {
                Some("proxy.blackhole.HTTPResponse") => blackhole::Response::Http,
                _ => blackhole::Response::None,
            };
            OutboundSettings::Blackhole(blackhole::OutboundSettings {
                response,
                ..Default::default()
            })
        }
        "proxy.freedom.Config" => OutboundSettings::Freedom(freedom(&at.open(message)?, at)?),
        "proxy.http.ClientConfig" => {
            let config: proxy::http::ClientConfig = at.open(message)?;
            OutboundSettings::Http(http::OutboundSettings {
                servers: servers(&config.server, login, &at.key("server"))?,
                ..http::OutboundSettings::default()
            })
        }
        "proxy.socks.ClientConfig" => {
            let config: proxy::socks::ClientConfig = at.open(message)?;
            OutboundSettings::Socks(socks::OutboundSettings {
                version: match config.version() {
                    proxy::socks::Version::Socks5 => socks::Version::Five,
                    proxy::socks::Version::Socks4 => socks::Version::Four,
                    proxy::socks::Version::Socks4a => socks::Version::FourA,
                },
                servers: servers(&config.server, login, &at.key("server"))?,
            })
        }
        "proxy.vless.outbound.Config" => {
            let config: proxy::vless::outbound::Config = at.open(message)?;
            let servers = servers_with_users(&config.vnext, vless_account, &at.key("vnext"))?;
            OutboundSettings::Vless(vless::OutboundSettings { servers })
        }
        "proxy.vmess.outbound.Config" => {
            let config: proxy::vmess::outbound::Config = at.open(message)?;
            let at = at.key("receiver");
            let servers = servers_with_users(&config.receiver, vmess_account, &at)?;
            OutboundSettings::Vmess(vmess::OutboundSettings { servers })
        }
        other => {
            return at
                .key("proxy_settings")
                .not_built("the outbound protocol of", other);
        }
    })
}

/// A user whose account says of which protocol it is.
pub(super) fn user(user: &User, at: &At) -> Option<UserSettings> {
    match typed::name(account(user, at)?) {
        VLESS_ACCOUNT => Some(UserSettings::Vless(vless_user(user, at)?)),
        VMESS_ACCOUNT => Some(UserSettings::Vmess(vmess_user(user, at)?)),
        found => {
            let expected = "v2ray.core.proxy.vmess.Account` or `v2ray.core.proxy.vless.Account";
            misplaced(found, expected, at)
        }
    }
}

const VLESS_ACCOUNT: &str = "proxy.vless.Account";
const VMESS_ACCOUNT: &str = "proxy.vmess.Account";

fn account<'m>(user: &'m User, at: &At) -> Option<&'m TypedMessage> {
    at.key("account").required(user.account.as_ref())
}

/// The message under `name`, and no other.
fn account_of<M: prost::Message + Default>(user: &User, name: &str, at: &At) -> Option<M> {
    let account = account(user, at)?;
    match typed::name(account) {
        found if found == name => at.open(account),
        found => misplaced(found, &format!("v2ray.core.{name}"), at),
    }
}

/// The users of an inbound. `key` tells the id and the email of one.
fn users<U>(
    users: &[User],
    user: impl Fn(&User, &At) -> Option<U>,
    key: impl Fn(&U) -> (Uuid, Option<&str>),
    at: &At,
) -> Option<Vec<U>> {
    let each = users.iter().enumerate();
    let read = all(each.map(|(i, message)| user(message, &at.index(i))))?;
    let mut users: Vec<U> = Vec::new();
    let mut emails = HashSet::new();
    for (i, user) in read.into_iter().enumerate() {
        let (id, email) = key(&user);
        if let Some(email) = email
            && !emails.insert(email.to_lowercase())
        {
            let text = format!("another user has the email `{email}`");
            at.index(i).error::<()>(text);
        }
        // Of two with one id the last one counts, as in V2Ray.
        users.retain(|other| key(other).0 != id);
        users.push(user);
    }
    Some(users)
}

fn email(user: &User) -> Option<String> {
    Some(user.email.clone()).filter(|email| !email.is_empty())
}

fn vless_inbound(
    config: &proxy::vless::inbound::Config,
    at: &At,
) -> Option<vless::InboundSettings> {
    no_encryption(&config.decryption, &at.key("decryption"));
    if !config.fallbacks.is_empty() {
        at.key("fallbacks").error::<()>("fallbacks are not built");
    }
    let users = users(
        &config.clients,
        vless_user,
        |user| (*user.id, user.email.as_deref()),
        &at.key("clients"),
    )?;
    Some(vless::InboundSettings { users })
}

fn vless_user(user: &User, at: &At) -> Option<vless::UserSettings> {
    Some(vless::UserSettings {
        id: vless_id(user, at)?,
        email: email(user),
        level: user.level,
    })
}

fn vless_account(user: &User, at: &At) -> Option<vless::AccountSettings> {
    Some(vless::AccountSettings {
        at: Default::default(),
        id: vless_id(user, at)?,
        level: user.level,
    })
}

/// All that there is to an account that is built.
fn vless_id(user: &User, at: &At) -> Option<Secret<Uuid>> {
    let account: proxy::vless::Account = account_of(user, VLESS_ACCOUNT, at)?;
    no_encryption(&account.encryption, &at.key("account").key("encryption"));
    if !account.flow.is_empty() {
        let text = format!("the flow `{}` is not built", account.flow.escape_debug());
        at.key("account").key("flow").error::<()>(text);
    }
    id(&account.id, at)
}

/// V2Ray's clients of the API leave it out as well.
fn no_encryption(word: &str, at: &At) {
    if !matches!(word, "" | "none") {
        at.error::<()>("VLESS Encryption is not built, expected `none`");
    }
}

fn vmess_inbound(
    config: &proxy::vmess::inbound::Config,
    at: &At,
) -> Option<vmess::InboundSettings> {
    let users = users(
        &config.user,
        vmess_user,
        |user| (*user.id, user.email.as_deref()),
        &at.key("user"),
    )?;
    Some(vmess::InboundSettings {
        users,
        ..Default::default()
    })
}

fn vmess_user(user: &User, at: &At) -> Option<vmess::UserSettings> {
    let account: proxy::vmess::Account = account_of(user, VMESS_ACCOUNT, at)?;
    Some(vmess::UserSettings {
        id: id(&account.id, at)?,
        email: email(user),
        level: user.level,
    })
}

fn vmess_account(user: &User, at: &At) -> Option<vmess::AccountSettings> {
    let account: proxy::vmess::Account = account_of(user, VMESS_ACCOUNT, at)?;
    let has = |name: &str| account.tests_enabled.split('|').any(|e| e.trim() == name);
    Some(vmess::AccountSettings {
        at: Default::default(),
        id: id(&account.id, at)?,
        security: match account.security_settings.map(|s| s.r#type()) {
            None | Some(SecurityType::Unknown | SecurityType::Auto | SecurityType::Legacy) => {
                vmess::Security::Auto
            }
            Some(SecurityType::Aes128Gcm) => vmess::Security::Aes128Gcm,
            Some(SecurityType::Chacha20Poly1305) => vmess::Security::ChaCha20Poly1305,
            Some(SecurityType::None) => vmess::Security::None,
            Some(SecurityType::Zero) => vmess::Security::Zero,
        },
        authenticated_length: has("AuthenticatedLength"),
        no_end_mark: has("NoTerminationSignal"),
        level: user.level,
    })
}

fn id(text: &str, at: &At) -> Option<Secret<Uuid>> {
    let at = at.key("account").key("id");
    at.ok(ids::parse(text)).map(Secret)
}

/// A user of an HTTP or SOCKS server; the two accounts are the same on the wire.
fn login(user: &User, at: &At) -> Option<Account> {
    let login: proxy::socks::Account = at.open(account(user, at)?)?;
    let lengths = [&login.username, &login.password].map(String::len);
    if login.username.is_empty() || lengths.iter().any(|len| *len > 255) {
        return at.error("a user name has 1 to 255 bytes, a password at most 255");
    }
    Some(Account {
        user: login.username,
        pass: login.password.into(),
        level: user.level,
    })
}

/// Servers that let nobody in without an account.
fn servers_with_users<A>(
    messages: &[ServerEndpoint],
    account: impl Fn(&User, &At) -> Option<A>,
    at: &At,
) -> Option<Vec<ServerSettings<A>>> {
    let servers = servers(messages, account, at)?;
    if servers.iter().any(|server| server.accounts.is_empty()) {
        return at.error("there is no user");
    }
    Some(servers)
}

fn servers<A>(
    servers: &[ServerEndpoint],
    account: impl Fn(&User, &At) -> Option<A>,
    at: &At,
) -> Option<Vec<ServerSettings<A>>> {
    if servers.is_empty() {
        return at.error("there is no server");
    }
    let each = servers.iter().enumerate().map(|(i, server)| {
        let at = at.index(i);
        let address = at.key("address");
        let host = address.required(server.address.as_ref());
        let host = host.and_then(|host| super::host(host, &address));
        let port = port(server.port, &at.key("port"));
        if port == Some(0) {
            let text = "0 is not a port to connect to, expected 1 to 65535";
            at.key("port").error::<()>(text);
        }
        let users = server.user.iter().enumerate();
        let accounts = all(users.map(|(i, user)| account(user, &at.key("user").index(i))));
        Some(ServerSettings {
            to: Destination::new(host?, port?),
            accounts: accounts?,
        })
    });
    all(each)
}

fn accounts(accounts: &HashMap<String, String>) -> Vec<Account> {
    let each = accounts.iter().map(|(user, pass)| Account {
        user: user.clone(),
        pass: pass.clone().into(),
        level: 0,
    });
    each.collect()
}

fn dokodemo_inbound(
    config: &proxy::dokodemo::Config,
    at: &At,
) -> Option<dokodemo::InboundSettings> {
    let old = config.network_list.as_ref().map(|list| &list.network);
    let networks = match config.networks.is_empty() {
        true => old.unwrap_or(&config.networks),
        false => &config.networks,
    };
    let (mut tcp, mut udp) = (false, false);
    for network in networks {
        match Network::try_from(*network) {
            Ok(Network::Tcp | Network::RawTcp) => tcp = true,
            Ok(Network::Udp) => udp = true,
            _ => {}
        }
    }
    let to = match &config.address {
        Some(address) => {
            let host = host(address, &at.key("address"));
            let port = port(config.port, &at.key("port"));
            Some(Destination::new(host?, port?))
        }
        None if config.follow_redirect => None,
        None => return at.key("address").error("it is missing"),
    };
    Some(dokodemo::InboundSettings {
        to,
        follow_redirect: config.follow_redirect,
        // V2Ray's default.
        tcp: tcp || !udp,
        udp,
        level: config.user_level,
    })
}

fn socks_inbound(config: &proxy::socks::ServerConfig, at: &At) -> Option<socks::InboundSettings> {
    let asks = config.auth_type() == proxy::socks::AuthType::Password;
    if asks && config.accounts.is_empty() {
        let text = "`password` without accounts lets nobody in";
        return at.key("auth_type").error(text);
    }
    let udp_ip = match &config.address {
        Some(address) => Some(host(address, &at.key("address"))?),
        None => None,
    };
    Some(socks::InboundSettings {
        accounts: asks.then(|| accounts(&config.accounts)),
        level: config.user_level,
        udp: config.udp_enabled,
        udp_ip,
        transparent: false,
        grant: Grant::default(),
    })
}

fn freedom(config: &proxy::freedom::Config, at: &At) -> Option<freedom::OutboundSettings> {
    use proxy::freedom::config::DomainStrategy;
    let target = config.destination_override.as_ref();
    let target = target.and_then(|target| target.server.as_ref());
    let mut redirect = freedom::Redirect::default();
    if let Some(target) = target {
        let at = at.key("destination_override");
        if let Some(address) = &target.address {
            redirect.host = Some(host(address, &at.key("address"))?);
        }
        redirect.port = Some(port(target.port, &at.key("port"))?).filter(|port| *port != 0);
    }
    Some(freedom::OutboundSettings {
        strategy: match config.domain_strategy() {
            DomainStrategy::AsIs => Strategy::AsIs,
            DomainStrategy::UseIp => Strategy::UseIp,
            DomainStrategy::UseIp4 => Strategy::UseIpv4,
            DomainStrategy::UseIp6 => Strategy::UseIpv6,
        },
        redirect,
        level: config.user_level,
    })
}
