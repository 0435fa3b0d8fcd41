//! Connections of a client that carry many links each.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::Opened;
use crate::address::Destination;
use crate::cause::SharedError;
use crate::io::Link;
use crate::policy::Limits;

/// A connection to a server, on which links are opened.
pub(super) trait Connection {
    /// One more link; `None` when this connection takes no more, or is over.
    fn open(&self) -> Option<Link>;

    /// By what it is over, where that is known.
    fn fault(&self) -> Option<io::Error> {
        None
    }
}

/// The connections of an outbound, by server. Those that take no more are forgotten; their links end them.
#[derive(Debug)]
pub(super) struct Pool<C>(Mutex<HashMap<Destination, Arc<Server<C>>>>);

#[derive(Debug)]
struct Server<C> {
    made: Mutex<Vec<(C, Option<Limits>)>>,
    /// Held by whoever connects, so that those who come at a time make one connection.
    connecting: tokio::sync::Mutex<()>,
    /// How many attempts have failed, and how the last one did.
    failed: Mutex<(u64, Option<Arc<io::Error>>)>,
}

tokio::task_local! {
    /// Those who are about to connect on this way, each by way of the next one: whom they wait for must not wait for them.
    static CONNECTING: Vec<usize>;
}

/// How long somebody on whom others wait waits for the connection that is made meanwhile: two ways may go round in a circle
/// by each other.
const PATIENCE: Duration = Duration::from_secs(20);

/// What another task does for a connection is on the same way.
pub fn on_this_way<F: Future>(future: F) -> impl Future<Output = F::Output> {
    CONNECTING.scope(way(), future)
}

fn way() -> Vec<usize> {
    CONNECTING.try_with(Vec::clone).unwrap_or_default()
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C: Connection> Pool<C> {
    /// A link on a connection to `server` that is there, or on the one that `connect` makes. Those who have waited for
    /// an attempt in vain do not make their own one after another.
    pub(super) async fn open(
        &self,
        server: &Destination,
        connect: impl AsyncFnOnce() -> io::Result<(C, Option<Limits>)>,
    ) -> io::Result<Opened> {
        let server = self.server(server);
        if let Some(opened) = server.reuse() {
            return Ok(opened);
        }
        // Most find one that is there, so the future of those who do not has an allocation of its own.
        Box::pin(server.connect(connect)).await
    }

    fn server(&self, to: &Destination) -> Arc<Server<C>> {
        let mut servers = lock(&self.0);
        match servers.get(to) {
            Some(server) => server.clone(),
            None => servers.entry(to.clone()).or_default().clone(),
        }
    }
}

impl<C> Default for Server<C> {
    fn default() -> Self {
        Self {
            made: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        }
    }
}

impl<C: Connection> Server<C> {
    /// A link on the connection that `connect` makes, or on the one that somebody else has made meanwhile.
    async fn connect(
        &self,
        connect: impl AsyncFnOnce() -> io::Result<(C, Option<Limits>)>,
    ) -> io::Result<Opened> {
        let before = lock(&self.failed).0;
        let (mut way, own) = (way(), std::ptr::from_ref(self).addr());
        if way.contains(&own) {
            let text = "the connection goes through the one that it is for, round in a circle of outbounds";
            return Err(io::Error::other(text));
        }
        let turn = self.connecting.lock();
        let _turn = match way.is_empty() {
            true => turn.await,
            false => timeout(PATIENCE, turn).await.map_err(|_| {
                let text = "a connection that this one is to share is not there in time";
                io::Error::new(io::ErrorKind::TimedOut, text)
            })?,
        };
        if let Some(opened) = self.reuse() {
            return Ok(opened);
        }
        if let (failures, Some(error)) = &*lock(&self.failed)
            && *failures > before
        {
            return Err(SharedError::of(error));
        }
        way.push(own);
        match CONNECTING.scope(way, connect()).await {
            Ok((connection, limits)) => {
                let link = connection.open();
                let link = link.ok_or_else(|| {
                    let none = || io::Error::other("the server takes no link at all");
                    connection.fault().unwrap_or_else(none)
                })?;
                lock(&self.made).push((connection, limits));
                Ok((link, limits))
            }
            Err(error) => {
                let error = Arc::new(error);
                let mut failed = lock(&self.failed);
                *failed = (failed.0 + 1, Some(error.clone()));
                Err(SharedError::of(&error))
            }
        }
    }

    fn reuse(&self) -> Option<Opened> {
        let mut opened = None;
        lock(&self.made).retain(|(connection, limits)| {
            if opened.is_some() {
                return true;
            }
            let link = connection.open();
            let is_open = link.is_some();
            opened = link.map(|link| (link, *limits));
            is_open
        });
        opened
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
