//! `socks://`, as v2rayN writes it, and `socks5://` as most others do: a SOCKS 5 proxy.
//!
//! ```text
//! socks://BASE64(USER:PASSWORD)@HOST:PORT#NAME    without an account, of `:`
//! socks://BASE64(USER:PASSWORD@HOST:PORT)#NAME    the older form
//! socks5://USER:PASSWORD@HOST:PORT#NAME           percent-encoded
//! ```

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;

use super::accounts::{each, tunnel};
use super::params::Params;
use super::said::Said;
use super::security::Unsaid;
use super::uri::{self, Uri};
use super::{NO_WORD, subscription};
use crate::address::Destination;
use crate::config::Outbound;
use crate::protocol::OutboundSettings;
use crate::protocol::accounts::Account;
use crate::protocol::servers::ServerSettings;
use crate::protocol::socks::{OutboundSettings as Settings, Version};
use crate::transport::ClientSettings;

/// Reads a link, of which `rest` is what stands behind `://`.
pub(super) fn read(rest: &str, said: &mut Said) -> Option<Outbound> {
    let uri = Uri::split(rest);
    let (account, to) = match uri.userinfo {
        Some(userinfo) => (account(userinfo, said), uri.server(said)),
        None => older(uri.place, said),
    };
    let params = Params::of_query(uri.query, said);
    let (transport, mux) = tunnel(params, Unsaid::None, said)?;
    let protocol = OutboundSettings::Socks(Settings {
        servers: vec![ServerSettings {
            to: to?,
            accounts: account.into_iter().collect(),
        }],
        ..Settings::default()
    });
    Some(super::outbound(uri.name(), transport, protocol, mux))
}

/// Everything in base64, or a server that asks for no account.
fn older(place: &str, said: &mut Said) -> (Option<Account>, Option<Destination>) {
    let whole = subscription::decode(place).and_then(|bytes| String::from_utf8(bytes).ok());
    match whole.as_deref().and_then(|text| text.rsplit_once('@')) {
        Some((userinfo, server)) => (account_of(userinfo), uri::server(server, said)),
        None => (None, uri::server(place, said)),
    }
}

/// `USER:PASSWORD`, percent-encoded or in base64, which has no colon in it.
fn account(userinfo: &str, said: &mut Said) -> Option<Account> {
    let Ok(plain) = percent_decode_str(userinfo).decode_utf8() else {
        said.error("userinfo", "it is not UTF-8 text, percent-encoded");
        return None;
    };
    if plain.contains(':') {
        return account_of(&plain);
    }
    let decoded = subscription::decode(&plain).and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.filter(|text| text.contains(':')) {
        Some(text) => account_of(&text),
        // A name alone.
        None => account_of(&plain),
    }
}

/// None where both are empty.
fn account_of(text: &str) -> Option<Account> {
    let (user, pass) = text.split_once(':').unwrap_or((text, ""));
    (!user.is_empty() || !pass.is_empty()).then(|| Account {
        user: user.to_owned(),
        pass: pass.to_owned().into(),
        level: 0,
    })
}

/// Writes the links of a `socks` outbound.
pub(super) fn write(outbound: &Outbound, settings: &Settings, said: &mut Said) -> Vec<String> {
    if settings.version != Version::Five {
        said.error("settings.version", "links are of SOCKS 5 alone");
    }
    let alone = ClientSettings {
        sockopt: outbound.transport.sockopt.clone(),
        ..ClientSettings::default()
    };
    if outbound.transport != alone {
        said.error(
            "streamSettings",
            "a link of SOCKS has no word for it, and without it everybody could read what passes",
        );
    }
    if outbound.mux.is_some() {
        said.left_out("mux", NO_WORD);
    }
    if settings.udp_tunnel {
        said.left_out("settings.udpTunnel", NO_WORD);
    }
    let nobody = [Account::default()];
    let with_somebody = settings.servers.iter().map(|server| ServerSettings {
        to: server.to.clone(),
        accounts: match &server.accounts[..] {
            [] => nobody.to_vec(),
            accounts => accounts.to_vec(),
        },
    });
    let servers: Vec<ServerSettings<Account>> = with_somebody.collect();
    each(&servers, |to, account, several| {
        super::level(account.level, said);
        let userinfo = format!("{}:{}", account.user, &*account.pass);
        let name = super::name(outbound, to, several);
        uri::written("socks", &URL_SAFE_NO_PAD.encode(userinfo), to, &[], &name)
    })
}
