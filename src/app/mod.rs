//! From a config to running sockets, and back.

mod build;
mod change;
mod inbounds;
mod listen;
mod memory;
mod outlets;
mod serve;
mod timer_tick;

pub use build::{ApiLinks, Inbound, outbound, settings_of};
pub use change::Changed;
pub use inbounds::{Counts, Inbounds};
pub use listen::listen_for_service;
pub use outlets::Outlets;

use build::Built;
use change::{Bridge, Observer, Publisher};
use listen::Spare;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::warn;

use crate::cause::system_words;
use crate::config::{self, Api, Config};
use crate::dispatch::Dispatcher;
use crate::io::Holder;
use crate::routing;
use crate::stats::Registry;
use crate::transport::{self, browser};

/// All inbounds, listening.
pub struct App {
    pub inbounds: Arc<Inbounds>,
    pub dispatcher: Arc<Dispatcher>,
    /// What the API serves, if the config has one; for whoever serves it.
    pub api: Option<(Api, ApiLinks)>,
    /// What is told a monitoring system, and the sessions that rules lead to it; for whoever serves it.
    pub metrics: Option<(config::Metrics, Option<ApiLinks>)>,
    /// What opens WebSockets in a browser, if something does.
    pub browser: Option<browser::Dialer>,
    /// Held by whoever adds or removes something: that a tag is free must still be true a moment later.
    pub changing: Arc<Mutex<()>>,
    /// What the next config is compared with, and apart from it the rules.
    config: Config,
    routing: routing::Settings,
    observers: Vec<Observer>,
    bridges: Vec<Bridge>,
    publishers: Vec<Publisher>,
    /// Whatever else goes on beside the sessions.
    beside: Vec<AbortHandle>,
    alive: mpsc::Sender<()>,
    all_gone: mpsc::Receiver<()>,
    /// Tunnels that outlive this tell their peers that the service goes away.
    _holder: Holder,
}

/// Why the service did not start: the part, and what the system said.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{inbound}: cannot listen on {place}: {}", system_words(.source))]
    Listen {
        inbound: String,
        place: String,
        source: std::io::Error,
    },
    /// Its settings make no transport.
    #[error("{part}: {source}")]
    Transport {
        part: String,
        source: transport::BuildError,
    },
}

impl App {
    /// Makes all that the settings describe run: binds everything, then begins to accept; when one place cannot be
    /// bound, nothing is.
    ///
    /// # Errors
    ///
    /// When a place cannot be listened on, or a certificate cannot be used.
    pub async fn build(mut config: Config) -> Result<Self, StartError> {
        let (alive, all_gone) = mpsc::channel(1);
        let (remembered, routing) = change::remembered(&config);
        config.state = config.state.or_else(build::system_state);
        let Built {
            parts,
            inbounds,
            observers,
            bridges,
            publish,
            api,
            metrics,
            browser,
        } = Built::new(config)?;
        let dispatcher = Dispatcher::new(parts, alive.downgrade());
        let running = Arc::new(Inbounds::new(dispatcher.clone()));
        let bound: Vec<_> = inbounds
            .into_iter()
            .map(|inbound| running.bind(inbound, &mut Spare::default()))
            .collect::<Result<_, _>>()?;
        let inbounds = running;
        let page = browser.clone().map(|browser| {
            let bound = browser.bind().map_err(|source| StartError::Listen {
                inbound: browser.name().to_owned(),
                place: browser.listen().to_string(),
                source,
            });
            bound.map(|bound| (browser, bound))
        });
        let page = page.transpose()?;
        for bound in bound {
            inbounds.start(bound);
        }
        let observers = observers.into_iter();
        let observers =
            observers.map(|(settings, table)| Observer::start(settings, table, &dispatcher));
        let observers = observers.collect();
        let bridges = bridges.into_iter();
        let bridges = bridges
            .map(|bridge| Bridge::start(bridge, &dispatcher))
            .collect();
        let publishers = publish.into_iter();
        let publishers = publishers.map(|settings| Publisher::start(settings, &dispatcher));
        let publishers = publishers.collect();
        let mut beside = vec![crate::io::spawn(memory::give_back()).abort_handle()];
        let page = page.map(|(browser, bound)| crate::io::spawn(browser.serve(bound)));
        beside.extend(page.map(|page| page.abort_handle()));
        dispatcher.warm_up();
        warn!("mobula {} started", env!("CARGO_PKG_VERSION"));
        inbounds.announce();
        if let Some(browser) = &browser {
            browser.announce();
        }
        Ok(Self {
            _holder: dispatcher.closing.holder(),
            inbounds,
            dispatcher,
            api,
            metrics,
            browser,
            changing: Arc::default(),
            config: remembered,
            routing,
            observers,
            bridges,
            publishers,
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
        let observers = self.observers.iter().map(|observer| &observer.task);
        let bridges = self.bridges.iter().map(|bridge| &bridge.task);
        let publishers = self.publishers.iter().map(|publisher| &publisher.task);
        let all = self.beside.iter().chain(observers).chain(bridges);
        for task in all.chain(publishers) {
            task.abort();
        }
        drop(self.alive);
        // Nothing is ever sent: the channel ends when the last tunnel has dropped its end.
        let _ = timeout(grace, self.all_gone.recv()).await;
    }
}
