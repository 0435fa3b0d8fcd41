//! Who is counted, and under which name.
//!
//! ```text
//! user>>>EMAIL>>>traffic>>>uplink         what the application sends, once for every session
//! inbound>>>TAG>>>traffic>>>downlink      what the inbound's protocol writes, below it TLS and WebSocket
//! outbound>>>TAG>>>traffic>>>uplink       what the outbound's protocol writes, likewise
//! user>>>EMAIL>>>online                   the addresses that sessions come from, by Xray's `statsUserOnline`
//! ```

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::policy::{Counted, Policy};
use crate::session::{Source, User};
use crate::stats::{Presence, Registry, Traffic};

/// Finds the counters of users, inbounds and outbounds.
pub struct Counting {
    policy: Arc<Policy>,
    /// Without it nothing is counted, whatever the policy says.
    registry: Option<Arc<Registry>>,
    /// Counts what the policy does not ask for, too.
    everything: bool,
}

impl Counting {
    pub fn new(policy: Arc<Policy>, registry: Option<Arc<Registry>>) -> Self {
        Self {
            policy,
            registry,
            everything: false,
        }
    }

    /// Whether all are counted, whatever the policy says.
    #[must_use]
    pub fn everything(self, everything: bool) -> Self {
        Self { everything, ..self }
    }

    pub fn inbound(&self, tag: Option<&str>) -> Traffic {
        self.traffic("inbound", tag, self.policy.system.inbounds)
    }

    pub fn outbound(&self, tag: Option<&str>) -> Traffic {
        self.traffic("outbound", tag, self.policy.system.outbounds)
    }

    /// Those without an email are not counted.
    pub fn user(&self, user: Option<&User>) -> Traffic {
        let Some(user) = user else {
            return Traffic::default();
        };
        let counted = self.policy.level(user.level).counted;
        self.traffic("user", user.email.as_deref(), counted)
    }

    /// A session from `source` counts as long as this is kept.
    pub fn presence(&self, user: Option<&User>, source: Source) -> Option<Presence> {
        let (Some(registry), Some(user), Source::Ip(addr)) = (&self.registry, user, source) else {
            return None;
        };
        if !self.policy.level(user.level).online {
            return None;
        }
        let email = user.email.as_deref()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs() as i64);
        let online = registry.online(&format!("user>>>{email}>>>online"));
        online.enter(addr.ip(), now)
    }

    fn traffic(&self, kind: &str, name: Option<&str>, counted: Counted) -> Traffic {
        let (Some(registry), Some(name)) = (&self.registry, name) else {
            return Traffic::default();
        };
        let counter = |direction| {
            let name = format!("{kind}>>>{name}>>>traffic>>>{direction}");
            registry.counter(&name)
        };
        Traffic {
            uplink: (counted.uplink || self.everything).then(|| counter("uplink")),
            downlink: (counted.downlink || self.everything).then(|| counter("downlink")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Level, System};
    use std::collections::BTreeMap;

    #[test]
    fn counters_are_there_for_those_whom_the_policy_names() {
        let up = Counted {
            uplink: true,
            downlink: false,
        };
        let policy = Arc::new(Policy {
            levels: BTreeMap::from([(
                1,
                Level {
                    counted: up,
                    ..Level::default()
                },
            )]),
            system: System {
                outbounds: up,
                ..System::default()
            },
        });
        let registry = Arc::new(Registry::default());
        let counting = Counting::new(policy.clone(), Some(registry.clone()));
        let user = |email: Option<&str>, level| User {
            email: email.map(str::to_owned),
            level,
            anonymous: false,
        };
        assert!(counting.user(Some(&user(Some("a@b"), 0))).uplink.is_none());
        assert!(counting.user(Some(&user(None, 1))).uplink.is_none());
        assert!(counting.user(None).uplink.is_none());
        counting.user(Some(&user(Some("A@b"), 1))).add_uplink(7);
        assert!(counting.inbound(Some("in")).uplink.is_none());
        assert!(counting.outbound(None).uplink.is_none());
        let out = counting.outbound(Some("out"));
        assert!(out.uplink.is_some() && out.downlink.is_none());
        let all: Vec<_> = registry
            .select(|_| true)
            .into_iter()
            .map(|(name, counter)| (name, counter.get()))
            .collect();
        assert_eq!(
            all,
            [
                ("outbound>>>out>>>traffic>>>uplink".to_owned(), 0),
                ("user>>>A@b>>>traffic>>>uplink".to_owned(), 7),
            ]
        );
        let off = Counting::new(policy, None);
        assert!(off.outbound(Some("out")).uplink.is_none());
    }
}
