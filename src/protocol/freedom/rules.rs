//! Xray's `finalRules`: which addresses `freedom` may send to. They are asked about the address itself, once a name has
//! one, so no name leads around them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::address::{Destination, Network, PortRange, reached_at};
use crate::cause::TcpError;
use crate::log;
use crate::matching::Networks;
use crate::matching::geodata::PRIVATE;
use crate::session::Entry;

/// What a rule does with what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It may go out.
    Allow,
    /// It may not.
    Block,
}

/// One of `finalRules`. What it does not ask for, it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalRule {
    /// `action`.
    pub action: Action,
    /// `network`; all when it is empty.
    pub networks: Vec<Network>,
    /// `port`; all when it is empty.
    pub ports: Vec<PortRange>,
    /// `ip`; all when it is not there.
    pub ips: Option<Networks>,
}

/// The first rule that takes an address holds. Where none does, it may go out, but for one of a private network that
/// somebody asks for who came in by a tunnel (Xray's default, where it has rules).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalRules(pub Arc<[FinalRule]>);

/// The rules as they are for one session.
pub struct Gate {
    rules: FinalRules,
    network: Network,
    entry: Entry,
    /// What messages call the outbound.
    outbound: Arc<str>,
}

impl FinalRule {
    /// One that asks for nothing.
    pub fn of_all(action: Action) -> Self {
        Self {
            action,
            networks: Vec::new(),
            ports: Vec::new(),
            ips: None,
        }
    }

    fn takes(&self, network: Network, at: SocketAddr) -> bool {
        let ports = &self.ports;
        (self.networks.is_empty() || self.networks.contains(&network))
            && (ports.is_empty() || ports.iter().any(|range| range.contains(at.port())))
            && self.ips.as_ref().is_none_or(|ips| ips.reach(at.ip()))
    }

    /// Whether nothing of a network is asked any further.
    fn lets_all_out(&self, network: Network) -> bool {
        self.action == Action::Allow
            && (self.networks.is_empty() || self.networks.contains(&network))
            && self.ports.is_empty()
            && self.ips.is_none()
    }
}

impl FinalRules {
    /// Whether `at` may be sent to.
    fn allow(&self, network: Network, entry: Entry, at: SocketAddr) -> bool {
        match self.0.iter().find(|rule| rule.takes(network, at)) {
            Some(rule) => rule.action == Action::Allow,
            None if self.0.is_empty() || entry == Entry::Local => true,
            None => !PRIVATE.contains(reached_at(at).ip()),
        }
    }

    /// What a session meets; `None` when nothing would be held back.
    pub(super) fn gate(&self, network: Network, entry: Entry, outbound: Arc<str>) -> Option<Gate> {
        let first = self.0.first();
        let is_open = first.is_none_or(|rule| rule.lets_all_out(network));
        (!is_open).then(|| Gate {
            rules: self.clone(),
            network,
            entry,
            outbound,
        })
    }
}

impl Gate {
    /// Those of the addresses of `to` that may be connected to.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub fn admit(
        &self,
        to: &Destination,
        addrs: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, TcpError> {
        let (allowed, held): (Vec<_>, _) = addrs.into_iter().partition(|at| self.allows(*at));
        match allowed.is_empty() {
            true => Err(TcpError::HeldBack {
                to: to.clone(),
                held,
            }),
            false => Ok(allowed),
        }
    }

    /// Whether a datagram may go to `at`, or come from there; that it may not is told to who reads the log.
    pub(super) fn lets(&self, at: SocketAddr) -> bool {
        let allows = self.allows(at);
        if !allows {
            let held = TcpError::HeldBack {
                to: at.into(),
                held: vec![at],
            };
            let kind = format!("{}: datagrams", self.outbound);
            let text = format!(
                "{}: a datagram is dropped, `finalRules` hold back {at}",
                self.outbound
            );
            log::repeated_cause(&kind, &text, Some(held.code()));
        }
        allows
    }

    fn allows(&self, at: SocketAddr) -> bool {
        self.rules.allow(self.network, self.entry, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::parse_network;

    #[test]
    fn the_first_rule_that_takes_an_address_holds() {
        let rules = rules(vec![
            rule(Action::Allow, &["10.0.0.1"]),
            FinalRule {
                ports: vec![PortRange { from: 25, to: 25 }],
                networks: vec![Network::Tcp],
                ..rule(Action::Block, &[])
            },
            rule(Action::Block, &["10.0.0.0/8", "::1"]),
        ]);
        for (at, tcp, udp) in [
            ("10.0.0.1:25", true, true),
            ("10.0.0.2:80", false, false),
            ("[::ffff:10.0.0.2]:80", false, false),
            ("[::]:80", false, false),
            ("192.0.2.1:25", false, true),
            ("192.0.2.1:26", true, true),
        ] {
            let at = at.parse().unwrap();
            assert_eq!(rules.allow(Network::Tcp, Entry::Local, at), tcp, "{at}");
            assert_eq!(rules.allow(Network::Udp, Entry::Local, at), udp, "{at}");
        }
    }

    #[test]
    fn with_rules_those_in_tunnels_are_kept_from_private_addresses_that_no_rule_allows() {
        let some = rules(vec![rule(Action::Allow, &["127.0.0.2"])]);
        for (at, tunnel) in [
            ("127.0.0.1:80", false),
            ("127.0.0.2:80", true),
            ("0.0.0.0:80", false),
            ("[::1]:80", false),
            ("[ff02::1]:80", false),
            ("8.8.8.8:80", true),
        ] {
            let at = at.parse().unwrap();
            assert_eq!(some.allow(Network::Tcp, Entry::Tunnel, at), tunnel, "{at}");
            assert!(some.allow(Network::Tcp, Entry::Local, at), "{at}");
            assert!(FinalRules::default().allow(Network::Tcp, Entry::Tunnel, at));
        }
    }

    #[test]
    fn nothing_is_asked_where_all_may_go_out() {
        let gate = |rules: &FinalRules, network| {
            let gate = rules.gate(network, Entry::Tunnel, "a".into());
            gate.is_some()
        };
        assert!(!gate(&FinalRules::default(), Network::Tcp));
        let tcp = FinalRule {
            networks: vec![Network::Tcp],
            ..rule(Action::Allow, &[])
        };
        let tcp = rules(vec![tcp]);
        assert!(!gate(&tcp, Network::Tcp) && gate(&tcp, Network::Udp));
    }

    fn rules(rules: Vec<FinalRule>) -> FinalRules {
        FinalRules(rules.into())
    }

    fn rule(action: Action, ips: &[&str]) -> FinalRule {
        let inside = ips.iter().map(|ip| parse_network(ip).unwrap());
        let ips = (!ips.is_empty()).then(|| Networks {
            inside: inside.collect(),
            outside: Vec::new(),
        });
        FinalRule {
            ips,
            ..FinalRule::of_all(action)
        }
    }
}
