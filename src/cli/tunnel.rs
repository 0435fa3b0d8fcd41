//! `mobula tunnel`: an end of a reverse tunnel, from its file in TOML.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tracing::info;

use super::args::TunnelEnd;
use super::reload::Fresh;
use super::run::{self, ALONE, Again};
use super::{BAD_CONFIG, test};
use crate::config::LogLevel;
use crate::dialect::tunnel::{self, End};
use crate::log::NOTICE;

pub(super) fn run(end: TunnelEnd, file: &Path) -> ExitCode {
    let end = match end {
        TunnelEnd::Server => End::Server,
        TunnelEnd::Client => End::Client,
    };
    let loaded = tunnel::load(end, file, level());
    for error in &loaded.errors {
        eprintln!("{error}");
        if std::io::stderr().is_terminal() {
            test::show(error);
        }
    }
    let Some(config) = loaded.config else {
        return ExitCode::from(BAD_CONFIG);
    };
    let path = file.to_owned();
    let again = Again::Config(Arc::new(move || {
        let loaded = tunnel::load(end, &path, level());
        Fresh::of(
            loaded.config,
            &loaded.errors,
            &loaded.warnings,
            loaded.notes,
        )
    }));
    run::serve(config, &loaded.warnings, &ALONE, &again, || {
        for note in &loaded.notes {
            info!(target: NOTICE, "{note}");
        }
    })
}

/// What `RUST_LOG` wants, as far as it is a level alone.
fn level() -> Option<LogLevel> {
    match std::env::var("RUST_LOG")
        .ok()?
        .to_ascii_lowercase()
        .as_str()
    {
        "trace" | "debug" => Some(LogLevel::Debug),
        "info" => Some(LogLevel::Info),
        "warn" | "warning" => Some(LogLevel::Warning),
        "error" => Some(LogLevel::Error),
        "off" => Some(LogLevel::None),
        _ => None,
    }
}
