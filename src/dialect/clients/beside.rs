//! Files beside a config that it names: lists of rules, and of nodes.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Deserializer;

use super::groups::Groups;
use super::rules::{Asks, Rules};
use crate::dialect::form::{Outside, Page, Way};
use crate::dialect::tree::{At, Node, Value, text};

/// Where a config looks for the files it names.
pub(in crate::dialect) struct Beside<'f> {
    outside: Outside<'f>,
    /// What the config is called.
    source: &'f str,
}

impl<'f> Beside<'f> {
    pub(in crate::dialect) fn new(outside: Outside<'f>, source: &'f str) -> Self {
        Self { outside, source }
    }

    /// What is in a file in the folder of the config, or else in that where this program runs.
    pub(in crate::dialect) fn bytes(&self, path: &str) -> Result<Vec<u8>, String> {
        let folder = Path::new(self.source).parent();
        let beside = folder.map(|folder| (self.outside.file)(&folder.join(path)));
        match beside {
            Some(Ok(bytes)) => Ok(bytes),
            // What is wrong with that one is what there is to say.
            Some(Err(e)) => (self.outside.file)(Path::new(path)).map_err(|_| e),
            None => (self.outside.file)(Path::new(path)),
        }
    }

    /// What stands at each of these places on the web.
    pub(in crate::dialect) fn pages(&self, pages: Vec<Page>) -> Vec<Result<Vec<u8>, String>> {
        match pages.is_empty() {
            true => Vec::new(),
            false => (self.outside.web)(pages),
        }
    }

    /// The ways that some of them are to be fetched by, if the config is read for these.
    pub(in crate::dialect) fn ways<'p>(&self, pages: impl Iterator<Item = &'p Page>) -> Ways {
        let pages = pages.filter(|_| self.outside.is_for_pages);
        Ways(pages.map(|page| page.way.clone()).collect())
    }
}

/// The ways that pages are fetched by.
#[derive(Default)]
pub(in crate::dialect) struct Ways(HashSet<Way>);

impl Ways {
    pub(in crate::dialect) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next rules lead to what they name. One that is not there gets none.
    pub(in crate::dialect) fn lead(&self, groups: &Groups<'_>, rules: &mut Rules<'_>) {
        for way in &self.0 {
            let Way::By(name) = way else { continue };
            if let Some((inbound, lead)) = way.inbound().zip(groups.lead(name)) {
                let mut asks = Asks::default();
                asks.add("inboundTag", inbound);
                rules.push(&At::default(), asks, &lead, false);
            }
        }
    }
}

/// What a file holds, as a text.
pub(in crate::dialect) fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "this is not UTF-8 text".to_owned())
}

/// The lines of a list: of a plain text, or of the only list in a YAML file. These may be longer than a config, so no tree is made
/// of them, and there is nothing in them but texts.
pub(in crate::dialect) fn lines(text: &str, at: &At) -> Node {
    let is_yaml = |line: &str| line.starts_with("payload:") || line.starts_with("rules:");
    let is_yaml = text.lines().any(is_yaml);
    let of_line = |line: &str| {
        let line = line.trim();
        let item = match is_yaml {
            true if line == "---" => return None,
            true => unquoted(line.strip_prefix('-')?.trim_start()),
            false => line.to_owned(),
        };
        let is_comment = item.starts_with(['#', ';']) || item.starts_with("//");
        (!item.is_empty() && !is_comment).then(|| Node::text(item, at))
    };
    let text = text.trim_start_matches('\u{feff}');
    let items: Vec<Node> = text.lines().filter_map(of_line).collect();
    if is_yaml && items.is_empty() {
        // All in one line, say.
        let tree = text::read(text, &at.source).ok();
        let list = tree.and_then(|mut tree| tree.take("payload").or_else(|| tree.take("rules")));
        return list.unwrap_or_else(|| Node::new(Value::Null, at));
    }
    Node::new(Value::List(items), at)
}

/// A text as YAML has it in a line.
fn unquoted(text: &str) -> String {
    match text.chars().next() {
        Some('\'') => single_quoted(&text[1..]),
        // Its escapes are those of JSON.
        Some('"') => {
            let mut json = Deserializer::from_str(text).into_iter::<String>();
            match json.next() {
                Some(Ok(inner)) => inner,
                _ => text.trim_matches('"').to_owned(),
            }
        }
        _ => match text.split_once(" #") {
            Some((text, _)) => text.trim_end().to_owned(),
            None => text.to_owned(),
        },
    }
}

/// Up to the closing quote; two quotes are one.
fn single_quoted(mut rest: &str) -> String {
    let mut inner = String::new();
    while let Some((part, behind)) = rest.split_once('\'') {
        inner.push_str(part);
        match behind.strip_prefix('\'') {
            Some(behind) => {
                inner.push('\'');
                rest = behind;
            }
            None => return inner,
        }
    }
    inner + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_line_by_line() {
        for (text, expected) in [
            (
                "payload:\n  # all of it\n  - '+.a.test'\n  - \"b.test\" # b\n- c.test # c\n  -   d.test\n  - ''\n",
                ["+.a.test", "b.test", "c.test", "d.test"],
            ),
            (
                "\u{feff}# all of it\n+.a.test\r\n b.test \n\n// c\nc.test\n; d\nd.test",
                ["+.a.test", "b.test", "c.test", "d.test"],
            ),
            (
                "---\npayload:\n- 'it''s' # x\n- \"a\\\\.b # c\" # d\n- ''\n- 'x'\n- y#z\n",
                ["it's", "a\\.b # c", "x", "y#z"],
            ),
            (
                "payload: ['+.a.test', b.test, c.test, d.test]",
                ["+.a.test", "b.test", "c.test", "d.test"],
            ),
        ] {
            let list = lines(text, &At::default());
            let lines: Vec<&str> = list.items().iter().filter_map(Node::as_text).collect();
            assert_eq!(lines, expected, "{text}");
        }
    }
}
