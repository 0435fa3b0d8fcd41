//! Files that providers name: what they say is put where the config itself would have it.

use crate::dialect::clients::beside::{Beside, lines};
use crate::dialect::clients::sets::is_of_geodata;
use crate::dialect::tree::keys::Notes;
use crate::dialect::tree::{At, Node, Value, text};

/// Gives the providers of a file what is in their files.
pub(super) fn take_in(root: &mut Node, beside: &Beside, notes: &Notes) {
    for (section, read) in [
        (
            "rule-providers",
            rules as fn(&Node, &str, &At) -> Option<Node>,
        ),
        ("proxy-providers", proxies),
    ] {
        let Some(Value::Map(all)) = root.get_mut(section).map(|node| &mut node.value) else {
            continue;
        };
        for (_, provider) in all {
            if let Some((path, at)) = file_of(provider) {
                match beside.text(&path) {
                    Ok(content) => {
                        let at = At {
                            source: path.as_str().into(),
                            ..At::default()
                        };
                        match read(provider, &content, &at) {
                            Some(payload) => put(provider, payload),
                            None => notes.left_out(&at, "nothing in it can be read here"),
                        }
                    }
                    // One that would be fetched has none at first.
                    Err(_) if is_fetched(provider) => {}
                    Err(_) if is_of_geodata(provider, "path") => {}
                    Err(e) => {
                        let text = format!("`{}`: {e}", path.escape_debug());
                        notes.left_out(&at, text);
                    }
                }
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

/// The lists of mihomo's binary form are no text.
fn rules(provider: &Node, content: &str, at: &At) -> Option<Node> {
    (text_of(provider, "format") != Some("mrs")).then(|| lines(content, at))
}

fn proxies(_: &Node, content: &str, at: &At) -> Option<Node> {
    let mut tree = text::read(content, &at.source).ok()?;
    tree.take("proxies").filter(|list| !list.items().is_empty())
}
