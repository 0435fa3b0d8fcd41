//! One balancer, in the words of V2Ray 4 or 5.

use std::time::Duration;

use super::outbound;
use crate::dialect::v2ray::json::{Node, Object, StringList, did_you_mean};
use crate::matching::Regex;
use crate::report::{Place, Placed};
use crate::routing::{Among, BalancerSettings, Cost, LeastLoad, Match, Strategy};

/// Every mistake is reported.
pub(super) fn read(object: Object, unbuilt: &[String]) -> Option<BalancerSettings> {
    let tag: Option<String> = object.require("tag");
    if tag.as_ref().is_some_and(String::is_empty) {
        object
            .node
            .error("`tag` is empty, no rule could name this balancer");
    }
    let fallback = object.get("fallbackTag").and_then(|node| {
        let tag = node.read::<String>().filter(|tag| !tag.is_empty())?;
        Some(outbound(node, tag, unbuilt))
    });
    let (node, name, settings) = strategy(&object);
    let observer = observer(settings.as_ref());
    let strategy = chosen(&node, &name, settings);
    let selector = object.first(&["selector", "outboundSelector"]);
    if selector.is_none() {
        object.node.error("`selector` is missing");
    }
    let at = Place::from(&object.node.path);
    object.finish();
    let selector = selector?;
    let StringList(selectors) = selector.read()?;
    Some(BalancerSettings {
        tag: tag?,
        strategy: Placed::new(strategy, node.path),
        selectors: Placed::new(selectors, selector.path),
        fallback,
        observer,
        at,
        ..BalancerSettings::default()
    })
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

fn chosen(node: &Node, name: &str, settings: Option<Object>) -> Strategy {
    let alive_only = settings
        .as_ref()
        .is_some_and(|settings| settings.read_or("aliveOnly", false));
    let among = if alive_only { Among::Alive } else { Among::All };
    let strategy = match name.to_ascii_lowercase().as_str() {
        "random" | "" => Strategy::Random(among),
        "roundrobin" => Strategy::RoundRobin(among),
        "leastping" => {
            let span = settings.as_ref().and_then(|all| all.read("keepWithin"));
            Strategy::LeastPing {
                keep_within: span.unwrap_or_default(),
            }
        }
        "firstalive" => Strategy::FirstAlive,
        "leastload" => Strategy::LeastLoad(least_load(settings.as_ref())),
        _ => {
            let known = [
                "random",
                "roundRobin",
                "leastPing",
                "leastLoad",
                "firstAlive",
            ];
            node.error(format!(
                "`{}` is unknown, expected `random`, `roundRobin`, `leastPing`, `leastLoad` or `firstAlive`{}",
                name.escape_debug(),
                did_you_mean(name, known.into_iter())
            ));
            Strategy::Random(Among::All)
        }
    };
    if let Some(settings) = settings {
        settings.silent(&["@type", "aliveOnly"]);
        settings.finish();
    }
    strategy
}

fn observer(settings: Option<&Object>) -> Placed<String> {
    let node = settings.and_then(|settings| settings.get("observerTag"));
    let named = node.map(|node| Placed::new(node.read().unwrap_or_default(), node.path));
    named.unwrap_or_default()
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
