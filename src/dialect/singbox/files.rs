//! Lists of rules in files of their own, which are put where the config itself would have them.

use super::srs;
use crate::dialect::clients::beside::{Beside, text_of};
use crate::dialect::clients::sets::is_of_geodata;
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
        let Some((path, at, is_binary)) = file_of(set) else {
            continue;
        };
        let inside = At {
            source: path.as_str().into(),
            ..At::default()
        };
        let read = |content: Vec<u8>| match is_binary {
            true => srs::rules(&content, &inside).map_err(|e| e.to_string()),
            false => text_of(content).and_then(|text| rules(&text, &path)),
        };
        match beside.bytes(&path).and_then(read) {
            Ok(rules) => {
                set.set("type", Node::text("inline", &at));
                set.set("rules", rules);
            }
            // The same list comes from elsewhere.
            Err(_) if is_of_geodata(set, "path") => {}
            Err(e) => notes.left_out(&at, format_args!("`{}`: {e}", path.escape_debug())),
        }
    }
}

/// The file of a list, where the path stands, and whether what is in it is no text.
fn file_of(set: &Node) -> Option<(String, At, bool)> {
    let text = |key: &str| set.get(key).and_then(Node::as_text);
    let path = set.get("path")?;
    let name = path.as_text()?;
    let is_binary = match text("format") {
        Some(format) => format == "binary",
        None => name.ends_with(".srs"),
    };
    (text("type") == Some("local")).then(|| (name.to_owned(), path.at.clone(), is_binary))
}

fn rules(content: &str, path: &str) -> Result<Node, String> {
    let mut tree = text::read_json(content, &path.into()).map_err(|message| message.text)?;
    tree.take("rules")
        .ok_or_else(|| "there are no `rules` in it".to_owned())
}
