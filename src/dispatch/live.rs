//! Parts of a config that may be changed while sessions run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::Dispatcher;
use super::counting::Counting;
use super::outbounds::{Outbound, OutboundRef};
use crate::dns::Resolver;
use crate::limits;
use crate::policy::Policy;
use crate::routing::{self, HealthTables};

/// What holds at the moment; who has asked keeps what they were given.
pub struct Live<T>(RwLock<Arc<T>>);

/// Tells those who put several parts of a config together whether they are of one config.
#[derive(Default)]
pub(super) struct Changes(AtomicU64);

/// What another config says about the sessions of a process.
pub struct Change {
    pub outbounds: Vec<NextOutbound>,
    pub routing: routing::Settings,
    pub health: HealthTables,
    /// The built-in DNS, if it is another one.
    pub resolver: Option<Resolver>,
    pub policy: Policy,
    /// What all inbounds together let in.
    pub limits: limits::Settings,
    /// Whether anything is counted; what, `policy` says.
    pub count: bool,
}

/// An outbound of the other config.
pub enum NextOutbound {
    /// It goes on as it is.
    Same(OutboundRef),
    New(Box<Outbound>),
}

impl<T> Live<T> {
    pub(super) fn new(value: Arc<T>) -> Self {
        Self(RwLock::new(value))
    }

    pub fn now(&self) -> Arc<T> {
        self.read().clone()
    }

    /// For a look that is over at once.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Arc<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl Changes {
    /// What [`Changes::none_since`] is to be asked with.
    pub(super) fn seen(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether all that was looked at since is of one config.
    pub(super) fn none_since(&self, seen: u64) -> bool {
        seen.is_multiple_of(2) && self.seen() == seen
    }

    /// Odd as long as a change is under way.
    fn step(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Dispatcher {
    /// Carries sessions by another config from here on. Those that run go on; counters keep their values. What the API
    /// has added stays, unless the config has its tag.
    pub fn change(self: &Arc<Self>, change: Change) {
        let Change {
            outbounds,
            routing,
            health,
            resolver,
            policy,
            limits,
            count,
        } = change;
        self.gate.set(limits);
        let policy = Arc::new(policy);
        let everything = self.metrics.is_some();
        let registry = (count || everything).then(|| self.stats.clone());
        let counting = Counting::new(policy.clone(), registry).everything(everything);
        let counting = Arc::new(counting);
        // Nothing waits in here: a session that is routed meanwhile asks again.
        self.changes.step();
        if let Some(resolver) = resolver {
            resolver.set_dialer(self.dialer());
            self.resolver.set(Arc::new(resolver));
        }
        self.users.follow(&policy);
        self.policy.set(policy);
        self.counting.set(counting.clone());
        self.outbounds.change(outbounds, counting);
        self.router.change(routing, health);
        self.changes.step();
        self.warm_up();
    }

    /// Where the made-up addresses of `fakedns` come from.
    pub fn resolver(&self) -> Arc<Resolver> {
        self.resolver.now()
    }
}
