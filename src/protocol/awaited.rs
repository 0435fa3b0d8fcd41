//! What a client makes of the silence of its server.
//!
//! Servers of VMess and its relatives answer a stranger with silence, and a target that says nothing looks the same. What
//! tells them apart is whether the account has ever been answered, and what time it is at the server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Context;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::cause::{AnswerError, Credentials, code_of};
use crate::io::Step;
use crate::log;
use crate::seam::FarEnd;

/// After this, something is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// A proxy in between writes its own time, and clients of V2Ray draw theirs from half a minute around the right one.
const TOLERANCE: u64 = 10;

/// So many requests in a row without an answer are not for their targets any more: the account has been taken away, say.
const FEW: u8 = 3;

/// Whether an account is one that its server answers.
#[derive(Debug)]
pub(super) struct Answered {
    /// Requests since the last answer that had none; [`FEW`] before the first one.
    missed: AtomicU8,
}

impl Answered {
    fn missed(&self) -> u8 {
        self.missed.load(Ordering::Relaxed)
    }

    fn came(&self) {
        if self.missed() > 0 {
            self.missed.store(0, Ordering::Relaxed);
        }
    }

    /// One more without, which began when there were so many: of several at once the first one counts.
    fn misses(&self, before: u8) {
        if before < FEW {
            let order = Ordering::Relaxed;
            let _ = self
                .missed
                .compare_exchange(before, before + 1, order, order);
        }
    }
}

impl Default for Answered {
    fn default() -> Self {
        Self {
            missed: AtomicU8::new(FEW),
        }
    }
}

/// An answer that a client waits for.
pub(super) struct Awaited {
    far: FarEnd,
    credentials: Credentials,
    /// The account's, here and before.
    answered: Arc<Answered>,
    /// How many it had missed when this began.
    missed: u8,
    timer: Option<Pin<Box<Sleep>>>,
    /// Nothing more will be said.
    told: bool,
    step: Step,
}

impl Awaited {
    /// `answered` is the account's own.
    pub(super) fn new(far: FarEnd, credentials: Credentials, answered: Arc<Answered>) -> Self {
        Self {
            far,
            credentials,
            missed: answered.missed(),
            answered,
            timer: None,
            told: false,
            step: Step::begin("protocol"),
        }
    }

    /// It has come.
    pub(super) fn came(&mut self) {
        self.step.done("the server has answered");
        self.answered.came();
    }

    /// The connection has ended without it.
    pub(super) fn never_came(&self) -> AnswerError {
        self.answered.misses(self.missed);
        match self.clock() {
            Some(error) => error,
            None if self.is_usual() => AnswerError::ClosedThisOne,
            None => AnswerError::Closed(self.credentials),
        }
    }

    /// The connection has ended without it, in a protocol where that may be all there is to say.
    pub(super) fn ended(&self) {
        let error = self.never_came();
        if !matches!(error, AnswerError::ClosedThisOne) {
            self.tell(&error);
        }
    }

