//! `[client]`.

use std::path::PathBuf;
use std::sync::Arc;

use super::proxies;
use super::server::{Transport, auth_key, paths, transports};
use super::text::{Table, Text, Value};
use super::{PORT, account};
use crate::address::{Destination, Host};
use crate::cause::Words;
use crate::config::{Config, Outbound, Through};
use crate::dns::Strategy;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{OutboundSettings, freedom, http, relay, socks};
use crate::report::Place;
use crate::reverse;
use crate::transport::tls::{self, Authorities, Pem};
use crate::transport::{ClientCarrier, ClientSettings, mws, ws};

/// The outbound that `proxy` is.
const PROXY: &str = "proxy";

pub(super) fn read(_text: &Text<'_>, root: Table<'_, '_>) -> Option<Config> {
    let client = root.require("client");
    let proxies = root.get("proxies");
    if proxies.is_none() {
        root.error("there are no `[[proxies]]`, so there is nothing to publish");
    }
    if let Some(value) = root.get("server") {
        value.error("`server` is for `mobula tunnel server`, and a client is asked for");
    }
    root.finish("a client's file");
    let client = client?.table()?;
    let port = match client.get("server_port") {
        Some(value) => value.port(),
        None => Some(PORT),
    };
    let servers = client
        .require("server_addr")
        .and_then(|value| servers(&value, port?));
    let transports = transports(&client);
    let key = auth_key(&client);
    let path = client.get("wss_path");
    let paths = paths(path.as_ref());
    let tls = tls(&client, transports.as_deref().unwrap_or_default());
    let authorities = tls.as_ref().map(|tls| tls.authorities.clone());
    let proxy = match client.get("proxy") {
        Some(value) => proxy(&value, authorities.unwrap_or_default()).map(Some),
        None => Some(None),
    };
    client.finish("[client]");
    let proxies = proxies.and_then(|proxies| proxies::read(&proxies));
    let (transports, paths, tls, proxy) = (transports?, paths?, tls?, proxy?);
    let account = account(key?);
    let servers = servers?;
    let mut outbounds = vec![outbound("direct", OutboundSettings::Freedom(direct()))];
    // Of each way, one for each server.
    let mut ways: Vec<Vec<Arc<str>>> = Vec::new();
    let mut add = |way: String, security: Option<tls::ClientSettings>, carrier: ClientCarrier| {
        let tags = servers.iter().map(|to| {
            let tag = match servers.len() {
                1 => way.clone(),
                _ => format!("{way} of {to}"),
            };
            let server = ServerSettings {
                to: to.clone(),
                accounts: vec![account.clone()],
            };
            let relay = relay::OutboundSettings {
                servers: vec![server],
                ..relay::OutboundSettings::default()
            };
            outbounds.push(Outbound {
                transport: ClientSettings {
                    security: security.clone(),
                    carrier: carrier.clone(),
                    ..ClientSettings::default()
                },
                through: proxy.as_ref().map(|_| Through {
                    at: Place::default(),
                    tag: PROXY.into(),
                }),
                ..outbound(&tag, OutboundSettings::Relay(relay))
            });
            tag.into()
        });
        ways.push(tags.collect());
    };
    for transport in transports {
        let (name, security) = match transport {
            Transport::Tls => {
                add("tls".to_owned(), Some(tls.clone()), ClientCarrier::Raw);
                continue;
            }
            Transport::Wss => ("wss", Some(tls.clone())),
            Transport::Ws => ("ws", None),
        };
        for path in &paths {
            let carrier = ClientCarrier::Mws(mws::ClientSettings {
                ws: ws::ClientSettings {
                    path: path.clone(),
                    ..mws::ClientSettings::default().ws
                },
                ..mws::ClientSettings::default()
            });
            add(format!("{name} at {path}"), security.clone(), carrier);
        }
    }
    let publish = proxies?.into_iter().map(|proxy| reverse::PublishSettings {
        outbounds: in_turn(&ways, proxy.listen.port),
        servers: servers.len(),
        ..proxy
    });
    let publish = publish.collect();
    outbounds.extend(proxy);
    Some(Config {
        outbounds,
        reverse: reverse::Settings {
            publish,
            ..reverse::Settings::default()
        },
        ..Config::default()
    })
}

/// All servers by the first way, then by the next: a server that says nothing holds up none of the others. With which one a port
/// begins is its own, whatever other proxies are there: a file that is read again moves none of them.
fn in_turn(ways: &[Vec<Arc<str>>], port: u16) -> Vec<Arc<str>> {
    let all = ways.iter().flat_map(|servers| {
        let from = usize::from(port) % servers.len().max(1);
        servers[from..].iter().chain(&servers[..from])
    });
    all.cloned().collect()
}

fn direct() -> freedom::OutboundSettings {
    freedom::OutboundSettings::default()
}

fn outbound(tag: &str, protocol: OutboundSettings) -> Outbound {
    Outbound {
        name: tag.to_owned(),
        at: Place::default(),
        tag: Some(tag.into()),
        transport: ClientSettings::default(),
        protocol,
        through: None,
        strategy: Strategy::AsIs,
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    }
}

