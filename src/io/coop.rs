//! Yields to the scheduler without the task waking itself.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

use tokio::task;

/// Ends the turn of the task that `cx` belongs to: it is polled again when the others have been.
///
/// A task that wakes itself instead stays with the worker thread it is on. Threads that never run dry take
/// nothing from each other, so eighty streams might share one of them, and twenty the other.
pub(crate) fn yield_now(cx: &mut Context<'_>) {
    // Pending, always: what counts is that it has the task woken.
    let _ = pin!(task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, mpsc};
    use std::task::Poll;
    use std::thread;
    use std::time::{Duration, Instant};

    const NEIGHBOURS: usize = 7;
    const ENOUGH: u32 = 3000;

    /// One worker thread has seven busy tasks from the start, the other one gets a single one.
    #[test]
    fn nobody_has_a_worker_thread_to_himself() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).build().unwrap();
        let counters: Vec<_> = (0..=NEIGHBOURS)
            .map(|_| Arc::<AtomicU32>::default())
            .collect();
        let (alone, neighbours) = counters.split_first().unwrap();
        let (begun, begins) = mpsc::channel();
        let alone = {
            let (alone, neighbours) = (alone.clone(), neighbours.to_vec());
            runtime.spawn(async move {
                begun.send(()).unwrap();
                while !neighbours.iter().all(|n| polls(n) > 0) {
                    thread::yield_now();
                }
                crate::io::spawn(busy(alone)).await.unwrap();
            })
        };
        begins.recv().unwrap();
        for neighbour in neighbours {
            runtime.spawn(busy(neighbour.clone()));
        }
        runtime.block_on(alone).unwrap();
        let most = neighbours.iter().map(|n| polls(n)).max().unwrap();
        assert!(most >= ENOUGH / 3, "{counters:?}");
    }

    /// Works for a moment in each turn, [`ENOUGH`] turns long.
    fn busy(counter: Arc<AtomicU32>) -> impl Future<Output = ()> {
        poll_fn(move |cx| {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(20) {}
            if counter.fetch_add(1, Ordering::Relaxed) == ENOUGH {
                return Poll::Ready(());
            }
            yield_now(cx);
            Poll::Pending
        })
    }

    fn polls(counter: &AtomicU32) -> u32 {
        counter.load(Ordering::Relaxed)
    }
}
