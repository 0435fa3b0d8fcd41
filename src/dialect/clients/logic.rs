//! Conditions that are put together from others, by `and`, `or` and `not`, in the words of V2Ray's rules.
//!
//! A rule of V2Ray holds if all its keys do, and there is no `or` but several rules to one outbound. So a condition is a list of
//! rules here, of which any may hold.

use std::fmt;

use serde_json::{Value, json};

use super::rules::Asks;

/// Holds if any of them does: never, if there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::dialect) struct Any(Vec<Asks>);

/// Why a condition cannot be put together.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dialect) enum NoWord {
    /// Two lists of this key would have to hold at once.
    Twice(String),
    /// This key would have to hold nowhere in its list.
    Denied(String),
    TooLong,
}

/// How many rules one may come to, and how many entries these may have together: it may come from a stranger.
const MAX_RULES: usize = 256;
const MAX_ENTRIES: usize = 1_000_000;

/// What a session is carried by, and nothing else is.
const NETWORKS: [&str; 2] = ["tcp", "udp"];

impl Any {
    pub(in crate::dialect) fn of(asks: Asks) -> Self {
        Self(vec![asks])
    }

    /// One rule for each; what asks for nothing takes every session.
    pub(in crate::dialect) fn into_rules(self) -> impl Iterator<Item = Asks> {
        self.0.into_iter().map(|asks| match asks.is_empty() {
            true => Asks::everything(),
            false => asks,
        })
    }

    /// Whether it holds whatever there is.
    pub(in crate::dialect) fn takes_everything(&self) -> bool {
        self.0.iter().any(Asks::is_empty)
    }

    /// Whether any of it is about names.
    pub(in crate::dialect) fn asks_for_names(&self) -> bool {
        self.0.iter().any(|asks| asks.get("domain").is_some())
    }

    /// How many entries there are in all lists.
    pub(in crate::dialect) fn entries(&self) -> usize {
        self.0.iter().map(entries).sum()
    }

    /// Either holds. Lists of one kind become one.
    pub(in crate::dialect) fn or(mut self, other: Self) -> Self {
        for asks in other.0 {
            // Long lists come by kinds, so those are near.
            let mut near = self.0.iter_mut().rev().take(8);
            let known = near.find_map(|known| known.join(&asks));
            if known.is_none() {
                self.0.push(asks);
            }
        }
        self
    }

    /// Both hold.
    ///
    /// # Errors
    ///
    /// When a key would have to hold twice, or there would be too many rules.
    pub(in crate::dialect) fn and(&self, other: &Self) -> Result<Self, NoWord> {
        let mut all = Self::default();
        let mut size = 0;
        for one in &self.0 {
            for two in &other.0 {
                if let Some(asks) = both(one, two)? {
                    size += entries(&asks);
                    all = all.or(Self::of(asks));
                }
                if all.0.len() > MAX_RULES || size > MAX_ENTRIES {
                    return Err(NoWord::TooLong);
                }
            }
        }
        Ok(all)
    }

    /// It does not hold.
    ///
    /// # Errors
    ///
    /// When one of its keys cannot be denied.
    pub(in crate::dialect) fn not(&self) -> Result<Self, NoWord> {
        let mut all = Self::of(Asks::default());
        for asks in &self.0 {
            let mut denied = Self::default();
            for (key, value) in asks.entries() {
                denied = denied.or(deny(key, value)?);
            }
            all = all.and(&denied)?;
        }
        Ok(all)
    }
}

impl fmt::Display for NoWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(key) => write!(f, "two lists of `{key}` that both have to hold"),
            Self::Denied(key) => write!(f, "a `{key}` that must not hold"),
            Self::TooLong => f.write_str("so many conditions"),
        }
    }
}

fn entries(asks: &Asks) -> usize {
    let of = |(_, value): (&str, &Value)| value.as_array().map_or(1, Vec::len);
    asks.entries().map(of).sum()
}

/// What asks for all that both ask for; `None` where that is nothing.
fn both(one: &Asks, two: &Asks) -> Result<Option<Asks>, NoWord> {
    let mut all = one.clone();
    for (key, value) in two.entries() {
        let common = match one.get(key) {
            None => value.clone(),
            Some(known) if known == value => continue,
            Some(known) => match common(key, known, value) {
                Some(common) => common,
                None => return Err(NoWord::Twice(key.to_owned())),
            },
        };
        match &common {
            Value::Array(list) if list.is_empty() => return Ok(None),
            Value::String(ports) if ports.is_empty() => return Ok(None),
            _ => all.set(key, common),
        }
    }
    Ok(Some(all))
}

