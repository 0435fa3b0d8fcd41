//! User names and passwords, as SOCKS and HTTP proxies ask for them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::io::Refusal;
use crate::json::{Node, Object};
use crate::session::User;

/// Who comes without a name; nobody in particular at level 0.
pub fn anonymous(level: u32) -> Option<Arc<User>> {
    (level != 0).then(|| {
        Arc::new(User {
            email: None,
            level,
            anonymous: true,
        })
    })
}

/// A refusal of somebody who has said their password, or of anybody else.
pub fn known(user: Option<&User>, refusal: Refusal) -> Refusal {
    match user.and_then(|user| user.email.clone()) {
        Some(name) => Refusal::Known(name, Box::new(refusal)),
        None => refusal,
    }
}

/// `accounts: [{user, pass}]` of an inbound: who may use it.
#[derive(Clone, Default)]
pub struct Accounts(Arc<HashMap<String, (String, Arc<User>)>>);

/// What an outbound says to its server.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub pass: String,
    /// Index into `policy.levels`.
    pub level: u32,
}

impl Accounts {
    /// Reads `accounts` of an inbound's settings, which Xray also calls `users`. V2Ray takes the user name for
    /// the email.
    pub fn read(settings: &Object, level: u32) -> Self {
        let mut accounts = HashMap::new();
        let nodes = settings.array("accounts").into_iter();
        for node in nodes.chain(settings.array("users")) {
            let Some(account) = Account::read(&node) else {
                continue;
            };
            if accounts.contains_key(&account.user) {
                node.error(format!("the user `{}` is there twice", account.user));
                continue;
            }
            let user = User {
                email: Some(account.user.clone()),
                level,
                anonymous: false,
            };
            accounts.insert(account.user, (account.pass, Arc::new(user)));
        }
        Self(Arc::new(accounts))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user whose name and password these are.
    pub fn find(&self, user: &[u8], pass: &[u8]) -> Option<Arc<User>> {
        let (expected, found) = self.0.get(str::from_utf8(user).ok()?)?;
        verify_slices_are_equal(expected.as_bytes(), pass).ok()?;
        Some(found.clone())
    }
}

impl Account {
    /// Reads one `{user, pass}`; `username` and `password` are taken as well.
    fn read(node: &Node) -> Option<Self> {
        let object = node.object()?;
        let account = Self::fields(&object);
        if account.is_none() {
            node.error("`user` is missing");
        }
        object.no_effect(&["email"]);
        object.finish();
        account
    }

    /// The account among the keys of `object`, if one is named.
    pub fn fields(object: &Object) -> Option<Self> {
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
        Some(Self { user, pass, level })
    }

    /// Reads `users` of a server.
    pub fn read_all(server: &Object) -> Vec<Self> {
        server
            .array("users")
            .iter()
            .filter_map(Self::read)
            .collect()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("user", &self.user)
            .field("pass", &"<redacted>")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Report;
    use serde_json::json;

    #[test]
    fn a_user_is_found_by_name_and_password_only() {
        let value = json!({"accounts": [{"user": "ann", "pass": "x"}, {"user": "bob"}]});
        let report = Report::default();
        let accounts = Accounts::read(&Node::root(&value, &report).object().unwrap(), 3);
        assert!(!report.has_errors());
        let ann = accounts.find(b"ann", b"x").unwrap();
        assert_eq!((ann.email.as_deref(), ann.level), (Some("ann"), 3));
        assert!(accounts.find(b"bob", b"").is_some());
        for (user, pass) in [(&b"ann"[..], &b"y"[..]), (b"ann", b""), (b"eve", b"x")] {
            assert!(accounts.find(user, pass).is_none());
        }
        assert!(accounts.find(b"\xff", b"x").is_none());
    }

    #[test]
    fn mistakes_in_accounts_have_their_place() {
        let value =
            json!({"accounts": [{"user": ""}, {"pass": "x"}, {"user": "a"}, {"user": "a"}]});
        let report = Report::default();
        Accounts::read(&Node::root(&value, &report).object().unwrap(), 0);
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
