//! The system's resolver: the hosts file, the servers of `resolv.conf`, whatever else it asks.
//!
//! A question keeps a thread until the resolver has answered, which for a name whose servers are silent
//! takes it ten seconds and more, and it cannot be taken back. So there is one question for a name at a
//! time, whoever asks. The users' questions share a number of slots ([`Shares`]); two kinds have
//! slots of their own: names of the hosts file, which are found without a server, and what the process
//! itself needs, such as the addresses of its servers.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Strategy;
use super::asker::asker;
use super::failing::Failing;
use super::hosts_file::HostsFile;
use super::shares::{Shares, Slot};
use crate::address::{Destination, Host};
use crate::log;
use crate::session::Owner;

/// Users' names that the resolver is asked for at a time. Each keeps a thread of the runtime's 512.
const PLACES: usize = 256;

/// The same for names of the hosts file, and for the process.
const PLACES_APART: usize = 64;

/// How long a name waits for a slot: longer than one that nobody answers for keeps it, which is 10 s where
/// `resolv.conf` says nothing else.
const PATIENCE: Duration = Duration::from_secs(12);

static SYSTEM: LazyLock<Arc<System>> = LazyLock::new(|| Arc::new(System::new(PLACES)));
static HOSTS: LazyLock<HostsFile> =
    LazyLock::new(|| HostsFile::new("/etc/hosts", "/etc/nsswitch.conf"));

/// All addresses of a name.
pub(super) async fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let queue = match asker() {
        _ if HOSTS.has(name) => Queue::Hosts,
        Owner::Process => Queue::Process,
        owner => Queue::Shared(owner),
    };
    SYSTEM.find(name, queue, ask(name.to_owned())).await
}

async fn ask(name: String) -> io::Result<Vec<IpAddr>> {
    let mut ips = Vec::new();
    for addr in tokio::net::lookup_host((name, 0)).await? {
        if !ips.contains(&addr.ip()) {
            ips.push(addr.ip());
        }
    }
    Ok(ips)
}

/// The questions under way.
struct System {
    shares: Arc<Shares>,
    hosts: Arc<Semaphore>,
    process: Arc<Semaphore>,
    under_way: Mutex<HashMap<String, Waiting>>,
    failing: Failing,
}

/// Where a question waits for its slot.
enum Queue {
    Hosts,
    Process,
    Shared(Owner),
}

type Found = Result<Vec<IpAddr>, (io::ErrorKind, String)>;
type Waiting = watch::Receiver<Option<Found>>;

impl System {
    fn new(slots: usize) -> Self {
        let apart = || Arc::new(Semaphore::new(PLACES_APART));
        Self {
            shares: Shares::new("the system's resolver".to_owned(), slots, PATIENCE),
            hosts: apart(),
            process: apart(),
            under_way: Mutex::default(),
            failing: Failing::default(),
        }
    }

    /// The answer to the question for `name`, which is `asking` unless the same is under way already.
    async fn find(
        self: &Arc<Self>,
        name: &str,
        queue: Queue,
        asking: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> io::Result<Vec<IpAddr>> {
        let name = name.to_ascii_lowercase();
        // Nobody waits in another one's queue, but whoever finds the question asked has its answer.
        let asked = self.lock().get(&name).cloned();
        let mut waiting = match asked {
            Some(waiting) => waiting,
            None => {
                let slot = self.slot(queue).await?;
                self.begin(name, slot, asking)
            }
        };
        let found = waiting.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|found| (*found).clone());
        // The sender is gone without a word only when the process ends.
        let found = found.unwrap_or_else(|| Err((io::ErrorKind::Other, "nobody asked".to_owned())));
        found.map_err(|(kind, reason)| io::Error::new(kind, reason))
    }

    async fn slot(&self, queue: Queue) -> io::Result<Taken> {
        let apart = match queue {
            Queue::Shared(owner) => {
                let slot = self.shares.slot(&owner).await;
                return slot.map(Taken::Shared).map_err(io::Error::other);
            }
            Queue::Hosts => &self.hosts,
            Queue::Process => &self.process,
        };
        let permit = apart.clone().acquire_owned().await;
        permit.map(Taken::Apart).map_err(io::Error::other)
    }