/// What is in both lists, of keys whose entries have nothing in common but what is spelled alike.
fn common(key: &str, one: &Value, two: &Value) -> Option<Value> {
    let texts = |value: &Value| {
        let list = value.as_array().cloned().unwrap_or_default();
        let texts = list.iter().filter_map(Value::as_str);
        let texts = texts.flat_map(|text| text.split(',').map(str::to_owned));
        texts.collect::<Vec<String>>()
    };
    match key {
        "network" | "inboundTag" | "user" => {
            let (one, two) = (texts(one), texts(two));
            let common: Vec<String> = one.into_iter().filter(|text| two.contains(text)).collect();
            Some(json!(common))
        }
        "port" | "sourcePort" => {
            let (one, two) = (ranges(one.as_str()?)?, ranges(two.as_str()?)?);
            let mut common = Vec::new();
            for a in &one {
                for b in &two {
                    common.push((a.0.max(b.0), a.1.min(b.1)));
                }
            }
            Some(written(&common).into())
        }
        _ => None,
    }
}

/// What holds where `value` of `key` does not.
fn deny(key: &str, value: &Value) -> Result<Any, NoWord> {
    let no_word = || NoWord::Denied(key.to_owned());
    let rest = match (key, value) {
        ("network", value) => {
            let everything = json!(NETWORKS);
            let is_in = common(key, &everything, value).ok_or_else(no_word)?;
            let is_in = is_in.as_array().cloned().unwrap_or_default();
            let rest = NETWORKS.iter().filter(|name| !is_in.contains(&json!(name)));
            json!(rest.collect::<Vec<_>>())
        }
        ("port" | "sourcePort", Value::String(text)) => {
            let mut taken = ranges(text).ok_or_else(no_word)?;
            taken.sort_unstable();
            let (mut rest, mut from) = (Vec::new(), 0);
            for (first, last) in taken {
                rest.push((from, i64::from(first) - 1));
                from = from.max(i64::from(last) + 1);
            }
            rest.push((from, i64::from(u16::MAX)));
            let fits =
                |(from, to): (i64, i64)| Some((u16::try_from(from).ok()?, u16::try_from(to).ok()?));
            written(&rest.into_iter().filter_map(fits).collect::<Vec<_>>()).into()
        }
        ("ip" | "source", Value::Array(list)) => match &list[..] {
            [Value::String(text)] => json!(denied_address(text)),
            _ => return Err(no_word()),
        },
        _ => return Err(no_word()),
    };
    let is_nothing = match &rest {
        Value::Array(list) => list.is_empty(),
        rest => rest.as_str() == Some(""),
    };
    if is_nothing {
        return Ok(Any::default());
    }
    let mut asks = Asks::default();
    asks.set(key, rest);
    Ok(Any::of(asks))
}

/// `geoip:cn` becomes `geoip:!cn` and a network `!10.0.0.0/8`, and back. That is about one family, so with it stands the whole
/// other one.
fn denied_address(text: &str) -> Vec<String> {
    let (kind, name) = match text.strip_prefix("geoip:") {
        Some(name) => ("geoip:", name),
        None => ("", text),
    };
    let other = if name.contains(':') {
        "0.0.0.0/0"
    } else {
        "::/0"
    };
    match name.strip_prefix('!') {
        Some(name) => vec![format!("{kind}{name}")],
        None if kind.is_empty() => vec![format!("!{name}"), other.to_owned()],
        None => vec![format!("{kind}!{name}")],
    }
}

/// `80,443,1000-2000`.
fn ranges(text: &str) -> Option<Vec<(u16, u16)>> {
    let one = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    text.split(',').map(one).collect()
}

