//! Listening sockets that go from one process to another: from the service manager to us (`LISTEN_FDS`, sd_listen_fds(3)),
//! and from a process to the one that takes its place.
//!
//! They belong to the process, as descriptors do. What was handed over waits here until somebody would listen at its place;
//! where we listen is known here as long as we do.

use std::env;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use listenfd::ListenFd;
use socket2::{SockRef, Socket};

use super::unix::SocketFile;

/// What is known of the sockets from one mobula to the next, a letter for each.
const HOW: &str = "MOBULA_SOCKETS";

/// How a socket is handed from one mobula to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By its address.
    Plain,
    /// The config asks for port 0.
    AnyPort,
    /// With a file that goes when the listener does.
    OwnFile,
    /// No listener, but the way to the process before.
    Parent,
}

/// A socket that was handed over.
struct Handed {
    socket: Socket,
    at: Place,
    how: How,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
    Abstract(Vec<u8>),
}

/// A socket of ours that listens.
struct Open {
    socket: Weak<dyn AsFd + Send + Sync>,
    any_port: bool,
    file: Option<Weak<SocketFile>>,
}

/// All of our listening sockets, for the process that takes our place.
pub struct All {
    /// In this order from descriptor 3 on.
    pub sockets: Vec<OwnedFd>,
    /// What the next process must be told, the name of a variable and its value.
    pub told: (&'static str, String),
}

static HANDED: Mutex<Vec<Handed>> = Mutex::new(Vec::new());
static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

/// Takes the sockets that the environment names, and gives the way to the process whose place is taken. To be called
/// first of all: it changes the environment.
pub fn take_over() -> Option<UnixStream> {
    let how = env::var(HOW).unwrap_or_default();
    let mut how = how.chars().map(How::of);
    let mut listed = ListenFd::from_env();
    let mut parent = None;
    for index in 0..listed.len() {
        let how = how.next().unwrap_or(How::Plain);
        let socket = socket(&mut listed, index);
        match socket.map(Socket::from) {
            Some(socket) if how == How::Parent => {
                parent = Some(UnixStream::from(OwnedFd::from(socket)))
            }
            Some(socket) => {
                if let Some(at) = Place::of(&socket) {
                    lock(&HANDED).push(Handed { socket, at, how });
                }
            }
            None => {}
        }
    }
    parent
}

fn socket(listed: &mut ListenFd, index: usize) -> Option<OwnedFd> {
    if let Ok(Some(listener)) = listed.take_tcp_listener(index) {
        return Some(listener.into());
    }
    if let Ok(Some(socket)) = listed.take_udp_socket(index) {
        return Some(socket.into());
    }
    let listener = listed.take_unix_listener(index).ok()??;
    Some(listener.into())
}

/// Whether a socket that listens for connections here was handed over and waits.
pub fn holds(at: SocketAddr) -> bool {
    lock(&HANDED)
        .iter()
        .any(|handed| handed.at == Place::Tcp(at))
}

/// Closes what nobody has listened at, and tells what that is.
pub fn close_unused() -> Vec<String> {
    let unused = std::mem::take(&mut *lock(&HANDED));
    unused.iter().map(|handed| handed.at.to_string()).collect()
}

/// All that listens at this moment.
///
/// # Errors
///
/// When there is no room for more descriptors.
pub fn all(parent: UnixStream) -> io::Result<All> {
    let mut open = lock(&OPEN);
    open.retain(|open| open.socket.strong_count() > 0);
    let mut all = All {
        sockets: Vec::new(),
        told: (HOW, String::new()),
    };
    for open in open.iter() {
        let Some(socket) = open.socket.upgrade() else {
            continue;
        };
        all.sockets.push(socket.as_fd().try_clone_to_owned()?);
        let how = match &open.file {
            Some(_) => How::OwnFile,
            None if open.any_port => How::AnyPort,
            None => How::Plain,
        };
        all.told.1.push(how.letter());
    }
    all.sockets.push(parent.into());
    all.told.1.push(How::Parent.letter());
    Ok(all)
}

/// The files of unix sockets are another process' from here on.
pub fn leave_files() {
    let open = lock(&OPEN);
    let files = open.iter().filter_map(|open| open.file.as_ref()?.upgrade());
    files.for_each(|file| file.leave());
}

/// The TCP listener that was handed over for `wanted`.
pub(super) fn tcp(wanted: SocketAddr, v6_only: bool) -> Option<Socket> {
    take(|handed| matches!(handed.at, Place::Tcp(at) if handed.is_for(at, wanted, v6_only)))
        .map(|handed| handed.socket)
}

/// The UDP socket that was handed over for `wanted`.
pub(super) fn udp(wanted: SocketAddr, v6_only: bool) -> Option<Socket> {
    take(|handed| matches!(handed.at, Place::Udp(at) if handed.is_for(at, wanted, v6_only)))
        .map(|handed| handed.socket)
}

/// The listener that was handed over for a path, and whether the file is to go with it.
pub(super) fn unix(path: &Path) -> Option<(Socket, bool)> {
    let handed = take(|handed| matches!(&handed.at, Place::Unix(at) if at == path))?;
    Some((handed.socket, handed.how == How::OwnFile))
}

/// The listener that was handed over for an abstract name.
pub(super) fn by_name(name: &[u8]) -> Option<Socket> {
    take(|handed| matches!(&handed.at, Place::Abstract(at) if at == name))
        .map(|handed| handed.socket)
}

/// From here on the socket can be handed to another process, as long as it is there.
pub(super) fn remember<S: AsFd + Send + Sync + 'static>(
    socket: &Arc<S>,
    any_port: bool,
    file: Option<&Arc<SocketFile>>,
) {
    let socket: Arc<dyn AsFd + Send + Sync> = socket.clone();
    let mut open = lock(&OPEN);
    open.retain(|open| open.socket.strong_count() > 0);
    open.push(Open {
        socket: Arc::downgrade(&socket),
        any_port,
        file: file.map(Arc::downgrade),
    });
}

