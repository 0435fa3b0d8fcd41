//! The servers of an outbound.
//!
//! V2Ray 4 writes `servers: [{address, port, users: [{user, pass}]}]` (VMess: `vnext`), V2Ray 5 and many generators
//! put one server's keys straight into `settings`.

use super::{accounts, host};
use crate::address::Destination;
use crate::dialect::v2ray::json::{Object, Port};
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;

/// The servers of a `socks` or `http` outbound; `None` without any.
pub(super) fn servers(settings: &Object) -> Option<Vec<ServerSettings<Account>>> {
    let flat = settings.first(&["address", "port"]).is_some();
    let own = accounts::of_fields(settings);
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
                servers.extend(server(&object, accounts::of_fields(&object)));
                object.finish();
            }
        }
        None if flat => servers.extend(server(settings, own)),
        None => settings.node.error("`servers` is missing"),
    }
    (!servers.is_empty()).then_some(servers)
}

fn server(object: &Object, own: Option<Account>) -> Option<ServerSettings<Account>> {
    let to = destination(object);
    let mut accounts = accounts::of_server(object);
    accounts.extend(own);
    Some(ServerSettings { to: to?, accounts })
}

/// `address` and `port`.
pub(super) fn destination(object: &Object) -> Option<Destination> {
    let host = object.require_node("address").and_then(host);
    let node = object.get("port");
    if node.is_none() {
        object
            .node
            .dead("`port` is missing, nothing can be reached");
    }
    let port = node.and_then(|node| {
        let Port(port) = node.read()?;
        if port == 0 {
            node.dead("0 is not a port to connect to, expected 1 to 65535");
        }
        (port != 0).then_some(port)
    });
    Some(Destination::new(host?, port?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use serde_json::json;

    #[test]
    fn one_server_may_stand_without_a_list() {
        let flat = json!({"address": "::1", "port": 1080, "user": "a", "pass": "b"});
        let (servers, said) = settings::read(&flat, servers);
        assert_eq!(said, [""; 0]);
        let [server] = &servers.unwrap()[..] else {
            panic!("one server");
        };
        assert_eq!(server.to.to_string(), "[::1]:1080");
        assert_eq!(*server.accounts[0].pass, "b");
    }

    #[test]
    fn what_is_missing_is_said() {
        let said = |value| settings::read(&value, servers).1;
        assert_eq!(said(json!({})), ["config: `servers` is missing"]);
        assert_eq!(
            said(json!({"servers": []})),
            ["servers: there is no server, expected at least one"]
        );
        assert_eq!(
            said(json!({"servers": [{"address": "a b", "port": 0}]})),
            [
                "servers[0].address: `a b` is not an address: a domain name holds letters, digits, `-`, `.` and `_`, this one does not",
                "servers[0].port: 0 is not a port to connect to, expected 1 to 65535",
            ]
        );
    }
}
