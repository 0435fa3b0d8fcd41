//! `api`: the gRPC service for panels, and the outbound that leads to it.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::{Inbound, Listen, Outbound};
use crate::io::Link;
use crate::json::{Node, Object, did_you_mean};
use crate::protocol::{self, local};
use crate::routing::{Router, Target};
use crate::transport;

/// What is served, and where it is asked.
pub struct Api {
    pub services: Services,
    /// Xray's `listen`: an address of its own, beside the outbound.
    pub listen: Option<SocketAddr>,
    /// Sessions that rules lead to the outbound.
    pub links: mpsc::Receiver<Link>,
}

/// `services`: which of V2Ray's are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    pub handler: bool,
    pub logger: bool,
    pub routing: bool,
    pub stats: bool,
}

const NAMES: [&str; 4] = [
    "HandlerService",
    "LoggerService",
    "RoutingService",
    "StatsService",
];

/// The service, and its outbound under the tag that rules name.
pub(super) fn read(root: &Object) -> Option<(Api, Outbound)> {
    let object = root.object("api")?;
    let tag = object
        .require::<String>("tag")
        .filter(|tag| !tag.is_empty());
    if tag.is_none() {
        object
            .node
            .error("`tag` is empty, expected a tag for rules to lead to");
    }
    let mut services = Services::default();
    for node in object.array("services") {
        services.add(&node);
    }
    if services == Services::default() {
        object
            .node
            .warn("no service is named in `services`, so none is answered");
    }
    let listen = object.get("listen").and_then(|node| {
        let text: String = node.read()?;
        let address = text.parse::<SocketAddr>();
        if address.is_err() {
            let text = text.escape_debug();
            node.error(format!(
                "`{text}` is not an address, expected `127.0.0.1:10085`"
            ));
        }
        let address = address.ok()?;
        if !address.ip().is_loopback() {
            warn_open(&node, &address.ip().to_string());
        }
        Some(address)
    });
    object.finish();
    let (protocol, links) = local::Outbound::new();
    let mut outbound = Outbound::new(
        transport::Outbound::read(None)?,
        protocol::Outbound::Local(protocol),
    );
    outbound.path = "api".to_owned();
    outbound.tag = Some(tag?.into());
    let api = Api {
        services,
        listen,
        links,
    };
    Some((api, outbound))
}

/// Whoever reaches the API may add users of their own: warns of the inbounds that let anybody in from
/// outside and that a rule leads to it.
pub(super) fn warn_of_open_doors(node: &Node, inbound: &Inbound, leads: bool) {
    if let Listen::Ip(ip) = inbound.listen
        && leads
        && !ip.is_loopback()
        && !inbound.protocol.knows_its_users()
    {
        warn_open(node, &ip.to_string());
    }
}

/// Whether a rule leads sessions of `inbound` to the outbound tagged `tag`.
pub(super) fn leads(router: &Router, inbound: &Inbound, tag: &str) -> bool {
    let mut rules = router.rules.iter();
    rules.any(|(rule, target)| {
        let inbounds = &rule.inbounds;
        let takes = inbounds.is_empty()
            || inbounds
                .iter()
                .any(|t| Some(t.as_str()) == inbound.tag.as_deref());
        takes && matches!(target, Target::Outbound(to) if **to == *tag)
    })
}

fn warn_open(node: &Node, ip: &str) {
    node.warn(format!(
        "leads to the API and listens on {ip}: whoever reaches it can read and change everything, expected 127.0.0.1"
    ));
}

impl Services {
    fn add(&mut self, node: &Node) {
        let Some(name) = node.read::<String>() else {
            return;
        };
        match name.to_ascii_lowercase().as_str() {
            "handlerservice" => self.handler = true,
            "loggerservice" => self.logger = true,
            "routingservice" => self.routing = true,
            "statsservice" => self.stats = true,
            "reflectionservice" | "observatoryservice" => {
                node.warn("this service is not built, it is not answered");
            }
            _ => node.warn(format!(
                "no service is called `{}`{}",
                name.escape_debug(),
                did_you_mean(&name, NAMES.into_iter())
            )),
        }
    }
}
