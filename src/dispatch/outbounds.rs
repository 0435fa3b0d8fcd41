//! The outbounds there are at the moment. A session keeps the one it was given, even when that one is
//! taken away.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tracing::debug;

use super::counting::Counting;
use super::live::NextOutbound;
use crate::address::Destination;
use crate::cause::{DialError, LinkError, Unreached, code_of, is_about_target};
use crate::dns::Strategy;
use crate::io::own_listeners;
use crate::log;
use crate::metrics::{Metrics, OutboundNumbers};
use crate::protocol::FirstPayload;
use crate::relay::{Ended, Failure};
use crate::seam::FarEnd;
use crate::stats::Traffic;
use crate::{mux, protocol, transport};

/// An outbound, whole: how to get there, and what to speak there.
pub struct Outbound {
    /// `outbounds[0]`, for messages.
    pub name: String,
    pub tag: Option<Arc<str>>,
    pub transport: transport::Outbound,
    pub protocol: protocol::Outbound,
    /// The tag that `proxySettings.tag` names: connections go through that outbound.
    pub through: Option<Arc<str>>,
    /// `domainStrategy`: whether the names that its server is asked for are resolved here first.
    pub strategy: Strategy,
    /// A name without a fitting address is not sent on.
    pub must_resolve: bool,
    /// Sessions share connections.
    pub mux: Option<mux::Outbound>,
    /// What connections to its server share, where they do.
    pub plugin: Option<OutboundRef>,
    /// What it was made of, for whoever asks; what this process adds by itself is made of nothing.
    pub made_of: Option<Box<MadeOf>>,
    /// Its counters, once it is among the others.
    traffic: RwLock<Traffic>,
    /// By the API: it stays when the config is read again.
    added: bool,
    /// What messages call it, from then on.
    label: Arc<str>,
    /// What is counted of it, where somebody asks.
    numbers: OnceLock<OutboundNumbers>,
}

/// The settings of an outbound's rooms.
pub struct MadeOf {
    pub transport: transport::ClientSettings,
    pub protocol: protocol::OutboundSettings,
    pub mux: Option<mux::Settings>,
    pub plugin_mux: Option<mux::Settings>,
}

/// In their order; the first one carries what no rule sends elsewhere.
pub struct Outbounds {
    all: RwLock<Vec<OutboundRef>>,
    counting: RwLock<Arc<Counting>>,
}

/// An outbound by its identity: another one with the same tag is another one.
#[derive(Clone)]
pub struct OutboundRef(Arc<Outbound>);

impl Outbound {
    /// Without a tag, and with nothing in between.
    pub fn new(transport: transport::Outbound, protocol: protocol::Outbound) -> Self {
        Self {
            name: String::new(),
            tag: None,
            transport,
            protocol,
            through: None,
            strategy: Strategy::AsIs,
            must_resolve: false,
            mux: None,
            plugin: None,
            made_of: None,
            traffic: RwLock::default(),
            added: false,
            label: Arc::default(),
            numbers: OnceLock::new(),
        }
    }

    /// Whether it leads to a service of this process, and carries nobody's sessions.
    pub fn is_service(&self) -> bool {
        self.protocol.is_control()
    }

    /// Finds its counters. The API's own outbound has none, as in V2Ray: those who sum up outbounds count traffic, not
    /// their own questions.
    fn count(&self, counting: &Counting) {
        if !self.protocol.is_control() {
            let traffic = counting.outbound(self.tag.as_deref());
            *self.traffic.write().unwrap_or_else(PoisonError::into_inner) = traffic;
        }
    }

    /// Whether the API has added it.
    pub fn is_added(&self) -> bool {
        self.added
    }

