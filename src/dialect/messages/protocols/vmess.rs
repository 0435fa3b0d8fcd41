//! VMess.

use super::{email, id, opened_account, servers_with_users, users};
use crate::dialect::messages::at::At;
use crate::protocol::vmess::{
    AccountSettings, InboundSettings, OutboundSettings, Security, UserSettings,
};
use crate::wire::common::protocol::{SecurityConfig, SecurityType, User};
use crate::wire::common::serial::TypedMessage;
use crate::wire::proxy::vmess;
use crate::wire::typed;

pub(super) const ACCOUNT: &str = "proxy.vmess.Account";

pub(super) fn inbound(config: &vmess::inbound::Config, at: &At) -> Option<InboundSettings> {
    let users = users(&config.user, user, &at.key("user"))?;
    Some(InboundSettings {
        users,
        ..Default::default()
    })
}

pub(super) fn outbound(config: &vmess::outbound::Config, at: &At) -> Option<OutboundSettings> {
    let servers = servers_with_users(&config.receiver, account, &at.key("receiver"))?;
    Some(OutboundSettings { servers })
}

pub(super) fn user(user: &User, at: &At) -> Option<UserSettings> {
    let account: vmess::Account = opened_account(user, ACCOUNT, at)?;
    Some(UserSettings {
        id: id(&account.id, at)?,
        email: email(user),
        level: user.level,
    })
}

fn account(user: &User, at: &At) -> Option<AccountSettings> {
    let account: vmess::Account = opened_account(user, ACCOUNT, at)?;
    let has = |name: &str| account.tests_enabled.split('|').any(|e| e.trim() == name);
    Some(AccountSettings {
        at: Default::default(),
        id: id(&account.id, at)?,
        security: match account.security_settings.map(|s| s.r#type()) {
            None | Some(SecurityType::Unknown | SecurityType::Auto | SecurityType::Legacy) => {
                Security::Auto
            }
            Some(SecurityType::Aes128Gcm) => Security::Aes128Gcm,
            Some(SecurityType::Chacha20Poly1305) => Security::ChaCha20Poly1305,
            Some(SecurityType::None) => Security::None,
            Some(SecurityType::Zero) => Security::Zero,
        },
        authenticated_length: has("AuthenticatedLength"),
        no_end_mark: has("NoTerminationSignal"),
        level: user.level,
    })
}

/// What knows a user by an id.
pub(in crate::dialect::messages) fn account_message(id: String) -> TypedMessage {
    let account = vmess::Account {
        id,
        // V2Ray dislikes an account that does not say.
        security_settings: Some(SecurityConfig {
            r#type: SecurityType::Auto.into(),
        }),
        ..vmess::Account::default()
    };
    typed::seal(ACCOUNT, &account)
}
