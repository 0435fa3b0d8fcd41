//! The keys of a proxy, as Clash finds them.

use crate::address::{Destination, Host};
use crate::dialect::gost::tree::{Node, Value};
use crate::dialect::links::said::Said;

/// A map, and what leads to it.
pub(super) struct Fields<'a> {
    map: Option<&'a Node>,
    path: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn of(map: &'a Node) -> Self {
        Self {
            map: Some(map),
            path: "",
        }
    }

    /// The map under a key; an empty one where there is none.
    pub(super) fn map(&self, key: &'static str) -> Self {
        Self {
            map: self.get(key),
            path: key,
        }
    }

    /// What messages call a key.
    pub(super) fn label(&self, key: &str) -> String {
        match self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// The value of a key, whatever its case; `_` is `-`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        let is = |known: &str| {
            known.len() == key.len()
                && known
                    .bytes()
                    .zip(key.bytes())
                    .all(|(a, b)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-'))
        };
        let mut entries = self.map?.entries().iter();
        let (_, node) = entries.find(|(known, _)| is(known))?;
        (node.value != Value::Null).then_some(node)
    }

    /// A text, or a number as one; an empty one is not there.
    pub(super) fn text(&self, key: &str, said: &mut Said) -> Option<&'a str> {
        let node = self.get(key)?;
        let text = node.as_text();
        if text.is_none() {
            said.error(&self.label(key), "expected a text");
        }
        text.filter(|text| !text.is_empty())
    }

    /// A text that must be there.
    pub(super) fn required(&self, key: &str, said: &mut Said) -> Option<&'a str> {
        let errors = said.errors.len();
        let text = self.text(key, said);
        if text.is_none() && said.errors.len() == errors {
            said.error(&self.label(key), "it is missing");
        }
        text
    }

    /// A word in small letters.
    pub(super) fn word(&self, key: &str, said: &mut Said) -> String {
        let word = self.text(key, said).unwrap_or_default();
        word.trim().to_ascii_lowercase()
    }

    /// A switch in any of YAML's words, or a number.
    pub(super) fn switch(&self, key: &str, said: &mut Said) -> bool {
        self.switched(key, said).unwrap_or(false)
    }

    /// As [`Self::switch`], where its absence means something.
    pub(super) fn switched(&self, key: &str, said: &mut Said) -> Option<bool> {
        match &*self.get(key)?.as_text()?.trim().to_ascii_lowercase() {
            "true" | "yes" | "on" | "y" | "1" | "1.0" => Some(true),
            "false" | "no" | "off" | "n" | "0" | "0.0" | "" => Some(false),
            other => {
                let other = other.escape_debug();
                let text = format_args!("found `{other}`, expected `true` or `false`");
                said.error(&self.label(key), text);
                None
            }
        }
    }

    /// A number, also with `.0` behind it.
    pub(super) fn number(&self, key: &str, said: &mut Said) -> Option<u32> {
        let text = self.text(key, said)?.trim();
        let number = text.strip_suffix(".0").unwrap_or(text).parse().ok();
        if number.is_none() {
            let text = text.escape_debug();
            said.error(
                &self.label(key),
                format_args!("found `{text}`, expected a number"),
            );
        }
        number
    }

    /// Texts: a list of them, or one.
    pub(super) fn list(&self, key: &str, said: &mut Said) -> Vec<&'a str> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let texts: Vec<_> = node.items().iter().filter_map(Node::as_text).collect();
        if texts.len() < node.items().len() {
            said.error(&self.label(key), "expected a list of texts");
        }
        texts
    }

    /// The entries of a map of texts, each name with what may stand there.
    pub(super) fn texts(&self, key: &str, said: &mut Said) -> Vec<(&'a str, Vec<&'a str>)> {
        let mut found = Vec::new();
        for (name, node) in self.get(key).map(Node::entries).unwrap_or_default() {
            let texts: Vec<_> = node.items().iter().filter_map(Node::as_text).collect();
            if texts.len() < node.items().len() {
                let label = format!("{}.{name}", self.label(key));
                said.error(&label, "expected a text");
            }
            found.push((&**name, texts));
        }
        found
    }

    /// Where the server is.
    pub(super) fn server(&self, said: &mut Said) -> Option<Destination> {
        let server = self.required("server", said);
        let host = server.and_then(|text| {
            let text = text.trim();
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            let host = Host::parse(bare.unwrap_or(text));
            let tell = |e| {
                said.error(
                    "server",
                    format_args!("found `{}`: {e}", text.escape_debug()),
                )
            };
            host.map_err(tell).ok()
        });
        if self.get("port").is_none() {
            said.error("port", "it is missing, expected 1 to 65535");
        }
        let port = self.number("port", said);
        let port = port.and_then(|number| {
            let port = u16::try_from(number).ok().filter(|port| *port != 0);
            if port.is_none() {
                said.error("port", format_args!("found {number}, expected 1 to 65535"));
            }
            port
        });
        Some(Destination::new(host?, port?))
    }
}
