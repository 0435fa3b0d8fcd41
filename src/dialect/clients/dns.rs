//! DNS of other programs, in the words of V2Ray's `dns`.
//!
//! What is read asks where a rule wants the addresses of a name, and for connections that go straight to their targets. Servers
//! are told names, as everywhere.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::groups::Lead;
use super::logic::Any;
use super::nodes::Parts;
use super::rules::{Asks, Rules};
use crate::dialect::tree::At;
use crate::dialect::tree::keys::Notes;
use crate::dialect::v2ray;
use crate::dns::{self, Strategy};
use crate::matching::{Geodata, geodata};
use crate::protocol::OutboundSettings;

/// The section that is being put together.
pub(in crate::dialect) struct Names<'n> {
    at: &'n At,
    notes: &'n Notes,
    geodata: Geodata,
    strategy: Strategy,
    section: Map<String, Value>,
    /// As they are written, and how the rules have to send their questions, if they have to.
    servers: Vec<(Value, Option<Way>)>,
    hosts: Map<String, Value>,
}

/// `dns`, as values and as text.
#[derive(Default)]
pub(in crate::dialect) struct Section {
    pub(in crate::dialect) settings: dns::Settings,
    pub(in crate::dialect) text: Value,
}

/// A server as a file has it.
pub(in crate::dialect) struct Server {
    pub(in crate::dialect) upstream: Upstream,
    pub(in crate::dialect) way: Way,
    /// The names that it alone is asked for; all, where there are none.
    pub(in crate::dialect) names: Vec<Value>,
    /// Its answer counts for these addresses alone.
    pub(in crate::dialect) expected: Vec<String>,
    /// And never for these.
    pub(in crate::dialect) unexpected: Vec<String>,
    /// It is asked for addresses of one family alone, in V2Ray's words.
    pub(in crate::dialect) families: Option<&'static str>,
    /// Where it is told that the asker is.
    pub(in crate::dialect) client_ip: Option<String>,
}

/// How a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Upstream {
    System,
    Udp {
        host: String,
        port: u16,
    },
    Tcp(String),
    Tls(String),
    /// The URL without its scheme.
    Https(String),
}

/// How its questions travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Way {
    Direct,
    /// As any session.
    ByRules,
    By(Lead),
}

/// Who is asked where a name has no other server.
const PORT: u16 = 53;

impl Upstream {
    /// Reads an address as Clash has it, and sing-box had it.
    ///
    /// # Errors
    ///
    /// What is not built.
    pub(in crate::dialect) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let scheme = scheme.to_ascii_lowercase();
        match &*scheme {
            "system" | "local" => Ok(Self::System),
            "udp" if ["system", "local"].contains(&rest) => Ok(Self::System),
            "udp" => Ok(Self::udp(rest)),
            "tcp" => Ok(Self::Tcp(rest.to_owned())),
            "tls" => Ok(Self::Tls(rest.to_owned())),
            "https" => Ok(Self::Https(rest.to_owned())),
            other => Err(unbuilt(other)),
        }
    }

    fn udp(text: &str) -> Self {
        let parted = text.rsplit_once(':');
        // An IPv6 address has more of them, unless brackets are around it.
        let parted = parted.filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let parted = parted.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parted.unwrap_or((text, PORT));
        let host = host.trim_matches(['[', ']']).to_owned();
        Self::Udp { host, port }
    }

    /// As V2Ray writes it, past the rules where it has a word for that.
    fn written(&self, is_local: bool) -> Value {
        let local = if is_local { "+local" } else { "" };
        match self {
            Self::System => "localhost".into(),
            Self::Udp { host, port: PORT } => host.as_str().into(),
            Self::Udp { host, port } => json!({"address": host, "port": port}),
            Self::Tcp(rest) => format!("tcp{local}://{rest}").into(),
            Self::Tls(rest) => format!("tls{local}://{rest}").into(),
            Self::Https(rest) => format!("https{local}://{rest}").into(),
        }
    }
}

/// That servers of a kind are not built.
pub(in crate::dialect) fn unbuilt(kind: &str) -> String {
    let kind = match kind {
        "quic" => Cow::Borrowed("DNS over QUIC"),
        "h3" => "DNS over HTTP/3".into(),
        other => format!("`{}`", other.escape_debug()).into(),
    };
    format!(
        "{kind} is not built, expected UDP, `tcp`, `tls`, `https` or the system: the server is left out"
    )
}

