//! What one part of a config says about another: tags, references, places to listen on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::address::PortRange;
use crate::report::{Path, Report, did_you_mean};
use crate::reverse::PortalSettings;
use crate::transport::ClientCarrier;

use super::{Api, ApiListen, Draft, Inbound, Listen, Metrics, Outbound, Through};

mod acme;
mod again;
mod modes;
mod reverse;
mod routing;
pub(super) mod sharing;
mod whole;

pub(crate) use again::ways_round;
pub(crate) use modes::one_mode_each;
pub(crate) use reverse::{portals_take_tags, reverse};
pub(crate) use routing::{Tags, observers, routing};

/// Tags, best once each, and every place to listen on once.
pub(crate) fn inbounds(inbounds: &[Draft<Inbound>], report: &Report) {
    // As in V2Ray.
    tags(inbounds, |at, text| {
        report.warn(at, format!("{text}, rules mean both"))
    });
    acme::inbounds(inbounds, report);
    for (i, draft) in inbounds.iter().enumerate() {
        let Some(later) = &draft.part else { continue };
        let mut shares = false;
        for before in &inbounds[..i] {
            if let Some(earlier) = &before.part
                && let Some(place) = shared_place(earlier, later)
            {
                if !sharing::may_share(earlier, later) {
                    let text = format!("{place} is listened on by {} already", *before.at);
                    report.error(&draft.at, text);
                    continue;
                }
                let sharer = |at, inbound| sharing::Sharer { at, inbound };
                let (a, b) = (sharer(&before.at, earlier), sharer(&draft.at, later));
                if !shares {
                    sharing::check_front(a, b, &place, report);
                }
                sharing::check_requests(a, b, &place, report);
                shares = true;
            }
        }
    }
}

/// A place of their own for the API and for numbers, where nothing else listens.
pub(crate) fn own_places(
    api: Option<&Api>,
    metrics: Option<&Metrics>,
    inbounds: &[Draft<Inbound>],
    report: &Report,
) {
    let api = api.and_then(|api| Some((&api.at, api.listen.as_ref()?)));
    let metrics = metrics.and_then(|metrics| Some((&metrics.at, metrics.listen.as_ref()?)));
    let own: Vec<_> = api.into_iter().chain(metrics).collect();
    for (n, (at, place)) in own.iter().enumerate() {
        let holder = inbounds.iter().find_map(|draft| {
            let inbound = draft.part.as_ref()?;
            is_at(inbound, place).then_some(&draft.at)
        });
        let before = own[..n].iter().find(|(_, other)| is_same(other, place));
        let holder = holder.map(|at| at.to_string());
        let holder = holder.or_else(|| before.map(|(at, _)| at.to_string()));
        if let Some(holder) = holder {
            let text = format!("this place is listened on by {holder} already");
            report.error(&at.key("listen"), text);
        }
    }
}

fn is_at(inbound: &Inbound, place: &ApiListen) -> bool {
    match (&inbound.listen, place) {
        (Listen::Ip(ip), ApiListen::Tcp(addr)) => {
            let has_port = inbound
                .ports
                .iter()
                .any(|range| range.contains(addr.port()));
            inbound.protocol.traits().streams
                && addr.port() != 0
                && has_port
                && overlap(*ip, addr.ip())
        }
        (Listen::Unix(a), ApiListen::Unix(b)) => a == b,
        (Listen::Abstract(a), ApiListen::Abstract(b)) => a == b,
        _ => false,
    }
}

fn is_same(a: &ApiListen, b: &ApiListen) -> bool {
    match (a, b) {
        (ApiListen::Tcp(a), ApiListen::Tcp(b)) => {
            a.port() == b.port() && a.port() != 0 && overlap(a.ip(), b.ip())
        }
        (a, b) => a == b,
    }
}

/// Outbounds that one may go through. A connection is opened inside the one that it goes through, on one stack.
const MAX_CHAIN: usize = 16;

