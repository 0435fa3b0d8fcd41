//! `dns` and `hosts`: who is asked for the addresses of names, and names that nobody is asked for.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::sets::{self, Sets};
use crate::dialect::clients::dns::{Names, Server, Upstream, Way, names_alone};
use crate::dialect::clients::groups::Groups;
use crate::dialect::tree::keys::Keys;
use crate::dialect::tree::{At, Node};
use crate::dns::Strategy;

/// Reads both.
pub(super) fn read<'n>(keys: &Keys<'n>, sets: &Sets<'n>, groups: &Groups<'_>) -> Names<'n> {
    let section = keys.enabled("dns", "enable");
    // That of the section is about who asks there.
    let strategy = match keys.switched("ipv6") {
        Some(false) => Strategy::UseIpv4,
        _ => Strategy::UseIp,
    };
    let at = section.as_ref().map_or(keys.at(), Keys::at);
    let mut names = Names::new(at, keys.notes(), strategy);
    if let Some(section) = section {
        servers(&section, sets, groups, &mut names);
        if section.switched("use-system-hosts").unwrap_or(true) {
            names.set("useSystemHosts", true);
        }
        tell_rest(section);
    }
    for (name, node) in hosts(keys) {
        let values = node.items().iter().filter_map(Node::as_text).collect();
        names.host(&node.at, &sets::pattern(name), values);
    }
    let text = "they count where connections go straight to their targets and where rules ask for addresses, servers are told the names";
    tell_hosts(keys, text);
    names
}

fn hosts<'n>(keys: &Keys<'n>) -> &'n [(String, Node)] {
    keys.get("hosts").map(Node::entries).unwrap_or_default()
}

/// Says what becomes of `hosts`. A server that is told a name finds its addresses as well as we do, but not that it is another's.
pub(super) fn tell_hosts(keys: &Keys<'_>, text: &str) {
    let is_name = |node: &Node| {
        let mut values = node.items().iter().filter_map(Node::as_text);
        values.any(|value| value.parse::<IpAddr>().is_err())
    };
    let mut entries = hosts(keys).iter();
    match entries.any(|(_, node)| is_name(node)) {
        true => keys.no_way(&["hosts"], text),
        false => keys.no_word(&["hosts"], text),
    }
}

fn servers(keys: &Keys<'_>, sets: &Sets<'_>, groups: &Groups<'_>, names: &mut Names<'_>) {
    let by_rules = keys.switch("respect-rules");
    let reader = Reader {
        keys,
        groups,
        by_rules,
    };
    let policies = keys.get("nameserver-policy").map(Node::entries);
    for (key, node) in policies.unwrap_or_default() {
        let servers = asked_for(key, sets).map(|domains| reader.read(node, &domains));
        if !servers.is_some_and(|servers| names.servers(servers)) {
            let text = "it is not carried over, and others are asked for these names";
            keys.notes().astray(&node.at, text);
        }
    }
    let all_of = |key| {
        let list = keys.get(key);
        list.map(|node| reader.read(node, &[])).unwrap_or_default()
    };
    let (mut first, fallback) = (all_of("nameserver"), all_of("fallback"));
    let mut filter = match fallback.is_empty() {
        true => Filter::default(),
        false => Filter::of(keys),
    };
    if !filter.names.is_empty() {
        let mut named = fallback.clone();
        let for_names = |(_, server): &mut (At, Server)| server.names.clone_from(&filter.names);
        named.iter_mut().for_each(for_names);
        names.servers(named);
    }
    if let Some(code) = filter.country.take_if(|code| !names.knows(code)) {
        let text =
            format_args!("there is no `{code}` in `geoip.dat`: what the first servers say counts");
        keys.notes().left_out(keys.at(), text);
    }
    for (_, server) in &mut first {
        server.expected = filter.expected();
        server.unexpected.clone_from(&filter.unexpected);
    }
    let has_first = !first.is_empty();
    let is_there = names.servers(first) | names.servers(fallback);
    let nameservers = keys.get("nameserver");
    if let Some(node) = nameservers.filter(|_| !is_there || !has_first) {
        let text = "none of them is carried over, and others are asked in their place";
        keys.notes().astray(&node.at, text);
    }
}

/// Whose answers are believed, where others are asked as well.
#[derive(Default)]
struct Filter {
    /// The others are asked for these names alone.
    names: Vec<Value>,
    /// The country whose addresses count, a category of `geoip.dat`.
    country: Option<String>,
    /// Addresses that do not.
    unexpected: Vec<String>,
}

