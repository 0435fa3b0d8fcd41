//! Which certificate a client gets, and whether the files have another one by now.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tracing::warn;

use super::certificates::{Keyed, Loaded};
use super::issue::Authority;

/// How often a handshake makes us look whether certificate files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long that handshake waits for the look, so that it has what is new. Files answer within a millisecond.
const LOOK_LIMIT: Duration = Duration::from_millis(100);

/// When files that do not answer are worth a warning.
const HANGING: Duration = Duration::from_secs(5);

/// Chooses a certificate by the name that the client asks for.
#[derive(Clone)]
pub(super) struct Resolver {
    state: Arc<Mutex<State>>,
    /// A thread looks at the files; where they hang, it is the only one that does.
    looking: Arc<AtomicBool>,
    reject_unknown: bool,
}

struct State {
    keyed: Vec<Keyed>,
    authorities: Vec<Authority>,
    /// Others see to it that these are fresh.
    shared: Vec<Arc<Mutex<Keyed>>>,
    looked: Instant,
    warned: bool,
}

/// Says that nobody looks any more, even after a panic.
struct Looking(Arc<AtomicBool>);

impl Resolver {
    pub(super) fn new(
        keyed: Vec<Keyed>,
        authorities: Vec<Authority>,
        shared: Vec<Arc<Mutex<Keyed>>>,
        reject_unknown: bool,
    ) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                keyed,
                authorities,
                shared,
                looked: Instant::now(),
                warned: false,
            })),
            looking: Arc::default(),
            reject_unknown,
        }
    }

    /// It is time to look at the files.
    pub(super) fn look_soon(&self) {
        let mut state = self.lock();
        if let Some(due) = Instant::now().checked_sub(LOOK_EVERY) {
            state.looked = state.looked.min(due);
        }
    }

    /// Whether a certificate is on its way.
    pub(super) fn awaits(&self) -> bool {
        let shared = &self.lock().shared;
        shared.iter().any(|keyed| lock(keyed).loaded().is_none())
    }

    /// The names of each certificate, and when it runs out.
    #[cfg(feature = "app")]
    pub(super) fn certificates(&self) -> Vec<(String, std::time::SystemTime)> {
        let state = self.lock();
        let mut all: Vec<_> = state.keyed.iter().filter_map(Keyed::ends).collect();
        all.extend(state.shared.iter().filter_map(|keyed| lock(keyed).ends()));
        all
    }

    /// Takes what has changed in the files, if it is time to look at them, and if they answer.
    pub(super) async fn refresh(&self) {
        {
            let mut state = self.lock();
            state.take_late();
            let since = state.looked.elapsed();
            if since < LOOK_EVERY {
                return;
            }
            if self.looking.swap(true, Ordering::Relaxed) {
                if since > HANGING && !state.warned {
                    state.warned = true;
                    warn!(
                        "certificate files do not answer, is their mount gone? what was read of them is kept"
                    );
                }
                return;
            }
            state.looked = Instant::now();
        }
        let (resolver, looking) = (self.clone(), Looking(self.looking.clone()));
        let look = spawn_blocking(move || {
            resolver.look();
            drop(looking);
        });
        // A look that takes longer goes on without us.
        let _ = timeout(LOOK_LIMIT, look).await;
    }

    /// Looks at all files, with the state unlocked.
    fn look(&self) {
        let watched = self.lock().watched();
        for (index, watched) in watched.into_iter().enumerate() {
            let Some((origin, stamps)) = watched else {
                continue;
            };
            let look = origin.look(stamps);
            let mut state = self.lock();
            let keyed = state.keyed.len();
            match index.checked_sub(keyed) {
                None => {
                    state.keyed[index].take(look);
                }
                Some(index) => state.authorities[index].take(look),
            }
        }
        self.lock().warned = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.lock().pick(name.as_deref(), self.reject_unknown)
    }
}

impl State {
    fn take_late(&mut self) {
        for keyed in &mut self.keyed {
            keyed.take_late();
        }
        self.authorities.iter_mut().for_each(Authority::take_late);
    }

    /// What stands in `keyed`, then in `authorities`.
    fn watched(
        &self,
    ) -> Vec<
        Option<(
            super::certificates::Origin,
            [Option<super::files::Stamp>; 2],
        )>,
    > {
        let authorities = self.authorities.iter().map(Authority::keyed);
        let all = self.keyed.iter().chain(authorities);
        all.map(Keyed::watched).collect()
    }

    /// The certificate for `name`: by an exact name, by a wildcard, issued for it, or else the first.
    fn pick(&mut self, name: Option<&str>, reject_unknown: bool) -> Option<Arc<CertifiedKey>> {
        let named = |by_wildcard| {
            let name = name?;
            self.find(|loaded| loaded.is_for(name, by_wildcard))
        };
        if let Some(key) = named(false).or_else(|| named(true)) {
            return Some(key);
        }
        if let Some(authority) = self.authorities.first_mut() {
            return authority.certificate(name.unwrap_or("localhost"));
        }
        if reject_unknown {
            return None;
        }
        self.find(|_| true)
    }

    /// The first that is wanted.
    fn find(&self, is_wanted: impl Fn(&Loaded) -> bool) -> Option<Arc<CertifiedKey>> {
        let key_of = |keyed: &Keyed| {
            let loaded = keyed.loaded().filter(|loaded| is_wanted(loaded))?;
            Some(loaded.key.clone())
        };
        let own = self.keyed.iter().find_map(key_of);
        own.or_else(|| self.shared.iter().find_map(|keyed| key_of(&lock(keyed))))
    }
}

fn lock(keyed: &Mutex<Keyed>) -> MutexGuard<'_, Keyed> {
    keyed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
