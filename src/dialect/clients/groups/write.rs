//! The other way: balancers and their observers as groups of the programs that have some.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Ways;
use crate::config::Config;
use crate::dialect::clients::lost;
use crate::observatory::{self, ExpectedStatus, Url};
use crate::routing::{BalancerSettings, Strategy, place};

/// A balancer as a group.
pub(in crate::dialect) struct Written {
    /// Where it stands: `routing.balancers[0]`.
    pub(in crate::dialect) place: String,
    /// The tag of the balancer.
    pub(in crate::dialect) tag: String,
    /// The same, or one that nothing else has.
    pub(in crate::dialect) name: String,
    pub(in crate::dialect) strategy: Strategy,
    /// Names of what was written, one at least.
    pub(in crate::dialect) members: Vec<String>,
    pub(in crate::dialect) probe: Option<Probe>,
    /// Whether it carries what no rule sends elsewhere.
    pub(in crate::dialect) is_default: bool,
}

/// How members are asked whether they answer.
pub(in crate::dialect) struct Probe {
    pub(in crate::dialect) url: Url,
    pub(in crate::dialect) interval: Duration,
    pub(in crate::dialect) timeout: Option<Duration>,
    pub(in crate::dialect) expected: ExpectedStatus,
    pub(in crate::dialect) max_failed: Option<NonZeroU32>,
}

impl Written {
    /// Milliseconds by which another has to be sooner, of which both programs know no more.
    pub(in crate::dialect) fn tolerance(&self) -> u16 {
        match &self.strategy {
            Strategy::LeastPing { keep_within } => {
                u16::try_from(keep_within.as_millis()).unwrap_or(u16::MAX)
            }
            _ => 0,
        }
    }
}

/// The balancers of a config, whose outbounds were written under `names`; what they lose is told.
pub(in crate::dialect) fn written(
    config: &Config,
    names: &[String],
    lines: &mut Vec<String>,
) -> Vec<Written> {
    let known: HashSet<&str> = names.iter().map(String::as_str).collect();
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let default = config.routing.default_balancer().map(|one| one.tag.clone());
    let mut all = Vec::new();
    for (n, balancer) in config.routing.balancers.iter().enumerate() {
        let mut say =
            |key: &str, text: &str| lines.push(format!("routing.balancers[{n}]{key}: {text}"));
        let members = members(config, balancer, &known);
        let Some(first) = members.first() else {
            say(
                ".selector",
                "none of its outbounds is carried over: it is left out",
            );
            continue;
        };
        if let Some(fallback) = &balancer.fallback
            && !is_of(config, fallback, first)
        {
            let text = "there is no word for it: while none of the others answers, the first of them carries everything";
            say(".fallbackTag", text);
        }
        if balancer.failing.is_some() {
            say("", "`maxFails` and `failTimeout` have no word there");
        }
        let observer = config
            .observers
            .iter()
            .find(|one| one.tag == *balancer.observer);
        if observer.is_some_and(|one| matches!(&one.kind, observatory::Kind::Burst(burst) if burst.connectivity.is_some())) {
            say("", "`connectivity` of its observer has no word there: a dead network is a dead outbound");
        }
        let mut name = balancer.tag.clone();
        while !taken.insert(name.clone()) {
            name.push('.');
        }
        all.push(Written {
            place: format!("routing.balancers[{n}]"),
            tag: balancer.tag.clone(),
            name,
            strategy: balancer.strategy.value.clone(),
            members,
            probe: observer.map(probe),
            is_default: default.as_ref() == Some(&balancer.tag),
        });
    }
    all
}

/// The groups' names, that of the default in front; behind it, or in its place, come those of the outbounds.
pub(in crate::dialect) fn in_front(groups: &[Written], names: Vec<String>) -> Vec<String> {
    let of = |is_default: bool| {
        let groups = groups
            .iter()
            .filter(move |one| one.is_default == is_default);
        groups.map(|one| one.name.clone())
    };
    of(true).chain(names).chain(of(false)).collect()
}

