//! What one user takes, over all tunnels and inbounds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Context;

use super::{Bucket, Turn};
use crate::policy::{Level, Policy};
use crate::session::Owner;

/// The users of whom there is something at the moment, and whose level bounds what they may take.
#[derive(Debug, Default)]
pub struct Users(Mutex<HashMap<Owner, Weak<Share>>>);

/// What one user takes.
#[derive(Debug)]
pub struct Share {
    owner: Owner,
    users: Arc<Users>,
    connections: AtomicU32,
    uplink: Bucket,
    downlink: Bucket,
}

/// One of a user's connections.
#[derive(Debug)]
pub struct UserSlot(Arc<Share>);

/// How fast one session of a user's may be.
#[derive(Debug)]
pub struct Pace {
    share: Arc<Share>,
    up: Turn,
    down: Turn,
}

impl Users {
    /// One more connection of a user.
    ///
    /// # Errors
    ///
    /// With the most that the level allows.
    pub fn connect(self: &Arc<Self>, owner: &Owner, level: &Level) -> Result<UserSlot, u32> {
        let share = self.share(owner, level);
        let before = share.connections.fetch_add(1, Relaxed);
        // Gives it back where it is one too many.
        let slot = UserSlot(share);
        match level.connections {
            0 => Ok(slot),
            max if before >= max => Err(max),
            _ => Ok(slot),
        }
    }

    /// What a user shares among sessions, held to what the level says now.
    pub fn share(self: &Arc<Self>, owner: &Owner, level: &Level) -> Arc<Share> {
        let mut users = self.lock();
        let known = users.get(owner).and_then(Weak::upgrade);
        if let Some(share) = known {
            drop(users);
            share.keep_to(level);
            return share;
        }
        let share = Arc::new(Share {
            owner: owner.clone(),
            users: self.clone(),
            connections: AtomicU32::new(0),
            uplink: Bucket::new(level.rates.uplink),
            downlink: Bucket::new(level.rates.downlink),
        });
        users.insert(owner.clone(), Arc::downgrade(&share));
        share
    }

    /// Has all who are here keep to another policy.
    pub fn follow(&self, policy: &Policy) {
        let there: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        for share in there {
            let level = match &share.owner {
                Owner::User(user) => user.level,
                Owner::Process | Owner::Host(_) | Owner::Unix => 0,
            };
            share.keep_to(policy.level(level));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Weak<Share>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn keep_to(&self, level: &Level) {
        self.uplink.set(level.rates.uplink);
        self.downlink.set(level.rates.downlink);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        // Somebody may have come again meanwhile.
        let gone = users.get(&self.owner);
        if gone.is_some_and(|share| share.strong_count() == 0) {
            users.remove(&self.owner);
        }
    }
}

impl Drop for UserSlot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.up.leave(&self.share.uplink);
        self.down.leave(&self.share.downlink);
    }
}

impl Pace {
    /// That of a session whose user shares `share`.
    pub fn new(share: Arc<Share>) -> Self {
        Self {
            share,
            up: Turn::default(),
            down: Turn::default(),
        }
    }

    /// How much may be read from the client; when it is nothing, the task is woken in time.
    pub fn up(&mut self, cx: &mut Context<'_>) -> usize {
        self.up.allows(&self.share.uplink, cx)
    }

    /// How much may be read from the target.
    pub fn down(&mut self, cx: &mut Context<'_>) -> usize {
        self.down.allows(&self.share.downlink, cx)
    }

    /// So much was read from the client.
    pub fn spend_up(&mut self, bytes: usize) {
        self.up.spend(&self.share.uplink, bytes);
    }

    /// So much was read from the target.
    pub fn spend_down(&mut self, bytes: usize) {
        self.down.spend(&self.share.downlink, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::User;

    #[test]
    fn a_user_is_the_same_by_whatever_entry_and_is_forgotten_when_nothing_is_left() {
        let users = Arc::<Users>::default();
        let level = Level {
            connections: 2,
            ..Level::default()
        };
        let owner = |email: &str| {
            Owner::User(Arc::new(User {
                email: Some(email.to_owned()),
                ..User::default()
            }))
        };
        let first = users.connect(&owner("ann"), &level).unwrap();
        let second = users.connect(&owner("ann"), &level).unwrap();
        assert_eq!(users.connect(&owner("ann"), &level).unwrap_err(), 2);
        let bob = users.connect(&owner("bob"), &level).unwrap();
        drop(first);
        let again = users.connect(&owner("ann"), &level).unwrap();
        assert_eq!(users.lock().len(), 2);
        drop((second, bob, again));
        assert_eq!(users.lock().len(), 0);
    }
}
