//! `rules`, and what their policies come to: a proxy, the choice of a group, straight there, or nowhere.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::config::Outbound;
use crate::dialect::keys::{Keys, Notes};
use crate::dialect::nodes::{Parts, outbound};
use crate::dialect::rules::{Asks, Rules};
use crate::dialect::singbox::counted;
use crate::dialect::tree::{At, Node};
use crate::protocol::{OutboundSettings, blackhole, freedom};
use crate::transport::ClientSettings;

/// Reads `rules`, and gives `parts` the outbound that carries what none of them takes.
pub(super) fn read<'n>(keys: &Keys<'n>, parts: &mut Parts) -> Rules<'n> {
    let notes = keys.notes();
    let mut rules = Rules::new(notes);
    let choices = Choices::of(keys, parts);
    let lines: Vec<&Node> = keys
        .items("rules")
        .iter()
        .chain(keys.items("rule"))
        .collect();
    let mode = keys.word("mode");
    if mode.as_deref() == Some("direct") {
        let text = "nothing goes by the proxies then: expected `rule`, or `global`";
        keys.astray("mode", text);
    }
    if lines.is_empty() || mode.as_deref() == Some("global") {
        choices.tell_of_first(keys, parts);
        parts.first = first_server(parts);
        return rules;
    }
    let mut unbuilt = Unbuilt::default();
    let mut last = None;
    for line in lines {
        let words: Vec<&str> = line.as_text().unwrap_or_default().split(',').collect();
        let words: Vec<&str> = words.iter().map(|word| word.trim()).collect();
        let kind = words[0].to_ascii_uppercase();
        if matches!(&*kind, "MATCH" | "FINAL") {
            last = Some((&line.at, words.get(1).copied().unwrap_or_default()));
            break;
        }
        let [_, value, policy, flags @ ..] = &words[..] else {
            unbuilt.add(&line.at, format!("of kind `{}`", kind.escape_debug()));
            continue;
        };
        let (asks, is_about_addresses) = match asks(&kind, value, flags) {
            Some(Ok(read)) => read,
            Some(Err(text)) => {
                notes.astray(&line.at, format_args!("{text}: the rule is left out"));
                continue;
            }
            None => {
                unbuilt.add(&line.at, format!("of kind `{}`", kind.escape_debug()));
                continue;
            }
        };
        let Some(tag) = choices.tag(policy) else {
            unbuilt.add(&line.at, format!("to `{}`", policy.escape_debug()));
            continue;
        };
        let never_resolves = is_about_addresses && flags.contains(&"no-resolve");
        if is_about_addresses && !never_resolves {
            rules.resolve();
        }
        rules.push(&line.at, asks, &tag, never_resolves);
    }
    unbuilt.tell(notes);
    // What no rule takes goes straight there.
    let (at, policy) = last.unwrap_or((keys.at(), "DIRECT"));
    parts.first = choices.tag(policy).or_else(|| {
        let text = format!(
            "what no rule takes goes by `{}`, which is not carried over",
            policy.escape_debug()
        );
        notes.astray(at, text);
        first_server(parts)
    });
    let straight = choices.used.into_inner();
    parts.outbounds.extend(straight);
    rules
}

fn first_server(parts: &Parts) -> Option<String> {
    let server = parts.outbounds.iter().find(|one| one.leads_away());
    server.and_then(|server| server.tag.as_deref().map(str::to_owned))
}

/// What a rule asks for, and whether that is the address of its destination. `None` of a kind that is not built.
fn asks(kind: &str, value: &str, flags: &[&str]) -> Option<Result<(Asks, bool), String>> {
    let mut asks = Asks::default();
    let is_source = flags.contains(&"src");
    let addresses = if is_source { "source" } else { "ip" };
    let mut is_about_addresses = false;
    match kind {
        "DOMAIN" => asks.add("domain", format!("full:{value}")),
        "DOMAIN-SUFFIX" => {
            let name = value.trim_start_matches("+.").trim_start_matches('.');
            asks.add("domain", format!("domain:{name}"));
        }
        "DOMAIN-KEYWORD" => asks.add("domain", format!("keyword:{value}")),
        "DOMAIN-REGEX" => asks.add("domain", format!("regexp:{value}")),
        "GEOSITE" => asks.add("domain", format!("geosite:{value}")),
        "IP-CIDR" | "IP-CIDR6" => {
            is_about_addresses = !is_source;
            if let Err(e) = asks.add_network(addresses, value) {
                return Some(Err(e));
            }
        }
        "GEOIP" => {
            is_about_addresses = !is_source;
            asks.add_geoip(addresses, value);
        }
        "SRC-IP-CIDR" => {
            if let Err(e) = asks.add_network("source", value) {
                return Some(Err(e));
            }
        }
        "SRC-GEOIP" => asks.add_geoip("source", value),
        "DST-PORT" => asks.add_ports("port", &value.replace('/', ",")),
        "SRC-PORT" => asks.add_ports("sourcePort", &value.replace('/', ",")),
        "NETWORK" => asks.add("network", value.to_ascii_lowercase()),
        "IN-USER" => value.split('/').for_each(|user| asks.add("user", user)),
        _ => return None,
    }
    Some(Ok((asks, is_about_addresses)))
}

