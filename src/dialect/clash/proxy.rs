//! `proxies`.

use ::http::header::HOST;

use super::stream;
use crate::config::Outbound;
use crate::dialect::keys::{Keys, Notes};
use crate::dialect::nodes::{self, account, headers, id, one, packet_encoding, server};
use crate::dialect::tree::Node;
use crate::mux::{self, Udp};
use crate::protocol::servers::ServerSettings;
use crate::protocol::{
    OutboundSettings, blackhole, freedom, http, shadowsocks, socks, trojan, vless, vmess,
};
use crate::transport::ClientSettings;

/// Reads a proxy; what is wrong with it, or that there is no such here, is told.
pub(super) fn read(node: &Node, notes: &Notes) -> Option<Outbound> {
    let before = notes.errors();
    let keys = Keys::of(node, notes)?;
    let name = keys.text("name");
    let kind = keys.word("type").unwrap_or_default();
    // Its other keys do not matter where there is nothing.
    let (protocol, transport, mux) = protocol(&keys, &kind)?;
    let mut outbound = nodes::outbound(&node.at, name, transport, protocol);
    outbound.mux = mux;
    outbound.through = nodes::through(&keys, "dialer-proxy");
    outbound.transport.sockopt =
        nodes::sockopt(&keys, ["interface-name", "routing-mark", "tfo", "mptcp"]);
    if keys.switched("udp") == Some(false) && outbound.leads_away() {
        keys.left_out("udp", "UDP is carried as well");
    }
    keys.no_word(&["ip-version"], "the addresses of a name are raced here");
    let text = "mihomo's own multiplexing is not built, each session has a connection: servers take either";
    keys.no_word(&["smux"], text);
    keys.no_word(&["client-fingerprint"], nodes::NOT_BROWSERS);
    // mihomo takes all fields of a transport, whichever it is.
    keys.silent(&[
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
            let transport = plugin(keys)?;
            let servers = one(to?, account?);
            let settings = shadowsocks::OutboundSettings { servers };
            (OutboundSettings::Shadowsocks(settings), transport, None)
        }
        "socks5" | "http" => {
            let to = server(keys, "server", "port")?;
            let accounts = account(keys).into_iter().collect();
            let servers = vec![ServerSettings { to, accounts }];
            keys.silent(&["network"]);
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
                    version: socks::Version::Five,
                    udp_tunnel: false,
                }),
            };
            (protocol, transport, None)
        }
        other => {
            let text = format!(
                "proxies of type `{}` are not built, expected `vmess`, `vless`, `trojan`, `ss`, `socks5`, `http`, `direct` or \
                 `reject`: it is left out",
                other.escape_debug()
            );
            keys.error("type", text);
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

/// `plugin` and `plugin-opts`.
fn plugin(keys: &Keys) -> Option<ClientSettings> {
    let Some(name) = keys.text("plugin") else {
        return Some(ClientSettings::default());
    };
    let mut options = Vec::new();
    if let Some(map) = keys.map("plugin-opts") {
        let mode = map.text("mode").unwrap_or("websocket");
        options.push(format!("mode={mode}"));
        // What is not said is another default than the plugin's.
        options.push(format!(
            "mux={}",
            u8::from(map.switched("mux") != Some(false))
        ));
        if map.switch("tls") {
            options.push("tls".to_owned());
        }
        options.push(format!(
            "host={}",
            escaped(map.text("host").unwrap_or("bing.com"))
        ));
        options.extend(
            map.text("path")
                .map(|path| format!("path={}", escaped(path))),
        );
        map.refuse(
            &[
                "headers",
                "skip-cert-verify",
                "fingerprint",
                "ech-opts",
                "v2ray-http-upgrade",
                "certificate",
            ],
            "there is no word for it in `v2ray-plugin`",
        );
        map.silent(&["v2ray-http-upgrade-fast-open"]);
        map.finish();
    }
    nodes::plugin(keys, name, &options.join(";"))
}

/// As SIP003 has it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | ';' | '=' | ',') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
