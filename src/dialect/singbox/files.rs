//! Lists of rules in files of their own: those in source form are put where the config itself would have them.

use crate::dialect::clients::beside::Beside;
use crate::dialect::tree::keys::Notes;
use crate::dialect::tree::{At, Node, Value, text};

/// Gives the lists of a config what is in their files.
pub(super) fn take_in(root: &mut Node, beside: &Beside, notes: &Notes) {
    let sets = root
        .get_mut("route")
        .and_then(|route| route.get_mut("rule_set"));
    let Some(Value::List(sets)) = sets.map(|node| &mut node.value) else {
        return;
    };
    for set in sets {
        let Some((path, at)) = source_of(set) else {
            continue;
        };
        match beside.text(&path).and_then(|text| rules(&text, &path)) {
            Ok(rules) => {
                set.set("type", Node::text("inline", &at));
                set.set("rules", rules);
            }
            Err(e) => notes.left_out(&at, format_args!("`{}`: {e}", path.escape_debug())),
        }
    }
}

/// The file of a list in source form: what is in the binary one is no text.
fn source_of(set: &Node) -> Option<(String, At)> {
    let text = |key: &str| set.get(key).and_then(Node::as_text);
    let path = set.get("path")?;
    let name = path.as_text()?;
    let is_source = match text("format") {
        Some(format) => format == "source",
        None => name.ends_with(".json"),
    };
    (text("type") == Some("local") && is_source).then(|| (name.to_owned(), path.at.clone()))
}

fn rules(content: &str, path: &str) -> Result<Node, String> {
    let mut tree = text::read_json(content, &path.into()).map_err(|message| message.text)?;
    tree.take("rules")
        .ok_or_else(|| "there are no `rules` in it".to_owned())
}
