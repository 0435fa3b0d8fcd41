//! What the files of sing-box and of Clash have in common: a server, who we are there, and how it is reached.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::address::{Destination, Host, PortRange};
use crate::config::{Inbound, Listen, Outbound, Through};
use crate::dialect::links;
use crate::dialect::links::said::Said;
use crate::dialect::tree::At;
use crate::dialect::tree::keys::Keys;
use crate::dialect::v2ray::protocols::ids;
use crate::dialect::v2ray::upgrade::header_name;
use crate::dns::Strategy;
use crate::mux::{self, Udp, Udp443};
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{InboundSettings, OutboundSettings, shadowsocks, socks, vmess};
use crate::report::Place;
use crate::transport::tcp::{FastOpen, SockOpt};
use crate::transport::{ClientCarrier, ClientSettings, ServerSettings as ServerTransport, tls};

/// An outbound of a node that `at` names.
pub(in crate::dialect) fn outbound(
    at: &At,
    tag: Option<&str>,
    transport: ClientSettings,
    protocol: OutboundSettings,
) -> Outbound {
    Outbound {
        at: Place::default(),
        name: match tag {
            Some(tag) => format!("{} (`{}`)", at.path, tag.escape_debug()),
            None => at.path.clone(),
        },
        tag: tag.map(Into::into),
        transport,
        protocol,
        through: None,
        strategy: Strategy::AsIs,
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    }
}

/// An inbound of SOCKS or HTTP.
pub(in crate::dialect) fn inbound(
    name: String,
    tag: Option<&str>,
    listen: IpAddr,
    port: u16,
    protocol: InboundSettings,
) -> Inbound {
    Inbound {
        at: Place::default(),
        name,
        tag: tag.map(Into::into),
        listen: Listen::Ip(listen),
        ports: vec![PortRange::from(port)],
        transport: ServerTransport::default(),
        protocol,
        sniffing: None,
        limits: Default::default(),
        beside: Vec::new(),
    }
}

/// An inbound of SOCKS that takes HTTP as well, and datagrams.
pub(in crate::dialect) fn mixed(accounts: Vec<Account>) -> InboundSettings {
    InboundSettings::Socks(socks::InboundSettings {
        accounts: (!accounts.is_empty()).then_some(accounts),
        udp: true,
        ..socks::InboundSettings::default()
    })
}

/// The server of a node.
pub(in crate::dialect) fn server(
    keys: &Keys,
    host: &'static str,
    port: &'static str,
) -> Option<Destination> {
    let text = keys.required(host);
    let number = keys.required(port).and_then(|_| keys.number::<u32>(port));
    let number = number.and_then(|number| {
        let port_number = u16::try_from(number).ok().filter(|n| *n > 0);
        if port_number.is_none() {
            keys.error(port, format_args!("found {number}, expected 1 to 65535"));
        }
        port_number
    });
    Some(Destination::new(host_of(keys, host, text?)?, number?))
}

/// A name or an address.
pub(in crate::dialect) fn host_of(keys: &Keys, key: &str, text: &str) -> Option<Host> {
    let bare = text
        .trim()
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let host = Host::parse(bare.unwrap_or(text.trim()));
    host.map_err(|e| keys.error(key, format_args!("found `{}`: {e}", text.escape_debug())))
        .ok()
}

/// The only server, and who we are there.
pub(in crate::dialect) fn one<A>(to: Destination, account: A) -> Vec<ServerSettings<A>> {
    let accounts = vec![account];
    vec![ServerSettings { to, accounts }]
}

/// `uuid`.
pub(in crate::dialect) fn id(keys: &Keys) -> Option<Uuid> {
    let text = keys.required("uuid")?.trim();
    let id = ids::parse(text).ok();
    if id.is_none() {
        keys.error("uuid", ids::lack(text));
    }
    id
}

