//! VLESS.

use uuid::Uuid;

use super::{FallbackMessage, email, fallbacks, id, opened_account, servers_with_users, users};
use crate::dialect::messages::at::At;
use crate::protocol::vless::{
    AccountSettings, InboundSettings, OutboundSettings, UserSettings, VlessUser,
};
use crate::secret::Secret;
use crate::wire::common::protocol::User;
use crate::wire::common::serial::TypedMessage;
use crate::wire::proxy::vless;
use crate::wire::{typed, xray};

pub(super) const ACCOUNT: &str = "proxy.vless.Account";

pub(in crate::dialect::messages) fn inbound(
    config: &vless::inbound::Config,
    at: &At,
) -> Option<InboundSettings> {
    no_encryption(&config.decryption, &at.key("decryption"));
    let each = config.fallbacks.iter().map(|entry| FallbackMessage {
        alpn: &entry.alpn,
        path: &entry.path,
        kind: &entry.r#type,
        dest: &entry.dest,
        xver: entry.xver,
    });
    let fallbacks = fallbacks(each, &at.key("fallbacks"));
    let known = |message: &User, at: &At| user(message, at).map(VlessUser);
    let users = users(&config.clients, known, &at.key("clients"))?;
    Some(InboundSettings {
        users: users.into_iter().map(Into::into).collect(),
        fallbacks: fallbacks?,
    })
}

pub(super) fn outbound(config: &vless::outbound::Config, at: &At) -> Option<OutboundSettings> {
    let servers = servers_with_users(&config.vnext, account, &at.key("vnext"))?;
    Some(OutboundSettings { servers })
}

pub(super) fn user(user: &User, at: &At) -> Option<UserSettings> {
    Some(UserSettings {
        id: key(user, at)?,
        email: email(user),
        level: user.level,
    })
}

fn account(user: &User, at: &At) -> Option<AccountSettings> {
    Some(AccountSettings {
        at: Default::default(),
        id: key(user, at)?,
        level: user.level,
    })
}

/// All that there is to an account that is built.
fn key(user: &User, at: &At) -> Option<Secret<Uuid>> {
    // Xray's has V2Ray's fields, and more.
    let account: xray::proxy::vless::Account = opened_account(user, ACCOUNT, at)?;
    no_encryption(&account.encryption, &at.key("account").key("encryption"));
    if !account.flow.is_empty() {
        let text = format!("the flow `{}` is not built", account.flow.escape_debug());
        at.key("account").key("flow").error::<()>(text);
    }
    if account.reverse.is_some() {
        let text = "what is meant for the other end of a tunnel would leave from this machine";
        at.key("account").key("reverse").error::<()>(text);
    }
    id(&account.id, at)
}

/// V2Ray's clients of the API leave it out as well.
fn no_encryption(word: &str, at: &At) {
    if !matches!(word, "" | "none") {
        at.error::<()>("VLESS Encryption is not built, expected `none`");
    }
}

/// What knows a user by an id.
pub(in crate::dialect::messages) fn account_message(id: String) -> TypedMessage {
    let account = vless::Account {
        id,
        encryption: "none".to_owned(),
        ..vless::Account::default()
    };
    typed::seal(ACCOUNT, &account)
}
