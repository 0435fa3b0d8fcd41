//! `observatory`, `burstObservatory` and `multiObservatory`; in V2Ray 5 also among the `services`.

use std::sync::Arc;
use std::time::Duration;

use super::url::Url;
use crate::dialect::v2ray::routing::Observed;
use crate::json::{Node, Object, StringList, one_of};
use crate::routing::{HealthTable, selected};

/// Looks at the outbounds whose tags begin with one of its selectors.
#[derive(Clone, Debug)]
pub struct Observer {
    /// What a balancer's `observerTag` names; empty for the one that needs none.
    pub tag: String,
    pub selectors: Vec<String>,
    pub kind: Kind,
    pub health: Arc<HealthTable>,
}

impl Observer {
    /// What balancers must know of it.
    pub fn observed(&self) -> Observed {
        Observed {
            tag: self.tag.clone(),
            selectors: self.selectors.clone(),
            health: self.health.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Kind {
    Sequential(Box<Sequential>),
    Burst(Box<Burst>),
}

/// Reads the settings of one kind.
type ReadKind = fn(&Object) -> Kind;

/// One outbound after the other.
#[derive(Clone, Debug)]
pub struct Sequential {
    pub url: Url,
    /// Between two outbounds.
    pub interval: Duration,
}

/// Samples at random moments.
#[derive(Clone, Debug)]
pub struct Burst {
    pub url: Url,
    /// When this does not answer without any outbound, the network is down and not the outbound.
    pub connectivity: Option<Url>,
    /// Between two samples of one outbound, on average.
    pub interval: Duration,
    /// Samples that are kept.
    pub sampling: u32,
    pub timeout: Duration,
}

const SEQUENTIAL_URL: &str = "https://api.v2fly.org/checkConnection.svgz";
const STEADY_INTERVAL: Duration = Duration::from_secs(10);

const BURST_URL: &str = "https://connectivitycheck.gstatic.com/generate_204";
const BURST_INTERVAL: Duration = Duration::from_secs(60);
const BURST_SAMPLING: u32 = 10;
const BURST_TIMEOUT: Duration = Duration::from_secs(5);

/// More samples of an outbound than anybody looks at.
const MAX_SAMPLING: u32 = 1000;

/// The observers of a config, in V2Ray's order: a balancer that names none asks the first without a tag.
pub fn read(root: &Object, outbounds: &[String]) -> Vec<Observer> {
    let services = root.object("services");
    let mut observers = Vec::new();
    let steadies = [
        root.object("observatory"),
        services
            .as_ref()
            .and_then(|s| s.object("backgroundObservatory")),
    ];
    for object in steadies.into_iter().flatten() {
        observers.extend(observer(object, String::new(), sequential, outbounds));
    }
    let bursts = [
        root.object("burstObservatory"),
        services.as_ref().and_then(|s| s.object("burstObservatory")),
    ];
    for object in bursts.into_iter().flatten() {
        observers.extend(observer(object, String::new(), burst, outbounds));
    }
    if let Some(several) = root.object("multiObservatory") {
        for node in several.array("observers") {
            observers.extend(node.object().and_then(|o| member(o, outbounds)));
        }
        several.finish();
    }
    if let Some(services) = services {
        for (key, value) in services.node.value.as_object().into_iter().flatten() {
            let built = [
                "backgroundObservatory",
                "burstObservatory",
                "policy",
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

/// `{"type": "burst", "tag": "…", "settings": {…}}` of `multiObservatory`.
fn member(object: Object, outbounds: &[String]) -> Option<Observer> {
    let kinds: [(&str, ReadKind); 2] = [("default", sequential), ("burst", burst)];
    let kind = match object.get("type").filter(|node| node.value != "") {
        Some(node) => one_of(&node, &kinds)?,
        None => sequential,
    };
    let tag = object.read_or("tag", String::new());
    let settings = object.require_node("settings");
    object.finish();
    observer(settings?.object()?, tag, kind, outbounds)
}

/// V2Ray starts none without a selector.
fn observer(object: Object, tag: String, kind: ReadKind, outbounds: &[String]) -> Option<Observer> {
    let node = object.get("subjectSelector");
    let StringList(selectors) = node.as_ref().and_then(Node::read).unwrap_or_default();
    let none = "no outbound is observed";
    match &node {
        Some(node) if !outbounds.iter().any(|tag| selected(&selectors, tag)) => node.warn(format!(
            "no outbound has a tag that begins like this, {none}"
        )),
        Some(_) => {}
        None => object
            .node
            .warn(format!("`subjectSelector` is missing, {none}")),
    }
    let kind = kind(&object);
    object.silent(&["@type", "tag"]);
    object.finish();
    (!selectors.is_empty()).then(|| Observer {
        tag,
        selectors,
        kind,
        health: Arc::default(),
    })
}

fn sequential(object: &Object) -> Kind {
    object.no_effect(&["persistentProbeResult"]);
    Kind::Sequential(Box::new(Sequential {
        url: url(object, "probeURL").unwrap_or_else(|| default(SEQUENTIAL_URL)),
        interval: span(object, "probeInterval").unwrap_or(STEADY_INTERVAL),
    }))
}

fn burst(object: &Object) -> Kind {
    let mut settings = Burst {
        url: default(BURST_URL),
        connectivity: None,
        interval: BURST_INTERVAL,
        sampling: BURST_SAMPLING,
        timeout: BURST_TIMEOUT,
    };
    if let Some(ping) = object.object("pingConfig") {
        settings.url = url(&ping, "destination").unwrap_or(settings.url);
        settings.connectivity = url(&ping, "connectivity");
        settings.interval = span(&ping, "interval").unwrap_or(settings.interval);
        settings.timeout = span(&ping, "timeout").unwrap_or(settings.timeout);
        if let Some(node) = ping.first(&["sampling", "samplingCount"])
            && let Some(count) = node.read::<i64>().filter(|count| *count > 0)
        {
            settings.sampling = u32::try_from(count).unwrap_or(u32::MAX).min(MAX_SAMPLING);
            if i64::from(settings.sampling) < count {
                node.warn(format!("at most {MAX_SAMPLING} samples are kept"));
            }
        }
        ping.finish();
    }
    Kind::Burst(Box::new(settings))
}

/// Empty is none.
fn url(object: &Object, key: &'static str) -> Option<Url> {
    let node = object.get(key).filter(|node| node.value != "")?;
    node.read()
}

/// Zero is none.
fn span(object: &Object, key: &'static str) -> Option<Duration> {
    object.read(key).filter(|span: &Duration| !span.is_zero())
}

fn default(url: &str) -> Url {
    Url::parse(url).expect("it is one, a test reads it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Report;
    use serde_json::{Value, json};

    #[test]
    fn the_defaults_are_v2rays() {
        let all = observers(&json!({
            "observatory": {"subjectSelector": ["a"]},
            "burstObservatory": {"subjectSelector": ["b"]}
        }));
        let [Kind::Sequential(sequential), Kind::Burst(burst)] = [&all.0[0].kind, &all.0[1].kind]
        else {
            panic!("{all:?}");
        };
        assert_eq!(sequential.url.to_string(), SEQUENTIAL_URL);
        assert_eq!(sequential.interval, Duration::from_secs(10));
        assert_eq!(burst.url.to_string(), BURST_URL);
        assert_eq!(burst.interval, Duration::from_secs(60));
        assert_eq!((burst.sampling, burst.timeout.as_secs()), (10, 5));
        assert!(all.1.is_empty(), "{all:?}");
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
        assert!(matches!(all[3].kind, Kind::Sequential(_)));
    }

    #[test]
    fn an_observer_of_nothing_is_told() {
        let (all, problems) = observers(&json!({
            "observatory": {"subjectSelector": ["x"]}, "burstObservatory": {}
        }));
        assert_eq!(all.len(), 1);
        assert_eq!(
            problems,
            [
                "observatory.subjectSelector: no outbound has a tag that begins like this, no outbound is observed",
                "burstObservatory: `subjectSelector` is missing, no outbound is observed",
            ]
        );
    }

    fn observers(value: &Value) -> (Vec<Observer>, Vec<String>) {
        let report = Report::default();
        let root = Node::root(value, &report).object().unwrap();
        let observers = read(&root, &["a-1".to_owned(), "b-1".to_owned()]);
        let problems = report.errors().into_iter().chain(report.warnings());
        (observers, problems.map(|p| p.to_string()).collect())
    }
}
