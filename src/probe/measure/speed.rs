//! Downloads: a file, again and again, by several connections for a number of seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::super::codec::Speed;
use super::super::lab::Mounted;
use super::Downloads;
use super::exchange::{Exchange, Progress, request};
use crate::observatory::Url;

/// How many other places a download may lead to.
const MAX_REDIRECTS: usize = 5;

/// A connection that has failed so often in a row is given up.
const MAX_FAILURES: usize = 3;

/// What one read takes.
const READ: usize = 32 * 1024;

/// Downloads through a node.
///
/// # Errors
///
/// When not a byte came; the text says why.
pub async fn download(node: &Arc<Mounted>, plan: &Downloads) -> Result<Speed, String> {
    let url = plan.url.clone()?;
    let began = Instant::now();
    let deadline = began + Duration::from_secs(plan.seconds.into());
    let counted = Arc::new(Counted {
        bytes: AtomicU64::new(0),
        began,
        limit: plan.limit,
    });
    let mut threads = JoinSet::new();
    for _ in 0..plan.threads {
        let (node, url, counted) = (node.clone(), url.clone(), counted.clone());
        threads.spawn(async move { again_and_again(&node, &url, &counted, deadline).await });
    }
    let mut speed = Speed::default();
    let mut failure = None;
    let mut second = 1;
    while second <= plan.seconds {
        let end = began + Duration::from_secs(second.into());
        tokio::select! {
            () = sleep_until(end) => {
                let bytes = counted.bytes.load(Relaxed);
                speed.seconds.push(bytes - speed.bytes);
                speed.bytes = bytes;
                second += 1;
            }
            ended = threads.join_next() => match ended {
                Some(Ok(Err(why))) => failure = Some(why),
                Some(_) => {}
                None => break,
            },
        }
    }
    threads.shutdown().await;
    if second <= plan.seconds {
        // All of them have given up before.
        let bytes = counted.bytes.load(Relaxed);
        speed.seconds.push(bytes - speed.bytes);
        speed.bytes = bytes;
    }
    if speed.bytes == 0 {
        return Err(failure.unwrap_or_else(|| "not a byte came in time".to_owned()));
    }
    let millis = began.elapsed().as_millis().clamp(1, u128::from(u64::MAX));
    let average = u128::from(speed.bytes) * 1000 / millis;
    speed.average = u64::try_from(average).unwrap_or(u64::MAX);
    Ok(speed)
}

/// What all connections share.
struct Counted {
    bytes: AtomicU64,
    began: Instant,
    limit: u64,
}

impl Counted {
    /// Counts, and waits for the time when so many may have come.
    async fn add(&self, bytes: usize) {
        let all = self.bytes.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        if self.limit > 0 {
            let due = Duration::from_secs_f64(all as f64 / self.limit as f64);
            sleep_until(self.began + due).await;
        }
    }
}

async fn again_and_again(
    node: &Mounted,
    url: &Url,
    counted: &Counted,
    deadline: Instant,
) -> Result<(), String> {
    let mut failures = 0;
    loop {
        match timeout_at(deadline, fetch(node, url, counted)).await {
            Err(_) => return Ok(()),
            Ok(Ok(())) => failures = 0,
            Ok(Err(why)) => {
                failures += 1;
                if failures == MAX_FAILURES {
                    return Err(why);
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Downloads once.
async fn fetch(node: &Mounted, url: &Url, counted: &Counted) -> Result<(), String> {
    let mut url = url.clone();
    for _ in 0..MAX_REDIRECTS {
        let mut exchange = Exchange::open(node, &url, &Progress::default()).await?;
        let answer = exchange.ask(&request(&url, "close")).await?;
        if let Some(other) = answer.leads_to(&url) {
            exchange.close();
            url = other?;
            continue;
        }
        if !answer.status.is_success() {
            exchange.close();
            return Err(format!(
                "the download is answered with {}",
                answer.status.as_u16()
            ));
        }
        let mut left = answer.length().unwrap_or(u64::MAX);
        let (first, mut link) = exchange.into_parts();
        let mut some = first.len();
        let mut buffer = vec![0; READ];
        loop {
            counted.add(some).await;
            left = left.saturating_sub(some as u64);
            if left == 0 {
                break;
            }
            match link.read(&mut buffer).await {
                Ok(0) | Err(_) if left == answer.length().unwrap_or(u64::MAX) => {
                    return Err(super::CLOSED.to_owned());
                }
                Ok(0) | Err(_) => break,
                Ok(n) => some = n,
            }
        }
        crate::io::spawn(link.close());
        return Ok(());
    }
    Err("the download leads from one place to the next".to_owned())
}