/// Rules that are not built, of a kind or to a policy: where the first is, and how many there are.
#[derive(Default)]
struct Unbuilt(BTreeMap<String, (At, usize)>);

impl Unbuilt {
    fn add(&mut self, at: &At, what: String) {
        let (_, n) = self.0.entry(what).or_insert_with(|| (at.clone(), 0));
        *n += 1;
    }

    fn tell(self, notes: &Notes) {
        for (what, (at, n)) in self.0 {
            let text = format!(
                "{} {what}, beginning here: not carried over",
                counted(n, "rule")
            );
            notes.astray(&at, text);
        }
    }
}

/// What policies come to.
struct Choices<'a> {
    groups: HashMap<&'a str, &'a Node>,
    /// The tags of outbounds, and whether these lead to servers.
    tags: HashMap<String, bool>,
    /// Outbounds that are there without being written down.
    used: RefCell<Vec<Outbound>>,
}

impl<'a> Choices<'a> {
    fn of(keys: &Keys<'a>, parts: &Parts) -> Self {
        let groups = keys.items("proxy-groups").iter();
        let named = groups.filter_map(|group| Some((group.get("name")?.as_text()?, group)));
        let tags = parts.outbounds.iter();
        let tags = tags.filter_map(|one| Some((one.tag.as_deref()?.to_owned(), one.leads_away())));
        let choices = Self {
            groups: named.collect(),
            tags: tags.collect(),
            used: RefCell::default(),
        };
        choices.tell(keys.notes(), keys.items("proxy-groups"));
        choices
    }

    /// The tag of the outbound that a policy comes to.
    fn tag(&self, policy: &str) -> Option<String> {
        let chosen = self.chosen(policy, 0)?;
        let (name, protocol) = match &*chosen {
            _ if self.tags.contains_key(&chosen) => return Some(chosen),
            "DIRECT" => {
                let freedom = freedom::OutboundSettings::default();
                ("direct", OutboundSettings::Freedom(freedom))
            }
            _ => {
                let blackhole = blackhole::OutboundSettings::default();
                ("reject", OutboundSettings::Blackhole(blackhole))
            }
        };
        // Clash's own names are nobody else's there, and proxies may have any other.
        let mut tag = name.to_owned();
        while self.tags.contains_key(&tag) {
            tag.push('-');
        }
        let mut used = self.used.borrow_mut();
        if !used.iter().any(|one| one.tag.as_deref() == Some(&*tag)) {
            let at = At {
                path: tag.clone(),
                ..At::default()
            };
            used.push(outbound(
                &at,
                Some(&tag),
                ClientSettings::default(),
                protocol,
            ));
        }
        Some(tag)
    }

    /// A group that nobody has chosen in takes its first proxy. Where that is not carried over another one does, if it
    /// leads to a server.
    fn chosen(&self, policy: &str, depth: usize) -> Option<String> {
        if self.tags.contains_key(policy) {
            return Some(policy.to_owned());
        }
        match policy {
            "DIRECT" => return Some("DIRECT".to_owned()),
            "REJECT" | "REJECT-DROP" | "REJECT-TINYGIF" => return Some("REJECT".to_owned()),
            _ => {}
        }
        let group = self.groups.get(policy).filter(|_| depth < MAX_DEPTH)?;
        if group.get("type").and_then(Node::as_text) == Some("relay") {
            return None;
        }
        let mut members = group.get("proxies")?.items().iter();
        let mut members = members.by_ref().filter_map(Node::as_text);
        let first = self.chosen(members.next()?, depth + 1);
        first.or_else(|| {
            members
                .filter_map(|name| self.chosen(name, depth + 1))
                .find(|tag| self.tags.get(tag) == Some(&true))
        })
    }

    /// Says what takes the place of groups. One by hand loses nothing but the hand, as long as its first proxy is there.
    fn tell(&self, notes: &Notes, groups: &[Node]) {
        for group in groups {
            let text = |key: &str| group.get(key).and_then(Node::as_text).unwrap_or_default();
            let first = group.get("proxies").and_then(|list| list.items().first());
            let first = first.and_then(Node::as_text).unwrap_or_default();
            let chosen = self.chosen(text("name"), 0);
            let is_first = chosen.is_some() && self.chosen(first, 0) == chosen;
            if text("type") == "select" && is_first {
                continue;
            }
            let text = match chosen {
                Some(chosen) => format!(
                    "`{}`: nothing chooses between proxies here while it runs: `{}` takes the place of `{}`",
                    text("type").escape_debug(),
                    chosen.escape_debug(),
                    text("name").escape_debug()
                ),
                None => format!(
                    "`{}`: none of its proxies is carried over",
                    text("name").escape_debug()
                ),
            };
            notes.left_out(&group.at, text);
        }
    }

    /// Without rules the first proxy carries everything, whatever the first group would choose.
    fn tell_of_first(&self, keys: &Keys, parts: &Parts) {
        let group = keys.items("proxy-groups").first();
        let Some(name) = group.and_then(|group| group.get("name")?.as_text()) else {
            return;
        };
        if self.chosen(name, 0) != first_server(parts) {
            let text = "there are no rules, the first proxy carries everything";
            keys.left_out("proxy-groups", text);
        }
    }
}

/// Groups inside each other.
const MAX_DEPTH: usize = 16;
