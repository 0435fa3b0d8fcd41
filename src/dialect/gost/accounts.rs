//! Who may come, and as whom one goes.

use super::Problems;
use super::part::check_keys;
use crate::dialect::tree::{Node, Value};
use crate::protocol::accounts::Account;

/// `auth`, and what `auther` names.
pub(super) fn accounts(
    handler: Option<&Node>,
    root: &Node,
    problems: &Problems,
) -> Option<Vec<Account>> {
    let handler = handler?;
    let mut all: Vec<Account> = account(handler, problems).into_iter().collect();
    let names = [handler.get("auther"), handler.get("authers")];
    for name in names.into_iter().flatten().flat_map(Node::items) {
        let mut authers = root
            .get("authers")
            .map(Node::items)
            .unwrap_or_default()
            .iter();
        let found = authers.find(|one| one.get("name").and_then(Node::as_text) == name.as_text());
        let Some(auther) = found else {
            let text = name.as_text().unwrap_or_default().escape_debug();
            problems.error(&name.at, &format!("there is no auther `{text}`"));
            continue;
        };
        check_keys(auther, &["name", "auths"], problems);
        let auths = auther.get("auths").map(Node::items).unwrap_or_default();
        if auths.is_empty() {
            problems.error(
                &auther.at,
                "there is no account in it, and so no password would be asked for",
            );
        }
        all.extend(auths.iter().filter_map(|auth| account_of(auth, problems)));
    }
    let is_asked = !all.is_empty() || names.iter().any(Option::is_some);
    is_asked.then_some(all)
}

/// `auth` of a handler or a connector.
pub(super) fn account(part: &Node, problems: &Problems) -> Option<Account> {
    let auth = part.get("auth")?;
    match auth.value {
        Value::Null => None,
        _ => account_of(auth, problems),
    }
}

fn account_of(auth: &Node, problems: &Problems) -> Option<Account> {
    check_keys(auth, &["username", "password"], problems);
    let text = |name: &str| auth.get(name).and_then(Node::as_text).unwrap_or_default();
    let (user, pass) = (text("username"), text("password"));
    if user.is_empty() && pass.is_empty() {
        problems.error(
            &auth.at,
            "this is no account, expected `username` and `password`",
        );
        return None;
    }
    Some(Account {
        user: user.to_owned(),
        pass: pass.to_owned().into(),
        level: 0,
    })
}
