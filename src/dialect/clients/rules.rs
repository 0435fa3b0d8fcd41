//! Rules of other programs, in the words of V2Ray's `routing`.
//!
//! Sessions of a rule that has no word here would go another way than was meant, so each such is told of as astray.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::groups::Lead;
use crate::dialect::tree::At;
use crate::dialect::tree::keys::Notes;
use crate::dialect::v2ray;
use crate::matching::{Geodata, geodata, parse_network};
use crate::routing::{BalancerSettings, DomainStrategy, Rule, Settings, Target};

/// The rules of a file, in their order.
pub(in crate::dialect) struct Rules<'n> {
    notes: &'n Notes,
    geodata: Geodata,
    all: Vec<Written>,
    strategy: DomainStrategy,
}

struct Written {
    at: At,
    text: Value,
    rule: Rule,
}

impl Written {
    /// Says nothing of names that are looked up.
    fn forget_names(&mut self) {
        self.rule.conditions.no_resolve = false;
        if let Value::Object(text) = &mut self.text {
            text.remove(NO_RESOLVE);
        }
    }
}

const OUTBOUND: &str = "outboundTag";
const BALANCER: &str = "balancerTag";
const NO_RESOLVE: &str = "noResolve";

/// What a rule asks for, in V2Ray's keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::dialect) struct Asks(Map<String, Value>);

/// `routing`, as values and as text.
#[derive(Default)]
pub(in crate::dialect) struct Routing {
    pub(in crate::dialect) settings: Settings,
    /// `None` where there are no rules.
    pub(in crate::dialect) text: Option<Value>,
}

impl Asks {
    /// Adds to a list; what stands in one list holds if any of it does.
    pub(in crate::dialect) fn add(&mut self, key: &str, value: impl Into<Value>) {
        let list = self.0.entry(key).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(value.into());
        }
    }

    /// Adds to the ports, `80` or `80-443`.
    pub(in crate::dialect) fn add_ports(&mut self, key: &str, ports: &str) {
        let list = self.0.entry(key).or_insert_with(|| json!(""));
        let before = list.as_str().unwrap_or_default();
        *list = match before {
            "" => ports.into(),
            before => format!("{before},{ports}").into(),
        };
    }

    /// Adds a network; what is none would be taken for the name of a file.
    pub(in crate::dialect) fn add_network(&mut self, key: &str, text: &str) -> Result<(), String> {
        parse_network(text).map_err(|e| e.to_string())?;
        self.add(key, text);
        Ok(())
    }

    /// Adds a category of `geoip.dat`.
    pub(in crate::dialect) fn add_geoip(&mut self, key: &str, code: &str) {
        let code = match &*code.to_ascii_lowercase() {
            "lan" => "private".to_owned(),
            code => code.to_owned(),
        };
        self.add(key, format!("geoip:{code}"));
    }

    /// Every session.
    pub(in crate::dialect) fn everything() -> Self {
        let mut asks = Self::default();
        asks.add("network", "tcp,udp");
        asks
    }

    pub(in crate::dialect) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::dialect) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(in crate::dialect) fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    pub(in crate::dialect) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Asks for what `other` does as well, where each asks for entries of one list alone and these are of one kind.
    pub(in crate::dialect) fn join(&mut self, other: &Self) -> Option<()> {
        let (Some((key, more)), 1) = (other.0.iter().next(), other.0.len()) else {
            return None;
        };
        match (self.0.len(), self.0.get_mut(key)?, more) {
            (1, Value::Array(list), Value::Array(more)) => extend(list, more),
            _ => None,
        }
    }
}

impl<'n> Rules<'n> {
    pub(in crate::dialect) fn new(notes: &'n Notes) -> Self {
        Self {
            notes,
            geodata: Geodata::new(geodata::folders()),
            all: Vec::new(),
            strategy: DomainStrategy::AsIs,
        }
    }

    pub(in crate::dialect) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Names are resolved as soon as a rule would take them for their addresses.
    pub(in crate::dialect) fn resolve(&mut self) {
        self.strategy = DomainStrategy::IpOnDemand;
    }

    /// A rule in front of all others.
    pub(in crate::dialect) fn push_first(&mut self, at: &At, asks: Asks, target: &Lead) {
        let before = self.all.len();
        self.push(at, asks, target, false);
        let new = self.all.len() - before;
        self.all.rotate_right(new);
    }

    /// Nothing comes in by this tag any more.
    pub(in crate::dialect) fn forget_inbound(&mut self, tag: &str) {
        self.all
            .retain(|rule| rule.text["inboundTag"] != json!([tag]));
    }

    /// The next rule. One for addresses that `never_resolves` holds for no name.
    pub(in crate::dialect) fn push(
        &mut self,
        at: &At,
        asks: Asks,
        target: &Lead,
        never_resolves: bool,
    ) {
        let mut text = asks.0;
        text.insert("type".to_owned(), "field".into());
        if never_resolves {
            text.insert(NO_RESOLVE.to_owned(), true.into());
        }
        let (key, tag) = match target {
            Lead::Outbound(tag) => (OUTBOUND, tag),
            Lead::Balancer(tag) => (BALANCER, tag),
        };
        text.insert(key.to_owned(), tag.as_str().into());
        let text = Value::Object(text);
        match v2ray::read_rule(&text, &self.geodata) {
            Ok(rule) => self.all.push(Written {
                at: at.clone(),
                text,
                rule,
            }),
            Err(lines) => self.notes.astray(
                at,
                format_args!("{}: the rule is left out", lines.join("; ")),
            ),
        }
    }

