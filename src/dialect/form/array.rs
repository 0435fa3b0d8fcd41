//! A list of configs of V2Ray, which panels give to clients that show each by its `remarks`. It is the first of them here, with the
//! servers of all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Config;
use crate::report::Message;
use crate::routing::Target;

const OUTBOUNDS: &str = "outbounds";

/// What names the outbound that another one goes through.
const THROUGH: [&str; 2] = ["/proxySettings/tag", "/streamSettings/sockopt/dialerProxy"];

/// What leads nowhere else.
const STAY: [&str; 4] = ["blackhole", "dns", "freedom", "loopback"];

/// All configs as one.
pub(super) struct Whole {
    pub config: Value,
    /// Where the first config stands in the list.
    first: String,
    /// The tag of its only server, and what that is called.
    pub first_name: Option<(String, String)>,
    /// Where each outbound stands there.
    places: Vec<String>,
    /// How many outbounds are those of the first config.
    own: usize,
    /// How many configs there are.
    pub configs: usize,
}

impl Whole {
    pub(super) fn of(configs: &[Value]) -> Self {
        let with_outbounds = |(_, one): &(usize, &Value)| one.get(OUTBOUNDS).is_some();
        let mut configs = configs.iter().enumerate().filter(with_outbounds);
        let (first, mut config) = match configs.next() {
            Some((n, config)) => (n, config.clone()),
            None => (0, json!({})),
        };
        let first_name = name_of(&config);
        let mut all = outbounds(&config);
        let own = all.len();
        let place = |config: usize, n: usize| format!("[{config}].{OUTBOUNDS}[{n}]");
        let mut places: Vec<String> = (0..own).map(|n| place(first, n)).collect();
        let mut names = Names::default();
        for one in &all {
            names.free(tag(one).to_owned());
        }
        names
            .taken
            .extend(first_name.iter().map(|(_, name)| name.clone()));
        let mut many = 1;
        for (k, other) in configs {
            many += 1;
            let needed = needed(other);
            places.extend(needed.iter().map(|(n, _)| place(k, *n)));
            let more = needed.into_iter().map(|(_, one)| one).collect();
            all.extend(named(more, remarks(other), &mut names));
        }
        config[OUTBOUNDS] = Value::Array(all);
        Self {
            config,
            first: format!("[{first}]"),
            first_name,
            places,
            own,
            configs: many,
        }
    }

    /// The outbound of another config than the first that a message is about.
    pub(super) fn other(&self, message: &Message) -> Option<usize> {
        let (n, _) = outbound_of(message.path.as_deref()?)?;
        (self.own..self.places.len()).contains(&n).then_some(n)
    }

    /// Takes outbounds out.
    pub(super) fn remove(&mut self, gone: &HashSet<usize>) {
        let mut n = 0..;
        self.places
            .retain(|_| n.next().is_some_and(|n| !gone.contains(&n)));
        if let Some(Value::Array(all)) = self.config.get_mut(OUTBOUNDS) {
            let mut n = 0..;
            all.retain(|_| n.next().is_some_and(|n| !gone.contains(&n)));
        }
    }

    /// A message about this as one about the list.
    pub(super) fn in_list(&self, mut message: Message) -> Message {
        let Some(path) = message.path.take() else {
            return message;
        };
        let place = outbound_of(&path).and_then(|(n, rest)| {
            let place = self.places.get(n)?;
            Some(format!("{place}{rest}"))
        });
        let place = place.unwrap_or_else(|| match &*path {
            // What is said of it as a whole.
            "config" => self.first.clone(),
            path => format!("{}.{path}", self.first),
        });
        Message {
            line: message.line.replacen(&path, &place, 1),
            path: Some(place),
            place: None,
            excerpt: None,
            ..message
        }
    }
}

/// The number in `outbounds[3].settings`, and what is behind it.
fn outbound_of(path: &str) -> Option<(usize, &str)> {
    let (n, rest) = path
        .strip_prefix(OUTBOUNDS)?
        .strip_prefix('[')?
        .split_once(']')?;
    Some((n.parse().ok()?, rest))
}

