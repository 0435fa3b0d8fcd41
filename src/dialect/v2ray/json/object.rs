//! A JSON object that remembers which of its keys were asked for.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::{Node, Setting, misplaced};

/// Keys are found as Go's `encoding/json`, and so V2Ray, finds them: exactly, else without regard to
/// case. In a config of V2Ray 5's form at last without regard to underscores, for what it reads as a protobuf has either spelling
/// of a name (`fallbackTag`, `fallback_tag`); V2Ray 4 passes the second one over. `null` counts as absent.
pub struct Object<'a> {
    pub node: Node<'a>,
    map: &'a Map<String, Value>,
    known: RefCell<Vec<&'static str>>,
}

/// What is said of a key that V2Ray knows and that does nothing here.
pub const NO_EFFECT: &str = "this feature is not built yet, the key has no effect";

impl<'a> Object<'a> {
    pub(super) fn new(node: Node<'a>, map: &'a Map<String, Value>) -> Self {
        Self {
            node,
            map,
            known: RefCell::default(),
        }
    }

    /// The value of `key`.
    #[inline(never)]
    pub fn get(&self, key: &'static str) -> Option<Node<'a>> {
        self.known.borrow_mut().push(key);
        let (written, value) = match self.map.get_key_value(key) {
            Some(exact) => exact,
            None => {
                let of_case = self.map.iter().find(|(k, _)| k.eq_ignore_ascii_case(key));
                of_case.or_else(|| self.map.iter().find(|(k, _)| self.names(k, key)))?
            }
        };
        (!value.is_null()).then(|| Node::at(self.node.path.key(written), value, self.node.report()))
    }

    fn names(&self, written: &str, key: &str) -> bool {
        match self.node.report().has_protobuf_names() {
            true => is_spelling_of(written, key),
            false => written.eq_ignore_ascii_case(key),
        }
    }

    /// The value of the first of `keys` that is there; the others count as known.
    #[inline(never)]
    pub fn first(&self, keys: &[&'static str]) -> Option<Node<'a>> {
        let mut found = None;
        for key in keys {
            let here = self.get(key);
            found = found.or(here);
        }
        found
    }

    /// `key` as a `T`; `None` when it is absent, or wrong (then the mistake is reported).
    #[inline(never)]
    pub fn read<T: Setting>(&self, key: &'static str) -> Option<T> {
        self.get(key)?.read()
    }

    /// `key` as a `T`, or `default` when it is absent.
    #[inline(never)]
    pub fn read_or<T: Setting>(&self, key: &'static str, default: T) -> T {
        self.read(key).unwrap_or(default)
    }

    /// `key` as a `T`; its absence is a mistake of this object.
    #[inline(never)]
    pub fn require<T: Setting>(&self, key: &'static str) -> Option<T> {
        self.require_node(key)?.read()
    }

    /// The value of `key`; its absence is a mistake of this object.
    #[inline(never)]
    pub fn require_node(&self, key: &'static str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.node.error(format!("`{key}` is missing"));
        }
        node
    }

    /// The elements of the array under `key`; none when it is absent.
    #[inline(never)]
    pub fn array(&self, key: &'static str) -> Vec<Node<'a>> {
        self.get(key).map(|node| node.array()).unwrap_or_default()
    }

    /// The value of the first of two words for one thing; that the other does not count then is said.
    pub fn in_place_of(&self, first: &'static str, second: &'static str) -> Option<Node<'a>> {
        let (node, other) = (self.get(first), self.get(second));
        if node.is_some()
            && let Some(other) = &other
        {
            other.warn(format!(
                "`{first}` is there as well, and stands in its place, as in Xray"
            ));
        }
        node.or(other)
    }

    /// The same of two lists, of which an empty one stands in no place.
    pub fn first_array(&self, [first, second]: [&'static str; 2]) -> Vec<Node<'a>> {
        match (self.array(first), self.array(second)) {
            (items, others) if items.is_empty() => others,
            (items, others) if others.is_empty() => items,
            (items, _) => {
                self.in_place_of(first, second);
                items
            }
        }
    }

    /// The object under `key`.
    #[inline(never)]
    pub fn object(&self, key: &'static str) -> Option<Self> {
        self.get(key)?.object()
    }

    /// Keys that V2Ray knows and that do nothing here: each that asks for something gets one warning.
    #[inline(never)]
    pub fn no_effect(&self, keys: &[&'static str]) {
        for key in keys {
            if let Some(node) = self.get(key)
                && asks_for_something(node.value)
            {
                node.warn(NO_EFFECT);
            }
        }
    }

    /// A key of V2Ray's that does nothing here and must not be passed over: it says where traffic goes.
    #[inline(never)]
    pub fn refuse(&self, key: &'static str, text: &str) {
        if let Some(node) = self.get(key)
            && asks_for_something(node.value)
        {
            node.unbuilt(text);
        }
    }

    /// Keys that are accepted in silence.
    pub fn silent(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// Whether there are keys, and none of them is known.
    pub fn knows_none(&self) -> bool {
        let known = self.known.borrow();
        let mut keys = self.map.keys().filter(|key| !is_remark(key)).peekable();
        let is_strange = |key: &String| !known.iter().any(|k| self.names(key, k));
        keys.peek().is_some() && keys.all(is_strange)
    }

    /// All is read: warns of the keys nobody asked for.
    #[inline(never)]
    pub fn finish(self) {
        let known = self.known.borrow();
        let own = self.node.path.last_key().unwrap_or_default();
        for (key, value) in self.map {
            let known_key = known.iter().any(|k| self.names(key, k));
            if known_key || value.is_null() || is_remark(key) {
                continue;
            }
            let guess = misplaced::guess(key, own, &known);
            self.node.report().warn_of_key(
                &self.node.path.key(key),
                format!("unknown key, it has no effect{guess}"),
            );
        }
    }
}

/// Whether `written` is `key`, in whatever case and with or without underscores between its words. One in front makes a
/// remark of a key, and one behind it another key.
pub(in crate::dialect::v2ray) fn is_spelling_of(written: &str, key: &str) -> bool {
    fn letters(text: &str) -> impl Iterator<Item = u8> {
        let letters = text.bytes().filter(|byte| *byte != b'_');
        letters.map(|byte| byte.to_ascii_lowercase())
    }
    !written.starts_with('_') && !written.ends_with('_') && letters(written).eq(letters(key))
}

/// Whether anything is lost when a setting is passed over: nothing is with `{}`, `false`, `0`, `""` or
/// `"none"`, nor with what is switched off by `"enabled": false`.
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty() && !text.eq_ignore_ascii_case("none"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => {
            map.get("enabled") != Some(&Value::Bool(false)) && map.values().any(asks_for_something)
        }
    }
}

/// Keys under which people and their tools leave notes.
fn is_remark(key: &str) -> bool {
    const REMARKS: [&str; 8] = [
        "comment",
        "comments",
        "description",
        // 3X-UI keeps there what its links say.
        "externalProxy",
        "note",
        "ps",
        "remark",
        "remarks",
    ];
    key.starts_with(['_', '/', '#', '$']) || REMARKS.contains(&key.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use serde_json::json;

    #[test]
    fn names_of_a_protobuf_have_either_spelling() {
        let value = json!({
            "outbound_selector": ["a"], "idleTimeout": 7, "fallbackTag": "one", "fallback_tag": "other", "_tag": "x", "strategy_": "y"
        });
        let report = Report::default();
        let object = Node::root(&value, &report).object().unwrap();
        assert!(object.get("outboundSelector").is_none());
        let report = Report::default().with_protobuf_names(true);
        let object = Node::root(&value, &report).object().unwrap();
        assert_eq!(object.array("outboundSelector").len(), 1);
        assert_eq!(object.read::<i64>("idle_timeout"), Some(7));
        assert_eq!(object.read::<String>("fallbackTag").as_deref(), Some("one"));
        assert!(object.get("tag").is_none() && object.get("strategy").is_none());
        object.finish();
        let warnings: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with("strategy_: unknown key"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_feature_that_is_switched_off_is_not_warned_about() {
        let value = json!({
            "fakedns": {}, "policy": {"levels": {"0": {}}}, "mux": {"enabled": false, "concurrency": 8},
            "dns": {"servers": ["1.1.1.1"]}, "_tag": "x", "remarks": "mine", "vnext": null, "//": "y"
        });
        let report = Report::default();
        let object = Node::root(&value, &report).object().unwrap();
        object.no_effect(&["fakedns", "policy", "mux", "dns"]);
        object.finish();
        let warnings: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["dns: this feature is not built yet, the key has no effect"]
        );
    }
}
