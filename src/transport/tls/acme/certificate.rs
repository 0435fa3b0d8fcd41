//! One certificate of an authority, and the task that has it renewed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::info;

use super::folder::Folder;
use super::order::{Failure, blocking, issue};
use super::{Settings, schedule};
use crate::cause::{AcmeError, Challenge};
use crate::log::{NOTICE, repeated_cause};
use crate::transport::tls::Pem;
use crate::transport::tls::certificates::{Keyed, Origin};

/// A certificate of an authority: all servers of the same settings have the same one.
pub struct Certificate {
    settings: Arc<Settings>,
    folder: Folder,
    pub(in crate::transport::tls) keyed: Arc<Mutex<Keyed>>,
    task: Mutex<Weak<Keeping>>,
    /// Somebody thinks that it is time for another attempt.
    poked: Notify,
    /// The proof that was good the last time.
    by: Mutex<Challenge>,
}

/// A certificate is renewed until the last of these is dropped.
pub struct Keeping(AbortHandle);

static ALL: Mutex<Vec<Weak<Certificate>>> = Mutex::new(Vec::new());

/// One order at a time: two for the same name would show different proofs.
static ORDERS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How often the file is looked at, which another process may have renewed, and the clock, which may jump.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long to wait while another process asks.
const BUSY: Duration = Duration::from_secs(1);

