//! Share links: an outbound in one line, as panels and clients hand it to people.
//!
//! ```text
//! vmess://BASE64(JSON)                                  v2rayN's form, by far the usual one
//! vmess://ID@HOST:PORT?type=ws&path=%2Fray#NAME         the form of Xray's proposal, which the next two have
//! vless://ID@HOST:PORT?encryption=none&type=ws#NAME
//! trojan://PASSWORD@HOST:PORT?type=ws#NAME
//! ss://BASE64(METHOD:PASSWORD)@HOST:PORT#NAME           SIP002
//! socks://BASE64(USER:PASSWORD)@HOST:PORT#NAME          v2rayN's form
//! ```
//!
//! Sources: XTLS/Xray-core's discussion 716, v2rayN's wiki and what v2rayN writes today, SIP002. A link says less than a
//! config; what it leaves out is told item by item. No message has an id or a password in it.

mod accounts;
mod carrier;
mod carrier_first;
mod params;
pub(in crate::dialect) mod said;
mod security;
mod server;
mod shadowrocket;
mod shadowsocks;
mod socks;
mod subscription;
#[cfg(test)]
mod tests;
mod uri;
mod vmess;

pub(in crate::dialect) use security::{asked_host, bare, default_alpn, server_name};
pub use server::{Public, Users, of_users};
pub(in crate::dialect) use shadowsocks::{
    Plugin, escaped, read_plugin, secret as shadowsocks_secret, write_plugin,
};
pub(in crate::dialect) use subscription::decode;
pub use subscription::links as links_in;

use crate::address::Destination;
use crate::config::Outbound;
use crate::dns::Strategy;
use crate::mux;
use crate::protocol::OutboundSettings;
use crate::transport::ClientSettings;
use crate::transport::tcp::SockOpt;
use said::Said;

/// The schemes of links that can be read.
pub const SCHEMES: [&str; 6] = ["socks", "socks5", "ss", "trojan", "vless", "vmess"];

/// How `vmess://` is written; the others have one form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// v2rayN's: JSON in base64.
    #[default]
    Json,
    /// That of Xray's proposal.
    Url,
}

/// What a link means.
#[derive(Debug)]
pub struct Read {
    /// Its tag is the link's name.
    pub outbound: Outbound,
    /// What the link says and the outbound does not, a line for each.
    pub left_out: Vec<String>,
}

/// The links of an outbound.
#[derive(Debug, Default)]
pub struct Written {
    /// One for each account at each server.
    pub links: Vec<String>,
    /// What the outbound says and the links do not, a line for each.
    pub left_out: Vec<String>,
}

/// Reads one link.
///
/// # Errors
///
/// All that is wrong with it, each with the part of the link that it is about.
pub fn read(link: &str) -> Result<Read, Vec<String>> {
    let link = link.trim();
    let Some((scheme, rest)) = link.split_once("://") else {
        return Err(vec![
            "this is not a link, expected `vmess://…`, `vless://…`, `trojan://…` or `ss://…`"
                .to_owned(),
        ]);
    };
    let scheme = scheme.to_ascii_lowercase();
    let mut said = Said::of_link(&scheme);
    let outbound = match &*scheme {
        "vmess" => vmess::read(rest, &mut said),
        "vless" => accounts::vless(rest, &mut said),
        "trojan" => accounts::trojan(rest, &mut said),
        "ss" => shadowsocks::read(rest, &mut said),
        "socks" | "socks5" => socks::read(rest, &mut said),
        _ => {
            said.error(
                "scheme",
                "no such links are read, expected `vmess`, `vless`, `trojan`, `ss` or `socks`",
            );
            None
        }
    };
    match outbound {
        Some(outbound) if said.errors.is_empty() => Ok(Read {
            outbound,
            left_out: said.left_out,
        }),
        _ => Err(said.errors),
    }
}

/// Writes the links of an outbound.
///
/// # Errors
///
/// When there are no links for its protocol, or it goes through another outbound.
pub fn write(outbound: &Outbound, form: Form) -> Result<Written, String> {
    if let Some(through) = &outbound.through {
        return Err(format!(
            "{}.proxySettings: a link cannot say that its connections go through `{}`, and would go around it",
            outbound.name,
            through.tag.escape_debug()
        ));
    }
    let mut said = Said::of_outbound(&outbound.name);
    let links = match &outbound.protocol {
        OutboundSettings::Shadowsocks(settings) => {
            shadowsocks::write(outbound, settings, &mut said)
        }
        OutboundSettings::Socks(settings) => socks::write(outbound, settings, &mut said),
        OutboundSettings::Trojan(settings) => accounts::write_trojan(outbound, settings, &mut said),
        OutboundSettings::Vless(settings) => accounts::write_vless(outbound, settings, &mut said),
        OutboundSettings::Vmess(settings) => vmess::write(outbound, settings, form, &mut said),
        _ => {
            return Err(format!(
                "{}: there are links for `vmess`, `vless`, `trojan`, `shadowsocks` and `socks` alone",
                outbound.name
            ));
        }
    };
    frame(outbound, &mut said);
    if let Some(error) = said.errors.into_iter().next() {
        return Err(error);
    }
    Ok(Written {
        links,
        left_out: said.left_out,
    })
}

/// An outbound that says what a link can say.
pub(in crate::dialect) fn outbound(
    name: Option<String>,
    transport: ClientSettings,
    protocol: OutboundSettings,
    mux: Option<mux::Settings>,
) -> Outbound {
    Outbound {
        at: crate::report::Place::default(),
        name: "the link".to_owned(),
        tag: name.filter(|name| !name.is_empty()).map(Into::into),
        transport,
        protocol,
        through: None,
        strategy: Strategy::AsIs,
        must_resolve: false,
        mux,
        plugin_mux: None,
    }
}

/// Tells what of an outbound's frame no link has a word for; `mux` is told where links may have one.
fn frame(outbound: &Outbound, said: &mut Said) {
    let sockopt = &outbound.transport.sockopt;
    if sockopt.send_through.is_some() {
        said.left_out("sendThrough", NO_WORD);
    }
    let send_through = sockopt.send_through;
    let default = SockOpt {
        send_through,
        ..SockOpt::default()
    };
    if *sockopt != default {
        said.left_out("streamSettings.sockopt", NO_WORD);
    }
    if outbound.strategy != Strategy::AsIs {
        said.left_out("domainStrategy", NO_WORD);
    }
}

/// Tells of a level that is not the default one.
fn level(level: u32, said: &mut Said) {
    if level != 0 {
        said.left_out("settings", "a link has no word for `level`");
    }
}

/// The name of the links of an outbound: its tag, and the server where it has several.
fn name(outbound: &Outbound, to: &Destination, several: bool) -> String {
    match (outbound.tag.as_deref(), several) {
        (Some(tag), false) => tag.to_owned(),
        (Some(tag), true) => format!("{tag} {to}"),
        (None, _) => to.to_string(),
    }
}

const NO_WORD: &str = "no link has a word for it";
