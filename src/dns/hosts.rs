//! `dns.hosts`: names whose addresses the config itself gives, and aliases of other names.
//!
//! As in V2Ray all patterns that match count, the closest first; a single name is followed, five times
//! at most, and then asked for in place of the first one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::system_hosts::{HOSTS_FILE, SystemHosts};
use super::{Families, HostEntry, HostNames, HostValue};
use crate::matching::{Domains, MatchRank, Name};

/// How often a name may stand for another one.
const MAX_DEPTH: usize = 5;

#[derive(Default)]
pub(super) struct Hosts {
    full: HashMap<String, Vec<HostValue>>,
    /// By the name that matching names are at or below.
    domains: HashMap<String, Vec<HostValue>>,
    /// Keywords, expressions, whole categories.
    sets: Vec<(Domains, Vec<HostValue>)>,
    /// Those of the system's hosts file, where they count.
    system: Option<SystemHosts>,
}

/// What the table says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Perhaps none, when all are of another family than was asked for.
    Ips(Vec<IpAddr>),
    /// Ask for this name.
    Alias(String),
    /// There is no address, and this is why.
    Code(u16),
}

impl Hosts {
    pub(super) fn new(entries: Vec<HostEntry>) -> Self {
        let mut hosts = Self::default();
        for HostEntry { names, values } in entries {
            let (table, name) = match names {
                HostNames::Full(name) => (&mut hosts.full, name),
                HostNames::Domain(name) => (&mut hosts.domains, name),
                HostNames::Set(names) => {
                    hosts.sets.push((names, values));
                    continue;
                }
            };
            let entry = table.entry(name.to_ascii_lowercase()).or_default();
            entry.extend(values);
        }
        hosts
    }

    /// With the names of the system's hosts file.
    pub(super) fn with_system(self, is_on: bool) -> Self {
        let system = is_on.then(|| SystemHosts::new(HOSTS_FILE));
        Self { system, ..self }
    }

    /// `name` is in lower case, without a dot at its end.
    pub(super) fn find(&self, name: &str, families: Families) -> Option<Found> {
        let mut alias = None;
        for _ in 0..=MAX_DEPTH {
            let name = alias.as_deref().unwrap_or(name);
            match &self.values(name)[..] {
                [] => break,
                [HostValue::Code(code), ..] => return Some(Found::Code(*code)),
                [HostValue::Name(other)] => alias = Some(other.to_ascii_lowercase()),
                values => {
                    let mut ips: Vec<IpAddr> = Vec::new();
                    for value in values {
                        match value {
                            HostValue::Ip(ip) if families.allow(*ip) && !ips.contains(ip) => {
                                ips.push(*ip);
                            }
                            _ => {}
                        }
                    }
                    return Some(Found::Ips(ips));
                }
            }
        }
        alias.map(Found::Alias)
    }

    fn values(&self, name: &str) -> Vec<HostValue> {
        let mut found: Vec<(MatchRank, &[HostValue])> = Vec::new();
        if let Some(values) = self.full.get(name) {
            found.push((MatchRank::Full, values));
        }
        let of_system = self.system.as_ref().map(|system| system.values(name));
        if let Some(values) = &of_system {
            found.push((MatchRank::Full, values));
        }
        let mut above = Some(name);
        while let Some(name) = above.filter(|_| !self.domains.is_empty()) {
            if let Some(values) = self.domains.get(name) {
                found.push((MatchRank::Domain(Reverse(name.len())), values));
            }
            above = name.split_once('.').map(|(_, above)| above);
        }
        let name = Name::new(name);
        for (patterns, values) in &self.sets {
            if let Some(fit) = patterns.fit(&name) {
                found.push((fit, values));
            }
        }
        found.sort_by_key(|(fit, _)| *fit);
        found.into_iter().flat_map(|(_, v)| v).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::Pattern;

    #[test]
    fn all_patterns_that_match_count_the_closest_first() {
        // V2Ray 4.45 answers the same to the same config.
        let hosts = table(&[
            (Pattern::Keyword("q.b".into()), &["3.3.3.3"]),
            (Pattern::Domain("b.com".into()), &["2.2.2.2"]),
            (Pattern::Full("Q.b.com".into()), &["1.1.1.1", "::1"]),
        ]);
        assert_eq!(
            hosts.find("q.b.com", Families::BOTH),
            ips(&["1.1.1.1", "::1", "2.2.2.2", "3.3.3.3"])
        );
        assert_eq!(hosts.find("q.b.com", Families::V6), ips(&["::1"]));
        assert_eq!(hosts.find("b.com", Families::V6), ips(&[]));
        assert_eq!(hosts.find("com", Families::BOTH), None);
    }

    #[test]
    fn a_name_that_stands_for_another_is_followed() {
        let full = |name: &str| Pattern::Full(name.into());
        let hosts = table(&[
            (full("plain.com"), &["1.1.1.1"]),
            (full("one.com"), &["two.com"]),
            (full("two.com"), &["PLAIN.com"]),
            (full("out.com"), &["real.com"]),
            (full("round.com"), &["about.com"]),
            (full("about.com"), &["round.com"]),
            (full("mixed.com"), &["real.com", "2.2.2.2"]),
        ]);
        let find = |name| hosts.find(name, Families::BOTH);
        assert_eq!(find("one.com"), ips(&["1.1.1.1"]));
        assert_eq!(find("out.com"), Some(Found::Alias("real.com".into())));
        assert_eq!(find("round.com"), Some(Found::Alias("round.com".into())));
        assert_eq!(find("mixed.com"), ips(&["2.2.2.2"]));
    }

    fn table(entries: &[(Pattern, &[&str])]) -> Hosts {
        let entry = |(pattern, values): &(Pattern, &[&str])| {
            let value = |text: &&str| match text.parse() {
                Ok(ip) => HostValue::Ip(ip),
                Err(_) => HostValue::Name((*text).to_owned()),
            };
            HostEntry {
                names: HostNames::new(vec![pattern.clone()]).unwrap(),
                values: values.iter().map(value).collect(),
            }
        };
        Hosts::new(entries.iter().map(entry).collect())
    }

    fn ips(texts: &[&str]) -> Option<Found> {
        Some(Found::Ips(
            texts.iter().map(|t| t.parse().unwrap()).collect(),
        ))
    }
}