/// The account of a `vmess` node.
pub(in crate::dialect) fn vmess(
    keys: &Keys,
    [security, alter_id, length]: [&'static str; 3],
) -> Option<vmess::AccountSettings> {
    if keys.number::<u32>(alter_id).is_some_and(|n| n > 0) {
        let text =
            "VMess without AEAD is dead: AEAD is used, as with 0, and the server must use it too";
        keys.left_out(alter_id, text);
    }
    let word = keys.word(security).unwrap_or_else(|| "auto".to_owned());
    // What some call it.
    let word = word.replace("chacha20-ietf", "chacha20");
    let all = [
        vmess::Security::Auto,
        vmess::Security::Aes128Gcm,
        vmess::Security::ChaCha20Poly1305,
        vmess::Security::None,
        vmess::Security::Zero,
    ];
    let found = all.into_iter().find(|one| one.name() == word);
    if found.is_none() {
        let names = all.map(|one| format!("`{}`", one.name())).join(", ");
        let text = format!(
            "`{}` is not built, expected one of {names}",
            word.escape_debug()
        );
        keys.error(security, text);
    }
    Some(vmess::AccountSettings {
        authenticated_length: keys.switch(length),
        id: id(keys)?.into(),
        security: found?,
        ..vmess::AccountSettings::default()
    })
}

/// The account of a `shadowsocks` node.
pub(in crate::dialect) fn shadowsocks(
    keys: &Keys,
    method: &'static str,
) -> Option<shadowsocks::AccountSettings> {
    let name = keys.required(method)?;
    let password = keys.text("password").unwrap_or_default();
    let mut said = Said::default();
    let secret = links::shadowsocks_secret(&format!("{name}:{password}"), &mut said);
    for line in said.errors {
        let part = if line.starts_with("method") {
            method
        } else {
            "password"
        };
        let text = line.split_once(": ").map_or(&*line, |(_, text)| text);
        keys.error(part, text);
    }
    Some(shadowsocks::AccountSettings {
        at: Place::default(),
        secret: secret?,
        level: 0,
    })
}

/// What stands for the plugin of a `shadowsocks` node, by its name and its options.
pub(in crate::dialect) fn plugin(keys: &Keys, name: &str, options: &str) -> Option<links::Plugin> {
    let mut said = Said::default();
    let plugin = links::read_plugin(&format!("{name};{options}"), &mut said);
    let text = |line: &str| {
        line.split_once(": ")
            .map_or(line, |(_, text)| text)
            .to_owned()
    };
    said.left_out
        .iter()
        .for_each(|line| keys.left_out("plugin", text(line)));
    said.errors
        .iter()
        .for_each(|line| keys.error("plugin", text(line)));
    plugin
}

/// `username` and `password`.
pub(in crate::dialect) fn account(keys: &Keys) -> Option<Account> {
    let user = keys.text("username");
    let pass = keys.text("password");
    (user.is_some() || pass.is_some()).then(|| Account {
        user: user.unwrap_or_default().to_owned(),
        pass: pass.unwrap_or_default().to_owned().into(),
        level: 0,
    })
}

/// How datagrams travel; without a word as the protocol itself carries them.
pub(in crate::dialect) fn packet_encoding(keys: &Keys, key: &'static str) -> Option<mux::Settings> {
    match keys.word(key)?.as_str() {
        "none" => None,
        "xudp" => Some(datagrams(Udp::Xudp(None))),
        "packet" | "packetaddr" => Some(datagrams(Udp::PacketAddr)),
        other => {
            let other = other.escape_debug();
            keys.error(
                key,
                format_args!("found `{other}`, expected `xudp` or `packetaddr`"),
            );
            None
        }
    }
}

/// Nothing but datagrams is carried in another way.
pub(in crate::dialect) fn datagrams(udp: Udp) -> mux::Settings {
    mux::Settings {
        concurrency: None,
        udp,
        udp_443: Udp443::Allow,
    }
}

/// The word for what carries datagrams, where it is nothing but that; `Err` is that there is none.
pub(in crate::dialect) fn packet_word(
    mux: Option<&mux::Settings>,
) -> Result<Option<&'static str>, ()> {
    match mux {
        None => Ok(None),
        Some(mux) if *mux == datagrams(Udp::Xudp(None)) => Ok(Some("xudp")),
        Some(mux) if *mux == datagrams(Udp::PacketAddr) => Ok(Some("packetaddr")),
        Some(_) => Err(()),
    }
}

