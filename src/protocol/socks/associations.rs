//! The associations of an inbound, by the host of their clients.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::mpsc;

use crate::protocol::udp_port::{QUEUED, Received, Replies};
use crate::session::{Source, User};

/// The associations of an inbound, and the UDP ports that its clients are told.
#[derive(Default)]
pub(super) struct Associations(Mutex<State>);

#[derive(Default)]
struct State {
    ports: Vec<SocketAddr>,
    hosts: HashMap<IpAddr, Host>,
    /// The number of the next association.
    next: u64,
}

/// The associations of one address.
#[derive(Default)]
struct Host {
    living: BTreeMap<u64, (Option<Arc<User>>, Weak<()>)>,
    /// Those that nothing has been sent for.
    unused: BTreeMap<u64, Unused>,
}

struct Unused {
    /// The port that its client wants to send from, or 0; a translation on the way may make another one of it.
    port: u16,
    queue: mpsc::Sender<Received>,
    client: Arc<OnceLock<Client>>,
}

/// Where answers go.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) at: SocketAddr,
    pub(super) replies: Replies,
}

/// Whom a new source belongs to.
pub(super) enum Claim {
    /// An association that waits for its first datagram.
    Association(mpsc::Sender<Received>),
    /// A host that has associations, all in use: the user of the latest, and how long that lives.
    Host(Option<Arc<User>>, Weak<()>),
    Nobody,
}

/// An association that its client has yet to hear of.
pub(super) struct Opened {
    pub(super) entry: Entry,
    pub(super) client: Arc<OnceLock<Client>>,
    pub(super) data: mpsc::Receiver<Received>,
}

/// An association among the others, there until this is dropped.
pub(super) struct Entry {
    all: Arc<Associations>,
    host: IpAddr,
    number: u64,
    _alive: Arc<()>,
}

impl Associations {
    /// What a client that had connected to `local` is told to send datagrams to; `None` when this inbound has no UDP
    /// port.
    pub(super) fn told(&self, local: Source, source: Source) -> Option<SocketAddr> {
        let state = self.lock();
        let first = *state.ports.first()?;
        let (Source::Ip(local), Source::Ip(source)) = (local, source) else {
            return Some(first);
        };
        let same = state.ports.iter().find(|at| at.port() == local.port());
        let mut told = *same.unwrap_or(&first);
        if told.ip().is_unspecified() {
            // Like V2Ray: it may be known by another address where the client is, and which one it has asked.
            told.set_ip(
                match (source.ip().to_canonical(), local.ip().to_canonical()) {
                    (client, local) if client.is_loopback() => local,
                    (IpAddr::V4(_), _) => Ipv4Addr::UNSPECIFIED.into(),
                    (IpAddr::V6(_), _) => Ipv6Addr::UNSPECIFIED.into(),
                },
            );
        }
        Some(told)
    }

    /// One more association of `host`, whose client wants to send from `port`.
    pub(super) fn open(
        self: &Arc<Self>,
        host: IpAddr,
        port: u16,
        user: Option<Arc<User>>,
    ) -> Opened {
        let (queue, data) = mpsc::channel(QUEUED);
        let (alive, client) = (Arc::new(()), Arc::<OnceLock<Client>>::default());
        let host = host.to_canonical();
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let of_host = state.hosts.entry(host).or_default();
        let living = (user, Arc::downgrade(&alive));
        of_host.living.insert(number, living);
        let unused = Unused {
            port,
            queue,
            client: client.clone(),
        };
        of_host.unused.insert(number, unused);
        drop(state);
        let entry = Entry {
            all: self.clone(),
            host,
            number,
            _alive: alive,
        };
        Opened {
            entry,
            client,
            data,
        }
    }

    /// A port of the inbound that clients may be told, from now on.
    pub(super) fn add_port(&self, at: Option<SocketAddr>) {
        self.lock().ports.extend(at);
    }

    pub(super) fn remove_port(&self, at: Option<SocketAddr>) {
        self.lock().ports.retain(|port| Some(*port) != at);
    }

    /// Finds out whom the datagrams of a new source belong to; an association without any becomes theirs.
    pub(super) fn claim(&self, client: Client) -> Claim {
        let (host, port) = (client.at.ip(), client.at.port());
        let mut state = self.lock();
        let Some(host) = state.hosts.get_mut(&host) else {
            return Claim::Nobody;
        };
        if let Some(unused) = host.take(port) {
            let _ = unused.client.set(client);
            return Claim::Association(unused.queue);
        }
        match host.living.last_key_value() {
            Some((_, (user, alive))) => Claim::Host(user.clone(), alive.clone()),
            None => Claim::Nobody,
        }
    }

    /// Whether no client has any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().hosts.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// The association that datagrams from `port` belong to, among those without any.
    fn take(&mut self, port: u16) -> Option<Unused> {
        let wanted = self.unused.iter().find(|(_, unused)| unused.port == port);
        let number = *wanted.or_else(|| self.unused.first_key_value())?.0;
        self.unused.remove(&number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.all.lock();
        if let Some(host) = state.hosts.get_mut(&self.host) {
            host.unused.remove(&self.number);
            host.living.remove(&self.number);
            if host.living.is_empty() {
                state.hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_connects_by_loopback_is_told_its_address_and_others_to_ask_where_they_did() {
        let all = Associations::default();
        let at = |text: &str| Source::Ip(text.parse().unwrap());
        let lan = at("192.0.2.9:5000");
        assert_eq!(all.told(at("127.0.0.1:1080"), at("127.0.0.1:5000")), None);
        let ports: [SocketAddr; 2] = ["[::]:1080", "[::]:1081"].map(|at| at.parse().unwrap());
        for at in ports {
            all.add_port(Some(at));
        }
        for (local, source, told) in [
            ("127.0.0.1:1081", at("127.0.0.1:5000"), "127.0.0.1:1081"),
            ("127.0.0.5:1080", at("127.0.0.1:5000"), "127.0.0.5:1080"),
            ("[::1]:1080", at("[::1]:5000"), "[::1]:1080"),
            ("172.17.0.2:1081", lan, "0.0.0.0:1081"),
            ("[fd00::1]:1081", at("[fd00::2]:5000"), "[::]:1081"),
            // A proxy in front said so.
            ("198.51.100.1:443", lan, "0.0.0.0:1080"),
        ] {
            let found = all.told(at(local), source).unwrap();
            assert_eq!(found, told.parse().unwrap(), "{local}");
        }
        for at in ports {
            all.remove_port(Some(at));
        }
        all.add_port("192.0.2.1:1080".parse().ok());
        let found = all.told(at("192.0.2.1:1080"), lan).unwrap();
        assert_eq!(found, "192.0.2.1:1080".parse().unwrap());
    }
}