    /// The connection has broken without it. A server that has never answered anybody, and resets or hangs up in the middle of a
    /// carrier's frame, is at one with those that close; what has a cause of its own keeps it.
    pub(super) fn broke(&self, error: io::Error) -> io::Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let is_end = matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        );
        if !is_end || code_of(&error).is_some() {
            return error;
        }
        match self.never_came() {
            AnswerError::ClosedThisOne => error,
            silent => silent.into(),
        }
    }

    /// It has not come so far: an error when it never will, and a warning when that is likely.
    pub(super) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if self.told {
            return None;
        }
        if self.timer.is_none() {
            // The clock is known before the first question, as a rule; with early data it is not.
            let is_known = self.is_usual();
            if is_known && self.clock().is_none() {
                self.told = true;
                return None;
            }
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        if timer.as_mut().poll(cx).is_pending() {
            return None;
        }
        (self.timer, self.told) = (None, true);
        if let Some(error) = self.clock() {
            return Some(error.into());
        }
        if !self.is_usual() {
            let silent = AnswerError::Silent {
                who: self.credentials,
                after: PATIENCE,
            };
            self.tell(&silent);
        }
        None
    }

    fn tell(&self, error: &AnswerError) {
        let text = format!("{}: {error}", self.far.outbound);
        log::repeated_cause(&text, &text, Some(error.code()));
    }

    /// Whether the account is one that the server answers, as far as is known.
    fn is_usual(&self) -> bool {
        self.missed.min(self.answered.missed()) < FEW
    }

    /// What the clocks say, if that explains it.
    fn clock(&self) -> Option<AnswerError> {
        let (Credentials::Vmess { most, .. } | Credentials::Shadowsocks2022 { most }) =
            self.credentials
        else {
            return None;
        };
        let ahead = self.far.clock.as_ref()?.ahead()?;
        let skew = ahead.unsigned_abs();
        (skew > most + TOLERANCE).then_some(AnswerError::Clock {
            skew,
            behind: ahead > 0,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::io::PeerClock;

    const VMESS: Credentials = Credentials::Vmess {
        most: 120,
        bare: false,
    };

    fn awaited(credentials: Credentials, ahead: i64, answered: bool) -> Awaited {
        let clock = PeerClock::default();
        let there = SystemTime::now();
        clock.heard(match ahead {
            0.. => there + Duration::from_secs(ahead.unsigned_abs()),
            _ => there - Duration::from_secs(ahead.unsigned_abs()),
        });
        let far = FarEnd {
            clock: Some(Arc::new(clock)),
            ..FarEnd::default()
        };
        let account = Answered::default();
        if answered {
            account.came();
        }
        Awaited::new(far, credentials, Arc::new(account))
    }

    #[test]
    fn a_server_that_has_answered_is_not_asked_for_id_and_clock() {
        let said = |credentials, ahead, answered| {
            let error = awaited(credentials, ahead, answered).never_came();
            (error.code(), error.to_string())
        };
        assert_eq!(said(VMESS, 0, false).0, "no-answer");
        assert_eq!(said(VMESS, 0, true).0, "no-answer-target");
        assert!(!said(VMESS, 0, true).1.contains("clock"));
        let (code, text) = said(VMESS, 3600, true);
        assert_eq!(code, "clock-skew");
        assert!(text.contains("s behind the server's"), "{text}");
        assert!(
            said(VMESS, -3600, false)
                .1
                .contains("s ahead of the server's")
        );
        assert_eq!(said(Credentials::Vless, 3600, false).0, "no-answer");
    }

    #[test]
    fn an_account_that_is_answered_no_more_is_looked_at_again() {
        let account = Arc::new(Answered::default());
        account.came();
        let begun = || Awaited::new(FarEnd::default(), VMESS, account.clone());
        let codes =
            |all: &[Awaited]| -> Vec<_> { all.iter().map(|one| one.never_came().code()).collect() };
        // A server that goes away takes all of them at once.
        let at_once: Vec<Awaited> = (0..9).map(|_| begun()).collect();
        assert_eq!(codes(&at_once), ["no-answer-target"; 9]);
        for code in ["no-answer-target", "no-answer-target", "no-answer"] {
            assert_eq!(codes(&[begun()]), [code]);
        }
        account.came();
        assert_eq!(codes(&[begun()]), ["no-answer-target"]);
    }

    #[test]
    fn a_reset_before_the_first_answer_is_the_servers_silence() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let code = |error: &io::Error| AnswerError::of(error).map(AnswerError::code);
        let never = awaited(VMESS, 0, false);
        assert_eq!(code(&never.broke(reset())), Some("no-answer"));
        assert_eq!(code(&awaited(VMESS, 0, true).broke(reset())), None);
        let far: io::Error = AnswerError::Unreached(crate::cause::Reach::Refused).into();
        assert_eq!(code(&never.broke(far)), Some("far-refused"));
        let other = io::Error::from(io::ErrorKind::InvalidData);
        assert_eq!(code(&never.broke(other)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_ends_the_wait_after_a_second_and_silence_does_not() {
        let waits = async |mut awaited: Awaited| {
            let silence = std::future::poll_fn(|cx| match awaited.poll_silence(cx) {
                Some(error) => std::task::Poll::Ready(error),
                None => std::task::Poll::Pending,
            });
            tokio::time::timeout(Duration::from_secs(60), silence).await
        };
        let begin = tokio::time::Instant::now();
        let error = waits(awaited(VMESS, 3600, false)).await.unwrap();
        assert_eq!(AnswerError::of(&error).unwrap().code(), "clock-skew");
        assert_eq!(begin.elapsed().as_secs(), 1);
        for (credentials, ahead, answered) in [
            (VMESS, 0, false),
            (VMESS, 90, false),
            (VMESS, 0, true),
            (Credentials::Vless, 3600, false),
        ] {
            assert!(waits(awaited(credentials, ahead, answered)).await.is_err());
        }
    }
}