/// `headers`: names with a text or several; `Host` comes by itself.
pub(in crate::dialect) fn headers(keys: &Keys) -> (Option<HeaderValue>, HeaderMap) {
    let mut headers = HeaderMap::new();
    let Some(node) = keys.get("headers") else {
        return (None, headers);
    };
    if Keys::of(node, keys.notes()).is_none() {
        return (None, headers);
    }
    for (name, values) in node.entries() {
        let header = match header_name(name) {
            Ok(header) => header,
            Err(text) => {
                let text = format!("{text}, the header is left out");
                keys.notes().left_out(&values.at, text);
                continue;
            }
        };
        for value in values.items() {
            let text = value
                .as_text()
                .and_then(|text| HeaderValue::try_from(text).ok());
            match text {
                Some(text) => drop(headers.append(&header, text)),
                None => keys
                    .notes()
                    .error(&value.at, "this cannot stand in a header"),
            }
        }
    }
    // An empty one is what converters write for none.
    let host = headers.remove(HOST).filter(|host| !host.is_empty());
    (host, headers)
}

/// The name of a header in a key.
pub(in crate::dialect) fn header(keys: &Keys, key: &'static str) -> Option<HeaderName> {
    let text = keys.text(key)?;
    let name = HeaderName::try_from(text.trim()).ok();
    if name.is_none() {
        let text = text.escape_debug();
        keys.error(key, format_args!("`{text}` is not the name of a header"));
    }
    name
}

/// The options of sockets: a device, a mark, TCP Fast Open and Multipath TCP, by their keys.
pub(in crate::dialect) fn sockopt(
    keys: &Keys,
    [device, mark, fast, multi]: [&'static str; 4],
) -> SockOpt {
    // Interfaces of Linux have at most 15 bytes in their names.
    let name = keys.text(device).filter(|name| {
        let is_one = name.len() <= 15 && !name.contains(['/', '\0', ' ']);
        if !is_one {
            let name = name.escape_debug();
            keys.error(
                device,
                format_args!("`{name}` is not a network interface, expected a name such as `eth0`"),
            );
        }
        is_one
    });
    SockOpt {
        device: name.map(str::to_owned),
        mark: keys.number(mark).filter(|mark| *mark > 0),
        fast_open: match keys.switched(fast) {
            Some(true) => FastOpen::On(FastOpen::QUEUE),
            Some(false) | None => FastOpen::Default,
        },
        mptcp: keys.switch(multi),
        ..SockOpt::default()
    }
}

/// What an outbound's connections go through.
pub(in crate::dialect) fn through(keys: &Keys, key: &'static str) -> Option<Through> {
    let tag = keys.text(key)?;
    Some(Through {
        at: Place::default(),
        tag: tag.into(),
    })
}

/// TLS whose protocols are those of what it carries.
pub(in crate::dialect) fn tls(carrier: &ClientCarrier, keys: &Keys) -> tls::ClientSettings {
    let default = links::default_alpn(carrier);
    let names: Vec<String> = keys
        .list("alpn")
        .into_iter()
        .flat_map(|(_, names)| names.split(','))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let alpn = match carrier.alpn() {
        Some(needed) if !names.is_empty() && !names.iter().any(|name| name == needed) => {
            let text = format!("what carries the tunnel needs `{needed}`, nothing else is offered");
            keys.left_out("alpn", text);
            default
        }
        Some(_) => default,
        None if names.is_empty() => default,
        None => names,
    };
    tls::ClientSettings {
        alpn,
        ..tls::ClientSettings::default()
    }
}

pub(in crate::dialect) const NO_REALITY: &str =
    "REALITY is not built, and its servers understand nothing else";
pub(in crate::dialect) const NO_ECH: &str = "Encrypted Client Hello is not built, and without it everybody on the way could read the server's name";
