//! What a connection holds of the limits as long as it lives.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::sources::Whose;
use super::{Full, Gate};
use crate::session::Source;

/// The two gates that whoever comes by an inbound passes.
#[derive(Debug)]
pub struct Gates {
    process: Arc<Gate>,
    inbound: Arc<Gate>,
}

/// A connection's places, or those of one of the links that it brings; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    gates: Arc<Gates>,
    /// The connection, where this is one of its links.
    connection: Option<Arc<Self>>,
    began: Instant,
    /// Whether its handshake counts as unfinished; a link has none of its own.
    unfinished: AtomicBool,
    /// Whom it is counted for, and whether it is in each of the gates.
    source: OnceLock<(Whose, [bool; 2])>,
    /// What its user has of it.
    #[cfg(feature = "app")]
    user: OnceLock<super::UserSlot>,
}

impl Gates {
    /// What an inbound's connections pass.
    pub fn new(process: Arc<Gate>, inbound: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { process, inbound })
    }

    /// A connection that has come in.
    ///
    /// # Errors
    ///
    /// When there are enough of them.
    pub fn enter(self: &Arc<Self>) -> Result<Held, Full> {
        self.process.enter()?;
        if let Err(full) = self.inbound.enter() {
            self.process.shook_hands();
            self.process.leave();
            return Err(full);
        }
        Ok(Held {
            gates: self.clone(),
            connection: None,
            began: Instant::now(),
            unfinished: AtomicBool::new(true),
            source: OnceLock::new(),
            #[cfg(feature = "app")]
            user: OnceLock::new(),
        })
    }

    fn both(&self) -> [&Gate; 2] {
        [&self.process, &self.inbound]
    }
}

impl Held {
    /// One of the links that a connection brings; it comes from where the connection does unless somebody else is named.
    pub fn link(connection: &Arc<Self>) -> Self {
        Self {
            gates: connection.gates.clone(),
            connection: Some(connection.clone()),
            began: Instant::now(),
            unfinished: AtomicBool::new(false),
            source: OnceLock::new(),
            #[cfg(feature = "app")]
            user: OnceLock::new(),
        }
    }

    /// For how long it has been there.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// It is known from where it comes. It counts once, whatever is said later.
    ///
    /// # Errors
    ///
    /// When enough come from there.
    pub fn come_from(&self, source: Source) -> Result<(), Full> {
        let counted = |held: &Self| held.source.get().is_some();
        if counted(self) || self.connection.as_deref().is_some_and(counted) {
            return Ok(());
        }
        let Some(whose) = Whose::of(source) else {
            return Ok(());
        };
        let [process, inbound] = self.gates.both();
        let of_process = process.come_from(whose)?;
        let of_inbound = inbound.come_from(whose).inspect_err(|_| {
            if of_process {
                process.gone(whose);
            }
        })?;
        if self.source.set((whose, [of_process, of_inbound])).is_err() {
            give_back(&self.gates, whose, [of_process, of_inbound]);
        }
        Ok(())
    }

    /// It has said who it is.
    pub fn shook_hands(&self) {
        if let Some(connection) = &self.connection {
            return connection.shook_hands();
        }
        if self.unfinished.swap(false, Relaxed) {
            self.gates.both().into_iter().for_each(Gate::shook_hands);
        }
    }

