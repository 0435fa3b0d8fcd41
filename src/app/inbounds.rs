//! The inbounds that listen at the moment; they come and go while tunnels run.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tracing::info;

use super::listen::{self, BoundSocket};
use super::{Inbound, StartError, serve};
use crate::dispatch::{Dispatcher, Leads};
use crate::io::own_listeners::Listening;
use crate::log::NOTICE;

pub struct Inbounds {
    dispatcher: Arc<Dispatcher>,
    running: Mutex<Vec<Running>>,
}

struct Running {
    inbound: Arc<Inbound>,
    ports: Vec<SocketAddr>,
    /// All that it listens on, for people.
    listen: String,
    listeners: Vec<JoinHandle<()>>,
    /// What this process remembers of them, until they are gone.
    _listening: Vec<Listening>,
}

/// Bound, but nothing is accepted yet.
pub(super) struct Bound {
    inbound: Arc<Inbound>,
    places: Vec<BoundSocket>,
    listening: Vec<Listening>,
}

impl Inbounds {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            dispatcher,
            running: Mutex::default(),
        }
    }

    pub(super) fn bind(&self, inbound: Inbound) -> Result<Bound, StartError> {
        let inbound = Arc::new(inbound);
        // Before anybody can connect to them.
        let mut listening = self.listening(&inbound, listen::wanted(&inbound));
        let places = listen::bind_all(&inbound)?;
        let bound = places.iter().filter_map(BoundSocket::address);
        listening.extend(self.listening(&inbound, bound));
        Ok(Bound {
            inbound,
            places,
            listening,
        })
    }

    /// Begins to accept.
    pub(super) fn start(&self, bound: Bound) {
        let Bound {
            inbound,
            places,
            listening,
        } = bound;
        let ports = places.iter().filter_map(BoundSocket::address).collect();
        let context = self.dispatcher.inbound_context(inbound.tag.as_deref());
        let listen = listen::shown(&inbound, &places);
        let prepare = |place| serve::prepare(&inbound, place, &context);
        let ready: Vec<_> = places.into_iter().filter_map(prepare).collect();
        let listeners = ready.into_iter().map(|prepared| {
            let (inbound, dispatcher) = (inbound.clone(), self.dispatcher.clone());
            crate::io::spawn(serve::serve(inbound, prepared, dispatcher, context.clone()))
        });
        let listeners = listeners.collect();
        self.lock().push(Running {
            inbound,
            ports,
            listen,
            listeners,
            _listening: listening,
        });
    }

    /// Where services of this process are to be had, connections of our own are told apart.
    fn listening(
        &self,
        inbound: &Inbound,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Vec<Listening> {
        let Some(leads) = self.dispatcher.leads_to_control(inbound.tag.as_deref()) else {
            return Vec::new();
        };
        let listening = addresses.map(|at| match leads {
            Leads::Always => Listening::control(at, "the API"),
            Leads::Perhaps => Listening::inbound(at),
        });
        listening.collect()
    }

    /// Binds one more inbound and begins to accept. Its tag must be free; whoever adds two at a time
    /// sees to it.
    pub fn add(&self, inbound: Inbound) -> Result<(), StartError> {
        self.start(self.bind(inbound)?);
        self.lock().last().map(Running::announce);
        Ok(())
    }

    /// Says what listens, a line for each inbound.
    pub(super) fn announce(&self) {
        self.lock().iter().for_each(Running::announce);
    }

    pub fn get(&self, tag: &str) -> Option<Arc<Inbound>> {
        let running = self.lock();
        let found = running.iter().find(|r| r.is(tag));
        found.map(|r| r.inbound.clone())
    }

    /// In the order in which they came.
    pub fn all(&self) -> Vec<Arc<Inbound>> {
        let running = self.lock();
        running.iter().map(|r| r.inbound.clone()).collect()
    }

    /// Closes the listeners of an inbound; `false` when there is none. Its tunnels go on.
    pub async fn remove(&self, tag: &str) -> bool {
        let removed = {
            let mut running = self.lock();
            let index = running.iter().position(|r| r.is(tag));
            index.map(|index| running.remove(index))
        };
        let Some(removed) = removed else {
            return false;
        };
        for listener in removed.listeners {
            listener.abort();
            // It is gone then, and its port is free.
            let _ = listener.await;
        }
        true
    }

    /// Where inbounds listen on IP: the inbound's index, and the address.
    pub(super) fn ports(&self) -> Vec<(usize, SocketAddr)> {
        let running = self.lock();
        let all = running.iter().enumerate();
        all.flat_map(|(i, r)| r.ports.iter().map(move |port| (i, *port)))
            .collect()
    }

    pub(super) fn stop(&self) {
        let mut running = self.lock();
        for listener in running.drain(..).flat_map(|r| r.listeners) {
            listener.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn announce(&self) {
        let Self {
            inbound, listen, ..
        } = self;
        let speaks = &inbound.speaks;
        info!(target: NOTICE, %inbound, %listen, "{inbound} listens on {listen}: {speaks}");
    }

    fn is(&self, tag: &str) -> bool {
        self.inbound.tag.as_deref() == Some(tag)
    }
}
