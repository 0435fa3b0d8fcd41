//! Shadowsocks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{email, networks, opened_account, servers_with_users};
use crate::dialect::messages::at::At;
use crate::protocol::shadowsocks::{
    Access, AccountSecret, AccountSettings, AeadKey, AeadPassword, Cipher, InboundSettings,
    OutboundSettings, UserSettings,
};
use crate::secret::Secret;
use crate::wire::common::protocol::User;
use crate::wire::common::serial::TypedMessage;
use crate::wire::proxy::shadowsocks::{self, CipherType};
use crate::wire::proxy::shadowsocks_2022;
use crate::wire::typed;

pub(super) const ACCOUNT: &str = "proxy.shadowsocks.Account";
pub(super) const ACCOUNT_2022: &str = "proxy.shadowsocks_2022.Account";

pub(super) fn inbound(config: &shadowsocks::ServerConfig, at: &At) -> Option<InboundSettings> {
    let (tcp, udp) = networks(&config.network);
    let at = at.key("user");
    let user = at.required(config.user.as_ref())?;
    let key = account(user, &at)?;
    let (email, level) = (email(user), user.level);
    let access = match key {
        Some(key) => Access::Passwords(vec![UserSettings { key, email, level }]),
        None => {
            let key = ();
            Access::Anybody(UserSettings { key, email, level })
        }
    };
    Some(InboundSettings {
        access,
        tcp: tcp || !udp,
        udp: udp || config.udp_enabled,
    })
}

pub(super) fn outbound(config: &shadowsocks::ClientConfig, at: &At) -> Option<OutboundSettings> {
    let account = |user: &User, at: &At| {
        let key = account(user, at)?;
        Some(AccountSettings {
            at: Default::default(),
            secret: key.map_or(AccountSecret::None, AccountSecret::Aead),
            level: user.level,
        })
    };
    let servers = servers_with_users(&config.server, account, &at.key("server"))?;
    Some(OutboundSettings { servers })
}

/// One more user of 2017.
pub(super) fn user(user: &User, at: &At) -> Option<UserSettings<AeadKey>> {
    let Some(key) = account(user, at)? else {
        let at = at.key("account").key("cipher_type");
        return at.error("whoever comes without a password is nobody");
    };
    Some(UserSettings {
        key: key.key(),
        email: email(user),
        level: user.level,
    })
}

/// One more user of 2022; how long a key is to be is the inbound's to say.
pub(super) fn user_2022(user: &User, at: &At) -> Option<UserSettings<Secret<Vec<u8>>>> {
    let account: shadowsocks_2022::Account = opened_account(user, ACCOUNT_2022, at)?;
    let at = at.key("account").key("key");
    let key = STANDARD.decode(account.key.trim());
    let key = key
        .or_else(|_| at.error("it is not base64").ok_or(()))
        .ok()?;
    Some(UserSettings {
        key: key.into(),
        email: email(user),
        level: user.level,
    })
}

/// What the password stands for; nothing where the method is `none`.
fn account(user: &User, at: &At) -> Option<Option<AeadPassword>> {
    let account: shadowsocks::Account = opened_account(user, ACCOUNT, at)?;
    let at = at.key("account");
    let cipher = match account.cipher_type() {
        CipherType::Aes128Gcm | CipherType::XrayAes128Gcm => Cipher::Aes128Gcm,
        CipherType::Aes256Gcm | CipherType::XrayAes256Gcm => Cipher::Aes256Gcm,
        CipherType::Chacha20Poly1305 | CipherType::XrayChacha20Poly1305 => Cipher::ChaCha20Poly1305,
        CipherType::None | CipherType::XrayNone => return Some(None),
        CipherType::XrayXchacha20Poly1305 => {
            let at = at.key("cipher_type");
            return at.not_built("the method", "xchacha20-poly1305");
        }
        CipherType::Unknown => {
            return at.key("cipher_type").error("the method is not known");
        }
    };
    if account.password.is_empty() {
        return at.key("password").error("the password is empty");
    }
    Some(Some(AeadPassword::new(cipher, account.password)))
}

/// What knows a user of 2022.
pub(super) fn account_message_2022(key: String) -> TypedMessage {
    typed::seal(ACCOUNT_2022, &shadowsocks_2022::Account { key })
}
