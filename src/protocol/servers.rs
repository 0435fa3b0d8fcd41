//! The servers of an outbound, and whose turn it is.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::address::Destination;

/// One server of an outbound, and who we are there.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings<A> {
    pub to: Destination,
    /// They take turns; there may be none where the server asks for none.
    pub accounts: Vec<A>,
}

/// Servers in turn, and the accounts of each in turn.
#[derive(Debug)]
pub struct Servers<A> {
    servers: Vec<ServerSettings<A>>,
    turn: AtomicUsize,
}

impl<A> Servers<A> {
    /// `account` makes of an account's settings what a connection needs.
    pub fn new<S>(settings: Vec<ServerSettings<S>>, account: impl Fn(S) -> A) -> Self {
        let servers = settings.into_iter().map(|server| ServerSettings {
            to: server.to,
            accounts: server.accounts.into_iter().map(&account).collect(),
        });
        Self {
            servers: servers.collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Where the next connection goes and as whom; `None` when there is no server. Each call is a turn, so it is
    /// asked once for a connection.
    pub fn next(&self) -> Option<(&Destination, Option<&A>)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let round = turn.checked_div(self.servers.len())?;
        let server = &self.servers[turn % self.servers.len()];
        let accounts = &server.accounts;
        Some((&server.to, accounts.get(round % accounts.len().max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_their_accounts_take_turns() {
        let server = |to: &str, accounts: &[&'static str]| ServerSettings {
            to: to.parse().unwrap(),
            accounts: accounts.to_vec(),
        };
        let settings = vec![server("one:1", &["a", "b"]), server("two:2", &[])];
        let servers = Servers::new(settings, str::to_uppercase);
        let turns: Vec<_> = (0..4)
            .map(|_| servers.next().unwrap())
            .map(|(to, account)| (to.to_string(), account.map(String::as_str)))
            .collect();
        let turn = |to: &str, account| (to.to_owned(), account);
        assert_eq!(
            turns,
            [
                turn("one:1", Some("A")),
                turn("two:2", None),
                turn("one:1", Some("B")),
                turn("two:2", None),
            ]
        );
        let none = Servers::new(Vec::<ServerSettings<()>>::new(), |()| ());
        assert_eq!(none.next(), None);
    }
}
