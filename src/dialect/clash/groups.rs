//! `proxy-groups`.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use regex::bytes::RegexBuilder;
use regex::{Regex, bytes};

use super::providers::Provider;
use crate::dialect::clients::groups::{Group, Kind, MAX_MEMBERS, probe};
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::Keys;

/// Reads the groups of a file; what is wrong with one is told.
pub(super) fn read<'n>(root: &Keys<'n>, providers: &[Provider<'n>]) -> Vec<Group<'n>> {
    let notes = root.notes();
    let own = root.items("proxies").iter().filter_map(Proxy::of);
    let provided = providers.iter().flat_map(|provider| {
        let proxies = provider.proxies.iter().filter_map(Proxy::of);
        proxies.map(|proxy| Proxy {
            provider: Some(provider.name),
            ..proxy
        })
    });
    let proxies: Vec<Proxy<'n>> = own.chain(provided).collect();
    // Of all groups, for each of which all proxies may be held against expressions.
    let mut looked_at = 0;
    let mut groups = Vec::new();
    for node in root.items("proxy-groups") {
        let Some(keys) = Keys::of(node, notes) else {
            continue;
        };
        groups.extend(group(&keys, &proxies, &mut looked_at));
        keys.finish();
    }
    groups
}

/// Name and type of a proxy, and of the provider that has it.
struct Proxy<'n> {
    name: &'n str,
    kind: &'n str,
    provider: Option<&'n str>,
}

impl<'n> Proxy<'n> {
    fn of(node: &'n Node) -> Option<Self> {
        let text = |key: &str| node.get(key)?.as_text();
        Some(Self {
            name: text("name")?,
            kind: text("type").unwrap_or_default(),
            provider: None,
        })
    }
}