impl Server {
    /// One that is asked for all names.
    pub(in crate::dialect) fn new(upstream: Upstream, way: Way) -> Self {
        Self {
            upstream,
            way,
            names: Vec::new(),
            expected: Vec::new(),
            unexpected: Vec::new(),
            families: None,
            client_ip: None,
        }
    }
}

/// The names that a condition is about, if it is about nothing else.
pub(in crate::dialect) fn names_alone(any: Any) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    for asks in any.into_rules() {
        let mut entries = asks.entries();
        match (entries.next(), entries.next()) {
            (Some(("domain", Value::Array(list))), None) => all.extend(list.iter().cloned()),
            _ => return None,
        }
    }
    Some(all)
}

impl<'n> Names<'n> {
    /// What is dialled at an address is dialled by `strategy`.
    pub(in crate::dialect) fn new(at: &'n At, notes: &'n Notes, strategy: Strategy) -> Self {
        let mut names = Self {
            at,
            notes,
            geodata: Geodata::new(geodata::folders()),
            strategy,
            section: Map::new(),
            servers: Vec::new(),
            hosts: Map::new(),
        };
        match strategy {
            Strategy::UseIpv4 => names.set("queryStrategy", "UseIPv4"),
            Strategy::UseIpv6 => names.set("queryStrategy", "UseIPv6"),
            _ => {}
        }
        names
    }

