//! What the users of an inbound put into their clients.

use crate::address::{Destination, Host};
use crate::config::{Inbound, Listen, Outbound};
use crate::protocol::servers::ServerSettings;
use crate::protocol::shadowsocks::{self, Access, AccountSecret};
use crate::protocol::{InboundSettings, OutboundSettings, trojan, vless, vmess};
use crate::transport::{
    ClientCarrier, ClientSettings, ServerCarrier, grpc, h2, httpupgrade, mws, tls, ws,
};

use super::outbound;
use super::said::Said;
use super::security::default_alpn;
use crate::http::EarlyData;
use crate::transport::httpupgrade::EarlyData as UpgradeEarlyData;

/// Where clients reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// The name or address that they dial.
    pub address: Host,
    /// The port that they dial; without it that of the inbound.
    pub port: Option<u16>,
    /// Whether they speak TLS; without it as the inbound does. A web server in front may end it.
    pub tls: Option<bool>,
}

/// The port of the web, where nobody serves anything without TLS.
const HTTPS: u16 = 443;

/// The clients of an inbound.
#[derive(Debug)]
pub struct Users {
    /// One for each user.
    pub outbounds: Vec<Outbound>,
    /// What the inbound says and they cannot, a line for each.
    pub left_out: Vec<String>,
    /// What was taken for granted, a line for each.
    pub remarks: Vec<String>,
}

/// The outbounds of an inbound's users. `None`: nobody connects there with a link.
///
/// # Errors
///
/// When nobody could connect.
pub fn of_users(inbound: &Inbound, public: &Public) -> Result<Option<Users>, String> {
    let mut said = Said::of_outbound(&inbound.name);
    let users = users(inbound, &mut said);
    let Some(users) = users else {
        return Ok(None);
    };
    let own = match (&inbound.listen, &inbound.ports[..]) {
        (Listen::Ip(_), [range, ..]) => Some(range.from),
        _ => None,
    };
    let Some(port) = public.port.or(own) else {
        return Err(format!(
            "{}.listen: there is no port that clients could dial, give it with `--port`",
            inbound.name
        ));
    };
    let to = Destination::new(public.address.clone(), port);
    let mut remarks = Vec::new();
    let transport = transport(inbound, public, &to, &mut said, &mut remarks);
    let several = users.len() > 1;
    let mut outbounds = Vec::new();
    for (i, (email, protocol)) in users.into_iter().enumerate() {
        let number = several.then(|| format!("{}", i + 1));
        let tag = inbound.tag.as_deref().map(str::to_owned);
        let tag =
            tag.or_else(|| Some(inbound.protocol.name().to_owned()).filter(|_| email.is_none()));
        let name: Vec<String> = tag.into_iter().chain(email.or(number)).collect();
        let protocol = protocol(&to);
        outbounds.push(Outbound {
            name: inbound.name.clone(),
            ..outbound(Some(name.join("-")), transport.clone(), protocol, None)
        });
    }
    Ok(Some(Users {
        outbounds,
        left_out: said.left_out,
        remarks,
    }))
}

/// Who a user is, and what makes an outbound of them.
type User = (
    Option<String>,
    Box<dyn FnOnce(&Destination) -> OutboundSettings>,
);

fn user<A: 'static>(
    email: Option<&String>,
    account: A,
    protocol: fn(Vec<ServerSettings<A>>) -> OutboundSettings,
) -> User {
    let make = move |to: &Destination| {
        let to = to.clone();
        let accounts = vec![account];
        protocol(vec![ServerSettings { to, accounts }])
    };
    (email.cloned(), Box::new(make))
}