fn group<'n>(keys: &Keys<'n>, proxies: &[Proxy<'n>], looked_at: &mut usize) -> Option<Group<'n>> {
    let name = keys.required("name")?;
    let word = keys.text("type").unwrap_or_default();
    let kind = match &*word.trim().to_ascii_lowercase() {
        "select" => Kind::ByHand,
        "url-test" => {
            let tolerance = keys.number("tolerance").unwrap_or(0);
            Kind::Fastest(Duration::from_millis(tolerance))
        }
        "fallback" => Kind::FirstAlive,
        "load-balance" => load_balance(keys),
        "relay" => {
            let text = "chains are not built as groups, and mihomo has none any more: `dialer-proxy` of a proxy says what it goes through";
            keys.astray("type", text);
            return None;
        }
        other => {
            let text = format!(
                "groups of type `{}` are not built, expected `select`, `url-test`, `fallback` or `load-balance`",
                other.escape_debug()
            );
            keys.astray("type", text);
            return None;
        }
    };
    let mut members = members(keys, proxies, looked_at)?;
    if kind == Kind::ByHand
        && let Some(chosen) = keys.text("default-selected")
    {
        match members.contains(&chosen) {
            true => members.insert(0, chosen),
            false => keys.left_out(
                "default-selected",
                "it is none of the group, of which the first is chosen",
            ),
        }
    }
    let mut probe = probe(keys, Duration::from_secs(1), Duration::from_secs(300));
    if let Some(timeout) = keys.span("timeout", Duration::from_millis(1)) {
        probe.timeout = timeout;
    }
    if kind != Kind::ByHand {
        match keys.text("expected-status").map(str::parse) {
            Some(Ok(expected)) => probe.expected = expected,
            Some(Err(e)) => keys.left_out("expected-status", format!("{e}: any answer will do")),
            None => {}
        }
        let max = keys.number("max-failed-times").filter(|max| *max != 0);
        probe.max_failed = NonZeroU32::new(max.unwrap_or(MAX_FAILED));
    }
    let text = "it is not carried over: say it of the proxies";
    keys.no_way(&["interface-name", "routing-mark"], text);
    keys.no_word(&["disable-udp"], "UDP is carried as well");
    keys.silent(&[
        "lazy",
        "hidden",
        "icon",
        "tolerance",
        "expected-status",
        "max-failed-times",
        "strategy",
        "default-selected",
    ]);
    Some(Group {
        at: keys.at(),
        name,
        word,
        kind,
        members,
        probe,
    })
}

/// mihomo's own `max-failed-times`.
pub(super) const MAX_FAILED: u32 = 5;

/// Some keep a site's sessions at one proxy, for sites tie a login to an address. One that lives does so for all of them.
fn load_balance(keys: &Keys) -> Kind {
    let strategy = keys.word("strategy");
    match strategy.as_deref().unwrap_or("consistent-hashing") {
        "round-robin" => Kind::InTurn,
        word @ ("consistent-hashing" | "sticky-sessions") => {
            let text = format!(
                "`{word}` is not built: the first proxy that answers carries all of it, for a site that sees an address for each session ends logins"
            );
            keys.left_out("strategy", text);
            Kind::FirstAlive
        }
        other => {
            let text = format!(
                "`{}` is unknown, expected `round-robin`, `consistent-hashing` or `sticky-sessions`: the first proxy that answers carries all of it",
                other.escape_debug()
            );
            keys.left_out("strategy", text);
            Kind::FirstAlive
        }
    }
}

/// `proxies`, and those that `use`, `include-all` and the filters choose; `None` where these cannot be read. The first may be the
/// one that counts, so they are in mihomo's order: all proxies by their names, those of providers as these have them, by the
/// filters if there are several.
fn members<'n>(
    keys: &Keys<'n>,
    proxies: &[Proxy<'n>],
    looked_at: &mut usize,
) -> Option<Vec<&'n str>> {
    let named = keys.list("proxies").into_iter();
    let mut members: Vec<&str> = named.map(|(_, name)| name).collect();
    let (mut used, mut is_whole) = (Vec::new(), true);
    for (_, name) in keys.list("use") {
        match proxies.iter().any(|proxy| proxy.provider == Some(name)) {
            true => used.push(name),
            false => {
                let text = "there are no proxies of it, the others alone are members";
                keys.left_out("use", text);
                is_whole = false;
            }
        }
    }
    let all = keys.switch("include-all");
    let all_own = keys.switch("include-all-proxies") || all;
    if keys.switch("include-all-providers") || all {
        used = proxies.iter().filter_map(|proxy| proxy.provider).collect();
        used.sort_unstable();
        used.dedup();
    }
    let filter = Filters::read(keys, "filter")?;
    let excluded = Filters::read(keys, "exclude-filter")?;
    let kinds = keys.text("exclude-type").unwrap_or_default();
    let kinds: Vec<&str> = kinds.split('|').filter(|kind| !kind.is_empty()).collect();
    let chooses = !excluded.is_empty() || !kinds.is_empty();
    let takes = all_own || !used.is_empty();
    if takes || chooses {
        *looked_at += proxies.len() + members.len();
    }
    if *looked_at > MAX_MEMBERS {
        let text =
            format!("the groups look at more than {MAX_MEMBERS} proxies by now: it is left out");
        keys.notes().astray(keys.at(), text);
        return None;
    }
    if all_own {
        let own = proxies.iter().filter(|proxy| proxy.provider.is_none());
        let own = own.map(|proxy| proxy.name);
        let mut own: Vec<&str> = own.filter(|name| filter.choose(name)).collect();
        own.sort_unstable();
        members.extend(own);
    }
    let sources = used.len() + usize::from(!members.is_empty());
    for provider in used {
        let its = proxies
            .iter()
            .filter(|proxy| proxy.provider == Some(provider));
        let mut its: Vec<&str> = its.map(|proxy| proxy.name).collect();
        its.retain(|name| filter.choose(name));
        filter.sort(&mut its);
        members.extend(its);
    }
    if sources > 1 {
        filter.sort(&mut members);
    }
    if chooses {
        let is_out = |name: &str| {
            let of_kind = |proxy: &Proxy| {
                proxy.name == name && kinds.iter().any(|kind| is_kind(kind, proxy.kind))
            };
            excluded.take(name) || !kinds.is_empty() && proxies.iter().any(of_kind)
        };
        members.retain(|name| !is_out(name));
    }
    // mihomo does not start with a group for which nothing is said.
    is_whole &= all_own || keys.switch("include-all-providers") || keys.get("use").is_some();
    let otherwise = keys.text("empty-fallback");
    // Whoever is missing would have been one: the group does not go straight there for that.
    if members.is_empty() && (is_whole || otherwise.is_some()) {
        let otherwise = otherwise.unwrap_or("COMPATIBLE");
        let text = format!("no proxy is a member: it is `{}`", otherwise.escape_debug());
        keys.notes().left_out(keys.at(), text);
        members.push(otherwise);
    }
    Some(members)
}