/// Tells of what is neither an inbound, an outbound nor a group.
pub(in crate::dialect) fn tell_rest(config: &Config, whose: &str, lines: &mut Vec<String>) {
    let ways = Ways::of(config);
    let mut rules = config.routing.rules.clone();
    rules.retain(|rule| !ways.need(config, rule));
    let mut config = config.clone();
    config.routing.rules = rules;
    let mut first = "the first outbound".to_owned();
    if let Some(balancer) = config.routing.default_balancer()
        && let Some(n) = config.routing.last_rule()
    {
        first = format!("`{}`", balancer.tag.escape_debug());
        config.routing.rules.truncate(n);
    }
    config.routing.balancers.clear();
    config.observers.clear();
    lost::rest_but_for(&config, &first, whose, lines);
}

/// The config of a file with groups where no group can be written: the first outbound, which is a member, takes the place of
/// the one that carries what no rule sends elsewhere.
pub(in crate::dialect) fn first_in_place(config: &Config, lines: &mut Vec<String>) -> Config {
    let mut config = config.clone();
    if let Some(balancer) = config.routing.default_balancer()
        && let Some(n) = config.routing.last_rule()
    {
        let first = config.outbounds.first().and_then(|one| one.tag.as_deref());
        lines.push(format!(
            "routing.balancers: groups are not written: `{}` takes the place of `{}`",
            first.unwrap_or_default().escape_debug(),
            balancer.tag.escape_debug()
        ));
        config.routing.rules.truncate(n);
        config.observers.clear();
    }
    config
}

/// In the order in which they are preferred, where there is one.
fn members(config: &Config, balancer: &BalancerSettings, known: &HashSet<&str>) -> Vec<String> {
    let mut chosen: Vec<_> = config
        .outbounds
        .iter()
        .filter_map(|one| Some((one, place(&balancer.selectors, one.tag.as_deref()?)?)))
        .collect();
    if *balancer.strategy == Strategy::FirstAlive {
        chosen.sort_by_key(|(_, place)| *place);
    }
    let names = chosen.into_iter().flat_map(|(outbound, _)| {
        let names = (0..).map(move |n| lost::tag(outbound, n));
        names.take_while(|name| known.contains(name.as_str()))
    });
    names.collect()
}

/// Whether `name` is the first that was written of the outbound tagged `tag`.
fn is_of(config: &Config, tag: &str, name: &str) -> bool {
    let outbound = config.outbounds.iter();
    let mut outbound = outbound.filter(|one| one.tag.as_deref() == Some(tag));
    outbound
        .next()
        .is_some_and(|outbound| lost::tag(outbound, 0) == name)
}

fn probe(observer: &observatory::Settings) -> Probe {
    match &observer.kind {
        observatory::Kind::Background(settings) => Probe {
            url: settings.url.clone(),
            interval: settings.interval,
            timeout: None,
            expected: settings.expected.clone(),
            max_failed: None,
        },
        observatory::Kind::Burst(settings) => Probe {
            url: settings.url.clone(),
            interval: settings.interval,
            timeout: Some(settings.timeout),
            expected: settings.expected.clone(),
            max_failed: settings.max_failed,
        },
    }
}

/// What is said of a strategy for which the other program has another one, `word`.
pub(in crate::dialect) fn instead(place: &str, strategy: &Strategy, word: &str) -> String {
    let name = match strategy {
        Strategy::Random(_) => "random",
        Strategy::RoundRobin(_) => "roundRobin",
        Strategy::First => "fifo",
        Strategy::FirstAlive => "firstAlive",
        Strategy::LeastPing { .. } => "leastPing",
        Strategy::LeastLoad(_) => "leastLoad",
    };
    format!("{place}.strategy: there is no word for `{name}`: {word}")
}
