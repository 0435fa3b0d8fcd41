//! What rules, balancers and observers name: inbounds, outbounds, balancers and observers, by their tags.

use crate::config::{Draft, Inbound, Outbound};
use crate::protocol::InboundSettings;
use crate::report::{Placed, Report, did_you_mean};
use crate::routing::{self, Among, BalancerSettings, Rule, Strategy, Target, selected};
use crate::{dns, observatory, reverse};

/// What there is to be named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tags {
    pub(crate) inbounds: Vec<String>,
    pub(crate) outbounds: Vec<String>,
    /// Whether any inbound finds out what its sessions carry.
    pub(crate) sniffs: bool,
}

impl Tags {
    /// Those of a config; the API's and those of portals stand for outbounds, those of bridges for inbounds.
    pub(crate) fn of(
        inbounds: &[Draft<Inbound>],
        outbounds: &[Draft<Outbound>],
        dns: &dns::Settings,
        reverse: &reverse::Settings,
        api: Option<&str>,
    ) -> Self {
        let parts = outbounds.iter().filter_map(|draft| draft.part.as_ref());
        let loopbacks = parts.filter_map(|outbound| outbound.protocol.loopback());
        let again = loopbacks.filter_map(|loopback| loopback.inbound.as_deref());
        let sources = inbounds.iter().filter_map(|draft| draft.tag.as_deref());
        let sources = sources.chain(again).map(str::to_owned);
        let targets = outbounds.iter().filter_map(|draft| draft.tag.as_deref());
        let portals = reverse.portals.iter().map(|portal| &*portal.tag);
        let bridges = reverse.bridges.iter().map(|bridge| &bridge.tag);
        let published = reverse.publish.iter().map(|one| &one.tag);
        let bridges = bridges.chain(published).map(|tag| tag.to_string());
        let mut parts = inbounds.iter().filter_map(|draft| draft.part.as_ref());
        Self {
            inbounds: sources
                .chain(dns.inbounds().map(ToString::to_string))
                .chain(bridges)
                .collect(),
            outbounds: targets
                .chain(portals)
                .chain(api)
                .map(str::to_owned)
                .collect(),
            // What a plain request is, its inbound says.
            sniffs: parts.any(|inbound| {
                inbound.sniffing.is_some() || matches!(inbound.protocol, InboundSettings::Http(_))
            }),
        }
    }
}

pub(crate) fn routing(
    settings: &routing::Settings,
    observers: &[observatory::Settings],
    tags: &Tags,
    report: &Report,
) {
    for balancer in &settings.balancers {
        check_balancer(balancer, observers, tags, report);
    }
    for rule in &settings.rules {
        check_target(rule, settings, tags, report);
        check_conditions(rule, tags, report);
    }
}

/// An observer of nothing.
pub(crate) fn observers(observers: &[observatory::Settings], tags: &Tags, report: &Report) {
    for observatory::Settings { selectors, .. } in observers {
        if !tags.outbounds.iter().any(|tag| selected(selectors, tag)) {
            report.warn(
                &selectors.at,
                "no outbound has a tag that begins like this, no outbound is observed",
            );
        }
    }
}

fn check_balancer(
    balancer: &BalancerSettings,
    observers: &[observatory::Settings],
    tags: &Tags,
    report: &Report,
) {
    let known = |tag: &str| tags.outbounds.iter().any(|other| other == tag);
    if let Some(Placed { value: tag, at }) = balancer.fallback.as_ref().filter(|tag| !known(tag)) {
        let guess = did_you_mean(tag, tags.outbounds.iter().map(String::as_str));
        report.warn(at, format!(
            "no outbound is tagged `{}`, so the first one carries what comes to it, as in V2Ray (Xray would end it){guess}",
            tag.escape_debug()
        ));
    }
    let observer = check_observer(balancer, observers, report);
    let selectors = &balancer.selectors;
    let mut candidates = tags.outbounds.iter().filter(|tag| balancer.selects(tag));
    if candidates.clone().next().is_none() {
        let none = "no outbound has a tag that begins like this";
        match balancer.fallback {
            Some(_) => report.warn(
                &selectors.at,
                format!("{none}, `fallbackTag` carries everything"),
            ),
            None => report.warn(
                &selectors.at,
                format!("{none}, the first outbound carries everything, as in V2Ray"),
            ),
        }
    } else if let Some(observer) = observer
        && let Strategy::LeastPing { .. } | Strategy::LeastLoad(_) = *balancer.strategy
        && let Some(tag) = candidates.find(|tag| !selected(&observer.selectors, tag))
    {
        report.warn(
            &selectors.at,
            format!(
                "the observatory's `subjectSelector` leaves out `{}`, which is never chosen then",
                tag.escape_debug()
            ),
        );
    }
}

