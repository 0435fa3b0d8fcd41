//! The inbounds that listen at the moment; they come and go while tunnels run.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tracing::info;

use super::listen::{self, BoundSocket, Spare};
use super::{Inbound, StartError, serve};
use crate::config;
use crate::dispatch::{Dispatcher, Leads};
use crate::io::own_listeners::Listening;
use crate::log::NOTICE;
use crate::transport::Kept;

pub struct Inbounds {
    dispatcher: Arc<Dispatcher>,
    running: Mutex<Vec<Running>>,
}

struct Running {
    inbound: Arc<Inbound>,
    /// All that it listens on, for people.
    listen: String,
    listeners: Vec<Listener>,
    /// By the API: it stays when the config is read again.
    added: bool,
    /// What this process remembers of the listeners, until they are gone.
    _listening: Vec<Listening>,
    /// What goes on beside them.
    _kept: Kept,
}

/// A socket, and the task that serves it; there may be none.
struct Listener {
    place: BoundSocket,
    task: Option<JoinHandle<()>>,
}

/// Bound, but nothing is accepted yet.
pub(super) struct Bound {
    inbound: Arc<Inbound>,
    places: Vec<BoundSocket>,
    listening: Vec<Listening>,
}

/// The inbounds of another config, with all sockets bound; nothing has changed yet.
pub(super) struct Change(Vec<Next>);

enum Next {
    /// It goes on, with the name and the users of these settings.
    Same(Arc<Inbound>, Box<config::Inbound>),
    /// In the place of another one, if it says so.
    New(Bound, Option<Arc<Inbound>>),
}

/// How many inbounds a change was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
}

