//! A back end that fronts of MiaoSpeed connect to.
//!
//! ```text
//! accept ─▶ TLS ─▶ door (HTTP: path, Origin) ─▶ connection (WebSocket) ─▶ task ─▶ nodes, so many at a time ─▶ scripts
//! ```
//!
//! Who has not shown a right signature is a guest: there are few of them, they have little time, and what they may have
//! this process keep for them is bounded for all of them together. A task lives in its connection and ends with it.

mod connection;
mod door;
mod ends;
mod guests;
mod scripts;
mod settings;
mod task;

pub use settings::Settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, watch};
use tracing::debug;

use super::lab::Lab;
use super::script;
use crate::config::Config;
use crate::transport::{tcp, tls};
use guests::Guests;

/// All that connections share.
struct Shared {
    settings: Settings,
    tls: Option<tls::Inbound>,
    lab: Lab,
    /// Nodes that are pinged at one time.
    places: Semaphore,
    /// One node at a time has the line of this machine to itself.
    line: Semaphore,
    /// What runs scripts.
    scripts: script::Runner,
    /// Nodes that wait, of all tasks.
    queuing: AtomicUsize,
    guests: Arc<Guests>,
    /// Those whom `--allow` keeps out, for as long as it takes to tell them.
    outsiders: Arc<Guests>,
    /// A request of a guest is read when no other one is.
    reading: Mutex<()>,
    stopping: watch::Receiver<bool>,
    tell: Box<dyn Fn(String) + Send + Sync>,
}

/// A back end that listens.
pub struct Backend {
    listener: tcp::Listener,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl Backend {
    /// Listens. `tell` gets a line for each task.
    ///
    /// # Errors
    ///
    /// When it cannot be listened there, or the certificate cannot be used.
    pub async fn bind(
        settings: Settings,
        tell: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let tls = settings.tls.as_ref().map(tls::Inbound::new).transpose();
        let tls = tls.map_err(|e| e.to_string())?;
        let lab = Lab::new(Config::default()).await?;
        let listener = settings.listen.bind().map_err(|e| {
            let why = crate::cause::system_words(&e);
            format!("cannot listen on {}: {why}", settings.listen)
        })?;
        let (stop, stopping) = watch::channel(false);
        let shared = Shared {
            places: Semaphore::new(settings.concurrency),
            scripts: script::Runner::new(settings.program.clone()),
            settings,
            tls,
            lab,
            line: Semaphore::new(1),
            queuing: AtomicUsize::new(0),
            guests: Arc::default(),
            outsiders: Arc::default(),
            reading: Mutex::new(()),
            stopping,
            tell: Box::new(tell),
        };
        Ok(Self {
            listener,
            shared: Arc::new(shared),
            stop,
        })
    }

    /// Where it listens, with the port that the system chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` is over; fronts are told that this goes away then.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let Self {
            listener,
            shared,
            stop,
        } = self;
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok(arrival) => {
                        crate::io::spawn(door::receive(shared.clone(), arrival));
                    }
                    Err(e) => {
                        debug!("cannot accept a connection: {e}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = end => {}
        }
        let _ = stop.send(true);
        // They have a moment to say goodbye; each holds what is shared.
        drop(shared);
        let _ = tokio::time::timeout(GOODBYE, stop.closed()).await;
    }
}

/// How long fronts may take to hear that this goes away.
const GOODBYE: Duration = Duration::from_millis(500);

/// So that a caller can tell why it does not listen.
impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// What an error of a connection is told as.
fn debug_ended(from: crate::session::Source, why: &dyn std::fmt::Display) {
    debug!(%from, "a front's connection ended: {why}");
}

/// A front that does not read is one that has gone.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