fn take(is_it: impl Fn(&Handed) -> bool) -> Option<Handed> {
    let mut handed = lock(&HANDED);
    let index = handed.iter().position(is_it)?;
    Some(handed.remove(index))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl How {
    fn of(letter: char) -> Self {
        match letter {
            'a' => Self::AnyPort,
            'f' => Self::OwnFile,
            'p' => Self::Parent,
            _ => Self::Plain,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Plain => '-',
            Self::AnyPort => 'a',
            Self::OwnFile => 'f',
            Self::Parent => 'p',
        }
    }
}

impl Handed {
    /// Whether who would listen at `wanted` is served by this one, which is `at`. On every address it must be so for as many
    /// families.
    fn is_for(&self, at: SocketAddr, wanted: SocketAddr, v6_only: bool) -> bool {
        let port = match self.how {
            How::AnyPort => wanted.port() == 0,
            _ => wanted.port() == at.port(),
        };
        let only_v6 = SockRef::from(&self.socket).only_v6().unwrap_or(false);
        port && is_same(at.ip(), only_v6, wanted.ip(), v6_only)
    }
}

/// Whether a socket on `at` takes what one on `wanted` would take.
fn is_same(at: IpAddr, only_v6: bool, wanted: IpAddr, v6_only: bool) -> bool {
    if !wanted.is_unspecified() {
        return at.to_canonical() == wanted.to_canonical();
    }
    at.is_unspecified()
        && match at {
            IpAddr::V6(_) => only_v6 == v6_only,
            IpAddr::V4(_) => wanted.is_ipv4() && !v6_only,
        }
}

impl Place {
    /// Where a socket listens; `None` when it does not.
    fn of(socket: &Socket) -> Option<Self> {
        let addr = socket.local_addr().ok()?;
        let is_stream = socket.r#type().ok()? == socket2::Type::STREAM;
        if is_stream && !socket.is_listener().unwrap_or(true) {
            return None;
        }
        if let Some(addr) = addr.as_socket() {
            return Some(match is_stream {
                true => Self::Tcp(addr),
                false => Self::Udp(addr),
            });
        }
        match (addr.as_pathname(), addr.as_abstract_namespace()) {
            (Some(path), _) => Some(Self::Unix(path.to_owned())),
            (_, Some(name)) => Some(Self::Abstract(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => write!(f, "{at}"),
            Self::Udp(at) => write!(f, "{at} (udp)"),
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => {
                let name = std::ffi::OsStr::from_bytes(name);
                write!(f, "@{}", name.to_string_lossy())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_on_every_address_is_for_as_many_families() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (at, only_v6, wanted, v6_only, is) in [
            ("127.0.0.1", false, "127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, "127.0.0.1", false, true),
            ("127.0.0.2", false, "127.0.0.1", false, false),
            ("0.0.0.0", false, "127.0.0.1", false, false),
            ("::", false, "0.0.0.0", false, true),
            ("::", false, "::", false, true),
            ("::", true, "::", false, false),
            ("::", true, "::", true, true),
            ("0.0.0.0", false, "0.0.0.0", false, true),
            ("0.0.0.0", false, "::", false, false),
            ("::1", true, "::1", false, true),
        ] {
            let same = is_same(ip(at), only_v6, ip(wanted), v6_only);
            assert_eq!(same, is, "{at} for {wanted}");
        }
    }

    #[tokio::test]
    async fn what_listens_is_known_as_long_as_it_does() {
        let listener =
            super::super::listen("127.0.0.1:0".parse().unwrap(), &Default::default()).unwrap();
        let at = listener.local_addr().unwrap();
        let is_there = || {
            let (one, _other) = UnixStream::pair().unwrap();
            let all = all(one).unwrap();
            assert_eq!(all.told.1.len(), all.sockets.len());
            let mut told = all.sockets.into_iter().zip(all.told.1.chars());
            told.any(|(socket, how)| {
                let place = Place::of(&Socket::from(socket));
                place == Some(Place::Tcp(at)) && How::of(how) == How::AnyPort
            })
        };
        assert!(is_there());
        drop(listener);
        assert!(!is_there());
    }
}