/// The outbounds of one config, by names that nothing else has.
fn named(mut more: Vec<Value>, remarks: Option<&str>, names: &mut Names) -> Vec<Value> {
    let is_lone = more.iter().filter(|one| leads_away(one)).count() == 1;
    let mut renamed: HashMap<String, String> = HashMap::new();
    for one in &mut more {
        let before = tag(one).to_owned();
        let wished = match remarks {
            Some(remarks) if leads_away(one) && is_lone => remarks.to_owned(),
            Some(remarks) if leads_away(one) => format!("{remarks} {before}").trim_end().to_owned(),
            _ => before.clone(),
        };
        let now = names.free(wished);
        one["tag"] = now.as_str().into();
        if !before.is_empty() {
            renamed.insert(before, now);
        }
    }
    for one in &mut more {
        lead_over(one, &renamed);
    }
    more
}

/// Tags that are taken, and how often each was wished for.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    times: HashMap<String, usize>,
}

impl Names {
    fn free(&mut self, wished: String) -> String {
        if self.taken.insert(wished.clone()) {
            return wished;
        }
        let times = self.times.entry(wished.clone()).or_insert(1);
        loop {
            *times += 1;
            let name = format!("{wished} {times}");
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// Calls the only server of the first config by `name`, unless something else chooses by the beginnings of names.
pub(super) fn name_first(config: &mut Config, (before, name): &(String, String)) {
    let is_chosen = !config.routing.balancers.is_empty()
        || !config.observers.is_empty()
        || config.reverse != Default::default();
    let mut tags = config.outbounds.iter().filter_map(|one| one.tag.as_deref());
    if is_chosen || tags.any(|tag| tag == name) {
        return;
    }
    let now: Arc<str> = name.as_str().into();
    for one in &mut config.outbounds {
        let through = one.through.as_mut().map(|through| &mut through.tag);
        for tag in one.tag.iter_mut().chain(through) {
            if **tag == **before {
                *tag = now.clone();
            }
        }
    }
    for rule in &mut config.routing.rules {
        if let Target::Outbound(tag) = &mut rule.target.value
            && **tag == **before
        {
            *tag = now.clone();
        }
    }
}

fn name_of(config: &Value) -> Option<(String, String)> {
    let all = outbounds(config);
    let mut servers = all.iter().filter(|one| leads_away(one));
    match (servers.next().map(tag), servers.next()) {
        (Some(before), None) if !before.is_empty() => {
            Some((before.to_owned(), remarks(config)?.to_owned()))
        }
        _ => None,
    }
}

fn outbounds(config: &Value) -> Vec<Value> {
    config[OUTBOUNDS].as_array().cloned().unwrap_or_default()
}

/// The servers of a config, and what they go through, each with its number.
fn needed(config: &Value) -> Vec<(usize, Value)> {
    type Numbered = Vec<(usize, Value)>;
    let all = outbounds(config).into_iter().enumerate();
    let all = all.filter(|(_, one)| one.is_object());
    let (mut needed, mut rest): (Numbered, Numbered) = all.partition(|(_, one)| leads_away(one));
    for _ in 0..MAX_HOPS {
        let through = |(_, one): &(usize, Value)| {
            let named = |place| one.pointer(place)?.as_str().filter(|tag| !tag.is_empty());
            THROUGH.map(|place| named(place).map(str::to_owned))
        };
        let through: HashSet<String> = needed.iter().flat_map(through).flatten().collect();
        let found;
        (found, rest) = rest
            .into_iter()
            .partition(|(_, one)| through.contains(tag(one)));
        let found: Numbered = found;
        needed.extend(found);
    }
    needed
}

/// How many one may go through.
const MAX_HOPS: usize = 4;

fn lead_over(outbound: &mut Value, renamed: &HashMap<String, String>) {
    for place in THROUGH {
        rename(outbound.pointer_mut(place), renamed);
    }
}

fn rename(value: Option<&mut Value>, renamed: &HashMap<String, String>) {
    if let Some(value) = value
        && let Some(now) = value.as_str().and_then(|before| renamed.get(before))
    {
        *value = now.as_str().into();
    }
}

/// In bytes.
const LONGEST_REMARKS: usize = 256;

fn tag(outbound: &Value) -> &str {
    outbound["tag"].as_str().unwrap_or_default()
}

fn remarks(config: &Value) -> Option<&str> {
    let remarks = config.get("remarks")?.as_str()?.trim();
    // Many would have it in their names.
    (!remarks.is_empty() && remarks.len() <= LONGEST_REMARKS).then_some(remarks)
}

fn leads_away(outbound: &Value) -> bool {
    let protocol = outbound["protocol"].as_str().unwrap_or_default();
    !STAY.contains(&&*protocol.to_ascii_lowercase())
}
