//! A link that came in, in which sessions are opened from here: the peer is their server.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use super::driver::Driver;
use super::outbound::{Refusing, UNUSED};
use super::packets::MuxPackets;
use super::stream::MuxStream;
use super::table::{Handle, Table};
use crate::address::Destination;
use crate::io::{Link, Packets};

/// The end of a link where sessions are opened.
pub struct Worker {
    table: Arc<Table>,
    /// The last number that a session was given.
    last: AtomicU16,
    opened: AtomicUsize,
}

impl Worker {
    /// The worker, and what carries its frames: ready when the link is over, with the reason. A link that is silent for
    /// `idle`, or has no session for a while, ends.
    pub fn new(link: Link, idle: Duration) -> (Self, impl Future<Output = io::Error> + Send) {
        let table = Arc::<Table>::default();
        let driver = Driver::new(link, table.clone(), Refusing, Some(UNUSED), idle);
        let worker = Self {
            table: table.clone(),
            last: AtomicU16::new(0),
            opened: AtomicUsize::new(0),
        };
        let carried = async move {
            driver.run().await;
            let error = table.lock().error();
            error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        (worker, carried)
    }

    /// A stream to `to`; `None` when the link is over or full.
    pub fn stream(&self, to: &Destination) -> Option<Link> {
        let handle = self.open(None)?;
        Some(Link::other(MuxStream::open(handle, to.clone())))
    }

    /// Datagrams to `to` alone; `None` when the link is over or full.
    pub fn packets(&self, to: &Destination) -> Option<Box<dyn Packets>> {
        let handle = self.open(Some(to.clone()))?;
        Some(Box::new(MuxPackets::open(handle, false, None)))
    }

    /// Sessions at the moment.
    pub fn sessions(&self) -> usize {
        self.table.lock().sessions()
    }

    /// Sessions since the beginning.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    pub fn is_over(&self) -> bool {
        self.table.lock().is_over()
    }

    /// As V2Ray numbers them, from 1, and after the last number from 1 again.
    fn open(&self, peer: Option<Destination>) -> Option<Handle> {
        for _ in 0..u16::MAX {
            let id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id == 0 {
                continue;
            }
            if let Some(handle) = self.table.open(id, peer.clone()) {
                self.opened.fetch_add(1, Ordering::Relaxed);
                return Some(handle);
            }
            if self.is_over() {
                break;
            }
        }
        None
    }
}
