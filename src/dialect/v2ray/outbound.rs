//! The frame of an outbound: where it sends from and through, and what its parts are.

use std::net::IpAddr;

use super::read::{protocol, tag};
use super::stream_settings;
use crate::address::Host;
use crate::config::{Outbound, exposure};
use crate::dns::Strategy;
use crate::json::{Node, Object, Report};
use crate::{mux, protocol, transport};

pub(super) fn read(object: Object) -> Option<Outbound> {
    let protocol = protocol(&object, protocol::Outbound::read);
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
    if let (Some(protocol), Some(transport)) = (&protocol, &transport) {
        exposure::warn_of_readable(&object.node, protocol, transport);
    }
    let mux = mux(&object, protocol.as_ref());
    let strategy = object
        .first(&["domainStrategy", "targetStrategy"])
        .and_then(|n| Strategy::read(&n));
    let tag = tag(&object).map(Into::into);
    let node = object.node.clone();
    object.finish();
    let transport = transport::Outbound::new(transport?).map_err(|e| node.error(e.to_string()));
    let mut outbound = Outbound::new(transport.ok()?, protocol?);
    outbound.tag = tag;
    outbound.mux = mux;
    outbound.strategy = strategy.unwrap_or_default();
    Some(outbound)
}

/// What carries sessions when there is no outbound.
pub(super) fn direct() -> Option<Outbound> {
    let value = serde_json::json!({"protocol": "freedom"});
    read(Node::root(&value, &Report::default()).object()?)
}

/// `mux`, where the protocol has a word for it; V2Ray would ask any server for its made-up address.
fn mux(outbound: &Object, protocol: Option<&protocol::Outbound>) -> Option<mux::Outbound> {
    let object = outbound.object("mux")?;
    let mux = mux::Outbound::read(&object);
    if mux.is_some() && protocol.is_some_and(|protocol| !protocol.has_mux()) {
        object
            .node
            .warn("only a `vmess` outbound carries mux, the key has no effect");
        object.finish();
        return None;
    }
    object.finish();
    mux
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
