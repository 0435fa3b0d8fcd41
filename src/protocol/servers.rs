//! The servers of a `socks` or `http` outbound, and whose turn it is.
//!
//! V2Ray 4 writes `servers: [{address, port, users: [{user, pass}]}]`, V2Ray 5 and many generators
//! put one server's keys straight into `settings`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::accounts::Account;
use super::{NextHop, read_host};
use crate::address::Destination;
use crate::json::{Object, Port};

/// Servers in turn, and the accounts of each in turn.
pub struct Servers {
    servers: Vec<Server>,
    turn: AtomicUsize,
}

struct Server {
    to: Destination,
    users: Vec<Account>,
}

impl Servers {
    /// Reads the servers of an outbound's settings; mistakes are reported.
    pub fn read(settings: &Object) -> Option<Self> {
        let flat = settings.first(&["address", "port"]).is_some();
        let own = Account::fields(settings);
        let mut servers = Vec::new();
        match settings.get("servers") {
            Some(list) => {
                let nodes = list.array();
                if nodes.is_empty() && list.value.is_array() {
                    list.error("there is no server, expected at least one");
                }
                for node in nodes {
                    let Some(object) = node.object() else {
                        continue;
                    };
                    servers.extend(Server::read(&object, Account::fields(&object)));
                    object.finish();
                }
            }
            None if flat => servers.extend(Server::read(settings, own)),
            None => settings.node.error("`servers` is missing"),
        }
        (!servers.is_empty()).then(|| Self {
            servers,
            turn: AtomicUsize::new(0),
        })
    }

    /// Where the next session goes; `account` finds the rest again.
    pub fn next(&self) -> NextHop {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = turn % self.servers.len();
        NextHop::Server {
            to: self.servers[index].to.clone(),
            account: turn,
        }
    }

    /// The address of the server that `next` chose for `account`.
    pub fn address(&self, account: usize) -> &Destination {
        &self.servers[account % self.servers.len()].to
    }

    /// What to say to the server that `next` chose for `account`.
    pub fn account(&self, account: usize) -> Option<&Account> {
        let users = &self.servers[account % self.servers.len()].users;
        users.get((account / self.servers.len()) % users.len().max(1))
    }

    /// The level of that account, 0 without one.
    pub fn level(&self, account: usize) -> u32 {
        self.account(account).map_or(0, |account| account.level)
    }
}

impl Server {
    fn read(object: &Object, own: Option<Account>) -> Option<Self> {
        let host = object.require_node("address").and_then(read_host);
        let port = object.require_node("port").and_then(|node| {
            let Port(port) = node.read()?;
            if port == 0 {
                node.error("0 is not a port to connect to, expected 1 to 65535");
            }
            Some(port)
        });
        let mut users = Account::read_all(object);
        users.extend(own);
        Some(Self {
            to: Destination::new(host?, port?),
            users,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Node, Report};
    use serde_json::{Value, json};

    #[test]
    fn servers_and_their_accounts_take_turns() {
        let servers = read(&json!({"servers": [
            {"address": "one", "port": 1, "users": [{"user": "a"}, {"user": "b"}]},
            {"address": "two", "port": "2"},
        ]}))
        .unwrap();
        let turns: Vec<_> = (0..4)
            .map(|_| match servers.next() {
                NextHop::Server { to, account } => {
                    assert_eq!(servers.address(account), &to);
                    let user = servers.account(account).map(|a| a.user.clone());
                    (to.to_string(), user)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let turn = |to: &str, user: Option<&str>| (to.to_owned(), user.map(str::to_owned));
        assert_eq!(
            turns,
            [
                turn("one:1", Some("a")),
                turn("two:2", None),
                turn("one:1", Some("b")),
                turn("two:2", None),
            ]
        );
    }

    #[test]
    fn one_server_may_stand_without_a_list() {
        let flat = json!({"address": "::1", "port": 1080, "user": "a", "pass": "b"});
        let servers = read(&flat).unwrap();
        assert_eq!(servers.address(0).to_string(), "[::1]:1080");
        assert_eq!(servers.account(0).unwrap().pass, "b");
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(
            read(&json!({})).err().unwrap(),
            "config: `servers` is missing"
        );
        assert_eq!(
            read(&json!({"servers": []})).err().unwrap(),
            "servers: there is no server, expected at least one"
        );
        assert_eq!(
            read(&json!({"servers": [{"address": "a b", "port": 0}]}))
                .err()
                .unwrap(),
            "servers[0].address: `a b` is not an address: a domain name holds letters, digits, `-`, `.` and `_`, this one does not\n\
             servers[0].port: 0 is not a port to connect to, expected 1 to 65535"
        );
    }

    fn read(value: &Value) -> Result<Servers, String> {
        let report = Report::default();
        let settings = Node::root(value, &report).object().unwrap();
        let servers = Servers::read(&settings);
        settings.finish();
        let lines = report
            .errors()
            .iter()
            .chain(&report.warnings())
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        if lines.is_empty() {
            Ok(servers.unwrap())
        } else {
            Err(lines.join("\n"))
        }
    }
}
