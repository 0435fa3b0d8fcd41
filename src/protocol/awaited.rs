//! What a client makes of the silence of its server.
//!
//! Servers of VMess and its relatives answer a stranger with silence, and a target that says nothing looks the same. What
//! tells them apart is whether the account has ever been answered, and what time it is at the server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// An answer that a client waits for.
pub(super) struct Awaited {
    far: FarEnd,
    credentials: Credentials,
    /// The account has been answered, here or before.
    answered: Arc<AtomicBool>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Nothing more will be said.
    told: bool,
    step: Step,
}

impl Awaited {
    /// `answered` is the account's own.
    pub(super) fn new(far: FarEnd, credentials: Credentials, answered: Arc<AtomicBool>) -> Self {
        Self {
            far,
            credentials,
            answered,
            timer: None,
            told: false,
            step: Step::begin("protocol"),
        }
    }

    /// It has come.
    pub(super) fn came(&mut self) {
        self.step.done("the server has answered");
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// The connection has ended without it.
    pub(super) fn never_came(&self) -> AnswerError {
        match self.clock() {
            Some(error) => error,
            None if self.answered.load(Ordering::Relaxed) => AnswerError::ClosedThisOne,
            None => AnswerError::Closed(self.credentials),
        }
    }

    /// The connection has ended without it, in a protocol where that may be all there is to say.
    pub(super) fn ended(&self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.tell(&self.never_came());
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
        match is_end && code_of(&error).is_none() && !self.answered.load(Ordering::Relaxed) {
            true => self.never_came().into(),
            false => error,
        }
    }

    /// It has not come so far: an error when it never will, and a warning when that is likely.
    pub(super) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if self.told {
            return None;
        }
        if self.timer.is_none() {
            // The clock is known before the first question, as a rule; with early data it is not.
            let is_known = self.answered.load(Ordering::Relaxed);
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
        if !self.answered.load(Ordering::Relaxed) {
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
        Awaited::new(far, credentials, Arc::new(AtomicBool::new(answered)))
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
