//! A config's ways out without its doors: for the pages that it has to have before it can run.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::StartError;
use super::build::Built;
use crate::address::Destination;
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::io::{Holder, Link};
use crate::reverse;

/// The outbounds of a config, and the rules that lead to them. Nothing comes in, nothing is kept on disk.
pub struct Outlets {
    dispatcher: Arc<Dispatcher>,
    _alive: mpsc::Sender<()>,
    /// Connections that are shared end with it.
    _holder: Holder,
}

impl Outlets {
    /// # Errors
    ///
    /// When an outbound cannot be made, for its certificates say.
    pub fn new(config: Config) -> Result<Self, StartError> {
        let config = Config {
            inbounds: Vec::new(),
            reverse: reverse::Settings::default(),
            api: None,
            metrics: None,
            browser: None,
            state: None,
            ..config
        };
        let (alive, _) = mpsc::channel(1);
        let built = Built::new(config)?;
        let dispatcher = Dispatcher::new(built.parts, alive.downgrade());
        Ok(Self {
            _holder: dispatcher.closing.holder(),
            dispatcher,
            _alive: alive,
        })
    }

    /// A stream to `to`, as a session of the inbound tagged `inbound` would go.
    ///
    /// # Errors
    ///
    /// As the outbound has it.
    pub async fn open(&self, inbound: &str, to: &Destination) -> io::Result<Link> {
        self.dispatcher.open_for_page(inbound, to).await
    }
}
