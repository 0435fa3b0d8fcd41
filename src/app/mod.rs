//! From a config to running sockets, and back.

mod listen;
mod serve;

use std::fmt;
use std::net::SocketAddr;
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
use crate::stats::Registry;

/// All inbounds, listening.
pub struct App {
    ports: Vec<(usize, SocketAddr)>,
    /// What never ends by itself: listeners and observers.
    listeners: Vec<AbortHandle>,
    stats: Arc<Registry>,
    alive: mpsc::Sender<()>,
    all_gone: mpsc::Receiver<()>,
}

/// Why the service did not start: the inbound, and what the system said.
#[derive(Debug, Error)]
#[error("{inbound}: cannot listen on {place}: {}", plain(.error))]
pub struct StartError {
    inbound: String,
    place: String,
    error: std::io::Error,
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
            ..
        } = config;
        let parts = Parts {
            outbounds,
            router,
            resolver,
            policy,
            count: stats,
        };
        let dispatcher = Dispatcher::new(parts, alive.downgrade());
        let mut ports = Vec::new();
        let mut bound = Vec::new();
        for (index, inbound) in inbounds.into_iter().enumerate() {
            let inbound = Arc::new(inbound);
            for place in listen::bind_all(&inbound)? {
                ports.extend(place.address().map(|address| (index, address)));
                bound.push((inbound.clone(), place));
            }
        }
        let stats = dispatcher.stats.clone();
        let mut listeners = Vec::new();
        for (inbound, place) in bound {
            let serving = serve::serve(inbound, place, dispatcher.clone());
            listeners.push(tokio::spawn(serving).abort_handle());
        }
        for observer in &observers {
            let observing = observatory::observe(observer, dispatcher.clone());
            listeners.push(tokio::spawn(observing).abort_handle());
        }
        warn!("mobula {} started", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            ports,
            listeners,
            stats,
            alive,
            all_gone,
        })
    }

    /// Where inbounds listen on IP: the inbound's index in the config, and the address.
    pub fn ports(&self) -> &[(usize, SocketAddr)] {
        &self.ports
    }

    /// All counters; there are none unless the config has `stats`.
    pub fn stats(&self) -> &Arc<Registry> {
        &self.stats
    }

    /// Stops accepting, and lets the tunnels finish for at most `grace`.
    pub async fn stop(mut self, grace: Duration) {
        for listener in &self.listeners {
            listener.abort();
        }
        drop(self.alive);
        // Nothing is ever sent: the channel ends when the last tunnel has dropped its end.
        let _ = timeout(grace, self.all_gone.recv()).await;
    }
}

impl StartError {
    fn new(inbound: &Inbound, place: impl fmt::Display, error: std::io::Error) -> Self {
        Self {
            inbound: inbound.path.clone(),
            place: place.to_string(),
            error,
        }
    }
}
