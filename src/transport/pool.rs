//! Connections of a client that carry many links each.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::Opened;
use crate::io::Link;
use crate::policy::Limits;

/// A connection to a server, on which links are opened.
pub(super) trait Connection {
    /// One more link; `None` when this connection takes no more, or is over.
    fn open(&self) -> Option<Link>;
}

/// The connections of an outbound. Those that take no more are forgotten; their links end them.
#[derive(Debug)]
pub(super) struct Pool<C> {
    made: Mutex<Vec<(C, Option<Limits>)>>,
    /// Held by whoever connects, so that two who come at a time make one connection.
    connecting: tokio::sync::Mutex<()>,
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self {
            made: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }
}

impl<C: Connection> Pool<C> {
    /// A link on a connection that is there, or on the one that `connect` makes.
    pub(super) async fn open(
        &self,
        connect: impl Future<Output = io::Result<(C, Option<Limits>)>>,
    ) -> io::Result<Opened> {
        if let Some(opened) = self.reuse() {
            return Ok(opened);
        }
        let _turn = self.connecting.lock().await;
        if let Some(opened) = self.reuse() {
            return Ok(opened);
        }
        let (connection, limits) = connect.await?;
        let link = connection.open();
        let link = link.ok_or_else(|| io::Error::other("the server takes no link at all"))?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.push((connection, limits));
        Ok((link, limits))
    }

    fn reuse(&self) -> Option<Opened> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = None;
        made.retain(|(connection, limits)| {
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
