//! What a rule asks for: its keys, those of others by `logical`, and lists by `rule_set`.

use crate::dialect::clients::logic::Any;
use crate::dialect::clients::rules::Asks;
use crate::dialect::clients::sets::{Sets, of_geodata};
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::Notes;

/// What conditions of a file refer to.
pub(super) struct Conditions<'n> {
    sets: Sets<'n>,
    /// `mode`, which a dashboard of Clash would change, stays here.
    mode: &'n str,
    notes: &'n Notes,
}

/// How deep rules may stand in others.
const MAX_DEPTH: usize = 16;

/// What one has that is put together from others.
const OF_LOGICAL: [&str; 7] = [
    "type",
    "mode",
    "rules",
    "invert",
    "clash_mode",
    "action",
    "outbound",
];

/// What a session is found to be both there and here, by one name.
const FOUND: [&str; 9] = [
    "http",
    "tls",
    "quic",
    "bittorrent",
    "ssh",
    "rdp",
    "stun",
    "dtls",
    "ntp",
];

/// No such comes in here.
const ICMP: &str = "icmp";

impl<'n> Conditions<'n> {
    pub(super) fn of(sets: &'n [Node], mode: &'n str, notes: &'n Notes) -> Self {
        let name = |set: &'n Node| Some((set.get("tag")?.as_text()?, set));
        Self {
            sets: Sets::new(sets.iter().filter_map(name)),
            mode,
            notes,
        }
    }

    /// Whether no session is one for this rule, whatever else it asks for.
    pub(super) fn takes_nothing(&self, node: &Node) -> bool {
        let is_inverted = texts(node, "invert").any(|text| text == "true");
        !is_inverted && self.is_never(node)
    }

    fn is_never(&self, node: &Node) -> bool {
        let mut modes = texts(node, "clash_mode");
        let is_other_mode = modes.any(|other| !other.eq_ignore_ascii_case(self.mode));
        let mut networks = texts(node, "network").peekable();
        let is_icmp = networks.peek().is_some() && networks.all(|network| network == ICMP);
        // Only Android has packages.
        let of_packages = node.entries().iter();
        let of_packages = of_packages.filter(|(key, _)| key.starts_with("package_name"));
        is_other_mode || is_icmp || of_packages.count() > 0
    }

    /// Reads what a rule asks for.
    ///
    /// # Errors
    ///
    /// What of it is not built.
    pub(super) fn read(&self, node: &Node, depth: usize) -> Result<Any, String> {
        let kind = texts(node, "type").next().unwrap_or("default");
        let any = match kind {
            _ if self.is_never(node) => Any::default(),
            "default" => self.plain(node, depth)?,
            "logical" if depth < MAX_DEPTH => self.logical(node, depth)?,
            kind => return Err(format!("`type: {}`", kind.escape_debug())),
        };
        match texts(node, "invert").any(|text| text == "true") {
            true => any.not().map_err(|why| format!("`invert` of {why}")),
            false => Ok(any),
        }
    }

    fn logical(&self, node: &Node, depth: usize) -> Result<Any, String> {
        let inner = node.get("rules").map(Node::items).unwrap_or_default();
        let inner = inner.iter().map(|one| self.read(one, depth + 1));
        if let Some(key) = of_action(node).find(|key| !OF_LOGICAL.contains(key)) {
            return Err(format!("`{}`", key.escape_debug()));
        }
        let mut all: Vec<Any> = inner.collect::<Result<_, _>>()?;
        match texts(node, "mode").next() {
            Some("or") => Ok(all.into_iter().fold(Any::default(), Any::or)),
            Some("and") if !all.is_empty() => {
                let first = all.remove(0);
                let together = all.iter().try_fold(first, |all, one| all.and(one));
                together.map_err(|why| format!("`type: logical` with {why}"))
            }
            _ => Err("`type: logical`".to_owned()),
        }
    }

    /// Names, addresses and lists are alternatives there, and all of them needed here.
    fn plain(&self, node: &Node, depth: usize) -> Result<Any, String> {
        let (mut names, mut addresses, mut rest) = Default::default();
        for key in of_action(node) {
            let value = node.get(key);
            let items = value.map(Node::items).unwrap_or_default();
            let texts: Vec<&str> = items.iter().filter_map(Node::as_text).collect();
            let lower = key.to_ascii_lowercase();
            let asked = match texts.len() == items.len() {
                true => ask(&lower, &texts, &mut names, &mut addresses, &mut rest),
                false => None,
            };
            asked.ok_or_else(|| format!("`{}`", key.escape_debug()))?;
        }
        let mut destinations = Any::default();
        for one in [names, addresses] {
            if !one.is_empty() {
                destinations = destinations.or(Any::of(one));
            }
        }
        let mut has_sets = false;
        for name in texts(node, "rule_set") {
            has_sets = true;
            let set = self.set(name, depth).ok_or("`rule_set`")?;
            destinations = destinations.or(set);
        }
        let rest = Any::of(rest);
        match has_sets || destinations != Any::default() {
            true => {
                let both = destinations.and(&rest);
                both.map_err(|why| format!("`rule_set` with {why}"))
            }
            false => Ok(rest),
        }
    }

