//! Files that providers name: what they say is put where the config itself would have it.

use super::mrs;
use crate::dialect::clients::beside::{self, Beside, lines};
use crate::dialect::clients::sets::is_of_geodata;
use crate::dialect::tree::keys::Notes;
use crate::dialect::tree::{At, Node, Value, text};

/// Gives the providers of a file what is in their files.
pub(super) fn take_in(root: &mut Node, beside: &Beside, notes: &Notes) {
    for (section, read) in [
        (
            "rule-providers",
            rules as fn(&Node, Vec<u8>, &At) -> Result<Node, String>,
        ),
        ("proxy-providers", proxies),
    ] {
        let Some(Value::Map(all)) = root.get_mut(section).map(|node| &mut node.value) else {
            continue;
        };
        for (_, provider) in all {
            let Some((path, at)) = file_of(provider) else {
                continue;
            };
            let content = match beside.bytes(&path) {
                Ok(content) => content,
                // One that would be fetched has none at first.
                Err(_) if is_fetched(provider) || is_of_geodata(provider, "path") => continue,
                Err(e) => {
                    notes.left_out(&at, format!("`{}`: {e}", path.escape_debug()));
                    continue;
                }
            };
            let inside = At {
                source: path.as_str().into(),
                ..At::default()
            };
            match read(provider, content, &inside) {
                Ok(payload) => put(provider, payload),
                Err(e) => notes.left_out(&inside, e),
            }
        }
    }
}

fn text_of<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.as_text()
}

fn is_fetched(provider: &Node) -> bool {
    text_of(provider, "type") == Some("http")
}

/// The file of a provider, which of one that is fetched was written when it was fetched last.
fn file_of(provider: &Node) -> Option<(String, At)> {
    let is_named = matches!(text_of(provider, "type"), Some("file" | "http"));
    let is_known = is_fetched(provider) && is_of_geodata(provider, "url");
    let path = provider.get("path")?;
    let text = path.as_text()?.to_owned();
    (is_named && !is_known).then(|| (text, path.at.clone()))
}

fn put(provider: &mut Node, payload: Node) {
    let at = provider.at.clone();
    provider.set("type", Node::text("inline", &at));
    provider.set("payload", payload);
}

fn rules(provider: &Node, content: Vec<u8>, at: &At) -> Result<Node, String> {
    if text_of(provider, "format") != Some("mrs") {
        return beside::text_of(content).map(|text| lines(&text, at));
    }
    let behavior = text_of(provider, "behavior").unwrap_or_default();
    let lines = mrs::lines(&content, behavior).map_err(|e| e.to_string())?;
    let lines = lines.into_iter().map(|line| Node::text(line, at));
    Ok(Node::new(Value::List(lines.collect()), at))
}

fn proxies(_: &Node, content: Vec<u8>, at: &At) -> Result<Node, String> {
    let text = beside::text_of(content)?;
    let tree = text::read(&text, &at.source).ok();
    let list = tree.and_then(|mut tree| tree.take("proxies"));
    let list = list.filter(|list| !list.items().is_empty());
    list.ok_or_else(|| "nothing in it can be read here".to_owned())
}