fn users(inbound: &Inbound, said: &mut Said) -> Option<Vec<User>> {
    Some(match &inbound.protocol {
        InboundSettings::Vmess(settings) => {
            let one = |other: &vmess::UserSettings| {
                let account = vmess::AccountSettings {
                    id: other.id,
                    ..Default::default()
                };
                user(other.email.as_ref(), account, |servers| {
                    OutboundSettings::Vmess(vmess::OutboundSettings { servers })
                })
            };
            settings.users.iter().map(one).collect()
        }
        InboundSettings::Vless(settings) => {
            let one = |other: &vless::UserSettings| {
                let account = vless::AccountSettings {
                    id: other.id,
                    ..Default::default()
                };
                user(other.email.as_ref(), account, |servers| {
                    OutboundSettings::Vless(vless::OutboundSettings { servers })
                })
            };
            settings.users.iter().map(one).collect()
        }
        InboundSettings::Trojan(settings) => {
            let one = |other: &trojan::UserSettings| {
                let account = trojan::AccountSettings {
                    password: other.password.clone(),
                    ..Default::default()
                };
                user(other.email.as_ref(), account, |servers| {
                    OutboundSettings::Trojan(trojan::OutboundSettings { servers })
                })
            };
            settings.users.iter().map(one).collect()
        }
        InboundSettings::Shadowsocks(settings) => {
            if !settings.tcp {
                said.left_out("settings.network", "no link says that there is no TCP");
            }
            of_access(&settings.access)
        }
        InboundSettings::Dokodemo(_)
        | InboundSettings::Http(_)
        | InboundSettings::Relay(_)
        | InboundSettings::Socks(_) => {
            return None;
        }
    })
}

fn of_access(access: &Access) -> Vec<User> {
    let one = |email: Option<&String>, secret: AccountSecret| {
        let account = shadowsocks::AccountSettings {
            at: Default::default(),
            secret,
            level: 0,
        };
        user(email, account, |servers| {
            OutboundSettings::Shadowsocks(shadowsocks::OutboundSettings { servers })
        })
    };
    match access {
        Access::Anybody(user) => vec![one(user.email.as_ref(), AccountSecret::None)],
        Access::Passwords(users) => users
            .iter()
            .map(|user| one(user.email.as_ref(), AccountSecret::Aead(user.key.clone())))
            .collect(),
        Access::OneKey(user) => {
            let servers = Vec::new();
            let key = user.key;
            vec![one(
                user.email.as_ref(),
                AccountSecret::Blake3 { key, servers },
            )]
        }
        Access::Identities { cipher, key, users } => users
            .iter()
            .map(|user| {
                let own = shadowsocks::Blake3Key {
                    cipher: *cipher,
                    key: user.key,
                };
                let secret = AccountSecret::Blake3 {
                    key: own,
                    servers: vec![*key],
                };
                one(user.email.as_ref(), secret)
            })
            .collect(),
    }
}

/// The transport of a client that fits to the inbound's.
fn transport(
    inbound: &Inbound,
    public: &Public,
    to: &Destination,
    said: &mut Said,
    remarks: &mut Vec<String>,
) -> ClientSettings {
    let server = &inbound.transport;
    if server.requires_client_certificate() {
        let part = "streamSettings.tlsSettings.verifyClientCertificate";
        said.left_out(part, "no link has the certificate that clients must show");
    }
    let carrier = carrier(&server.carrier);
    let security = match (public.tls, &server.security) {
        (Some(false), _) => None,
        (None, None) if !is_behind_a_web_server(inbound, to) => None,
        (None, None) => {
            remarks.push(format!(
                "{}: port {HTTPS} is taken for that of a web server in front, which ends TLS by a certificate that everybody believes: `--tls off` if it is not, and links need a pin if nobody does",
                inbound.name
            ));
            Some(client_tls(&carrier))
        }
        (Some(true), None) => Some(client_tls(&carrier)),
        (_, Some(own)) => {
            if own.self_signed.is_some() && own.certificates.is_empty() && own.acme.is_empty() {
                let part = "streamSettings.tlsSettings.selfSigned";
                let text = "the certificate is another one after each start, so no link can name it: clients will not believe it";
                said.left_out(part, text);
            }
            let mut tls = client_tls(&carrier);
            believe(&mut tls, own, &to.host);
            Some(tls)
        }
    };
    ClientSettings {
        security,
        carrier,
        ..ClientSettings::default()
    }
}

