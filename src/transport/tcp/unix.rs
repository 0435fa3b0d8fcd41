//! Listens on unix sockets, in the file system and in Linux's abstract namespace.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::handed;
use super::listen::{BACKLOG, Listener};

/// Who may connect where nothing else is said: our user alone.
const MODE: u32 = 0o600;

/// Listens on a path. As in V2Ray, `,0666` behind it are the permissions of the file; a socket that a
/// process left behind is replaced, one that somebody listens on is not.
///
/// The file never has wider rights than it ends with: the socket is given [`MODE`] before it is bound, and Linux makes
/// the file with the rights of the socket, less the umask's.
pub fn listen_unix(path: &Path) -> io::Result<Listener> {
    let (path, mode) = split_mode(path);
    if let Some((socket, is_ours)) = handed::unix(&path) {
        let file = is_ours.then(|| SocketFile::new(path)).transpose()?;
        return listener(socket, file);
    }
    if fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_socket()) && nobody_answers(&path)
    {
        fs::remove_file(&path)?;
    }
    let socket = with_mode(Socket::new(Domain::UNIX, Type::STREAM, None)?, MODE);
    socket.bind(&SockAddr::unix(&path)?)?;
    let file = SocketFile::new(path)?;
    // Before anybody can connect; it also undoes what a strict umask has taken away.
    let mode = mode.unwrap_or(MODE);
    if fs::symlink_metadata(&file.path)?.mode() & 0o777 != mode {
        fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    listener(socket, Some(file))
}

fn listener(socket: Socket, file: Option<SocketFile>) -> io::Result<Listener> {
    socket.set_nonblocking(true)?;
    let listener = net::UnixListener::from(OwnedFd::from(socket));
    let listener = Arc::new(UnixListener::from_std(listener)?);
    let file = file.map(Arc::new);
    handed::remember(&listener, false, file.as_ref());
    Ok(Listener::Unix(listener, file))
}

/// Connects to a socket in the file system.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Connects to a socket of the abstract namespace; `name` is whole, zeros at its end included.
pub async fn connect_abstract(name: &[u8]) -> io::Result<UnixStream> {
    // As tokio wants to have it said.
    let path = [&[0], name].concat();
    UnixStream::connect(OsStr::from_bytes(&path)).await
}

/// Listens on `@name` of the abstract namespace; `name` is without the `@`. As in V2Ray, a second `@`
/// asks for a name that fills the whole address with zeros behind it, which is how HAProxy reads `abns@`.
pub fn listen_abstract(name: &[u8]) -> io::Result<Listener> {
    let name = &*whole(name);
    if let Some(socket) = handed::by_name(name) {
        return listener(socket, None);
    }
    let addr = net::SocketAddr::from_abstract_name(name)?;
    let bound = net::UnixListener::bind_addr(&addr)?;
    listener(Socket::from(OwnedFd::from(bound)), None)
}

/// Where a unix socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixSocket {
    /// In the file system.
    Path(PathBuf),
    /// In the abstract namespace; as [`listen_abstract`] has it.
    Abstract(Vec<u8>),
}

impl UnixSocket {
    /// Connects to it.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or we may not.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Path(path) => connect_unix(path).await,
            Self::Abstract(name) => connect_abstract(&whole(name)).await,
        }
    }
}

impl fmt::Display for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => {
                let name = String::from_utf8_lossy(name);
                write!(f, "@{}", name.escape_debug())
            }
        }
    }
}

/// The name that one in a config stands for, see [`listen_abstract`].
fn whole(name: &[u8]) -> Cow<'_, [u8]> {
    /// `sun_path`, without the zero that marks an abstract name.
    const WHOLE: usize = 107;
    match name.strip_prefix(b"@") {
        Some(name) if name.len() <= WHOLE => {
            let mut padded = name.to_vec();
            padded.resize(WHOLE, 0);
            padded.into()
        }
        _ => name.into(),
    }
}

