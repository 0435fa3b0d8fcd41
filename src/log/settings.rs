//! What is logged, and where to.

use std::path::PathBuf;

/// `log`: where lines go and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub access: Target,
    pub error: Target,
    pub level: Level,
}

/// `""` is the console (standard output), `none` nowhere, anything else a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    #[default]
    Console,
    None,
    File(PathBuf),
}

/// `loglevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    None,
    Error,
    #[default]
    Warning,
    Info,
    Debug,
}
