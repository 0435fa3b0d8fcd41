//! One server of `dns.servers`: what it has said before, what it is being asked, and how to ask it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::cache::Cache;
use super::channel::Channel;
use super::codec::{Family, Question, Reply};
use super::dial::Dialer;
use super::failing::Failing;
use super::https::Https;
use super::shares::{Place, Shares};
use super::{Families, asker, system};
use crate::log;
use crate::matching::{Domains, Networks};

/// How long V2Ray, and so we, wait for any server.
pub(super) const LIMIT: Duration = Duration::from_secs(4);

/// A datagram may be lost: then the question goes once more.
const ASK_AGAIN: Duration = Duration::from_millis(1500);

/// Different questions that wait for one server.
const MAX_PENDING: usize = 1024;

/// The same over HTTPS, where servers have a bound for one connection; HTTP/2 wants it to be 100 or more.
const MAX_PENDING_HTTPS: usize = 96;

pub(super) struct Server {
    /// As the user wrote it, for messages.
    pub(super) name: String,
    pub(super) upstream: Upstream,
    /// Names that this server is asked for before others.
    pub(super) domains: Option<Domains>,
    /// Of what it says, only these addresses count.
    pub(super) expected: Option<Networks>,
    /// It is asked only for the names of `domains`.
    pub(super) skip_fallback: bool,
    pub(super) families: Families,
    pub(super) caches: bool,
    pub(super) cache: Mutex<Cache>,
    pub(super) pending: Mutex<HashMap<Question, Waiting>>,
    /// Places among the pending questions.
    shares: Arc<Shares>,
    failing: Failing,
}

/// How it is asked.
pub(super) enum Upstream {
    /// The resolver of the system.
    System,
    /// UDP; TCP when a reply has no room.
    Udp(Channel, Channel),
    Tcp(Channel),
    Https(Https),
}

type Waiting = watch::Receiver<Option<Result<Reply, Failure>>>;

/// Why a server is of no use for a name; the next one is asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Failure {
    #[error("did not answer for {0} within {limit} s", limit = LIMIT.as_secs())]
    Silent(String),
    #[error("has no answer for {0}: {1}")]
    Failed(String, String),
    #[error("says that {0} is at {1}, which `expectIPs` does not hold")]
    Unexpected(String, String),
}

impl Server {
    pub(super) fn new(name: String, upstream: Upstream) -> Self {
        let places = match upstream {
            Upstream::Https(_) => MAX_PENDING_HTTPS,
            _ => MAX_PENDING,
        };
        Self {
            shares: Shares::new(format!("the DNS server {name}"), places, LIMIT),
            failing: Failing::default(),
            name,
            upstream,
            domains: None,
            expected: None,
            skip_fallback: false,
            families: Families::BOTH,
            caches: true,
            cache: Mutex::default(),
            pending: Mutex::default(),
        }
    }

