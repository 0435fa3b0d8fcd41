//! What a rule asks for: `DOMAIN,a.test`; several of these, by `AND`, `OR` and `NOT`; or a list of them.

use std::fmt;

use super::sets::Sets;
use crate::dialect::clients::logic::{Any, NoWord};
use crate::dialect::clients::rules::Asks;

/// What holds for the sessions of a rule.
pub(super) struct Condition {
    pub any: Any,
    /// Names are resolved for it.
    pub resolves: bool,
}

/// Why there is no such condition here.
pub(super) enum Lost {
    Kind(String),
    Logic(&'static str, NoWord),
    Wrong(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "of kind `{}`", kind.escape_debug()),
            Self::Logic(kind, why) => write!(f, "of kind `{kind}` with {why}"),
            Self::Wrong(text) => f.write_str(text),
        }
    }
}

/// How deep conditions may stand in others.
const MAX_DEPTH: usize = 16;

/// Kinds that may have commas in what they ask for, and are followed by nothing but the policy.
const WITH_COMMAS: [&str; 5] = ["AND", "OR", "NOT", "SUB-RULE", "DOMAIN-REGEX"];

/// A rule that was parted at its commas: what is asked for, the policy, and what is said behind it.
pub(super) fn parted<'w, 't>(
    kind: &str,
    words: &'w [&'t str],
) -> Option<(&'w [&'t str], &'t str, &'w [&'t str])> {
    let has_commas = WITH_COMMAS.contains(&kind);
    match words {
        [_, asked @ .., policy] if has_commas && !asked.is_empty() => Some((asked, policy, &[])),
        [_, _, policy, flags @ ..] if !has_commas => Some((&words[1..2], policy, flags)),
        _ => None,
    }
}

/// Reads what is asked for, which was parted at its commas.
pub(super) fn read(
    kind: &str,
    asked: &[&str],
    flags: &[&str],
    sets: &Sets,
    depth: usize,
) -> Result<Condition, Lost> {
    let value = asked.join(",");
    let never_resolves = flags.contains(&"no-resolve");
    match kind {
        "AND" | "OR" | "NOT" if depth < MAX_DEPTH => {
            let inside = parts(&value).ok_or_else(|| Lost::Kind(kind.to_owned()))?;
            let inside = inside.into_iter();
            let all: Result<_, _> = inside.map(|one| inner(one, sets, depth + 1)).collect();
            match kind {
                "AND" => all_of(all?),
                "OR" => Ok(any_of(all?)),
                _ => none_of(all?),
            }
        }
        "RULE-SET" => {
            let mut condition = sets.read(&value, flags, depth)?;
            condition.resolves &= !never_resolves;
            Ok(condition)
        }
        _ => match asks(kind, &value, flags) {
            Some(Ok((asks, is_about_addresses))) => Ok(Condition {
                any: Any::of(asks),
                resolves: is_about_addresses && !never_resolves,
            }),
            Some(Err(text)) => Err(Lost::Wrong(text)),
            None => Err(Lost::Kind(kind.to_owned())),
        },
    }
}

/// `KIND,value`, and what is said behind it.
pub(super) fn inner(text: &str, sets: &Sets, depth: usize) -> Result<Condition, Lost> {
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    let kind = words[0].to_ascii_uppercase();
    let (asked, flags) = match &words[1..] {
        [] => return Err(Lost::Kind(kind)),
        all if WITH_COMMAS.contains(&&*kind) => (all, &[][..]),
        all => all.split_at(1),
    };
    read(&kind, asked, flags, sets, depth)
}

/// The parts of `((A,a),(B,b))`.
fn parts(text: &str) -> Option<Vec<&str>> {
    let inside = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (mut all, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (n, c) in inside.char_indices() {
        match c {
            '(' => {
                depth += 1;
                if depth == 1 {
                    from = n + 1;
                }
            }
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    all.push(&inside[from..n]);
                }
            }
            ',' | ' ' => {}
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    (depth == 0 && !all.is_empty()).then_some(all)
}

/// All of them hold.
fn all_of(all: Vec<Condition>) -> Result<Condition, Lost> {
    let mut together = Condition {
        any: Any::of(Asks::default()),
        resolves: false,
    };
    for one in all {
        let both = together.any.and(&one.any);
        together.any = both.map_err(|why| Lost::Logic("AND", why))?;
        together.resolves |= one.resolves;
    }
    Ok(together)
}

/// Any of them holds.
pub(super) fn any_of(all: Vec<Condition>) -> Condition {
    Condition {
        resolves: all.iter().any(|one| one.resolves),
        any: all
            .into_iter()
            .fold(Any::default(), |any, one| any.or(one.any)),
    }
}

/// mihomo has one in it.
fn none_of(all: Vec<Condition>) -> Result<Condition, Lost> {
    let Condition { any, resolves } = any_of(all);
    let any = any.not().map_err(|why| Lost::Logic("NOT", why))?;
    Ok(Condition { any, resolves })
}

/// What one asks for that has no others in it, and whether that is the address of its destination. `None` of a kind that is not
/// built.
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
        // A star stands for any text there, dots included; a `?` may stand for nothing.
        "DOMAIN-WILDCARD" if !value.contains('?') => {
            let parts: Vec<String> = value.split('*').map(regex::escape).collect();
            asks.add("domain", format!("regexp:^{}$", parts.join(".*")));
        }
        "IN-NAME" => value
            .split('/')
            .for_each(|name| asks.add("inboundTag", name)),
        "IN-PORT" => asks.add_ports("localPort", &value.replace('/', ",")),
        "PROCESS-NAME" | "PROCESS-PATH" => asks.add("process", value),
        "IN-USER" => value.split('/').for_each(|user| asks.add("user", user)),
        _ => return None,
    }
    Some(Ok((asks, is_about_addresses)))
}