/// An outbound for every one that another goes through, and not too many behind each other.
pub(crate) fn outbounds(
    outbounds: &[Draft<Outbound>],
    reverse: &crate::reverse::Settings,
    report: &Report,
) {
    let tags = tags(outbounds, |at, text| report.error(at, text));
    let next: Vec<Option<usize>> = outbounds
        .iter()
        .map(|draft| {
            let through = draft.through.as_ref()?;
            let is = |portal: &PortalSettings| portal.tag == through.tag;
            if reverse.portals.iter().any(is) {
                return None;
            }
            resolve(through, &tags, report)
        })
        .collect();
    for draft in outbounds {
        let Some((through, part)) = draft.through.as_ref().zip(draft.part.as_ref()) else {
            continue;
        };
        if let ClientCarrier::Unix(socket) = &part.transport.carrier {
            let text = format!(
                "no outbound leads to the unix socket {socket}, which is on this machine: take out one of the two"
            );
            report.error(&through.at, text);
        }
    }
    for (start, draft) in outbounds.iter().enumerate() {
        // A circle has no end; of a chain it is told once.
        let way = std::iter::successors(next[start], |n| next[*n]);
        if way.take(MAX_CHAIN + 2).count() == MAX_CHAIN + 1
            && let Some(through) = &draft.through
        {
            let text = format!(
                "more than {MAX_CHAIN} outbounds stand behind each other from here on, expected fewer: each takes room and time"
            );
            report.error(&through.at, text);
        }
        // A circle is told once, where it is met first.
        if let Some(round) = circle(start, &next)
            && round.iter().all(|i| *i >= start)
            && let Some(through) = &draft.through
        {
            let names = round.iter().map(|i| outbounds[*i].at.to_string());
            let names: Vec<String> = names.collect();
            let text = format!("goes round in a circle: {}", names.join(" → "));
            report.error(&through.at, text);
        }
    }
}

/// Of outbounds with the same tag the last one has it, as in V2Ray.
pub(crate) fn last_of_each_tag(outbounds: &mut [Draft<Outbound>], report: &Report) {
    for i in (0..outbounds.len()).rev() {
        let Some(tag) = outbounds[i].tag.clone() else {
            continue;
        };
        let mut others = Vec::new();
        for earlier in &mut outbounds[..i] {
            if earlier.tag.as_ref() == Some(&tag) {
                earlier.tag = None;
                others.push(earlier.at.to_string());
            }
        }
        if !others.is_empty() {
            let others = others.join(" and ");
            let text =
                format!("`{tag}` is the tag of {others} as well, the last one counts, as in V2Ray");
            report.warn(&outbounds[i].at.key("tag"), text);
        }
    }
}

/// Every tag and the index of its first bearer; `twice` is told of one that another has as well.
fn tags<T>(drafts: &[Draft<T>], mut twice: impl FnMut(&Path, String)) -> HashMap<&str, usize> {
    let mut bearers: HashMap<&str, usize> = HashMap::new();
    for (i, draft) in drafts.iter().enumerate() {
        let Some(tag) = draft.tag.as_deref() else {
            continue;
        };
        match bearers.get(tag) {
            Some(bearer) => {
                let text = format!("`{tag}` is the tag of {} already", *drafts[*bearer].at);
                twice(&draft.at.key("tag"), text);
            }
            None => {
                bearers.insert(tag, i);
            }
        }
    }
    bearers
}

fn resolve(through: &Through, tags: &HashMap<&str, usize>, report: &Report) -> Option<usize> {
    let index = tags.get(&*through.tag).copied();
    if index.is_none() {
        let guess = did_you_mean(&through.tag, tags.keys().copied());
        let text = format!("no outbound is tagged `{}`{guess}", through.tag);
        report.error(&through.at, text);
    }
    index
}

/// The way from `start` back to `start`, if there is one.
fn circle(start: usize, through: &[Option<usize>]) -> Option<Vec<usize>> {
    let mut way = vec![start];
    while let Some(next) = through[*way.last()?] {
        way.push(next);
        if next == start {
            return Some(way);
        }
        if way.len() > through.len() {
            return None;
        }
    }
    None
}

/// A place that both would listen on.
fn shared_place(a: &Inbound, b: &Inbound) -> Option<String> {
    let (x, y) = (a.protocol.traits(), b.protocol.traits());
    if !(x.streams && y.streams || x.datagrams && y.datagrams) {
        return None;
    }
    match (&a.listen, &b.listen) {
        (Listen::Unix(a), Listen::Unix(b)) if a == b => Some(format!("`{}`", a.display())),
        (Listen::Abstract(a), Listen::Abstract(b)) if a == b => {
            Some(format!("`@{}`", String::from_utf8_lossy(a)))
        }
        (Listen::Ip(x), Listen::Ip(y)) if overlap(*x, *y) => {
            let port = shared_port(&a.ports, &b.ports)?;
            Some(SocketAddr::new(*y, port).to_string())
        }
        _ => None,
    }
}

