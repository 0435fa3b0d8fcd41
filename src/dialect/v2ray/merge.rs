//! Several files, one config.
//!
//! V2Ray 4 and Xray take every key of a later file in place of the same key of the earlier ones. `inbounds` and `outbounds`
//! are merged: an element takes the place of the one with its tag; without one, an inbound is added at the end, an
//! outbound in front, where it becomes the one that carries everything, or at the end if the file's name holds `tail`.
//! So it is in Xray; V2Ray 4 merges a list of one element alone, and forgets the one before where there are more.
//!
//! V2Ray 5 (`-format jsonv5`) merges all objects key by key, joins all arrays, merges elements of an
//! array that have the same `tag` or `_tag`, and sorts them by `_priority`.

use serde_json::{Map, Value};

use super::Format;
use crate::dialect::v2ray::json::{Path, Step};

/// The config so far.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) value: Map<String, Value>,
    pub(super) origins: Origins,
    /// What was lost on the way, for the user.
    pub(super) warnings: Vec<String>,
}

/// From which file each key, and each inbound and outbound, is.
#[derive(Default)]
pub(super) struct Origins {
    keys: Vec<(String, String)>,
    /// For each list its elements: the file, and the index in that file.
    elements: Vec<(&'static str, Vec<(String, usize)>)>,
}

const LISTS: [&str; 2] = ["inbounds", "outbounds"];

impl Merged {
    /// Xray's way, and V2Ray 4's.
    pub(super) fn overlay(&mut self, file: &str, later: Map<String, Value>) {
        for (key, value) in later {
            if value.is_null() {
                continue;
            }
            let key = spelled_as_before(&self.value, key);
            self.origins.set(&key, file);
            let list = LISTS.into_iter().find(|l| l.eq_ignore_ascii_case(&key));
            match (list, value) {
                (Some(list), Value::Array(items)) => self.overlay_list(file, list, &key, items),
                (_, value) => {
                    self.value.insert(key, value);
                }
            }
        }
    }

    fn overlay_list(&mut self, file: &str, list: &'static str, key: &str, items: Vec<Value>) {
        let origins = self.origins.list(list);
        let before = match self.value.get_mut(key) {
            Some(Value::Array(before)) if !before.is_empty() => before,
            _ => {
                *origins = (0..items.len()).map(|i| (file.to_owned(), i)).collect();
                self.value.insert(key.to_owned(), Value::Array(items));
                return;
            }
        };
        if items.len() > 1 {
            self.warnings.push(format!(
                "{file}: {key}: each is merged by its tag, as in Xray; V2Ray 4 would forget the {key} of the files before"
            ));
        }
        let goes_in_front = list == "outbounds" && !file.to_lowercase().contains("tail");
        // Where the next one goes that is put in front: they keep their order.
        let mut front = 0;
        // A new one is not looked for among those of its own file, which may be given twice.
        let mut own = vec![false; before.len()];
        for (n, item) in items.into_iter().enumerate() {
            let origin = (file.to_owned(), n);
            let known = before
                .iter()
                .zip(&own)
                .position(|(other, is_own)| tag(other) == tag(&item) && !is_own);
            match known {
                Some(at) => {
                    before[at] = item;
                    origins[at] = origin;
                    own[at] = true;
                }
                None if goes_in_front => {
                    before.insert(front, item);
                    origins.insert(front, origin);
                    own.insert(front, true);
                    front += 1;
                }
                None => {
                    before.push(item);
                    origins.push(origin);
                    own.push(true);
                }
            }
        }
    }

    /// V2Ray 5's way.
    pub(super) fn join(&mut self, later: Map<String, Value>) {
        join_maps(&mut self.value, later);
    }

    /// All files are in. A single one stays as it is: two equal tags in it are a mistake.
    pub(super) fn finish(&mut self, format: Format, files: usize) {
        if format == Format::V5 && files > 1 {
            settle_map(&mut self.value);
        }
    }
}

impl Origins {
    /// The file that holds `path`, and the path as that file counts; no file where it was not noted.
    pub(super) fn locate(&self, path: &Path) -> (Option<&str>, Path) {
        let steps = path.steps();
        let Some(Step::Key(key)) = steps.first() else {
            return (None, path.clone());
        };
        if let Some(Step::Index(index)) = steps.get(1)
            && let Some((list, elements)) = self.elements.iter().find(|(list, _)| *list == &**key)
            && let Some((file, own)) = elements.get(*index)
        {
            let element = Path::default().key(list).index(*own);
            let rest = steps[2..].iter().map(|step| (*step).clone());
            let steps = element.steps().into_iter().cloned().chain(rest);
            return (Some(file), steps.collect());
        }
        let file = self.keys.iter().find(|(k, _)| **k == **key);
        (file.map(|(_, file)| file.as_str()), path.clone())
    }

