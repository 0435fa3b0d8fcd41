//! PEM text, inline or in files; and files that may not answer.
//!
//! A pipe that nobody writes to and a mount that hangs block whoever opens them. So what is read at the start is read
//! by a thread of its own that is waited for only so long, and nothing is read in a handshake.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::Authorities;

/// PEM text, or where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file; that of a server's certificate or key is read again when it has changed.
    File(PathBuf),
    /// The text itself.
    Inline(String),
}

/// Why there are no certificates to believe.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// The file or text is not what it should be.
    #[error("{0}")]
    Broken(String),
    /// Nobody knows yet.
    #[error(
        "{0} cannot be read in time, is it a pipe that nobody writes to, or on a mount that hangs?"
    )]
    Late(String),
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    inode: u64,
    len: u64,
}

/// More is no certificate, and may have no end.
const MAX_LEN: u64 = 4 * 1024 * 1024;

/// How long the start waits for one file, and for all that do not answer together.
const WAIT: Duration = Duration::from_secs(1);
static WAIT_LEFT_MS: AtomicU64 = AtomicU64::new(3000);

/// A file that comes too late for its thread to be waited for is still worth a moment.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// Does what reads files, and gives its result, or where that will be when there is one.
pub(super) fn in_time<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Receiver<T>> {
    let (done, result) = sync_channel(1);
    let began = Instant::now();
    let thread = thread::Builder::new().name("files".to_owned());
    let started = thread.spawn(move || {
        let _ = done.send(work());
    });
    if started.is_err() {
        return Err(result);
    }
    let left = Duration::from_millis(WAIT_LEFT_MS.load(Ordering::Relaxed));
    match result.recv_timeout(left.clamp(LEAST_WAIT, WAIT)) {
        Ok(result) => Ok(result),
        Err(_) => {
            let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let less = |left: u64| Some(left.saturating_sub(waited));
            let _ = WAIT_LEFT_MS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            Err(result)
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(text) => write!(f, "Inline({} bytes)", text.len()),
        }
    }
}

impl Pem {
    /// The certificates of authorities.
    ///
    /// # Errors
    ///
    /// When there are none, or when the file does not answer.
    pub fn authorities(&self) -> Result<Authorities, Unreadable> {
        let pem = self.clone();
        match in_time(move || pem.certificates()) {
            Ok(Ok(chain)) => Ok(Authorities(chain)),
            Ok(Err(text)) => Err(Unreadable::Broken(text)),
            Err(_) => Err(Unreadable::Late(self.name("certificate"))),
        }
    }

    /// Blocks as long as the file does.
    fn read(&self) -> Result<String, String> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(path) => {
                let shown = path.display();
                let read = || -> io::Result<Vec<u8>> {
                    let mut bytes = Vec::new();
                    File::open(path)?
                        .take(MAX_LEN + 1)
                        .read_to_end(&mut bytes)?;
                    Ok(bytes)
                };
                let bytes = read().map_err(|e| format!("cannot read {shown}: {}", io_text(&e)))?;
                if bytes.len() as u64 > MAX_LEN {
                    return Err(format!(
                        "{shown} is not PEM, it has more than {MAX_LEN} bytes"
                    ));
                }
                String::from_utf8(bytes)
                    .map_err(|_| format!("{shown} is not PEM, it holds bytes that are no text"))
            }
        }
    }

    /// All certificates; none is an error.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let text = self.read()?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| match e {
                pem::Error::MissingSectionEnd { .. } => {
                    format!(
                        "{} is broken PEM: it has no `-----END CERTIFICATE-----`, is it cut off?",
                        self.name("certificate")
                    )
                }
                e => format!("{} is broken PEM: {e}", self.name("certificate")),
            })?;
        if chain.is_empty() {
            return Err(format!(
                "{} holds no certificate, expected `-----BEGIN CERTIFICATE-----`",
                self.name("certificate")
            ));
        }
        Ok(chain)
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.read()?.as_bytes()).map_err(|_| {
            format!(
                "{} holds no private key, expected `-----BEGIN PRIVATE KEY-----`",
                self.name("key")
            )
        })
    }

    pub(super) fn name(&self, inline: &str) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(_) => format!("`{inline}`"),
        }
    }

    /// The state of a file; only of a proper one, for reading another thing may empty it.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let Self::File(path) = self else { return None };
        let meta = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Stamp {
            modified: (meta.mtime(), meta.mtime_nsec()),
            inode: meta.ino(),
            len: meta.len(),
        })
    }

    /// What is in the place of a file, where that is no file.
    pub(super) fn oddity(&self) -> Option<String> {
        let Self::File(path) = self else { return None };
        let meta = path.metadata().ok().filter(|meta| !meta.is_file())?;
        let what = if meta.is_dir() {
            "a directory"
        } else {
            "a pipe or a device"
        };
        Some(format!("{} is {what} now", path.display()))
    }
}

/// What the system said, in lower case and without the number.
fn io_text(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => e.to_string(),
    }
}
