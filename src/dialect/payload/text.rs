//! Texts with proxies in them: JSON, YAML or Python's form of either.

use std::sync::Arc;

use super::{Proxy, python};
use crate::dialect::tree::text as tree_of;
use crate::dialect::tree::{Node, Value};

/// One proxy, be it alone in a list.
///
/// # Errors
///
/// When there is none in the text; which character is wrong stands there, and nothing of the text.
pub fn proxy(text: &str) -> Result<Proxy, String> {
    let node = read(text)?;
    if let Some(list) = listed(&node) {
        return match list {
            [one] if is_map(one) => Ok(Proxy(one.clone())),
            list => Err(format!("it has {} proxies, expected one", list.len())),
        };
    }
    match is_map(&node) {
        true => Ok(Proxy(node)),
        false => Err("this is no proxy, expected `name`, `type`, `server`, `port`".to_owned()),
    }
}

/// All proxies of a file: `proxies` of a config, `payload` of a provider's file, or a list of them alone.
///
/// # Errors
///
/// When it is no such file.
pub fn proxies(text: &str) -> Result<Vec<Proxy>, String> {
    let node = read(text)?;
    let Some(list) = listed(&node) else {
        return match node.get("type").is_some() && node.get("server").is_some() {
            true => Ok(vec![Proxy(node)]),
            false => Err("there is no `proxies` in it".to_owned()),
        };
    };
    Ok(list.iter().cloned().map(Proxy).collect())
}

fn read(text: &str) -> Result<Node, String> {
    // A YAML reader would take a backslash between single quotes for itself.
    let is_dict = text.trim_start().starts_with('{');
    let is_json = is_dict && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if is_dict
        && !is_json
        && let Some(node) = python::read(text)
    {
        return Ok(node);
    }
    tree_of::read(text, &Arc::from("the text")).map_err(|message| message.line)
}

/// The list of proxies that a whole text is.
fn listed(node: &Node) -> Option<&[Node]> {
    let list = match &node.value {
        Value::List(_) => node,
        _ => node.get("proxies").or_else(|| node.get("payload"))?,
    };
    match &list.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}

fn is_map(node: &Node) -> bool {
    matches!(node.value, Value::Map(_))
}