/// A name or an address, with a port of its own or without, or several.
fn servers(value: &Value<'_, '_>, port: u16) -> Option<Vec<Destination>> {
    let mut servers = Vec::new();
    for one in value.list() {
        let word = one.word()?;
        let word = word.trim();
        let bare = Host::parse(word).map(|host| Destination { host, port });
        match bare.or_else(|_| word.parse::<Destination>()) {
            Ok(to) if to.port != 0 => servers.push(to),
            _ => {
                let word = word.escape_debug();
                one.error(format!(
                    "`{word}` is no server, expected a name or an address such as `your-server.com`"
                ));
                return None;
            }
        }
    }
    if servers.is_empty() {
        value.error("there is no server");
        return None;
    }
    Some(servers)
}

/// What is believed of a server.
fn tls(client: &Table<'_, '_>, transports: &[Transport]) -> Option<tls::ClientSettings> {
    let mut settings = tls::ClientSettings {
        words: Words::Tunnel,
        ..tls::ClientSettings::default()
    };
    let skip = client.get("skip_verify");
    let ca = client.get("ca_cert_path");
    let pin = client.get("pin");
    let name = client.get("server_name");
    if transports == [Transport::Ws] {
        let text = "`transport = \"ws\"` has no TLS and looks at no certificate, expected `wss`";
        for value in [&ca, &pin, &name].into_iter().flatten() {
            value.error(text);
        }
        // That it is checked is what stands there without it, too; and who takes any does not rely on it.
        if let Some(value) = skip.filter(|value| value.bool() == Some(true)) {
            value.warn(text);
        }
        return Some(settings);
    }
    if let Some(value) = &skip {
        settings.allow_insecure = value.bool()?;
        if settings.allow_insecure && (ca.is_some() || pin.is_some()) {
            value.error("`skip_verify` takes any certificate, so `ca_cert_path` and `pin` have no effect: remove one of them");
            return None;
        }
        if settings.allow_insecure {
            value.warn("any certificate is taken, so whoever is in between can read the key and what passes: `pin` believes one alone");
        }
    }
    if let Some(value) = ca {
        match Pem::File(PathBuf::from(value.word()?)).authorities() {
            Ok(authorities) => settings.authorities = authorities,
            Err(e) => {
                value.error(e.to_string());
                return None;
            }
        }
    }
    if let Some(value) = pin {
        for one in value.list() {
            settings.certificate_pins.push(hash(&one)?);
        }
    }
    if let Some(value) = name {
        let word = value.word()?;
        match Host::parse(word.trim()) {
            Ok(host) => settings.server_name = Some(host),
            Err(e) => {
                value.error(e.to_string());
                return None;
            }
        }
    }
    Some(settings)
}

/// SHA-256 of a certificate, in hex, with colons or without.
fn hash(value: &Value<'_, '_>) -> Option<[u8; 32]> {
    let word = value.word()?;
    let digits: String = word.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    let hash = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if hash.is_none() {
        value.error("this is no SHA-256 of a certificate, expected the 64 hex digits that the server shows when it starts");
    }
    hash
}

/// `http://user:pass@host:port`, `https://…` or `socks5://…`.
fn proxy(value: &Value<'_, '_>, authorities: Authorities) -> Option<Outbound> {
    let word = value.word()?;
    let wrong = || {
        value.error(
            "this is no proxy, expected `http://user:pass@host:port`, `https://…` or `socks5://…`",
        );
        None
    };
    let Some((scheme, rest)) = word.trim().split_once("://") else {
        return wrong();
    };
    let rest = rest.trim_end_matches('/');
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let scheme = scheme.to_ascii_lowercase();
    let usual = match &*scheme {
        "http" => 80,
        "https" => 443,
        "socks5" | "socks5h" | "socks" | "socks4" | "socks4a" => 1080,
        _ => return wrong(),
    };
    let to = place.parse::<Destination>();
    let to = to.or_else(|_| Host::parse(place).map(|host| Destination::new(host, usual)));
    let Ok(to) = to else {
        return wrong();
    };
    let decoded = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text);
        decoded.decode_utf8_lossy().into_owned()
    };
    let account = login.map(|login| {
        let (user, pass) = login.split_once(':').unwrap_or((login, ""));
        Account {
            user: decoded(user),
            pass: decoded(pass).into(),
            level: 0,
        }
    });
    let accounts = account.into_iter().collect();
    let servers = vec![ServerSettings { to, accounts }];
    let version = match &*scheme {
        "socks4" => socks::Version::Four,
        "socks4a" => socks::Version::FourA,
        _ => socks::Version::Five,
    };
    let protocol = match scheme.starts_with("http") {
        true => OutboundSettings::Http(http::OutboundSettings {
            servers,
            ..http::OutboundSettings::default()
        }),
        false => OutboundSettings::Socks(socks::OutboundSettings {
            servers,
            version,
            ..socks::OutboundSettings::default()
        }),
    };
    let tls = tls::ClientSettings {
        authorities,
        words: Words::TunnelProxy,
        ..tls::ClientSettings::default()
    };
    Some(Outbound {
        transport: ClientSettings {
            security: (scheme == "https").then_some(tls),
            ..ClientSettings::default()
        },
        ..outbound(PROXY, protocol)
    })
}
