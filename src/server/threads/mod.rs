//! As many worker threads as there is work for.
//!
//! Of the worker threads of a runtime one waits for the sockets while another works, and is woken for every arrival at
//! a socket that the other one is just reading; and a tunnel goes to whichever thread was woken for it, away from the
//! cache that it was in. Where one thread can do it all, it takes a tenth less of the CPU alone. So the others are held
//! back while there is no work for them, each by a task that blocks it. When those end, all threads share all tunnels
//! again. How much work there is, the CPU time of the process says, and how late timers are.

mod scale;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::block_in_place;
use tokio::time::sleep;
use tracing::trace;

use scale::Scale;

/// How often the load is looked at while there is any.
const PERIOD: Duration = Duration::from_millis(100);

/// What a timer is set to.
const TICK: Duration = Duration::from_millis(1);

/// How long others have to take what waits for a thread that is to be held.
const QUEUE: Duration = Duration::from_millis(10);

/// With less of a CPU than this the load is not looked at, until a thread has something to do again.
const REST: f64 = 0.01;

/// Of the thread that looks at the load; it may write a line of the log.
const STACK: usize = 256 << 10;

/// A runtime, and what holds back its threads.
pub(crate) struct Threads {
    /// None when it has been shut down.
    runtime: Option<Runtime>,
    /// None for another's threads.
    shared: Option<Arc<Shared>>,
}

/// Between the threads, what holds them back, and who looks at the load.
struct Shared {
    state: Mutex<State>,
    /// Tells those who are held.
    let_go: Condvar,
    /// Tells the one who looks at the load.
    look: Condvar,
    /// Nobody looks at the load until a thread has something to do.
    rests: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How many threads are to be held.
    hold: usize,
    held: usize,
    /// Tasks on their way to hold a thread.
    coming: usize,
    /// One more is held, and nobody may be waiting for the sockets.
    nudge: bool,
    /// Since when a timer is waited for, and how late the last one was.
    asked: Option<Instant>,
    late: Duration,
    over: bool,
}

impl Threads {
    /// As many as there are processors, or as `TOKIO_WORKER_THREADS` says.
    ///
    /// # Errors
    ///
    /// When the system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        Self::build(Builder::new_multi_thread().enable_all(), PERIOD, cpu_time)
    }

    /// `cpu` tells how much of the CPU was had.
    fn build(
        builder: &mut Builder,
        period: Duration,
        cpu: impl Fn() -> Duration + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            let_go: Condvar::new(),
            look: Condvar::new(),
            rests: AtomicBool::new(false),
        });
        let woken = shared.clone();
        let runtime = builder.on_thread_unpark(move || woken.work()).build()?;
        let all = runtime.metrics().num_workers();
        if all > 1 {
            let (shared, handle) = (shared.clone(), runtime.handle().clone());
            let thread = thread::Builder::new().name("load".to_owned());
            thread
                .stack_size(STACK)
                .spawn(move || shared.watch(&handle, Scale::new(all), period, Load::new(cpu)))?;
        }
        Ok(Self {
            runtime: Some(runtime),
            shared: Some(shared),
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime
            .as_ref()
            .expect("it is there until the end")
            .handle()
    }

    /// Ends all tasks, and waits at most so long for what does not end at once.
    pub(crate) fn shutdown_timeout(mut self, limit: Duration) {
        self.let_go();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(limit);
        }
    }

    /// As [`Threads::shutdown_timeout`], without waiting.
    pub(crate) fn shutdown_background(mut self) {
        self.let_go();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn let_go(&self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.lock();
            state.over = true;
            state.hold = 0;
            shared.let_go.notify_all();
            shared.look.notify_all();
        }
    }
}

