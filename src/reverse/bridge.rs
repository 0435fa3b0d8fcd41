//! The bridge: connects to its portal and stays connected; what the portal sends in comes out here.

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::codec::{self, State};
use super::settings::BridgeSettings;
use crate::cause::{ReverseError, code_of};
use crate::io::{Link, Packet, Packets};
use crate::log::{self, NOTICE};
use crate::mux::{self, Served, Watch};
use crate::seam::Accepted;

/// How often it is looked whether there are enough connections; V2Ray's number.
const LOOK: Duration = Duration::from_secs(2);

/// Sessions of a connection, on average, with which there are enough; V2Ray's number.
const ENOUGH: usize = 16;

/// Connections that take sessions at the same time. V2Ray has no bound; a portal that keeps opening sessions must not have
/// any number of them.
const MAX_WORKERS: usize = 64;

/// Between two attempts: V2Ray always waits this long, here each failure doubles it.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How long a connection may take to come about.
const DIAL_LIMIT: Duration = Duration::from_secs(60);

/// A portal speaks every two seconds. One that has not for so long is gone, though nobody has said so.
const SILENCE: Duration = Duration::from_secs(30);

/// A link to the portal, and how long it may be silent.
pub type DialFuture = Pin<Box<dyn Future<Output = Result<(Link, Duration), NoWay>> + Send>>;

/// Where a bridge stands: what makes its connections, and carries what comes out of them.
pub trait BridgeHost: Send + Sync {
    fn dial(&self, bridge: &BridgeSettings) -> DialFuture;

