//! The inbounds by name, and what each of them answers.

use std::sync::Arc;

use tokio::net::UdpSocket;

use super::udp_port::Sources;
use uuid::Uuid;

use super::users::{AnyUser, UserError};
use super::{
    FallbackSettings, InboundContext, dokodemo, http, relay, shadowsocks, socks, trojan, vless,
    vmess,
};
use crate::io::BindUdp;
use crate::seam::{Admission, Arrival, Refusal};
use crate::session::Entry;

/// The protocol of an inbound, and its `settings`.
#[derive(Clone, Debug, PartialEq)]
pub enum InboundSettings {
    Dokodemo(dokodemo::InboundSettings),
    Http(http::InboundSettings),
    Relay(relay::InboundSettings),
    Shadowsocks(shadowsocks::InboundSettings),
    Socks(socks::InboundSettings),
    Trojan(trojan::InboundSettings),
    Vless(vless::InboundSettings),
    Vmess(vmess::InboundSettings),
}

/// A protocol that accepts.
pub enum Inbound {
    Dokodemo(dokodemo::Inbound),
    Http(http::Inbound),
    Relay(relay::Inbound),
    Shadowsocks(shadowsocks::Inbound),
    Socks(socks::Inbound),
    Trojan(Box<trojan::Inbound>),
    Vless(Box<vless::Inbound>),
    Vmess(Box<vmess::Inbound>),
}

/// What others than the protocol itself must know of an inbound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundTraits {
    /// The level whose `handshake` bounds the wait for a request; V2Ray takes 0 while it does not know the user.
    /// `None`: a peer need not say anything before something is done for it.
    pub handshake_level: Option<u32>,
    /// Whether clients must authenticate.
    pub requires_auth: bool,
    /// Whether it takes clients to wherever they want.
    pub is_proxy: bool,
    /// What would have them authenticate, for a message.
    pub auth_hint: &'static str,
    /// Whether TCP connections are listened for.
    pub streams: bool,
    /// Whether a UDP port is listened on as well.
    pub datagrams: bool,
    /// Whether what a packet filter brings goes where it was meant to go, which takes a transparent listener.
    pub follows_redirect: bool,
    /// Whether it has a place to go to, but no port there.
    pub lacks_port: bool,
}

impl Default for InboundTraits {
    fn default() -> Self {
        Self {
            handshake_level: Some(0),
            requires_auth: false,
            is_proxy: false,
            auth_hint: "`accounts`",
            streams: true,
            datagrams: false,
            follows_redirect: false,
            lacks_port: false,
        }
    }
}

impl Inbound {
    /// How its sessions come in, as Xray tells them apart.
    pub fn entry(&self) -> Entry {
        match self {
            Self::Dokodemo(_) | Self::Http(_) | Self::Socks(_) => Entry::Local,
            Self::Relay(_)
            | Self::Shadowsocks(_)
            | Self::Trojan(_)
            | Self::Vless(_)
            | Self::Vmess(_) => Entry::Tunnel,
        }
    }
}

impl InboundTraits {
    /// Whether anybody may use it to go anywhere.
    pub fn is_proxy_for_anybody(&self) -> bool {
        self.is_proxy && !self.requires_auth
    }
}

impl InboundSettings {
    pub fn traits(&self) -> InboundTraits {
        match self {
            Self::Dokodemo(settings) => settings.traits(),
            Self::Http(settings) => settings.traits(),
            Self::Relay(settings) => settings.traits(),
            Self::Shadowsocks(settings) => settings.traits(),
            Self::Socks(settings) => settings.traits(),
            Self::Trojan(settings) => settings.traits(),
            Self::Vless(settings) => settings.traits(),
            Self::Vmess(settings) => settings.traits(),
        }
    }

    /// As configs have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dokodemo(_) => "dokodemo-door",
            Self::Http(_) => "http",
            Self::Relay(_) => "relay",
            Self::Shadowsocks(_) => "shadowsocks",
            Self::Socks(_) => "socks",
            Self::Trojan(_) => "trojan",
            Self::Vless(_) => "vless",
            Self::Vmess(_) => "vmess",
        }
    }

    /// Who gets the links of strangers.
    pub fn fallbacks(&self) -> &[FallbackSettings] {
        match self {
            Self::Dokodemo(_)
            | Self::Http(_)
            | Self::Relay(_)
            | Self::Shadowsocks(_)
            | Self::Socks(_)
            | Self::Vmess(_) => &[],
            Self::Trojan(settings) => &settings.fallbacks,
            Self::Vless(settings) => &settings.fallbacks,
        }
    }

    /// The ids of its users; `None` for protocols whose users have none.
    pub fn ids(&self) -> Option<Vec<Uuid>> {
        match self {
            Self::Dokodemo(_)
            | Self::Http(_)
            | Self::Relay(_)
            | Self::Shadowsocks(_)
            | Self::Socks(_)
            | Self::Trojan(_) => None,
            Self::Vless(settings) => Some(settings.users.iter().map(|user| *user.id).collect()),
            Self::Vmess(settings) => Some(settings.users.iter().map(|user| *user.id).collect()),
        }
    }
}

