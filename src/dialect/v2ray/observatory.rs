//! `observatory`, `burstObservatory` and `multiObservatory`; in V2Ray 5 also among the `services`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, Setting, StringList, found, one_of};
use crate::observatory::{Background, Burst, ExpectedStatus, Kind, Settings, StatusError, Url};
use crate::report::Placed;

/// Reads the settings of one kind.
type ReadKind = fn(&Object) -> Kind;

/// More samples of an outbound than anybody looks at.
const MAX_SAMPLING: u32 = 1000;

/// The observers of a config, in V2Ray's order: a balancer that names none asks the first without a tag.
pub(super) fn read(root: &Object) -> Vec<Settings> {
    let services = root.object("services");
    let mut observers = Vec::new();
    let backgrounds = [
        root.object("observatory"),
        services
            .as_ref()
            .and_then(|s| s.object("backgroundObservatory")),
    ];
    for object in backgrounds.into_iter().flatten() {
        observers.extend(observer(object, String::new(), background));
    }
    let bursts = [
        root.object("burstObservatory"),
        services.as_ref().and_then(|s| s.object("burstObservatory")),
    ];
    for object in bursts.into_iter().flatten() {
        observers.extend(observer(object, String::new(), burst));
    }
    if let Some(several) = root.object("multiObservatory") {
        for node in several.array("observers") {
            observers.extend(node.object().and_then(|o| member(o)));
        }
        several.finish();
    }
    if let Some(several) = services.as_ref().map(|s| s.array("multiobservatory")) {
        observers.extend(several.iter().filter_map(|node| member(node.object()?)));
    }
    if let Some(services) = services {
        for (key, value) in services.node.value.as_object().into_iter().flatten() {
            let built = [
                "backgroundObservatory",
                "browser",
                "burstObservatory",
                "commander",
                "fakeDns",
                "fakeDnsMulti",
                "multiobservatory",
                "policy",
                "reverse",
                "stats",
            ];
            if !built.iter().any(|name| name.eq_ignore_ascii_case(key)) {
                let path = services.node.path.key(key);
                let node = Node::at(path, value, services.node.report());
                node.warn("this service is not built yet, the key has no effect");
            }
        }
    }
    observers
}

/// `{"type": "burst", "tag": "…", "settings": {…}}` of `multiObservatory`; V2Ray 5 has the names of its services there.
fn member(object: Object) -> Option<Settings> {
    let kinds: [(&str, ReadKind); 4] = [
        ("default", background),
        ("burst", burst),
        ("backgroundObservatory", background),
        ("burstObservatory", burst),
    ];
    let kind = match object.get("type").filter(|node| node.value != "") {
        Some(node) => one_of(&node, &kinds)?,
        None => background,
    };
    let tag = object.read_or("tag", String::new());
    let settings = object.require_node("settings");
    object.finish();
    observer(settings?.object()?, tag, kind)
}

/// V2Ray starts none without a selector.
fn observer(object: Object, tag: String, kind: ReadKind) -> Option<Settings> {
    let node = object.get("subjectSelector");
    let StringList(selectors) = node.as_ref().and_then(Node::read).unwrap_or_default();
    match &node {
        Some(node) if selectors.is_empty() => {
            node.warn("there is no beginning of a tag in it, no outbound is observed");
        }
        Some(_) => {}
        None => object
            .node
            .warn("`subjectSelector` is missing, no outbound is observed"),
    }
    let kind = kind(&object);
    object.silent(&["@type", "tag"]);
    object.finish();
    let at = node.filter(|_| !selectors.is_empty())?.path;
    Some(Settings {
        tag,
        selectors: Placed::new(selectors, at),
        kind,
    })
}

fn background(object: &Object) -> Kind {
    object.no_effect(&["persistentProbeResult"]);
    let mut settings = Background::default();
    set(&mut settings.url, url(object, "probeURL"));
    set(&mut settings.interval, span(object, "probeInterval"));
    set(&mut settings.all_at_once, object.read("enableConcurrency"));
    set(&mut settings.expected, object.read("expectedStatus"));
    Kind::Background(Box::new(settings))
}

fn burst(object: &Object) -> Kind {
    let mut settings = Burst::default();
    if let Some(ping) = object.object("pingConfig") {
        set(&mut settings.url, url(&ping, "destination"));
        settings.connectivity = url(&ping, "connectivity");
        set(&mut settings.interval, span(&ping, "interval"));
        set(&mut settings.timeout, span(&ping, "timeout"));
        if let Some(node) = ping.first(&["sampling", "samplingCount"])
            && let Some(count) = node.read::<i64>().filter(|count| *count > 0)
        {
            settings.sampling = u32::try_from(count).unwrap_or(u32::MAX).min(MAX_SAMPLING);
            if i64::from(settings.sampling) < count {
                node.warn(format!("at most {MAX_SAMPLING} samples are kept"));
            }
        }
        set(&mut settings.expected, ping.read("expectedStatus"));
        let max = ping.read("maxFailedTimes");
        settings.max_failed = max.and_then(NonZeroU32::new);
        ping.no_effect(&["httpMethod"]);
        ping.finish();
    }
    Kind::Burst(Box::new(settings))
}

/// Leaves the default where nothing is said.
fn set<T>(setting: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *setting = said;
    }
}

