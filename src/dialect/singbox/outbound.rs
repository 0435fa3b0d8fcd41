//! `outbounds`.

use crate::config::Outbound;
use crate::dialect::clients::nodes::{self, account, headers, id, one, packet_encoding, server};
use crate::dialect::form::Outside;
use crate::dialect::tree::Node;
use crate::dialect::tree::keys::{Keys, Notes};
use crate::mux;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{
    OutboundSettings, blackhole, freedom, http, shadowsocks, socks, trojan, vless, vmess,
};
use crate::transport::{ClientCarrier, ClientSettings};

/// Reads an outbound; what is wrong with it, or that there is no such here, is told.
pub(super) fn read(node: &Node, outside: Outside<'_>, notes: &Notes) -> Option<Outbound> {
    let before = notes.errors();
    let keys = Keys::of(node, notes)?;
    let tag = keys.text("tag");
    let kind = keys.word("type").unwrap_or_default();
    let Some((protocol, transport, mux)) = protocol(&keys, &kind, outside) else {
        // Its other keys do not matter any more.
        return None;
    };
    let mut outbound = nodes::outbound(&node.at, tag, transport, protocol);
    // Below Shadowsocks it is the plugin's.
    match &outbound.protocol {
        OutboundSettings::Shadowsocks(_) => outbound.plugin_mux = mux,
        _ => outbound.mux = mux,
    }
    outbound.through = nodes::through(&keys, "detour");
    outbound.transport.sockopt = sockopt(&keys);
    keys.finish();
    (notes.errors() == before).then_some(outbound)
}

type Made = (OutboundSettings, ClientSettings, Option<mux::Settings>);

fn protocol(keys: &Keys, kind: &str, outside: Outside<'_>) -> Option<Made> {
    let plain = ClientSettings::default();
    Some(match kind {
        "direct" => {
            let text = "where connections go is not changed here";
            keys.refuse(
                &["override_address", "override_port", "proxy_protocol"],
                text,
            );
            let settings = freedom::OutboundSettings::default();
            (OutboundSettings::Freedom(settings), plain, None)
        }
        "block" => {
            let settings = blackhole::OutboundSettings::default();
            (OutboundSettings::Blackhole(settings), plain, None)
        }
        "vmess" => {
            let to = server(keys, "server", "server_port");
            let account = nodes::vmess(keys, ["security", "alter_id", "authenticated_length"]);
            let (transport, mux) = tunnel(keys, outside)?;
            keys.silent(&["global_padding"]);
            let servers = one(to?, account?);
            let settings = vmess::OutboundSettings { servers };
            (OutboundSettings::Vmess(settings), transport, mux)
        }
        "vless" => {
            let to = server(keys, "server", "server_port");
            let id = id(keys);
            let text = "this flow is not built: remove it at both ends, TLS alone seals the connection as well";
            keys.refuse(&["flow"], text);
            let (transport, mux) = tunnel(keys, outside)?;
            let account = vless::AccountSettings {
                id: id?.into(),
                ..vless::AccountSettings::default()
            };
            let servers = one(to?, account);
            let settings = vless::OutboundSettings { servers };
            (OutboundSettings::Vless(settings), transport, mux)
        }
        "trojan" => {
            let to = server(keys, "server", "server_port");
            let password = keys.required("password");
            let (transport, mux) = tunnel(keys, outside)?;
            let account = trojan::AccountSettings {
                password: password?.to_owned().into(),
                ..trojan::AccountSettings::default()
            };
            let servers = one(to?, account);
            let settings = trojan::OutboundSettings { servers };
            (OutboundSettings::Trojan(settings), transport, mux)
        }
        "shadowsocks" => {
            let to = server(keys, "server", "server_port");
            let account = nodes::shadowsocks(keys, "method");
            let options = keys.text("plugin_opts").unwrap_or_default();
            let (transport, mux) = match keys.text("plugin") {
                Some(name) => nodes::plugin(keys, name, options)?,
                None => (plain, None),
            };
            keys.refuse(&["udp_over_tcp"], "UDP over TCP is not built, take it out");
            no_multiplex(keys);
            no_network(keys);
            let servers = one(to?, account?);
            let settings = shadowsocks::OutboundSettings { servers };
            (OutboundSettings::Shadowsocks(settings), transport, mux)
        }
        "socks" => {
            let to = server(keys, "server", "server_port")?;
            let version = match keys.text("version") {
                None | Some("5") => socks::Version::Five,
                Some("4a") => socks::Version::FourA,
                Some("4") => socks::Version::Four,
                Some(other) => {
                    let other = other.escape_debug();
                    keys.error(
                        "version",
                        format_args!("found `{other}`, expected `5`, `4a` or `4`"),
                    );
                    return None;
                }
            };
            keys.refuse(&["udp_over_tcp"], "UDP over TCP is not built, take it out");
            no_network(keys);
            let accounts = account(keys).into_iter().collect();
            let settings = socks::OutboundSettings {
                servers: vec![ServerSettings { to, accounts }],
                version,
                ..socks::OutboundSettings::default()
            };
            (OutboundSettings::Socks(settings), plain, None)
        }
        "http" => {
            let to = server(keys, "server", "server_port")?;
            keys.no_word(&["path"], "CONNECT has no path here");
            let (host, mut headers) = headers(keys);
            if let Some(host) = host {
                headers.insert(::http::header::HOST, host);
            }
            let accounts = account(keys).into_iter().collect();
            let transport = ClientSettings {
                security: super::tls::read(keys, &ClientCarrier::Raw, outside)?,
                ..plain
            };
            let settings = http::OutboundSettings {
                servers: vec![ServerSettings { to, accounts }],
                headers,
                udp_tunnel: false,
            };
            (OutboundSettings::Http(settings), transport, None)
        }
        other => {
            let text = format!(
                "outbounds of type `{}` are not built, expected `vmess`, `vless`, `trojan`, `shadowsocks`, `socks`, `http`, \
                 `direct` or `block`: it is left out",
                other.escape_debug()
            );
            keys.error("type", text);
            return None;
        }
    })
}

