//! `reverse`; in V2Ray 5 also among the `services`.

use std::sync::Arc;

use crate::address::{AddressError, Destination, Host, Network};
use crate::dialect::v2ray::json::{Node, Object, StringList, one_of};
use crate::report::Path;
use crate::reverse::{
    BridgeSettings, PortalSettings, PublishSettings, PublishTarget, Settings, WebTarget,
};

/// The bridges and portals of a config.
pub(super) fn read(root: &Object) -> Settings {
    let mut settings = Settings::default();
    if let Some(object) = root.object("reverse") {
        push(&mut settings, &object, ["bridges", "portals"]);
        let publish = object.array("publish").into_iter();
        settings
            .publish
            .extend(publish.filter_map(|node| publication(&node)));
        object.finish();
    }
    let services = root.get("services").filter(|node| node.value.is_object());
    if let Some(services) = services.and_then(|node| node.object())
        && let Some(object) = services.object("reverse")
    {
        push(&mut settings, &object, ["bridgeConfig", "portalConfig"]);
        object.silent(&["@type"]);
        object.finish();
    }
    settings
}

fn push(settings: &mut Settings, object: &Object, [bridges, portals]: [&'static str; 2]) {
    for node in object.array(bridges) {
        if let Some((at, tag, domain)) = end(&node) {
            let at = at.into();
            settings.bridges.push(BridgeSettings { at, tag, domain });
        }
    }
    for node in object.array(portals) {
        if let Some((at, tag, domain)) = end(&node) {
            let at = at.into();
            settings.portals.push(PortalSettings { at, tag, domain });
        }
    }
}

/// A port at a relay server.
fn publication(node: &Node) -> Option<PublishSettings> {
    let object = node.object()?;
    let tag = text(&object, "tag");
    let outbounds = object.require::<StringList>("outboundTag");
    let outbounds = outbounds.map(|StringList(tags)| tags.into_iter().map(Into::into).collect());
    let listen = place(&object, "listen", Some("0.0.0.0"));
    let network = match object.get("network") {
        Some(node) => one_of(&node, &[("tcp", Network::Tcp), ("udp", Network::Udp)]),
        None => Some(Network::Tcp),
    };
    let to = match object.get("web") {
        Some(web) => {
            for key in ["target", "network"] {
                if let Some(node) = object.get(key) {
                    node.error("this has no place beside `web`, remove one of them");
                }
            }
            let name = tag.as_ref().map_or("", |(_, tag)| tag);
            let all: Vec<_> = web
                .array()
                .iter()
                .map(|one| web_target(one, name))
                .collect();
            let all: Option<Vec<_>> = all.into_iter().collect();
            if all.as_ref().is_some_and(Vec::is_empty) {
                web.error("there is no web server, expected `[{hosts, target}]`");
            }
            all.filter(|all| !all.is_empty()).map(PublishTarget::Web)
        }
        None => place(&object, "target", None).and_then(|(node, to)| {
            if to.port == 0 {
                node.error("0 is not a port to connect to, expected 1 to 65535");
            }
            (to.port != 0).then_some(PublishTarget::Place(to))
        }),
    };
    object.finish();
    let outbounds: Vec<_> = outbounds?;
    Some(PublishSettings {
        at: node.path.clone().into(),
        tag: tag?.1.into(),
        servers: outbounds.len(),
        outbounds,
        listen: listen?.1,
        network: network?,
        to: to?,
    })
}

fn web_target(node: &Node, tag: &str) -> Option<WebTarget> {
    let object = node.object()?;
    let name: Option<String> = object.read("name");
    let hosts = object.read("hosts").map(|StringList(hosts)| hosts);
    let to = place(&object, "target", None);
    object.finish();
    let hosts = hosts.unwrap_or_default().into_iter();
    Some(WebTarget {
        name: name.as_deref().unwrap_or(tag).into(),
        hosts: hosts.map(|host| host.trim().to_ascii_lowercase()).collect(),
        to: to?.1,
    })
}

/// `host:port`, or `:port` where a host is understood.
fn place<'a>(
    object: &Object<'a>,
    key: &'static str,
    host: Option<&str>,
) -> Option<(Node<'a>, Destination)> {
    let (node, said) = text(object, key)?;
    let whole = match (host, said.strip_prefix(':')) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        _ => said,
    };
    match whole.trim().parse() {
        Ok(to) => Some((node, to)),
        Err(e) => {
            node.error(e);
            None
        }
    }
}

