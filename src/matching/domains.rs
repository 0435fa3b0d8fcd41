//! A set of patterns for domain names.
//!
//! Whole names and names with all below them, which geosite lists by the thousand, are two sorted
//! tables of compact text, searched once each, however many there are. Keywords are one automaton,
//! regular expressions one set. Letters are compared without regard to case.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use regex::bytes::RegexSet;

use super::names::{Names, is_at_or_below, key};
use super::patterns::regex_set;
use super::{Pattern, PatternError};

/// Patterns, ready to be matched. A copy shares its tables, and two are equal when they hold the same.
#[derive(Clone)]
pub struct Domains(Arc<Tables>);

#[derive(PartialEq)]
struct Tables {
    above: Names,
    /// Names below others of `above`. They are kept only for [`Domains::fit`].
    below: Names,
    full: Names,
    keywords: Keywords,
    regexes: Regexes,
}

/// How closely a pattern fits a name. V2Ray's DNS takes the closest first; it is the least in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchRank {
    Full,
    /// With the length of the pattern.
    Domain(Reverse<usize>),
    /// By a keyword or a regular expression.
    Other,
}

/// A name as the tables want it, made once for all rules.
pub struct Name {
    lower: Vec<u8>,
    key: Vec<u8>,
}

/// Names of sessions have no dot at their end.
fn whole(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

impl Domains {
    /// # Errors
    ///
    /// When a regular expression is not one, or is too large.
    pub fn new(patterns: impl IntoIterator<Item = Pattern>) -> Result<Self, PatternError> {
        Self::build(patterns, false)
    }

    /// As [`Domains::new`], but [`Domains::fit`] finds the closest pattern.
    ///
    /// # Errors
    ///
    /// As those of [`Domains::new`].
    pub fn ranked(patterns: impl IntoIterator<Item = Pattern>) -> Result<Self, PatternError> {
        Self::build(patterns, true)
    }

    fn build(
        patterns: impl IntoIterator<Item = Pattern>,
        keeps_below: bool,
    ) -> Result<Self, PatternError> {
        let (mut above, mut full) = (Vec::new(), Vec::new());
        let (mut keywords, mut regexes) = (Vec::new(), Vec::new());
        for pattern in patterns {
            match pattern {
                // What is below it, and not the name itself, as in Xray.
                Pattern::Domain(name) if name.starts_with('.') => {
                    regexes.push(format!("{}$", regex::escape(whole(&name))));
                }
                Pattern::Domain(name) => above.push(key(whole(&name).as_bytes())),
                Pattern::Full(name) => full.push(key(whole(&name).as_bytes())),
                Pattern::Keyword(text) => keywords.push(text.to_ascii_lowercase()),
                Pattern::Regex(text) => regexes.push(text),
            }
        }
        above.sort_unstable();
        // When no name is below another one, only the entry before the position of a name can be above it.
        let mut below = Vec::new();
        above.dedup_by(|later, earlier| {
            let drop = is_at_or_below(later, earlier);
            if drop && keeps_below && later != earlier {
                below.push(std::mem::take(later));
            }
            drop
        });
        full.sort_unstable();
        full.dedup();
        Ok(Self(Arc::new(Tables {
            above: Names::new(&above),
            below: Names::new(&below),
            full: Names::new(&full),
            keywords: Keywords::new(keywords)?,
            regexes: Regexes::new(&regexes)?,
        })))
    }

    pub fn contains(&self, name: &Name) -> bool {
        let Tables {
            above,
            full,
            keywords,
            regexes,
            ..
        } = &*self.0;
        let above = above.at_or_before(&name.key);
        above.is_some_and(|above| is_at_or_below(&name.key, above))
            || full.at_or_before(&name.key) == Some(&name.key)
            || keywords
                .0
                .as_ref()
                .is_some_and(|(_, all)| all.is_match(&name.lower))
            || regexes
                .0
                .as_ref()
                .is_some_and(|all| all.is_match(&name.lower))
    }

    /// How closely the closest pattern fits; `None` when none does.
    pub fn fit(&self, name: &Name) -> Option<MatchRank> {
        if self.0.full.at_or_before(&name.key) == Some(&name.key) {
            return Some(MatchRank::Full);
        }
        // Each name above this one, the closest first.
        let mut above = Some(&name.key[..]);
        while let Some(key) = above.filter(|_| !self.0.below.is_empty()) {
            if self.0.below.at_or_before(key) == Some(key) {
                return Some(MatchRank::Domain(Reverse(key.len())));
            }
            let dot = key.iter().rposition(|b| *b == 0);
            above = dot.map(|dot| &key[..dot]);
        }
        let above = self.0.above.at_or_before(&name.key);
        if let Some(above) = above.filter(|above| is_at_or_below(&name.key, above)) {
            return Some(MatchRank::Domain(Reverse(above.len())));
        }
        self.contains(name).then_some(MatchRank::Other)
    }
}

impl PartialEq for Domains {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl fmt::Debug for Domains {
    /// How much there is; the names may be a hundred thousand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tables {
            above,
            below,
            full,
            keywords,
            regexes,
        } = &*self.0;
        f.debug_struct("Domains")
            .field("names", &(above.len() + below.len() + full.len()))
            .field(
                "keywords",
                &keywords.0.as_ref().map_or(0, |(texts, _)| texts.len()),
            )
            .field("regexes", &regexes.0.as_ref().map_or(0, RegexSet::len))
            .finish()
    }
}

