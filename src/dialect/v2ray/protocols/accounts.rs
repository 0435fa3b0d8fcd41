//! User names and passwords.

use crate::dialect::v2ray::json::{Node, Object};
use crate::protocol::accounts::Account;

/// `accounts` of an inbound's settings, which Xray also calls `users`.
pub(super) fn of_inbound(settings: &Object) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for node in settings.first_array(["accounts", "users"]) {
        let Some(account) = account(&node) else {
            continue;
        };
        if account.user.is_empty() || is_long(&account) {
            node.warn("nobody can give this name and password, the account is left out");
            continue;
        }
        if accounts.iter().any(|other| other.user == account.user) {
            let user = account.user.escape_debug();
            node.warn(format!(
                "the user `{user}` is there twice, the last one counts, as in V2Ray"
            ));
            accounts.retain(|other| other.user != account.user);
        }
        accounts.push(account);
    }
    accounts
}

/// `users` of a server.
pub(super) fn of_server(server: &Object) -> Vec<Account> {
    let nodes = server.array("users");
    let mut accounts = Vec::new();
    for node in &nodes {
        accounts.extend(account(node).and_then(|account| sent(node, account)));
    }
    accounts
}

/// One that a server can be told. Without a name there is nothing to tell.
fn sent(node: &Node, account: Account) -> Option<Account> {
    if account.user.is_empty() {
        node.warn("the user name is empty, nobody is named to the server");
        return None;
    }
    if is_long(&account) {
        node.dead("a user name and a password have at most 255 bytes each");
    }
    Some(account)
}

/// Both protocols could say more, but SOCKS 5 has one byte for each length.
fn is_long(account: &Account) -> bool {
    account.user.len() > 255 || account.pass.len() > 255
}

/// One `{user, pass}`; `username` and `password` are taken as well.
fn account(node: &Node) -> Option<Account> {
    let object = node.object()?;
    let account = fields(&object);
    let account = account.or_else(|| {
        Some(Account {
            user: String::new(),
            pass: String::new().into(),
            level: 0,
        })
    });
    object.no_effect(&["email"]);
    object.finish();
    account
}

/// The account among the keys of a server, if one is named.
pub(super) fn of_fields(object: &Object) -> Option<Account> {
    sent(&object.node, fields(object)?)
}

fn fields(object: &Object) -> Option<Account> {
    let pass = object.first(&["pass", "password"]);
    let level = object.read_or("level", 0);
    let node = object.first(&["user", "username"])?;
    let user: String = node.read()?;
    let pass: String = pass.and_then(|node| node.read()).unwrap_or_default();
    let pass = pass.into();
    Some(Account { user, pass, level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::v2ray::json::Report;
    use serde_json::json;

    #[test]
    fn mistakes_in_accounts_have_their_place() {
        let value =
            json!({"accounts": [{"user": ""}, {"pass": "x"}, {"user": "a"}, {"user": "a"}]});
        let report = Report::default();
        of_inbound(&Node::root(&value, &report).object().unwrap());
        let said: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "accounts[0]: nobody can give this name and password, the account is left out",
                "accounts[1]: nobody can give this name and password, the account is left out",
                "accounts[3]: the user `a` is there twice, the last one counts, as in V2Ray",
            ]
        );
    }

    /// As in Xray and V2Ray 5, which let nobody of the second list in.
    #[test]
    fn accounts_stand_in_the_place_of_users() {
        let value = json!({"users": [{"user": "c", "pass": "d"}], "accounts": [{"user": "a", "pass": "b"}]});
        let report = Report::default();
        let accounts = of_inbound(&Node::root(&value, &report).object().unwrap());
        let [one] = &accounts[..] else {
            panic!("one account");
        };
        assert_eq!(one.user, "a");
        let said: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["users: `accounts` is there as well, and stands in its place, as in Xray"]
        );
    }
}
