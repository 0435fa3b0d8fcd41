//! Who asked: the facts of one session that the access log, routing and statistics want to know.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// A user of an inbound or an account of an outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// V2Ray's label for a user; it need not be an address.
    pub email: Option<String>,
    /// Index into `policy.levels`.
    pub level: u32,
    /// Stands for everybody who comes without a name, so it is nobody's identity.
    pub anonymous: bool,
}

/// Who answers for a session: what all sessions have in common is shared out among owners.
#[derive(Clone, Debug)]
pub enum Owner {
    /// This process, for needs of its own.
    Process,
    /// The same email is the same user, whatever inbound it comes by; without one, the entry is.
    User(Arc<User>),
    /// Whoever has this address. Of IPv6 the first 64 bits count: the rest is free to choose.
    Host(IpAddr),
    /// Whoever comes by a unix socket without a name.
    Unix,
}

/// What kind of inbound a session came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// One for this machine or its network (`socks`, `http`, `dokodemo-door`), or none at all.
    #[default]
    Local,
    /// One for users who come from afar by a protocol of tunnels.
    Tunnel,
}

/// Who a way is opened for: by what kind of inbound, and from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comer {
    pub entry: Entry,
    /// None for this process itself, and where many come by one way.
    pub source: Option<Source>,
}

impl From<Entry> for Comer {
    fn from(entry: Entry) -> Self {
        Self {
            entry,
            source: None,
        }
    }
}

/// A program of this machine that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub id: u32,
    /// Its file; empty when that must not be looked at.
    pub path: String,
}

impl Process {
    /// The last part of its path.
    pub fn name(&self) -> &str {
        let name = self.path.rsplit('/').next();
        name.unwrap_or_default()
    }
}

/// What the head of an HTTP request says: `:method`, `:path`, and its headers in small letters.
pub type Attributes = BTreeMap<String, String>;

/// Where a connection came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// The peer's address, or the one that a trusted proxy named; port 0 when only the IP is known.
    Ip(SocketAddr),
    /// A unix socket has no address.
    #[default]
    Unix,
}

impl Owner {
    /// The user of a session, or the host that it comes from.
    pub fn of(user: Option<&Arc<User>>, source: Source) -> Self {
        match (user, source) {
            (Some(user), _) if !user.anonymous => Self::User(user.clone()),
            (_, Source::Ip(addr)) => Self::Host(network(addr.ip().to_canonical())),
            (_, Source::Unix) => Self::Unix,
        }
    }
}

/// An IPv6 address without the half that a host chooses for itself.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Process, Self::Process) | (Self::Unix, Self::Unix) => true,
            (Self::Host(one), Self::Host(other)) => one == other,
            (Self::User(one), Self::User(other)) => match (&one.email, &other.email) {
                (Some(one), Some(other)) => one == other,
                (None, None) => Arc::ptr_eq(one, other),
                _ => false,
            },
            _ => false,
        }
    }
}

impl Eq for Owner {}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Process | Self::Unix => {}
            Self::Host(ip) => ip.hash(state),
            Self::User(user) => match &user.email {
                Some(email) => email.hash(state),
                None => Arc::as_ptr(user).hash(state),
            },
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("mobula itself"),
            Self::User(user) => match &user.email {
                Some(email) => write!(f, "user {email}"),
                None => f.write_str("a user without an email"),
            },
            Self::Host(ip @ IpAddr::V4(_)) => ip.fmt(f),
            Self::Host(ip @ IpAddr::V6(_)) => write!(f, "{ip}/64"),
            Self::Unix => f.write_str("the unix socket"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl From<SocketAddr> for Source {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_user_where_there_is_one_and_else_a_host() {
        let user = |email: Option<&str>, anonymous| {
            Arc::new(User {
                email: email.map(str::to_owned),
                level: 0,
                anonymous,
            })
        };
        let source = |text: &str| Source::from(text.parse::<SocketAddr>().unwrap());
        let here = source("192.0.2.1:1");
        // A user who is taken away and comes back is the same one.
        let ann = [user(Some("ann"), false), user(Some("ann"), false)];
        assert_eq!(
            Owner::of(Some(&ann[0]), here),
            Owner::of(Some(&ann[1]), source("192.0.2.2:1"))
        );
        let entries = [user(None, false), user(None, false)];
        assert_ne!(
            Owner::of(Some(&entries[0]), here),
            Owner::of(Some(&entries[1]), here)
        );
        let anyone = user(None, true);
        assert_eq!(
            Owner::of(Some(&anyone), here),
            Owner::of(None, source("[::ffff:192.0.2.1]:2"))
        );
        assert_ne!(
            Owner::of(Some(&anyone), here),
            Owner::of(Some(&anyone), source("192.0.2.2:1"))
        );
        let six = |text| Owner::of(None, source(text));
        assert_eq!(six("[2001:db8::1]:1"), six("[2001:db8::ffff:0:0:2]:2"));
        assert_ne!(six("[2001:db8::1]:1"), six("[2001:db8:0:1::1]:1"));
        assert_eq!(six("[2001:db8::1]:1").to_string(), "2001:db8::/64");
    }
}
