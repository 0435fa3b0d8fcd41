//! The messages of protocols: `proxy_settings`.

mod dns;
mod plain;
mod shadowsocks;
mod trojan;
mod vless;
mod vmess;

pub(super) use dns::server as dns_server;
pub(super) use trojan::account_message as trojan_account;
pub(super) use trojan::inbound as trojan_inbound;
pub(super) use vless::account_message as vless_account;
pub(super) use vless::inbound as vless_inbound;
pub(super) use vmess::account_message as vmess_account;

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::at::{At, all};
use super::{misplaced, port};
use crate::address::Destination;
use crate::dialect::v2ray::protocols::{fallbacks, ids};
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::users::Identity;
use crate::protocol::{
    AnyUser, FallbackSettings, Grant, InboundSettings, OutboundSettings, blackhole, http, socks,
};
use crate::seam::{Fallback, ProxyVersion};
use crate::secret::Secret;
use crate::wire::common::net::Network;
use crate::wire::common::protocol::{ServerEndpoint, User};
use crate::wire::common::serial::TypedMessage;
use crate::wire::{proxy, typed};

pub(super) fn inbound(message: &TypedMessage, at: &At) -> Option<InboundSettings> {
    Some(match typed::name(message) {
        "proxy.dokodemo.Config" => {
            InboundSettings::Dokodemo(plain::dokodemo(&at.open(message)?, at)?)
        }
        "proxy.http.ServerConfig" => {
            let config: proxy::http::ServerConfig = at.open(message)?;
            InboundSettings::Http(http::InboundSettings {
                accounts: accounts(&config.accounts),
                level: config.user_level,
                transparent: config.allow_transparent,
                udp_tunnel: false,
                grant: Grant::default(),
            })
        }
        "proxy.shadowsocks.ServerConfig" => {
            InboundSettings::Shadowsocks(shadowsocks::inbound(&at.open(message)?, at)?)
        }
        "proxy.socks.ServerConfig" => InboundSettings::Socks(plain::socks(&at.open(message)?, at)?),
        "proxy.trojan.ServerConfig" => {
            InboundSettings::Trojan(trojan::inbound(&at.open(message)?, at)?)
        }
        "proxy.vless.inbound.Config" => {
            InboundSettings::Vless(vless::inbound(&at.open(message)?, at)?)
        }
        "proxy.vmess.inbound.Config" => {
            InboundSettings::Vmess(vmess::inbound(&at.open(message)?, at)?)
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
        "proxy.dns.Config" => OutboundSettings::Dns(dns::outbound(&at.open(message)?, at)?),
        "proxy.freedom.Config" => {
            OutboundSettings::Freedom(plain::freedom(&at.open(message)?, at)?)
        }
        "proxy.http.ClientConfig" => {
            let config: proxy::http::ClientConfig = at.open(message)?;
            OutboundSettings::Http(http::OutboundSettings {
                servers: servers(&config.server, login, &at.key("server"))?,
                ..http::OutboundSettings::default()
            })
        }
        "proxy.shadowsocks.ClientConfig" => {
            OutboundSettings::Shadowsocks(shadowsocks::outbound(&at.open(message)?, at)?)
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
                ..socks::OutboundSettings::default()
            })
        }
        "proxy.trojan.ClientConfig" => {
            OutboundSettings::Trojan(trojan::outbound(&at.open(message)?, at)?)
        }
        "proxy.vless.outbound.Config" => {
            OutboundSettings::Vless(vless::outbound(&at.open(message)?, at)?)
        }
        "proxy.vmess.outbound.Config" => {
            OutboundSettings::Vmess(vmess::outbound(&at.open(message)?, at)?)
        }
        other => {
            return at
                .key("proxy_settings")
                .not_built("the outbound protocol of", other);
        }
    })
}

/// A user whose account says of which protocol it is.
pub(super) fn user(user: &User, at: &At) -> Option<AnyUser> {
    match typed::name(account(user, at)?) {
        shadowsocks::ACCOUNT => Some(AnyUser::Shadowsocks(shadowsocks::user(user, at)?)),
        shadowsocks::ACCOUNT_2022 => {
            Some(AnyUser::Shadowsocks2022(shadowsocks::user_2022(user, at)?))
        }
        trojan::ACCOUNT => Some(AnyUser::Trojan(trojan::user(user, at)?)),
        vless::ACCOUNT => Some(AnyUser::Vless(vless::user(user, at)?)),
        vmess::ACCOUNT => Some(AnyUser::Vmess(vmess::user(user, at)?)),
        found => {
            let expected = "v2ray.core.proxy.vmess.Account`, `v2ray.core.proxy.vless.Account`, `v2ray.core.proxy.trojan.Account` or `v2ray.core.proxy.shadowsocks.Account";
            misplaced(found, expected, at)
        }
    }
}

