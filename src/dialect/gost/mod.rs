//! GOST's command line and its files, for the part of it that goes over WebSocket.
//!
//! ```text
//! -L URL, -F URL ([`url`]) ─┐
//!                           ├─▶ a tree of services and chains ─▶ settings ([`service`], [`chain`])
//! -C FILE, YAML or JSON ────┘                                └─▶ -O yaml, -O json ([`print`])
//! ```
//! A service is an inbound, a node an outbound, a chain's hops go through each other, a selector is a balancer and a bypass
//! a rule. What gost has and this program does not is an error with its place: gost is silent about keys that it does not
//! know.

mod accounts;
mod addresses;
mod bypass;
mod carrier;
mod chain;
mod gather;
mod handler;
mod lead;
mod logs;
mod made;
mod named;
mod node;
mod part;
mod past;
mod placed;
mod print;
mod security;
mod selector;
mod service;
#[cfg(test)]
mod tests;
mod url;
mod write;

use std::cell::RefCell;

use serde_json::json;

use super::v2ray;
use crate::address::Network;
use crate::config::Config;
use crate::dialect::names::Names;
use crate::dialect::tree::{At, Node, places};
use crate::policy::{Level, Policy};
use crate::protocol::InboundSettings;
use crate::protocol::socks::Taken;
use crate::report::Message;
use crate::reverse::{PublishSettings, PublishTarget};
use crate::routing::Strategy;
use crate::transport::ServerCarrier;

use gather::{LISTS, gather};
pub(in crate::dialect) use write::write;

/// What it is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// `-L`, in their order.
    pub services: Vec<String>,
    /// `-F`, in their order.
    pub hops: Vec<String>,
    /// `-C`: a name for each, and what it says.
    pub files: Vec<(String, String)>,
    /// `-D`: the log tells of every session.
    pub debug: bool,
}

/// A form that `-O` prints in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Yaml,
    Json,
}

/// The config unless there are errors, and lines for the user.
#[derive(Debug, Default)]
pub struct Loaded {
    pub config: Option<Config>,
    /// `routing` of it, as a config.json has it.
    routing: serde_json::Value,
    pub errors: Vec<Message>,
    pub warnings: Vec<Message>,
}

/// Reads all of it. Nothing stops at the first mistake.
pub fn load(launch: &Launch) -> Loaded {
    load_with(launch, Names::of_system())
}

/// The same, with `names` for what services listen on.
pub fn load_with(launch: &Launch, names: Names) -> Loaded {
    let problems = Problems::default();
    let root = gather(launch, &problems);
    let config = root.map(|root| config_of(&root, names, &problems));
    let (mut errors, mut warnings) = problems.into_messages();
    for (name, text) in &launch.files {
        errors = places::placed(errors, name, text);
        warnings = places::placed(warnings, name, text);
    }
    // Those about YAML have it there.
    let located = |all: Vec<Message>| all.into_iter().map(Message::located).collect();
    let (errors, warnings): (Vec<_>, Vec<_>) = (located(errors), located(warnings));
    let (config, routing) = config.unzip();
    Loaded {
        config: config.filter(|_| errors.is_empty()),
        routing: routing.unwrap_or_default(),
        errors,
        warnings,
    }
}

impl Loaded {
    /// The same as a `config.json`, and what that has no word for.
    pub fn to_config_json(&self) -> Option<(serde_json::Value, Vec<String>)> {
        let config = self.config.as_ref()?;
        let mut lines = Vec::new();
        let mut value = v2ray::write_config(config, &mut lines);
        value["routing"] = self.routing.clone();
        value["policy"] = patience(&config.policy);
        let is_inbound = |one: &&PublishSettings| matches!(one.to, PublishTarget::Inbound(_));
        let (spoken, publish): (Vec<_>, Vec<_>) =
            config.reverse.publish.iter().partition(is_inbound);
        lines.extend(spoken.iter().map(|one| {
            format!("`{}`: a config.json has no word for a published port at which a protocol is spoken: it is left out", one.tag.escape_debug())
        }));
        let publish: Vec<_> = publish.into_iter().map(publication).collect();
        if !publish.is_empty() {
            value["reverse"] = json!({ "publish": publish });
        }
        for inbound in &config.inbounds {
            let ws = match &inbound.transport.carrier {
                ServerCarrier::Ws(ws) => ws,
                ServerCarrier::Mws(mws) => &mws.ws,
                _ => continue,
            };
            if ws.below {
                let (name, path) = (inbound.name.escape_debug(), ws.path.escape_debug());
                lines.push(format!(
                    "`{name}`: there is no word for what is below `{path}`: this path alone is taken"
                ));
            }
        }
        for inbound in &config.inbounds {
            if let InboundSettings::Socks(socks) = &inbound.protocol
                && socks.taken != Taken::All
            {
                let name = inbound.name.escape_debug();
                lines.push(format!(
                    "`{name}`: there is no word for one version of SOCKS: all are taken, and HTTP"
                ));
            }
        }
        for balancer in &config.routing.balancers {
            let tag = balancer.tag.escape_debug();
            if *balancer.strategy == Strategy::First {
                lines.push(format!(
                    "`{tag}`: there is no word for the strategy `fifo`: one is chosen at random"
                ));
            }
            lines.push(format!(
                "`{tag}`: there is no word for `maxFails` and `failTimeout`: one that fails is chosen again"
            ));
            if balancer.retries > 0 {
                lines.push(format!(
                    "`{tag}`: there is no word for `retries`: what fails is not tried again"
                ));
            }
        }
        for outbound in &config.outbounds {
            let security = outbound.transport.security.as_ref();
            if security.is_some_and(|tls| tls.any_name) {
                let name = outbound.name.escape_debug();
                lines.push(format!(
                    "`{name}`: the name in the certificate counts as well, as with `secure`"
                ));
            }
        }
        Some((value, lines))
    }
}