impl Filter {
    fn of(keys: &Keys<'_>) -> Self {
        let filter = keys.map("fallback-filter");
        let code = filter.as_ref().and_then(|filter| filter.text("geoip-code"));
        let by_country = filter.as_ref().and_then(|filter| filter.switched("geoip"));
        let country = format!("geoip:{}", code.unwrap_or("CN").to_ascii_lowercase());
        let mut made = Self {
            country: by_country.unwrap_or(true).then_some(country),
            ..Self::default()
        };
        let Some(filter) = filter else { return made };
        let listed = |name| {
            let texts = filter.list(name).into_iter();
            texts.map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
        };
        let domains = listed("domain").into_iter();
        let domains = domains.map(|text| sets::pattern(&text));
        let sites = listed("geosite").into_iter();
        let sites = sites.map(|code| format!("geosite:{code}"));
        made.names = domains.chain(sites).map(Value::from).collect();
        made.unexpected = listed("ipcidr");
        filter.finish();
        made
    }

    /// The addresses that alone count, if not all do. What is at home is no poison.
    fn expected(&self) -> Vec<String> {
        let country = self.country.iter();
        let both = country.flat_map(|code| [code.clone(), "geoip:private".to_owned()]);
        both.collect()
    }
}

struct Reader<'r, 'n> {
    keys: &'r Keys<'n>,
    groups: &'r Groups<'r>,
    by_rules: bool,
}

impl Reader<'_, '_> {
    /// The servers of a list, or the only one, for these names or for all.
    fn read(&self, list: &Node, names: &[Value]) -> Vec<(At, Server)> {
        let read = list.items().iter().filter_map(|node| {
            let mut server = self.server(&node.at, node.as_text()?)?;
            server.names = names.to_vec();
            Some((node.at.clone(), server))
        });
        read.collect()
    }

    /// `https://1.1.1.1/dns-query#NAME`, where a name says whom its questions go by.
    fn server(&self, at: &At, text: &str) -> Option<Server> {
        let notes = self.keys.notes();
        let (address, said) = text.split_once('#').unwrap_or((text, ""));
        let mut way = match self.by_rules {
            true => Way::ByRules,
            false => Way::Direct,
        };
        for word in said.split('&').filter(|word| !word.is_empty()) {
            let word = percent_decode_str(word).decode_utf8_lossy();
            way = match (&*word, self.groups.lead(&word)) {
                ("RULES", _) => Way::ByRules,
                ("DIRECT", _) => Way::Direct,
                (_, Some(lead)) => Way::By(lead),
                _ if word.contains('=') => {
                    let word = word.split('=').next().unwrap_or_default();
                    let word = word.escape_debug();
                    notes.left_out(at, format_args!("there is no word for `{word}` here"));
                    way
                }
                _ => {
                    let text = "what its questions go by is not carried over: it is left out";
                    notes.astray(at, text);
                    return None;
                }
            };
        }
        match Upstream::parse(address.trim()) {
            Ok(upstream) => Some(Server::new(upstream, way)),
            Err(text) => {
                match way {
                    Way::By(_) => notes.astray(at, text),
                    Way::Direct | Way::ByRules => notes.left_out(at, text),
                }
                None
            }
        }
    }
}

/// The names that a policy is for: `geosite:cn,private`, `rule-set:NAME`, or names as in lists of them.
fn asked_for(key: &str, sets: &Sets<'_>) -> Option<Vec<Value>> {
    let (kind, rest) = match key.split_once(':') {
        Some((kind @ ("geosite" | "rule-set"), rest)) => (kind, rest),
        _ => ("", key),
    };
    let mut all = Vec::new();
    for one in rest.split(',').map(str::trim) {
        match kind {
            "geosite" => all.push(format!("geosite:{one}").into()),
            "rule-set" => {
                let condition = sets.read(one, &[], 0).ok()?;
                all.extend(names_alone(condition.any)?);
            }
            _ => all.push(sets::pattern(one).into()),
        }
    }
    Some(all)
}

/// What else the section says.
fn tell_rest(keys: Keys<'_>) {
    keys.silent(&[
        "enhanced-mode",
        "fake-ip-range",
        "fake-ip-range6",
        "fake-ip-filter",
        "fake-ip-filter-mode",
        "fake-ip-ttl",
        "cache-algorithm",
        "cache-max-size",
        "prefer-h3",
        "ipv6",
        "ipv6-timeout",
        // Connections that go straight to their targets know them all the same.
        "use-hosts",
        // Without others there is nothing to choose from.
        "fallback-filter",
    ]);
    keys.no_word(
        &["listen"],
        "nobody is answered there: whoever comes by the ports brings names",
    );
    keys.no_word(
        &[
            "default-nameserver",
            "proxy-server-nameserver",
            "proxy-server-nameserver-policy",
        ],
        "the system is asked for the names of servers",
    );
    keys.no_word(
        &["direct-nameserver", "direct-nameserver-follow-policy"],
        "the same servers are asked whatever a connection goes by",
    );
    keys.finish();
}
