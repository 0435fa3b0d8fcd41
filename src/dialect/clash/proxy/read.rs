//! From a proxy to an outbound.

use ::http::header::HOST;

use super::{plugin, stream};
use crate::config::Outbound;
use crate::dialect::clients::nodes::{self, account, headers, id, one, packet_encoding, server};
use crate::dialect::tree::keys::{Keys, Notes};
use crate::dialect::tree::{Node, Value};
use crate::mux::{self, Udp};
use crate::protocol::servers::ServerSettings;
use crate::protocol::{
    OutboundSettings, blackhole, freedom, http, shadowsocks, socks, trojan, vless, vmess,
};
use crate::transport::ClientSettings;

/// Reads a proxy; what is wrong with it, or that there is no such here, is told.
pub(in crate::dialect) fn read(node: &Node, notes: &Notes) -> Option<Outbound> {
    let before = notes.errors();
    let keys = Keys::of(node, notes)?;
    let name = keys.text("name");
    let kind = keys.word("type").unwrap_or_default();
    // Its other keys do not matter where there is nothing.
    let (protocol, transport, mux) = protocol(&keys, &kind)?;
    let mut outbound = nodes::outbound(&node.at, name, transport, protocol);
    // Below Shadowsocks it is the plugin's.
    match &outbound.protocol {
        OutboundSettings::Shadowsocks(_) => outbound.plugin_mux = mux,
        _ => outbound.mux = mux,
    }
    outbound.through = nodes::through(&keys, "dialer-proxy");
    outbound.transport.sockopt =
        nodes::sockopt(&keys, ["interface-name", "routing-mark", "tfo", "mptcp"]);
    if keys.switched("udp") == Some(false) && outbound.leads_away() {
        keys.left_out("udp", "UDP is carried as well");
    }
    keys.no_word(&["ip-version"], "the addresses of a name are raced here");
    let text = "mihomo's own multiplexing is not built, each session has a connection: servers take either";
    keys.no_word(&["smux"], text);
    // mihomo takes all fields of a transport, whichever it is.
    keys.silent(&[
        // Of TLS, where there is any.
        "client-fingerprint",
        "network",
        "ws-opts",
        "h2-opts",
        "http-opts",
        "grpc-opts",
        "ws-path",
        "ws-headers",
        "server",
        "port",
    ]);
    keys.finish();
    (notes.errors() == before).then_some(outbound)
}

const TYPES: &str = "`vmess`, `vless`, `trojan`, `ss`, `socks5`, `http`, `direct` or `reject`";

/// The proxy with its keys in Clash's spelling, which finds `skip_cert_verify` as well; names of headers stay.
pub(in crate::dialect) fn plain(node: &Node) -> Node {
    let value = match &node.value {
        Value::Map(entries) => {
            let plain = |(key, node): &(String, Node)| match &*key.to_ascii_lowercase() {
                "headers" | "ws-headers" => (key.clone(), node.clone()),
                _ => (key.replace('_', "-"), plain(node)),
            };
            Value::Map(entries.iter().map(plain).collect())
        }
        Value::List(items) => Value::List(items.iter().map(plain).collect()),
        other => other.clone(),
    };
    Node::new(value, &node.at)
}

type Made = (OutboundSettings, ClientSettings, Option<mux::Settings>);

