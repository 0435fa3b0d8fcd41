//! Lists of rules in files of their own and on the web, which are put where the config itself would have them.

use super::srs;
use crate::dialect::clients::beside::{Beside, Ways, text_of};
use crate::dialect::clients::packed::Budget;
use crate::dialect::clients::sets::{is_here, is_of_geodata};
use crate::dialect::form::{Page, Way, shown};
use crate::dialect::tree::keys::Notes;
use crate::dialect::tree::{At, Node, Value, text};
use crate::matching::{Geodata, geodata};

/// Gives the lists of a config what they name.
pub(super) fn take_in(root: &mut Node, beside: &Beside, notes: &Notes) -> Ways {
    let (straight, usual, budget) = (straight(root), usual(root), Budget::default());
    let sets = root
        .get_mut("route")
        .and_then(|route| route.get_mut("rule_set"));
    let Some(Value::List(sets)) = sets.map(|node| &mut node.value) else {
        return Ways::default();
    };
    for set in sets.iter_mut() {
        let Some((path, at)) = named(set, "local", "path") else {
            continue;
        };
        match beside.bytes(&path) {
            Ok(content) => fill(set, content, (&path, &at), &budget, notes),
            // The same list comes from elsewhere.
            Err(_) if is_of_geodata(set, "path") => {}
            Err(e) => notes.left_out(&at, format_args!("`{}`: {e}", path.escape_debug())),
        }
    }
    let geodata = Geodata::new(geodata::folders());
    let wanted = sets.iter_mut().filter_map(|set| {
        let (url, at) = named(set, "remote", "url")?;
        if is_here(set, "url", &geodata) {
            return None;
        }
        let detour = set.get("download_detour").and_then(Node::as_text);
        let detour = detour.filter(|tag| !tag.is_empty()).or(usual.as_deref());
        let way = match detour {
            Some(tag) if !straight.iter().any(|name| name == tag) => Way::By(tag.to_owned()),
            _ => Way::Straight,
        };
        let headers = Vec::new();
        Some((set, Page { url, headers, way }, at))
    });
    let wanted: Vec<(&mut Node, Page, At)> = wanted.collect();
    let pages: Vec<Page> = wanted.iter().map(|(_, page, _)| page.clone()).collect();
    let ways = beside.ways(pages.iter());
    for (found, (set, page, at)) in beside.pages(pages).into_iter().zip(wanted) {
        match found {
            Ok(content) => {
                let url = page.url.split(['?', '#']).next().unwrap_or_default();
                fill(set, content, (url, &at), &budget, notes);
            }
            Err(e) => notes.left_out(&at, e),
        }
    }
    ways
}

/// What carries all that no rule takes, and lists of which nothing else is said.
fn usual(root: &Node) -> Option<String> {
    let named = root.get("route").and_then(|route| route.get("final"));
    let first = root.get("outbounds").map(Node::items).unwrap_or_default();
    let first = first.first().and_then(|one| one.get("tag"));
    fn text(node: Option<&Node>) -> Option<&str> {
        let text = node.and_then(Node::as_text);
        text.filter(|text| !text.is_empty())
    }
    text(named).or(text(first)).map(str::to_owned)
}

/// The outbounds that lead straight to their targets, and the selectors whose choice these are.
fn straight(root: &Node) -> Vec<String> {
    let outbounds = root.get("outbounds").map(Node::items).unwrap_or_default();
    let tags = |is_one: &dyn Fn(&Node) -> bool| {
        let found = outbounds.iter().filter(|one| is_one(one));
        let tags = found.filter_map(|one| one.get("tag")?.as_text().map(str::to_owned));
        tags.collect::<Vec<_>>()
    };
    let is_of = |node: &Node, kind| node.get("type").and_then(Node::as_text) == Some(kind);
    let direct = tags(&|one| is_of(one, "direct"));
    let chosen = tags(&|one| {
        let members = one.get("outbounds").map(Node::items).unwrap_or_default();
        let first = one.get("default").or(members.first());
        let first = first.and_then(Node::as_text);
        is_of(one, "selector") && first.is_some_and(|first| direct.iter().any(|tag| tag == first))
    });
    [direct, chosen].concat()
}

/// What `key` of a list of this type names, and where that stands: of a URL no line, which may hold what is as good as a password.
fn named(set: &Node, kind: &str, key: &str) -> Option<(String, At)> {
    let is_this = set.get("type").and_then(Node::as_text) == Some(kind);
    let place = set.get(key).filter(|_| is_this)?;
    let at = match key {
        "url" => place.at.without_line(),
        _ => place.at.clone(),
    };
    Some((place.as_text()?.to_owned(), at))
}

/// Reads what stands at `place`.
fn fill(
    set: &mut Node,
    content: Vec<u8>,
    (place, at): (&str, &At),
    budget: &Budget,
    notes: &Notes,
) {
    let is_binary = match set.get("format").and_then(Node::as_text) {
        Some(format) => format == "binary",
        None => place.ends_with(".srs"),
    };
    let read = match is_binary {
        true => srs::rules(&content, at, budget).map_err(|e| e.to_string()),
        false => text_of(content).and_then(|text| rules(&text, place)),
    };
    match read {
        Ok(rules) => {
            set.set("type", Node::text("inline", at));
            set.set("rules", rules);
        }
        Err(e) => {
            let place = match place.contains("://") {
                true => shown(place),
                false => format!("`{}`", place.escape_debug()),
            };
            notes.left_out(at, format_args!("{place}: {e}"));
        }
    }
}

fn rules(content: &str, path: &str) -> Result<Node, String> {
    let mut tree = text::read_json(content, &path.into()).map_err(|message| message.text)?;
    tree.take("rules")
        .ok_or_else(|| "there are no `rules` in it".to_owned())
}
