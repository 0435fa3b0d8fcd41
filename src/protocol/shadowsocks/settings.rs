//! What a `shadowsocks` inbound or outbound can be told.

use super::codec::keys::Key;
use super::codec::method::Cipher;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{InboundTraits, Unsealed};
use crate::report::Place;
use crate::secret::Secret;

/// `settings` of a `shadowsocks` inbound.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundSettings {
    pub access: Access,
    /// `network` has `tcp`, V2Ray's default.
    pub tcp: bool,
    /// `network` has `udp`: datagrams are listened for on the same ports.
    pub udp: bool,
}

/// Who may connect, and how they are told apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Whoever comes, with `method: none`; all are one user.
    Anybody(UserSettings<()>),
    /// Each with a password of 2017: the keys of all are tried.
    Passwords(Vec<UserSettings<AeadPassword>>),
    /// Whoever has the one key of 2022.
    OneKey(UserSettings<Blake3Key>),
    /// Each with a key of 2022, named by an identity header that the server's own `key` opens.
    Identities {
        cipher: Cipher,
        key: Key,
        users: Vec<UserSettings<Key>>,
    },
}

/// A user, and what they show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSettings<K> {
    pub key: K,
    /// V2Ray's label for a user; it need not be an address.
    pub email: Option<String>,
    /// Index into `policy.levels`.
    pub level: u32,
}

/// What a password of 2017 stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AeadKey {
    pub cipher: Cipher,
    pub key: Key,
}

/// A password of 2017, and the key that is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AeadPassword {
    text: Secret<String>,
    key: AeadKey,
}

/// A key of 2022.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blake3Key {
    pub cipher: Cipher,
    pub key: Key,
}

/// `settings` of a `shadowsocks` outbound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// `servers`; each has one account.
    pub servers: Vec<ServerSettings<AccountSettings>>,
}

/// Who we are at a server.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountSettings {
    /// Where `method` stands.
    pub at: Place,
    pub secret: AccountSecret,
    /// Index into `policy.levels`.
    pub level: u32,
}

/// `method` and `password` of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountSecret {
    /// `none`: nothing is sealed.
    None,
    Aead(AeadPassword),
    Blake3 {
        /// Ours; it is the last one of the password.
        key: Blake3Key,
        /// Those of the servers on the way, in front of ours.
        servers: Vec<Key>,
    },
}

impl AeadPassword {
    /// Any text may be one.
    pub fn new(cipher: Cipher, text: String) -> Self {
        let key = Key::from_password(cipher, &text);
        Self {
            text: text.into(),
            key: AeadKey { cipher, key },
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it stands for.
    pub fn key(&self) -> AeadKey {
        self.key
    }
}

impl Default for InboundSettings {
    /// Nobody may connect.
    fn default() -> Self {
        Self {
            access: Access::Passwords(Vec::new()),
            tcp: true,
            udp: false,
        }
    }
}

impl InboundSettings {
    pub fn traits(&self) -> InboundTraits {
        InboundTraits {
            requires_auth: !matches!(self.access, Access::Anybody(_)),
            is_proxy: true,
            auth_hint: "another `method` than `none`",
            streams: self.tcp,
            datagrams: self.udp,
            ..InboundTraits::default()
        }
    }
}

impl OutboundSettings {
    /// Accounts whose payload nothing seals.
    pub fn unsealed(&self) -> impl Iterator<Item = Unsealed<'_>> {
        self.servers.iter().flat_map(|server| {
            let open = |account: &&AccountSettings| account.secret == AccountSecret::None;
            let accounts = server.accounts.iter().filter(open);
            accounts.map(|account| Unsealed {
                at: &account.at,
                says: "none",
                instead: Some("2022-blake3-aes-128-gcm"),
                server: &server.to.host,
            })
        })
    }
}