fn protocol(keys: &Keys, kind: &str) -> Option<Made> {
    let plain = ClientSettings::default();
    Some(match kind {
        "direct" => {
            let settings = freedom::OutboundSettings::default();
            (OutboundSettings::Freedom(settings), plain, None)
        }
        "reject" | "reject-drop" => {
            let settings = blackhole::OutboundSettings::default();
            (OutboundSettings::Blackhole(settings), plain, None)
        }
        "vmess" => {
            let to = server(keys, "server", "port");
            let account = nodes::vmess(keys, ["cipher", "alterId", "authenticated-length"]);
            let transport = stream::read(keys, keys.switch("tls"), "servername")?;
            keys.silent(&["global-padding"]);
            let mux = datagrams(keys);
            let servers = one(to?, account?);
            let settings = vmess::OutboundSettings { servers };
            (OutboundSettings::Vmess(settings), transport, mux)
        }
        "vless" => {
            let to = server(keys, "server", "port");
            let id = id(keys);
            let text = "this flow is not built: remove it at both ends, TLS alone seals the connection as well";
            keys.refuse(&["flow"], text);
            if keys.word("encryption").is_some_and(|word| word != "none") {
                keys.error(
                    "encryption",
                    "VLESS Encryption is not built, expected `none`, with `tls: true` as the seal",
                );
            }
            let transport = stream::read(keys, keys.switch("tls"), "servername")?;
            let mux = datagrams(keys);
            let account = vless::AccountSettings {
                id: id?.into(),
                ..vless::AccountSettings::default()
            };
            let servers = one(to?, account);
            let settings = vless::OutboundSettings { servers };
            (OutboundSettings::Vless(settings), transport, mux)
        }
        "trojan" => {
            let to = server(keys, "server", "port");
            let password = keys.required("password");
            keys.refuse(&["ss-opts"], "Shadowsocks inside Trojan is not built");
            keys.refuse(&["flow"], "flows are not built: remove it at both ends");
            let transport = stream::read(keys, true, "sni")?;
            keys.silent(&["tls"]);
            let account = trojan::AccountSettings {
                password: password?.to_owned().into(),
                ..trojan::AccountSettings::default()
            };
            let servers = one(to?, account);
            let settings = trojan::OutboundSettings { servers };
            (OutboundSettings::Trojan(settings), transport, None)
        }
        "ss" => {
            let to = server(keys, "server", "port");
            let account = nodes::shadowsocks(keys, "cipher");
            keys.refuse(&["udp-over-tcp"], "UDP over TCP is not built, take it out");
            keys.silent(&["udp-over-tcp-version"]);
            let (transport, mux) = plugin::read(keys)?;
            let servers = one(to?, account?);
            let settings = shadowsocks::OutboundSettings { servers };
            (OutboundSettings::Shadowsocks(settings), transport, mux)
        }
        "socks5" | "http" => {
            let to = server(keys, "server", "port")?;
            let accounts = account(keys).into_iter().collect();
            let servers = vec![ServerSettings { to, accounts }];
            let network = keys.word("network");
            if network.is_some_and(|network| network != "tcp") {
                let text = format!("`{kind}` has no carriers there: it is plain TCP");
                keys.left_out("network", text);
            }
            let transport = ClientSettings {
                security: stream::tls(keys, keys.switch("tls"), "sni", &Default::default()),
                ..plain
            };
            let protocol = match kind {
                "http" => {
                    let (host, mut headers) = headers(keys);
                    headers.extend(host.map(|host| (HOST, host)));
                    OutboundSettings::Http(http::OutboundSettings {
                        servers,
                        headers,
                        udp_tunnel: false,
                    })
                }
                _ => OutboundSettings::Socks(socks::OutboundSettings {
                    servers,
                    ..socks::OutboundSettings::default()
                }),
            };
            (protocol, transport, None)
        }
        other => {
            let text = match other {
                "" => "it is missing".to_owned(),
                other => format!("`{}` is not built", other.escape_debug()),
            };
            keys.error("type", format_args!("{text}, expected {TYPES}"));
            return None;
        }
    })
}

/// `packet-encoding`, and the switches that were there before it.
fn datagrams(keys: &Keys) -> Option<mux::Settings> {
    let (xudp, packet_addr) = (keys.switch("xudp"), keys.switch("packet-addr"));
    let said = packet_encoding(keys, "packet-encoding");
    match (xudp, packet_addr) {
        _ if said.is_some() => said,
        (true, _) => Some(nodes::datagrams(Udp::Xudp(None))),
        (_, true) => Some(nodes::datagrams(Udp::PacketAddr)),
        _ => None,
    }
}