fn publication(publish: &PublishSettings) -> serde_json::Value {
    let target = match &publish.to {
        PublishTarget::Place(to) => to.to_string(),
        PublishTarget::Web(_) | PublishTarget::Inbound(_) => String::new(),
    };
    let network = match publish.network {
        Network::Tcp => "tcp",
        Network::Udp => "udp",
    };
    let outbounds: Vec<&str> = publish.outbounds.iter().map(|tag| &**tag).collect();
    json!({
        "tag": &*publish.tag, "outboundTag": outbounds, "listen": publish.listen.to_string(), "network": network, "target": target,
    })
}

/// The same as gost would have it in a file.
///
/// # Errors
///
/// When it cannot be read, or has keys that are a part of their own in a file.
pub fn print(launch: &Launch, form: Form) -> Result<String, Vec<Message>> {
    let problems = Problems::default();
    let root = gather(launch, &problems);
    if let Some(root) = &root {
        placed::refuse_unplaced(root, &problems);
    }
    match (root, problems.into_messages()) {
        (Some(mut root), (errors, _)) if errors.is_empty() => {
            named::bypasses(&mut root);
            placed::keys(&mut root);
            Ok(match form {
                Form::Yaml => print::yaml(&root),
                Form::Json => print::json(&root),
            })
        }
        (_, (errors, _)) => Err(errors),
    }
}

/// What is wrong, and what somebody should know.
#[derive(Default)]
struct Problems(RefCell<(Vec<Message>, Vec<Message>)>);

impl Problems {
    fn error(&self, at: &At, text: &str) {
        self.push(at.message(text));
    }

    /// An error about nothing that has a place.
    fn line(&self, line: String) {
        self.push(Message::of_text(line));
    }

    /// What is read for several is told once.
    fn push(&self, message: Message) {
        let errors = &mut self.0.borrow_mut().0;
        if !errors.contains(&message) {
            errors.push(message);
        }
    }

    /// What cannot be made and has not said why is an error all the same: traffic would go another way without it.
    fn lost(&self, at: &At, what: &str) {
        if self.0.borrow().0.is_empty() {
            self.error(at, &format!("{what} cannot be read"));
        }
    }

    fn warn(&self, at: &At, text: &str) {
        let message = at.message(text);
        let warnings = &mut self.0.borrow_mut().1;
        if !warnings.contains(&message) {
            warnings.push(message);
        }
    }

    fn into_messages(self) -> (Vec<Message>, Vec<Message>) {
        self.0.into_inner()
    }
}

/// `policy` of a config.json.
fn patience(policy: &Policy) -> serde_json::Value {
    let level = |(number, level): (&u32, &Level)| {
        let limits = level.limits;
        let value = json!({
            "connIdle": limits.idle.0,
            "uplinkOnly": limits.uplink_only.0,
            "downlinkOnly": limits.downlink_only.0,
        });
        (number.to_string(), value)
    };
    let levels = policy.levels.iter().map(level);
    json!({"levels": serde_json::Value::Object(levels.collect())})
}

fn config_of(root: &Node, names: Names, problems: &Problems) -> (Config, serde_json::Value) {
    const KNOWN: [&str; 2] = ["tls", "log"];
    for (key, node) in root.entries() {
        let mut known = LISTS.into_iter().chain(KNOWN);
        if !known.any(|known| known.eq_ignore_ascii_case(key)) {
            let hint = crate::report::did_you_mean(key, LISTS.into_iter().chain(KNOWN));
            let text = format!("`{}` is not built here{hint}", key.escape_debug());
            problems.error(&node.at, &text);
        }
    }
    let mut made = made::Made::new(names);
    let services = root.get("services").map(Node::items).unwrap_or_default();
    if services.is_empty() {
        problems.line(
            "there is no service: expected `-L URL`, or `services` in a file (`-C FILE`)"
                .to_owned(),
        );
    }
    for service in services {
        service::read(service, root, &mut made, problems);
    }
    // What nobody goes through may be wrong as well.
    for chain in root.get("chains").map(Node::items).unwrap_or_default() {
        chain::check(chain, root, &mut made, problems);
    }
    if let Some(tls) = root.get("tls") {
        security::check_global(tls, problems);
    }
    let log = logs::read(root.get("log"), problems);
    made.into_config(log)
}
