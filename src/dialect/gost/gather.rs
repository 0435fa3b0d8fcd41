//! Files and URLs as one tree.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Launch, Problems, url};
use crate::dialect::tree::{At, Node, Value, text};
use crate::report::Message;

/// The chain that `-F` makes.
const CHAIN: &str = "chain-0";

/// All files and URLs as one tree; `None` when one of them is none.
pub(super) fn gather(launch: &Launch, problems: &Problems) -> Option<Node> {
    let mut root = Node::new(Value::Map(Vec::new()), &At::default());
    let mut is_whole = true;
    let mut fail = |message: Message| {
        problems.push(message);
        is_whole = false;
    };
    let chain = (!launch.hops.is_empty()).then_some(CHAIN);
    let mut count = 0;
    for url in &launch.services {
        match url::services(url, count, chain) {
            Ok(services) if count + services.len() > url::MAX_SERVICES => {
                let text = format_args!(
                    "with this there are {} services, expected at most {}",
                    count + services.len(),
                    url::MAX_SERVICES
                );
                fail(services[0].at.message(text));
            }
            Ok(services) => {
                count += services.len();
                services
                    .into_iter()
                    .for_each(|one| root.push("services", one));
            }
            Err(line) => fail(Message::of_text(line)),
        }
    }
    let mut hops = Vec::new();
    for (n, url) in launch.hops.iter().enumerate() {
        match url::hop(url, n) {
            Ok(hop) => hops.push(hop),
            Err(line) => fail(Message::of_text(line)),
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
            Err(message) => fail(*message),
        }
    }
    names_once(&root, problems);
    if launch.debug {
        debug(&mut root);
    }
    is_whole.then_some(root)
}

/// `-D`, as a file has it.
fn debug(root: &mut Node) {
    let at = At::default();
    let mut log = match root.get("log") {
        Some(log) if matches!(log.value, Value::Map(_)) => log.clone(),
        _ => Node::new(Value::Map(Vec::new()), &at),
    };
    log.set("level", Node::text("debug", &at));
    root.set("log", log);
}

/// Who names one of two would have either; of services this is seen where they are made.
fn names_once(root: &Node, problems: &Problems) {
    for list in LISTS.iter().filter(|list| **list != "services") {
        let items = root.get(list).map(Node::items).unwrap_or_default();
        let mut seen: HashMap<&str, &Node> = HashMap::new();
        for item in items {
            let name = item.get("name").and_then(Node::as_text);
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                continue;
            };
            if let Some(first) = seen.insert(name, item) {
                let text = format!(
                    "there are two of the name `{}` in `{list}`, another at {}",
                    name.escape_debug(),
                    first.at
                );
                problems.error(&item.at, &text);
            }
        }
    }
}

/// What there may be several of; one alone is a list of one.
pub(super) const LISTS: [&str; 5] = ["services", "chains", "hops", "authers", "bypasses"];

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
