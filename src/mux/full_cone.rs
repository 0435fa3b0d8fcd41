//! XUDP associations that outlive their connection.
//!
//! A client names a UDP association by a global id. When it comes back with the same id, over another
//! connection or in another session, the association (and with it the UDP socket, whose address peers
//! know) goes on there; the session that had it is ended. A user's ids are the user's own.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::codec::GlobalId;
use super::packets::MuxPackets;
use crate::io::{Packet, Packets};
use crate::session::Owner;

/// How long an association waits for its client to come back; Xray's number.
const WAIT: Duration = Duration::from_secs(60);

/// A user, and an id that the client chose.
type Key = (Owner, GlobalId);

/// All associations of an inbound that have a global id.
#[derive(Default)]
pub(super) struct Cones {
    places: Mutex<HashMap<Key, Weak<Place>>>,
}

/// Where the datagrams of an association go in and out.
#[derive(Default)]
struct Place {
    session: Mutex<(Option<MuxPackets>, Option<Waker>)>,
}

/// An association, whatever session carries it.
pub(super) struct ConePackets {
    key: Key,
    cones: Arc<Cones>,
    place: Arc<Place>,
    /// Set while no session carries it.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Cones {
    /// A new association, or `None` when one was there and goes on in `session`.
    pub(super) fn join(
        self: &Arc<Self>,
        user: Owner,
        id: GlobalId,
        session: MuxPackets,
    ) -> Option<ConePackets> {
        let key = (user, id);
        let mut places = lock(&self.places);
        if let Some(place) = places.get(&key).and_then(Weak::upgrade) {
            drop(places);
            let (old, waker) = {
                let mut inside = lock(&place.session);
                (inside.0.replace(session), inside.1.take())
            };
            drop(old);
            if let Some(waker) = waker {
                waker.wake();
            }
            return None;
        }
        let place = Arc::new(Place {
            session: Mutex::new((Some(session), None)),
        });
        places.insert(key.clone(), Arc::downgrade(&place));
        Some(ConePackets {
            key,
            cones: self.clone(),
            place,
            waiting: None,
        })
    }
}

impl Packets for ConePackets {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Packet>>> {
        let mut inside = lock(&self.place.session);
        inside.1 = Some(cx.waker().clone());
        if let Some(session) = &mut inside.0 {
            self.waiting = None;
            match session.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(packet))) => return Poll::Ready(Ok(Some(packet))),
                Poll::Ready(_) => inside.0 = None,
            }
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(WAIT)));
        waiting.as_mut().poll(cx).map(|()| Ok(None))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Poll<io::Result<()>> {
        let mut inside = lock(&self.place.session);
        match &mut inside.0 {
            // A session that has ended is noticed by `poll_recv`; until then datagrams are lost.
            Some(session) => session.poll_send(cx, packet).map(|_| Ok(())),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for ConePackets {
    fn drop(&mut self) {
        lock(&self.cones.places).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
