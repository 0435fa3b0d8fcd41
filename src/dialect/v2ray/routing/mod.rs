//! `routing` of V2Ray 4 and `router` of V2Ray 5: strategy, balancers, rules.

mod balancer;
pub(super) mod lists;
pub(super) mod message;
mod rule;
#[cfg(test)]
mod tests;

pub(crate) use lists::{NOTHING_MARKED, patterns_of_text, patterns_or_any, preferred, wrong_kind};

use std::sync::Arc;

use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, Report, did_you_mean};
use crate::matching::Geodata;
use crate::report::Placed;
use crate::routing::{DomainStrategy, Rule, Settings, Target};

/// Reads both keys of the top level. `unbuilt` are the tags of parts of V2Ray that stand in for an outbound and are not
/// built.
pub(super) fn read(root: &Object, unbuilt: &[String], geodata: &Geodata) -> Settings {
    let mut reader = Reader {
        unbuilt,
        geodata,
        settings: Settings::default(),
    };
    if let Some(routing) = root.object("routing") {
        reader.lists(&routing, ["rules", "balancers"]);
        // Until V2Ray 4 the lists stood one level deeper.
        if let Some(settings) = routing.object("settings") {
            reader.lists(&settings, ["rules", "balancers"]);
            settings.finish();
        }
        routing.silent(&["strategy"]);
        routing.finish();
    }
    if let Some(routing) = root.object("router") {
        reader.lists(&routing, ["rule", "balancingRule"]);
        routing.finish();
    }
    reader.settings
}

/// Reads one rule by itself.
///
/// # Errors
///
/// All that is wrong with it.
pub(in crate::dialect) fn one(text: &Value, geodata: &Geodata) -> Result<Rule, Vec<String>> {
    let report = Report::default();
    let node = Node::root(text, &report);
    let read = node
        .object()
        .and_then(|object| rule::read(object, &[], geodata));
    let mut problems = report.errors();
    if read.is_none() {
        // A rule that takes nothing is only warned about.
        problems.extend(report.warnings());
    }
    read.filter(|_| problems.is_empty())
        .ok_or_else(|| problems.into_iter().map(|problem| problem.text).collect())
}

struct Reader<'r> {
    unbuilt: &'r [String],
    geodata: &'r Geodata,
    settings: Settings,
}

impl Reader<'_> {
    fn lists(&mut self, object: &Object, [rules, balancers]: [&'static str; 2]) {
        if let Some(node) = object.get("domainStrategy") {
            self.settings.strategy = domain_strategy(&node);
        }
        object.silent(&["domainMatcher"]);
        let balancers = object.array(balancers).into_iter();
        let balancers = balancers.filter_map(|node| balancer::read(node.object()?, self.unbuilt));
        for balancer in balancers {
            let others = &mut self.settings.balancers;
            if others.iter().any(|other| other.tag == balancer.tag) {
                others.retain(|other| other.tag != balancer.tag);
                let text = format!(
                    "another balancer is tagged `{}`, the last one counts, as in V2Ray",
                    balancer.tag
                );
                let report = object.node.report();
                report.warn(&balancer.at, text);
            }
            others.push(balancer);
        }
        let rules = object.array(rules).into_iter();
        let rules = rules.filter_map(|node| rule::read(node.object()?, self.unbuilt, self.geodata));
        self.settings.rules.extend(rules);
    }
}

fn domain_strategy(node: &Node) -> DomainStrategy {
    let Some(text) = node.read::<String>() else {
        return DomainStrategy::AsIs;
    };
    // V2Ray takes `ip_if_non_match` and the like as well.
    let word = text.to_ascii_lowercase().replace(['_', '-'], "");
    match &*word {
        "asis" | "" => DomainStrategy::AsIs,
        "ipifnonmatch" => DomainStrategy::IpIfNonMatch,
        "ipondemand" => DomainStrategy::IpOnDemand,
        _ => {
            let guess = did_you_mean(&text, ["AsIs", "IPIfNonMatch", "IPOnDemand"].into_iter());
            node.warn(format!(
                "`{}` is not `AsIs`, `IPIfNonMatch` or `IPOnDemand`, `AsIs` is used as in V2Ray{guess}",
                text.escape_debug()
            ));
            DomainStrategy::AsIs
        }
    }
}

/// The tag of an outbound, and a warning where what has it is not built.
fn outbound(node: Node, tag: String, unbuilt: &[String]) -> Placed<Arc<str>> {
    if unbuilt.contains(&tag) {
        node.warn(format!(
            "what is tagged `{tag}` is not built, and what the rule takes is blocked"
        ));
    }
    Placed::new(tag.into(), node.path)
}

/// `outboundTag` and its like; where both stand, V2Ray takes the outbound.
fn target(object: &Object, unbuilt: &[String]) -> Option<Placed<Target>> {
    let read = |keys: &[&'static str]| {
        let node = object.first(keys)?;
        let tag: String = node.read()?;
        (!tag.is_empty()).then_some((node, tag))
    };
    let to_outbound = read(&["outboundTag", "tag"]);
    let to_balancer = read(&["balancerTag", "balancingTag"]);
    match (to_outbound, to_balancer) {
        (Some((node, tag)), _) => {
            let is_of_five = object.get("outboundTag").is_none();
            if is_of_five && node.path.to_string().starts_with("routing.") {
                let text = "`tag` is V2Ray 5's word, in `router`: V2Ray and Xray start with `outboundTag` alone here";
                node.warn(text);
            }
            let Placed { value, at } = outbound(node, tag, unbuilt);
            Some(Placed::new(Target::Outbound(value), at))
        }
        (None, Some((node, tag))) => Some(Placed::new(Target::Balancer(tag), node.path)),
        (None, None) => {
            let text = "the rule leads nowhere, expected `outboundTag` or `balancerTag`";
            object.node.error(text);
            None
        }
    }
}