/// The protocols whose users come and go; V2Ray's own is the default.
pub const WITH_USERS: [&str; 4] = ["vmess", "vless", "trojan", "shadowsocks2022"];

/// The account of a user of one of [`WITH_USERS`], by what they show: an id, with Trojan a password, with
/// Shadowsocks of 2022 a key in base64.
pub fn account_of(protocol: &str, id: String) -> Option<TypedMessage> {
    match protocol {
        "shadowsocks2022" => Some(shadowsocks::account_message_2022(id)),
        "trojan" => Some(trojan::account_message(id)),
        "vless" => Some(vless::account_message(id)),
        "vmess" => Some(vmess::account_message(id)),
        _ => None,
    }
}

fn account<'m>(user: &'m User, at: &At) -> Option<&'m TypedMessage> {
    at.key("account").required(user.account.as_ref())
}

/// The message under `name`, and no other.
fn opened_account<M: prost::Message + Default>(user: &User, name: &str, at: &At) -> Option<M> {
    let account = account(user, at)?;
    match typed::name(account) {
        found if found == name => at.open(account),
        found => misplaced(found, &format!("v2ray.core.{name}"), at),
    }
}

/// The users of an inbound.
fn users<U: Identity>(
    users: &[User],
    user: impl Fn(&User, &At) -> Option<U>,
    at: &At,
) -> Option<Vec<U>> {
    let each = users.iter().enumerate();
    let read = all(each.map(|(i, message)| user(message, &at.index(i))))?;
    let mut users: Vec<U> = Vec::new();
    let mut emails = HashSet::new();
    for (i, user) in read.into_iter().enumerate() {
        if let Some(email) = user.email()
            && !emails.insert(email.to_lowercase())
        {
            let text = format!("another user has the email `{email}`");
            at.index(i).error::<()>(text);
        }
        // Of two with one key the last one counts, as in V2Ray.
        users.retain(|other| other.key() != user.key());
        users.push(user);
    }
    Some(users)
}

/// Whether TCP and UDP are among them.
fn networks(named: &[i32]) -> (bool, bool) {
    let (mut tcp, mut udp) = (false, false);
    for network in named {
        match Network::try_from(*network) {
            Ok(Network::Tcp | Network::RawTcp) => tcp = true,
            Ok(Network::Udp) => udp = true,
            _ => {}
        }
    }
    (tcp, udp)
}

/// One of V2Ray's fallbacks; VLESS and Trojan have a message of the same form each.
struct FallbackMessage<'m> {
    alpn: &'m str,
    path: &'m str,
    kind: &'m str,
    dest: &'m str,
    xver: u64,
}

fn fallbacks<'m>(
    messages: impl Iterator<Item = FallbackMessage<'m>>,
    at: &At,
) -> Option<Vec<FallbackSettings>> {
    let each = messages.enumerate().map(|(i, message)| {
        let at = at.index(i);
        let to = fallbacks::target(message.kind, message.dest);
        let to = at.key("dest").ok(to)?;
        let proxy_header = match message.xver {
            0 => None,
            1 => Some(ProxyVersion::One),
            2 => Some(ProxyVersion::Two),
            other => {
                let text =
                    format!("{other} is no version of the PROXY protocol, expected 0, 1 or 2");
                return at.key("xver").error(text);
            }
        };
        Some(FallbackSettings {
            name: String::new(),
            alpn: message.alpn.to_owned(),
            path: message.path.to_owned(),
            fallback: Fallback { to, proxy_header },
        })
    });
    all(each)
}

fn email(user: &User) -> Option<String> {
    Some(user.email.clone()).filter(|email| !email.is_empty())
}

fn id(text: &str, at: &At) -> Option<Secret<Uuid>> {
    let at = at.key("account").key("id");
    at.ok(ids::parse(text)).map(Secret)
}

/// A user of an HTTP or SOCKS server; the two accounts are the same on the wire.
pub(super) fn login(user: &User, at: &At) -> Option<Account> {
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

pub(super) fn servers<A>(
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
