//! What the files of sing-box and of Clash have in common: a server, who we are there, and how it is reached.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

use super::dns::Section;
use super::groups::{Choice, balancers, unmistakable};
use super::rules::{Routing, Rules};
use crate::address::{Destination, Host, PortRange};
use crate::config::{Config, Inbound, Listen, Log, LogLevel, Outbound, Through};
use crate::dialect::links;
use crate::dialect::links::said::Said;
use crate::dialect::tree::At;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::dialect::v2ray::protocols::ids;
use crate::dialect::v2ray::upgrade::header_name;
use crate::dns::Strategy;
use crate::mux::{self, Udp, Udp443};
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{InboundSettings, OutboundSettings, shadowsocks, socks, vmess};
use crate::report::Place;
use crate::sniffing;
use crate::transport::tcp::{FastOpen, SockOpt};
use crate::transport::{ClientCarrier, ClientSettings, ServerSettings as ServerTransport, tls};

/// What was read, before its parts are held against each other.
#[derive(Default)]
pub(in crate::dialect) struct Parts {
    pub(in crate::dialect) inbounds: Vec<Inbound>,
    /// Of inbounds that are made because there are none.
    pub(in crate::dialect) sniffing: Option<sniffing::Settings>,
    pub(in crate::dialect) outbounds: Vec<Outbound>,
    pub(in crate::dialect) level: LogLevel,
    /// The tag of the outbound that carries what no rule sends elsewhere.
    pub(in crate::dialect) first: Option<String>,
    pub(in crate::dialect) dns: Option<Section>,
    /// Groups that choose for themselves.
    pub(in crate::dialect) choices: Vec<Choice>,
    /// The `loopback`s that lead to some of those: their tags, and the groups'.
    pub(in crate::dialect) ways: HashMap<Arc<str>, String>,
}

/// What a file means.
#[derive(Default)]
pub(in crate::dialect) struct Whole {
    pub(in crate::dialect) config: Config,
    /// Its rules as V2Ray's `routing`.
    pub(in crate::dialect) routing: Option<Value>,
    /// V2Ray's `dns`.
    pub(in crate::dialect) dns: Option<Value>,
    /// Of inbounds that are made because there are none.
    pub(in crate::dialect) sniffing: Option<sniffing::Settings>,
}

impl Parts {
    /// Takes out the outbounds whose way leads through what is neither another outbound nor `is_known`, before groups and rules
    /// choose among them.
    pub(in crate::dialect) fn forget_lost(
        &mut self,
        is_known: impl Fn(&str) -> bool,
        notes: &Notes,
    ) {
        loop {
            let tags = self.outbounds.iter().filter_map(|o| o.tag.clone());
            let tags: HashSet<Arc<str>> = tags.collect();
            let before = self.outbounds.len();
            self.outbounds.retain(|outbound| {
                let through = outbound.through.as_ref();
                let lost = through.filter(|one| !tags.contains(&one.tag) && !is_known(&one.tag));
                if let Some(through) = lost {
                    tell_lost(outbound, &through.tag, notes);
                }
                lost.is_none()
            });
            if self.outbounds.len() == before {
                return;
            }
        }
    }

