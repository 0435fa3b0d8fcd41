//! What is bounded, each by itself: strangers at an inbound by what is wrong with them, the users that are known, and
//! warnings. Only who knows the path of a tunnel is refused for an id or for a header of the upgrade, so whoever does not
//! know it takes no line from those who do.

use std::collections::HashMap;
use std::time::Instant;

use super::line::Line;
use super::rate_limit::{Budget, RateLimit, Told};

/// Sources that one inbound tells apart, for each reason.
const SOURCES: usize = 256;

/// Users that are told apart; beyond them is only what a very large server sees when all its users are wrong at once.
const USERS: usize = 4096;

/// Warnings that are told apart.
const WARNINGS: usize = 256;

/// Inbounds, and reasons at each, that have a table of their own.
const TABLES: usize = 256;

pub(super) struct Limits {
    strangers: HashMap<(String, &'static str), RateLimit<Line>>,
    users: RateLimit<Line>,
    warnings: RateLimit<Line>,
}

impl Default for Limits {
    fn default() -> Self {
        let warnings = Budget::new(256.0, 4.0);
        Self {
            strangers: HashMap::new(),
            users: RateLimit::new(USERS, None, "several users"),
            // The texts of some name what a user asked for.
            warnings: RateLimit::new(WARNINGS, Some(warnings), "several kinds"),
        }
    }
}

impl Limits {
    /// A line about a refusal at `inbound`, of a connection of `network`, for the reason `code`; `user` is whose it is,
    /// if somebody has shown that.
    pub(super) fn refusal(
        &mut self,
        user: Option<&str>,
        inbound: &str,
        network: &str,
        code: &'static str,
        line: &Line,
    ) -> bool {
        let now = Instant::now();
        match user {
            Some(user) => {
                let user = format!("{inbound} {user}");
                self.users.allows(&user, &line.message, line, now)
            }
            None => {
                let mut table = (inbound.to_owned(), code);
                if self.strangers.len() >= TABLES && !self.strangers.contains_key(&table) {
                    table = (String::new(), "");
                }
                let new = || {
                    let budget = Budget::new(60.0, 1.0);
                    RateLimit::new(SOURCES, Some(budget), "several addresses")
                };
                let limit = self.strangers.entry(table).or_insert_with(new);
                limit.allows(network, code, line, now)
            }
        }
    }

    /// A warning that may come again and again.
    pub(super) fn warning(&mut self, kind: &str, line: &Line) -> bool {
        // Numbers in it tell one outbound or address from another.
        self.warnings.allows(kind, "", line, Instant::now())
    }

    /// The counts whose time has come, or all of them: a line for each.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<Told<Line>> {
        let lines = self.every().flat_map(|limit| limit.due(now, all)).collect();
        self.strangers.retain(|_, limit| !limit.is_at_rest(now));
        lines
    }

    /// When [`Self::due`] has something to do again.
    pub(super) fn next(&self) -> Option<Instant> {
        let strangers = self.strangers.values();
        let all = strangers.chain([&self.users, &self.warnings]);
        all.filter_map(RateLimit::next).min()
    }

    fn every(&mut self) -> impl Iterator<Item = &mut RateLimit<Line>> {
        let strangers = self.strangers.values_mut();
        strangers.chain([&mut self.users, &mut self.warnings])
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Kind;
    use super::*;

    /// Whether the line of one refusal is said.
    fn said(limits: &mut Limits, user: Option<&str>, network: &str, code: &'static str) -> bool {
        let line = Line::new(Kind::Warning, code.to_owned());
        limits.refusal(user, "inbounds[0]", network, code, &line)
    }

    #[test]
    fn strangers_take_no_line_from_users_nor_one_reason_from_another() {
        let (mut limits, mut lines) = (Limits::default(), 0);
        for n in 0..100_000u32 {
            let network = std::net::Ipv4Addr::from(n).to_string();
            lines += u64::from(said(&mut limits, None, &network, "ws-path"));
            lines += u64::from(said(&mut limits, None, "192.0.2.1", "http-malformed"));
        }
        assert!(lines < 90, "{lines} lines");
        assert!(said(&mut limits, Some("ann"), "192.0.2.1", "clock-skew"));
        for code in ["user-unknown", "ws-upgrade", "tls-alert"] {
            assert!(said(&mut limits, None, "192.0.2.1", code));
        }
        let told = limits.due(Instant::now(), true);
        let counted: u64 = told.iter().map(|told| told.count.more).sum();
        assert_eq!(lines + counted, 200_000);
        assert!(told.len() <= 90, "{} lines", told.len());
    }

    #[test]
    fn what_is_remembered_of_a_flood_is_bounded() {
        let mut limits = Limits::default();
        for n in 0..100_000u32 {
            let network = std::net::Ipv4Addr::from(n).to_string();
            let inbound = format!("inbounds[{n}]");
            let line = Line::new(Kind::Warning, String::new());
            limits.refusal(None, &inbound, &network, "ws-path", &line);
        }
        assert!(limits.strangers.len() <= TABLES + 1);
        assert!(limits.due(Instant::now(), true).len() <= TABLES + 1);
    }
}
