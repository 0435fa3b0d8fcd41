//! User names and passwords, as SOCKS and HTTP proxies ask for them.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::seam::Refusal;
use crate::secret::Secret;
use crate::session::User;

/// The user of sessions that come without a name: `None` at level 0, else one who has a level and nothing more.
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
    refusal.of(user.and_then(|user| user.email.clone()))
}

/// A name and a password: of a user of an inbound, or what an outbound says to its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub pass: Secret<String>,
    /// Index into `policy.levels`; that of an inbound's users is the inbound's own.
    pub level: u32,
}

/// Who may use an inbound.
#[derive(Clone, Default)]
pub struct Accounts(Arc<HashMap<String, Entry>>);

/// A password, and whose it is.
type Entry = (Secret<String>, Arc<User>);

impl Accounts {
    /// V2Ray takes the user name for the email. Of two with one name the last one counts.
    pub fn new(accounts: &[Account], level: u32) -> Self {
        let entry = |account: &Account| {
            let user = User {
                email: Some(account.user.clone()),
                level,
                anonymous: false,
            };
            (account.user.clone(), (account.pass.clone(), Arc::new(user)))
        };
        Self(Arc::new(accounts.iter().map(entry).collect()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_password_only() {
        let account = |user: &str, pass: &str| Account {
            user: user.to_owned(),
            pass: pass.to_owned().into(),
            level: 0,
        };
        let accounts = Accounts::new(&[account("ann", "x"), account("bob", "")], 3);
        let ann = accounts.find(b"ann", b"x").unwrap();
        assert_eq!((ann.email.as_deref(), ann.level), (Some("ann"), 3));
        assert!(accounts.find(b"bob", b"").is_some());
        for (user, pass) in [(&b"ann"[..], &b"y"[..]), (b"ann", b""), (b"eve", b"x")] {
            assert!(accounts.find(user, pass).is_none());
        }
        assert!(accounts.find(b"\xff", b"x").is_none());
    }

    #[test]
    fn a_password_is_not_shown() {
        let account = Account {
            pass: "hidden".to_owned().into(),
            ..Account::default()
        };
        assert!(!format!("{account:?}").contains("hidden"));
    }
}