/// A socket is a file too, and has rights before it has a name.
fn with_mode(socket: Socket, mode: u32) -> Socket {
    let file = File::from(OwnedFd::from(socket));
    // A kernel that knows nothing of it leaves a file that nobody can connect to before it is corrected.
    let _ = file.set_permissions(fs::Permissions::from_mode(mode));
    Socket::from(OwnedFd::from(file))
}

/// A path for [`listen_unix`] of which nothing is a mode.
pub fn without_mode(path: PathBuf) -> PathBuf {
    match split_mode(&path) {
        (_, None) => path,
        // One behind it, and what looks like a mode is none.
        (_, Some(_)) => join_mode(path, MODE),
    }
}

/// A path with a mode behind it, as [`split_mode`] reads it.
pub fn join_mode(path: PathBuf, mode: u32) -> PathBuf {
    let mut whole = path.into_os_string();
    whole.push(format!(",{mode:04o}"));
    whole.into()
}

/// The path of a socket, and the mode that stands behind it.
pub fn split_mode(path: &Path) -> (PathBuf, Option<u32>) {
    let split = path.to_str().and_then(|text| {
        let (path, mode) = text.rsplit_once(',')?;
        let mode = u32::from_str_radix(mode, 8).ok().filter(|m| *m <= 0o777)?;
        Some((PathBuf::from(path), Some(mode)))
    });
    split.unwrap_or_else(|| (path.to_owned(), None))
}

fn nobody_answers(path: &Path) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A listener whose backlog is full would block us, and is one.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    connect().is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// The file of a unix socket, removed when it is dropped, unless another one has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
    /// It is another process' by now.
    left: AtomicBool,
}

impl SocketFile {
    fn new(path: PathBuf) -> io::Result<Self> {
        let id = file_id(&path)?;
        Ok(Self {
            path,
            id,
            left: AtomicBool::new(false),
        })
    }

    /// The file stays: another process listens there.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let left = self.left.load(Ordering::Relaxed);
        if !left && file_id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Source;
    use std::collections::BTreeSet;
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn a_unix_socket_replaces_a_stale_file_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mobula.sock");
        // What a killed process leaves behind.
        drop(net::UnixListener::bind(&path).unwrap());
        let with_mode = PathBuf::from(format!("{},0600", path.display()));
        let listener = listen_unix(&with_mode).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(&path).await.unwrap();
        let arrival = listener.accept().await.unwrap();
        assert_eq!(arrival.source, Source::Unix);

        let taken = listen_unix(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_is_ours_alone_from_its_first_moment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mobula.sock");
        let (seen, done) = (path.clone(), Arc::new(AtomicBool::new(false)));
        let watching = done.clone();
        let watcher = std::thread::spawn(move || {
            let mut modes = BTreeSet::new();
            while !watching.load(Ordering::Relaxed) {
                modes.extend(fs::symlink_metadata(&seen).map(|m| m.mode() & 0o777));
            }
            modes
        });
        for _ in 0..2000 {
            drop(listen_unix(&path).unwrap());
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(watcher.join().unwrap(), BTreeSet::from([0o600]));
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(listen_unix(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn an_abstract_name_is_listened_on() {
        let name = format!("mobula-test-{}", std::process::id());
        let listener = listen_abstract(name.as_bytes()).unwrap();
        let addr = net::SocketAddr::from_abstract_name(&name).unwrap();
        let _client = net::UnixStream::connect_addr(&addr).unwrap();
        listener.accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_second_at_sign_asks_for_a_padded_name() {
        let name = format!("mobula-padded-{}", std::process::id());
        let listener = listen_abstract(format!("@{name}").as_bytes()).unwrap();
        let mut whole = name.into_bytes();
        whole.resize(107, 0);
        let addr = net::SocketAddr::from_abstract_name(&whole).unwrap();
        let _client = net::UnixStream::connect_addr(&addr).unwrap();
        listener.accept().await.unwrap();
    }
}
