//! The frame of an outbound: where it sends from and through, and what its parts are.

use std::net::IpAddr;

use serde_json::Value;

use super::dns::{domain_strategy, forces};
use super::read::tag;
use super::{protocols, stream_settings};
use crate::address::Host;
use crate::config::{Outbound, Through, exposure, traps};
use crate::dialect::v2ray::json::{Node, Object, either, found};
use crate::mux;
use crate::protocol::OutboundSettings;

pub(super) fn read(object: Object) -> Option<Outbound> {
    let mut protocol = protocols::outbound(&object);
    let mut transport = stream_settings::client(object.get("streamSettings").as_ref());
    if let Some(node) = object.get("sendThrough")
        && let Some(ip) = send_through(&node)
        && let Some(transport) = &mut transport
    {
        transport.sockopt.send_through = Some(ip);
    }
    if let Some(proxy) = object.object("proxySettings") {
        // Without it, V2Ray leaves out the transport's own layers; V2Ray 5 has the longer word.
        for key in ["transportLayer", "transportLayerProxy"] {
            let _: bool = proxy.read_or(key, false);
        }
        proxy.silent(&["tag"]);
        proxy.finish();
    }
    // Between it and its targets there is nothing else.
    if let (Some(OutboundSettings::Freedom(freedom)), Some(transport)) =
        (&mut protocol, &mut transport)
        && let Some(fragment) = transport.fragment.take()
    {
        if freedom.fragment.is_some() {
            let text = "`settings.fragment` cuts already, `finalmask` has no effect beside it";
            object.node.warn(text);
        }
        freedom.fragment.get_or_insert(fragment);
    }
    let mux = mux(&object, protocol.as_ref());
    let strategy = object.first(&["domainStrategy", "targetStrategy"]);
    let must_resolve = strategy.as_ref().is_some_and(forces);
    let strategy = strategy.and_then(|n| domain_strategy(&n));
    let tag = tag(&object).map(Into::into);
    let node = object.node.clone();
    object.finish();
    let outbound = Outbound {
        name: node.path.to_string(),
        at: (&node.path).into(),
        tag,
        transport: transport?,
        protocol: protocol?,
        through: None,
        strategy: strategy.unwrap_or_default(),
        must_resolve,
        mux,
        plugin_mux: None,
    };
    exposure::warn_of_readable(&outbound, node.report());
    traps::warn_of_outbound(&outbound, node.report());
    Some(outbound)
}

/// `mux`, where the protocol has a word for it; V2Ray would ask any server for its made-up address.
fn mux(outbound: &Object, protocol: Option<&OutboundSettings>) -> Option<mux::Settings> {
    let object = outbound.object("mux")?;
    let mux = super::mux::read(&object);
    if mux.is_some() && protocol.is_some_and(|protocol| !protocol.has_mux()) {
        let names = either(&OutboundSettings::WITH_MUX);
        object.node.warn(format!(
            "only a {names} outbound carries mux, or `freedom` with a `redirect` to who understands it: the key has no effect"
        ));
        object.finish();
        return None;
    }
    object.finish();
    mux
}

/// The outbound that the connections of another one go through, and where that is said: in `proxySettings.tag`, or in
/// Xray's `streamSettings.sockopt.dialerProxy`.
pub(super) fn through(outbound: &Node) -> Option<Through> {
    match (proxy_tag(outbound), dialer_proxy(outbound)) {
        (Some((_, tag)), Some((at, other))) if tag != other => {
            at.error(format!(
                "`proxySettings.tag` says `{tag}`, expected one of the two"
            ));
            None
        }
        (proxy, dialer) => {
            let (at, tag) = dialer.or(proxy)?;
            Some(Through {
                at: at.path.into(),
                tag: tag.into(),
            })
        }
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

fn member<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let map = value.as_object()?;
    let found = map.get(key).or_else(|| {
        map.iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(key))
            .map(|(_, v)| v)
    });
    found.filter(|v| !v.is_null())
}

fn send_through(node: &Node) -> Option<IpAddr> {
    let text: String = node.read()?;
    match Host::parse(text.trim()) {
        Ok(Host::Ip(ip)) => Some(ip),
        _ => {
            node.error(format!("`{}` is not an IP address", text.escape_debug()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::{Path, Report};
    use serde_json::json;

    #[test]
    fn xrays_dialer_proxy_is_a_chain_too() {
        let sockopt = |tag: Value| json!({"sockopt": {"dialerProxy": tag}});
        let (tags, errors) = of(&json!([
            {"streamSettings": sockopt("b".into())},
            {"streamSettings": sockopt("".into())},
            {"proxySettings": {"tag": "b"}, "streamSettings": {"socketSettings": {"DialerProxy": "b"}}},
        ]));
        assert_eq!(tags, [Some("b".into()), None, Some("b".into())]);
        assert!(errors.is_empty(), "{errors:?}");
        let (_, errors) = of(&json!([
            {"proxySettings": {"tag": "a"}, "streamSettings": sockopt("b".into())},
            {"streamSettings": sockopt(5.into())},
            {"proxySettings": {}},
        ]));
        assert_eq!(
            errors,
            [
                "outbounds[0].streamSettings.sockopt.dialerProxy: `proxySettings.tag` says `a`, expected one of the two",
                "outbounds[1].streamSettings.sockopt.dialerProxy: the number 5 is not a string",
                "outbounds[2].proxySettings: `tag` is missing, expected the tag of another outbound",
            ]
        );
    }

    fn of(value: &Value) -> (Vec<Option<String>>, Vec<String>) {
        let report = Report::default();
        let path = Path::default().key("outbounds");
        let nodes = Node::at(path, value, &report).array();
        let tags = nodes.iter().map(through);
        let tags = tags.map(|through| Some(through?.tag.to_string())).collect();
        let errors = report.errors().iter().map(ToString::to_string).collect();
        (tags, errors)
    }
}
