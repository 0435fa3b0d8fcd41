//! V2Ray's two logs: one line for each session (access), and what the service has to say (error).
//!
//! ```text
//! 2026/11/21 03:34:24 127.0.0.1:50622 accepted tcp:example.com:443 [direct] email: a@b
//! 2026/11/21 03:34:24 127.0.0.1:50622 rejected  no user matches the auth id
//! 2026/11/21 03:34:24 [Warning] inbounds[0]: …
//! ```
//!
//! Lines are handed to a thread of their own for each place they go to: a terminal that does not read, a slow disk or a
//! mount that hangs must not stop the tunnels. When that thread cannot keep up, lines are dropped and counted. What a
//! stranger could have written without end is bounded before ([`rejected`], [`repeated`]).

mod access;
mod file;
mod format;
mod limits;
mod outlet;
mod rate_limit;
mod settings;
mod writer;

pub use access::{accepted, rejected};
pub use settings::{Level, Settings, Target};

use std::sync::OnceLock;

use tokio::sync::broadcast;
use tracing::level_filters::LevelFilter;
use tracing::{Level as TracingLevel, enabled, warn};
use tracing_subscriber::layer::SubscriberExt;

use limits::Limits;
use writer::Writer;

static WRITER: OnceLock<Writer> = OnceLock::new();

/// Opens the logs and takes the lines of the whole process from here on. A second call changes
/// nothing: the first one's logs stay.
///
/// A log file that does not open in time does not stop the start: it is written when it opens, and the texts
/// say so.
pub fn start(settings: &Settings) -> Result<Vec<String>, String> {
    if WRITER.get().is_some() {
        return Ok(Vec::new());
    }
    let (writer, warnings) = Writer::start(settings)?;
    if WRITER.set(writer).is_err() {
        return Ok(Vec::new());
    }
    let level = match settings.level {
        Level::None => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warning => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::registry()
        .with(level)
        .with(format::Lines);
    // Fails only where a test has installed a subscriber of its own; then that one has the lines.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(warnings)
}

/// A warning that many sessions may repeat: it is said at once, and how often it came again some seconds later.
pub fn repeated(text: &str) {
    warn_limited(text, |limits, line| limits.warning(text, line));
}

/// The same of warnings that are all counted together, whatever they say: those of one `origin`.
pub fn repeated_of(origin: &str, text: &str) {
    warn_limited(text, |limits, line| limits.warning(origin, line));
}

/// A warning, if `allows` does not count it instead.
fn warn_limited(text: &str, allows: impl FnOnce(&mut Limits, &str) -> bool) {
    if !enabled!(TracingLevel::WARN) {
        return;
    }
    let line = format!("[Warning] {text}");
    let counts = WRITER.get().filter(|writer| writer.has_error());
    if counts.is_none_or(|writer| writer.error_allows(|limits| allows(limits, &line))) {
        warn!("{text}");
    }
}

/// Opens the log files anew, as after a rotation.
pub fn reopen() {
    if let Some(writer) = WRITER.get() {
        writer.reopen();
    }
}

/// Every line from here on, but for logs that are switched off.
pub fn follow() -> Option<broadcast::Receiver<String>> {
    WRITER.get().map(Writer::follow)
}

/// Waits until the lines so far are written.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush();
    }
}
