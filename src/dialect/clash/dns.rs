//! `dns` and `hosts`: who is asked for the addresses of names, and names that nobody is asked for.

use std::net::IpAddr;

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
    let strategy = match &section {
        Some(section) if section.switched("ipv6") == Some(false) => Strategy::UseIpv4,
        _ if keys.switched("ipv6") == Some(false) => Strategy::UseIpv4,
        _ => Strategy::UseIp,
    };
    let at = section.as_ref().map_or(keys.at(), Keys::at);
    let mut names = Names::new(at, keys.notes(), strategy);
    let mut uses_hosts = true;
    if let Some(section) = section {
        servers(&section, sets, groups, &mut names);
        uses_hosts = section.switched("use-hosts").unwrap_or(true);
        if section.switched("use-system-hosts").unwrap_or(true) {
            names.set("useSystemHosts", true);
        }
        tell_rest(section);
    }
    if uses_hosts {
        for (name, node) in hosts(keys) {
            let values = node.items().iter().filter_map(Node::as_text).collect();
            names.host(&node.at, &sets::pattern(name), values);
        }
        tell_hosts(
            keys,
            "they count where connections go straight to their targets and where rules ask for addresses, servers are told the names",
        );
    }
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
        match asked_for(key, sets) {
            Some(domains) => reader.add(node, names, |server| server.names.clone_from(&domains)),
            None => keys.notes().left_out(
                &node.at,
                "the names that it is about are not carried over: it is left out",
            ),
        }
    }
    let fallback = keys.get("fallback");
    let filter = fallback.map(|_| Filter::of(keys)).unwrap_or_default();
    if let Some(node) = fallback.filter(|_| !filter.names.is_empty()) {
        reader.add(node, names, |server| server.names.clone_from(&filter.names));
    }
    if let Some(node) = keys.get("nameserver") {
        reader.add(node, names, |server| {
            server.expected.clone_from(&filter.expected);
            server.unexpected.clone_from(&filter.unexpected);
        });
    }
    if let Some(node) = fallback {
        reader.add(node, names, |_| {});
    }
}

/// Whose answers are believed, where others are asked as well.
#[derive(Default)]
struct Filter {
    /// The others are asked for these names alone.
    names: Vec<Value>,
    expected: Vec<String>,
    unexpected: Vec<String>,
}

impl Filter {
    fn of(keys: &Keys<'_>) -> Self {
        let Some(filter) = keys.map("fallback-filter") else {
            return Self {
                expected: vec!["geoip:cn".to_owned()],
                ..Self::default()
            };
        };
        let code = filter.text("geoip-code").unwrap_or("CN");
        let by_country = filter.switched("geoip").unwrap_or(true);
        let listed = |name| {
            let texts = filter.list(name).into_iter();
            texts.map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
        };
        let domains = listed("domain").into_iter();
        let domains = domains.map(|text| sets::pattern(&text));
        let sites = listed("geosite").into_iter();
        let sites = sites.map(|code| format!("geosite:{code}"));
        let made = Self {
            names: domains.chain(sites).map(Value::from).collect(),
            expected: by_country
                .then(|| format!("geoip:{}", code.to_ascii_lowercase()))
                .into_iter()
                .collect(),
            unexpected: listed("ipcidr"),
        };
        filter.finish();
        made
    }
}

struct Reader<'r, 'n> {
    keys: &'r Keys<'n>,
    groups: &'r Groups<'r>,
    by_rules: bool,
}

impl Reader<'_, '_> {
    /// The servers of a list, or the only one.
    fn add(&self, list: &Node, names: &mut Names<'_>, mut limit: impl FnMut(&mut Server)) {
        for node in list.items() {
            let read = node.as_text().and_then(|text| self.server(&node.at, text));
            if let Some(mut server) = read {
                limit(&mut server);
                names.server(&node.at, server);
            }
        }
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
            way = match (word, self.groups.lead(word)) {
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
                    notes.left_out(at, text);
                    return None;
                }
            };
        }
        match Upstream::parse(address.trim()) {
            Ok(upstream) => Some(Server::new(upstream, way)),
            Err(text) => {
                notes.left_out(at, text);
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
        "ipv6-timeout",
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
