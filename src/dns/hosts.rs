//! `dns.hosts`: names whose addresses the config itself gives, or that stand for other names.
//!
//! As in V2Ray all patterns that match count, the closest first; a single name is followed, five times
//! at most, and then asked for in place of the first one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::Families;
use crate::matching::{Domains, MatchRank, Name, Pattern, PatternError};

/// How often a name may stand for another one.
const MAX_DEPTH: usize = 5;

#[derive(Default)]
pub(super) struct Hosts {
    full: HashMap<String, Vec<Value>>,
    /// By the name that matching names are at or below.
    domains: HashMap<String, Vec<Value>>,
    /// Keywords, expressions, whole categories.
    sets: Vec<(Domains, Vec<Value>)>,
}

/// What a pattern stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Ip(IpAddr),
    Name(String),
}

/// What the table says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// None of the families that were asked for, perhaps.
    Ips(Vec<IpAddr>),
    /// Ask for this name.
    Alias(String),
}

impl Hosts {
    /// Adds what one key of `hosts` says; an error is about a regular expression.
    pub(super) fn add(
        &mut self,
        patterns: Vec<Pattern>,
        values: &[Value],
    ) -> Result<(), PatternError> {
        let (table, name) = match &patterns[..] {
            [Pattern::Full(name)] => (&mut self.full, name),
            [Pattern::Domain(name)] => (&mut self.domains, name),
            _ => {
                self.sets
                    .push((Domains::ranked(patterns)?, values.to_vec()));
                return Ok(());
            }
        };
        let entry = table.entry(name.to_ascii_lowercase()).or_default();
        entry.extend_from_slice(values);
        Ok(())
    }

    /// `name` is in lower case, without a dot at its end.
    pub(super) fn find(&self, name: &str, families: Families) -> Option<Found> {
        let mut alias = None;
        for _ in 0..=MAX_DEPTH {
            let name = alias.as_deref().unwrap_or(name);
            match &self.values(name)[..] {
                [] => break,
                [Value::Name(other)] => alias = Some(other.to_ascii_lowercase()),
                values => {
                    let mut ips: Vec<IpAddr> = Vec::new();
                    for value in values {
                        match value {
                            Value::Ip(ip) if families.allow(*ip) && !ips.contains(ip) => {
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

    fn values(&self, name: &str) -> Vec<Value> {
        let mut found: Vec<(MatchRank, &[Value])> = Vec::new();
        if let Some(values) = self.full.get(name) {
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
        let mut hosts = Hosts::default();
        for (pattern, values) in entries {
            let value = |text: &&str| match text.parse() {
                Ok(ip) => Value::Ip(ip),
                Err(_) => Value::Name((*text).to_owned()),
            };
            let values: Vec<Value> = values.iter().map(value).collect();
            hosts.add(vec![pattern.clone()], &values).unwrap();
        }
        hosts
    }

    fn ips(texts: &[&str]) -> Option<Found> {
        Some(Found::Ips(
            texts.iter().map(|t| t.parse().unwrap()).collect(),
        ))
    }
}