    /// What its user has of it; `take` is asked once.
    ///
    /// # Errors
    ///
    /// That of `take`.
    #[cfg(feature = "app")]
    pub fn belong_to<E>(&self, take: impl FnOnce() -> Result<super::UserSlot, E>) -> Result<(), E> {
        if self.user.get().is_none() {
            // Of two at once the second gives its place back.
            let _ = self.user.set(take()?);
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((whose, counted)) = self.source.take() {
            give_back(&self.gates, whose, counted);
        }
        if self.connection.is_none() {
            self.shook_hands();
            self.gates.both().into_iter().for_each(Gate::leave);
        }
    }
}

fn give_back(gates: &Gates, whose: Whose, counted: [bool; 2]) {
    for (gate, counted) in gates.both().into_iter().zip(counted) {
        if counted {
            gate.gone(whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limit, Scope, Settings};
    use super::*;
    use std::net::SocketAddr;

    fn gates(process: Settings, inbound: Settings) -> Arc<Gates> {
        let process = Gate::of_process(process, 20);
        Gates::new(Arc::new(process), Arc::new(Gate::of_inbound(inbound)))
    }

    fn source(text: &str) -> Source {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn come(gates: &Arc<Gates>, from: &str) -> Result<Held, Full> {
        let held = gates.enter()?;
        held.come_from(source(from))?;
        Ok(held)
    }

    #[test]
    fn each_gate_holds_by_itself_and_all_is_given_back() {
        let of_two = Settings {
            connections: Some(2),
            ..Settings::default()
        };
        let of_one = Settings {
            handshakes: Some(1),
            ..Settings::default()
        };
        let gates = gates(of_two, of_one);
        let first = gates.enter().unwrap();
        let full = gates.enter().unwrap_err();
        assert_eq!(
            (full.limit, full.scope, full.max),
            (Limit::Handshakes, Scope::Inbound, 1)
        );
        first.shook_hands();
        let second = gates.enter().unwrap();
        second.shook_hands();
        let full = gates.enter().unwrap_err();
        assert_eq!(
            full.to_string(),
            "so many connections are open already, 2, the most that `limits.connections` of the process allows"
        );
        drop((first, second));
        for gate in gates.both() {
            assert_eq!((gate.connections(), gate.handshakes()), (0, 0));
        }
    }

    #[test]
    fn a_source_is_an_address_or_the_network_of_one() {
        let two = Settings {
            per_source: Some(2),
            ..Settings::default()
        };
        let gates = gates(two, Settings::default());
        let held = ["192.0.2.1:1", "[::ffff:192.0.2.1]:2"].map(|at| come(&gates, at).unwrap());
        let full = come(&gates, "192.0.2.1:3").unwrap_err();
        assert_eq!(full.limit, Limit::PerSource);
        let other = come(&gates, "192.0.2.2:1").unwrap();
        let six = ["[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:1"];
        let six = six.map(|at| come(&gates, at).unwrap());
        assert!(come(&gates, "[2001:db8::3]:1").is_err());
        assert!(come(&gates, "[2001:db8:0:1::1]:1").is_ok());
        let unix = [(); 5].map(|()| gates.enter().unwrap());
        assert!(unix.iter().all(|held| held.come_from(Source::Unix).is_ok()));
        drop((held, other, six, unix));
        assert_eq!(gates.process.connections(), 0);
        assert!(come(&gates, "192.0.2.1:4").is_ok());
    }

    #[test]
    fn by_default_this_machine_may_be_everybody() {
        let gates = gates(Settings::default(), Settings::default());
        let held: Vec<_> = (0..50)
            .map(|_| come(&gates, "127.0.0.1:1").unwrap())
            .collect();
        let strangers = (0..50).map(|_| come(&gates, "192.0.2.1:1"));
        let strangers: Vec<_> = strangers.filter_map(Result::ok).collect();
        assert_eq!((held.len(), strangers.len()), (50, 10));
        // Whoever says a number means this machine, too.
        gates.process.set(Settings {
            per_source: Some(3),
            ..Settings::default()
        });
        let here: Vec<_> = (0..5)
            .filter_map(|_| come(&gates, "127.0.0.1:1").ok())
            .collect();
        assert_eq!(here.len(), 3);
        gates.process.set(Settings {
            per_source: Some(0),
            ..Settings::default()
        });
        assert!((0..50).all(|_| come(&gates, "192.0.2.1:1").is_ok()));
    }

    #[test]
    fn the_links_of_a_proxys_connection_are_counted_for_whom_they_come() {
        let one = Settings {
            per_source: Some(1),
            ..Settings::default()
        };
        let gates = gates(one, Settings::default());
        let connection = Arc::new(gates.enter().unwrap());
        let link = |from: &str| {
            let link = Held::link(&connection);
            link.come_from(source(from)).map(|()| link)
        };
        let ann = link("192.0.2.1:0").unwrap();
        assert!(link("192.0.2.1:0").is_err());
        let bob = link("192.0.2.2:0").unwrap();
        ann.shook_hands();
        assert_eq!(gates.process.handshakes(), 0);
        drop(ann);
        assert!(link("192.0.2.1:0").is_ok());
        drop((bob, connection));
        assert_eq!(gates.process.connections(), 0);
    }
}