/// The observer that a balancer asks; whether one is missing.
fn check_observer<'o>(
    balancer: &BalancerSettings,
    observers: &'o [observatory::Settings],
    report: &Report,
) -> Option<&'o observatory::Settings> {
    let Placed { value: tag, at } = &balancer.observer;
    let found = observers.iter().find(|observer| observer.tag == *tag);
    if found.is_none() && !tag.is_empty() {
        let guess = did_you_mean(tag, observers.iter().map(|observer| observer.tag.as_str()));
        report.warn(
            at,
            format!("no observer is tagged `{}`{guess}", tag.escape_debug()),
        );
    }
    let fate = match (&*balancer.strategy, &balancer.fallback) {
        (Strategy::First, _)
        | (Strategy::Random(Among::All) | Strategy::RoundRobin(Among::All), _) => return found,
        (Strategy::Random(_) | Strategy::RoundRobin(_) | Strategy::FirstAlive, _) => {
            "every outbound counts as alive"
        }
        (_, Some(_)) => "`fallbackTag` carries everything",
        (_, None) => "the first outbound carries everything",
    };
    if found.is_none() {
        let text = format!("there is no `observatory`, {fate}");
        report.warn(&balancer.strategy.at, text);
    }
    found
}

/// A rule to an outbound that nobody has leads to the first one, as in V2Ray.
fn check_target(rule: &Rule, settings: &routing::Settings, tags: &Tags, report: &Report) {
    let Placed { value: target, at } = &rule.target;
    match target {
        Target::Outbound(tag) if !tags.outbounds.iter().any(|other| **other == **tag) => {
            let guess = did_you_mean(tag, tags.outbounds.iter().map(String::as_str));
            report.warn(at, format!(
                "no outbound is tagged `{}`, so the first one carries what the rule takes, as in V2Ray (Xray would end it){guess}",
                tag.escape_debug()
            ));
        }
        Target::Balancer(tag) if settings.balancer(tag).is_none() => {
            let known = settings.balancers.iter().map(|b| b.tag.as_str());
            let guess = did_you_mean(tag, known);
            report.error(
                at,
                format!("no balancer is tagged `{}`{guess}", tag.escape_debug()),
            );
        }
        Target::Outbound(_) | Target::Balancer(_) => {}
    }
}

fn check_conditions(rule: &Rule, tags: &Tags, report: &Report) {
    let Placed { value: named, at } = &rule.conditions.inbounds;
    for tag in named.iter().filter(|tag| !tags.inbounds.contains(tag)) {
        let guess = did_you_mean(tag, tags.inbounds.iter().map(String::as_str));
        report.warn(
            at,
            format!("no inbound is tagged `{}`{guess}", tag.escape_debug()),
        );
    }
    let Placed { value: words, at } = &rule.conditions.protocols;
    let of_content = words.iter().any(|word| !"dns".starts_with(word.as_str()));
    if of_content && !tags.sniffs {
        report.warn(
            at,
            "no inbound has `sniffing` enabled, the rule takes nothing",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observatory::Kind;
    use crate::report::Path;

    #[test]
    fn what_an_observer_leaves_out_is_told() {
        let all = [observer("x", &["a"]), observer("", &["nobody"])];
        let told = |check: &dyn Fn(&Report)| {
            let report = Report::default();
            check(&report);
            let all = report.errors().into_iter().chain(report.warnings());
            all.map(|problem| problem.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&|report| observers(&all, &tags(), report)),
            [
                "subjectSelector: no outbound has a tag that begins like this, no outbound is observed"
            ]
        );
        let of = |observer: &str, strategy| {
            let balancer = BalancerSettings {
                strategy: at("strategy", strategy),
                selectors: at("selector", vec!["a".to_owned(), "b".to_owned()]),
                observer: at("observerTag", observer.to_owned()),
                ..BalancerSettings::default()
            };
            told(&|report| check_balancer(&balancer, &all[..1], &tags(), report))
        };
        assert_eq!(of("", Strategy::RoundRobin(Among::All)), [""; 0]);
        assert_eq!(of("x", Strategy::Random(Among::Alive)), [""; 0]);
        assert_eq!(
            of("x", Strategy::LEAST_PING),
            [
                "selector: the observatory's `subjectSelector` leaves out `b`, which is never chosen then"
            ]
        );
        assert_eq!(
            of("y", Strategy::Random(Among::Alive)),
            [
                "observerTag: no observer is tagged `y`, did you mean `x`?",
                "strategy: there is no `observatory`, every outbound counts as alive",
            ]
        );
        assert_eq!(
            of("", Strategy::LEAST_PING),
            ["strategy: there is no `observatory`, the first outbound carries everything"]
        );
    }

    fn observer(tag: &str, selectors: &[&str]) -> observatory::Settings {
        let selectors = selectors.iter().map(ToString::to_string).collect();
        observatory::Settings {
            tag: tag.to_owned(),
            selectors: at("subjectSelector", selectors),
            kind: Kind::Background(Box::default()),
        }
    }

    fn tags() -> Tags {
        Tags {
            outbounds: vec!["a".to_owned(), "b".to_owned()],
            ..Tags::default()
        }
    }

    fn at<T>(key: &str, value: T) -> Placed<T> {
        Placed::new(value, Path::default().key(key))
    }
}