/// What belongs to the tunnel; `None` when it cannot be built, which has been said.
fn tunnel(keys: &Keys, outside: Outside<'_>) -> Option<(ClientSettings, Option<mux::Settings>)> {
    let carrier = super::transport::read(keys)?;
    let security = super::tls::read(keys, &carrier, outside)?;
    no_multiplex(keys);
    no_network(keys);
    let transport = ClientSettings {
        security,
        carrier,
        ..ClientSettings::default()
    };
    Some((transport, packet_encoding(keys, "packet_encoding")))
}

fn no_multiplex(keys: &Keys) {
    let text = "sing-box's own multiplexing is not built, each session has a connection: servers take either";
    keys.no_word(&["multiplex"], text);
}

fn no_network(keys: &Keys) {
    let text = "both TCP and UDP are carried, whatever is said";
    keys.no_word(&["network"], text);
}

/// The fields of dialing.
fn sockopt(keys: &Keys) -> crate::transport::tcp::SockOpt {
    let mut sockopt = nodes::sockopt(
        keys,
        [
            "bind_interface",
            "routing_mark",
            "tcp_fast_open",
            "tcp_multi_path",
        ],
    );
    for key in ["inet4_bind_address", "inet6_bind_address"] {
        let Some(text) = keys.text(key) else { continue };
        match text.parse() {
            Ok(_) if sockopt.send_through.is_some() => {
                keys.left_out(key, "there is one address to send from");
            }
            Ok(ip) => sockopt.send_through = Some(ip),
            Err(_) => keys.error(key, "this is no address"),
        }
    }
    // They say how a name is looked up, and how long is waited.
    keys.silent(&[
        "domain_resolver",
        "connect_timeout",
        "fallback_delay",
        "udp_fragment",
        "reuse_addr",
    ]);
    keys.no_word(
        &[
            "domain_strategy",
            "network_strategy",
            "network_type",
            "fallback_network_type",
            "netns",
            "protect_path",
        ],
        "it is not carried over",
    );
    sockopt
}
