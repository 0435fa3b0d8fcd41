//! A whole service inside another program.
//!
//! A [`Server`] has threads of its own. Everything that it does is done there, and ends with it: tunnels, questions for
//! names, probes, the API. Two servers in one process know nothing of each other, but for what belongs to the process:
//!
//! * the log: lines are [`tracing`] events under the target `mobula`, each in the span of its connection and session.
//!   Whoever installs a subscriber has them; [`log::start`](crate::log::start) installs the one that writes V2Ray's
//!   files, once for a process;
//! * the limit of open files, and with it whose unfinished handshakes give way when it is near;
//! * the threads that ask the system for names, and whose turn it is there;
//! * where the process itself listens: a proxy does not lead its users to the API of another server here.

#![warn(missing_docs)]

mod threads;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Runtime;

use crate::api;
use crate::app::{self, App};
use crate::config::Config;
use crate::dialect::v2ray::{self, Format, Input};
use crate::exporter;
use crate::report::{Message, Problem};

pub(crate) use threads::Threads;

/// A running service; it ends when it is dropped.
///
/// ```
/// use std::time::Duration;
///
/// let config = r#"{
///     "inbounds": [{"listen": "127.0.0.1", "port": 0, "protocol": "socks"}],
///     "outbounds": [{"protocol": "freedom"}]
/// }"#;
/// let server = mobula::Server::from_json(config)?;
/// let (inbound, address) = server.addresses()[0];
/// assert_eq!(inbound, 0);
/// std::net::TcpStream::connect(address)?;
/// server.blocking_stop(Duration::from_secs(1));
/// assert!(std::net::TcpStream::connect(address).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    app: Option<App>,
    api: Option<api::Running>,
    threads: Option<Threads>,
}

