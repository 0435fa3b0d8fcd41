//! User names and passwords.

use crate::dialect::v2ray::json::{Node, Object};
use crate::protocol::accounts::Account;

/// `accounts` of an inbound's settings, which Xray also calls `users`.
pub(super) fn of_inbound(settings: &Object) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    let nodes = settings.array("accounts").into_iter();
    for node in nodes.chain(settings.array("users")) {
        let Some(account) = account(&node) else {
            continue;
        };
        if accounts.iter().any(|other| other.user == account.user) {
            node.error(format!("the user `{}` is there twice", account.user));
            continue;
        }
        accounts.push(account);
    }
    accounts
}

/// `users` of a server.
pub(super) fn of_server(server: &Object) -> Vec<Account> {
    server.array("users").iter().filter_map(account).collect()
}

/// One `{user, pass}`; `username` and `password` are taken as well.
fn account(node: &Node) -> Option<Account> {
    let object = node.object()?;
    let account = fields(&object);
    if account.is_none() {
        node.error("`user` is missing");
    }
    object.no_effect(&["email"]);
    object.finish();
    account
}

/// The account among the keys of `object`, if one is named.
pub(super) fn fields(object: &Object) -> Option<Account> {
    let pass = object.first(&["pass", "password"]);
    let level = object.read_or("level", 0);
    let node = object.first(&["user", "username"])?;
    let user: String = node.read()?;
    let pass: String = pass.and_then(|node| node.read()).unwrap_or_default();
    if user.is_empty() {
        node.error("the user name is empty");
    }
    // Both protocols could say more, but SOCKS 5 has one byte for each length.
    for (what, len) in [("user name", user.len()), ("password", pass.len())] {
        if len > 255 {
            node.error(format!("the {what} has {len} bytes, at most 255 fit"));
        }
    }
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
        let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "accounts[0].user: the user name is empty",
                "accounts[1]: `user` is missing",
                "accounts[3]: the user `a` is there twice",
            ]
        );
    }
}