    pub(super) fn traffic(&self) -> Traffic {
        let traffic = self.traffic.read();
        traffic.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is counted of it.
    pub fn numbers(&self, metrics: &Metrics) -> &OutboundNumbers {
        self.numbers.get_or_init(|| metrics.outbound(self.called()))
    }

    /// What numbers call it: its tag, or its place.
    pub fn called(&self) -> &str {
        self.tag.as_deref().unwrap_or(&self.name)
    }

    /// What messages call it.
    pub(super) fn label(&self) -> Arc<str> {
        self.label.clone()
    }

    /// What is known of its server before it answers.
    pub(super) fn far_end(&self) -> FarEnd {
        FarEnd {
            outbound: self.label.clone(),
            clock: self.transport.clock(),
        }
    }

    /// Whether there is a server of the user's own, whose faults the user can mend.
    pub(super) fn has_server(&self) -> bool {
        self.protocol.has_server() || self.through.is_some() || self.mux.is_some()
    }

    /// Whether what goes wrong on the way is the user's own to mend, and not a target's.
    pub(super) fn is_own_way(&self) -> bool {
        self.has_server() || self.protocol.portal().is_some()
    }

    /// Whether the first payload travels with the word of where it is to go.
    pub(super) fn first_payload(&self) -> FirstPayload {
        let shares = |mux: &mux::Outbound| mux.has_streams();
        match self.mux.as_ref().is_some_and(shares) {
            true => FirstPayload::Together,
            false => self.protocol.first_payload(),
        }
    }

    /// Why it has no way to `to`, for who has asked.
    pub(super) fn unreached<'a>(
        &'a self,
        to: &'a Destination,
        error: &'a io::Error,
    ) -> Unreached<'a> {
        match self.is_own_way() {
            true => Unreached::Hop {
                outbound: self.called(),
                error,
            },
            false => Unreached::Target { to, error },
        }
    }

    /// Says why a session to `to` could not be opened.
    pub(super) fn log_open_error(&self, to: &Destination, error: &io::Error) {
        match self.is_own_way() || own_listeners::is_kept(error) {
            true => self.warn_about(Some(to), error),
            // Targets are many, and some are always out of reach: one line tells of all of them.
            false => self.warn_of(&self.label, error),
        }
        let cause_code = code_of(error);
        debug!(cause_code = cause_code.as_deref(), "cannot open: {error}");
    }

    /// Whether a session to `to` is carried there; it may be answered here, or led elsewhere.
    pub(super) fn goes_to(&self, to: &Destination) -> bool {
        match &self.protocol {
            protocol::Outbound::Proxy(_) => true,
            protocol::Outbound::Endpoint(_) => false,
            protocol::Outbound::Freedom(_) => {
                let target = self.protocol.straight(to);
                target.is_some_and(|target| target.host == to.host)
            }
        }
    }

    /// Says that `to` is a made-up address of which nobody knows the name.
    pub(super) fn log_forgotten(&self, to: &Destination) -> io::Error {
        let error: io::Error = DialError::Forgotten(to.clone()).into();
        self.warn_of("fakedns", &error);
        debug!(cause_code = code_of(&error).as_deref(), "refused: {error}");
        error
    }

    /// Says how a session ended, which was to go to `to`; what cut it off, if anything did.
    pub(super) fn log_ended(&self, ended: Ended, to: Option<&Destination>) -> Option<Failure> {
        debug!(up = ended.up, down = ended.down, "session ended");
        let failure = ended.error?;
        match &failure {
            Failure::Target(error) if self.is_own_way() && !failure.is_usual() => {
                match error.raw_os_error() {
                    // What the system says has neither a code nor words of ours yet.
                    Some(number) => {
                        self.warn(&LinkError(io::Error::from_raw_os_error(number)).into())
                    }
                    None => self.warn_about(to, error),
                }
            }
            _ => {}
        }
        debug!("cut off: {failure}");
        Some(failure)
    }

    /// Tells those who can mend it, but not of every session that a server fails which is down.
    pub(super) fn warn(&self, error: &io::Error) {
        self.warn_of(&format!("{self}: {error}"), error);
    }

    /// What is said of a target names it; lines that differ in that alone are counted together.
    fn warn_about(&self, to: Option<&Destination>, error: &io::Error) {
        let Some(to) = to.filter(|_| is_about_target(error)) else {
            return self.warn(error);
        };
        let text = format!("{self}: {error}");
        let code = code_of(error);
        log::repeated_cause(&text, &format!("{text} (to {to})"), code.as_deref());
    }

    /// Warnings of one `kind` are counted together.
    fn warn_of(&self, kind: &str, error: &io::Error) {
        let code = code_of(error);
        log::repeated_cause(kind, &format!("{self}: {error}"), code.as_deref());
    }
}

