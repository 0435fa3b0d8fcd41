//! The two logs, and where each of them goes.

use std::env::var_os;
use std::io::IsTerminal;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
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
    outlets: RwLock<Outlets>,
    followers: broadcast::Sender<String>,
}

#[derive(Default)]
struct Outlets {
    access: Option<Outlet>,
    error: Option<Outlet>,
}

/// What is opened to take the place of what is written to.
pub(super) struct Next {
    outlets: Outlets,
    /// What keeps a file from being written to, if that may pass.
    warnings: Vec<String>,
}

impl Writer {
    /// With what keeps a log file from being written to, if that may pass.
    pub(super) fn start(settings: &Settings) -> Result<(Self, Vec<String>), String> {
        let writer = Self {
            outlets: RwLock::default(),
            followers: broadcast::Sender::new(FOLLOWED),
        };
        let next = writer.prepare(settings)?;
        let warnings = writer.change(next);
        Ok((writer, warnings))
    }

    /// Opens what is not open yet.
    pub(super) fn prepare(&self, settings: &Settings) -> Result<Next, String> {
        let mut warnings = Vec::new();
        let present = self.present();
        let present: Vec<&Outlet> = present.access.iter().chain(&present.error).collect();
        let mut open = |key, target: &Target, other: Option<&Outlet>| {
            if *target == Target::None {
                return Ok(None);
            }
            let style = style(settings.format, target);
            let mut open = other.into_iter().chain(present.iter().copied());
            if let Some(same) = open.find(|open| open.is_for(target, style)) {
                return Ok(Some(same.clone()));
            }
            let (outlet, warning) = Outlet::start(key, target, style, self.followers.clone())?;
            warnings.extend(warning);
            Ok::<_, String>(Some(outlet))
        };
        let error = open(settings.keys.error, &settings.error, None)?;
        let access = open(settings.keys.access, &settings.access, error.as_ref())?;
        let outlets = Outlets { access, error };
        Ok(Next { outlets, warnings })
    }

    /// Lines go there from here on; what was said before is written where it was to go.
    pub(super) fn change(&self, next: Next) -> Vec<String> {
        let Next { outlets, warnings } = next;
        let is_kept = |outlet: &Outlet| outlets.iter().any(|other| other.is(outlet));
        for outlet in outlets.iter() {
            let error = outlets.error.as_ref().filter(|error| !error.is(outlet));
            outlet.complain_to(error.cloned());
        }
        let mut present = self.outlets.write().unwrap_or_else(PoisonError::into_inner);
        present
            .iter()
            .filter(|old| !is_kept(old))
            .for_each(Outlet::end);
        *present = outlets;
        warnings
    }

    pub(super) fn has_access(&self) -> bool {
        self.present().access.is_some()
    }

    pub(super) fn has_error(&self) -> bool {
        self.present().error.is_some()
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<String> {
        self.followers.subscribe()
    }

    pub(super) fn access(&self, line: &Line) {
        if let Some(access) = &self.present().access {
            access.push(line, Weight::Major);
        }
    }

    pub(super) fn error(&self, line: &Line, weight: Weight) {
        if let Some(error) = &self.present().error {
            error.push(line, weight);
        }
    }

    /// Asks whether a line of the access log may be said.
    pub(super) fn access_allows(&self, ask: impl FnOnce(&mut Limits) -> bool) -> bool {
        let present = self.present();
        let access = present.access.as_ref();
        access.is_some_and(|access| access.allows(ask))
    }

    /// Asks whether a warning may be said.
    pub(super) fn error_allows(&self, ask: impl FnOnce(&mut Limits) -> bool) -> bool {
        let present = self.present();
        let error = present.error.as_ref();
        error.is_some_and(|error| error.allows(ask))
    }

    pub(super) fn reopen(&self) {
        self.present().iter().for_each(Outlet::reopen);
    }

    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        self.present()
            .iter()
            .for_each(|outlet| outlet.flush(deadline));
    }

    fn present(&self) -> RwLockReadGuard<'_, Outlets> {
        self.outlets.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlets {
    /// The access log first: what it lost is told in the error log.
    fn iter(&self) -> impl Iterator<Item = &Outlet> {
        self.access.iter().chain(&self.error)
    }
}

/// Colours are for people: a file or a pipe has none, and nobody who wishes for none (<https://no-color.org>).
fn style(format: Format, target: &Target) -> Style {
    let is_set = |name| var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = || var_os("TERM").is_none_or(|term| term == "dumb");
    let is_seen = match target {
        Target::Console => std::io::stdout().is_terminal(),
        Target::StandardError => std::io::stderr().is_terminal(),
        Target::None | Target::File(_) => false,
    };
    match format {
        Format::Json => Style::Json,
        Format::Xray => Style::Xray,
        Format::Text if is_seen && !is_set("NO_COLOR") && !is_dumb() => Style::Colour,
        Format::Text => Style::Plain,
    }
}
