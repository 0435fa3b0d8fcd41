//! What one part of a config says about another: tags, references, places to listen on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use crate::json::{Node, PortRange, did_you_mean, found};

use super::{Inbound, Listen};

/// Tags once each, and every place to listen on once.
pub(crate) fn inbounds(inbounds: &[(&Node, Option<Inbound>)]) {
    unique_tags(inbounds.iter().map(|(node, _)| *node));
    for (i, (node, later)) in inbounds.iter().enumerate() {
        let Some(later) = later else { continue };
        for (before, earlier) in &inbounds[..i] {
            if let Some(earlier) = earlier
                && let Some(place) = shared_place(earlier, later)
            {
                let place = format!("{place} is listened on by {} already", before.path);
                node.error(place);
            }
        }
    }
}

/// Tags once each, and `proxySettings.tag` or `dialerProxy` looked up: for each outbound the tag of the one it goes through.
pub(crate) fn outbounds(outbounds: &[Node]) -> Vec<Option<Arc<str>>> {
    let tags = unique_tags(outbounds.iter());
    let through: Vec<Option<usize>> = outbounds
        .iter()
        .map(|node| {
            let (at, tag) = goes_through(node)?;
            let index = resolve(&at, tag, &tags)?;
            let named = text(outbounds[index].value, "protocol");
            if named.is_some_and(|name| name.eq_ignore_ascii_case("loopback")) {
                at.error(format!(
                    "`{tag}` is a `loopback`, which connections cannot go through"
                ));
                return None;
            }
            Some(index)
        })
        .collect();
    for (start, node) in outbounds.iter().enumerate() {
        // A circle is told once, where it is met first.
        if let Some(round) = circle(start, &through)
            && round.iter().all(|i| *i >= start)
            && let Some((at, _)) = goes_through(node)
        {
            let names: Vec<String> = round
                .iter()
                .map(|i| outbounds[*i].path.to_string())
                .collect();
            at.error(format!("goes round in a circle: {}", names.join(" → ")));
        }
    }
    let tag = |i: usize| text(outbounds[i].value, "tag").map(Arc::from);
    through.into_iter().map(|i| tag(i?)).collect()
}

/// Every tag and the index of its bearer.
fn unique_tags<'n, 'a: 'n>(nodes: impl Iterator<Item = &'n Node<'a>>) -> HashMap<&'a str, usize> {
    let mut bearers: HashMap<&str, usize> = HashMap::new();
    let mut paths = Vec::new();
    for (i, node) in nodes.enumerate() {
        paths.push(&node.path);
        let Some(tag) = text(node.value, "tag") else {
            continue;
        };
        match bearers.get(tag) {
            Some(bearer) => node.report().error(
                &node.path.key("tag"),
                format!("`{tag}` is the tag of {} already", paths[*bearer]),
            ),
            None => {
                bearers.insert(tag, i);
            }
        }
    }
    bearers
}

/// The outbound that the connections of another one go through, and where that is said: in `proxySettings.tag`, or in
/// Xray's `streamSettings.sockopt.dialerProxy`.
pub(crate) fn goes_through<'a>(outbound: &Node<'a>) -> Option<(Node<'a>, &'a str)> {
    match (proxy_tag(outbound), dialer_proxy(outbound)) {
        (Some((_, tag)), Some((at, other))) if tag != other => {
            at.error(format!(
                "`proxySettings.tag` says `{tag}`, expected one of the two"
            ));
            None
        }
        (proxy, dialer) => dialer.or(proxy),
    }
}

fn dialer_proxy<'a>(outbound: &Node<'a>) -> Option<(Node<'a>, &'a str)> {
    let stream = member(outbound.value, "streamSettings")?;
    let named = ["sockopt", "socketSettings"].into_iter();
    let (name, sockopt) = named
        .filter_map(|name| Some((name, member(stream, name)?)))
        .find(|(_, sockopt)| sockopt.is_object())?;
    let value = member(sockopt, "dialerProxy")?;
    let path = outbound.path.key("streamSettings").key(name);
    let at = Node::at(path.key("dialerProxy"), value, outbound.report());
    match value {
        Value::String(tag) => (!tag.is_empty()).then_some((at, tag.as_str())),
        other => {
            at.error(format!("{} is not a string", found(other)));
            None
        }
    }
}

/// Where `proxySettings.tag` stands, and what it says.
fn proxy_tag<'a>(outbound: &Node<'a>) -> Option<(Node<'a>, &'a str)> {
    let proxy = member(outbound.value, "proxySettings")?;
    let path = outbound.path.key("proxySettings");
    let at = |path, value| Node::at(path, value, outbound.report());
    if !proxy.is_object() {
        return None;
    }
    match member(proxy, "tag") {
        Some(Value::String(tag)) if !tag.is_empty() => {
            Some((at(path.key("tag"), proxy), tag.as_str()))
        }
        None | Some(Value::String(_)) => {
            at(path, proxy).error("`tag` is missing, expected the tag of another outbound");
            None
        }
        Some(other) => {
            at(path.key("tag"), proxy).error(format!("{} is not a string", found(other)));
            None
        }
    }
}

