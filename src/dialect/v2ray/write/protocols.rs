//! `protocol` and `settings`.

use serde_json::{Value, json};

use crate::address::{Destination, Host};
use crate::dialect::clients::lost;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{OutboundSettings, http, relay, shadowsocks, socks, trojan, vless, vmess};

/// The name of the protocol, and its settings.
pub(super) fn outbound(settings: &OutboundSettings) -> Option<(&'static str, Value)> {
    Some(match settings {
        OutboundSettings::Shadowsocks(settings) => {
            ("shadowsocks", list(&settings.servers, shadowsocks))
        }
        OutboundSettings::Trojan(settings) => ("trojan", list(&settings.servers, trojan)),
        OutboundSettings::Vless(settings) => ("vless", vnext(&settings.servers, vless)),
        OutboundSettings::Vmess(settings) => ("vmess", vnext(&settings.servers, vmess)),
        OutboundSettings::Blackhole(_)
        | OutboundSettings::Dns(_)
        | OutboundSettings::Freedom(_)
        | OutboundSettings::Loopback(_) => return None,
        OutboundSettings::Relay(settings) => ("relay", relay(settings)),
        OutboundSettings::Http(settings) => ("http", http(settings)),
        OutboundSettings::Socks(settings) => ("socks", socks(settings)),
    })
}

/// Servers with the users that each has.
fn vnext<A>(servers: &[ServerSettings<A>], user: fn(&A) -> Value) -> Value {
    let one = |server: &ServerSettings<A>| {
        let mut value = server_of(&server.to);
        value["users"] = server.accounts.iter().map(user).collect();
        value
    };
    json!({"vnext": servers.iter().map(one).collect::<Vec<_>>()})
}

/// Servers that are told again for each account.
fn list<A>(servers: &[ServerSettings<A>], account: fn(&A) -> Value) -> Value {
    let mut all = Vec::new();
    for server in servers {
        for one in &server.accounts {
            let mut value = server_of(&server.to);
            if let (Value::Object(value), Value::Object(own)) = (&mut value, account(one)) {
                value.extend(own);
            }
            all.push(value);
        }
    }
    json!({ "servers": all })
}

fn http(settings: &http::OutboundSettings) -> Value {
    let mut value = logins(&settings.servers);
    if !settings.headers.is_empty() {
        value["headers"] = lost::headers(&settings.headers, None);
    }
    if settings.udp_tunnel {
        value["udpTunnel"] = true.into();
    }
    value
}

fn socks(settings: &socks::OutboundSettings) -> Value {
    let mut value = logins(&settings.servers);
    match settings.version {
        socks::Version::Four => value["version"] = "4".into(),
        socks::Version::FourA => value["version"] = "4a".into(),
        socks::Version::Five => {}
    }
    if settings.udp_tunnel {
        value["udpTunnel"] = true.into();
    }
    value
}

fn relay(settings: &relay::OutboundSettings) -> Value {
    let mut value = logins(&settings.servers);
    if settings.udp == relay::Udp::Associate {
        value["udp"] = "associate".into();
    }
    value
}

/// Servers that may want a name and a password.
fn logins(servers: &[ServerSettings<Account>]) -> Value {
    let one = |server: &ServerSettings<Account>| {
        let mut value = server_of(&server.to);
        if !server.accounts.is_empty() {
            let user = |account: &Account| {
                let user = json!({"user": account.user, "pass": *account.pass});
                with_level(user, account.level)
            };
            value["users"] = server.accounts.iter().map(user).collect();
        }
        value
    };
    json!({"servers": servers.iter().map(one).collect::<Vec<_>>()})
}

fn server_of(to: &Destination) -> Value {
    json!({"address": host(to), "port": to.port})
}

/// An address without brackets, or a name.
pub(super) fn host(to: &Destination) -> String {
    match &to.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Domain(name) => name.clone(),
    }
}

fn vmess(account: &vmess::AccountSettings) -> Value {
    let mut user = json!({"id": account.id.to_string(), "security": account.security.name()});
    let experiments = [
        (account.authenticated_length, "AuthenticatedLength"),
        (account.no_end_mark, "NoTerminationSignal"),
    ];
    let names = experiments.iter().filter(|(is_on, _)| *is_on);
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    if !names.is_empty() {
        user["experiments"] = names.join("|").into();
    }
    with_level(user, account.level)
}

fn vless(account: &vless::AccountSettings) -> Value {
    let user = json!({"id": account.id.to_string(), "encryption": "none"});
    with_level(user, account.level)
}

fn trojan(account: &trojan::AccountSettings) -> Value {
    let server = json!({"password": *account.password});
    with_level(server, account.level)
}

fn shadowsocks(account: &shadowsocks::AccountSettings) -> Value {
    let (method, password) = lost::secret(account);
    let server = json!({"method": method.name(), "password": password});
    with_level(server, account.level)
}

fn with_level(mut value: Value, level: u32) -> Value {
    if level != 0 {
        value["level"] = level.into();
    }
    value
}
