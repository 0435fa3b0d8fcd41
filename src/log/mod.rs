//! V2Ray's two logs: one line for each session (access), and what the service has to say (error).
//!
//! ```text
//! 2026/11/21 03:34:24 127.0.0.1:50622 accepted tcp:example.com:443 [direct] email: a@b
//! 2026/11/21 03:34:24 127.0.0.1:50622 rejected  no user matches the auth id [user-unknown]
//! 2026/11/21 03:34:24 [Warning] inbounds[0]: …
//! ```
//!
//! A [`line`](mod@line) is a value until it is written: as V2Ray writes it, in colours on a terminal, or as a JSON object.
//!
//! Lines are handed to a thread of their own for each place they go to: a terminal that does not read, a slow disk or a
//! mount that hangs must not stop the tunnels. When that thread cannot keep up, lines are dropped and counted. What a
//! stranger could have written without end is bounded before ([`rejected`], [`repeated`]).

mod access;
mod events;
mod file;
mod limits;
mod line;
mod lost;
mod outlet;
mod rate_limit;
pub mod recent;
mod settings;
mod writer;

pub use access::{Accepted, Rejected, accepted, rejected};
pub use settings::{Format, Keys, Level, Settings, Target};

use std::sync::OnceLock;

use tokio::sync::broadcast;
use tracing::level_filters::LevelFilter;
use tracing::{Level as TracingLevel, enabled, warn};
use tracing_subscriber::layer::SubscriberExt;

use events::{Lines, Threshold};
use limits::Limits;
use line::{Kind, Line};
use writer::{Next, Writer};

/// The target of what everybody is told who has warnings, though it is none: `info!(target: NOTICE, …)`.
pub const NOTICE: &str = concat!(env!("CARGO_PKG_NAME"), "::notice");

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
    Threshold::set(filter(settings.level));
    let subscriber = tracing_subscriber::registry().with(Threshold).with(Lines);
    // Fails only where a test has installed a subscriber of its own; then that one has the lines.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(warnings)
}

/// The logs of other settings, opened; nothing is written to them yet.
#[must_use]
pub struct Change {
    next: Next,
    level: Level,
}

/// Opens the logs that `settings` name, where others are written at the moment; `None` when none are.
///
/// # Errors
///
/// When a log file cannot be opened.
pub fn prepare(settings: &Settings) -> Result<Option<Change>, String> {
    let Some(writer) = WRITER.get() else {
        return Ok(None);
    };
    let next = writer.prepare(settings)?;
    let level = settings.level;
    Ok(Some(Change { next, level }))
}

impl Change {
    /// Lines are written there from here on; the texts say which file does not open yet.
    pub fn apply(self) -> Vec<String> {
        let warnings = match WRITER.get() {
            Some(writer) => writer.change(self.next),
            None => Vec::new(),
        };
        Threshold::set(filter(self.level));
        warnings
    }
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::None => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warning => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    }
}

/// A warning that many sessions may repeat: it is said at once, and how often it came again some seconds later.
pub fn repeated(text: &str) {
    repeated_cause(text, text, None);
}

/// As [`repeated`], of a cause with a code; warnings of one `kind` are counted together, whatever they say.
pub fn repeated_cause(kind: &str, text: &str, code: Option<&str>) {
    recent::failed(kind, text, code);
    let mut line = Line::new(Kind::Warning, text.to_owned());
    line.code = code.map(str::to_owned);
    warn_limited(&line, |limits, line| limits.warning(kind, line));
}

/// A warning, if `allows` does not count it instead.
fn warn_limited(line: &Line, allows: impl FnOnce(&mut Limits, &Line) -> bool) {
    if !enabled!(TracingLevel::WARN) {
        return;
    }
    let counts = WRITER.get().filter(|writer| writer.has_error());
    if counts.is_none_or(|writer| writer.error_allows(|limits| allows(limits, line))) {
        let value = |name| line.get(name).map(tracing::field::display);
        let (inbound, source) = (value("inbound"), value("source"));
        let cause_code = line.code.as_deref();
        warn!(inbound, source, cause_code, "{}", line.message);
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
