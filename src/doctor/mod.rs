//! Walks the whole way of a client, or around a server, and says at which step it breaks and what to do.
//!
//! It looks with the same rooms that carry sessions, one piece at a time. A step that is not well has a code of
//! [`cause`](crate::cause), and the cure that belongs to it.

mod carried;
mod client;
mod clock;
mod connection;
mod idle;
mod machine;
mod page;
mod public;
mod server;
mod tunnel;

pub use client::{Client, choose, walk_client};
pub use server::{Server, step_of, walk_server};

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use crate::cause::Fault;
use crate::cause::explained::explain;

/// What one step has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `dns`, `tcp`, `tls`, …
    pub step: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// What was found.
    pub found: String,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Well,
    /// There was nothing to do, or nothing that could be known.
    Skipped,
    /// Not as it should.
    Broken {
        /// Of the cause.
        code: Cow<'static, str>,
        /// What to do.
        cure: String,
    },
}

/// The steps so far, each told as it comes.
pub struct Walk<'a> {
    findings: Vec<Finding>,
    began: Instant,
    tell: Box<dyn FnMut(&Finding) + 'a>,
}

impl<'a> Walk<'a> {
    /// `tell` gets each step when it is over.
    pub fn new(tell: impl FnMut(&Finding) + 'a) -> Self {
        Self {
            findings: Vec::new(),
            began: Instant::now(),
            tell: Box::new(tell),
        }
    }

    /// The next step begins now.
    pub fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// The step is over, and all is well.
    pub fn well(&mut self, step: &'static str, found: impl Display) {
        self.push(step, Outcome::Well, found.to_string());
    }

    /// There was no step to take.
    pub fn skip(&mut self, step: &'static str, why: impl Display) {
        self.push(step, Outcome::Skipped, why.to_string());
    }

    /// The step is over, and something is wrong that nothing but a doctor sees.
    pub fn fault(&mut self, step: &'static str, fault: Fault, found: impl Display) {
        self.broken(step, fault.code().into(), found, None);
    }

    /// The step is over, and something is wrong; without a `cure`, that of the code.
    pub fn broken(
        &mut self,
        step: &'static str,
        code: Cow<'static, str>,
        found: impl Display,
        cure: Option<String>,
    ) {
        let cure = cure
            .unwrap_or_else(|| explain(&code).map_or_else(String::new, |one| one.cure.to_owned()));
        self.push(step, Outcome::Broken { code, cure }, found.to_string());
    }

    /// All steps.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The first step that is not well.
    pub fn breaks_at(&self) -> Option<&Finding> {
        self.findings.iter().find(|one| !one.is_ok())
    }

    fn push(&mut self, step: &'static str, outcome: Outcome, found: String) {
        let finding = Finding {
            step,
            outcome,
            took: self.began.elapsed(),
            found,
        };
        (self.tell)(&finding);
        self.findings.push(finding);
        self.begin();
    }
}

impl Finding {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        !matches!(self.outcome, Outcome::Broken { .. })
    }
}

/// A line, and below it the cure.
impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, found, .. } = self;
        let ms = self.took.as_millis();
        match &self.outcome {
            Outcome::Well => write!(f, "ok       {step:<12} {ms:>6} ms  {found}"),
            Outcome::Skipped => write!(f, "skipped  {step:<12}            {found}"),
            Outcome::Broken { code, cure } => {
                write!(f, "BROKEN   {step:<12} {ms:>6} ms  {found} [{code}]")?;
                write!(f, "\n         cure: {cure}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_when_it_is_over_and_a_broken_one_has_its_cure() {
        let mut told = Vec::new();
        let mut walk = Walk::new(|finding| told.push(finding.step));
        walk.well("dns", "a.test is 192.0.2.1");
        walk.skip("tls", "the outbound has none");
        assert!(walk.breaks_at().is_none());
        walk.broken("upgrade", "ws-404".into(), "404", None);
        walk.fault("idle", Fault::IdleCut, "cut");
        let Some(Finding {
            step,
            outcome: Outcome::Broken { cure, .. },
            ..
        }) = walk.breaks_at()
        else {
            panic!("the upgrade is broken");
        };
        assert_eq!(*step, "upgrade");
        assert!(cure.contains("compare `path`"), "{cure}");
        assert_eq!(walk.findings().len(), 4);
        drop(walk);
        assert_eq!(told, ["dns", "tls", "upgrade", "idle"]);
    }
}