    /// Outbounds whose way leads through a group without members are not carried over either.
    pub(in crate::dialect) fn into_whole(mut self, mut rules: Rules<'_>, notes: &Notes) -> Whole {
        loop {
            let tags: HashSet<Arc<str>> = self
                .outbounds
                .iter()
                .filter_map(|o| o.tag.clone())
                .collect();
            let is_empty = |group: &String| {
                let mut choices = self.choices.iter().filter(|one| one.tag == *group);
                !choices.any(|one| one.members.iter().any(|tag| tags.contains(&**tag)))
            };
            let lost = |outbound: &Outbound| {
                let through = outbound.through.as_ref();
                let group = outbound.tag.as_ref().and_then(|tag| self.ways.get(tag));
                through.is_some_and(|through| !tags.contains(&through.tag))
                    || group.is_some_and(is_empty)
            };
            let Some(n) = self.outbounds.iter().position(lost) else {
                break;
            };
            let gone = self.outbounds.remove(n);
            let Some(through) = gone.through.as_ref().map(|through| &through.tag) else {
                // The way to a group without members; those members have been told of.
                if let Some(tag) = &gone.tag {
                    rules.forget_inbound(tag);
                }
                continue;
            };
            let group = self.ways.get(through);
            tell_lost(&gone, group.map_or(&**through, |group| group), notes);
            if gone.tag.is_some() && gone.tag.as_deref() == self.first.as_deref() {
                let text = format_args!(
                    "everything goes by {}, which is left out: the next one takes its place",
                    gone.name
                );
                notes.astray(&At::default(), text);
            }
        }
        if let Some(first) = &self.first {
            let found = self.outbounds.iter();
            let found = found
                .enumerate()
                .find(|(_, o)| o.tag.as_deref() == Some(first));
            if let Some((n, _)) = found {
                self.outbounds[..=n].rotate_right(1);
            }
        }
        distinguish(&mut self.outbounds);
        let tags: HashSet<String> = self
            .outbounds
            .iter()
            .filter_map(|one| one.tag.as_deref().map(str::to_owned))
            .collect();
        for choice in &mut self.choices {
            choice.members.retain(|tag| tags.contains(tag));
        }
        self.choices.retain(|choice| !choice.members.is_empty());
        let names = unmistakable(&mut self.choices, &self.outbounds);
        rename(&mut self.outbounds, &names);
        rules.rename(&names);
        let tags = tags
            .into_iter()
            .map(|tag| names.get(&tag).cloned().unwrap_or(tag));
        let (balancers, observers) = balancers(&self.choices);
        let Routing { settings, text } = rules.into_routing(&tags.collect(), balancers);
        let (dns, dns_text) = match self.dns {
            Some(section) => (section.settings, Some(section.text)),
            None => Default::default(),
        };
        Whole {
            config: Config {
                log: Log {
                    level: self.level,
                    ..Log::default()
                },
                inbounds: self.inbounds,
                outbounds: self.outbounds,
                routing: settings,
                dns,
                observers,
                ..Config::default()
            },
            routing: text,
            dns: dns_text,
            sniffing: self.sniffing,
        }
    }
}

fn tell_lost(gone: &Outbound, through: &str, notes: &Notes) {
    notes.line(format!(
        "{}: it goes through `{}`, which is not carried over: it is left out",
        gone.name,
        through.escape_debug()
    ));
}

/// Gives outbounds their new tags, and those that go through them as well.
fn rename(outbounds: &mut [Outbound], names: &HashMap<String, String>) {
    for outbound in outbounds {
        let through = outbound.through.as_mut().map(|through| &mut through.tag);
        for tag in outbound.tag.as_mut().into_iter().chain(through) {
            if let Some(name) = names.get(&**tag) {
                *tag = name.as_str().into();
            }
        }
    }
}

/// Gives each outbound a tag of its own: subscriptions have many nodes of one name.
pub(in crate::dialect) fn distinguish(outbounds: &mut [Outbound]) {
    let mut taken: HashSet<Arc<str>> = outbounds.iter().filter_map(|o| o.tag.clone()).collect();
    let mut seen: HashMap<Arc<str>, usize> = HashMap::new();
    for outbound in outbounds {
        let wished = outbound
            .tag
            .clone()
            .unwrap_or_else(|| match outbound.leads_away() {
                true => "proxy".into(),
                false => outbound.protocol.name().into(),
            });
        let times = seen.entry(wished.clone()).or_default();
        if *times == 0 && (outbound.tag.is_some() || taken.insert(wished.clone())) {
            *times = 1;
            outbound.tag = Some(wished);
            continue;
        }
        let tag = loop {
            *times = (*times).max(1) + 1;
            let tag: Arc<str> = format!("{wished} {times}").into();
            if taken.insert(tag.clone()) {
                break tag;
            }
        };
        outbound.tag = Some(tag);
    }
}

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
        let digits = text.chars().filter(char::is_ascii_hexdigit).count();
        let text = format!("it is not a UUID, it has {digits} of 32 hex digits");
        keys.error("uuid", text);
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
