//! What is bounded, each by itself: strangers at an inbound, the users that are known, and warnings.

use std::collections::HashMap;
use std::time::Instant;

use super::rate_limit::{Budget, RateLimit};

/// Sources that one inbound tells apart.
const SOURCES: usize = 256;

/// Users that are told apart; beyond them is only what a very large server sees when all its users are wrong at once.
const USERS: usize = 4096;

/// Warnings that are told apart.
const WARNINGS: usize = 256;

/// Inbounds that have a table of their own.
const INBOUNDS: usize = 64;

pub(super) struct Limits {
    strangers: HashMap<String, RateLimit>,
    users: RateLimit,
    warnings: RateLimit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            strangers: HashMap::new(),
            users: RateLimit::new(USERS, None),
            // The texts of some name what a user asked for.
            warnings: RateLimit::new(WARNINGS, Some(Budget::new(256.0, 4.0))),
        }
    }
}

impl Limits {
    /// A line about `source`, which nobody knows.
    pub(super) fn stranger(&mut self, inbound: &str, source: &str, kind: &str, line: &str) -> bool {
        let has_own = self.strangers.len() < INBOUNDS || self.strangers.contains_key(inbound);
        let inbound = if has_own { inbound } else { "" };
        let new = || RateLimit::new(SOURCES, Some(Budget::new(60.0, 1.0)));
        let limit = self.strangers.entry(inbound.to_owned()).or_insert_with(new);
        limit.allows(source, kind, line, Instant::now())
    }

    /// A line about a user.
    pub(super) fn user(&mut self, user: &str, kind: &str, line: &str) -> bool {
        self.users.allows(user, kind, line, Instant::now())
    }

    /// A warning that may come again and again.
    pub(super) fn warning(&mut self, kind: &str, line: &str) -> bool {
        // Numbers in it tell one outbound or address from another.
        self.warnings.allows(kind, "", line, Instant::now())
    }

    /// The counts whose time has come, or all of them: a line for each.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<String> {
        let lines = self.every().flat_map(|limit| limit.due(now, all)).collect();
        self.strangers.retain(|_, limit| !limit.is_at_rest(now));
        lines
    }

    /// When [`Self::due`] has something to do again.
    pub(super) fn next(&self) -> Option<Instant> {
        let all = self.strangers.values().chain([&self.users, &self.warnings]);
        all.filter_map(RateLimit::next).min()
    }

    fn every(&mut self) -> impl Iterator<Item = &mut RateLimit> {
        let strangers = self.strangers.values_mut();
        strangers.chain([&mut self.users, &mut self.warnings])
    }
}