impl fmt::Display for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.tag {
            Some(tag) if **tag != *self.name => write!(f, " ({tag})"),
            _ => Ok(()),
        }
    }
}

impl Outbounds {
    pub fn new(outbounds: Vec<Outbound>, counting: Arc<Counting>) -> Self {
        let all = outbounds.into_iter();
        let all = all.map(|outbound| OutboundRef::new(outbound, &counting));
        Self {
            all: RwLock::new(all.collect()),
            counting: RwLock::new(counting),
        }
    }

    pub fn get(&self, tag: &str) -> Option<OutboundRef> {
        let all = self.read();
        all.iter().find(|o| o.tag.as_deref() == Some(tag)).cloned()
    }

    /// What carries the sessions that no rule takes. That is never the API's, even where it stands alone.
    pub fn first(&self) -> Option<OutboundRef> {
        let all = self.read();
        all.iter().find(|o| !o.protocol.is_control()).cloned()
    }

    /// In their order.
    pub fn all(&self) -> Vec<OutboundRef> {
        self.read().clone()
    }

    /// The tags that balancers choose among, in the order of the outbounds. The API's own is not among them,
    /// whatever their selectors begin with: a rule has to name it. Nor is what stands in for another one.
    pub fn tags(&self) -> Vec<Arc<str>> {
        let all = self.read();
        let carries = |o: &&OutboundRef| !o.protocol.is_control() && !o.protocol.stands_in();
        let others = all.iter().filter(carries);
        others.filter_map(|o| o.tag.clone()).collect()
    }

    /// Whether one of them leads to a service of this process.
    pub(super) fn have_control(&self) -> bool {
        self.read().iter().any(|o| o.protocol.is_control())
    }

    /// Puts one more at the end; gives it back when its tag is taken, or when connections would go
    /// through it to come to it.
    pub fn add(&self, mut outbound: Outbound) -> Result<(), Box<Outbound>> {
        let counting = self
            .counting
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut all = self.write();
        let taken = outbound.tag.is_some() && all.iter().any(|o| o.tag == outbound.tag);
        if taken || goes_round(&outbound, &all) {
            return Err(Box::new(outbound));
        }
        outbound.added = true;
        all.push(OutboundRef::new(outbound, &counting));
        Ok(())
    }

    /// Puts those of another config in the place of all that the config before has named. What the API has added stays
    /// behind them, unless its tag is taken. Sessions go on by the outbounds that they have.
    pub(super) fn change(&self, next: Vec<NextOutbound>, counting: Arc<Counting>) {
        let next = next.into_iter().map(|outbound| match outbound {
            NextOutbound::Same(same) => same,
            NextOutbound::New(outbound) => OutboundRef::new(*outbound, &counting),
        });
        let mut next: Vec<OutboundRef> = next.collect();
        let mut all = self.write();
        for outbound in all.iter().filter(|outbound| outbound.added) {
            if next.iter().all(|other| other.tag != outbound.tag) {
                next.push(outbound.clone());
            }
        }
        for outbound in &next {
            outbound.count(&counting);
        }
        *all = next;
        drop(all);
        *self
            .counting
            .write()
            .unwrap_or_else(PoisonError::into_inner) = counting;
    }