/// Why a service did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// All that is wrong with a config, in the order in which it stands there.
    #[error("{}", lines(.0))]
    Config(Vec<Message>),
    /// All that contradicts itself in a config that was written by hand.
    #[error("{}", lines(.0))]
    Contradictions(Vec<Problem>),
    /// Nothing is listened on then.
    #[error(transparent)]
    App(#[from] app::StartError),
    /// The address of the API cannot be listened on.
    #[error("api: {0}")]
    Api(#[source] io::Error),
    /// The address of the metrics cannot be listened on.
    #[error("metrics: {0}")]
    Metrics(#[source] io::Error),
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
}

impl Server {
    /// Makes `config` run, on as many threads as there are processors. When it returns, everything is listened on.
    ///
    /// # Errors
    ///
    /// When the config contradicts itself, a place cannot be listened on, or a certificate cannot be used.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(StartError::Contradictions(mistakes));
        }
        Self::start_with(Threads::start().map_err(StartError::Threads)?, config)
    }

    /// As [`Server::start`], with a text as `config.json` has it. What is only a warning is said to the log.
    ///
    /// # Errors
    ///
    /// When there is something wrong with the text, and as [`Server::start`].
    pub fn from_json(text: &str) -> Result<Self, StartError> {
        let input = Input::Text {
            name: "config".to_owned(),
            text: text.to_owned(),
        };
        let loaded = v2ray::load(&[input], Format::default());
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let config = loaded.config.ok_or(StartError::Config(loaded.errors))?;
        Self::start_with(Threads::start().map_err(StartError::Threads)?, config)
    }

    /// Makes `config` run on the threads of `runtime`, which becomes the server's own; its clock and its I/O must be
    /// enabled. Whoever has written the config by hand looks at [`Config::mistakes`] first.
    ///
    /// # Errors
    ///
    /// When a place cannot be listened on, or a certificate cannot be used.
    pub fn start_on(runtime: Runtime, config: Config) -> Result<Self, StartError> {
        Self::start_with(runtime.into(), config)
    }

    pub(crate) fn start_with(threads: Threads, config: Config) -> Result<Self, StartError> {
        let started = threads.handle().spawn(start(config));
        // The caller may be on a thread of another runtime, which must not be blocked by means of this one.
        let (sender, receiver) = std::sync::mpsc::channel();
        threads.handle().spawn(async move {
            let app = started.await.expect("starting does not panic");
            let _ = sender.send(app);
        });
        let started = receiver.recv().expect("the runtime runs");
        let (app, api) = started?;
        Ok(Self {
            app: Some(app),
            api,
            threads: Some(threads),
        })
    }

    /// Where inbounds listen on IP: the inbound's index in the config, and the address. A port 0 of the config is the one
    /// that the system chose.
    pub fn addresses(&self) -> Vec<(usize, SocketAddr)> {
        self.app.as_ref().map(App::ports).unwrap_or_default()
    }

    /// The value of one of V2Ray's counters, such as `inbound>>>TAG>>>traffic>>>uplink`; `None` when nothing is counted
    /// under this name.
    pub fn counter(&self, name: &str) -> Option<i64> {
        let app = self.app.as_ref()?;
        app.stats().get(name).map(|counter| counter.get())
    }

    /// Makes another config run in the place of this one; to be waited for on the server's own threads. What it does to
    /// what runs is said at [`App::change`].
    pub(crate) async fn change(&mut self, mut config: Config) -> Result<app::Changed, StartError> {
        let Some(app) = &mut self.app else {
            return Ok(app::Changed::default());
        };
        let settings = config.api.take();
        let change = api::prepare(settings.clone(), self.api.as_ref()).map_err(StartError::Api)?;
        config.api = settings.clone();
        let mut changed = app.change(config).await?;
        let links = changed.api.take();
        match (&mut self.api, settings, links) {
            (Some(api), _, links) => api.change(change, links),
            (None, Some(settings), Some(links)) => {
                drop(change);
                self.api = Some(api::start(settings, links, app).map_err(StartError::Api)?);
            }
            (None, ..) => {}
        }
        Ok(changed)
    }

    /// Stops accepting, and lets the tunnels finish for at most `grace`; whatever still runs then is cut off. It may be
    /// waited for on any runtime.
    pub async fn stop(mut self, grace: Duration) {
        self.drain(grace).await;
    }

    /// As [`Server::stop`], for programs that are not asynchronous.
    ///
    /// # Panics
    ///
    /// When it is called from asynchronous code, which must not block.
    pub fn blocking_stop(mut self, grace: Duration) {
        if let (Some(threads), Some(app)) = (&self.threads, self.app.take()) {
            if let Some(api) = self.api.take() {
                api.stop();
            }
            threads.handle().block_on(app.stop(grace));
        }
        self.cut_off();
    }

    /// Stops accepting, and waits for the tunnels that there are.
    pub(crate) async fn drain(&mut self, grace: Duration) {
        if let Some(api) = self.api.take() {
            api.stop();
        }
        if let (Some(threads), Some(app)) = (&self.threads, self.app.take()) {
            // A panic would be the end, too.
            let _ = threads.handle().spawn(app.stop(grace)).await;
        }
    }

    /// Ends what still runs, and waits a little: what is dropped may tell its peer.
    pub(crate) fn cut_off(mut self) {
        drop(self.app.take());
        if let Some(threads) = self.threads.take() {
            threads.shutdown_timeout(DROP_LIMIT);
        }
    }
}

async fn start(config: Config) -> Result<(App, Option<api::Running>), StartError> {
    let mut app = App::build(config).await?;
    let api = app.api.take();
    let api = api.map(|(settings, links)| api::start(settings, links, &app));
    let api = api.transpose().map_err(StartError::Api)?;
    if let Some((settings, links)) = app.metrics.take() {
        exporter::start(settings, links, &app).map_err(StartError::Metrics)?;
    }
    Ok((app, api))
}

impl Drop for Server {
    fn drop(&mut self) {
        // It tells the tunnels why they end.
        drop(self.app.take());
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// How long dropping what still runs may take: a thread may wait for the system's resolver.
const DROP_LIMIT: Duration = Duration::from_millis(500);

fn lines(messages: &[impl ToString]) -> String {
    let lines: Vec<String> = messages.iter().map(|line| line.to_string()).collect();
    lines.join("\n")
}