    /// As [`Origins::locate`], for messages.
    pub(super) fn name(&self, path: &Path) -> String {
        match self.locate(path) {
            (Some(file), path) => format!("{file}: {path}"),
            (None, path) => path.to_string(),
        }
    }

    fn set(&mut self, key: &str, file: &str) {
        self.keys.retain(|(k, _)| k != key);
        self.keys.push((key.to_owned(), file.to_owned()));
    }

    fn list(&mut self, list: &'static str) -> &mut Vec<(String, usize)> {
        let at = match self.elements.iter().position(|(l, _)| *l == list) {
            Some(at) => at,
            None => {
                self.elements.push((list, Vec::new()));
                self.elements.len() - 1
            }
        };
        &mut self.elements[at].1
    }
}

/// V2Ray compares tags as they are; those who have none have the same.
fn tag(value: &Value) -> &str {
    value.get("tag").and_then(Value::as_str).unwrap_or_default()
}

/// Keys are found without regard to case, so `Log` takes the place of `log`.
fn spelled_as_before(map: &Map<String, Value>, key: String) -> String {
    match map.keys().find(|k| k.eq_ignore_ascii_case(&key)) {
        Some(before) => before.clone(),
        None => key,
    }
}

fn join_maps(into: &mut Map<String, Value>, later: Map<String, Value>) {
    for (key, value) in later {
        match (into.get_mut(&key), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(a)), Value::Object(b)) => join_maps(a, b),
            (Some(Value::Array(a)), Value::Array(b)) => a.extend(b),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn settle_map(map: &mut Map<String, Value>) {
    for (key, value) in map {
        // The tag of a rule is where it leads to, and many rules may lead to one place.
        if !["rule", "rules"]
            .iter()
            .any(|k| key.eq_ignore_ascii_case(k))
        {
            settle(value);
        }
    }
}

/// Sorts arrays by `_priority` and merges their elements by tag, all the way down.
fn settle(value: &mut Value) {
    match value {
        Value::Object(map) => settle_map(map),
        Value::Array(items) => {
            items.sort_by(|a, b| priority(a).total_cmp(&priority(b)));
            let mut kept: Vec<Value> = Vec::with_capacity(items.len());
            for item in items.drain(..) {
                let same = match any_tag(&item) {
                    Some(name) => kept.iter_mut().find(|k| any_tag(k) == Some(name)),
                    None => None,
                };
                match (same, item) {
                    (Some(Value::Object(before)), Value::Object(later)) => {
                        join_maps(before, later);
                    }
                    (_, item) => kept.push(item),
                }
            }
            kept.iter_mut().for_each(settle);
            *items = kept;
        }
        _ => {}
    }
}

fn any_tag(value: &Value) -> Option<&str> {
    let named = |key| value.get(key).and_then(Value::as_str);
    named("tag")
        .filter(|t| !t.is_empty())
        .or_else(|| named("_tag"))
        .filter(|t| !t.is_empty())
}

fn priority(value: &Value) -> f64 {
    let priority = value.get("_priority").and_then(Value::as_f64);
    priority.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // The orders below are those that v2ctl 4.34 and 4.45 print for the same files.

    #[test]
    fn a_single_inbound_replaces_its_tag_or_is_added_at_the_end() {
        let base = json!({"inbounds": [{"tag": "a"}, {"tag": "b"}]});
        let merged = overlay(&[
            ("base.json", base.clone()),
            ("x.json", json!({"inbounds": [{"tag": "b", "port": 1}]})),
            ("y.json", json!({"inbounds": [{"tag": "c"}]})),
        ]);
        assert_eq!(
            merged.value["inbounds"],
            json!([{"tag": "a"}, {"tag": "b", "port": 1}, {"tag": "c"}])
        );
        assert_eq!(
            merged.origins.name(&element("inbounds", 1).key("port")),
            "x.json: inbounds[0].port"
        );
        assert_eq!(
            merged.origins.name(&element("inbounds", 2)),
            "y.json: inbounds[0]"
        );
    }

    #[test]
    fn a_file_that_is_given_twice_is_there_once() {
        let file = json!({"inbounds": [{"tag": "a"}, {"tag": "b"}], "outbounds": [{"tag": "x"}]});
        let merged = overlay(&[("a.json", file.clone()), ("a.json", file.clone())]);
        assert_eq!(Value::Object(merged.value), file);
    }

    #[test]
    fn a_single_outbound_goes_in_front_unless_its_file_is_a_tail() {
        let base = json!({"outbounds": [{"tag": "a"}]});
        let merged = overlay(&[
            ("base.json", base),
            ("x.json", json!({"outbounds": [{"tag": "x"}]})),
            ("z_Tail.json", json!({"outbounds": [{"tag": "z"}]})),
        ]);
        assert_eq!(
            merged.value["outbounds"],
            json!([{"tag": "x"}, {"tag": "a"}, {"tag": "z"}])
        );
        assert_eq!(
            merged.origins.name(&element("outbounds", 0)),
            "x.json: outbounds[0]"
        );
    }

    #[test]
    fn each_of_a_longer_list_is_merged_as_in_xray_and_that_is_said() {
        let two = |a: &str, b: &str| json!([{"tag": a, "port": 1}, {"tag": b}]);
        let merged = overlay(&[
            (
                "a.json",
                json!({"inbounds": two("a", "b"), "outbounds": two("a", "b")}),
            ),
            (
                "b.json",
                json!({"inbounds": two("b", "c"), "outbounds": two("c", "d")}),
            ),
            ("tail.json", json!({"outbounds": two("e", "d")})),
        ]);
        let tags = |key: &str| -> Vec<&str> {
            let all = merged.value[key].as_array().unwrap().iter();
            all.map(tag).collect()
        };
        assert_eq!(tags("inbounds"), ["a", "b", "c"]);
        // What Xray 26 sends by: `c` without a rule, and `d` last written.
        assert_eq!(tags("outbounds"), ["c", "d", "a", "b", "e"]);
        assert_eq!(
            merged.origins.name(&element("outbounds", 1)),
            "tail.json: outbounds[1]"
        );
        assert_eq!(
            merged.origins.name(&element("inbounds", 1)),
            "b.json: inbounds[0]"
        );
        assert_eq!(merged.warnings.len(), 3);
    }

    #[test]
    fn any_other_key_is_replaced_whole_and_null_is_no_key() {
        let merged = overlay(&[
            ("a.json", json!({"log": {"loglevel": "debug"}, "dns": {}})),
            ("b.json", json!({"Log": {"access": "none"}, "dns": null})),
        ]);
        assert_eq!(
            Value::Object(merged.value),
            json!({"log": {"access": "none"}, "dns": {}})
        );
        assert_eq!(
            merged
                .origins
                .name(&Path::default().key("log").key("access")),
            "b.json: log.access"
        );
    }

    #[test]
    fn v2ray_5_merges_deeply_and_sorts() {
        let mut merged = Merged::default();
        for value in [
            json!({"log": {"access": "a", "loglevel": "debug"}, "outbounds": [{"_priority": 100, "tag": "o1"}]}),
            json!({"log": {"loglevel": "error"}, "outbounds": [{"_priority": -100, "tag": "o2"}, {"tag": "o1", "x": 1}]}),
            json!({"router": {"rule": [{"tag": "o1", "networks": "tcp"}, {"tag": "o1", "portList": "53"}]}}),
        ] {
            let Value::Object(map) = value else { panic!() };
            merged.join(map);
        }
        merged.finish(Format::V5, 3);
        assert_eq!(
            merged.value["router"]["rule"].as_array().map(Vec::len),
            Some(2)
        );
        assert_eq!(
            merged.value["log"],
            json!({"access": "a", "loglevel": "error"})
        );
        assert_eq!(merged.value["outbounds"][0]["tag"], "o2");
        assert_eq!(
            merged.value["outbounds"][1],
            json!({"tag": "o1", "x": 1, "_priority": 100})
        );
    }

    fn element(list: &str, index: usize) -> Path {
        Path::default().key(list).index(index)
    }

    fn overlay(files: &[(&str, Value)]) -> Merged {
        let mut merged = Merged::default();
        for (file, value) in files {
            merged.overlay(file, value.as_object().unwrap().clone());
        }
        merged
    }
}