impl Inbounds {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            dispatcher,
            running: Mutex::default(),
        }
    }

    /// What is in `spare` is bound already.
    pub(super) fn bind(&self, inbound: Inbound, spare: &mut Spare) -> Result<Bound, StartError> {
        let inbound = Arc::new(inbound);
        // Before anybody can connect to them.
        let mut listening = self.listening(&inbound, listen::wanted(&inbound));
        let places = listen::bind_all(&inbound, spare)?;
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
        let running = self.serve(bound, false);
        self.lock().push(running);
    }

    fn serve(&self, bound: Bound, added: bool) -> Running {
        let Bound {
            inbound,
            places,
            listening,
        } = bound;
        if let Some(metrics) = &self.dispatcher.metrics {
            for one in std::iter::once(&inbound).chain(&inbound.beside) {
                let _ = one.numbers.set(metrics.inbound(&one.label()));
            }
        }
        let context = self.dispatcher.inbound_context(inbound.tag.as_deref());
        let listen = listen::shown(&inbound, &places);
        let bound = places.iter().filter_map(BoundSocket::address);
        let mut ports: Vec<u16> = bound.map(|at| at.port()).collect();
        ports.dedup();
        let kept = inbound.transport.keep(ports);
        let prepare = |place: BoundSocket| {
            let prepared = serve::prepare(&inbound, place.clone(), &context);
            (place, prepared)
        };
        let ready: Vec<_> = places.into_iter().map(prepare).collect();
        let listeners = ready.into_iter().map(|(place, prepared)| {
            let task = prepared.map(|prepared| {
                let (inbound, dispatcher) = (inbound.clone(), self.dispatcher.clone());
                crate::io::spawn(serve::serve(inbound, prepared, dispatcher, context.clone()))
            });
            Listener { place, task }
        });
        let listeners = listeners.collect();
        Running {
            inbound,
            listen,
            listeners,
            added,
            _listening: listening,
            _kept: kept,
        }
    }

    /// Where services of this process are to be had, connections of our own are told apart.
    fn listening(
        &self,
        inbound: &Inbound,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Vec<Listening> {
        let addresses: Vec<_> = addresses.collect();
        let others = inbound.beside.iter().map(|other| &**other);
        let mut listening = Vec::new();
        for one in std::iter::once(inbound).chain(others) {
            let Some(leads) = self.dispatcher.leads_to_control(one.tag.as_deref()) else {
                continue;
            };
            listening.extend(addresses.iter().map(|at| match leads {
                Leads::Always => Listening::control(*at, "the API"),
                Leads::Perhaps => Listening::inbound(*at),
            }));
        }
        listening
    }

    /// Binds one more inbound and begins to accept. Its tag must be free; whoever adds two at a time
    /// sees to it.
    pub fn add(&self, inbound: Inbound) -> Result<(), StartError> {
        let running = self.serve(self.bind(inbound, &mut Spare::default())?, true);
        running.announce();
        self.lock().push(running);
        Ok(())
    }

    /// Builds the inbounds of another config and binds what is not bound yet.
    ///
    /// # Errors
    ///
    /// When a place cannot be listened on, or a certificate cannot be used; nothing has changed then.
    pub(super) fn prepare(&self, settings: Vec<config::Inbound>) -> Result<Change, StartError> {
        let mut spare = Spare::default();
        let paired: Vec<(config::Inbound, Option<Arc<Inbound>>)> = {
            let running = self.lock();
            let mut there: Vec<&Running> = running.iter().collect();
            let mut take = |settings: &config::Inbound| {
                let index = there.iter().position(|r| r.takes_the_place_of(settings))?;
                Some(there.remove(index).inbound.clone())
            };
            let paired: Vec<_> = settings
                .into_iter()
                .map(|settings| {
                    let there = take(&settings);
                    (settings, there)
                })
                .collect();
            for other in running.iter() {
                let pair = paired.iter().find(|(_, there)| {
                    there
                        .as_ref()
                        .is_some_and(|there| Arc::ptr_eq(there, &other.inbound))
                });
                let goes_on = match pair {
                    Some((settings, _)) => other.inbound.is_like(settings),
                    None => other.added,
                };
                if !goes_on {
                    let places = other
                        .listeners
                        .iter()
                        .map(|listener| listener.place.clone());
                    spare.0.extend(places);
                }
            }
            paired
        };
        let mut next = Vec::new();
        for (settings, there) in paired {
            next.push(match there {
                Some(there) if there.is_like(&settings) => Next::Same(there, Box::new(settings)),
                there => {
                    let mut inbound = Inbound::new(settings)?;
                    if let Some(there) = &there {
                        inbound.inherit(there);
                        inbound.count_on(there);
                    }
                    Next::New(self.bind(inbound, &mut spare)?, there)
                }
            });
        }
        Ok(Change(next))
    }

    /// Puts the inbounds of another config in the place of those that the config before has named. Sockets that both have
    /// are never closed, and tunnels go on. Those that go on do so with the levels and counters of the dispatcher.
    pub(super) async fn change(&self, change: Change, renew_context: bool) -> Counts {
        let Change(next) = change;
        let is_kept = |inbound: &Arc<Inbound>| {
            let mut same = next.iter();
            same.any(|next| matches!(next, Next::Same(same, _) if Arc::ptr_eq(same, inbound)))
        };
        // One at a time reads a UDP socket.
        let ending: Vec<_> = {
            let mut running = self.lock();
            let changing = running
                .iter_mut()
                .filter(|r| !r.added && (renew_context || !is_kept(&r.inbound)));
            let listeners = changing.flat_map(|r| &mut r.listeners);
            let datagrams = listeners.filter(|listener| listener.place.is_datagrams());
            datagrams
                .filter_map(|listener| listener.task.take())
                .collect()
        };
        end(ending).await;
        let (ended, counts) = {
            let mut running = self.lock();
            let (next, gone, counts) = self.follow(next, take(&mut *running), renew_context);
            *running = next;
            (gone, counts)
        };
        for running in ended {
            let Running {
                inbound,
                listen,
                listeners,
                ..
            } = running;
            let tasks = listeners.into_iter().filter_map(|listener| listener.task);
            end(tasks.collect()).await;
            let is_served = self.lock().iter().any(|r| r.listen == listen);
            if !is_served {
                info!(target: NOTICE, %inbound, %listen, "{inbound} listens on {listen} no more");
            }
        }
        counts
    }

    /// What runs next, and what ends.
    fn follow(
        &self,
        next: Vec<Next>,
        mut before: Vec<Running>,
        renew_context: bool,
    ) -> (Vec<Running>, Vec<Running>, Counts) {
        let mut counts = Counts::default();
        let mut gone = Vec::new();
        let mut running = Vec::new();
        let mut take = |inbound: &Arc<Inbound>| {
            let index = before.iter().position(|r| Arc::ptr_eq(&r.inbound, inbound));
            index.map(|index| before.remove(index))
        };
        for next in next {
            match next {
                Next::Same(inbound, settings) => {
                    let Some(mut same) = take(&inbound) else {
                        // The API has removed it meanwhile.
                        continue;
                    };
                    inbound.follow(*settings);
                    let places = same.listeners.iter().map(|listener| &listener.place);
                    let addresses = places.filter_map(BoundSocket::address);
                    let listening = self.listening(&inbound, addresses);
                    if renew_context {
                        let bound = Bound {
                            inbound,
                            places: same.listeners.iter().map(|l| l.place.clone()).collect(),
                            listening,
                        };
                        running.push(self.serve(bound, false));
                        gone.push(same);
                    } else {
                        same._listening = listening;
                        running.push(same);
                    }
                }
                Next::New(bound, place_of) => {
                    match place_of.and_then(|inbound| take(&inbound)) {
                        Some(old) => {
                            counts.changed += 1;
                            gone.push(old);
                        }
                        None => counts.added += 1,
                    }
                    let next = self.serve(bound, false);
                    next.announce();
                    running.push(next);
                }
            }
        }
        for mut other in before {
            if other.added {
                let places = other.listeners.iter().map(|listener| &listener.place);
                let addresses = places.filter_map(BoundSocket::address);
                other._listening = self.listening(&other.inbound, addresses);
                running.push(other);
            } else {
                counts.removed += 1;
                gone.push(other);
            }
        }
        (running, gone, counts)
    }

    /// Says what listens, a line for each inbound.
    pub(super) fn announce(&self) {
        self.lock().iter().for_each(Running::announce);
    }

    pub fn get(&self, tag: &str) -> Option<Arc<Inbound>> {
        let running = self.lock();
        let mut all = running.iter().flat_map(Running::all);
        all.find(|inbound| inbound.tag.as_deref() == Some(tag))
            .cloned()
    }

    /// In the order in which they came.
    pub fn all(&self) -> Vec<Arc<Inbound>> {
        let running = self.lock();
        running.iter().flat_map(Running::all).cloned().collect()
    }

    /// Closes the listeners of an inbound; `false` when there is none. Its tunnels go on, and so do the listeners where
    /// others share them.
    pub async fn remove(&self, tag: &str) -> bool {
        let mut removed = {
            let mut running = self.lock();
            let Some((index, route)) = running
                .iter()
                .enumerate()
                .find_map(|(index, r)| Some((index, r.route(tag)?)))
            else {
                return false;
            };
            let shared = &running[index];
            shared.inbound.transport.close_route(route);
            if !shared.inbound.beside.is_empty() && shared.all().next().is_some() {
                return true;
            }
            running.remove(index)
        };
        let listeners = removed.listeners.iter_mut();
        end(listeners
            .filter_map(|listener| listener.task.take())
            .collect())
        .await;
        true
    }

    /// Where inbounds listen on IP: the inbound's index, and the address.
    pub(super) fn ports(&self) -> Vec<(usize, SocketAddr)> {
        let running = self.lock();
        let all = running.iter().enumerate();
        let places = all.flat_map(|(i, r)| r.listeners.iter().map(move |l| (i, &l.place)));
        places
            .filter_map(|(i, place)| Some((i, place.address()?)))
            .collect()
    }

    pub(super) fn stop(&self) {
        let mut running = self.lock();
        let listeners = running.drain(..).flat_map(|r| r.listeners);
        for task in listeners.filter_map(|listener| listener.task) {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends tasks, and waits until they are gone: a port that only they had is free then.
async fn end(tasks: Vec<JoinHandle<()>>) {
    tasks.iter().for_each(JoinHandle::abort);
    for task in tasks {
        let _ = task.await;
    }
}

impl Running {
    fn announce(&self) {
        let Self {
            inbound, listen, ..
        } = self;
        for inbound in std::iter::once(inbound).chain(&inbound.beside) {
            let speaks = &inbound.speaks;
            info!(target: NOTICE, %inbound, %listen, "{inbound} listens on {listen}: {speaks}");
        }
    }

    /// The inbounds that share the listeners, each with its route.
    fn routes(&self) -> impl Iterator<Item = (usize, &Arc<Inbound>)> {
        let all = std::iter::once(&self.inbound).chain(&self.inbound.beside);
        let is_open = |(route, _): &(usize, _)| self.inbound.transport.is_open(*route);
        all.enumerate().filter(is_open)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Inbound>> {
        self.routes().map(|(_, inbound)| inbound)
    }

    fn route(&self, tag: &str) -> Option<usize> {
        let mut routes = self.routes();
        let found = routes.find(|(_, inbound)| inbound.tag.as_deref() == Some(tag));
        found.map(|(route, _)| route)
    }

    /// Whether an inbound of these settings is this one, or comes in its place: it has its tag or, without one, listens
    /// where it does.
    fn takes_the_place_of(&self, settings: &config::Inbound) -> bool {
        let inbound = &self.inbound;
        match (&inbound.tag, &settings.tag) {
            (Some(tag), Some(other)) => tag == other,
            (None, None) => {
                !self.added && inbound.listen == settings.listen && inbound.ports == settings.ports
            }
            _ => false,
        }
    }
}
