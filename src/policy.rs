//! What a session may take: V2Ray's `policy`, by the level of its user, and for the whole system.
//!
//! The inbound's user has a level, and so has the outbound (its account, or freedom's `userLevel`). V2Ray
//! watches a session from both ends, each with a timer of its own level; whichever rings first ends it.

use std::collections::BTreeMap;
use std::time::Duration;

/// V2Ray's `policy`: the levels that are named, and what holds for all users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `levels`; V2Ray's defaults hold for all others.
    pub levels: BTreeMap<u32, Level>,
    /// `system`.
    pub system: System,
}

/// What holds for the users of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// `handshake`: how long a peer may take over its request; 60 s.
    pub handshake: Duration,
    /// How long a session may be silent.
    pub limits: Limits,
    /// `statsUserUplink`, `statsUserDownlink`: whether a user's traffic is counted.
    pub counted: Counted,
    /// `statsUserOnline`, Xray's: whether it is counted from which addresses a user comes.
    pub online: bool,
    /// `bufferSize`, in bytes (V2Ray counts in KiB): the most that is read at once, and so kept for a peer that does not
    /// take it; a read has a bound of its own as well. By default there is no other.
    pub buffer: usize,
    /// `connections`: those that one user may have at a time; 0 is no bound.
    pub connections: u32,
    /// What all tunnels of one user carry.
    pub rates: Rates,
}

/// `uplinkRate` and `downlinkRate`, in bytes a second, which all tunnels of a user share; 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub uplink: u64,
    pub downlink: u64,
}

/// How long a session may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `connIdle`, while both directions are open: 300 s.
    pub idle: Seconds,
    /// `uplinkOnly`, when the downlink has ended; zero ends the session at once.
    pub uplink_only: Seconds,
    /// `downlinkOnly`, when the uplink has ended; zero ends the session at once.
    pub downlink_only: Seconds,
}

/// A time in whole seconds, as configs have it; small, because every tunnel holds some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u32);

/// What holds for all users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// `statsInboundUplink`, `statsInboundDownlink`.
    pub inbounds: Counted,
    /// `statsOutboundUplink`, `statsOutboundDownlink`.
    pub outbounds: Counted,
    /// `overrideAccessLogDest`: the access log names the target that sniffing found, not the one that was asked for.
    pub override_access_log_dest: bool,
}

/// Which directions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub uplink: bool,
    pub downlink: bool,
}

/// What one chunk of VMess carries; smaller reads would only make more chunks.
pub const MIN_BUFFER: usize = 16 * 1024;

impl Policy {
    /// Of programs that have no limit for silence: a day of it ends a session.
    pub fn patient() -> Self {
        const DAY: Seconds = Seconds(24 * 60 * 60);
        let limits = Limits {
            idle: DAY,
            uplink_only: DAY,
            downlink_only: DAY,
        };
        let level = Level {
            limits,
            ..Level::DEFAULT
        };
        Self {
            levels: BTreeMap::from([(0, level)]),
            ..Self::default()
        }
    }

    /// What users of `level` have; V2Ray's defaults where the level is not named.
    pub fn level(&self, level: u32) -> &Level {
        static DEFAULT: Level = Level::DEFAULT;
        self.levels.get(&level).unwrap_or(&DEFAULT)
    }

    /// Whether anything is to be counted.
    pub fn counts(&self) -> bool {
        let levels = self.levels.values().map(|level| level.counted);
        let system = [self.system.inbounds, self.system.outbounds];
        let online = self.levels.values().any(|level| level.online);
        online || levels.chain(system).any(|c| c.uplink || c.downlink)
    }
}

impl Level {
    /// V2Ray's numbers, as its code has them, but for the two of a session that is half closed. V2Ray's code gives
    /// both a second, which cuts off every answer that takes longer. A target that ends first has mostly closed
    /// its connection altogether: the 5 s of V2Ray's manual. An application that ends first waits for its answer,
    /// as it does in a session that is open, and so for as long.
    pub const DEFAULT: Self = Self {
        handshake: Duration::from_secs(60),
        limits: Limits {
            idle: Seconds(300),
            uplink_only: Seconds(5),
            downlink_only: Seconds(300),
        },
        counted: Counted {
            uplink: false,
            downlink: false,
        },
        online: false,
        buffer: usize::MAX,
        connections: 0,
        rates: Rates {
            uplink: 0,
            downlink: 0,
        },
    };
}

impl Default for Level {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Rates {
    /// Whether there is any bound.
    pub fn bound(self) -> bool {
        self != Self::default()
    }
}

impl Limits {
    /// The shorter of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            idle: self.idle.min(other.idle),
            uplink_only: self.uplink_only.min(other.uplink_only),
            downlink_only: self.downlink_only.min(other.downlink_only),
        }
    }
}

impl From<Seconds> for Duration {
    fn from(Seconds(secs): Seconds) -> Self {
        Self::from_secs(secs.into())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Level::DEFAULT.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_without_a_name_has_the_defaults_whatever_others_have() {
        let strict = Level {
            handshake: Duration::from_secs(4),
            ..Level::default()
        };
        let policy = Policy {
            levels: BTreeMap::from([(0, strict.clone())]),
            system: System::default(),
        };
        assert_eq!(policy.level(0), &strict);
        assert_eq!(policy.level(1), &Level::default());
    }

    #[test]
    fn each_limit_is_the_shorter_of_both_ends() {
        let limits = |idle, uplink, downlink| Limits {
            idle: Seconds(idle),
            uplink_only: Seconds(uplink),
            downlink_only: Seconds(downlink),
        };
        assert_eq!(limits(5, 2, 9).and(limits(6, 1, 9)), limits(5, 1, 9));
    }
}
