//! Trojan.

use super::{FallbackMessage, email, fallbacks, opened_account, servers_with_users, users};
use crate::dialect::messages::at::At;
use crate::protocol::trojan::{AccountSettings, InboundSettings, OutboundSettings, UserSettings};
use crate::secret::Secret;
use crate::wire::common::protocol::User;
use crate::wire::common::serial::TypedMessage;
use crate::wire::proxy::trojan;
use crate::wire::typed;

pub(super) const ACCOUNT: &str = "proxy.trojan.Account";

pub(in crate::dialect::messages) fn inbound(
    config: &trojan::ServerConfig,
    at: &At,
) -> Option<InboundSettings> {
    let each = config.fallbacks.iter().map(|entry| FallbackMessage {
        alpn: &entry.alpn,
        path: &entry.path,
        kind: &entry.r#type,
        dest: &entry.dest,
        xver: entry.xver,
    });
    let fallbacks = fallbacks(each, &at.key("fallbacks"));
    let users = users(&config.users, user, &at.key("users"))?;
    Some(InboundSettings {
        users,
        fallbacks: fallbacks?,
    })
}

pub(super) fn outbound(config: &trojan::ClientConfig, at: &At) -> Option<OutboundSettings> {
    let servers = servers_with_users(&config.server, account, &at.key("server"))?;
    Some(OutboundSettings { servers })
}

pub(super) fn user(user: &User, at: &At) -> Option<UserSettings> {
    Some(UserSettings {
        password: password(user, at)?,
        email: email(user),
        level: user.level,
    })
}

fn account(user: &User, at: &At) -> Option<AccountSettings> {
    Some(AccountSettings {
        at: Default::default(),
        password: password(user, at)?,
        level: user.level,
    })
}

fn password(user: &User, at: &At) -> Option<Secret<String>> {
    let account: trojan::Account = opened_account(user, ACCOUNT, at)?;
    let at = at.key("account");
    if !account.flow.is_empty() {
        let text = format!("the flow `{}` is not built", account.flow.escape_debug());
        at.key("flow").error::<()>(text);
    }
    if account.password.is_empty() {
        return at.key("password").error("it is empty");
    }
    Some(account.password.into())
}

/// What knows a user by a password.
pub(in crate::dialect::messages) fn account_message(password: String) -> TypedMessage {
    let account = trojan::Account {
        password,
        ..trojan::Account::default()
    };
    typed::seal(ACCOUNT, &account)
}
