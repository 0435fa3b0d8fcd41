//! Connections that have yet to say who they are, of all inbounds, the oldest first.
//!
//! Whoever can reach a port can open connections and say nothing, until no file is left for anybody. So when
//! files run short the oldest of these give way. A tunnel is not among them, and a new user's handshake is
//! over long before it would be the oldest.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{ended, open_files};

/// How many give way at a time when there is no file left at all.
const AT_ONCE: usize = 16;

/// No server has so many at a time of people who mean it; of strangers these are some 200 MB.
const MOST: usize = 65_536;

/// How long the system gets to close what has given way.
const PAUSE: Duration = Duration::from_millis(1);

/// The log says that handshakes give way, but not of each.
const SAY_EVERY: Duration = Duration::from_secs(60);

static ALL: Handshakes = Handshakes::new();

/// Links inside connections: they hold no file, so none gives way for the sake of one.
static LINKS: Handshakes = Handshakes::new();

struct Handshakes(Mutex<Pending>);

struct Pending {
    next: u64,
    /// By age. A task that is just being started has no handle yet.
    tasks: BTreeMap<u64, Option<AbortHandle>>,
    said: Option<Instant>,
}

/// A handshake is unfinished as long as this lives.
pub struct Unfinished {
    all: &'static Handshakes,
    id: u64,
}

/// Starts the task of a new connection, which gives its `Unfinished` up when it knows whom it serves.
pub fn begin<F>(serve: impl FnOnce(Unfinished) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    ALL.begin(serve);
}

/// As [`begin`], for one of the links that a connection brings: a peer may open very many in each connection before it
/// has said who it is.
pub fn begin_link<F>(serve: impl FnOnce(Unfinished) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    LINKS.begin(serve);
}

/// A connection was accepted as file `new`: if the limit is near, the oldest handshake gives way to it.
pub fn give_way_to(new: RawFd) {
    // A few are no flood: then it is tunnels that take the files, and the reserve is for those handshakes.
    let few = open_files::reserve(open_files::limit()) / 4;
    if open_files::is_near(new) && ALL.len() > few {
        ALL.evict(1);
    }
}

/// Has handshakes give way when no file is left; `false` if there was none to do so.
pub async fn make_room() -> bool {
    let made = ALL.evict(AT_ONCE) > 0;
    if made {
        sleep(PAUSE).await;
    }
    made
}

/// As [`make_room`], for those who cannot wait but will try again.
pub fn make_room_for_next() {
    ALL.evict(AT_ONCE);
}

impl Handshakes {
    const fn new() -> Self {
        Self(Mutex::new(Pending {
            next: 0,
            tasks: BTreeMap::new(),
            said: None,
        }))
    }

    fn begin<F>(&'static self, serve: impl FnOnce(Unfinished) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (id, count) = {
            let mut pending = self.lock();
            let id = pending.next;
            pending.next += 1;
            pending.tasks.insert(id, None);
            (id, pending.tasks.len())
        };
        if count > MOST {
            self.evict(1);
        }
        let task = crate::io::spawn(serve(Unfinished { all: self, id }));
        // It may be over by then.
        if let Some(handle) = self.lock().tasks.get_mut(&id) {
            *handle = Some(task.abort_handle());
        }
    }

    /// Ends up to `count` of the oldest handshakes; tells how many.
    fn evict(&self, count: usize) -> usize {
        let mut pending = self.lock();
        let oldest = pending.tasks.iter().filter(|(_, task)| task.is_some());
        let oldest: Vec<u64> = oldest.map(|(id, _)| *id).take(count).collect();
        let evicted = oldest.iter().filter_map(|id| pending.tasks.remove(id)?);
        let evicted: Vec<AbortHandle> = evicted.collect();
        let say = !evicted.is_empty() && pending.said.is_none_or(|at| at.elapsed() > SAY_EVERY);
        if say {
            pending.said = Some(Instant::now());
        }
        let left = pending.tasks.len();
        drop(pending);
        // It drops the connection, which would want the lock.
        evicted.iter().for_each(AbortHandle::abort);
        if say {
            let why = match left >= MOST {
                true => String::new(),
                false => format!("the limit of {} open files is near, ", open_files::limit()),
            };
            warn!("{why}{left} handshakes are unfinished: the oldest give way");
        }
        evicted.len()
    }

    fn len(&self) -> usize {
        self.lock().tasks.len()
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.all.lock().tasks.remove(&self.id);
        ended::one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::mpsc;
    use tokio::task::yield_now;

    fn registry() -> &'static Handshakes {
        Box::leak(Box::new(Handshakes::new()))
    }

    #[tokio::test]
    async fn the_oldest_give_way_and_those_that_are_through_do_not() {
        let all = registry();
        let (gone, mut ended) = mpsc::unbounded_channel();
        for n in 0..5 {
            let gone = gone.clone();
            all.begin(|unfinished| async move {
                struct Tell(u32, mpsc::UnboundedSender<u32>);
                impl Drop for Tell {
                    fn drop(&mut self) {
                        let _ = self.1.send(self.0);
                    }
                }
                let _tell = Tell(n, gone);
                // The oldest of all has finished its handshake and goes on.
                let _unfinished = (n > 0).then_some(unfinished);
                pending::<()>().await;
            });
        }
        yield_now().await;
        assert_eq!(all.len(), 4);
        assert_eq!(all.evict(2), 2);
        assert_eq!((ended.recv().await, ended.recv().await), (Some(1), Some(2)));
        assert_eq!(all.len(), 2);
        assert_eq!(all.evict(16), 2);
        assert_eq!(all.evict(16), 0);
        assert_eq!((ended.recv().await, ended.recv().await), (Some(3), Some(4)));
        assert!(ended.try_recv().is_err(), "a tunnel gave way");
    }

    #[tokio::test]
    async fn a_handshake_that_ends_at_once_leaves_nothing() {
        let all = registry();
        for _ in 0..3 {
            all.begin(|unfinished| async move { drop(unfinished) });
        }
        yield_now().await;
        assert_eq!(all.len(), 0);
    }
}