impl InboundSettings {
    /// The same for nobody, where users come and go.
    #[must_use]
    pub fn without_users(&self) -> Self {
        match self {
            Self::Shadowsocks(settings) => Self::Shadowsocks(shadowsocks::InboundSettings {
                access: shadowsocks::Access::Passwords(Vec::new()),
                ..settings.clone()
            }),
            Self::Trojan(_) => Self::Trojan(trojan::InboundSettings::default()),
            Self::Vless(_) => Self::Vless(vless::InboundSettings::default()),
            Self::Vmess(settings) => Self::Vmess(vmess::InboundSettings {
                users: Vec::new(),
                ..*settings
            }),
            Self::Dokodemo(_) | Self::Http(_) | Self::Relay(_) | Self::Socks(_) => self.clone(),
        }
    }

    /// All but the users that come and go in a running inbound.
    #[must_use]
    pub fn frame(&self) -> Self {
        use shadowsocks::Access;
        match self {
            Self::Shadowsocks(settings) => Self::Shadowsocks(shadowsocks::InboundSettings {
                access: match &settings.access {
                    Access::Passwords(_) => Access::Passwords(Vec::new()),
                    Access::Identities { cipher, key, .. } => Access::Identities {
                        cipher: *cipher,
                        key: *key,
                        users: Vec::new(),
                    },
                    Access::Anybody(_) | Access::OneKey(_) => settings.access.clone(),
                },
                ..*settings
            }),
            Self::Trojan(settings) => Self::Trojan(trojan::InboundSettings {
                users: Vec::new(),
                fallbacks: settings.fallbacks.clone(),
            }),
            Self::Vless(settings) => Self::Vless(vless::InboundSettings {
                users: Vec::new(),
                fallbacks: settings.fallbacks.clone(),
            }),
            Self::Vmess(settings) => Self::Vmess(vmess::InboundSettings {
                users: Vec::new(),
                ..*settings
            }),
            Self::Dokodemo(_) | Self::Http(_) | Self::Relay(_) | Self::Socks(_) => self.clone(),
        }
    }

    /// One more user; one of another protocol is left out.
    pub fn push_user(&mut self, user: AnyUser) {
        match (self, user) {
            (Self::Trojan(settings), AnyUser::Trojan(user)) => settings.users.push(user),
            (Self::Vless(settings), AnyUser::Vless(user)) => settings.users.push(user),
            (Self::Vmess(settings), AnyUser::Vmess(user)) => settings.users.push(user),
            _ => {}
        }
    }
}

