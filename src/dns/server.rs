//! One server of `dns.servers`: what it has said before, what it is being asked, and how to ask it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::cache::Cache;
use super::channel::{Channel, Over};
use super::codec::{Family, Question, Reply};
use super::dial::Dialer;
use super::failing::Failing;
use super::fake::Pool;
use super::https::Https;
use super::shares::{Shares, Slot};
use super::{Families, Upstream, asker, settings, system};
use crate::address::{Destination, Host};
use crate::log;
use crate::matching::{Domains, MatchRank, Name, Pattern};

/// How long a connection to a server may be silent that was asked.
pub(super) const LIMIT: Duration = settings::PATIENCE;

/// A datagram may be lost: then the question goes once more.
const ASK_AGAIN: Duration = Duration::from_millis(1500);

/// How many seconds a made-up address holds, as in Xray: whoever asks again keeps it.
const FAKE_TTL: u32 = 1;

/// Different questions that wait for one server.
const MAX_PENDING: usize = 1024;

/// The same over HTTPS, where servers have a bound for one connection; HTTP/2 wants it to be 100 or more.
const MAX_PENDING_HTTPS: usize = 96;

pub(super) struct Server {
    pub(super) settings: settings::Server,
    /// Out of which clients are given addresses in its place.
    fakes: Vec<Arc<Pool>>,
    client: Client,
    cache: Mutex<Cache>,
    pending: Mutex<HashMap<Question, Waiting>>,
    /// Slots among the pending questions.
    shares: Arc<Shares>,
    failing: Failing,
}

/// What asks it.
enum Client {
    System,
    Nobody,
    Udp(Channel, Channel),
    Tcp(Channel),
    Https(Https),
}

type Waiting = watch::Receiver<Option<Result<Reply, Failure>>>;

/// Why a server is of no use for a name; the next one is asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Failure {
    #[error("did not answer for {0} within {span}", span = words(*.1))]
    Silent(String, Duration),
    #[error("has no answer for {0}: {1}")]
    Failed(String, String),
    #[error("says that {0} is at {1}, which `expectIPs` does not hold")]
    Unexpected(String, String),
}

impl Server {
    pub(super) fn new(settings: settings::Server, fakes: Vec<Arc<Pool>>) -> Self {
        let slots = match settings.upstream {
            Upstream::Https { .. } => MAX_PENDING_HTTPS,
            Upstream::System | Upstream::Fake => MAX_PENDING,
            Upstream::Udp(_) | Upstream::Tcp(_) | Upstream::Tls(_) => MAX_PENDING,
        };
        Self {
            shares: Shares::new(
                format!("the DNS server {}", settings.name),
                slots,
                settings.patience,
            ),
            failing: Failing::default(),
            client: Client::new(&settings),
            fakes,
            settings,
            cache: Mutex::default(),
            pending: Mutex::default(),
        }
    }

    /// How closely a name fits those that this server is asked for before others.
    pub(super) fn fit(&self, name: &Name) -> Option<MatchRank> {
        let local = match self.settings.upstream {
            Upstream::System => LOCAL.fit(name),
            _ => None,
        };
        let own = self.settings.domains.as_ref().and_then(|d| d.fit(name));
        local.into_iter().chain(own).min()
    }

    /// Whether it has addresses for clients alone.
    pub(super) fn is_fake(&self) -> bool {
        self.settings.upstream == Upstream::Fake
    }

    /// What a client is told of `name`; `None` when the server itself is to be asked. What is told is never asked for
    /// again by ourselves: `expectIPs` does not count.
    pub(super) fn made_up(&self, name: &str, families: Families) -> Option<Reply> {
        if self.fakes.is_empty() && !self.is_fake() {
            return None;
        }
        let families = families.and(self.settings.families);
        let mut reply = Reply::none(0);
        // A name that nobody could be asked to connect to has none.
        if let Ok(Host::Domain(name)) = Host::parse(name) {
            let wanted = |pool: &&Arc<Pool>| families.has(pool.family());
            let pools = self.fakes.iter().filter(wanted);
            reply.ips = pools.map(|pool| pool.address(&name)).collect();
            reply.ttl = FAKE_TTL;
            debug!(server = self.settings.name, name, ips = ?reply.ips, "made up");
        }
        Some(reply)
    }

    /// The addresses of `name`, IPv4 first. Without any, the code says why.
    pub(super) async fn lookup(
        self: &Arc<Self>,
        dialer: Option<&Arc<dyn Dialer>>,
        name: &str,
        families: Families,
    ) -> Result<Reply, Failure> {
        let families = families.and(self.settings.families);
        if matches!(self.client, Client::System) {
            let reply = self.ask_system(name, families).await?;
            return self.only_expected(name, reply);
        }
        let one = async |family| {
            if families.has(family) {
                Some(self.one(dialer, name, family).await)
            } else {
                None
            }
        };
        let (v4, v6) = tokio::join!(one(Family::V4), one(Family::V6));
        let mut whole = Reply::none(0);
        let mut failure = None;
        for (family, reply) in [(Family::V4, v4), (Family::V6, v6)] {
            match reply {
                Some(Ok(reply)) => whole.add(reply),
                Some(Err(e)) => failure = Some((family, e)),
                None => {}
            }
        }
        match failure {
            // Half an answer is one.
            Some((_, e)) if whole.ips.is_empty() => return Err(e),
            Some((family, Failure::Silent(..))) => self.keep_silence(name, family, whole.ttl),
            _ => {}
        }
        self.only_expected(name, whole)
    }

