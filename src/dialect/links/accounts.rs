//! `vless://` and `trojan://`, and what `vmess://` in the form of a URL has in common with them.

use uuid::Uuid;

use super::params::Params;
use super::said::Said;
use super::security::Unsaid;
use super::uri::{self, Uri};
use super::{carrier, security};
use crate::address::Destination;
use crate::config::Outbound;
use crate::dialect::v2ray::protocols::ids;
use crate::mux::{self, Udp, Udp443};
use crate::protocol::servers::ServerSettings;
use crate::protocol::{OutboundSettings, trojan, vless};
use crate::transport::ClientSettings;

/// Reads what stands behind `vless://`.
pub(super) fn vless(rest: &str, said: &mut Said) -> Option<Outbound> {
    let uri = Uri::split(rest);
    let mut params = Params::of_query(uri.query, said);
    let id = uri
        .user("id", said)
        .and_then(|id| self::id(&id, "id", said));
    let to = uri.server(said);
    if let Some(encryption) = params.take("encryption")
        && !encryption.text.eq_ignore_ascii_case("none")
    {
        said.error(
            &encryption.label,
            "VLESS Encryption is not built, expected `none`, with `security=tls` as the seal",
        );
    }
    no_flow(&mut params, said);
    let (transport, mux) = tunnel(params, Unsaid::None, said)?;
    let account = vless::AccountSettings {
        id: id?.into(),
        ..vless::AccountSettings::default()
    };
    let settings = vless::OutboundSettings {
        servers: one(to?, account),
    };
    let protocol = OutboundSettings::Vless(settings);
    Some(super::outbound(uri.name(), transport, protocol, mux))
}

/// Reads what stands behind `trojan://`.
pub(super) fn trojan(rest: &str, said: &mut Said) -> Option<Outbound> {
    let uri = Uri::split(rest);
    let mut params = Params::of_query(uri.query, said);
    let password = uri.user("password", said);
    let to = uri.server(said);
    no_flow(&mut params, said);
    let (transport, mux) = tunnel(params, Unsaid::Tls, said)?;
    let account = trojan::AccountSettings {
        password: password?.into_owned().into(),
        ..trojan::AccountSettings::default()
    };
    let settings = trojan::OutboundSettings {
        servers: one(to?, account),
    };
    let protocol = OutboundSettings::Trojan(settings);
    Some(super::outbound(uri.name(), transport, protocol, mux))
}

/// The only server, and who we are there.
pub(in crate::dialect) fn one<A>(to: Destination, account: A) -> Vec<ServerSettings<A>> {
    let accounts = vec![account];
    vec![ServerSettings { to, accounts }]
}

/// An id, of which no message shows anything.
pub(in crate::dialect) fn id(text: &str, part: &str, said: &mut Said) -> Option<Uuid> {
    let text = text.trim();
    let id = ids::parse(text).ok();
    if id.is_none() {
        said.error(part, ids::lack(text));
    }
    id
}

/// Everything that belongs to the tunnel, and nothing else is left of `params`.
pub(in crate::dialect) fn tunnel(
    mut params: Params,
    unsaid: Unsaid,
    said: &mut Said,
) -> Option<(ClientSettings, Option<mux::Settings>)> {
    let carrier = carrier::read(&mut params, said)?;
    let security = security::read(&mut params, &carrier, unsaid, said)?;
    let fragment = security::mask(&mut params, said);
    let mux = datagrams(&mut params, said)?;
    params.finish(said);
    let transport = ClientSettings {
        security,
        fragment,
        carrier,
        ..ClientSettings::default()
    };
    Some((transport, mux))
}

/// `packetEncoding`, a word of sing-box and mihomo; mobula's own is `mux` without shared streams.
fn datagrams(params: &mut Params, said: &mut Said) -> Option<Option<mux::Settings>> {
    let Some(param) = params.take("packetEncoding") else {
        return Some(None);
    };
    let udp = match &*param.text.trim().to_ascii_lowercase() {
        "none" => return Some(None),
        "xudp" => Udp::Xudp(None),
        "packet" | "packetaddr" => Udp::PacketAddr,
        other => {
            let other = other.escape_debug();
            said.error(
                &param.label,
                format_args!("found `{other}`, expected `none`, `xudp` or `packetaddr`"),
            );
            return None;
        }
    };
    Some(Some(alone(udp)))
}

/// Nothing but datagrams is carried in another way.
fn alone(udp: Udp) -> mux::Settings {
    mux::Settings {
        concurrency: None,
        udp,
        udp_443: Udp443::Allow,
    }
}

fn no_flow(params: &mut Params, said: &mut Said) {
    if let Some(flow) = params.take("flow").filter(|flow| flow.text != "none") {
        let text = flow.text.escape_debug();
        said.error(
            &flow.label,
            format_args!(
                "the flow `{text}` is not built: remove it at both ends, TLS alone seals the connection as well"
            ),
        );
    }
}

/// Writes the links of a `vless` outbound.
pub(super) fn write_vless(
    outbound: &Outbound,
    settings: &vless::OutboundSettings,
    said: &mut Said,
) -> Vec<String> {
    each(&settings.servers, |to, account, several| {
        super::level(account.level, said);
        let id = account.id.to_string();
        let own = vec![("encryption", "none".to_owned())];
        let params = write_tunnel(outbound, to, own, said);
        let name = super::name(outbound, to, several);
        uri::written("vless", &id, to, &params, &name)
    })
}

/// Writes the links of a `trojan` outbound.
pub(super) fn write_trojan(
    outbound: &Outbound,
    settings: &trojan::OutboundSettings,
    said: &mut Said,
) -> Vec<String> {
    each(&settings.servers, |to, account, several| {
        super::level(account.level, said);
        let params = write_tunnel(outbound, to, Vec::new(), said);
        let name = super::name(outbound, to, several);
        uri::written(
            "trojan",
            &uri::encoded(&account.password),
            to,
            &params,
            &name,
        )
    })
}

/// The link of each account at each server; whether there are several is told.
pub(super) fn each<A>(
    servers: &[ServerSettings<A>],
    mut link: impl FnMut(&Destination, &A, bool) -> String,
) -> Vec<String> {
    let several = servers
        .iter()
        .map(|server| server.accounts.len())
        .sum::<usize>()
        > 1;
    let mut links = Vec::new();
    for server in servers {
        for account in &server.accounts {
            links.push(link(&server.to, account, several));
        }
    }
    links
}

/// The parameters of everything that belongs to the tunnel, behind those of the protocol.
pub(super) fn write_tunnel(
    outbound: &Outbound,
    to: &Destination,
    mut params: Vec<(&'static str, String)>,
    said: &mut Said,
) -> Vec<(&'static str, String)> {
    let transport = &outbound.transport;
    carrier::write(&transport.carrier, &mut params, said);
    security::write(transport, to, &mut params, said);
    match &outbound.mux {
        None => {}
        Some(mux) if *mux == alone(Udp::Xudp(None)) => {
            params.push(("packetEncoding", "xudp".to_owned()));
        }
        Some(mux) if *mux == alone(Udp::PacketAddr) => {
            params.push(("packetEncoding", "packetaddr".to_owned()));
        }
        Some(_) => said.left_out("mux", super::NO_WORD),
    }
    params
}
