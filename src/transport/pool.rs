//! Connections of a client that carry many links each.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Opened;
use crate::address::Destination;
use crate::cause::SharedError;
use crate::io::Link;
use crate::policy::Limits;

/// A connection to a server, on which links are opened.
pub(super) trait Connection {
    /// One more link; `None` when this connection takes no more, or is over.
    fn open(&self) -> Option<Link>;
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
        connect: impl Future<Output = io::Result<(C, Option<Limits>)>>,
    ) -> io::Result<Opened> {
        let server = self.server(server);
        if let Some(opened) = server.reuse() {
            return Ok(opened);
        }
        let before = lock(&server.failed).0;
        let _turn = server.connecting.lock().await;
        if let Some(opened) = server.reuse() {
            return Ok(opened);
        }
        if let (failures, Some(error)) = &*lock(&server.failed)
            && *failures > before
        {
            return Err(SharedError::of(error));
        }
        match connect.await {
            Ok((connection, limits)) => {
                let link = connection.open();
                let link =
                    link.ok_or_else(|| io::Error::other("the server takes no link at all"))?;
                lock(&server.made).push((connection, limits));
                Ok((link, limits))
            }
            Err(error) => {
                let error = Arc::new(error);
                let mut failed = lock(&server.failed);
                *failed = (failed.0 + 1, Some(error.clone()));
                Err(SharedError::of(&error))
            }
        }
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
