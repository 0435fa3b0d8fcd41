//! The portal: sessions go out through the links that bridges have made to it.

use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::select;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info};

use super::codec::{self, State};
use super::settings::PortalSettings;
use crate::address::{Destination, Host};
use crate::cause::ReverseError;
use crate::io::{Link, Packet, Packets, random};
use crate::log::{self, NOTICE};
use crate::mux;

/// How often a link is said to be in use; V2Ray's number.
const BEAT: Duration = Duration::from_secs(2);

/// Sessions over the life of a link, before it is let go; V2Ray's number.
const LIFE: usize = 256;

/// A portal, with the bridges that are connected to it.
pub struct Portal {
    settings: PortalSettings,
    workers: Mutex<Vec<Arc<Worker>>>,
}

/// A bridge's link.
struct Worker {
    mux: mux::Worker,
    /// The bridge was told that there will be no more sessions.
    draining: AtomicBool,
}

impl Portal {
    pub fn new(settings: PortalSettings) -> Self {
        Self {
            settings,
            workers: Mutex::default(),
        }
    }

    /// Whether a stream to `to` is a bridge's link.
    pub fn is_for_bridges(&self, to: &Destination) -> bool {
        matches!(&to.host, Host::Domain(name) if name.eq_ignore_ascii_case(&self.settings.domain))
    }

    /// Sends sessions through a bridge's link, until it ends or was silent for `idle`.
    pub async fn serve(&self, link: Link, idle: Duration, source: impl Display) {
        let tag = &self.settings.tag;
        let (mux, carried) = mux::Worker::new(link, idle);
        let worker = Arc::new(Worker {
            mux,
            draining: AtomicBool::new(false),
        });
        match self.enter(&worker) {
            1 => info!(target: NOTICE, "portal `{tag}`: a bridge is connected, from {source}"),
            n => info!(
                "portal `{tag}`: one more connection of a bridge, from {source}, there are {n}"
            ),
        }
        let mut carried = pin!(carried);
        let error = select! {
            error = &mut carried => error,
            () = worker.beat() => carried.await,
        };
        match self.leave(&worker) {
            0 => log::repeated_cause(
                &format!("portal `{tag}`"),
                &format!(
                    "portal `{tag}`: no bridge is connected any more, sessions are refused until one comes back: {error}"
                ),
                None,
            ),
            n => {
                info!("portal `{tag}`: a connection of a bridge has ended, there are {n}: {error}")
            }
        }
    }

    /// A stream to `to`, as seen by a bridge.
    ///
    /// # Errors
    ///
    /// When no bridge is connected.
    pub fn stream(&self, to: &Destination) -> io::Result<Link> {
        self.open(|worker| worker.stream(to))
    }

    /// Datagrams to `to`.
    ///
    /// # Errors
    ///
    /// When no bridge is connected.
    pub fn packets(&self, to: &Destination) -> io::Result<Box<dyn Packets>> {
        self.open(|worker| worker.packets(to))
    }

    /// As in V2Ray the link with the fewest sessions takes one more; those that are let go, only where there is no other.
    fn open<T>(&self, open: impl Fn(&mux::Worker) -> Option<T>) -> io::Result<T> {
        let mut workers = self.lock().clone();
        workers.sort_by_cached_key(|worker| {
            let draining = worker.draining.load(Ordering::Relaxed);
            (draining, worker.mux.sessions())
        });
        let opened = workers.iter().find_map(|worker| open(&worker.mux));
        opened.ok_or_else(|| {
            let portal = self.settings.tag.to_string();
            ReverseError::NoBridge { portal }.into()
        })
    }

    /// How many there are now.
    fn enter(&self, worker: &Arc<Worker>) -> usize {
        let mut workers = self.lock();
        workers.push(worker.clone());
        workers.len()
    }

    fn leave(&self, worker: &Arc<Worker>) -> usize {
        let mut workers = self.lock();
        workers.retain(|other| !Arc::ptr_eq(other, worker));
        workers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Says what becomes of the link, until it takes no more sessions, or is over.
    async fn beat(&self) {
        let to = codec::destination();
        let Some(mut control) = self.mux.packets(&to) else {
            return;
        };
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                _ = beats.tick() => {}
                // A bridge answers nothing. Whatever it says makes room, and its end is heard.
                said = poll_fn(|cx| control.poll_recv(cx)) => match said {
                    Ok(Some(_)) => continue,
                    Ok(None) | Err(_) => return,
                },
            }
            let state = match self.mux.opened() > LIFE {
                true => State::Drain,
                false => State::Active,
            };
            if state == State::Drain {
                debug!("a bridge's link is let go, it has had its sessions");
                self.draining.store(true, Ordering::Relaxed);
            }
            let packet = Packet {
                peer: to.clone(),
                data: codec::encode(state, &chance()),
            };
            let sent = poll_fn(|cx| control.poll_send(cx, &packet)).await;
            if sent.is_err() || state == State::Drain {
                return;
            }
        }
    }
}

/// Bytes that mean nothing, more or fewer.
fn chance() -> Vec<u8> {
    let mut len = [0];
    random::fill(&mut len);
    let mut bytes = vec![0; usize::from(len[0] % codec::RANDOM_END)];
    random::fill(&mut bytes);
    bytes
}
