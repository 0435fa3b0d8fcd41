//! What a config says about the built-in DNS.

#![warn(missing_docs)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use thiserror::Error;

use super::{Families, Via};
use crate::address::Destination;
use crate::matching::{Domains, Networks, Pattern, PatternError};

/// V2Ray's `dns`. By default the system is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `hosts`: names that are answered without a server. All entries that match count, the closest first.
    pub hosts: Vec<HostEntry>,
    /// Xray's `useSystemHosts`: the names of the system's hosts file are answered as those of `hosts`.
    pub system_hosts: bool,
    /// Asked in their order; without any, the system is.
    pub servers: Vec<Server>,
    /// `queryStrategy`.
    pub families: Families,
    /// Which servers are asked for a name that belongs to none.
    pub fallback: Fallback,
    /// `fakedns`: networks whose addresses are made up for names. Those of servers count as well; networks that overlap
    /// are one and the same.
    pub fakes: Vec<FakePool>,
}

/// A network whose addresses stand for names; has always more addresses than names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakePool {
    network: IpNet,
    names: NonZeroUsize,
}

/// Why a network cannot be a pool.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FakePoolError {
    /// One address always waits for the next name.
    #[error("{0} is a single address, expected a network such as `198.18.0.0/15`")]
    SingleAddress(IpNet),
    /// Nothing would be handed out.
    #[error("no name would be remembered, expected at least 1")]
    NoName,
    /// A name would find no address.
    #[error("{0} names are more than {1} has addresses for, expected at most {2}")]
    TooManyNames(usize, IpNet, u128),
}

/// Names, and what the config says of them.
#[derive(Clone, Debug, PartialEq)]
pub struct HostEntry {
    /// Whose addresses they are.
    pub names: HostNames,
    /// Addresses, or a single name that is asked for in their place.
    pub values: Vec<HostValue>,
}

/// The names that an entry is for.
#[derive(Clone, Debug, PartialEq)]
pub enum HostNames {
    /// This name alone.
    Full(String),
    /// This name and all below it.
    Domain(String),
    /// Keywords, expressions, whole categories; [ranked](Domains::ranked).
    Set(Domains),
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostValue {
    /// An address of the name.
    Ip(IpAddr),
    /// Another name, which is asked for in its place.
    Name(String),
    /// Xray's `#3`: no address, and this response code.
    Code(u16),
}

/// Whether servers are asked for names that are not of their `domains`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Every server, in their order.
    #[default]
    Always,
    /// `disableFallbackIfMatch`: not when a server has the name among its `domains`.
    WithoutMatch,
    /// `disableFallback`.
    Never,
}

/// One of `servers`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// As messages call it.
    pub name: String,
    /// Where it is, and how it is asked.
    pub upstream: Upstream,
    /// How its questions travel; the tag is `tag`, its own or that of the whole section. Nothing travels to the system.
    pub via: Via,
    /// `clientIp`: where the server is told that the asker is.
    pub client_ip: Option<IpAddr>,
    /// `domains`: names that this server is asked for before others; [ranked](Domains::ranked).
    pub domains: Option<Domains>,
    /// `expectIPs`: of what it says, only these addresses count.
    pub expected: Option<Networks>,
    /// `*` among them, Xray's: where none of the addresses is expected, all count.
    pub prefers_expected: bool,
    /// `unexpectedIPs`, Xray's: of what it says, these addresses do not count.
    pub unexpected: Option<Networks>,
    /// `*` among them: where all of the addresses are such, all count.
    pub prefers_others: bool,
    /// `skipFallback`: it is asked only for the names of `domains`.
    pub skip_fallback: bool,
    /// `fallbackStrategy` of V2Ray 5, where it has its own.
    pub fallback: Option<Fallback>,
    /// `finalQuery`, Xray's: when it has no answer, no other server is asked.
    pub is_last: bool,
    /// `queryStrategy`, within that of the whole section.
    pub families: Families,
    /// Whether its answers are remembered (by default they are).
    pub caches: bool,
    /// `timeoutMs`, Xray's: how long an answer is waited for, 4 s by default, as V2Ray waits for any server.
    pub patience: Duration,
    /// `fakedns`: clients that ask through a `dns` outbound are given addresses of these in place of its answers.
    pub fakes: Vec<FakePool>,
}