    /// The addresses of `name`, IPv4 first. Without any, the code says why.
    pub(super) async fn lookup(
        self: &Arc<Self>,
        dial: Option<&Arc<dyn Dialer>>,
        name: &str,
        families: Families,
    ) -> Result<Reply, Failure> {
        let families = families.and(self.families);
        if matches!(self.upstream, Upstream::System) {
            let reply = self.ask_system(name, families).await?;
            return self.only_expected(name, reply);
        }
        let one = async |family| match families.has(family) {
            true => Some(self.one(dial, name, family).await),
            false => None,
        };
        let (v4, v6) = tokio::join!(one(Family::V4), one(Family::V6));
        let mut whole = Reply::none(0);
        let mut failure = None;
        for reply in [v4, v6].into_iter().flatten() {
            match reply {
                Ok(reply) => whole.add(reply),
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            // Half an answer is one.
            Some(e) if whole.ips.is_empty() => Err(e),
            _ => self.only_expected(name, whole),
        }
    }

    fn only_expected(&self, name: &str, mut reply: Reply) -> Result<Reply, Failure> {
        if let Some(expected) = &self.expected
            && !reply.ips.is_empty()
        {
            let all = reply.ips.clone();
            reply.ips.retain(|ip| expected.contain(*ip));
            if reply.ips.is_empty() {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                return Err(Failure::Unexpected(name.to_owned(), all.join(", ")));
            }
        }
        Ok(reply)
    }

    /// One question: out of the cache, or as somebody else's who asks the same, or asked.
    async fn one(
        self: &Arc<Self>,
        dial: Option<&Arc<dyn Dialer>>,
        name: &str,
        family: Family,
    ) -> Result<Reply, Failure> {
        let question = Question {
            name: name.to_owned(),
            family,
        };
        if self.caches
            && let Some(reply) = lock(&self.cache).get(&question, Instant::now())
        {
            return Ok(reply);
        }
        let failed = |text: &str| Failure::Failed(name.to_owned(), text.to_owned());
        let dial = dial.ok_or_else(|| failed("there is no way to it"))?;
        // Nobody waits in another one's queue, but whoever finds the question asked has its answer.
        let pending = lock(&self.pending).get(&question).cloned();
        let mut waiting = match pending {
            Some(waiting) => waiting,
            None => {
                let place = self.shares.place(&asker()).await;
                let place = place.map_err(|e| failed(&e.to_string()))?;
                self.waiting(dial, question, place)
            }
        };
        // The sender is gone without a word only when the process ends.
        let answer = waiting.wait_for(Option::is_some).await;
        let answer = answer.ok().and_then(|answer| (*answer).clone());
        answer.unwrap_or_else(|| Err(failed("nobody asked")))
    }

    /// Where the answer to `question` will be; a task of its own asks, so that those who lose patience
    /// take it from nobody else.
    fn waiting(
        self: &Arc<Self>,
        dial: &Arc<dyn Dialer>,
        question: Question,
        place: Place,
    ) -> Waiting {
        let mut pending = lock(&self.pending);
        if let Some(waiting) = pending.get(&question) {
            let waiting = waiting.clone();
            // Its place may go to the next one, which does not happen under the lock.
            drop(pending);
            drop(place);
            return waiting;
        }
        let (answer, waiting) = watch::channel(None);
        pending.insert(question.clone(), waiting.clone());
        drop(pending);
        let (server, dial) = (self.clone(), dial.clone());
        tokio::spawn(async move {
            let found = server.ask(&dial, &question).await;
            server.note(&found);
            if let Ok(reply) = &found
                && server.caches
                && reply.is_worth_keeping()
            {
                let mut cache = lock(&server.cache);
                cache.put(question.clone(), reply.clone(), Instant::now());
            }
            lock(&server.pending).remove(&question);
            let _ = answer.send(Some(found));
            drop(place);
        });
        waiting
    }

    fn note(&self, found: &Result<Reply, Failure>) {
        let reason = match found {
            Ok(_) => return self.failing.answered(),
            Err(Failure::Failed(_, reason)) => format!(": {reason}"),
            Err(_) => format!(" within {} s", LIMIT.as_secs()),
        };
        if self.failing.failed() {
            log::repeated(&format!("dns: {self} does not answer{reason}"));
        }
    }

    async fn ask(&self, dial: &Arc<dyn Dialer>, question: &Question) -> Result<Reply, Failure> {
        let asking = async {
            match &self.upstream {
                Upstream::System => Ok(Reply::none(0)),
                Upstream::Udp(udp, tcp) => {
                    let mut first = pin!(udp.ask(dial, question));
                    let reply = match timeout(ASK_AGAIN, &mut first).await {
                        Ok(reply) => reply?,
                        Err(_) => tokio::select! {
                            reply = first => reply?,
                            reply = udp.ask(dial, question) => reply?,
                        },
                    };
                    match reply.truncated {
                        // What there was room for is better than nothing.
                        true => Ok(tcp.ask(dial, question).await.unwrap_or(reply)),
                        false => Ok(reply),
                    }
                }
                Upstream::Tcp(tcp) => tcp.ask(dial, question).await,
                Upstream::Https(https) => https.ask(dial, question).await,
            }
        };
        let begin = Instant::now();
        match timeout(LIMIT, asking).await {
            Ok(Ok(reply)) => {
                debug!(server = self.name, name = question.name, code = reply.code, ips = ?reply.ips, took = ?begin.elapsed(), "answered");
                Ok(reply)
            }
            Ok(Err(e)) => Err(Failure::Failed(question.name.clone(), e.to_string())),
            Err(_) => Err(Failure::Silent(question.name.clone())),
        }
    }

    async fn ask_system(&self, name: &str, families: Families) -> Result<Reply, Failure> {
        let failed = |text: String| Failure::Failed(name.to_owned(), text);
        match timeout(LIMIT, system::addresses(name)).await {
            Err(_) => Err(Failure::Silent(name.to_owned())),
            Ok(Err(e)) if system::is_passing(&e.to_string()) => Err(failed(e.to_string())),
            // No such name: the next server is not told of a name of this house.
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

/// `NXDOMAIN`.
pub(super) const NO_SUCH_NAME: u16 = 3;

impl Reply {
    /// Without addresses, for no time that anybody has named.
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
        // Where one family has addresses, what is wrong with the other one is of no interest.
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
        f.write_str(&self.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