    /// A key of the section itself.
    pub(in crate::dialect) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.section.insert(key.to_owned(), value.into());
    }

    /// The next servers, which are asked for the same names. What is wrong with one is told, and it is left out; whether any is
    /// there.
    pub(in crate::dialect) fn servers(&mut self, servers: Vec<(At, Server)>) -> bool {
        let before = self.servers.len();
        for (at, server) in servers {
            self.server(&at, server);
        }
        let new = &mut self.servers[before..];
        // Whoever else is there is not to hear of these names.
        if let Some((last, _)) = new.last_mut()
            && last.get("domains").is_some()
        {
            last["finalQuery"] = true.into();
        }
        !new.is_empty()
    }

    fn server(&mut self, at: &At, server: Server) {
        let is_local = server.way == Way::Direct;
        let mut value = server.upstream.written(is_local);
        let lists = [
            ("domains", server.names),
            (
                "expectIPs",
                server.expected.into_iter().map(Into::into).collect(),
            ),
            (
                "unexpectedIPs",
                server.unexpected.into_iter().map(Into::into).collect(),
            ),
        ];
        let said = [
            ("queryStrategy", server.families),
            ("clientIp", server.client_ip.as_deref()),
        ];
        for (key, text) in said {
            if let Some(text) = text {
                as_object(&mut value)[key] = text.into();
            }
        }
        for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            let value = as_object(&mut value);
            if key == "domains" {
                value["skipFallback"] = true.into();
            }
            value[key] = list.into();
        }
        if self.is_good(at, &json!({"servers": [value]})) {
            let way = match server.upstream {
                Upstream::System => None,
                Upstream::Tcp(_) | Upstream::Tls(_) | Upstream::Https(_) if is_local => None,
                _ => Some(server.way),
            };
            self.servers.push((value, way));
        }
    }

    /// Whether there are addresses of a category.
    pub(in crate::dialect) fn knows(&self, category: &str) -> bool {
        let section = json!({"servers": [{"address": "localhost", "expectIPs": [category]}]});
        v2ray::read_dns(&section, &self.geodata).is_ok()
    }

    /// What `pattern`, in V2Ray's words, stands for.
    pub(in crate::dialect) fn host(&mut self, at: &At, pattern: &str, values: Vec<&str>) {
        // A name alone is a whole one.
        let pattern = pattern.strip_prefix("full:").unwrap_or(pattern);
        let value = match values[..] {
            [one] => json!(one),
            _ => json!(values),
        };
        if self.is_good(at, &json!({"hosts": {pattern: value}})) {
            self.hosts.insert(pattern.to_owned(), value);
        }
    }

    fn is_good(&self, at: &At, section: &Value) -> bool {
        let read = v2ray::read_dns(section, &self.geodata);
        if let Err(lines) = &read {
            let mut lines = lines.clone();
            lines.dedup();
            let lines = lines.join("; ");
            let lines = lines.trim_end_matches("; it is left out");
            self.notes
                .left_out(at, format_args!("{lines}: it is left out"));
        }
        read.is_ok()
    }

    /// Whether some of its questions have to be sent straight to their servers by a rule.
    pub(in crate::dialect) fn needs_direct(&self) -> bool {
        let mut ways = self.servers.iter();
        ways.any(|(_, way)| *way == Some(Way::Direct))
    }

    /// Gives all of it to `parts`; questions that go straight to their servers go by `direct`.
    pub(in crate::dialect) fn settle(
        mut self,
        parts: &mut Parts,
        direct: Option<Lead>,
        rules: &mut Rules<'_>,
    ) {
        if self.servers.is_empty() && self.hosts.is_empty() {
            // The system has to be told as well.
            if matches!(self.strategy, Strategy::UseIpv4 | Strategy::UseIpv6) {
                self.dial(parts);
            }
            return;
        }
        if self
            .servers
            .iter()
            .any(|(server, _)| server.get("domains").is_some())
        {
            // Whoever is asked for a name, is asked alone.
            self.set("disableFallbackIfMatch", true);
        }
        let servers = self.servers_with_tags(parts, direct.as_ref(), rules);
        if !servers.is_empty() {
            self.section.insert("servers".to_owned(), servers.into());
        }
        if !self.hosts.is_empty() {
            let hosts = std::mem::take(&mut self.hosts);
            self.section.insert("hosts".to_owned(), hosts.into());
        }
        let text = Value::Object(std::mem::take(&mut self.section));
        match v2ray::read_dns(&text, &self.geodata) {
            Ok(settings) => {
                let section = Section { settings, text };
                parts.dns = Some(section);
            }
            Err(lines) => {
                let lines = lines.join("; ");
                let text = format_args!("{lines}: it is not carried over");
                self.notes.left_out(self.at, text);
                return;
            }
        }
        self.dial(parts);
    }

    /// What goes straight to its target is dialled so.
    fn dial(&self, parts: &mut Parts) {
        for outbound in &mut parts.outbounds {
            if let OutboundSettings::Freedom(settings) = &mut outbound.protocol {
                settings.strategy = self.strategy;
            }
        }
    }

    /// The servers, with rules in front of all others for those whose questions go another way than these would send them.
    fn servers_with_tags(
        &mut self,
        parts: &Parts,
        direct: Option<&Lead>,
        rules: &mut Rules<'_>,
    ) -> Vec<Value> {
        let written = std::mem::take(&mut self.servers);
        // V2Ray has a tag for all of them alone.
        let mut leads = written.iter().filter_map(|(_, way)| way.as_ref());
        let first = leads.next().cloned();
        let are_alike = leads.all(|way| Some(way) == first.as_ref());
        let mut tags: Vec<(Lead, String)> = Vec::new();
        let mut all = Vec::new();
        for (mut server, way) in written {
            let lead = match way {
                None | Some(Way::ByRules) => None,
                Some(Way::Direct) => direct.cloned(),
                Some(Way::By(lead)) => Some(lead),
            };
            if let Some(lead) = lead {
                let known = tags.iter().find(|(known, _)| *known == lead);
                let known = known.map(|(_, tag)| tag.clone());
                let tag = known.unwrap_or_else(|| {
                    let tag = tag(tags.len(), parts);
                    tags.push((lead, tag.clone()));
                    tag
                });
                match are_alike {
                    true => self.set("tag", tag),
                    false => as_object(&mut server)["tag"] = tag.into(),
                }
            }
            all.push(server);
        }
        for (lead, tag) in tags {
            let mut asks = Asks::default();
            asks.add("inboundTag", tag);
            rules.push_first(self.at, asks, &lead);
        }
        all
    }
}

/// A tag that no inbound has.
fn tag(n: usize, parts: &Parts) -> String {
    let wished = match n {
        0 => "dns".to_owned(),
        n => format!("dns-{}", n + 1),
    };
    let inbounds = parts.inbounds.iter();
    free_tag(wished, inbounds.filter_map(|one| one.tag.as_deref()))
}

/// The tag that is wished for, or a longer one where it is taken.
pub(in crate::dialect) fn free_tag<'t>(
    mut wished: String,
    taken: impl Iterator<Item = &'t str>,
) -> String {
    let taken: HashSet<&str> = taken.collect();
    while taken.contains(&*wished) {
        wished.push('\'');
    }
    wished
}

/// A server that has more to it than its address.
fn as_object(server: &mut Value) -> &mut Value {
    if !server.is_object() {
        *server = json!({"address": server.take()});
    }
    server
}
