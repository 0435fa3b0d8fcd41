//! The last failures, for whoever looks at the process: each kind once, with how often it came.
//!
//! They are kept as soon as somebody may ask for them, whatever the logs are set to.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use super::access::cut;
use crate::session::Source;

/// Kinds that are remembered; one more takes the place of the one that was silent longest.
const KINDS: usize = 64;

/// The most of a text that is kept: a stranger has a say in some.
const TEXT_LEN: usize = 512;

/// Something that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What messages call the inbound that refused it; of anything else the text says where.
    pub inbound: Option<String>,
    pub code: Option<String>,
    /// Why, in the words of the last time.
    pub text: String,
    /// Who asked the last time, as far as that is known.
    pub source: Option<Source>,
    pub user: Option<String>,
    pub first: SystemTime,
    pub last: SystemTime,
    pub count: u64,
    kind: String,
}

static FAILURES: OnceLock<Mutex<VecDeque<Failure>>> = OnceLock::new();

/// Keeps failures from here on.
pub fn keep() {
    FAILURES.get_or_init(Mutex::default);
}

/// Those of the process, the last one first.
pub fn failures() -> Vec<Failure> {
    let kept = FAILURES.get().map(lock);
    kept.map_or_else(Vec::new, |kept| kept.iter().cloned().collect())
}

/// One of which the inbound is known.
pub(super) fn refused(
    inbound: &str,
    source: Source,
    user: Option<&str>,
    text: &str,
    code: &'static str,
) {
    if let Some(kept) = FAILURES.get() {
        let (code, text) = (Some(code), cut(text, TEXT_LEN));
        let mut failure = Failure::new(inbound, text, code, SystemTime::now());
        failure.inbound = Some(inbound.to_owned());
        failure.source = Some(source);
        failure.user = user.map(str::to_owned);
        note(&mut lock(kept), failure);
    }
}

/// One of this process's own attempts; those of one `kind` are one.
pub(super) fn failed(kind: &str, text: &str, code: Option<&str>) {
    if let Some(kept) = FAILURES.get() {
        let (kind, text) = (cut(kind, TEXT_LEN), cut(text, TEXT_LEN));
        let failure = Failure::new(kind, text, code, SystemTime::now());
        note(&mut lock(kept), failure);
    }
}

impl Failure {
    fn new(kind: &str, text: &str, code: Option<&str>, now: SystemTime) -> Self {
        Self {
            inbound: None,
            code: code.map(str::to_owned),
            text: text.to_owned(),
            source: None,
            user: None,
            first: now,
            last: now,
            count: 1,
            kind: kind.to_owned(),
        }
    }
}

/// Puts it in front.
fn note(kept: &mut VecDeque<Failure>, mut failure: Failure) {
    let is_same = |one: &Failure| one.kind == failure.kind && one.code == failure.code;
    let before = kept.iter().position(is_same).and_then(|i| kept.remove(i));
    if let Some(before) = before {
        failure.first = before.first;
        failure.count = before.count.saturating_add(1);
    }
    kept.truncate(KINDS - 1);
    kept.push_front(failure);
}

fn lock(kept: &Mutex<VecDeque<Failure>>) -> MutexGuard<'_, VecDeque<Failure>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_kind_is_kept_once_and_the_last_comes_first() {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let mut kept = VecDeque::new();
        note(&mut kept, Failure::new("a", "one", Some("ws-path"), at(1)));
        note(&mut kept, Failure::new("a", "two", Some("replay"), at(2)));
        note(
            &mut kept,
            Failure::new("a", "three", Some("ws-path"), at(3)),
        );
        let seen: Vec<_> = kept.iter().map(|f| (&*f.text, f.count)).collect();
        assert_eq!(seen, [("three", 2), ("two", 1)]);
        assert_eq!((kept[0].first, kept[0].last), (at(1), at(3)));
    }

    #[test]
    fn however_many_kinds_there_are_few_are_kept() {
        let mut kept = VecDeque::new();
        for n in 0..1000 {
            let kind = n.to_string();
            note(
                &mut kept,
                Failure::new(&kind, &kind, None, SystemTime::now()),
            );
        }
        assert_eq!((kept.len(), &*kept[0].text), (KINDS, "999"));
    }
}