    /// Some servers never say that a name has no addresses of a family. Who waited for that once does not do so again for
    /// as long as the addresses of the other family hold, as in V2Ray.
    fn keep_silence(&self, name: &str, family: Family, ttl: u32) {
        if self.settings.caches {
            let name = name.to_owned();
            let nothing = Reply {
                ttl,
                ..Reply::none(0)
            };
            lock(&self.cache).put(Question { name, family }, nothing, Instant::now());
        }
    }

    /// What must be comes first, what is only preferred after it, as in Xray.
    fn only_expected(&self, name: &str, mut reply: Reply) -> Result<Reply, Failure> {
        let settings = &self.settings;
        let bounds = [
            (&settings.expected, true, settings.prefers_expected),
            (&settings.unexpected, false, settings.prefers_others),
        ];
        for is_wish in [false, true] {
            let now = bounds.iter().filter(|(_, _, wish)| *wish == is_wish);
            for (networks, counts, _) in now {
                let Some(networks) = networks.as_ref().filter(|_| !reply.ips.is_empty()) else {
                    continue;
                };
                let kept = reply.ips.iter().copied();
                let kept: Vec<IpAddr> =
                    kept.filter(|ip| networks.contain(*ip) == *counts).collect();
                if !kept.is_empty() {
                    reply.ips = kept;
                } else if !is_wish {
                    let all: Vec<String> = reply.ips.iter().map(ToString::to_string).collect();
                    return Err(Failure::Unexpected(name.to_owned(), all.join(", ")));
                }
            }
        }
        Ok(reply)
    }

    /// One question: out of the cache, or as somebody else's who asks the same, or asked.
    async fn one(
        self: &Arc<Self>,
        dialer: Option<&Arc<dyn Dialer>>,
        name: &str,
        family: Family,
    ) -> Result<Reply, Failure> {
        let question = Question {
            name: name.to_owned(),
            family,
        };
        if self.settings.caches
            && let Some(reply) = lock(&self.cache).get(&question, Instant::now())
        {
            return Ok(reply);
        }
        let failed = |text: &str| Failure::Failed(name.to_owned(), text.to_owned());
        let dialer = dialer.ok_or_else(|| failed("there is no way to it"))?;
        // Nobody waits in another one's queue, but whoever finds the question asked has its answer.
        let pending = lock(&self.pending).get(&question).cloned();
        let mut waiting = match pending {
            Some(waiting) => waiting,
            None => {
                let slot = self.shares.slot(&asker()).await;
                let slot = slot.map_err(|e| failed(&e.to_string()))?;
                self.waiting(dialer, question, slot)
            }
        };
        // The sender is dropped without an answer only when the process ends.
        let answer = waiting.wait_for(Option::is_some).await;
        let answer = answer.ok().and_then(|answer| (*answer).clone());
        answer.unwrap_or_else(|| Err(failed("nobody asked")))
    }

    /// Where the answer to `question` will be. A task of its own asks, so that the answer comes for all even when the
    /// first to ask has given up.
    fn waiting(
        self: &Arc<Self>,
        dialer: &Arc<dyn Dialer>,
        question: Question,
        slot: Slot,
    ) -> Waiting {
        let mut pending = lock(&self.pending);
        if let Some(waiting) = pending.get(&question) {
            let waiting = waiting.clone();
            // Its slot may go to the next one, which does not happen under the lock.
            drop(pending);
            drop(slot);
            return waiting;
        }
        let (answer, waiting) = watch::channel(None);
        pending.insert(question.clone(), waiting.clone());
        drop(pending);
        let (server, dialer) = (self.clone(), dialer.clone());
        crate::io::spawn(async move {
            let found = server.ask(&dialer, &question).await;
            server.note(&found);
            if let Ok(reply) = &found
                && server.settings.caches
                && reply.is_worth_keeping()
            {
                let mut cache = lock(&server.cache);
                cache.put(question.clone(), reply.clone(), Instant::now());
            }
            lock(&server.pending).remove(&question);
            let _ = answer.send(Some(found));
            drop(slot);
        });
        waiting
    }

    fn note(&self, found: &Result<Reply, Failure>) {
        let reason = match found {
            Ok(_) => return self.failing.answered(),
            Err(Failure::Failed(_, reason)) => format!(": {reason}"),
            Err(_) => format!(" within {}", words(self.settings.patience)),
        };
        if self.failing.failed() {
            log::repeated(&format!("dns: {self} does not answer{reason}"));
        }
    }

