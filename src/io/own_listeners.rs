//! Where this process itself listens, and which connections it makes there itself.
//!
//! Whoever may use a proxy can have it connect to the machine that it runs on, and comes from there then: to
//! a listener that trusts this machine, as the API does, they look like its operator. So connections to
//! such a listener are refused before they are made, and one to another listener of ours is remembered, so
//! that its other end can tell whose it is.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::session::Source;

/// Where we listen, by port.
static DOORS: LazyLock<RwLock<HashMap<u16, Vec<Door>>>> = LazyLock::new(RwLock::default);

/// Connections of ours that nobody has accepted yet, by their own end.
static DIALLED: LazyLock<Mutex<HashMap<SocketAddr, Instant>>> = LazyLock::new(Mutex::default);

/// How long a connection may wait to be accepted; nobody remembers then who made it.
const FORGET: Duration = Duration::from_secs(3600);

/// Forgotten connections are looked for when there are so many.
const MANY: usize = 1024;

struct Door {
    id: u64,
    at: SocketAddr,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Serves this process' operator; the text says what it is.
    Control(&'static str),
    /// Sessions come in, and rules say where they go.
    Inbound,
}

/// A listener of this process, as long as it lives.
#[must_use]
#[derive(Debug)]
pub struct Listening {
    id: u64,
    port: u16,
}

/// Why a connection is not made.
#[derive(Debug, Error)]
#[error("{0}")]
struct Kept(String);

/// A connection that is about to be made to a listener of ours.
#[must_use]
pub struct Dialling(SocketAddr);

impl Listening {
    /// A listener that serves this process' operator, `what` it is: no connection of ours may go there.
    pub fn control(at: SocketAddr, what: &'static str) -> Self {
        Self::new(at, Kind::Control(what))
    }

    /// Any other listener, whose connections [`is_own`] tells apart.
    pub fn inbound(at: SocketAddr) -> Self {
        Self::new(at, Kind::Inbound)
    }

    fn new(at: SocketAddr, kind: Kind) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (id, port) = (NEXT.fetch_add(1, Ordering::Relaxed), at.port());
        let mut doors = DOORS.write().unwrap_or_else(PoisonError::into_inner);
        doors.entry(port).or_default().push(Door { id, at, kind });
        Self { id, port }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut doors = DOORS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = doors.get_mut(&self.port) {
            here.retain(|door| door.id != self.id);
            if here.is_empty() {
                doors.remove(&self.port);
            }
        }
    }
}

/// Whether a connection to `to` would come to a listener of ours; an error when it may not.
pub fn comes_back(to: SocketAddr) -> io::Result<bool> {
    let doors = DOORS.read().unwrap_or_else(PoisonError::into_inner);
    let here = doors.get(&to.port()).map_or(&[][..], Vec::as_slice);
    let mut comes = false;
    for door in here.iter().filter(|door| leads(to, door.at)) {
        comes = true;
        if let Kind::Control(what) = door.kind {
            return Err(kept(format!(
                "{what} of this process listens there, and no session may go to it"
            )));
        }
    }
    Ok(comes)
}

fn leads(to: SocketAddr, door: SocketAddr) -> bool {
    let (ip, on) = (to.ip().to_canonical(), door.ip().to_canonical());
    ip == on || (on.is_unspecified() && is_here(to))
}

/// Whether the address is one of this machine's, where a link-local one counts on its own interface alone.
fn is_here(mut addr: SocketAddr) -> bool {
    addr.set_port(0);
    UdpSocket::bind(addr).is_ok()
}

/// An error that [`is_kept`] knows.
pub fn kept(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, Kept(text))
}

/// Whether a connection failed because it may not be made.
pub fn is_kept(error: &io::Error) -> bool {
    let mut at: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(here) = at {
        // An `io::Error` names the cause of what it holds as its own.
        let held = here
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if held.is_some_and(|held| held.is::<Kept>()) {
            return true;
        }
        at = held.map_or_else(|| here.source(), |held| held.source());
    }
    false
}

impl Dialling {
    /// From `local`, which the socket is bound to already: the other end may be quick.
    pub fn new(local: SocketAddr) -> Self {
        let local = canonical(local);
        let mut dialled = dialled();
        if dialled.len() >= MANY {
            dialled.retain(|_, since| since.elapsed() < FORGET);
        }
        dialled.insert(local, Instant::now());
        Self(local)
    }

    /// The connection is there, and the other end will be told.
    pub fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        dialled().remove(&self.0);
    }
}

/// Whether the connection that came from `source` is one of ours. It is told once.
pub fn is_own(source: Source) -> bool {
    let Source::Ip(peer) = source else {
        return false;
    };
    let mut dialled = dialled();
    if dialled.is_empty() {
        return false;
    }
    let peer = canonical(peer);
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let any = SocketAddr::new(any, peer.port());
    let since = match dialled.remove(&peer) {
        // A port of ours on another machine is none of ours.
        None if dialled.contains_key(&any) && may_be_here(peer) => dialled.remove(&any),
        since => since,
    };
    since.is_some_and(|since| since.elapsed() < FORGET)
}

/// The interface of a link-local address is not told.
fn may_be_here(addr: SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()) || is_here(addr)
}

fn dialled() -> MutexGuard<'static, HashMap<SocketAddr, Instant>> {
    DIALLED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_to_a_listener_for_the_operator_by_any_address() {
        let port = 1;
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
        assert!(!comes_back(at("127.0.0.1")).unwrap());
        let listening = Listening::control(at("127.0.0.1"), "the API");
        let error = comes_back(at("::ffff:127.0.0.1")).unwrap_err();
        assert!(is_kept(&error), "{error}");
        assert!(
            !comes_back(at("127.0.0.2")).unwrap(),
            "nobody listens there"
        );
        assert!(!comes_back(SocketAddr::new(at("127.0.0.1").ip(), 2)).unwrap());
        for any in ["0.0.0.0", "::"] {
            let _listening = Listening::control(at(any), "the API");
            for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
                assert!(comes_back(at(ip)).is_err(), "{ip} on {any}");
            }
            assert!(!comes_back(at("192.0.2.1")).unwrap(), "another machine");
        }
        assert!(
            comes_back(at("127.0.0.1")).is_err(),
            "the first one is there"
        );
        drop(listening);
        assert!(!comes_back(at("127.0.0.1")).unwrap());
    }

    #[test]
    fn a_connection_of_ours_is_known_at_its_other_end_once() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let from = |text: &str| Source::Ip(addr(text));
        Dialling::new(addr("0.0.0.0:3")).done();
        assert!(!is_own(from("192.0.2.1:3")), "another machine's port");
        assert!(!is_own(from("[::1]:3")) && !is_own(from("127.0.0.1:4")));
        assert!(is_own(from("[::ffff:127.0.0.1]:3")));
        assert!(!is_own(from("127.0.0.1:3")));
        Dialling::new(addr("192.0.2.7:3")).done();
        assert!(is_own(from("192.0.2.7:3")), "a transparent one");
        Dialling::new(addr("[::]:3")).done();
        assert!(is_own(from("[fe80::1]:3")), "by an address of an interface");
        drop(Dialling::new(addr("[::]:3")));
        assert!(!is_own(from("[::1]:3")), "it was never made");
        assert!(!is_own(Source::Unix));
    }
}