impl Certificate {
    /// The one of these settings, as it is kept in the folder. While there is none, another one of the folder stands in
    /// that has one of its names.
    pub fn of(settings: &Settings) -> Arc<Self> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        let mut there = all.iter().filter_map(Weak::upgrade);
        if let Some(there) = there.find(|one| *one.settings == *settings) {
            return there;
        }
        let folder = Folder::of(settings);
        let origin = |file| {
            let file = Pem::File(file);
            Origin {
                cert: file.clone(),
                key: file,
            }
        };
        let own = origin(folder.certificate.clone());
        let keyed = match Keyed::load(own.clone()) {
            Ok((keyed, _)) => keyed,
            Err(_) => {
                let loaded = |file| Keyed::load(origin(file)).ok().map(|(keyed, _)| keyed);
                let others = folder.others().into_iter().filter_map(loaded);
                let fitting = others.filter(|other| other.is_for_any(&settings.domains));
                let latest = fitting.max_by_key(|other| other.validity().map(|(_, until)| until));
                Keyed::stand_in(own, latest)
            }
        };
        let one = Arc::new(Self {
            settings: Arc::new(settings.clone()),
            folder,
            keyed: Arc::new(Mutex::new(keyed)),
            task: Mutex::default(),
            poked: Notify::new(),
            by: Mutex::new(Challenge::TlsAlpn),
        });
        all.push(Arc::downgrade(&one));
        one
    }

    /// Has it renewed from here on.
    pub fn keep(self: &Arc<Self>) -> Arc<Keeping> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = task.upgrade() {
            return running;
        }
        let running = crate::io::spawn(keep(self.clone()));
        let keeping = Arc::new(Keeping(running.abort_handle()));
        *task = Arc::downgrade(&keeping);
        keeping
    }

    /// After a failure the next attempt is made at once, unless the authority has said when.
    pub fn look_soon(&self) {
        self.poked.notify_waiters();
    }

    /// Takes what is new in the file.
    async fn look(&self) {
        self.keyed().take_late();
        let watched = self.keyed().watched();
        if let Some((origin, stamps)) = watched {
            let looked = spawn_blocking(move || origin.look(stamps));
            if let Ok(look) = looked.await {
                self.keyed().take(look);
            }
        }
    }

    /// When it is to be renewed: at once, where it is not there or not for all names.
    fn due(&self) -> Option<SystemTime> {
        let keyed = self.keyed();
        let (from, until) = keyed.validity()?;
        let is_whole = keyed.is_for_all(&self.settings.domains);
        is_whole.then(|| schedule::due(from, until))
    }

    fn is_due(&self) -> bool {
        self.due().is_none_or(|due| due <= SystemTime::now())
    }

    /// Asks for the next one. `false`: another process does.
    async fn renew(&self) -> Result<bool, Failure> {
        let _turn = ORDERS.lock().await;
        let folder = self.folder.clone();
        let entered = blocking(move || folder.enter()).await.map_err(here)?;
        let Some(_lock) = entered else {
            return Ok(false);
        };
        // Another process may just have got it.
        self.look().await;
        if !self.is_due() {
            return Ok(true);
        }
        let (settings, folder) = (&self.settings, &self.folder);
        let names = self.names();
        info!(target: NOTICE, "{names}: {} is asked for a certificate", settings.directory);
        let by = *self.by();
        let issued = issue(settings, folder, by).await?;
        *self.by() = issued.by;
        let pem = Pem::Inline(issued.pem.clone());
        let inline = Origin {
            cert: pem.clone(),
            key: pem,
        };
        let (new, _) =
            Keyed::load(inline).map_err(|e| here(AcmeError::Certificate(e.to_string())))?;
        let file = self.folder.certificate.clone();
        let written = {
            let (file, text) = (file.clone(), issued.pem);
            blocking(move || Folder::write(&file, &text)).await
        };
        let file = Pem::File(file);
        let origin = Origin {
            cert: file.clone(),
            key: file,
        };
        *self.keyed() = Keyed::stand_in(origin, Some(new));
        // It serves even where it cannot be kept, but the next start will ask again.
        if let Err(e) = written {
            let text = format!("{names}: the new certificate cannot be kept: {e}");
            repeated_cause(&names, &text, Some(e.code()));
        }
        if self.is_due() {
            let text = "it is over by this machine's clock, or has not all of the names";
            return Err(here(AcmeError::Certificate(text.to_owned())));
        }
        let validity = self.keyed().validity();
        if let Some((from, until)) = validity {
            let (due, until) = (shown(schedule::due(from, until)), shown(until));
            info!(target: NOTICE, "{names}: the certificate is here, by {}, and valid until {until}; the next one is asked for from {due} on", issued.by);
        }
        Ok(true)
    }

    /// Says why there is no new one, and what serves meanwhile.
    fn complain(&self, error: &AcmeError, wait: Duration) {
        let validity = self.keyed().validity();
        let meanwhile = match validity {
            Some((_, until)) if until > SystemTime::now() => {
                format!("the old one goes on until {}", shown(until))
            }
            Some((_, until)) => format!("the old one has run out on {}", shown(until)),
            None => "there is none, and TLS clients are refused".to_owned(),
        };
        let (names, secs) = (self.names(), wait.as_secs());
        let text = format!(
            "{names}: no new certificate: {error}; {meanwhile}; asked for again in {secs} s"
        );
        repeated_cause(&names, &text, Some(error.code()));
    }

    fn names(&self) -> String {
        self.settings.domains.join(", ")
    }

    fn by(&self) -> MutexGuard<'_, Challenge> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keyed(&self) -> MutexGuard<'_, Keyed> {
        self.keyed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(certificate: Arc<Certificate>) {
    let mut failures = 0;
    loop {
        certificate.look().await;
        let due = certificate.due();
        let left = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            failures = 0;
            sleep(left.min(LOOK_EVERY)).await;
            continue;
        }
        match certificate.renew().await {
            Ok(true) => {}
            Ok(false) => sleep(BUSY).await,
            Err(Failure { error, not_before }) => {
                failures += 1;
                let pause = schedule::pause(failures, error.is_free());
                let wait = schedule::wait(pause, not_before, SystemTime::now());
                certificate.complain(&error, wait);
                match not_before {
                    Some(_) => sleep(wait).await,
                    None => {
                        let _ = timeout(wait, certificate.poked.notified()).await;
                    }
                }
            }
        }
    }
}

fn here(error: AcmeError) -> Failure {
    Failure {
        error,
        not_before: None,
    }
}

/// To the second, in UTC.
fn shown(at: SystemTime) -> String {
    match Timestamp::try_from(at) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => "a time that no calendar has".to_owned(),
    }
}
