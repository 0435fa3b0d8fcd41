//! A list of configs of V2Ray, which panels give to clients that show each by its `remarks`. It is the first of them here, with the
//! servers of all.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::report::Message;

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
    /// Where each outbound stands there.
    places: Vec<String>,
    /// How many outbounds are those of the first config.
    own: usize,
}

impl Whole {
    pub(super) fn of(configs: &[Value]) -> Self {
        let with_outbounds = |(_, one): &(usize, &Value)| one.get(OUTBOUNDS).is_some();
        let mut configs = configs.iter().enumerate().filter(with_outbounds);
        let (first, mut config) = match configs.next() {
            Some((n, config)) => (n, config.clone()),
            None => (0, json!({})),
        };
        name_first(&mut config);
        let mut all = outbounds(&config);
        let own = all.len();
        let place = |config: usize, n: usize| format!("[{config}].{OUTBOUNDS}[{n}]");
        let mut places: Vec<String> = (0..own).map(|n| place(first, n)).collect();
        let mut names = Names::default();
        for one in &all {
            names.free(tag(one).to_owned());
        }
        for (k, other) in configs {
            let needed = needed(other);
            places.extend(needed.iter().map(|(n, _)| place(k, *n)));
            let more = needed.into_iter().map(|(_, one)| one).collect();
            all.extend(named(more, remarks(other), &mut names));
        }
        config[OUTBOUNDS] = Value::Array(all);
        Self {
            config,
            first: format!("[{first}]"),
            places,
            own,
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
        let place = place.unwrap_or_else(|| format!("{}.{path}", self.first));
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
            Some(remarks) if leads_away(one) => format!("{remarks} {before}"),
            _ => before.clone(),
        };
        let now = names.free(wished);
        one["tag"] = now.as_str().into();
        renamed.insert(before, now);
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

/// The server of the first is called like the config, unless something else chooses by its name.
fn name_first(config: &mut Value) {
    let text = |key: &str| config.get(key).map(Value::to_string);
    let chooses = ["observatory", "burstObservatory", "reverse", "dns"];
    let is_chosen = chooses.into_iter().any(|key| config.get(key).is_some())
        || text("routing").is_some_and(|routing| routing.contains("balancer"));
    let Some(remarks) = remarks(config).map(str::to_owned) else {
        return;
    };
    let mut outbounds = outbounds(config);
    let mut servers = outbounds.iter().filter(|one| leads_away(one));
    let (Some(before), None, false) = (servers.next().map(tag), servers.next(), is_chosen) else {
        return;
    };
    let before = before.to_owned();
    if before.is_empty() || outbounds.iter().any(|one| tag(one) == remarks) {
        return;
    }
    let renamed = HashMap::from([(before, remarks)]);
    for one in &mut outbounds {
        rename(one.get_mut("tag"), &renamed);
        lead_over(one, &renamed);
    }
    config[OUTBOUNDS] = Value::Array(outbounds);
    let rules = config.pointer_mut("/routing/rules");
    for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
        rename(rule.get_mut("outboundTag"), &renamed);
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
            THROUGH.map(|place| one.pointer(place)?.as_str().map(str::to_owned))
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

fn tag(outbound: &Value) -> &str {
    outbound["tag"].as_str().unwrap_or_default()
}

fn remarks(config: &Value) -> Option<&str> {
    let remarks = config.get("remarks")?.as_str()?.trim();
    (!remarks.is_empty()).then_some(remarks)
}

fn leads_away(outbound: &Value) -> bool {
    let protocol = outbound["protocol"].as_str().unwrap_or_default();
    !STAY.contains(&&*protocol.to_ascii_lowercase())
}
