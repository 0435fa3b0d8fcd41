//! Inbounds to which connections are handed over that come by other ways than a socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::seam::Arrival;

/// By the tags of inbounds.
#[derive(Default)]
pub struct Doors(Mutex<HashMap<Arc<str>, mpsc::WeakSender<Arrival>>>);

impl Doors {
    /// From now on it is this one.
    pub fn open(&self, tag: Arc<str>, door: &mpsc::Sender<Arrival>) {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|_, door| door.strong_count() > 0);
        doors.insert(tag, door.downgrade());
    }

    /// Hands a connection to the inbound of this tag; gives it back where there is none.
    pub(super) async fn hand(&self, tag: &str, arrival: Arrival) -> Option<Arrival> {
        let door = {
            let doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            doors.get(tag).and_then(mpsc::WeakSender::upgrade)
        };
        match door {
            Some(door) => door.send(arrival).await.err().map(|refused| refused.0),
            None => Some(arrival),
        }
    }
}
