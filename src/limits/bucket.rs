//! A rate that several tunnels share.
//!
//! The bucket knows until when its bytes are booked. Whoever has read some books them behind the others', and may read
//! again when that time has come: so tunnels take turns without knowing of each other, and nobody is woken in vain.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What was not used of a rate may be caught up with for so long: timers come late.
const CREDIT: Duration = Duration::from_millis(100);

/// Whoever is less than this before its turn need not wait: timers have no smaller steps.
const AHEAD: Duration = Duration::from_millis(5);

/// The longest turns in a second. Of those who share a rate they are shorter: each has its part of such a one.
const LONGEST: u64 = 32;

/// The shortest.
const SHORTEST: u64 = 1024;

/// A turn is no smaller than this.
const MIN_TURN: u64 = 1024;

/// Bytes a second, of however many.
#[derive(Debug)]
pub struct Bucket {
    /// 0: as many as come.
    rate: AtomicU64,
    began: Instant,
    /// In nanoseconds since then.
    booked: AtomicU64,
    /// Those whose turn has yet to come.
    waiting: AtomicU32,
}

/// One of those who share a bucket.
#[derive(Debug, Default)]
pub struct Turn {
    /// When it comes, by the bucket's clock; never before it has read.
    at: Option<u64>,
    waits: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Bucket {
    /// A bucket of `rate` bytes a second; 0 is no bound.
    pub fn new(rate: u64) -> Self {
        Self {
            rate: AtomicU64::new(rate),
            began: Instant::now(),
            booked: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
        }
    }

    /// Another rate from now on; what is booked stays booked.
    pub fn set(&self, rate: u64) {
        self.rate.store(rate, Relaxed);
    }

    /// Books `bytes` at the time `now`; until when.
    fn book(&self, bytes: u64, now: u64) -> u64 {
        let rate = self.rate.load(Relaxed);
        if rate == 0 {
            return now;
        }
        let takes = (u128::from(bytes) * 1_000_000_000 / u128::from(rate)) as u64;
        let oldest = now.saturating_sub(CREDIT.as_nanos() as u64);
        let until = |booked: u64| booked.max(oldest).saturating_add(takes);
        let before = self
            .booked
            .fetch_update(Relaxed, Relaxed, |booked| Some(until(booked)));
        until(before.unwrap_or_else(|same| same))
    }

    fn is_bound(&self) -> bool {
        self.rate.load(Relaxed) != 0
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// How much may be read in the turn that has come.
    fn turn(&self) -> usize {
        let rate = self.rate.load(Relaxed);
        if rate == 0 {
            return usize::MAX;
        }
        let sharers = u64::from(self.waiting.load(Relaxed)) + 1;
        let bytes = (rate / LONGEST / sharers)
            .max(rate / SHORTEST)
            .max(MIN_TURN);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl Turn {
    /// How much may be read; when it is nothing, the task is woken when it is something again.
    pub fn allows(&mut self, bucket: &Bucket, cx: &mut Context<'_>) -> usize {
        let now = bucket.now();
        let at = *self.at.get_or_insert_with(|| bucket.book(0, now));
        let mut has_come = !bucket.is_bound() || at <= now + AHEAD.as_nanos() as u64;
        if !has_come {
            let due = bucket.began + Duration::from_nanos(at);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            has_come = sleep.as_mut().poll(cx).is_ready();
        }
        if has_come {
            self.leave(bucket);
            return bucket.turn();
        }
        if !self.waits {
            self.waits = true;
            bucket.waiting.fetch_add(1, Relaxed);
        }
        0
    }

    /// Waits no more.
    pub fn leave(&mut self, bucket: &Bucket) {
        if self.waits {
            self.waits = false;
            bucket.waiting.fetch_sub(1, Relaxed);
        }
    }

    /// So much was read.
    pub fn spend(&mut self, bucket: &Bucket, bytes: usize) {
        if bytes > 0 {
            self.at = Some(bucket.book(bytes as u64, bucket.now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    /// How much somebody reads in `secs` who reads whenever it may, at most `most` at once.
    async fn reads(bucket: Arc<Bucket>, most: usize, secs: u64) -> usize {
        let (mut turn, end) = (Turn::default(), Instant::now() + Duration::from_secs(secs));
        let mut sum = 0;
        while Instant::now() < end {
            let allowed = poll_fn(|cx| match turn.allows(&bucket, cx) {
                0 => Poll::Pending,
                n => Poll::Ready(n),
            });
            let n = allowed.await.min(most);
            turn.spend(&bucket, n);
            sum += n;
            // As the relay does.
            tokio::task::yield_now().await;
        }
        sum
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_whether_one_shares_it_or_many() {
        for rate in [20_000, 1_000_000, 300_000_000] {
            for sharers in [1, 3, 50] {
                let bucket = Arc::new(Bucket::new(rate));
                let each =
                    (0..sharers).map(|_| crate::io::spawn(reads(bucket.clone(), 64 * 1024, 5)));
                let (mut sum, mut least) = (0, usize::MAX);
                for one in each.collect::<Vec<_>>() {
                    let read = one.await.unwrap();
                    sum += read;
                    least = least.min(read);
                }
                let wanted = 5.0 * rate as f64;
                let off = sum as f64 / wanted;
                // What is caught up with, and each one's first turn and the one that it is in.
                let slack = 0.06 + (2 * sharers * MIN_TURN) as f64 / wanted;
                assert!(
                    (1.0 - 0.04..1.0 + slack).contains(&off),
                    "{rate} by {sharers}: {off}"
                );
                let fair = sum / sharers as usize;
                assert!(least * 2 > fair, "{rate} by {sharers}: {least} of {fair}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_anew_does_not_come_before_the_others() {
        let bucket = Arc::new(Bucket::new(100_000));
        let began = Instant::now();
        for _ in 0..100 {
            let mut turn = Turn::default();
            poll_fn(|cx| match turn.allows(&bucket, cx) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
            turn.spend(&bucket, 10_000);
        }
        let took = began.elapsed().as_secs_f64();
        assert!((9.5..10.5).contains(&took), "{took} s for ten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_may_change_and_go() {
        let bucket = Arc::new(Bucket::new(100_000));
        assert!(reads(bucket.clone(), 4096, 2).await < 220_000);
        bucket.set(1_000_000);
        let read = reads(bucket.clone(), 4096, 2).await;
        assert!((1_900_000..2_200_000).contains(&read), "{read}");
        bucket.set(0);
        assert_eq!(Turn::default().allows(&bucket, &mut noop()), usize::MAX);
    }

    fn noop() -> Context<'static> {
        Context::from_waker(std::task::Waker::noop())
    }
}