    async fn ask(&self, dialer: &Arc<dyn Dialer>, question: &Question) -> Result<Reply, Failure> {
        let asking = async {
            match &self.client {
                Client::System | Client::Nobody => Ok(Reply::none(0)),
                Client::Udp(udp, tcp) => {
                    let mut first = pin!(udp.ask(dialer, question));
                    let reply = match timeout(ASK_AGAIN, &mut first).await {
                        Ok(reply) => reply?,
                        Err(_) => tokio::select! {
                            reply = first => reply?,
                            reply = udp.ask(dialer, question) => reply?,
                        },
                    };
                    if reply.truncated {
                        // A truncated reply is better than none.
                        Ok(tcp.ask(dialer, question).await.unwrap_or(reply))
                    } else {
                        Ok(reply)
                    }
                }
                Client::Tcp(tcp) => tcp.ask(dialer, question).await,
                Client::Https(https) => https.ask(dialer, question).await,
            }
        };
        let begin = Instant::now();
        let patience = self.settings.patience;
        match timeout(patience, asking).await {
            Ok(Ok(reply)) => {
                debug!(server = self.settings.name, name = question.name, rcode = reply.code, ips = ?reply.ips, took = ?begin.elapsed(), "answered");
                Ok(reply)
            }
            Ok(Err(e)) => Err(Failure::Failed(question.name.clone(), e.to_string())),
            Err(_) => Err(Failure::Silent(question.name.clone(), patience)),
        }
    }

    async fn ask_system(&self, name: &str, families: Families) -> Result<Reply, Failure> {
        let failed = |text: String| Failure::Failed(name.to_owned(), text);
        let patience = self.settings.patience;
        match timeout(patience, system::addresses(name)).await {
            Err(_) => Err(Failure::Silent(name.to_owned(), patience)),
            Ok(Err(e)) if system::is_passing(&e.to_string()) => Err(failed(e.to_string())),
            // There is no such name. No other server is asked, so that local names are not leaked.
            Ok(Err(_)) => Ok(Reply::none(NO_SUCH_NAME)),
            Ok(Ok(mut ips)) => {
                ips.retain(|ip| families.allow(*ip));
                Ok(Reply {
                    ips,
                    ..Reply::none(0)
                })
            }
        }
    }
}

/// `4 s`, `500 ms`.
fn words(span: Duration) -> String {
    match span.subsec_millis() {
        0 => format!("{} s", span.as_secs()),
        _ => format!("{} ms", span.as_millis()),
    }
}

impl Client {
    fn new(settings: &settings::Server) -> Self {
        let (via, ip) = (&settings.via, settings.client_ip);
        let channel = |over, to: &Destination| Channel::new(over, to.clone(), via.clone(), ip);
        match &settings.upstream {
            Upstream::System => Self::System,
            Upstream::Fake => Self::Nobody,
            Upstream::Udp(to) => Self::Udp(channel(Over::Udp, to), channel(Over::Tcp, to)),
            Upstream::Tcp(to) => Self::Tcp(channel(Over::Tcp, to)),
            Upstream::Tls(to) => Self::Tcp(channel(Over::Tls, to)),
            Upstream::Https { url, to } => {
                Self::Https(Https::new(url.clone(), to.clone(), via.clone(), ip))
            }
        }
    }
}

/// The names of houses and offices, which V2Ray asks the system for first wherever `localhost` is a
/// server.
static LOCAL: LazyLock<Domains> = LazyLock::new(|| {
    const NAMES: [&str; 8] = [
        "local",
        "localdomain",
        "localhost",
        "lan",
        "home.arpa",
        "example",
        "invalid",
        "test",
    ];
    let below = NAMES.map(|name| Pattern::Domain(name.to_owned()));
    let dotless = Pattern::Regex("^[^.]+$".to_owned());
    Domains::ranked(below.into_iter().chain([dotless])).expect("a test reads the expression")
});

/// `NXDOMAIN`.
pub(super) const NO_SUCH_NAME: u16 = 3;

impl Reply {
    /// Without addresses, and as long valid as a reply may be.
    pub(super) fn none(code: u16) -> Self {
        Self {
            code,
            ips: Vec::new(),
            ttl: super::codec::MAX_TTL,
            truncated: false,
        }
    }

    fn add(&mut self, other: Self) {
        let add = |ip: IpAddr, ips: &mut Vec<IpAddr>| {
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        };
        other.ips.into_iter().for_each(|ip| add(ip, &mut self.ips));
        self.ttl = self.ttl.min(other.ttl);
        // If one family has addresses, an error of the other one does not matter.
        self.code = if self.ips.is_empty() {
            self.code.max(other.code)
        } else {
            0
        };
    }

    /// A server that fails or refuses may do better the next time.
    fn is_worth_keeping(&self) -> bool {
        matches!(self.code, 0 | NO_SUCH_NAME) && !self.truncated
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
