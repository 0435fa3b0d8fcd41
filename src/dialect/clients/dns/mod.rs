//! DNS of other programs, in the words of V2Ray's `dns`.
//!
//! What is read asks where a rule wants the addresses of a name, and for connections that go straight to their targets. Servers
//! are told names, as everywhere.

mod server;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::groups::Lead;
use super::logic::Any;
use super::parts::Parts;
use super::rules::{Asks, Rules};
use crate::dialect::tree::At;
use crate::dialect::tree::keys::Notes;
use crate::dialect::v2ray;
use crate::dns::{self, Strategy};
use crate::matching::{Geodata, geodata};
use crate::protocol::OutboundSettings;

pub(in crate::dialect) use server::{Server, Upstream, Way, unbuilt};

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