/// What clients need to take the certificate for that of `address`.
fn believe(tls: &mut tls::ClientSettings, own: &tls::ServerSettings, address: &Host) {
    let issued = own.acme.iter().map(|issued| tls::Shown {
        names: issued.domains.clone(),
        pin: None,
    });
    let all = own.certificates.iter().filter_map(tls::KeyPair::shown);
    let all: Vec<tls::Shown> = all.chain(issued).collect();
    let Some(first) = all.first() else {
        return;
    };
    let name = match address {
        Host::Domain(name) => name.to_ascii_lowercase(),
        Host::Ip(ip) => ip.to_string(),
    };
    let shown = all.iter().find(|shown| shown.is_for(&name));
    if shown.is_none() {
        // It has another name: that one is asked for.
        let other = first.names.iter().find(|name| !name.starts_with('*'));
        tls.server_name = other.and_then(|name| Host::parse(name).ok());
    }
    tls.certificate_pins.extend(shown.unwrap_or(first).pin);
}

/// Whether clients dial the port of the web, and the inbound is somewhere else and speaks HTTP.
fn is_behind_a_web_server(inbound: &Inbound, to: &Destination) -> bool {
    let mut own = inbound.ports.iter();
    let is_own = own.any(|range| (range.from..=range.to).contains(&to.port));
    let speaks_http = !matches!(
        inbound.transport.carrier,
        ServerCarrier::Raw | ServerCarrier::HttpHeader(_)
    );
    to.port == HTTPS && !is_own && speaks_http
}

fn client_tls(carrier: &ClientCarrier) -> tls::ClientSettings {
    tls::ClientSettings {
        alpn: default_alpn(carrier),
        ..tls::ClientSettings::default()
    }
}

/// What a client is told of early data: as much as Xray's examples have.
const EARLY: usize = 2560;

fn carrier(server: &ServerCarrier) -> ClientCarrier {
    match server {
        ServerCarrier::Raw => ClientCarrier::Raw,
        ServerCarrier::HttpHeader(header) => ClientCarrier::HttpHeader(header.clone()),
        ServerCarrier::Ws(server) => ClientCarrier::Ws(ws::ClientSettings {
            path: server.path.clone(),
            host: server.host.as_ref().and_then(|host| host.parse().ok()),
            early_data: server.early_data.clone().map(|carried_in| EarlyData {
                carried_in,
                max: EARLY,
            }),
            ..ws::ClientSettings::default()
        }),
        ServerCarrier::Mws(server) => ClientCarrier::Mws(mws::ClientSettings {
            ws: ws::ClientSettings {
                path: server.ws.path.clone(),
                host: server.ws.host.as_ref().and_then(|host| host.parse().ok()),
                ..mws::ClientSettings::default().ws
            },
            ..mws::ClientSettings::default()
        }),
        ServerCarrier::HttpUpgrade(server) => {
            let early = server.early_data.as_ref();
            let early = early.map(|header| match header.max {
                usize::MAX => UpgradeEarlyData::Ahead,
                _ => UpgradeEarlyData::Header(header.clone()),
            });
            ClientCarrier::HttpUpgrade(httpupgrade::ClientSettings {
                path: server.path.clone(),
                host: server.host.as_ref().and_then(|host| host.parse().ok()),
                early_data: early,
                ..httpupgrade::ClientSettings::default()
            })
        }
        ServerCarrier::Grpc(server) => ClientCarrier::Grpc(grpc::ClientSettings {
            paths: server.paths.clone(),
            ..grpc::ClientSettings::default()
        }),
        ServerCarrier::H2(server) => ClientCarrier::H2(h2::ClientSettings {
            hosts: server.hosts.clone(),
            path: server.path.clone(),
            ..h2::ClientSettings::default()
        }),
    }
}
