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
mod lead;
mod made;
mod named;
mod part;
mod past;
mod print;
mod security;
mod service;
#[cfg(test)]
mod tests;
mod url;
mod write;

use std::cell::RefCell;
use std::sync::Arc;

use serde_json::json;

use super::v2ray;
use crate::address::Network;
use crate::config::{Config, Log, LogLevel, LogTarget};
use crate::dialect::names::Names;
use crate::dialect::tree::{At, Node, Value, text};
use crate::policy::Policy;
use crate::report::Message;
use crate::reverse::{PublishSettings, PublishTarget};
use crate::routing::Strategy;
use crate::transport::ServerCarrier;

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
    let config = root.map(|root| config_of(&root, launch.debug, names, &problems));
    let (errors, warnings) = problems.into_messages();
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
        let publish: Vec<_> = config.reverse.publish.iter().map(publication).collect();
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
        PublishTarget::Web(_) => String::new(),
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
/// When it cannot be read.
pub fn print(launch: &Launch, form: Form) -> Result<String, Vec<Message>> {
    let problems = Problems::default();
    let root = gather(launch, &problems);
    match (root, problems.into_messages()) {
        (Some(mut root), (errors, _)) if errors.is_empty() => {
            named::bypasses(&mut root);
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
struct Problems(RefCell<(Vec<String>, Vec<String>)>);

impl Problems {
    fn error(&self, at: &At, text: &str) {
        self.line(format!("{at}: {text}"));
    }

    fn line(&self, line: String) {
        self.0.borrow_mut().0.push(line);
    }

    /// What cannot be made and has not said why is an error all the same: traffic would go another way without it.
    fn lost(&self, at: &At, what: &str) {
        if self.0.borrow().0.is_empty() {
            self.error(at, &format!("{what} cannot be read"));
        }
    }

    fn warn(&self, at: &At, text: &str) {
        self.0.borrow_mut().1.push(format!("{at}: {text}"));
    }

    fn into_messages(self) -> (Vec<Message>, Vec<Message>) {
        let (errors, warnings) = self.0.into_inner();
        let messages = |lines: Vec<String>| lines.into_iter().map(Message::of_text).collect();
        (messages(errors), messages(warnings))
    }
}

/// `policy` of a config.json.
fn patience(policy: &Policy) -> serde_json::Value {
    let limits = policy.level(0).limits;
    json!({"levels": {"0": {
        "connIdle": limits.idle.0,
        "uplinkOnly": limits.uplink_only.0,
        "downlinkOnly": limits.downlink_only.0,
    }}})
}

/// The chain that `-F` makes.
const CHAIN: &str = "chain-0";

/// All files and URLs as one tree; `None` when one of them is none.
fn gather(launch: &Launch, problems: &Problems) -> Option<Node> {
    let mut root = Node::new(Value::Map(Vec::new()), &At::default());
    let mut is_whole = true;
    let mut fail = |line: String| {
        problems.line(line);
        is_whole = false;
    };
    let chain = (!launch.hops.is_empty()).then_some(CHAIN);
    let mut count = 0;
    for url in &launch.services {
        match url::services(url, count, chain) {
            Ok(services) if count + services.len() > url::MAX_SERVICES => fail(format!(
                "{}: with this there are {} services, expected at most {}",
                services[0].at,
                count + services.len(),
                url::MAX_SERVICES
            )),
            Ok(services) => {
                count += services.len();
                services
                    .into_iter()
                    .for_each(|one| root.push("services", one));
            }
            Err(e) => fail(e),
        }
    }
    let mut hops = Vec::new();
    for (n, url) in launch.hops.iter().enumerate() {
        match url::hop(url, n) {
            Ok(hop) => hops.push(hop),
            Err(e) => fail(e),
        }
    }
    if !hops.is_empty() {
        let at = hops[0].at.clone();
        let mut chain = Node::new(Value::Map(Vec::new()), &at);
        chain.set("name", Node::text(CHAIN, &at));
        chain.set("hops", Node::new(Value::List(hops), &at));
        root.push("chains", chain);
    }
    for (name, text) in &launch.files {
        match text::read(text, &Arc::from(&**name)) {
            Ok(file) => join(&mut root, file, problems),
            Err(e) => fail(e),
        }
    }
    is_whole.then_some(root)
}

/// What there may be several of; one alone is a list of one.
const LISTS: [&str; 5] = ["services", "chains", "hops", "authers", "bypasses"];

/// Lists are appended, and of all else the last one counts.
fn join(root: &mut Node, file: Node, problems: &Problems) {
    let at = file.at.clone();
    match file.value {
        Value::Map(entries) => {
            for (key, node) in entries {
                let is_list = LISTS.iter().any(|list| list.eq_ignore_ascii_case(&key));
                match node.value {
                    Value::Null => {}
                    Value::List(items) => {
                        items.into_iter().for_each(|item| root.push(&key, item));
                    }
                    _ if is_list => root.push(&key, node),
                    _ => root.set(&key, node),
                }
            }
        }
        Value::Null => {}
        _ => problems.error(
            &at,
            "this is no config, expected `services:` and what belongs to it",
        ),
    }
}

fn config_of(
    root: &Node,
    debug: bool,
    names: Names,
    problems: &Problems,
) -> (Config, serde_json::Value) {
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
    let level = match (
        debug,
        root.get("log")
            .and_then(|log| log.get("level"))
            .and_then(Node::as_text),
    ) {
        (true, _) | (_, Some("debug" | "trace")) => LogLevel::Debug,
        (_, Some("warn" | "warning")) => LogLevel::Warning,
        (_, Some("error" | "fatal")) => LogLevel::Error,
        _ => LogLevel::Info,
    };
    made.into_config(Log {
        level,
        access: LogTarget::None,
        ..Log::default()
    })
}