    /// Outbounds are called otherwise.
    pub(in crate::dialect) fn rename(&mut self, names: &HashMap<String, String>) {
        for one in &mut self.all {
            if let Target::Outbound(tag) = &mut one.rule.target.value
                && let Some(name) = names.get(&**tag)
            {
                one.text[OUTBOUND] = name.as_str().into();
                *tag = name.as_str().into();
            }
        }
    }

    /// Those rules whose outbounds and balancers, by their tags, are there.
    pub(in crate::dialect) fn into_routing(
        mut self,
        tags: &HashSet<String>,
        balancers: Vec<BalancerSettings>,
    ) -> Routing {
        self.all.retain(|one| {
            let (tag, is_there) = match &*one.rule.target {
                Target::Outbound(tag) => (&**tag, tags.contains(&**tag)),
                Target::Balancer(tag) => {
                    (tag.as_str(), balancers.iter().any(|one| one.tag == *tag))
                }
            };
            if !is_there {
                let tag = tag.escape_debug();
                let text = format!("`{tag}` is not carried over: the rule is left out");
                self.notes.astray(&one.at, text);
            }
            is_there
        });
        match self.strategy {
            DomainStrategy::IpOnDemand => self.all = settled(self.all),
            // No rule looks any name up.
            _ => self.all.iter_mut().for_each(Written::forget_names),
        }
        let mut groups: Vec<(Value, Vec<Written>)> = Vec::new();
        for one in self.all {
            if let Some((text, group)) = groups.last_mut()
                && join(text, &one.text)
            {
                group.push(one);
            } else {
                groups.push((one.text.clone(), vec![one]));
            }
        }
        let (mut rules, mut texts) = (Vec::new(), Vec::new());
        for (text, group) in groups {
            let joined = match group.len() {
                1 => None,
                _ => v2ray::read_rule(&text, &self.geodata).ok(),
            };
            match joined {
                Some(rule) => {
                    texts.push(text);
                    rules.push(rule);
                }
                // Alone, each can be read.
                None => group.into_iter().for_each(|one| {
                    texts.push(one.text);
                    rules.push(one.rule);
                }),
            }
        }
        if rules.is_empty() {
            return Routing::default();
        }
        let mut text = json!({ "rules": texts });
        if self.strategy == DomainStrategy::IpOnDemand {
            text["domainStrategy"] = "IPOnDemand".into();
        }
        Routing {
            text: Some(text),
            settings: Settings {
                strategy: self.strategy,
                rules,
                balancers,
            },
        }
    }
}

/// Adds the list of a rule to the one before it, where that leads to the same place and asks for the same kind of thing
/// alone.
fn join(before: &mut Value, after: &Value) -> bool {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return false;
    };
    let resolves = |rule: &Map<String, Value>| !rule.contains_key(NO_RESOLVE);
    let is_plain = |rule: &Map<String, Value>, key: &str| {
        rule.len() == 3 + usize::from(!resolves(rule)) && rule.contains_key(key)
    };
    let key = ["domain", "ip"]
        .into_iter()
        .find(|key| is_plain(before, key) && is_plain(after, key));
    let leads_alike = [OUTBOUND, BALANCER]
        .iter()
        .all(|key| before.get(*key) == after.get(*key));
    let are_alike = leads_alike && resolves(before) == resolves(after);
    let Some(key) = key.filter(|_| are_alike) else {
        return false;
    };
    match (before.get_mut(key), after.get(key)) {
        (Some(Value::Array(list)), Some(Value::Array(more))) => extend(list, more).is_some(),
        _ => false,
    }
}

/// Adds to a list what holds as well. Not where both deny something: in one list that would be what both leave.
fn extend(list: &mut Vec<Value>, more: &[Value]) -> Option<()> {
    let denies = |list: &[Value]| {
        let mut texts = list.iter().filter_map(Value::as_str);
        texts.any(|text| text.starts_with('!') || text.starts_with("geoip:!"))
    };
    // What is added is short, the list may be long.
    if denies(more) && denies(list) {
        return None;
    }
    list.extend(more.iter().cloned());
    Some(())
}

/// Puts rules for which no name is resolved behind those for names. No session is of both, so it goes where it went; and
/// no name is resolved before the first rule that has it resolved.
fn settled(rules: Vec<Written>) -> Vec<Written> {
    let mut all = Vec::new();
    let mut late = Vec::new();
    let mut is_looked_up = false;
    for one in rules {
        let is_about_names = one.text.get("domain").is_some() && one.text.get("ip").is_none();
        match (is_about_names, one.rule.conditions.no_resolve) {
            (true, _) => all.push(one),
            (false, true) if is_looked_up => all.push(one),
            (false, true) => late.push(one),
            (false, false) => {
                is_looked_up |= one.text.get("ip").is_some();
                all.append(&mut late);
                all.push(one);
            }
        }
    }
    all.append(&mut late);
    all
}