/// Another's threads are left alone.
impl From<Runtime> for Threads {
    fn from(runtime: Runtime) -> Self {
        Self {
            runtime: Some(runtime),
            shared: None,
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread has something to do.
    fn work(&self) {
        if self.rests.load(Ordering::Relaxed) && self.rests.swap(false, Ordering::Relaxed) {
            // Whoever rests has either not locked yet, or waits.
            drop(self.lock());
            self.look.notify_one();
        }
    }

    /// Looks at the load, and has as many threads held back as there is no work for, until it is over.
    fn watch(
        self: Arc<Self>,
        handle: &Handle,
        mut scale: Scale,
        period: Duration,
        mut load: Load<impl Fn() -> Duration>,
    ) {
        let mut state = self.lock();
        while !state.over {
            let left = period.saturating_sub(load.age());
            if !left.is_zero() {
                let waited = self.look.wait_timeout(state, left);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if std::mem::take(&mut state.nudge) {
                    // Whoever runs it waits for the sockets then, if nobody else does.
                    handle.spawn(async {});
                }
                continue;
            }
            let now = load.take();
            scale.follow(now, state.late());
            if now >= REST && state.asked.is_none() {
                state.asked = Some(Instant::now());
                handle.spawn(look_at_the_clock(self.clone()));
            }
            let hold = scale.all - scale.working;
            if state.hold != hold {
                trace!("{} of {} threads work", scale.working, scale.all);
                state.hold = hold;
                self.let_go.notify_all();
            }
            while state.held + state.coming < hold {
                state.coming += 1;
                handle.spawn(hold_one(self.clone()));
            }
            if now < REST && scale.working == 1 && state.held == hold {
                state = self.rest(state, &mut load, period);
            }
        }
    }

    /// Waits until a thread has something to do.
    fn rest<'a>(
        &self,
        state: MutexGuard<'a, State>,
        load: &mut Load<impl Fn() -> Duration>,
        period: Duration,
    ) -> MutexGuard<'a, State> {
        self.rests.store(true, Ordering::Relaxed);
        let rests = |state: &mut State| !state.over && self.rests.load(Ordering::Relaxed);
        // One may have begun just before that, and not have rested since.
        let waited = self.look.wait_timeout_while(state, period, rests);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if load.take() < REST {
            let waited = self.look.wait_while(state, rests);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            load.take();
        }
        self.rests.store(false, Ordering::Relaxed);
        state
    }

    /// Blocks this thread for as long as it is to be held.
    fn hold_this_thread(self: &Arc<Self>) {
        let mut state = self.lock();
        state.coming -= 1;
        if state.held >= state.hold {
            return;
        }
        // The first is the last in the queue of this thread, from which the others take what is before it as well. The second
        // runs when this one ends and not before, for nobody takes what is next; unless another thread is the worker by now.
        let (taken, elsewhere) = (Flag::default(), Flag::default());
        for flag in [&taken, &elsewhere] {
            Handle::current().spawn(flag.clone().rise(self.clone()));
        }
        let waits = |_: &mut State| !taken.is_up();
        let waited = self.let_go.wait_timeout_while(state, QUEUE, waits);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !taken.is_up() || state.held >= state.hold {
            return;
        }
        state.held += 1;
        state.nudge = true;
        self.look.notify_one();
        let held = |state: &mut State| state.held <= state.hold && !elsewhere.is_up();
        let waited = self.let_go.wait_while(state, held);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.held -= 1;
        self.look.notify_one();
    }
}

impl State {
    /// How late the last timer was, or is as yet.
    fn late(&mut self) -> Duration {
        let yet = self.asked.map(|asked| asked.elapsed().saturating_sub(TICK));
        yet.unwrap_or_else(|| std::mem::take(&mut self.late))
    }
}

/// Whether a task has run.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    async fn rise(self, shared: Arc<Shared>) {
        self.0.store(true, Ordering::Relaxed);
        drop(shared.lock());
        shared.let_go.notify_all();
    }
}

/// Holds the thread that it runs on.
async fn hold_one(shared: Arc<Shared>) {
    // This lets go of all that waits for this thread alone: tasks that have yielded to others here, and the one that is
    // next. Another thread may become the worker by it.
    block_in_place(|| ());
    shared.hold_this_thread();
}

/// Sees how late the threads are.
async fn look_at_the_clock(shared: Arc<Shared>) {
    sleep(TICK).await;
    let mut state = shared.lock();
    if let Some(asked) = state.asked.take() {
        state.late = asked.elapsed().saturating_sub(TICK);
    }
}

/// What this process has had of the CPU.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.map(Duration::from).unwrap_or_default()
}

struct Load<F> {
    cpu: F,
    at: Instant,
    had: Duration,
}

impl<F: Fn() -> Duration> Load<F> {
    fn new(cpu: F) -> Self {
        let had = cpu();
        Self {
            cpu,
            at: Instant::now(),
            had,
        }
    }

    fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// How many CPUs were had since the last time.
    fn take(&mut self) -> f64 {
        let (at, had) = (Instant::now(), (self.cpu)());
        let load = had.saturating_sub(self.had).div_duration_f64(at - self.at);
        (self.at, self.had) = (at, had);
        load
    }
}
