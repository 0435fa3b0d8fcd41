//! Does what happens once in a process before anybody waits for it.
//!
//! The system's certificate authorities take some milliseconds to read. A client that was just started has its
//! first user within the second; one with two slow cores would let them wait. All else that a first tunnel has to
//! do for the first time takes less than half a millisecond (the ciphers' tables, the thread that resolves names).

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Dispatcher, dialer};

impl Dispatcher {
    /// Begins with it, on a thread of its own; what was done already is not done again.
    pub fn warm_up(self: &Arc<Self>) {
        let mut outbounds = self.outbounds.all();
        outbounds.retain(|outbound| outbound.transport.is_cold());
        let by_https = self.resolver.read().asks_by_https();
        if outbounds.is_empty() && !by_https {
            // A thread would be started, and memory taken, for nothing.
            return;
        }
        spawn_blocking(move || {
            for outbound in outbounds {
                outbound.transport.warm_up();
            }
            if by_https {
                dialer::warm_up();
            }
        });
    }
}
