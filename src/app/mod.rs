//! From a config to running sockets, and back.

mod inbounds;
mod listen;
mod memory;
mod serve;
mod timer_tick;

pub use inbounds::Inbounds;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::warn;

use crate::config::{Config, Inbound, plain};
use crate::dispatch::{Dispatcher, Parts};
use crate::observatory;
use crate::protocol::vmess::ReplayMemory;
use crate::stats::Registry;

/// All inbounds, listening.
pub struct App {
    pub inbounds: Arc<Inbounds>,
    pub dispatcher: Arc<Dispatcher>,
    /// Observers, and whatever else goes on beside the sessions.
    beside: Vec<AbortHandle>,
    alive: mpsc::Sender<()>,
    all_gone: mpsc::Receiver<()>,
}

/// Why the service did not start: the inbound, and what the system said.
#[derive(Debug, Error)]
#[error("{inbound}: cannot listen on {place}: {}", plain(.source))]
pub struct StartError {
    inbound: String,
    place: String,
    source: std::io::Error,
}

impl App {
    /// Binds everything, then begins to accept; when one place cannot be bound, nothing is.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (alive, all_gone) = mpsc::channel(1);
        let Config {
            inbounds,
            outbounds,
            router,
            observers,
            resolver,
            policy,
            stats,
            state,
            ..
        } = config;
        let state = state.or_else(system_state);
        let replays = ReplayMemory::open(state.as_deref());
        let parts = Parts {
            outbounds,
            router,
            resolver,
            policy,
            count: stats,
            replays,
        };
        let dispatcher = Dispatcher::new(parts, alive.downgrade());
        let running = Arc::new(Inbounds::new(dispatcher.clone()));
        let bound: Vec<_> = inbounds
            .into_iter()
            .map(|inbound| running.bind(inbound))
            .collect::<Result<_, _>>()?;
        let inbounds = running;
        for bound in bound {
            inbounds.start(bound);
        }
        let observe = |observer| {
            let observing = observatory::observe(observer, dispatcher.clone());
            tokio::spawn(observing).abort_handle()
        };
        let mut beside: Vec<_> = observers.iter().map(observe).collect();
        beside.push(tokio::spawn(memory::give_back()).abort_handle());
        dispatcher.warm_up();
        warn!("mobula {} started", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            inbounds,
            dispatcher,
            beside,
            alive,
            all_gone,
        })
    }

    /// Where inbounds listen on IP: the inbound's index in the config, and the address.
    pub fn ports(&self) -> Vec<(usize, SocketAddr)> {
        self.inbounds.ports()
    }

    /// All counters; there are none unless the config has `stats`.
    pub fn stats(&self) -> &Arc<Registry> {
        &self.dispatcher.stats
    }

    /// Stops accepting, and lets the tunnels finish for at most `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.inbounds.stop();
        for task in &self.beside {
            task.abort();
        }
        drop(self.alive);
        // Nothing is ever sent: the channel ends when the last tunnel has dropped its end.
        let _ = timeout(grace, self.all_gone.recv()).await;
    }
}

/// The folder that the system's service manager has made for us: systemd's `StateDirectory=`, which may name several.
fn system_state() -> Option<PathBuf> {
    let folders = std::env::var_os("STATE_DIRECTORY")?;
    std::env::split_paths(&folders).find(|folder| !folder.as_os_str().is_empty())
}

impl StartError {
    fn new(inbound: &Inbound, place: impl fmt::Display, error: std::io::Error) -> Self {
        Self {
            inbound: inbound.path.clone(),
            place: place.to_string(),
            source: error,
        }
    }
}
