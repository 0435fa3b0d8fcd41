//! Counts, and the bounds of them.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::sources::{Sources, Whose};
use super::{Full, Limit, Scope, Settings};

/// What is there at the moment, and how much of it may be.
#[derive(Debug)]
pub struct Gate {
    scope: Scope,
    connections: Count,
    handshakes: Count,
    per_source: AtomicU32,
    /// For sources that may be anybody's, such as this machine's own; 0 where it is a default that holds.
    per_shared: AtomicU32,
    /// What `per_source` is without a word of the config.
    default_per_source: u32,
    sources: Sources,
}

/// A number with a bound; 0 is none.
#[derive(Debug, Default)]
struct Count {
    there: AtomicU32,
    max: AtomicU32,
}

impl Gate {
    /// That of the process, where `files` may be open. A tunnel takes two, so that no source comes to half of them by
    /// tunnels before none is left for anybody.
    pub fn of_process(settings: Settings, files: usize) -> Self {
        let half = u32::try_from(files / 2).unwrap_or(u32::MAX);
        Self::new(Scope::Process, settings, half)
    }

    /// That of an inbound.
    pub fn of_inbound(settings: Settings) -> Self {
        Self::new(Scope::Inbound, settings, 0)
    }

    fn new(scope: Scope, settings: Settings, default_per_source: u32) -> Self {
        let gate = Self {
            scope,
            connections: Count::default(),
            handshakes: Count::default(),
            per_source: AtomicU32::new(0),
            per_shared: AtomicU32::new(0),
            default_per_source,
            sources: Sources::default(),
        };
        gate.set(settings);
        gate
    }

    /// Has other bounds from now on. Who is in stays in.
    pub fn set(&self, settings: Settings) {
        let Settings {
            connections,
            per_source,
            handshakes,
        } = settings;
        self.connections
            .max
            .store(connections.unwrap_or(0), Relaxed);
        self.handshakes.max.store(handshakes.unwrap_or(0), Relaxed);
        let most = per_source.unwrap_or(self.default_per_source);
        self.per_source.store(most, Relaxed);
        self.per_shared.store(per_source.unwrap_or(0), Relaxed);
    }

    /// Connections that are open.
    pub fn connections(&self) -> u32 {
        self.connections.there.load(Relaxed)
    }

    /// Those of them that have yet to say who they are.
    pub fn handshakes(&self) -> u32 {
        self.handshakes.there.load(Relaxed)
    }

    /// One more connection, which has its handshake before it.
    pub(super) fn enter(&self) -> Result<(), Full> {
        let full = |limit| move |max| self.full(limit, max);
        self.connections.add().map_err(full(Limit::Connections))?;
        self.handshakes.add().map_err(|max| {
            self.connections.remove();
            self.full(Limit::Handshakes, max)
        })
    }

    pub(super) fn leave(&self) {
        self.connections.remove();
    }

    pub(super) fn shook_hands(&self) {
        self.handshakes.remove();
    }

    /// One more connection of a source; whether it is counted.
    pub(super) fn come_from(&self, whose: Whose) -> Result<bool, Full> {
        let max = match whose.may_be_anybodys {
            true => &self.per_shared,
            false => &self.per_source,
        };
        let max = max.load(Relaxed);
        if max == 0 {
            return Ok(false);
        }
        match self.sources.add(whose.network, max) {
            true => Ok(true),
            false => Err(self.full(Limit::PerSource, max)),
        }
    }

    pub(super) fn gone(&self, whose: Whose) {
        self.sources.remove(whose.network);
    }

    fn full(&self, limit: Limit, max: u32) -> Full {
        let scope = self.scope;
        Full { limit, scope, max }
    }
}

impl Count {
    /// One more, unless there are as many as may be.
    fn add(&self) -> Result<(), u32> {
        let (before, max) = (self.there.fetch_add(1, Relaxed), self.max.load(Relaxed));
        if max != 0 && before >= max {
            self.remove();
            return Err(max);
        }
        Ok(())
    }

    fn remove(&self) {
        self.there.fetch_sub(1, Relaxed);
    }
}
