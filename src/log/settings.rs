//! What is logged, and where to.

#![warn(missing_docs)]

use std::path::PathBuf;

/// `log`: where lines go and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `access`: where a line for each session goes.
    pub access: Target,
    /// `error`: where everything else goes.
    pub error: Target,
    /// `loglevel`.
    pub level: Level,
    /// `format`: how lines of both are written.
    pub format: Format,
    /// What the file calls them.
    pub keys: Keys,
}

/// What a file calls the two logs, for whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Of `access`.
    pub access: &'static str,
    /// Of `error`.
    pub error: &'static str,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            access: "log.access",
            error: "log.error",
        }
    }
}

/// `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As V2Ray writes them; in colours where they go to a terminal.
    #[default]
    Text,
    /// As Xray writes them.
    Xray,
    /// A JSON object for each.
    Json,
}

/// `""` is the console (standard output), `none` nowhere, anything else a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    #[default]
    Console,
    /// Standard error, gost's.
    StandardError,
    /// Nowhere.
    None,
    /// A file, which is appended to.
    File(PathBuf),
}

/// `loglevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nowhere.
    None,
    /// The service cannot go on.
    Error,
    /// Someone should look.
    #[default]
    Warning,
    /// The service changed state.
    Info,
    /// About single sessions.
    Debug,
}
