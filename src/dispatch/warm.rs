//! Does what happens once in a process before anybody waits for it.
//!
//! The system's certificate authorities take some milliseconds to read, and the C library loads what it needs
//! to resolve names when it is first asked for one. A client that was just started has its first user within
//! the second; one with two slow cores would let them wait.

use std::net::ToSocketAddrs;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Dispatcher, roads};

impl Dispatcher {
    /// Begins with it, on a thread of its own; what was done already is not done again.
    pub fn warm_up(self: &Arc<Self>) {
        let dispatcher = self.clone();
        spawn_blocking(move || {
            for outbound in dispatcher.outbounds.all() {
                outbound.transport.warm_up();
            }
            if dispatcher.resolver.asks_by_https() {
                roads::warm_up();
            }
            // It stands in /etc/hosts, so nobody is asked; whether it is found does not matter.
            let _ = ("localhost", 0).to_socket_addrs();
        });
    }
}
