//! `streamSettings`: which transport, which security, which socket options.
//!
//! V2Ray 4 writes `network`, `wsSettings`, `tlsSettings` and `sockopt`; V2Ray 5 `transport`,
//! `transportSettings`, `securitySettings` and `socketSettings`. Either spelling is read.

use crate::json::{Node, Object, one_of};

use super::{Inbound, Outbound, tcp, tls, ws};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Tcp,
    Ws,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Security {
    None,
    Tls,
}

impl Inbound {
    /// Reads `streamSettings` of an inbound; an absent one is plain TCP.
    pub fn read(settings: Option<&Node>) -> Option<Self> {
        let Some(node) = settings else {
            return Some(Self {
                sockopt: tcp::SockOpt::default(),
                proxy_protocol: false,
                tls: None,
                ws: None,
            });
        };
        let object = node.object()?;
        let parts = Parts::read(&object);
        let proxy_protocol = [&parts.sockopt, &parts.tcp, &parts.ws]
            .into_iter()
            .flatten()
            .filter_map(Node::object)
            .any(|o| o.read_or("acceptProxyProtocol", false));
        if let Some(tcp) = &parts.tcp {
            tcp::check_settings(tcp);
        }
        let inbound = Self {
            sockopt: parts
                .sockopt
                .as_ref()
                .map(tcp::SockOpt::read)
                .unwrap_or_default(),
            proxy_protocol,
            tls: match parts.security {
                Security::Tls => Some(tls::Inbound::read(&object.node, parts.tls.as_ref())?),
                Security::None => None,
            },
            ws: match parts.network {
                Network::Ws => Some(ws::Inbound::read(parts.ws.as_ref())?),
                Network::Tcp => None,
            },
        };
        object.finish();
        Some(inbound)
    }
}

impl Outbound {
    /// Reads `streamSettings` of an outbound; an absent one is plain TCP.
    pub fn read(settings: Option<&Node>) -> Option<Self> {
        let Some(node) = settings else {
            return Some(Self {
                sockopt: tcp::SockOpt::default(),
                tls: None,
                ws: None,
            });
        };
        let object = node.object()?;
        let parts = Parts::read(&object);
        if let Some(tcp) = &parts.tcp {
            tcp::check_settings(tcp);
        }
        let outbound = Self {
            sockopt: parts
                .sockopt
                .as_ref()
                .map(tcp::SockOpt::read)
                .unwrap_or_default(),
            tls: match parts.security {
                Security::Tls => Some(tls::Outbound::read(
                    parts.tls.as_ref(),
                    parts.network == Network::Ws,
                )?),
                Security::None => None,
            },
            ws: match parts.network {
                Network::Ws => Some(ws::Outbound::read(parts.ws.as_ref())?),
                Network::Tcp => None,
            },
        };
        object.finish();
        Some(outbound)
    }
}

/// The keys of `streamSettings`, found but not yet read.
struct Parts<'a> {
    network: Network,
    security: Security,
    tcp: Option<Node<'a>>,
    ws: Option<Node<'a>>,
    tls: Option<Node<'a>>,
    sockopt: Option<Node<'a>>,
}

impl<'a> Parts<'a> {
    fn read(object: &Object<'a>) -> Self {
        let network = object.first(&["network", "transport"]);
        let network = network
            .and_then(|n| read_network(&n))
            .unwrap_or(Network::Tcp);
        let security = object.get("security").and_then(|s| {
            one_of(
                &s,
                &[
                    ("none", Security::None),
                    ("", Security::None),
                    ("tls", Security::Tls),
                ],
            )
        });
        let v5 = object.get("transportSettings");
        let parts = Self {
            network,
            security: security.unwrap_or(Security::None),
            tcp: object
                .get("tcpSettings")
                .or_else(|| v5.clone().filter(|_| network == Network::Tcp)),
            ws: object
                .get("wsSettings")
                .or_else(|| v5.filter(|_| network == Network::Ws)),
            tls: object.first(&["tlsSettings", "securitySettings"]),
            sockopt: object.first(&["sockopt", "socketSettings"]),
        };
        object.no_effect(&[
            "kcpSettings",
            "httpSettings",
            "dsSettings",
            "quicSettings",
            "gunSettings",
            "grpcSettings",
            "xtlsSettings",
            "realitySettings",
        ]);
        parts
    }
}

fn read_network(node: &Node) -> Option<Network> {
    const BUILT: [(&str, Network); 3] = [
        ("tcp", Network::Tcp),
        ("ws", Network::Ws),
        ("websocket", Network::Ws),
    ];
    let text: String = node.read()?;
    match text.to_ascii_lowercase().as_str() {
        "wss" => {
            node.error("no transport is called `wss`, did you mean `ws` with `security: tls`?")
        }
        "kcp" | "mkcp" | "http" | "h2" | "quic" | "grpc" | "gun" | "domainsocket" | "ds" => {
            node.error(format!(
                "the transport `{text}` is not built, expected `tcp` or `ws`"
            ));
        }
        "" => return Some(Network::Tcp),
        _ => return one_of(node, &BUILT),
    }
    None
}
