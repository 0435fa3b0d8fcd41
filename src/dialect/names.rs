//! Names of this machine in the place of an address to listen on, `localhost` mostly.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use crate::cause::system_words;

/// Whom names are asked of, and what was answered: each is asked for once, however many ports have it.
pub struct Names {
    ask: fn(&str) -> io::Result<Vec<IpAddr>>,
    known: HashMap<String, Result<IpAddr, String>>,
}

impl Names {
    /// What this machine's resolver knows.
    pub fn of_system() -> Self {
        Self::asked_of(|name| Ok((name, 0).to_socket_addrs()?.map(|to| to.ip()).collect()))
    }

    /// What `ask` knows.
    pub fn asked_of(ask: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self {
            ask,
            known: HashMap::new(),
        }
    }

    /// One address of a name, IPv4 where it has both, as Go has it.
    pub fn find(&mut self, name: &str) -> Result<IpAddr, String> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let found = (self.ask)(name).map_err(|e| system_words(&e).to_string());
        let found = found.and_then(|all| {
            let first = all.iter().find(|ip| ip.is_ipv4()).or(all.first());
            first.copied().ok_or("the name has no address".to_owned())
        });
        self.known.insert(name.to_owned(), found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_name_is_asked_for_once() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let mut names = Names::asked_of(|name| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            match name {
                "both" => Ok(vec!["::1".parse().unwrap(), "127.0.0.2".parse().unwrap()]),
                "six" => Ok(vec!["::1".parse().unwrap()]),
                "none" => Ok(Vec::new()),
                _ => Err(io::Error::other("nobody answers")),
            }
        });
        for _ in 0..2 {
            assert_eq!(names.find("both"), Ok("127.0.0.2".parse().unwrap()));
            assert_eq!(names.find("six"), Ok("::1".parse().unwrap()));
            assert_eq!(names.find("none"), Err("the name has no address".into()));
            assert_eq!(names.find("lost"), Err("nobody answers".into()));
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 4);
    }
}
