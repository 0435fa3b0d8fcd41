//! The two logs, and where each of them goes.

use std::env::var_os;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::limits::Limits;
use super::line::{Line, Style};
use super::outlet::{Outlet, Weight};
use super::settings::{Format, Settings, Target};

/// Lines that a slow follower may be behind.
const FOLLOWED: usize = 1024;

/// How long the end of the process waits for its last lines.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    access: Option<Outlet>,
    error: Option<Outlet>,
    followers: broadcast::Sender<String>,
}

impl Writer {
    /// With what keeps a log file from being written to, if that may pass.
    pub(super) fn start(settings: &Settings) -> Result<(Self, Vec<String>), String> {
        let followers = broadcast::Sender::new(FOLLOWED);
        let mut warnings = Vec::new();
        let mut open = |key, target: &Target, other: Option<&Outlet>| {
            if *target == Target::None {
                return Ok(None);
            }
            if let Some(other) = other.filter(|other| other.is_for(target)) {
                return Ok(Some(other.clone()));
            }
            let style = style(settings.format, target);
            let (outlet, warning) =
                Outlet::start(key, target, style, other.cloned(), followers.clone())?;
            warnings.extend(warning);
            Ok::<_, String>(Some(outlet))
        };
        let error = open("log.error", &settings.error, None)?;
        let access = open("log.access", &settings.access, error.as_ref())?;
        let writer = Self {
            access,
            error,
            followers,
        };
        Ok((writer, warnings))
    }

    pub(super) fn has_access(&self) -> bool {
        self.access.is_some()
    }

    pub(super) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<String> {
        self.followers.subscribe()
    }

    pub(super) fn access(&self, line: &Line) {
        if let Some(access) = &self.access {
            access.push(line, Weight::Major);
        }
    }

    pub(super) fn error(&self, line: &Line, weight: Weight) {
        if let Some(error) = &self.error {
            error.push(line, weight);
        }
    }

    /// Asks whether a line of the access log may be said.
    pub(super) fn access_allows(&self, ask: impl FnOnce(&mut Limits) -> bool) -> bool {
        self.access
            .as_ref()
            .is_some_and(|access| access.allows(ask))
    }

    /// Asks whether a warning may be said.
    pub(super) fn error_allows(&self, ask: impl FnOnce(&mut Limits) -> bool) -> bool {
        self.error.as_ref().is_some_and(|error| error.allows(ask))
    }

    pub(super) fn reopen(&self) {
        self.outlets().for_each(Outlet::reopen);
    }

    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        self.outlets().for_each(|outlet| outlet.flush(deadline));
    }

    /// The access log first: what it lost is told in the error log.
    fn outlets(&self) -> impl Iterator<Item = &Outlet> {
        self.access.iter().chain(&self.error)
    }
}

/// Colours are for people: a file or a pipe has none, and nobody who wishes for none (<https://no-color.org>).
fn style(format: Format, target: &Target) -> Style {
    let is_set = |name| var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = || var_os("TERM").is_none_or(|term| term == "dumb");
    match (format, target) {
        (Format::Json, _) => Style::Json,
        (Format::Text, Target::Console) if std::io::stdout().is_terminal() => {
            match is_set("NO_COLOR") || is_dumb() {
                true => Style::Plain,
                false => Style::Colour,
            }
        }
        (Format::Text, _) => Style::Plain,
    }
}
