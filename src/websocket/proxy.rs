//! A proxy in front of a WebSocket's server: `http://` (CONNECT) or `socks5://`.

use std::io;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use thiserror::Error;

use super::address::destination;
use crate::address::Destination;
use crate::io::Link;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{http, socks};

/// Where it is, and who we are there.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// The proxy.
    pub at: Destination,
    kind: Kind,
    account: Option<Account>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

/// Why a text names no proxy. What it says of a user and a password is not shown.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// It is of another kind.
    #[error(
        "expected `http://HOST:PORT` or `socks5://HOST:PORT`, with `USER:PASSWORD@` in front of the host if it asks for them"
    )]
    Kind,
    /// Its address.
    #[error(transparent)]
    Address(#[from] super::AddressError),
    /// SOCKS has a byte for the length of either.
    #[error("a user and a password of SOCKS have 1 to 255 bytes each")]
    Account,
}

impl Proxy {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// When it is none of a proxy.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyError::Kind)?;
        let (kind, usual) = match &*scheme.to_ascii_lowercase() {
            "http" => (Kind::Http, 8080),
            "socks" | "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(ProxyError::Kind),
        };
        let rest = rest.trim_end_matches('/');
        let (login, server) = match rest.rsplit_once('@') {
            Some((login, server)) => (Some(login), server),
            None => (None, rest),
        };
        let account = login.map(|login| {
            let (user, pass) = login.split_once(':').unwrap_or((login, ""));
            let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            Account {
                user: plain(user),
                pass: plain(pass).into(),
                level: 0,
            }
        });
        let fits = |account: &Account| {
            let fits = |text: &str| (1..=255).contains(&text.len());
            fits(&account.user) && fits(&account.pass)
        };
        if kind == Kind::Socks5 && account.as_ref().is_some_and(|account| !fits(account)) {
            return Err(ProxyError::Account);
        }
        Ok(Self {
            at: destination(server, usual)?,
            kind,
            account,
        })
    }

    /// A stream to `to` over `link`, which leads to the proxy. Names are resolved there.
    pub(super) async fn open(
        &self,
        link: Link,
        to: &Destination,
        limit: Duration,
    ) -> io::Result<Link> {
        let servers = vec![ServerSettings {
            to: self.at.clone(),
            accounts: self.account.iter().cloned().collect(),
        }];
        let none = || io::Error::other("there is no proxy");
        match self.kind {
            Kind::Http => {
                let settings = http::OutboundSettings {
                    servers,
                    ..http::OutboundSettings::default()
                };
                let outbound = http::Outbound::from(settings);
                let (_, client) = outbound.next_hop().ok_or_else(none)?;
                client.stream(link, to, limit).await
            }
            Kind::Socks5 => {
                let settings = socks::OutboundSettings {
                    servers,
                    ..socks::OutboundSettings::default()
                };
                let outbound = socks::Outbound::from(settings);
                let (_, client) = outbound.next_hop().ok_or_else(none)?;
                client.stream(link, to, limit).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_kind_an_address_and_an_account_that_is_not_shown() {
        let proxy = Proxy::parse("socks5h://us%40er:pass@127.0.0.1:1081/").unwrap();
        assert_eq!(
            (proxy.kind, &*proxy.at.to_string()),
            (Kind::Socks5, "127.0.0.1:1081")
        );
        let account = proxy.account.as_ref().unwrap();
        assert_eq!((&*account.user, &**account.pass), ("us@er", "pass"));
        assert!(!format!("{proxy:?}").contains("pass\""), "{proxy:?}");
        let plain = Proxy::parse("HTTP://proxy.example").unwrap();
        assert_eq!(
            (plain.kind, &*plain.at.to_string()),
            (Kind::Http, "proxy.example:8080")
        );
        for wrong in [
            "127.0.0.1:1080",
            "https://a",
            "socks5://a:b",
            "socks5://user@a",
        ] {
            assert!(Proxy::parse(wrong).is_err(), "{wrong}");
        }
    }
}
