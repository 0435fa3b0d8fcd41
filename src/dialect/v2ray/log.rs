//! `log`: V2Ray 4's three strings, and V2Ray 5's two objects.

use crate::dialect::v2ray::json::{Node, Object, did_you_mean, either, one_of};

use crate::config::{Log, LogFormat, LogLevel, LogTarget};

/// `log` of the top level; without one, V2Ray keeps no access log and warns on the console.
pub(super) fn read(root: &Object) -> Log {
    let Some(object) = root.object("log") else {
        return Log {
            access: LogTarget::None,
            ..Log::default()
        };
    };
    let mut log = Log::default();
    if let Some(node) = object.get("access") {
        log.access = target(&node).0;
    }
    if let Some(node) = object.get("error") {
        let (target, level) = target(&node);
        log.error = target;
        log.level = level.unwrap_or_default();
    }
    if let Some(node) = object.get("loglevel") {
        log.level = level(&node);
    }
    if let Some(node) = object.get("format") {
        const FORMATS: [(&str, LogFormat); 3] = [
            ("text", LogFormat::Text),
            ("xray", LogFormat::Xray),
            ("json", LogFormat::Json),
        ];
        log.format = one_of(&node, &FORMATS).unwrap_or_default();
    }
    // A query of the DNS module would be logged here; there is none.
    object.silent(&["dnsLog"]);
    object.no_effect(&["maskAddress"]);
    object.finish();
    if log.level == LogLevel::None {
        log.access = LogTarget::None;
        log.error = LogTarget::None;
    }
    log
}

/// A file, `""`, `"none"`; or `{"type": "File", "path": …, "level": …}`.
fn target(node: &Node) -> (LogTarget, Option<LogLevel>) {
    if !node.value.is_object() {
        let text: String = node.read().unwrap_or_default();
        return (named(&text), None);
    }
    let Some(object) = node.object() else {
        return (LogTarget::Console, None);
    };
    const TYPES: [(&str, Type); 3] = [
        ("Console", Type::Console),
        ("File", Type::File),
        ("None", Type::None),
    ];
    let kind = object.get("type").and_then(|n| one_of(&n, &TYPES));
    let path: Option<String> = object.read("path");
    let level = object.get("level").map(|n| level(&n));
    object.finish();
    let target = match (kind.unwrap_or(Type::None), path) {
        (Type::Console, _) => LogTarget::Console,
        (Type::None, _) => LogTarget::None,
        (Type::File, Some(path)) if !path.is_empty() => LogTarget::File(path.into()),
        (Type::File, _) => {
            node.error("`path` is missing, a log of type `File` needs one");
            LogTarget::None
        }
    };
    (target, level)
}

#[derive(Clone, Copy)]
enum Type {
    Console,
    File,
    None,
}

fn named(text: &str) -> LogTarget {
    match text {
        "" => LogTarget::Console,
        "none" => LogTarget::None,
        path => LogTarget::File(path.into()),
    }
}

/// V2Ray takes every word it does not know for `warning`.
fn level(node: &Node) -> LogLevel {
    let text: String = node.read().unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warning" | "" => LogLevel::Warning,
        "error" => LogLevel::Error,
        "none" => LogLevel::None,
        _ => {
            const LEVELS: [&str; 5] = ["debug", "info", "warning", "error", "none"];
            node.warn(format!(
                "`{}` is unknown, `warning` is used; there is {}{}",
                text.escape_debug(),
                either(&LEVELS),
                did_you_mean(&text, LEVELS.into_iter())
            ));
            LogLevel::Warning
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use serde_json::{Value, json};

    #[test]
    fn a_name_a_file_or_nothing() {
        let (log, _) =
            of(json!({"log": {"access": "/a.log", "error": "none", "loglevel": "Info"}}));
        assert_eq!(log.access, LogTarget::File("/a.log".into()));
        assert_eq!((log.error, log.level), (LogTarget::None, LogLevel::Info));
    }

    #[test]
    fn without_a_log_there_is_no_access_log_and_an_empty_one_has_both() {
        assert_eq!(of(json!({})).0.access, LogTarget::None);
        assert_eq!(of(json!({"log": {}})).0, Log::default());
    }

    #[test]
    fn level_none_silences_both() {
        let (log, _) = of(json!({"log": {"access": "/a.log", "loglevel": "none"}}));
        assert_eq!((log.access, log.error), (LogTarget::None, LogTarget::None));
    }

    #[test]
    fn v2ray_5_writes_objects() {
        let (log, _) = of(json!({"log": {
            "access": {"type": "None"}, "error": {"type": "File", "path": "/e.log", "level": "Debug"}
        }}));
        assert_eq!(log.access, LogTarget::None);
        assert_eq!(log.error, LogTarget::File("/e.log".into()));
        assert_eq!(log.level, LogLevel::Debug);
    }

    #[test]
    fn lines_may_be_objects() {
        let (log, _) = of(json!({"log": {"format": "json"}}));
        assert_eq!(log.format, LogFormat::Json);
        let value = json!({"log": {"format": "jsno"}});
        let report = Report::default();
        read(&Node::root(&value, &report).object().unwrap());
        let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "log.format: `jsno` is unknown, expected `text`, `xray` or `json`, did you mean `json`?"
            ]
        );
    }

    #[test]
    fn an_unknown_level_is_warning_as_in_v2ray_but_not_in_silence() {
        let (log, warnings) = of(json!({"log": {"loglevel": "warnin"}}));
        assert_eq!(log.level, LogLevel::Warning);
        assert_eq!(
            warnings,
            [
                "log.loglevel: `warnin` is unknown, `warning` is used; there is `debug`, `info`, `warning`, `error` or `none`, did you mean `warning`?"
            ]
        );
    }

    fn of(value: Value) -> (Log, Vec<String>) {
        let report = Report::default();
        let log = read(&Node::root(&value, &report).object().unwrap());
        let warnings = report.warnings().iter().map(ToString::to_string).collect();
        (log, warnings)
    }
}
