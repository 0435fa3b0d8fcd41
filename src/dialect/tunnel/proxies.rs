//! `[[proxies]]`: what a client publishes.

use std::net::{IpAddr, Ipv4Addr};

use super::server::address;
use super::text::Value;
use crate::address::{Destination, Host, Network};
use crate::report::Place;
use crate::reverse::{PublishSettings, PublishTarget, WebTarget};

/// What is spoken to a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Http,
}

/// What is published; by which way, the client knows. Web servers that share a port are one.
pub(super) fn read(value: &Value<'_, '_>) -> Option<Vec<PublishSettings>> {
    let mut all: Vec<PublishSettings> = Vec::new();
    let (mut names, mut is_well) = (Vec::new(), true);
    let list = value.array()?;
    if list.is_empty() {
        value.error("there is nothing to publish");
        return None;
    }
    for one in list {
        is_well &= read_one(&one, &mut all, &mut names).is_some();
    }
    is_well.then_some(all)
}

fn read_one(
    value: &Value<'_, '_>,
    all: &mut Vec<PublishSettings>,
    names: &mut Vec<String>,
) -> Option<()> {
    let table = value.clone().table()?;
    let name_at = table.require("name");
    let name = name_at.as_ref().and_then(Value::word);
    let kind = match table.get("proxy_type") {
        Some(value) => value.one_of(&[
            ("tcp", Kind::Tcp),
            ("udp", Kind::Udp),
            ("http/1.1", Kind::Http),
            ("http", Kind::Http),
        ]),
        None => Some(Kind::Tcp),
    };
    let publish_addr = match table.get("publish_addr") {
        Some(value) => address(&value),
        None => Some(Ipv4Addr::UNSPECIFIED.into()),
    };
    let port_at = table.require("publish_port");
    let publish_port = port_at.as_ref().and_then(Value::port);
    let local_port = table.require("local_port").and_then(|value| value.port());
    let local_addr = match table.get("local_addr") {
        Some(value) => host(&value),
        None => Some(Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))),
    };
    let hosts_at = table.get("hosts");
    let hosts = match &hosts_at {
        Some(value) => hosts(value),
        None => Some(Vec::new()),
    };
    table.finish("a proxy");
    let (name, kind, hosts) = (name?, kind?, hosts?);
    if let Some(value) = hosts_at.filter(|_| kind != Kind::Http) {
        value.error("only a proxy of `http/1.1` is told by the host that is asked for");
        return None;
    }
    if names.contains(&name) {
        let text = format!("another proxy is called `{}` already", name.escape_debug());
        name_at?.error(text);
        return None;
    }
    names.push(name.clone());
    let listen = Destination::new(Host::Ip(publish_addr?), publish_port?);
    let to = Destination::new(local_addr?, local_port?);
    let network = match kind {
        Kind::Tcp | Kind::Http => Network::Tcp,
        Kind::Udp => Network::Udp,
    };
    let web = |name: &str| WebTarget {
        name: name.into(),
        hosts: hosts.clone(),
        to: to.clone(),
    };
    let same = all
        .iter_mut()
        .find(|one| one.listen.port == listen.port && one.network == network);
    if let Some(same) = same {
        let taken = match &mut same.to {
            PublishTarget::Web(webs) if kind == Kind::Http && same.listen == listen => {
                let twice = webs.iter().any(|web| {
                    let both = web.hosts.is_empty() && hosts.is_empty();
                    both || web.hosts.iter().any(|host| hosts.contains(host))
                });
                if !twice {
                    webs.push(web(&name));
                    return Some(());
                }
                "for the same hosts: give each its own `hosts`"
            }
            _ => "at this port: only several of `http/1.1` with `hosts` can share one",
        };
        let text = format!("`{}` is published {taken}", same.tag);
        port_at?.error(text);
        return None;
    }
    all.push(PublishSettings {
        at: Place::default(),
        tag: name.as_str().into(),
        outbounds: Vec::new(),
        servers: 0,
        listen,
        network,
        to: match kind {
            Kind::Tcp | Kind::Udp => PublishTarget::Place(to.clone()),
            Kind::Http => PublishTarget::Web(vec![web(&name)]),
        },
    });
    Some(())
}

fn host(value: &Value<'_, '_>) -> Option<Host> {
    let word = value.word()?;
    let host = Host::parse(word.trim());
    if let Err(e) = &host {
        value.error(format!("`{}` is no address: {e}", word.escape_debug()));
    }
    host.ok()
}

/// In small letters, without ports.
fn hosts(value: &Value<'_, '_>) -> Option<Vec<String>> {
    let one = |value: &Value<'_, '_>| {
        let word = value.word()?.trim().to_ascii_lowercase();
        match Host::parse(&word) {
            Ok(_) => Some(word),
            Err(e) => {
                value.error(format!("`{}` is no host: {e}", word.escape_debug()));
                None
            }
        }
    };
    let list = value.list();
    if list.is_empty() {
        value.error("there is no host; leave it out for all that no other proxy has");
        return None;
    }
    list.iter().map(one).collect()
}
