//! One balancer, in the words of V2Ray 4 or 5.

use std::sync::Arc;
use std::time::Duration;

use super::{Observed, Tags, outbound};
use crate::json::{Node, Object, StringList, did_you_mean};
use crate::matching::Regex;
use crate::routing::{Among, Balancer, Cost, LeastLoad, Match, Strategy, selected};

/// Every mistake is reported.
pub(super) fn read(object: Object, tags: &Tags) -> Option<Balancer> {
    let tag: Option<String> = object.require("tag");
    if tag.as_ref().is_some_and(String::is_empty) {
        object
            .node
            .error("`tag` is empty, no rule could name this balancer");
    }
    let fallback = object.get("fallbackTag").and_then(|node| {
        let tag = node.read::<String>().filter(|tag| !tag.is_empty())?;
        outbound(&node, &tag, tags)
    });
    let (node, name, settings) = strategy(&object);
    let (strategy, observed) = chosen(&node, &name, settings, fallback.is_some(), tags);
    let selector = object.first(&["selector", "outboundSelector"]);
    if selector.is_none() {
        object.node.error("`selector` is missing");
    }
    object.finish();
    let selector = selector?;
    let StringList(selectors) = selector.read()?;
    let health = observed.map_or_else(Arc::default, |o| o.health.clone());
    let balancer = Balancer::new(tag?, strategy, selectors, fallback, health);
    let mut candidates = tags.outbounds.iter().filter(|tag| balancer.selects(tag));
    if candidates.clone().next().is_none() {
        let none = "no outbound has a tag that begins like this";
        match balancer.fallback {
            Some(_) => selector.warn(format!("{none}, `fallbackTag` carries everything")),
            None => selector.error(none),
        }
    } else if let Some(observed) = observed
        && let Some(tag) = candidates.find(|tag| !selected(&observed.selectors, tag))
    {
        match balancer.strategy {
            Strategy::LeastPing | Strategy::LeastLoad(_) => selector.warn(format!(
                "the observatory's `subjectSelector` leaves out `{}`, which is never chosen then",
                tag.escape_debug()
            )),
            Strategy::Random(_) | Strategy::RoundRobin(_) => {}
        }
    }
    Some(balancer)
}

/// Where the strategy is named, its name, and its settings.
fn strategy<'a>(object: &Object<'a>) -> (Node<'a>, String, Option<Object<'a>>) {
    // V2Ray 5 has them beside the name.
    let mut settings = object.object("strategySettings");
    let mut named = object.get("strategy");
    if let Some(node) = named.take_if(|node| node.value.is_object())
        && let Some(strategy) = node.object()
    {
        settings = strategy.object("settings").or(settings);
        named = strategy.get("type");
        strategy.finish();
    }
    let name = named.as_ref().and_then(Node::read::<String>);
    let node = named.unwrap_or_else(|| object.node.clone());
    (node, name.unwrap_or_default(), settings)
}

/// The strategy, and the observer it asks.
fn chosen<'t>(
    node: &Node,
    name: &str,
    settings: Option<Object>,
    has_fallback: bool,
    tags: &'t Tags,
) -> (Strategy, Option<&'t Observed>) {
    let observed = observer(settings.as_ref(), tags);
    let alive_only = settings
        .as_ref()
        .is_some_and(|settings| settings.read_or("aliveOnly", false));
    let among = |alive| if alive { Among::Alive } else { Among::All };
    let strategy = match name.to_ascii_lowercase().as_str() {
        "random" | "" => Strategy::Random(among(alive_only)),
        // Xray's strategy, which looks at the living alone where there is something to fall back to.
        "roundrobin" => Strategy::RoundRobin(among(alive_only || has_fallback)),
        "leastping" => Strategy::LeastPing,
        "leastload" => Strategy::LeastLoad(least_load(settings.as_ref())),
        _ => {
            let known = ["random", "roundRobin", "leastPing", "leastLoad"];
            node.error(format!(
                "`{}` is unknown, expected `random`, `roundRobin`, `leastPing` or `leastLoad`{}",
                name.escape_debug(),
                did_you_mean(name, known.into_iter())
            ));
            Strategy::Random(Among::All)
        }
    };
    let needs_one = match &strategy {
        Strategy::LeastPing | Strategy::LeastLoad(_) => true,
        Strategy::Random(_) | Strategy::RoundRobin(_) => alive_only,
    };
    if needs_one && observed.is_none() {
        let fate = match (&strategy, has_fallback) {
            (Strategy::Random(_) | Strategy::RoundRobin(_), _) => "every outbound counts as alive",
            (_, true) => "`fallbackTag` carries everything",
            (_, false) => "the first outbound carries everything",
        };
        node.warn(format!("there is no `observatory`, {fate}"));
    }
    if let Some(settings) = settings {
        settings.silent(&["@type", "aliveOnly"]);
        settings.finish();
    }
    (strategy, observed)
}

/// What `observerTag` names, else everyone's.
fn observer<'t>(settings: Option<&Object>, tags: &'t Tags) -> Option<&'t Observed> {
    let node = settings.and_then(|settings| settings.get("observerTag"));
    let tag = node.as_ref().and_then(Node::read::<String>);
    let tag = tag.unwrap_or_default();
    let found = tags.observers.iter().find(|o| o.tag == tag);
    if let (Some(node), None, false) = (node, found, tag.is_empty()) {
        let known = tags.observers.iter().map(|o| o.tag.as_str());
        node.error(format!(
            "no observer is tagged `{}`{}",
            tag.escape_debug(),
            did_you_mean(&tag, known)
        ));
    }
    found
}

fn least_load(settings: Option<&Object>) -> LeastLoad {
    let Some(settings) = settings else {
        return LeastLoad::default();
    };
    let span = |node: &Node| node.read::<Duration>().filter(|span| !span.is_zero());
    let tolerance = settings.get("tolerance").and_then(|node| {
        let share: f64 = node.read()?;
        if !(0.0..=1.0).contains(&share) {
            node.warn(format!(
                "{share} is not between 0 and 1, the nearer of them is used"
            ));
        }
        Some(share.clamp(0.0, 1.0))
    });
    let costs = settings.array("costs").into_iter();
    let baselines = settings.array("baselines").into_iter();
    LeastLoad {
        costs: costs.filter_map(|node| cost(&node)).collect(),
        baselines: baselines.filter_map(|node| span(&node)).collect(),
        expected: settings
            .read("expected")
            .map_or(0, |n: i64| usize::try_from(n).unwrap_or(0)),
        max_rtt: settings.get("maxRTT").and_then(|node| span(&node)),
        tolerance: tolerance.unwrap_or(0.0),
    }
}

/// `{"regexp": false, "match": "cheap", "value": 0.5}`.
fn cost(node: &Node) -> Option<Cost> {
    let object = node.object()?;
    let is_regex = object.read_or("regexp", false);
    let pattern = object.require_node("match");
    let value: Option<f64> = object.read("value");
    object.finish();
    let pattern = pattern?;
    let text: String = pattern.read()?;
    let pattern = if is_regex {
        let regex =
            Regex::new(&text).map_err(|e| pattern.error(format!("`{}`: {e}", text.escape_debug())));
        Match::Regex(regex.ok()?)
    } else {
        Match::Text(text)
    };
    Some(Cost {
        pattern,
        value: value.filter(|value| *value > 0.0),
    })
}
