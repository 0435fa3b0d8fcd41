//! `log` of a file.

use super::Problems;
use super::part::check_keys;
use crate::config::{Log, LogFormat, LogKeys, LogLevel, LogTarget};
use crate::dialect::tree::Node;
use crate::report::either;

/// Reads it.
pub(super) fn read(node: Option<&Node>, problems: &Problems) -> Log {
    let mut log = Log {
        level: LogLevel::Info,
        access: LogTarget::None,
        error: LogTarget::StandardError,
        keys: LogKeys {
            error: "log.output",
            ..LogKeys::default()
        },
        ..Log::default()
    };
    if let Some(node) = node {
        check_keys(node, &["output", "level", "format", "rotation"], problems);
        let text = |key: &str| node.get(key).and_then(|node| Some((node, node.as_text()?)));
        if let Some((node, level)) = text("level") {
            log.level = level_of(level).unwrap_or_else(|| refuse(node, &LEVELS, problems));
        }
        log.error = match text("output") {
            None | Some((_, "" | "stderr")) => LogTarget::StandardError,
            Some((_, "stdout")) => LogTarget::Console,
            Some((_, "none" | "null")) => LogTarget::None,
            Some((_, file)) => LogTarget::File(file.into()),
        };
        log.format = match text("format") {
            None | Some((_, "" | "text")) => LogFormat::Text,
            Some((_, "json")) => LogFormat::Json,
            Some((node, _)) => refuse(node, &["text", "json"], problems),
        };
        if let Some(rotation) = node.get("rotation") {
            let text =
                "log files are not turned over here: `logrotate` does it, with SIGUSR1 behind it";
            problems.error(&rotation.at, text);
        }
    }
    log
}

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

fn level_of(word: &str) -> Option<LogLevel> {
    Some(match word {
        "trace" | "debug" => LogLevel::Debug,
        "" | "info" => LogLevel::Info,
        "warn" | "warning" => LogLevel::Warning,
        "error" | "fatal" => LogLevel::Error,
        _ => return None,
    })
}

fn refuse<T: Default>(node: &Node, expected: &[&str], problems: &Problems) -> T {
    let word = node.as_text().unwrap_or_default().escape_debug();
    let text = format!("`{word}` is unknown, expected {}", either(expected));
    problems.error(&node.at, &text);
    T::default()
}
