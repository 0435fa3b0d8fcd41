//! V2Ray's two logs: one line for each session (access), and what the service has to say (error).
//!
//! ```text
//! 2026/11/21 03:34:24 127.0.0.1:50622 accepted tcp:example.com:443 [direct] email: a@b
//! 2026/11/21 03:34:24 127.0.0.1:50622 rejected  no user matches the auth id
//! 2026/11/21 03:34:24 [Warning] inbounds[0]: …
//! ```
//!
//! Lines are handed to a thread of their own: a terminal that does not read, or a slow disk, must not
//! stop the tunnels. When that thread cannot keep up, lines are dropped and counted.

mod access;
mod file;
mod format;
mod rarely;
mod settings;
mod writer;

pub use access::{accepted, rejected};
pub use rarely::Rarely;
pub use settings::{Level, Settings, Target};

use std::sync::OnceLock;

use tokio::sync::broadcast;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use writer::Writer;

static WRITER: OnceLock<Writer> = OnceLock::new();

/// Opens the logs and takes the lines of the whole process from here on. A second call changes
/// nothing: the first one's logs stay.
pub fn start(settings: &Settings) -> Result<(), String> {
    if WRITER.get().is_some() {
        return Ok(());
    }
    let writer = Writer::start(settings)?;
    if WRITER.set(writer).is_err() {
        return Ok(());
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
    Ok(())
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