/// Empty is none.
fn url(object: &Object, key: &'static str) -> Option<Url> {
    let node = object.get(key).filter(|node| node.value != "")?;
    if !node.value.is_string() {
        return node.read();
    }
    // V2Ray starts, and finds every outbound dead.
    let url = Url::parse(node.value.as_str()?.trim());
    if let Err(e) = &url {
        node.warn(format!("{e}, the usual one is asked for"));
    }
    url.ok()
}

/// Zero is none.
fn span(object: &Object, key: &'static str) -> Option<Duration> {
    object.read(key).filter(|span: &Duration| !span.is_zero())
}

impl Setting for ExpectedStatus {
    fn parse(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return Err(format!("{} is not a status", found(value))),
        };
        text.parse().map_err(|e: StatusError| e.to_string())
    }
}

impl Setting for Url {
    fn parse(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some(text) => Self::parse(text.trim()).map_err(|e| e.to_string()),
            None => Err(format!("{} is not a URL", found(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use serde_json::json;

    #[test]
    fn the_defaults_are_v2rays() {
        let (all, problems) = observers(&json!({
            "observatory": {"subjectSelector": ["a"]},
            "burstObservatory": {"subjectSelector": ["b"]}
        }));
        let observer = |selector: &str, kind| Settings {
            tag: String::new(),
            selectors: vec![selector.to_owned()].into(),
            kind,
        };
        let background = Kind::Background(Box::default());
        let burst = Kind::Burst(Box::default());
        assert_eq!(all, [observer("a", background), observer("b", burst)]);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn either_dialect_is_read() {
        let (all, problems) = observers(&json!({
            "observatory": {"subjectSelector": ["a"], "probeUrl": "http://x.test", "probeInterval": "3s"},
            "services": {"burstObservatory": {"subjectSelector": "b", "pingConfig": {
                "destination": "http://d.test", "connectivity": "http://c.test",
                "interval": "1m30s", "sampling": 4, "timeout": "500ms"
            }}},
            "multiObservatory": {"observers": [
                {"type": "burst", "tag": "m", "settings": {"subjectSelector": ["a"]}},
                {"tag": "n", "settings": {"subjectSelector": ["a"]}}
            ]}
        }));
        assert!(problems.is_empty(), "{problems:?}");
        let tags: Vec<&str> = all.iter().map(|o| o.tag.as_str()).collect();
        assert_eq!(tags, ["", "", "m", "n"]);
        let (of_five, problems) = observers(&json!({"services": {"multiobservatory": [
            {"type": "burstObservatory", "tag": "m", "settings": {"subject_selector": ["a"]}},
            {"type": "backgroundObservatory", "tag": "n", "settings": {
                "subject_selector": ["a"], "probe_interval": 2_000_000_000
            }}
        ]}}));
        assert!(problems.is_empty(), "{problems:?}");
        let kinds: Vec<_> = of_five.iter().map(|o| (&*o.tag, &o.kind)).collect();
        assert!(
            matches!(&kinds[..], [("m", Kind::Burst(_)), ("n", Kind::Background(two))] if two.interval.as_secs() == 2),
            "{kinds:?}"
        );
        let Kind::Burst(burst) = &all[1].kind else {
            panic!("{all:?}");
        };
        assert_eq!(
            burst.connectivity.as_ref().unwrap().to_string(),
            "http://c.test"
        );
        assert_eq!(
            (burst.interval.as_secs(), burst.timeout.as_millis()),
            (90, 500)
        );
        assert!(matches!(all[2].kind, Kind::Burst(_)));
        assert!(matches!(all[3].kind, Kind::Background(_)));
    }

    #[test]
    fn which_answers_count_is_said_in_a_word_or_a_number() {
        let (all, problems) = observers(&json!({
            "observatory": {"subjectSelector": ["a"], "expectedStatus": 204},
            "burstObservatory": {"subjectSelector": ["a"], "pingConfig": {
                "expectedStatus": "200-299, 301", "maxFailedTimes": 3
            }}
        }));
        assert!(problems.is_empty(), "{problems:?}");
        let [Kind::Background(one), Kind::Burst(two)] = [&all[0].kind, &all[1].kind] else {
            panic!("{all:?}");
        };
        assert_eq!(one.expected.to_string(), "204");
        assert_eq!(two.expected.to_string(), "200-299/301");
        assert_eq!(two.max_failed, NonZeroU32::new(3));
        let (_, problems) = observers(&json!({
            "observatory": {"subjectSelector": ["a"], "expectedStatus": "2xx"}
        }));
        assert_eq!(
            problems,
            [
                "observatory.expectedStatus: `2xx` is not a status, expected `204`, several such as `200/204`, `200-299` or `*`"
            ]
        );
    }

    #[test]
    fn an_observer_of_nothing_is_told() {
        let (all, problems) = observers(&json!({
            "observatory": {"subjectSelector": []}, "burstObservatory": {}
        }));
        assert_eq!(all, []);
        assert_eq!(
            problems,
            [
                "observatory.subjectSelector: there is no beginning of a tag in it, no outbound is observed",
                "burstObservatory: `subjectSelector` is missing, no outbound is observed",
            ]
        );
    }

    fn observers(value: &Value) -> (Vec<Settings>, Vec<String>) {
        let report = Report::default().with_protobuf_names(true);
        let root = Node::root(value, &report).object().unwrap();
        let observers = read(&root);
        let problems = report.errors().into_iter().chain(report.warnings());
        (observers, problems.map(|p| p.to_string()).collect())
    }
}