/// The names of groups that leave all to the next rule: their first choice is `PASS`, or another one of these.
pub(super) fn passing<'n>(groups: &[Group<'n>]) -> HashSet<&'n str> {
    let mut passing = HashSet::from(["PASS"]);
    loop {
        let passes = |group: &&Group<'n>| {
            let first = group.members.first();
            group.kind == Kind::ByHand && first.is_some_and(|first| passing.contains(first))
        };
        let more: Vec<&str> = groups.iter().filter(passes).map(|one| one.name).collect();
        let before = passing.len();
        passing.extend(more);
        if passing.len() == before {
            return passing;
        }
    }
}

/// Names are short, so there is little to go back over.
fn looking(expression: &str) -> Option<fancy_regex::Regex> {
    let mut builder = fancy_regex::RegexBuilder::new(&of_english(expression));
    builder.backtrack_limit(MOST_STEPS).build().ok()
}

/// The same, where words are made of English letters: other tables are not built in.
fn of_english(expression: &str) -> String {
    const EDGE: &str = "(?:(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])|(?<![0-9A-Za-z_])(?=[0-9A-Za-z_]))";
    const NO_EDGE: &str = "(?:(?<=[0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<![0-9A-Za-z_])(?![0-9A-Za-z_]))";
    let mut made = String::with_capacity(expression.len());
    let (mut chars, mut in_class) = (expression.chars(), false);
    while let Some(c) = chars.next() {
        in_class = (in_class || c == '[') && c != ']';
        if c != '\\' {
            made.push(c);
            continue;
        }
        match (chars.next(), in_class) {
            (Some('w'), true) => made.push_str("0-9A-Za-z_"),
            (Some('s'), true) => made.push_str(" \\t\\n\\r"),
            (Some('w'), false) => made.push_str("[0-9A-Za-z_]"),
            (Some('W'), false) => made.push_str("[^0-9A-Za-z_]"),
            (Some('s'), false) => made.push_str("[ \\t\\n\\r]"),
            (Some('S'), false) => made.push_str("[^ \\t\\n\\r]"),
            (Some('b'), false) => made.push_str(EDGE),
            (Some('B'), false) => made.push_str(NO_EDGE),
            (Some(other), _) => made.extend(['\\', other]),
            (None, _) => made.push('\\'),
        }
    }
    made
}

/// Who takes more of them is no filter that anybody means.
const MOST_STEPS: usize = 10_000;

/// `exclude-type` has mihomo's names of protocols, whatever their case.
fn is_kind(word: &str, kind: &str) -> bool {
    let long = match &*kind.to_ascii_lowercase() {
        "ss" => "shadowsocks",
        "ssr" => "shadowsocksr",
        _ => kind,
    };
    word.trim().eq_ignore_ascii_case(long)
}

/// Expressions with backticks between them, of which one has to match.
pub(super) struct Filters(Vec<Filter>);

/// Without regard to the case of other letters than English ones, where case does not matter.
enum Filter {
    Text(Regex),
    Bytes(bytes::Regex),
    /// One that looks ahead or behind.
    Looking(fancy_regex::Regex),
}

impl Filters {
    pub(super) fn read(keys: &Keys, key: &'static str) -> Option<Self> {
        let text = keys.text(key).unwrap_or_default();
        let mut all = Vec::new();
        for one in text.split('`').filter(|one| !one.is_empty()) {
            // Tables of all letters are not built in.
            let filter = Regex::new(one).map(Filter::Text).or_else(|e| {
                let bytes = RegexBuilder::new(one).unicode(false).build();
                let bytes = bytes.map(Filter::Bytes).map_err(|_| e);
                bytes.or_else(|e| looking(one).map(Filter::Looking).ok_or(e))
            });
            let Ok(filter) = filter else {
                let text = format!(
                    "the expression `{}` cannot be read here: this is left out",
                    one.escape_debug()
                );
                keys.astray(key, text);
                return None;
            };
            all.push(filter);
        }
        Some(Self(all))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&self, name: &str) -> bool {
        self.first(name) < self.0.len()
    }

    /// As [`Self::take`], where no filter is there to say otherwise.
    fn choose(&self, name: &str) -> bool {
        self.is_empty() || self.take(name)
    }

    /// Those in front whom the first one takes.
    fn sort(&self, names: &mut [&str]) {
        if self.0.len() > 1 {
            names.sort_by_cached_key(|name| self.first(name));
        }
    }

    /// Which of them is the first to take it, if any.
    pub(super) fn first(&self, name: &str) -> usize {
        let found = self.0.iter().position(|filter| match filter {
            Filter::Text(regex) => regex.is_match(name),
            Filter::Bytes(regex) => regex.is_match(name.as_bytes()),
            Filter::Looking(regex) => regex.is_match(name).unwrap_or(false),
        });
        found.unwrap_or(self.0.len())
    }
}