    /// A task of its own asks, so that the answer comes for all even when the first to ask has given up. The slot stays
    /// taken until the resolver has answered.
    fn begin(
        self: &Arc<Self>,
        name: String,
        slot: Taken,
        asking: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> Waiting {
        let mut under_way = self.lock();
        if let Some(waiting) = under_way.get(&name) {
            let waiting = waiting.clone();
            // Its slot may go to the next one, which does not happen under the lock.
            drop(under_way);
            drop(slot);
            return waiting;
        }
        let (answer, waiting) = watch::channel(None);
        under_way.insert(name.clone(), waiting.clone());
        drop(under_way);
        let system = self.clone();
        crate::io::spawn(async move {
            let found = asking.await.map_err(|e| (e.kind(), reason(&e)));
            system.note(&found);
            system.lock().remove(&name);
            let _ = answer.send(Some(found));
            drop(slot);
        });
        waiting
    }

    fn note(&self, found: &Found) {
        match found {
            Err((_, reason)) if is_passing(reason) => {
                if self.failing.failed() {
                    log::repeated(&format!("the system's resolver does not answer: {reason}"));
                }
            }
            _ => self.failing.answered(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a question holds while it is asked.
enum Taken {
    Shared(#[expect(dead_code, reason = "held until it is dropped")] Slot),
    Apart(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit),
}

/// Whether the resolver may know more later: its own servers did not answer. The standard library
/// keeps the resolver's code to itself, so its words (glibc's and musl's) must do.
pub(super) fn is_passing(text: &str) -> bool {
    text.contains("emporary failure") || text.contains("ry again") || text.contains("ystem error")
}

/// The addresses of `to`, in the resolver's order of preference; never empty.
pub async fn resolve(to: &Destination, strategy: Strategy) -> io::Result<Vec<SocketAddr>> {
    let name = match &to.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, to.port)]),
        Host::Domain(name) => name,
    };
    let found = addresses(name)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot resolve {name}: {e}")))?;
    let addrs = strategy.pick(found, to.port);
    if addrs.is_empty() {
        let text = format!("cannot resolve {name}: it has {}", strategy.missing());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(addrs)
}

/// The resolver's own words, without what the standard library puts in front.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "the resolver gave no reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_waits_for_any_more_keeps_its_place() {
        let system = Arc::new(System::new(1));
        let (answer, silent) = oneshot::channel();
        let asking = async { silent.await.map_err(io::Error::other) };
        let moment = Duration::from_secs(4);
        let first = system.find("a", of(1), asking);
        assert!(timeout(moment, first).await.is_err());
        let second = timeout(moment, system.find("b", of(2), known()));
        assert!(second.await.is_err());
        answer.send(Vec::new()).unwrap();
        let third = timeout(moment, system.find("c", of(3), known()));
        assert_eq!(third.await.unwrap().unwrap(), [IP]);
    }

    #[tokio::test(start_paused = true)]
    async fn dead_names_of_one_delay_nobody_else() {
        let system = Arc::new(System::new(16));
        let dead: Vec<_> = (0..100).map(|n| look(&system, n, dead())).collect();
        tokio::task::yield_now().await;
        let begin = Instant::now();
        let live = system.find("live", of(2), known()).await;
        assert_eq!(live.unwrap(), [IP]);
        for queue in [Queue::Hosts, Queue::Process] {
            assert_eq!(system.find("own", queue, known()).await.unwrap(), [IP]);
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let mut refused = 0;
        for look in dead {
            let text = look.await.unwrap().unwrap_err().to_string();
            refused += usize::from(text.starts_with("too many names of 10.0.0.1 "));
        }
        let served = 2 * 8;
        assert_eq!(refused, 100 - served, "those in front took 10 s each");
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_is_asked_for_once_at_a_time_and_nobody_waits_in_the_queue_of_another() {
        let system = Arc::new(System::new(2));
        let _holds = look(&system, 0, dead());
        let _waits = look(&system, 1, dead());
        tokio::task::yield_now().await;
        let begin = Instant::now();
        let other = system.find("dead-1", of(2), known()).await;
        assert_eq!(
            (other.unwrap(), begin.elapsed()),
            (vec![IP], Duration::ZERO)
        );
        let same = system.find("DEAD-0", Queue::Process, known()).await;
        assert!(same.is_err(), "it has the answer of the one that was asked");
    }

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn of(n: u8) -> Queue {
        Queue::Shared(Owner::Host([10, 0, 0, n].into()))
    }

    fn look(
        system: &Arc<System>,
        n: usize,
        asking: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> JoinHandle<io::Result<Vec<IpAddr>>> {
        let system = system.clone();
        crate::io::spawn(async move { system.find(&format!("dead-{n}"), of(1), asking).await })
    }

    async fn dead() -> io::Result<Vec<IpAddr>> {
        sleep(Duration::from_secs(10)).await;
        Err(io::Error::other("Temporary failure in name resolution"))
    }

    async fn known() -> io::Result<Vec<IpAddr>> {
        Ok(vec![IP])
    }

    #[tokio::test]
    async fn an_ip_address_is_its_own_answer() {
        let addrs = resolve(&"[::1]:80".parse().unwrap(), Strategy::UseIpv4).await;
        assert_eq!(addrs.unwrap(), ["[::1]:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_of_the_hosts_file_is_found_once_per_address() {
        let addrs = resolve(&"localhost:80".parse().unwrap(), Strategy::UseIpv4).await;
        assert_eq!(addrs.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_is_named() {
        let error = resolve(&"nowhere.invalid:80".parse().unwrap(), Strategy::AsIs)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cannot resolve nowhere.invalid: "),
            "{text}"
        );
    }
}