    /// Takes one away. Its sessions go on.
    pub fn remove(&self, tag: &str) -> Option<OutboundRef> {
        let mut all = self.write();
        let index = all.iter().position(|o| o.tag.as_deref() == Some(tag))?;
        Some(all.remove(index))
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<OutboundRef>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<OutboundRef>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the way that `proxySettings` lead from `outbound` comes back to it, or never ends.
fn goes_round(outbound: &Outbound, all: &[OutboundRef]) -> bool {
    let mut next = &outbound.through;
    for _ in 0..=all.len() {
        if next.is_none() {
            return false;
        }
        if *next == outbound.tag {
            return true;
        }
        match all.iter().find(|o| o.tag == *next) {
            Some(other) => next = &other.through,
            None => return false,
        }
    }
    true
}

impl OutboundRef {
    /// It is not among the others, and nothing is counted for it.
    pub fn alone(mut outbound: Outbound) -> Self {
        outbound.label = outbound.to_string().into();
        Self(Arc::new(outbound))
    }

    /// Its counters are there from now on.
    fn new(mut outbound: Outbound, counting: &Counting) -> Self {
        outbound.count(counting);
        outbound.label = outbound.to_string().into();
        Self(Arc::new(outbound))
    }
}

impl Deref for OutboundRef {
    type Target = Outbound;

    fn deref(&self) -> &Outbound {
        &self.0
    }
}

impl PartialEq for OutboundRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for OutboundRef {}

impl Hash for OutboundRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Counted, Policy, System};
    use crate::protocol::{Endpoint, OutboundSettings, blackhole, in_process};
    use crate::stats::Registry;

    #[test]
    fn a_tag_is_taken_once_and_given_back() {
        let outbounds = all(vec![outbound("a", None)]);
        assert!(outbounds.add(outbound("b", None)).is_ok());
        assert!(outbounds.add(outbound("b", None)).is_err());
        let first = outbounds.get("b").unwrap();
        assert!(
            outbounds
                .remove("b")
                .is_some_and(|removed| removed == first)
        );
        assert!(outbounds.get("b").is_none());
        assert!(outbounds.add(outbound("b", None)).is_ok());
        assert!(
            outbounds.get("b").unwrap() != first,
            "another of the same tag"
        );
    }

    #[test]
    fn a_chain_that_comes_back_is_refused() {
        let outbounds = all(vec![
            outbound("a", Some("b")),
            outbound("b", Some("c")),
            outbound("d", None),
        ]);
        assert!(outbounds.add(outbound("c", Some("a"))).is_err());
        assert!(outbounds.add(outbound("x", Some("x"))).is_err());
        assert!(outbounds.add(outbound("c", Some("d"))).is_ok());
        assert!(outbounds.add(outbound("e", Some("a"))).is_ok());
    }

    #[test]
    fn the_outbound_of_the_api_is_not_counted() {
        let (service, _links) = in_process::Outbound::new();
        let api = Outbound {
            protocol: Endpoint::InProcess(service).into(),
            ..outbound("api", None)
        };
        let both = Counted {
            uplink: true,
            downlink: true,
        };
        let system = System {
            outbounds: both,
            ..System::default()
        };
        let policy = Policy {
            system,
            ..Policy::default()
        };
        let registry = Arc::new(Registry::default());
        let counting = Counting::new(Arc::new(policy), Some(registry.clone()));
        let _all = Outbounds::new(vec![outbound("a", None), api], Arc::new(counting));
        let names = registry.select(|_| true).into_iter().map(|(name, _)| name);
        assert_eq!(
            names.collect::<Vec<_>>(),
            [
                "outbound>>>a>>>traffic>>>downlink",
                "outbound>>>a>>>traffic>>>uplink"
            ]
        );
    }

    fn all(outbounds: Vec<Outbound>) -> Outbounds {
        let counting = Counting::new(Arc::default(), None);
        Outbounds::new(outbounds, Arc::new(counting))
    }

    fn outbound(tag: &str, through: Option<&str>) -> Outbound {
        let blackhole = OutboundSettings::Blackhole(blackhole::OutboundSettings::default());
        let protocol = protocol::Outbound::new(blackhole);
        let mut outbound = Outbound::new(transport::Outbound::default(), protocol);
        outbound.tag = Some(tag.into());
        outbound.through = through.map(Into::into);
        outbound
    }
}