impl Inbound {
    /// What the log calls reading what the peer asks for: a server finds out who somebody is.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Dokodemo(_) | Self::Http(_) | Self::Socks(_) => "request",
            Self::Relay(_)
            | Self::Shadowsocks(_)
            | Self::Trojan(_)
            | Self::Vless(_)
            | Self::Vmess(_) => "protocol",
        }
    }

    pub fn new(settings: InboundSettings) -> Self {
        match settings {
            InboundSettings::Dokodemo(settings) => Self::Dokodemo(dokodemo::Inbound::new(settings)),
            InboundSettings::Http(settings) => Self::Http(http::Inbound::new(&settings)),
            InboundSettings::Relay(settings) => Self::Relay(relay::Inbound::new(settings)),
            InboundSettings::Shadowsocks(settings) => {
                Self::Shadowsocks(shadowsocks::Inbound::new(settings))
            }
            InboundSettings::Socks(settings) => Self::Socks(socks::Inbound::new(settings)),
            InboundSettings::Trojan(settings) => {
                Self::Trojan(Box::new(trojan::Inbound::new(settings)))
            }
            InboundSettings::Vless(settings) => {
                Self::Vless(Box::new(vless::Inbound::new(settings)))
            }
            InboundSettings::Vmess(settings) => {
                Self::Vmess(Box::new(vmess::Inbound::new(settings)))
            }
        }
    }

    /// Reads what the peer asks for. Every protocol bounds the time this takes.
    pub async fn accept(
        &self,
        arrival: Arrival,
        context: &InboundContext,
    ) -> Result<Admission, Refusal> {
        let accepted = match self {
            Self::Dokodemo(inbound) => inbound.accept(arrival).await,
            Self::Http(inbound) => inbound.accept(arrival, context).await,
            Self::Relay(inbound) => inbound.accept(arrival, context).await,
            Self::Shadowsocks(inbound) => inbound.accept(arrival, context).await,
            Self::Socks(inbound) => inbound.accept(arrival, context).await,
            Self::Trojan(inbound) => inbound.accept(arrival, context).await,
            Self::Vless(inbound) => return inbound.accept(arrival, context).await,
            Self::Vmess(inbound) => inbound.accept(arrival, context).await,
        };
        accepted.map(|accepted| Admission {
            accepted,
            vless_route: 0,
        })
    }

    /// The sources of the datagrams that come to a listening socket; `bind` makes sockets that send as
    /// somebody else.
    pub fn sources(
        &self,
        socket: Arc<UdpSocket>,
        bind: BindUdp,
        context: &InboundContext,
    ) -> Option<Sources> {
        match self {
            Self::Dokodemo(inbound) => Some(inbound.sources(socket, bind, context)),
            Self::Shadowsocks(inbound) => Some(inbound.sources(socket, context)),
            Self::Socks(inbound) => Some(inbound.sources(socket, context)),
            Self::Http(_) | Self::Relay(_) | Self::Trojan(_) | Self::Vless(_) | Self::Vmess(_) => {
                None
            }
        }
    }

    /// Makes the users of `settings` those that the config names; no other part of them is looked at. Whom the API has
    /// added stays, where nobody of these has the same id, password or email.
    pub fn set_users(&self, settings: InboundSettings) {
        match (self, settings) {
            (Self::Shadowsocks(inbound), InboundSettings::Shadowsocks(settings)) => {
                inbound.set_users(settings.access);
            }
            (Self::Trojan(inbound), InboundSettings::Trojan(settings)) => {
                inbound.set_users(settings.users);
            }
            (Self::Vless(inbound), InboundSettings::Vless(settings)) => {
                inbound.set_users(settings.users);
            }
            (Self::Vmess(inbound), InboundSettings::Vmess(settings)) => {
                inbound.set_users(settings.users);
            }
            _ => {}
        }
    }

    /// Takes over what goes on beyond single connections from the one whose place it takes: the users whom the API has
    /// added, and associations of SOCKS.
    pub fn inherit(&mut self, other: &Self) {
        match (self, other) {
            (Self::Shadowsocks(inbound), Self::Shadowsocks(other)) => inbound.add_added(other),
            (Self::Socks(inbound), Self::Socks(other)) => inbound.take_associations(other),
            (Self::Trojan(inbound), Self::Trojan(other)) => inbound.add_added(other),
            (Self::Vless(inbound), Self::Vless(other)) => inbound.add_added(other),
            (Self::Vmess(inbound), Self::Vmess(other)) => inbound.add_added(other),
            _ => {}
        }
    }

    /// One more user, from now on.
    pub fn add_user(&self, user: AnyUser) -> Result<(), UserError> {
        match (self, user) {
            (Self::Shadowsocks(inbound), AnyUser::Shadowsocks(user)) => inbound.add_user(&user),
            (Self::Shadowsocks(inbound), AnyUser::Shadowsocks2022(user)) => {
                inbound.add_user_2022(user)
            }
            (Self::Trojan(inbound), AnyUser::Trojan(user)) => inbound.add_user(user),
            (Self::Vless(inbound), AnyUser::Vless(user)) => inbound.add_user(user),
            (Self::Vmess(inbound), AnyUser::Vmess(user)) => inbound.add_user(user),
            (Self::Shadowsocks(_) | Self::Trojan(_) | Self::Vless(_) | Self::Vmess(_), _) => {
                Err(UserError::OtherProtocol)
            }
            (Self::Dokodemo(_) | Self::Http(_) | Self::Relay(_) | Self::Socks(_), _) => {
                Err(UserError::NoUsers)
            }
        }
    }

    /// Takes a user away; their running sessions go on.
    pub fn remove_user(&self, email: &str) -> Result<(), UserError> {
        match self {
            Self::Shadowsocks(inbound) => inbound.remove_user(email),
            Self::Trojan(inbound) => inbound.remove_user(email),
            Self::Vless(inbound) => inbound.remove_user(email),
            Self::Vmess(inbound) => inbound.remove_user(email),
            Self::Dokodemo(_) | Self::Http(_) | Self::Relay(_) | Self::Socks(_) => {
                Err(UserError::NoUsers)
            }
        }
    }

    /// The users that there are, or the one with this email.
    pub fn users(&self, email: Option<&str>) -> Result<Vec<AnyUser>, UserError> {
        fn each<U>(user: fn(U) -> AnyUser, found: Vec<U>) -> Result<Vec<AnyUser>, UserError> {
            Ok(found.into_iter().map(user).collect())
        }
        match self {
            Self::Shadowsocks(inbound) => each(AnyUser::Shadowsocks, inbound.users(email)?),
            Self::Trojan(inbound) => each(AnyUser::Trojan, inbound.users(email)),
            Self::Vless(inbound) => each(AnyUser::Vless, inbound.users(email)),
            Self::Vmess(inbound) => each(AnyUser::Vmess, inbound.users(email)),
            Self::Dokodemo(_) | Self::Http(_) | Self::Relay(_) | Self::Socks(_) => {
                Err(UserError::NoUsers)
            }
        }
    }

    /// How many users there are.
    pub fn count_users(&self) -> Result<usize, UserError> {
        match self {
            Self::Shadowsocks(inbound) => Ok(inbound.users(None)?.len()),
            Self::Trojan(inbound) => Ok(inbound.count_users()),
            Self::Vless(inbound) => Ok(inbound.count_users()),
            Self::Vmess(inbound) => Ok(inbound.count_users()),
            Self::Dokodemo(_) | Self::Http(_) | Self::Relay(_) | Self::Socks(_) => {
                Err(UserError::NoUsers)
            }
        }
    }
}
