//! The other way: settings as an element of `outbounds`, in words that V2Ray 4 and Xray read as well where both have them.

mod config;
mod disguise;
pub(in crate::dialect) use disguise::of_mask as mask;
mod protocols;
mod routing;
mod server;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value, json};

pub(in crate::dialect) use config::config;
pub(in crate::dialect) use routing::balancers;

use crate::config::{Outbound, Through};
use crate::dns::Strategy;
use crate::mux::{self, Udp, Udp443};
use crate::transport::ClientCarrier;

/// An outbound that goes to a server as a tunnel, `None` for any other. What is the default is left out, and so is
/// `sockopt`, which is about the machine that it stands on.
pub fn outbound(outbound: &Outbound) -> Option<Value> {
    let Some(tag) = plugin_tag(outbound) else {
        return alone(outbound);
    };
    let behind = Outbound {
        transport: Default::default(),
        through: Some(Through {
            at: Default::default(),
            tag,
        }),
        plugin_mux: None,
        ..outbound.clone()
    };
    alone(&behind)
}

/// What stands between an outbound and its server, where connections to it share others: a `freedom` that leads there.
pub fn plugin(outbound: &Outbound) -> Option<Value> {
    let tag = plugin_tag(outbound)?;
    let (mux, server) = (outbound.plugin_mux.as_ref()?, outbound.protocol.servers());
    let mut value = json!({
        "protocol": "freedom", "tag": &*tag,
        "settings": {"redirect": server.first()?.to_string()},
        "streamSettings": stream::client(&outbound.transport),
        "mux": sharing(mux),
    });
    if let Some(through) = &outbound.through {
        value["proxySettings"] = json!({"tag": &*through.tag, "transportLayer": true});
    }
    Some(value)
}

fn plugin_tag(outbound: &Outbound) -> Option<Arc<str>> {
    let is_there = outbound.plugin_mux.is_some();
    let tag = outbound.tag.as_deref().unwrap_or(&outbound.name);
    // Balancers choose by what tags begin with.
    is_there.then(|| format!("v2ray-plugin: {tag}").into())
}

fn alone(outbound: &Outbound) -> Option<Value> {
    let (protocol, settings) = protocols::outbound(&outbound.protocol)?;
    let mut map = Map::new();
    map.insert("protocol".to_owned(), protocol.into());
    map.insert("settings".to_owned(), settings);
    let stream = stream::client(&outbound.transport);
    map.insert("streamSettings".to_owned(), stream);
    if let Some(tag) = &outbound.tag {
        map.insert("tag".to_owned(), json!(&**tag));
    }
    if let Some(ip) = outbound.transport.sockopt.send_through {
        map.insert("sendThrough".to_owned(), json!(ip.to_string()));
    }
    if let Some(through) = &outbound.through {
        let mut proxy = json!({"tag": &*through.tag});
        if !matches!(outbound.transport.carrier, ClientCarrier::Raw) {
            // V2Ray leaves the carrier out otherwise.
            proxy["transportLayer"] = true.into();
        }
        map.insert("proxySettings".to_owned(), proxy);
    }
    if outbound.strategy != Strategy::AsIs {
        map.insert(
            "domainStrategy".to_owned(),
            match outbound.must_resolve {
                true => strategy(outbound.strategy).replacen("Use", "Force", 1),
                false => strategy(outbound.strategy).to_owned(),
            }
            .into(),
        );
    }
    if let Some(mux) = &outbound.mux {
        map.insert("mux".to_owned(), sharing(mux));
    }
    Some(Value::Object(map))
}

fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::AsIs => "AsIs",
        Strategy::UseIp => "UseIP",
        Strategy::UseIpv4 => "UseIPv4",
        Strategy::UseIpv6 => "UseIPv6",
        Strategy::PreferIpv4 => "UseIPv4v6",
        Strategy::PreferIpv6 => "UseIPv6v4",
    }
}

fn sharing(mux: &mux::Settings) -> Value {
    let concurrency = mux.concurrency.map_or(json!(-1), |n| json!(n));
    let mut value = json!({"enabled": true, "concurrency": concurrency});
    match mux.udp {
        Udp::Native if mux.concurrency.is_some() => value["xudpConcurrency"] = json!(-1),
        Udp::Native | Udp::Shared => {}
        Udp::Xudp(Some(n)) => value["xudpConcurrency"] = json!(n),
        Udp::Xudp(None) => value["packetEncoding"] = json!("xudp"),
        Udp::PacketAddr => value["packetEncoding"] = json!("packetaddr"),
        Udp::PacketStream => value["packetEncoding"] = json!("stream"),
    }
    let word = match mux.udp_443 {
        Udp443::Reject => "reject",
        Udp443::Allow => "allow",
        Udp443::Skip => "skip",
    };
    // Where nothing is said, it is one of the two.
    if mux.udp_443 != Udp443::Allow || value.get("xudpConcurrency").is_some() {
        value["xudpProxyUDP443"] = json!(word);
    }
    value
}