    /// A list, as far as what is in it is known here.
    fn set(&self, name: &str, depth: usize) -> Option<Any> {
        let set = self.sets.get(name)?;
        let any = match texts(set, "type").next().unwrap_or("inline") {
            "inline" if depth < MAX_DEPTH => {
                let rules = set.get("rules").map(Node::items)?.iter();
                // They refer to no other list.
                let inside = Self::of(&[], self.mode, self.notes);
                let rules = rules.map(|rule| inside.read(rule, depth + 1).ok());
                let rules: Vec<Any> = rules.collect::<Option<_>>()?;
                rules.into_iter().fold(Any::default(), Any::or)
            }
            "remote" => of_geodata(set, "url", self.notes)?,
            "local" => of_geodata(set, "path", self.notes)?,
            _ => return None,
        };
        self.sets.spend(any.entries()).then_some(any)
    }
}

pub(super) fn texts<'a>(node: &'a Node, key: &str) -> impl Iterator<Item = &'a str> {
    let items = node.get(key).map(Node::items).unwrap_or_default();
    items.iter().filter_map(Node::as_text)
}

/// The keys of a rule that say whom it takes.
fn of_action(node: &Node) -> impl Iterator<Item = &str> {
    let of_action: &[&str] = match texts(node, "action").next() {
        // How it is rejected is told to nobody who is not rejected.
        Some("reject") => &["method", "no_drop"],
        // How its datagrams are carried.
        None | Some("route") => &["udp_connect", "udp_disable_domain_unmapping", "udp_timeout"],
        Some(_) => &[],
    };
    let keys = node.entries().iter().map(|(key, _)| key.as_str());
    keys.filter(move |key| !of_action.contains(key))
}

fn ask(
    key: &str,
    texts: &[&str],
    names: &mut Asks,
    addresses: &mut Asks,
    rest: &mut Asks,
) -> Option<()> {
    let is_on = texts == ["true"];
    match key {
        "action" | "outbound" | "clash_mode" | "type" | "invert" | "rule_set" => {}
        // It asks for nothing.
        _ if texts.is_empty() => {}
        "ip_is_private" | "source_ip_is_private" | "rule_set_ip_cidr_match_source"
            if texts == ["false"] => {}
        "domain" => texts
            .iter()
            .for_each(|name| names.add("domain", format!("full:{name}"))),
        "domain_suffix" => {
            for name in texts {
                // With a dot in front it is not the name itself.
                let pattern = match name.strip_prefix('.') {
                    Some(name) => format!("regexp:\\.{}$", escaped(name)),
                    None => format!("domain:{name}"),
                };
                names.add("domain", pattern);
            }
        }
        "domain_keyword" => {
            texts
                .iter()
                .for_each(|text| names.add("domain", format!("keyword:{text}")));
        }
        "domain_regex" => {
            texts
                .iter()
                .for_each(|text| names.add("domain", format!("regexp:{text}")));
        }
        "geosite" => {
            texts
                .iter()
                .for_each(|code| names.add("domain", format!("geosite:{code}")));
        }
        "ip_cidr" => {
            for text in texts {
                addresses.add_network("ip", text).ok()?;
            }
        }
        "ip_is_private" if is_on => addresses.add_geoip("ip", "private"),
        "geoip" => texts
            .iter()
            .for_each(|code| addresses.add_geoip("ip", code)),
        "source_ip_cidr" => {
            for text in texts {
                rest.add_network("source", text).ok()?;
            }
        }
        // Of names none is known.
        "ip_version" if texts == ["4"] => rest.add_network("ip", "0.0.0.0/0").ok()?,
        "ip_version" if texts == ["6"] => rest.add_network("ip", "::/0").ok()?,
        "source_ip_is_private" if is_on => rest.add_geoip("source", "private"),
        "source_geoip" => texts.iter().for_each(|code| rest.add_geoip("source", code)),
        "port" => texts.iter().for_each(|port| rest.add_ports("port", port)),
        "port_range" => {
            for range in texts {
                rest.add_ports("port", &ports(range));
            }
        }
        "source_port" => texts
            .iter()
            .for_each(|port| rest.add_ports("sourcePort", port)),
        "source_port_range" => {
            for range in texts {
                rest.add_ports("sourcePort", &ports(range));
            }
        }
        "network" => {
            let networks = texts.iter().filter(|name| **name != ICMP);
            networks.for_each(|name| rest.add("network", *name));
        }
        "inbound" => texts.iter().for_each(|tag| rest.add("inboundTag", *tag)),
        "process_name" | "process_path" if rest.get("process").is_none() => {
            texts.iter().for_each(|text| rest.add("process", *text));
        }
        "protocol" if texts.iter().all(|name| FOUND.contains(name)) => {
            texts.iter().for_each(|name| rest.add("protocol", *name));
        }
        "auth_user" => texts.iter().for_each(|user| rest.add("user", *user)),
        _ => return None,
    }
    Some(())
}

/// `1000:2000`, and one side may be missing.
fn ports(range: &str) -> String {
    let (from, to) = range.split_once(':').unwrap_or((range, range));
    let from = if from.is_empty() { "0" } else { from };
    let to = if to.is_empty() { "65535" } else { to };
    format!("{from}-{to}")
}

fn escaped(text: &str) -> String {
    text.replace('.', "\\.")
}