fn resolve(at: &Node, tag: &str, tags: &HashMap<&str, usize>) -> Option<usize> {
    let index = tags.get(tag).copied();
    if index.is_none() {
        let guess = did_you_mean(tag, tags.keys().copied());
        at.error(format!("no outbound is tagged `{tag}`{guess}"));
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
    let streams = a.protocol.takes_streams() && b.protocol.takes_streams();
    let datagrams = a.protocol.takes_datagrams() && b.protocol.takes_datagrams();
    if !streams && !datagrams {
        return None;
    }
    match (&a.listen, &b.listen) {
        (Listen::Unix(a), Listen::Unix(b)) if a == b => Some(format!("`{}`", a.display())),
        (Listen::Abstract(a), Listen::Abstract(b)) if a == b => {
            Some(format!("`@{}`", String::from_utf8_lossy(a)))
        }
        (Listen::Ip(x), Listen::Ip(y)) if overlap(*x, *y) => {
            let port = shared_port(&a.ports.0, &b.ports.0)?;
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

fn member<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let map = value.as_object()?;
    let found = map.get(key).or_else(|| {
        map.iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(key))
            .map(|(_, v)| v)
    });
    found.filter(|v| !v.is_null())
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    member(value, key)?.as_str().filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Path, Report};
    use serde_json::json;

    #[test]
    fn a_chain_is_followed_by_its_tags() {
        let (through, errors) = of(json!([
            {"tag": "a", "proxySettings": {"tag": "b"}}, {"tag": "b"}
        ]));
        assert_eq!(through, [Some("b".into()), None]);
        assert!(errors.is_empty());
    }

    #[test]
    fn xrays_dialer_proxy_is_a_chain_too() {
        let outbound = |tag: Value| json!({"sockopt": {"dialerProxy": tag}});
        let (through, errors) = of(json!([
            {"tag": "a", "streamSettings": outbound("b".into())}, {"tag": "b", "streamSettings": outbound("".into())},
            {"proxySettings": {"tag": "b"}, "streamSettings": {"socketSettings": {"DialerProxy": "b"}}}
        ]));
        assert_eq!(through, [Some("b".into()), None, Some("b".into())]);
        assert!(errors.is_empty(), "{errors:?}");
        let (_, errors) = of(json!([
            {"tag": "a", "streamSettings": outbound("nowhere".into())},
            {"tag": "b", "proxySettings": {"tag": "a"}, "streamSettings": outbound("b".into())},
            {"streamSettings": outbound(5.into())}
        ]));
        assert_eq!(
            errors,
            [
                "outbounds[0].streamSettings.sockopt.dialerProxy: no outbound is tagged `nowhere`",
                "outbounds[1].streamSettings.sockopt.dialerProxy: `proxySettings.tag` says `a`, expected one of the two",
                "outbounds[2].streamSettings.sockopt.dialerProxy: the number 5 is not a string",
            ]
        );
    }

    #[test]
    fn a_circle_is_told_once() {
        let (_, errors) = of(json!([
            {"tag": "out", "proxySettings": {"tag": "a"}},
            {"tag": "a", "proxySettings": {"tag": "b"}},
            {"tag": "b", "proxySettings": {"tag": "a"}}
        ]));
        assert_eq!(
            errors,
            [
                "outbounds[1].proxySettings.tag: goes round in a circle: outbounds[1] → outbounds[2] → outbounds[1]",
            ]
        );
    }

    #[test]
    fn a_tag_that_nobody_has_and_a_tag_that_two_have() {
        let (_, errors) = of(json!([
            {"tag": "proxy", "proxySettings": {"tag": "prxy"}}, {"tag": "proxy"}, {"proxySettings": {}}
        ]));
        assert_eq!(
            errors,
            [
                "outbounds[1].tag: `proxy` is the tag of outbounds[0] already",
                "outbounds[0].proxySettings.tag: no outbound is tagged `prxy`, did you mean `proxy`?",
                "outbounds[2].proxySettings: `tag` is missing, expected the tag of another outbound",
            ]
        );
    }

    #[test]
    fn ports_meet_where_ranges_do() {
        let range = |from, to| PortRange { from, to };
        assert_eq!(shared_port(&[range(80, 80)], &[range(1, 100)]), Some(80));
        assert_eq!(shared_port(&[range(80, 80)], &[range(81, 100)]), None);
        assert_eq!(shared_port(&[range(0, 0)], &[range(0, 0)]), None);
    }

    fn of(value: Value) -> (Vec<Option<Arc<str>>>, Vec<String>) {
        let report = Report::default();
        let path = Path::default().key("outbounds");
        let nodes = Node::at(path, &value, &report).array();
        let through = outbounds(&nodes);
        let errors = report.errors().iter().map(ToString::to_string).collect();
        (through, errors)
    }
}
