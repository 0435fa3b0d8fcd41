use super::*;
use std::io::{Read, Write};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::sleep;

const ALL: usize = 4;
const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(20);

/// Threads with a load that a test sets: CPUs, in hundredths.
struct Tested {
    threads: Threads,
    load: Arc<AtomicU64>,
}

impl Tested {
    fn start() -> Self {
        let load = Arc::new(AtomicU64::new(0));
        let (begin, set) = (Instant::now(), load.clone());
        let had = Mutex::new((begin, Duration::ZERO));
        let cpu = move || {
            let mut had = had.lock().unwrap();
            let now = Instant::now();
            let load = set.load(Ordering::Relaxed) as f64 / 100.0;
            *had = (now, had.1 + (now - had.0).mul_f64(load));
            had.1
        };
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(ALL).enable_all();
        let threads = Threads::build(builder, SHORT, cpu).unwrap();
        Self { threads, load }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.threads.shared.as_ref().unwrap()
    }

    fn waits_until_held(&self, held: usize) {
        let begin = Instant::now();
        while self.shared().lock().held != held {
            assert!(begin.elapsed() < LONG, "{held} threads are not held");
            thread::sleep(SHORT);
        }
    }

    /// There is a load until the threads are let go.
    fn is_loaded_until_all_work(&self) {
        self.load.store(100 * ALL as u64, Ordering::Relaxed);
        // A look is needed, and nobody looks while all rest.
        self.threads.handle().spawn(async {});
        self.waits_until_held(0);
    }

    /// Holds threads back and lets them go; `look` is called when they are held.
    fn changes(&self, mut look: impl FnMut()) {
        let (begin, mut changes) = (Instant::now(), 0);
        while begin.elapsed() < Duration::from_millis(1500) || changes < 5 {
            self.is_loaded_until_all_work();
            self.load.store(0, Ordering::Relaxed);
            self.waits_until_held(ALL - 1);
            look();
            changes += 1;
        }
    }

    fn block_on<T>(&self, what: impl Future<Output = T> + Send + 'static) -> T
    where
        T: Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        self.threads.handle().spawn(async move {
            let _ = sender.send(what.await);
        });
        receiver.recv_timeout(LONG).expect("it ends")
    }
}

#[test]
fn one_thread_does_all_that_there_is() {
    let tested = Tested::start();
    tested.waits_until_held(ALL - 1);
    tested.block_on(everything());
}

#[test]
fn all_threads_work_when_there_is_work_for_them() {
    let tested = Tested::start();
    tested.waits_until_held(ALL - 1);
    tested.is_loaded_until_all_work();
    // Each of them blocks a thread until all are there.
    let barrier = Arc::new(std::sync::Barrier::new(ALL));
    let (sender, receiver) = mpsc::channel();
    for _ in 0..ALL {
        let (barrier, sender) = (barrier.clone(), sender.clone());
        tested.threads.handle().spawn(async move {
            barrier.wait();
            sender.send(()).unwrap();
        });
    }
    for _ in 0..ALL {
        receiver.recv_timeout(LONG).expect("all come");
    }
    tested.load.store(0, Ordering::Relaxed);
    tested.waits_until_held(ALL - 1);
    tested.block_on(everything());
}

/// Tasks that yield, wake each other, wait for sockets and for time, while threads are held and let go.
#[test]
fn no_task_is_held_with_its_thread() {
    let tested = Tested::start();
    let rounds: Vec<Arc<AtomicU64>> = (0..40).map(|_| Arc::default()).collect();
    for rounds in &rounds {
        let rounds = rounds.clone();
        tested.threads.handle().spawn(async move {
            loop {
                everything().await;
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tested.changes(|| {
        let before: Vec<u64> = rounds.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let begin = Instant::now();
        let goes_on = |(n, before): (&Arc<AtomicU64>, &u64)| n.load(Ordering::Relaxed) > *before;
        while !rounds.iter().zip(&before).all(goes_on) {
            assert!(
                begin.elapsed() < LONG,
                "a task waits for the thread that it was on"
            );
            thread::sleep(SHORT);
        }
    });
}

#[test]
fn somebody_waits_for_the_sockets() {
    let tested = Tested::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut outside = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    outside.set_read_timeout(Some(LONG)).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    tested.threads.handle().spawn(async move {
        let mut stream = TcpStream::from_std(stream).unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap() > 0 {
            stream.write_all(&byte).await.unwrap();
        }
    });
    tested.changes(|| {
        outside.write_all(b"?").unwrap();
        outside.read_exact(&mut [0]).expect("it is answered");
    });
}

#[test]
fn who_is_held_does_not_hold_up_the_end() {
    for end in [Threads::shutdown_background, drop, |threads: Threads| {
        threads.shutdown_timeout(LONG);
    }] {
        let tested = Tested::start();
        tested.waits_until_held(ALL - 1);
        let shared = tested.shared().clone();
        let begin = Instant::now();
        end(tested.threads);
        assert!(begin.elapsed() < LONG / 2);
        while Arc::strong_count(&shared) > 1 {
            assert!(begin.elapsed() < LONG, "some threads are still there");
            thread::sleep(SHORT);
        }
    }
}

async fn everything() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (there, mut back) = tokio::sync::mpsc::channel(1);
    let echo = crate::io::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap() > 0 {
            stream.write_all(&byte).await.unwrap();
            there.send(byte[0]).await.unwrap();
        }
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    for round in 0..48 {
        let mut byte = [round];
        stream.write_all(&byte).await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(back.recv().await, Some(round));
        for _ in 0..round % 4 {
            yield_now().await;
        }
        if round % 16 == 0 {
            sleep(Duration::from_millis(1)).await;
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        }
    }
    drop(stream);
    echo.await.unwrap();
}