/// How long a server has for an answer where nothing says so.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// How a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// `localhost`: by the resolver of the system. It is asked first for the names of houses and offices.
    System,
    /// `fakedns`: not at all. It has made-up addresses for clients, and is passed over by everyone else.
    Fake,
    /// By UDP, and by TCP when a reply has no room.
    Udp(Destination),
    /// `tcp://`.
    Tcp(Destination),
    /// `tls://`, mobula's own: DNS over TLS (RFC 7858).
    Tls(Destination),
    /// `https://`, or with `http://` HTTP/2 without TLS (Xray's `h2c://`); the URL has a host, and `to` is where that is.
    Https {
        /// Its address as it is written.
        url: Uri,
        /// Where that is.
        to: Destination,
    },
}

impl Settings {
    /// The tags that questions come in by when rules are asked.
    pub fn inbounds(&self) -> impl Iterator<Item = &Arc<str>> {
        self.servers.iter().filter_map(|server| match &server.via {
            Via::Routed(tag) => tag.as_ref(),
            Via::Direct => None,
        })
    }
}

impl HostNames {
    /// # Errors
    ///
    /// When a regular expression is not one.
    pub fn new(patterns: Vec<Pattern>) -> Result<Self, PatternError> {
        Ok(match &patterns[..] {
            [Pattern::Full(name)] => Self::Full(name.clone()),
            [Pattern::Domain(name)] => Self::Domain(name.clone()),
            _ => Self::Set(Domains::ranked(patterns)?),
        })
    }
}

impl Server {
    /// One with V2Ray's defaults.
    pub fn new(name: impl Into<String>, upstream: Upstream) -> Self {
        Self {
            name: name.into(),
            upstream,
            via: Via::Routed(None),
            client_ip: None,
            domains: None,
            expected: None,
            prefers_expected: false,
            unexpected: None,
            prefers_others: false,
            skip_fallback: false,
            fallback: None,
            is_last: false,
            families: Families::BOTH,
            caches: true,
            patience: PATIENCE,
            fakes: Vec::new(),
        }
    }
}

impl FakePool {
    /// Made up are the addresses of `network`, first the one that it is written with, for the last `names` names.
    ///
    /// # Errors
    ///
    /// When there are not more addresses than names, or no names.
    pub fn new(network: IpNet, names: usize) -> Result<Self, FakePoolError> {
        let most = Self::most_names(network);
        if most == 0 {
            return Err(FakePoolError::SingleAddress(network));
        }
        let names = NonZeroUsize::new(names).ok_or(FakePoolError::NoName)?;
        let pool = Self { network, names };
        match names.get() as u128 > most {
            true => Err(FakePoolError::TooManyNames(names.get(), network, most)),
            false => Ok(pool),
        }
    }

    /// With as many names as V2Ray's manual says, or as there is room for.
    ///
    /// # Errors
    ///
    /// When there is but one address.
    pub fn of_usual_size(network: IpNet) -> Result<Self, FakePoolError> {
        let most = Self::most_names(network).try_into();
        Self::new(network, USUAL_NAMES.min(most.unwrap_or(usize::MAX)))
    }

    /// V2Ray 4.45's where a config names none: a network of each family that may be asked for.
    pub fn usual(families: Families) -> Vec<Self> {
        let v4 = IpNet::new(Ipv4Addr::new(198, 18, 0, 0).into(), 15);
        let v6 = IpNet::new(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0).into(), 18);
        let both = [v4, v6].map(|network| network.expect("these are lengths of prefixes"));
        let wanted = both
            .into_iter()
            .filter(|network| families.allow(network.addr()));
        let names = match families == Families::BOTH {
            true => USUAL_NAMES / 2 + 1,
            false => USUAL_NAMES,
        };
        wanted
            .filter_map(|network| Self::new(network, names).ok())
            .collect()
    }

    /// Its addresses, written with the first one that is handed out.
    pub fn network(&self) -> IpNet {
        self.network
    }

    /// How many names are remembered.
    pub fn names(&self) -> NonZeroUsize {
        self.names
    }

    /// The numbers of the addresses beside the one that waits for the next name.
    fn most_names(network: IpNet) -> u128 {
        match network.hostmask() {
            IpAddr::V4(mask) => mask.to_bits().into(),
            IpAddr::V6(mask) => mask.to_bits(),
        }
    }
}

/// As V2Ray's manual and its code.
const USUAL_NAMES: usize = 65535;