/// Whether the system refuses one of the two when both are listened on.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// With port 0 the system chooses, each time another one.
fn shared_port(a: &[PortRange], b: &[PortRange]) -> Option<u16> {
    a.iter()
        .flat_map(|a| b.iter().map(move |b| (a.from.max(b.from), a.to.min(b.to))))
        .find(|(from, to)| from <= to && *to != 0)
        .map(|(from, _)| from.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_told_once() {
        let errors = of(&[
            (Some("out"), Some("a")),
            (Some("a"), Some("b")),
            (Some("b"), Some("a")),
        ]);
        assert_eq!(
            errors,
            [
                "outbounds[1].through: goes round in a circle: outbounds[1] → outbounds[2] → outbounds[1]",
            ]
        );
    }

    #[test]
    fn of_two_with_one_tag_the_last_one_has_it() {
        let at = |i| Path::default().key("outbounds").index(i);
        let mut drafts = [Some("a"), Some("a"), None, Some("a")]
            .into_iter()
            .enumerate()
            .map(|(i, tag)| Draft {
                tag: tag.map(Into::into),
                through: None,
                part: None,
                at: at(i).into(),
            })
            .collect::<Vec<_>>();
        let report = Report::default();
        last_of_each_tag(&mut drafts, &report);
        let tags: Vec<_> = drafts.iter().map(|draft| draft.tag.as_deref()).collect();
        assert_eq!(tags, [None, None, None, Some("a")]);
        let warnings: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "outbounds[3].tag: `a` is the tag of outbounds[0] and outbounds[1] as well, the last one counts, as in V2Ray"
            ]
        );
    }

    #[test]
    fn a_tag_that_nobody_has_is_guessed_at() {
        assert!(of(&[(Some("a"), Some("b")), (Some("b"), None)]).is_empty());
        let errors = of(&[
            (Some("proxy"), Some("prxy")),
            (Some("proxy"), None),
            (None, None),
        ]);
        assert_eq!(
            errors,
            [
                "outbounds[1].tag: `proxy` is the tag of outbounds[0] already",
                "outbounds[0].through: no outbound is tagged `prxy`, did you mean `proxy`?",
            ]
        );
    }

    #[test]
    fn a_chain_has_an_end_somewhere() {
        let chain = |len: usize| {
            let tags: Vec<String> = (0..=len).map(|n| format!("o{n}")).collect();
            let all: Vec<_> = (0..len)
                .map(|n| (Some(&*tags[n]), (n + 1 < len).then_some(&*tags[n + 1])))
                .collect();
            of(&all)
        };
        assert_eq!(chain(MAX_CHAIN + 1), [""; 0]);
        let expected = "outbounds[83].through: more than 16 outbounds stand behind each other from here on, expected fewer: each takes room and time";
        assert_eq!(chain(101)[..], [expected]);
    }

    #[test]
    fn ports_meet_where_ranges_do() {
        let range = |from, to| PortRange { from, to };
        assert_eq!(shared_port(&[range(80, 80)], &[range(1, 100)]), Some(80));
        assert_eq!(shared_port(&[range(80, 80)], &[range(81, 100)]), None);
        assert_eq!(shared_port(&[range(0, 0)], &[range(0, 0)]), None);
    }

    /// What is said of outbounds that have a tag, and the tag of the one they go through.
    fn of(outbounds: &[(Option<&str>, Option<&str>)]) -> Vec<String> {
        let list = Path::default().key("outbounds");
        let drafts = outbounds.iter().enumerate().map(|(i, (tag, through))| {
            let at = list.index(i);
            let through = through.map(|tag| Through {
                at: at.key("through").into(),
                tag: tag.into(),
            });
            Draft {
                tag: tag.map(Into::into),
                through,
                part: None,
                at: at.into(),
            }
        });
        let report = Report::default();
        super::outbounds(&drafts.collect::<Vec<_>>(), &Default::default(), &report);
        report.errors().iter().map(ToString::to_string).collect()
    }
}