impl Name {
    /// A trailing dot, which marks an absolute name, is left out.
    pub fn new(name: &str) -> Self {
        let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        Self {
            key: key(lower.as_bytes()),
            lower: lower.into_bytes(),
        }
    }
}

/// Texts, in lower case and in order, and the automaton that looks for all of them.
struct Keywords(Option<(Box<[String]>, AhoCorasick)>);

impl Keywords {
    fn new(mut texts: Vec<String>) -> Result<Self, PatternError> {
        if texts.is_empty() {
            return Ok(Self(None));
        }
        texts.sort_unstable();
        texts.dedup();
        let all = AhoCorasick::new(&texts).map_err(|e| PatternError(e.to_string()))?;
        Ok(Self(Some((texts.into(), all))))
    }
}

impl PartialEq for Keywords {
    fn eq(&self, other: &Self) -> bool {
        let [a, b] = [self, other].map(|Self(all)| all.as_ref().map(|(texts, _)| texts));
        a == b
    }
}

struct Regexes(Option<RegexSet>);

impl Regexes {
    fn new(texts: &[String]) -> Result<Self, PatternError> {
        let all = (!texts.is_empty()).then(|| regex_set(texts));
        all.transpose().map(Self)
    }
}

impl PartialEq for Regexes {
    fn eq(&self, other: &Self) -> bool {
        let [a, b] = [self, other].map(|Self(all)| all.as_ref().map(RegexSet::patterns));
        a == b
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn every_kind_of_pattern_matches_what_v2ray_says_it_does() {
        let cases: &[(Pattern, &[&str], &[&str])] = &[
            (
                Pattern::Domain("Example.com".into()),
                &["example.com", "a.b.EXAMPLE.com", "example.com."],
                &["badexample.com", "example.com.cn", "com", "xample.com"],
            ),
            (
                Pattern::Domain(".cn".into()),
                &["x.cn", "a.x.CN"],
                &["cn", "xcn", "x.cn.com"],
            ),
            (
                Pattern::Domain("a.com.".into()),
                &["a.com", "x.a.com"],
                &["com"],
            ),
            (Pattern::Full("a.com.".into()), &["a.com"], &["x.a.com"]),
            (
                Pattern::Full("v2ray.com".into()),
                &["v2ray.com", "V2Ray.COM"],
                &["www.v2ray.com", "v2ray.co"],
            ),
            (
                Pattern::Keyword("Goo".into()),
                &["google.com", "a.GOO"],
                &["go.ogle.com"],
            ),
            (
                Pattern::Regex(r"^[a-z]+\d{2}\.example\.com$".into()),
                &["ab12.example.com", "AB12.example.com"],
                &["ab1.example.com", "ab12.example.comx"],
            ),
        ];
        for (pattern, yes, no) in cases {
            let set = Domains::new([pattern.clone()]).unwrap();
            for name in *yes {
                assert!(set.contains(&Name::new(name)), "{pattern:?} {name}");
            }
            for name in *no {
                assert!(!set.contains(&Name::new(name)), "{pattern:?} {name}");
            }
        }
    }

    #[test]
    fn names_that_stand_side_by_side_do_not_hide_each_other() {
        // `-` sorts before `.`: plain order would put `a-b.com` between `b.com` and `x.b.com`.
        let names = ["b.com", "a-b.com", "x.b.com", "xb.com", "b.co", "0b.com"];
        let set = Domains::new(names.map(|n| Pattern::Domain(n.into()))).unwrap();
        for name in names {
            assert!(set.contains(&Name::new(name)), "{name}");
            assert!(set.contains(&Name::new(&format!("y.{name}"))), "y.{name}");
        }
        assert!(!set.contains(&Name::new("yb.com")));
        assert!(!set.contains(&Name::new("ya-b.com")));
        assert!(set.contains(&Name::new("x.y.b.com")));
        assert!(!set.contains(&Name::new("com")));
        assert!(!set.contains(&Name::new("")));
    }

    #[test]
    fn the_closest_pattern_counts() {
        let domain = |name: &str| Pattern::Domain(name.into());
        let patterns = [
            domain("com"),
            domain("b.com"),
            domain("c.b.com"),
            Pattern::Full("a.b.com".into()),
            Pattern::Keyword("x".into()),
        ];
        let set = Domains::ranked(patterns).unwrap();
        let fit = |name| set.fit(&Name::new(name));
        assert_eq!(fit("a.b.com"), Some(MatchRank::Full));
        assert_eq!(fit("x.c.b.com"), Some(MatchRank::Domain(Reverse(7))));
        assert_eq!(fit("y.b.com"), Some(MatchRank::Domain(Reverse(5))));
        assert_eq!(fit("yb.com"), Some(MatchRank::Domain(Reverse(3))));
        assert_eq!(fit("x.org"), Some(MatchRank::Other));
        assert_eq!(fit("y.org"), None);
        assert!(MatchRank::Full < fit("x.c.b.com").unwrap() && fit("x.c.b.com") < fit("y.b.com"));
        assert!(fit("yb.com") < fit("x.org"));
    }

    #[test]
    fn the_tables_agree_with_a_plain_search() {
        // A small alphabet, so that names meet often.
        let name = |mut n: u32| -> String {
            let mut text = String::new();
            while n > 0 {
                text.push(char::from(b"ab.-"[n as usize % 4]));
                n /= 4;
            }
            text
        };
        let names = (0..400).map(|i| name(i * 37 % 4096));
        // Dots at their ends have a meaning of their own.
        let names: Vec<String> = names
            .filter(|n| !n.starts_with('.') && !n.ends_with('.'))
            .collect();
        let set = Domains::new(names.iter().map(|n| Pattern::Domain(n.clone()))).unwrap();
        for text in (0..4096).map(name).filter(|n| !n.ends_with('.')) {
            let expected = names
                .iter()
                .any(|n| text == *n || text.ends_with(&format!(".{n}")));
            assert_eq!(set.contains(&Name::new(&text)), expected, "{text}");
        }
    }

    #[test]
    fn sets_of_the_same_patterns_are_equal() {
        let patterns = || {
            [
                Pattern::Domain("a.com".into()),
                Pattern::Full("b.com".into()),
                Pattern::Keyword("c".into()),
                Pattern::Regex("d$".into()),
            ]
        };
        let whole = Domains::new(patterns()).unwrap();
        let mut backwards = patterns();
        backwards.reverse();
        assert_eq!(whole, Domains::new(backwards).unwrap());
        for left_out in 0..4 {
            let mut some = patterns().to_vec();
            some.remove(left_out);
            assert_ne!(whole, Domains::new(some).unwrap());
        }
        assert_eq!(
            format!("{whole:?}"),
            "Domains { names: 2, keywords: 1, regexes: 1 }"
        );
    }

    #[test]
    fn a_name_is_not_compared_with_every_one_of_a_hundred_thousand() {
        let name = |i: u32| format!("{:x}.example.com", i.wrapping_mul(2_654_435_761));
        let time = |count: u32| {
            let patterns = (0..count).map(|i| match i % 5 {
                0 => Pattern::Full(name(i)),
                _ => Pattern::Domain(name(i)),
            });
            let domains = Domains::new(patterns).unwrap();
            let names: Vec<Name> = (0..1000)
                .map(|i| Name::new(&format!("www.{}", name(i))))
                .collect();
            // The machine may have other work at any one time.
            let times = (0..5).map(|_| {
                let began = Instant::now();
                let found = names.iter().filter(|name| domains.contains(name)).count();
                assert_eq!(found, 800);
                began.elapsed()
            });
            times.min().unwrap_or_default()
        };
        let (few, many) = (time(1000), time(100_000));
        assert!(
            many < few * 20,
            "{few:?} in a thousand, {many:?} in a hundred thousand"
        );
    }
}