/// An end of a reverse tunnel.
fn end(node: &Node) -> Option<(Path, Arc<str>, String)> {
    let object = node.object()?;
    let tag = text(&object, "tag");
    let domain = text(&object, "domain").and_then(|(node, text)| domain(&node, text));
    object.finish();
    let (tag, domain) = (tag?.1.into(), domain?);
    Some((node.path.clone(), tag, domain))
}

/// V2Ray does not start without it either.
fn text<'a>(object: &Object<'a>, key: &'static str) -> Option<(Node<'a>, String)> {
    let node = object.require_node(key)?;
    let text: String = node.read()?;
    if text.is_empty() {
        node.error(format!("this is empty, expected a {key}"));
        return None;
    }
    Some((node, text))
}

/// A name as it travels to the portal: V2Ray takes others, and a portal never meets them.
fn domain(node: &Node, text: String) -> Option<String> {
    let shown = text.escape_debug();
    match Host::parse(&text) {
        Ok(Host::Domain(name)) => return Some(name),
        Ok(Host::Ip(_)) => node.error(format!(
            "`{shown}` is an address, expected a name such as `portal.example.com`, which need not exist"
        )),
        Err(AddressError::BadDomain) if text.contains(':') => node.error(format!(
            "`{shown}` is no name: `full:` and its like belong into rules, and a port nowhere"
        )),
        Err(e) => node.error(format!("`{shown}` cannot be used: {e}")),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings::read as read_settings;
    use serde_json::{Value, json};

    fn said(value: &Value) -> (Settings, Vec<String>) {
        let (settings, said) = read_settings(value, |root| Some(read(root)));
        (settings.unwrap_or_default(), said)
    }

    #[test]
    fn both_spellings_are_read() {
        let of_4 = json!({"reverse": {
            "bridges": [{"tag": "b", "domain": "Portal.example.com"}],
            "portals": [{"tag": "p", "domain": "x"}, {"tag": "q", "domain": "x"}],
        }});
        let (settings, words) = said(&of_4);
        assert_eq!(words, [""; 0]);
        assert_eq!(&*settings.bridges[0].tag, "b");
        assert_eq!(settings.bridges[0].domain, "Portal.example.com");
        assert_eq!(settings.portals.len(), 2);
        let of_5 = json!({"services": {"reverse": {
            "bridgeConfig": [{"tag": "b", "domain": "Portal.example.com"}],
            "portal_config": [{"tag": "p", "domain": "x"}, {"tag": "q", "domain": "x"}],
        }}});
        assert_eq!(said(&of_5), (settings, Vec::new()));
        assert_eq!(said(&json!({"reverse": {}})).1, [""; 0]);
    }

    #[test]
    fn what_cannot_work_is_told() {
        for (end, expected) in [
            (
                json!({"domain": "x"}),
                "reverse.portals[0]: `tag` is missing",
            ),
            (
                json!({"tag": "p"}),
                "reverse.portals[0]: `domain` is missing",
            ),
            (
                json!({"tag": "", "domain": "x"}),
                "reverse.portals[0].tag: this is empty, expected a tag",
            ),
            (
                json!({"tag": "p", "domain": "192.0.2.1"}),
                "reverse.portals[0].domain: `192.0.2.1` is an address, expected a name such as `portal.example.com`, which need not exist",
            ),
            (
                json!({"tag": "p", "domain": "full:x"}),
                "reverse.portals[0].domain: `full:x` is no name: `full:` and its like belong into rules, and a port nowhere",
            ),
        ] {
            assert_eq!(said(&json!({"reverse": {"portals": [end]}})).1, [expected]);
        }
    }
}