    /// Carries sessions as those of an inbound; ready when there will be no more.
    fn carry(
        &self,
        bridge: &BridgeSettings,
        sessions: mpsc::Receiver<Accepted>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Why there is no link to the portal.
#[derive(Debug)]
pub struct NoWay {
    /// What messages call the outbound that was to dial.
    pub outbound: Option<String>,
    pub error: io::Error,
}

/// Keeps a bridge connected until the future is dropped.
pub async fn run_bridge(bridge: BridgeSettings, host: Arc<dyn BridgeHost>) {
    let bridge = Arc::new(bridge);
    let (ending, mut ends) = mpsc::channel(MAX_WORKERS);
    let mut workers: Vec<Arc<Worker>> = Vec::new();
    let (mut pause, mut due) = (PAUSE, Instant::now());
    let mut was_lost = true;
    loop {
        workers.retain(|worker| worker.takes_sessions());
        let now = Instant::now();
        if due <= now && needs_one_more(&workers) {
            due = now + PAUSE;
            let worker = Arc::new(Worker::default());
            workers.push(worker.clone());
            let (bridge, host, ending) = (bridge.clone(), host.clone(), ending.clone());
            crate::io::spawn(async move {
                let end = worker.run(&bridge, &*host, &ending).await;
                // Nobody may be interested any more: the service stops.
                let _ = ending.send(end).await;
            });
        }
        let look = match due > now {
            true => due.min(now + LOOK),
            false => now + LOOK,
        };
        let event = select! {
            () = sleep_until(look) => continue,
            Some(event) = ends.recv() => event,
        };
        let tag = &bridge.tag;
        match event {
            Event::Connected => {
                pause = PAUSE;
                match std::mem::take(&mut was_lost) {
                    true => {
                        info!(target: NOTICE, "bridge `{tag}` is connected to the portal of {}", bridge.domain)
                    }
                    false => info!("bridge `{tag}` has one more connection"),
                }
            }
            Event::Drained => debug!("a connection of bridge `{tag}` has had its sessions"),
            Event::Lost(why) => {
                was_lost |= workers.iter().all(|worker| !worker.is_connected());
                warn(&bridge, "has lost a connection to its portal", &why);
            }
            Event::Failed(why) => {
                due = Instant::now() + pause;
                let next = format!("is not connected, and tries again in {} s", pause.as_secs());
                warn(&bridge, &next, &why);
                pause = MAX_PAUSE.min(pause * 2);
            }
        }
    }
}

fn needs_one_more(workers: &[Arc<Worker>]) -> bool {
    let sessions: usize = workers.iter().map(|worker| worker.sessions()).sum();
    match workers.len() {
        0 => true,
        MAX_WORKERS.. => false,
        n => sessions / n > ENOUGH,
    }
}

fn warn(bridge: &BridgeSettings, what: &str, why: &NoWay) {
    let name = format!("bridge `{}`", bridge.tag);
    let text = format!("{name} {what}: {why}");
    let code = code_of(&why.error);
    log::repeated_cause(&name, &text, code.as_deref());
}

/// What has become of a connection.
enum Event {
    /// The portal speaks.
    Connected,
    /// It had its time.
    Drained,
    /// It is gone.
    Lost(NoWay),
    /// It did not come about.
    Failed(NoWay),
}

/// A connection to the portal.
#[derive(Default)]
struct Worker {
    /// Once there is a link.
    watch: OnceLock<Watch>,
    /// The portal has spoken.
    connected: AtomicBool,
    /// The portal takes it for no more sessions.
    draining: AtomicBool,
    ended: AtomicBool,
}

impl Worker {
    fn sessions(&self) -> usize {
        self.watch.get().map_or(0, Watch::sessions)
    }

    /// One that is not there yet is waited for.
    fn takes_sessions(&self) -> bool {
        let is_over = self
            .watch
            .get()
            .is_some_and(|watch| watch.error().is_some());
        !is_over && !self.is(&self.draining) && !self.is(&self.ended)
    }

    fn is_connected(&self) -> bool {
        self.is(&self.connected) && self.takes_sessions()
    }

    fn is(&self, flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    /// Dials, and serves the link until it ends.
    async fn run(
        &self,
        bridge: &BridgeSettings,
        host: &dyn BridgeHost,
        events: &mpsc::Sender<Event>,
    ) -> Event {
        let end = match self.dial(bridge, host).await {
            Ok((link, idle)) => self.serve(link, idle, bridge, host, events).await,
            Err(why) => Event::Failed(why),
        };
        self.ended.store(true, Ordering::Relaxed);
        end
    }

    async fn dial(
        &self,
        bridge: &BridgeSettings,
        host: &dyn BridgeHost,
    ) -> Result<(Link, Duration), NoWay> {
        let dialling = async {
            let (mut link, idle) = host.dial(bridge).await?;
            // The portal is the one to speak first, so the request must not wait for a word of ours.
            link.flush().await?;
            Ok((link, idle))
        };
        timeout(DIAL_LIMIT, dialling).await.unwrap_or_else(|_| {
            let text = format!("no connection within {} s", DIAL_LIMIT.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
        })
    }

    async fn serve(
        &self,
        link: Link,
        idle: Duration,
        bridge: &BridgeSettings,
        host: &dyn BridgeHost,
        events: &mpsc::Sender<Event>,
    ) -> Event {
        let Served {
            sessions,
            apart,
            watch,
        } = mux::Inbound::default().serve(link, idle, codec::is_meant);
        let watch = self.watch.get_or_init(|| watch);
        let mut carrying = host.carry(bridge, sessions);
        let given_up = select! {
            () = &mut carrying => None,
            error = self.heed(apart, watch, bridge, events) => Some(error),
        };
        if let Some(error) = given_up {
            watch.end(&error.to_string());
            carrying.await;
            return self.ended_by(error.into());
        }
        let ended = watch.error().unwrap_or_else(gone);
        if !self.is(&self.connected) {
            let (domain, ended) = (bridge.domain.clone(), ended.to_string());
            return self.ended_by(ReverseError::Unanswered { domain, ended }.into());
        }
        self.ended_by(ended)
    }

    fn ended_by(&self, error: io::Error) -> Event {
        if self.is(&self.draining) {
            return Event::Drained;
        }
        match self.is(&self.connected) {
            true => Event::Lost(error.into()),
            false => Event::Failed(error.into()),
        }
    }

    /// Listens to what the portal says of the link; ready when it should have said something.
    async fn heed(
        &self,
        mut apart: mpsc::Receiver<Box<dyn Packets>>,
        watch: &Watch,
        bridge: &BridgeSettings,
        events: &mpsc::Sender<Event>,
    ) -> ReverseError {
        let mut control = match timeout(SILENCE, apart.recv()).await {
            Ok(Some(control)) => control,
            // The link is over.
            Ok(None) => return pending().await,
            // A portal that says nothing of the link, and uses it.
            Err(_) if watch.silent_for().is_some() => {
                self.connect(events).await;
                return pending().await;
            }
            Err(_) => {
                return ReverseError::Mute {
                    domain: bridge.domain.clone(),
                    after: SILENCE,
                };
            }
        };
        self.connect(events).await;
        loop {
            match timeout(LOOK, poll_fn(|cx| control.poll_recv(cx))).await {
                Ok(Ok(Some(packet))) => self.hear(&packet),
                Ok(Ok(None) | Err(_)) => match apart.recv().await {
                    Some(next) => control = next,
                    None => return pending().await,
                },
                Err(_) => {
                    let silent = watch.silent_for().is_some_and(|silent| silent > SILENCE);
                    if silent && !self.is(&self.draining) {
                        return ReverseError::Silent { after: SILENCE };
                    }
                }
            }
        }
    }

    async fn connect(&self, events: &mpsc::Sender<Event>) {
        self.connected.store(true, Ordering::Relaxed);
        let _ = events.send(Event::Connected).await;
    }

    fn hear(&self, packet: &Packet) {
        match codec::decode(&packet.data) {
            Ok(state) => self
                .draining
                .store(state == State::Drain, Ordering::Relaxed),
            Err(e) => debug!("what the portal says of the link cannot be read: {e}"),
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl From<io::Error> for NoWay {
    fn from(error: io::Error) -> Self {
        Self {
            outbound: None,
            error,
        }
    }
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outbound) = &self.outbound {
            write!(f, "{outbound}: ")?;
        }
        self.error.fmt(f)
    }
}