/// Those that hold a port.
fn written(ranges: &[(u16, u16)]) -> String {
    let ranges = ranges.iter().filter(|(from, to)| from <= to);
    let texts = ranges.map(|(from, to)| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(value: Value) -> Any {
        let mut asks = Asks::default();
        for (key, value) in value.as_object().unwrap() {
            asks.set(key, value.clone());
        }
        Any::of(asks)
    }

    fn rules(any: Any) -> Vec<Value> {
        any.into_rules()
            .map(|asks| {
                let entries = asks.entries().map(|(key, value)| (key, value.clone()));
                entries.collect()
            })
            .collect()
    }

    #[test]
    fn both_hold_in_one_rule_and_either_in_two() {
        let udp = asks(json!({"network": ["udp"]}));
        let quic = asks(json!({"port": "443,8443"}));
        let rule = json!({"network": ["udp"], "port": "443,8443"});
        assert_eq!(rules(udp.and(&quic).unwrap()), std::slice::from_ref(&rule));
        let names = asks(json!({"domain": ["full:a.test"]}));
        let more = asks(json!({"domain": ["full:b.test"]}));
        let either = names.clone().or(udp).or(more);
        let expected = [
            json!({"domain": ["full:a.test", "full:b.test"]}),
            json!({"network": ["udp"]}),
        ];
        assert_eq!(rules(either.clone()), expected);
        let both = either.and(&quic).unwrap();
        let expected = [
            json!({"domain": ["full:a.test", "full:b.test"], "port": "443,8443"}),
            rule,
        ];
        assert_eq!(rules(both), expected);
        // V2Ray has one list of names in a rule.
        let more = asks(json!({"domain": ["keyword:x"]}));
        assert_eq!(names.and(&more), Err(NoWord::Twice("domain".to_owned())));
    }

    #[test]
    fn what_two_lists_have_in_common_is_asked_for_or_nothing_is() {
        for (one, two, common) in [
            (
                json!({"port": "80,400-500"}),
                json!({"port": "443-8443"}),
                vec![json!({"port": "443-500"})],
            ),
            (
                json!({"network": ["tcp,udp"]}),
                json!({"network": ["udp"]}),
                vec![json!({"network": ["udp"]})],
            ),
            (json!({"port": "1"}), json!({"port": "2"}), vec![]),
            (
                json!({"network": ["tcp"]}),
                json!({"network": ["udp"]}),
                vec![],
            ),
        ] {
            let both = asks(one.clone()).and(&asks(two));
            assert_eq!(rules(both.unwrap()), common, "{one}");
        }
    }

    #[test]
    fn what_is_denied_is_all_the_rest() {
        for (one, rest) in [
            (
                json!({"network": ["udp"]}),
                vec![json!({"network": ["tcp"]})],
            ),
            (
                json!({"port": "443,80,0"}),
                vec![json!({"port": "1-79,81-442,444-65535"})],
            ),
            (json!({"port": "0-65535"}), vec![]),
            (
                json!({"ip": ["geoip:cn"]}),
                vec![json!({"ip": ["geoip:!cn"]})],
            ),
            (
                json!({"source": ["10.0.0.0/8"]}),
                vec![json!({"source": ["!10.0.0.0/8", "::/0"]})],
            ),
            // One of two is enough.
            (
                json!({"network": ["udp"], "port": "1-65535"}),
                vec![json!({"network": ["tcp"]}), json!({"port": "0"})],
            ),
        ] {
            assert_eq!(rules(asks(one.clone()).not().unwrap()), rest, "{one}");
        }
        // Lists that deny stay two: one would be what both leave.
        let denied = |net: &str| asks(json!({"ip": [net]})).not().unwrap();
        let either = denied("10.0.0.0/8").or(denied("192.0.2.0/24"));
        assert_eq!(rules(either).len(), 2);
        let everything = Any::default().not().unwrap();
        assert_eq!(rules(everything), [json!({"network": ["tcp,udp"]})]);
        let names = asks(json!({"domain": ["full:a.test"]}));
        assert_eq!(names.not(), Err(NoWord::Denied("domain".to_owned())));
        let networks = asks(json!({"ip": ["10.0.0.0/8", "192.0.2.0/24"]}));
        assert_eq!(networks.not(), Err(NoWord::Denied("ip".to_owned())));
    }

    #[test]
    fn conditions_of_strangers_do_not_grow_without_bound() {
        let many = (0..20).map(|n| asks(json!({ format!("key{n}"): ["x"] })));
        let many = many.fold(Any::default(), Any::or);
        let more = (0..20).map(|n| asks(json!({ format!("other{n}"): ["x"] })));
        let more = more.fold(Any::default(), Any::or);
        assert!(many.and(&more).is_err());
    }
}
