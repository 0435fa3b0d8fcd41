//! An outbound that leads into this process: its sessions are handed to whoever serves the other end.
//!
//! V2Ray's API is such an outbound: rules lead an inbound to it, and what arrives speaks gRPC.

use std::io;

use tokio::io::duplex;
use tokio::sync::mpsc;

use crate::io::Link;

/// Links that wait to be served; more are refused.
const WAITING: usize = 64;

/// What fits into a link in each direction before the writer waits.
const BUFFERED: usize = 16 * 1024;

pub struct Outbound(mpsc::Sender<Link>);

impl Outbound {
    /// The outbound, and where its sessions come out.
    pub fn new() -> (Self, mpsc::Receiver<Link>) {
        let (links, out) = mpsc::channel(WAITING);
        (Self(links), out)
    }

    /// A session that somebody in this process serves.
    pub fn link(&self) -> io::Result<Link> {
        let (ours, theirs) = duplex(BUFFERED);
        self.0.try_send(Link::other(theirs)).map_err(|_| {
            io::Error::other("nobody serves this outbound, or too many wait for it")
        })?;
        Ok(Link::other(ours))
    }
}
