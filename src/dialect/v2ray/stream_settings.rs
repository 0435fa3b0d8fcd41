//! `streamSettings`: which transport, which security, which socket options.
//!
//! V2Ray 4 writes `network`, `wsSettings`, `tlsSettings` and `sockopt`; V2Ray 5 `transport`,
//! `transportSettings`, `securitySettings` and `socketSettings`; Xray also `method`, `raw` and `rawSettings`. Every
//! spelling is read.

use super::{domain_socket, finalmask, grpc, h2, httpupgrade, mws, site, sockopt, tcp, tls, ws};
use crate::dialect::v2ray::json::{Node, Object, did_you_mean, one_of};
use crate::transport::{ClientCarrier, ClientSettings, ServerCarrier, ServerSettings};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Tcp,
    DomainSocket,
    Ws,
    Mws,
    HttpUpgrade,
    Grpc,
    H2,
}

impl Network {
    /// Whether it begins with a request of HTTP/1.1.
    fn needs_http_1_1(self) -> bool {
        matches!(self, Self::Ws | Self::Mws | Self::HttpUpgrade)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Security {
    None,
    Tls,
}

/// Reads `streamSettings` of an inbound; an absent one is plain TCP.
pub(super) fn server(settings: Option<&Node>) -> Option<ServerSettings> {
    let Some(node) = settings else {
        return Some(ServerSettings::default());
    };
    let object = node.object()?;
    let parts = Parts::read(&object);
    // The transport's own settings count only where it is the transport in use, as in V2Ray.
    let own = match parts.network {
        Network::Tcp => &parts.tcp,
        Network::DomainSocket => &None,
        Network::Ws => &parts.ws,
        Network::Mws => &parts.mws,
        Network::HttpUpgrade => &parts.http_upgrade,
        Network::Grpc => &parts.grpc,
        Network::H2 => &parts.h2,
    };
    let accept_proxy_protocol = [&parts.sockopt, own]
        .into_iter()
        .flatten()
        .filter(|node| node.value.is_object())
        .filter_map(Node::object)
        .any(|o| o.read_or("acceptProxyProtocol", false));
    let sockopt = parts.sockopt.as_ref().map(sockopt::read);
    let site = match object.get("fallback") {
        Some(node) if matches!(parts.network, Network::Tcp | Network::DomainSocket) => {
            node.error(
                "a site stands beside transports that begin with HTTP alone (`ws`, `mws`, `httpupgrade`, `grpc`, `http`); over plain TCP `vless` and `trojan` have `fallbacks` in their `settings`",
            );
            Some(None)
        }
        Some(node) => site::read(&node).map(Some),
        None => Some(None),
    };
    // A site is to be had by HTTP/2 as well.
    let http_1_1 = parts.network.needs_http_1_1() && object.get("fallback").is_none();
    let security = match parts.security {
        Security::Tls => tls::server(&object.node, parts.tls.as_ref(), http_1_1).map(Some),
        Security::None => Some(None),
    };
    let marks = parts.sockopt.as_ref().map(sockopt::trusted_headers);
    let carrier = match parts.network {
        Network::Ws => ws::server(parts.ws.as_ref()).map(|mut ws| {
            ws.forwarded.marks = marks.unwrap_or_default();
            ServerCarrier::Ws(ws)
        }),
        Network::Mws => mws::server(parts.mws.as_ref()).map(|mut mws| {
            mws.ws.forwarded.marks = marks.unwrap_or_default();
            ServerCarrier::Mws(mws)
        }),
        Network::HttpUpgrade => {
            httpupgrade::server(parts.http_upgrade.as_ref()).map(|mut settings| {
                settings.forwarded.marks = marks.unwrap_or_default();
                ServerCarrier::HttpUpgrade(settings)
            })
        }
        Network::Grpc => grpc::server(parts.grpc.as_ref()).map(|mut settings| {
            settings.forwarded.marks = marks.unwrap_or_default();
            ServerCarrier::Grpc(settings)
        }),
        Network::H2 => h2::server(parts.h2.as_ref()).map(|mut settings| {
            settings.forwarded.marks = marks.unwrap_or_default();
            ServerCarrier::H2(settings)
        }),
        Network::Tcp => {
            let header = tcp::header(parts.tcp.as_ref());
            Some(header.map_or(ServerCarrier::Raw, ServerCarrier::HttpHeader))
        }
        // What is below it the inbound has read, as its own place.
        Network::DomainSocket => Some(ServerCarrier::Raw),
    };
    finalmask::server(&object);
    object.finish();
    Some(ServerSettings {
        sockopt: sockopt.unwrap_or_default(),
        accept_proxy_protocol,
        security: security?,
        carrier: carrier?,
        site: site?,
    })
}

/// Reads `streamSettings` of an outbound; an absent one is plain TCP.
pub(super) fn client(settings: Option<&Node>) -> Option<ClientSettings> {
    let Some(node) = settings else {
        return Some(ClientSettings::default());
    };
    let object = node.object()?;
    let parts = Parts::read(&object);
    let sockopt = parts.sockopt.as_ref().map(sockopt::read);
    let http_1_1 = parts.network.needs_http_1_1();
    let security = match parts.security {
        Security::Tls => tls::client(parts.tls.as_ref(), http_1_1).map(|mut tls| {
            if parts.without_alpn {
                tls.alpn.clear();
            }
            Some(tls)
        }),
        Security::None => Some(None),
    };
    let carrier = match parts.network {
        Network::Ws => {
            let carrier = match ws::asks_for_browser(parts.ws.as_ref()) {
                true => ClientCarrier::Browser,
                false => ClientCarrier::Ws,
            };
            ws::client(parts.ws.as_ref()).map(carrier)
        }
        Network::Mws => mws::client(parts.mws.as_ref()).map(ClientCarrier::Mws),
        Network::HttpUpgrade => {
            httpupgrade::client(parts.http_upgrade.as_ref()).map(ClientCarrier::HttpUpgrade)
        }
        Network::Grpc => grpc::client(parts.grpc.as_ref()).map(ClientCarrier::Grpc),
        Network::H2 => h2::client(parts.h2.as_ref()).map(ClientCarrier::H2),
        Network::Tcp => {
            let header = tcp::header(parts.tcp.as_ref());
            Some(header.map_or(ClientCarrier::Raw, ClientCarrier::HttpHeader))
        }
        Network::DomainSocket => domain_socket::read(&object).map(ClientCarrier::Unix),
    };
    if let Some(node) = object.get("fallback") {
        node.warn("a site is for inbounds, the key has no effect here");
    }
    let fragment = finalmask::client(&object);
    object.finish();
    Some(ClientSettings {
        sockopt: sockopt.unwrap_or_default(),
        fragment,
        security: security?,
        carrier: carrier?,
    })
}

/// The keys of `streamSettings`, found but not yet read.
struct Parts<'a> {
    network: Network,
    security: Security,
    tcp: Option<Node<'a>>,
    ws: Option<Node<'a>>,
    mws: Option<Node<'a>>,
    http_upgrade: Option<Node<'a>>,
    grpc: Option<Node<'a>>,
    h2: Option<Node<'a>>,
    tls: Option<Node<'a>>,
    /// Whether the client offers no protocol.
    without_alpn: bool,
    sockopt: Option<Node<'a>>,
}

impl<'a> Parts<'a> {
    fn read(object: &Object<'a>) -> Self {
        let network = object.first(&["method", "network", "transport"]);
        let network = network
            .and_then(|n| read_network(&n))
            .unwrap_or(Network::Tcp);
        let security = object.get("security").and_then(|n| read_security(&n));
        let v5 = object.get("transportSettings");
        let (tls, without_alpn) = match is_utls(object) {
            true => utls(object, network).map_or((None, false), |(node, bare)| (Some(node), bare)),
            false => (object.first(&["tlsSettings", "securitySettings"]), false),
        };
        // Without those of `utls` there is an error already.
        let security = security.filter(|_| tls.is_some() || !is_utls(object));
        let parts = Self {
            network,
            security: security.unwrap_or(Security::None),
            tcp: object
                .first(&["rawSettings", "tcpSettings"])
                .or_else(|| v5.clone().filter(|_| network == Network::Tcp)),
            ws: object
                .get("wsSettings")
                .or_else(|| v5.clone().filter(|_| network == Network::Ws)),
            mws: object
                .get("mwsSettings")
                .or_else(|| v5.clone().filter(|_| network == Network::Mws)),
            http_upgrade: object
                .get("httpupgradeSettings")
                .or_else(|| v5.clone().filter(|_| network == Network::HttpUpgrade)),
            grpc: object
                .first(&["grpcSettings", "gunSettings"])
                .or_else(|| v5.clone().filter(|_| network == Network::Grpc)),
            h2: object
                .get("httpSettings")
                .or_else(|| v5.filter(|_| network == Network::H2)),
            tls,
            without_alpn,
            sockopt: object.first(&["sockopt", "socketSettings"]),
        };
        traps(object, network);
        // Of a transport that is not in use nothing is judged.
        object.silent(&[
            "kcpSettings",
            "dsSettings",
            "quicSettings",
            "hy2Settings",
            "xhttpSettings",
            "splithttpSettings",
            "hysteriaSettings",
            "xtlsSettings",
            "realitySettings",
        ]);
        parts
    }
}

fn is_utls(object: &Object) -> bool {
    let word = object.get("security");
    let word = word.as_ref().and_then(|node| node.value.as_str());
    word.is_some_and(|word| word.trim().eq_ignore_ascii_case("utls"))
}

/// V2Ray 5's `utls` has the settings of `tls` one level deeper, beside what says whose handshake it is to look like: those,
/// and whether no protocol is to be offered. As with V2Ray, TLS does not begin without them.
fn utls<'a>(object: &Object<'a>, network: Network) -> Option<(Node<'a>, bool)> {
    if let Some(node) = object.get("tlsSettings") {
        node.error(
            "`utls` does not look at it, expected `securitySettings` with these as its `tlsConfig`",
        );
    }
    let Some(node) = object.get("securitySettings") else {
        object.node.error(
            "`securitySettings` is missing, `utls` has the settings of TLS in its `tlsConfig`",
        );
        return None;
    };
    let utls = node.object()?;
    let inner = utls.get("tlsConfig");
    if inner.is_none() {
        node.error("`tlsConfig` is missing, `utls` has the settings of TLS in there");
    }
    utls.no_effect(&["imitate"]);
    utls.refuse(
        "noSNI",
        "the name of the server is always said: without a name, write its IP address as `serverName`",
    );
    let force = utls.get("forceAlpn");
    let bare = force.filter(|node| node.value == "NO_ALPN" || node.value.as_u64() == Some(1));
    if let Some(node) = &bare
        && network != Network::Tcp
    {
        node.warn("the transport needs its own protocol, which is offered all the same");
    }
    utls.finish();
    Some((inner?, bare.is_some()))
}

/// What is written out and not switched on.
fn traps(object: &Object, network: Network) {
    let says = |key| {
        let node: Option<Node> = object.get(key);
        node.filter(|node| node.value.as_object().is_some_and(|map| !map.is_empty()))
    };
    for (key, name) in [
        ("wsSettings", "ws"),
        ("mwsSettings", "mws"),
        ("httpupgradeSettings", "httpupgrade"),
        ("grpcSettings", "grpc"),
        ("httpSettings", "h2"),
    ] {
        if let (Network::Tcp, Some(settings)) = (network, says(key)) {
            let text = format!("they have no effect over plain TCP, is `network: {name}` missing?");
            settings.warn(text);
        }
    }
    let security = object.get("security");
    let is_absent = security.is_none_or(|node| node.value == "");
    if is_absent && let Some(tls) = says("tlsSettings") {
        tls.warn("they have no effect without TLS, is `security: tls` missing?");
    }
}

/// V2Ray takes every word but `tls` for `none`. Where `tls` may be meant, or what only Xray has, going on would let
/// everybody read.
fn read_security(node: &Node) -> Option<Security> {
    let text: String = node.read()?;
    let lower = text.trim().to_ascii_lowercase();
    match lower.as_str() {
        "none" | "" => return Some(Security::None),
        "tls" | "utls" => return Some(Security::Tls),
        "xtls" | "reality" | "tlsmirror" => node.unbuilt(format!(
            "the security `{text}` is not built, expected `none` or `tls`"
        )),
        _ if is_nearly_tls(&lower) => {
            let text = text.escape_debug();
            node.error(format!("`{text}` is unknown, did you mean `tls`?"));
        }
        _ => {
            let text = text.escape_debug();
            node.warn(format!(
                "`{text}` is unknown, `none` takes its place as in V2Ray: there is no TLS, expected `none` or `tls`"
            ));
            return Some(Security::None);
        }
    }
    None
}

fn is_nearly_tls(word: &str) -> bool {
    ["tls", "ssl", "https", "wss"]
        .iter()
        .any(|part| word.contains(part))
        || !did_you_mean(word, ["tls", "tlss"].into_iter()).is_empty()
}

fn read_network(node: &Node) -> Option<Network> {
    const BUILT: [(&str, Network); 11] = [
        ("tcp", Network::Tcp),
        ("ws", Network::Ws),
        ("websocket", Network::Ws),
        ("mws", Network::Mws),
        ("httpupgrade", Network::HttpUpgrade),
        ("grpc", Network::Grpc),
        ("gun", Network::Grpc),
        ("http", Network::H2),
        ("h2", Network::H2),
        ("domainsocket", Network::DomainSocket),
        ("ds", Network::DomainSocket),
    ];
    let text: String = node.read()?;
    match text.to_ascii_lowercase().as_str() {
        "wss" => {
            node.error("no transport is called `wss`, did you mean `ws` with `security: tls`?")
        }
        "mwss" => {
            node.error("no transport is called `mwss`, did you mean `mws` with `security: tls`?")
        }
        "kcp" | "mkcp" | "h3" | "quic" | "xhttp" | "splithttp" | "hysteria" | "hysteria2"
        | "hy2" | "meek" | "mekya" | "tlsmirror" | "dtls" | "rrpit" | "gdocsviewer" => {
            node.unbuilt(format!(
                "the transport `{text}` is not built, expected `tcp`, `ws`, `httpupgrade`, `grpc` or `http`"
            ));
        }
        // Xray's name for plain TCP.
        "" | "raw" => return Some(Network::Tcp),
        _ => return one_of(node, &BUILT),
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::v2ray::json::Report;

    fn read(settings: &Value) -> (Option<ClientSettings>, Vec<String>) {
        let report = Report::default();
        let settings = client(Some(&Node::root(settings, &report)));
        let said = [report.errors(), report.warnings()].concat();
        (settings, said.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn utls_says_where_its_settings_belong() {
        let tls = json!({"serverName": "a.test"});
        for (settings, expected) in [
            (
                json!({"security": "utls", "securitySettings": tls}),
                &[
                    "securitySettings: `tlsConfig` is missing, `utls` has the settings of TLS in there",
                    "securitySettings.serverName: unknown key, it has no effect",
                ][..],
            ),
            (
                json!({"security": "uTLS", "tlsSettings": tls}),
                &[
                    "tlsSettings: `utls` does not look at it, expected `securitySettings` with these as its `tlsConfig`",
                    "`securitySettings` is missing, `utls` has the settings of TLS in its `tlsConfig`",
                ],
            ),
            (
                json!({"security": "utls", "tlsSettings": {}, "securitySettings": {"tlsConfig": tls}}),
                &[
                    "tlsSettings: `utls` does not look at it, expected `securitySettings` with these as its `tlsConfig`",
                ],
            ),
            (
                json!({"security": "utls", "securitySettings": {"tlsConfig": tls}}),
                &[],
            ),
        ] {
            let said = read(&settings).1;
            assert_eq!(said.len(), expected.len(), "{said:?}");
            for (said, expected) in said.iter().zip(expected) {
                assert!(said.contains(expected), "{said}");
            }
        }
    }

    #[test]
    fn utls_offers_no_protocol_where_it_is_told_so() {
        let alpn = |network: &str, force: Value| {
            let tls = json!({"serverName": "a.test"});
            let settings = json!({
                "network": network, "security": "utls", "securitySettings": {"tlsConfig": tls, "forceAlpn": force}
            });
            let (settings, said) = read(&settings);
            (settings.unwrap().tls().unwrap().alpn, said)
        };
        for force in [json!("NO_ALPN"), json!(1)] {
            assert_eq!(alpn("tcp", force), (Vec::new(), Vec::new()));
        }
        let (names, said) = alpn("ws", json!("NO_ALPN"));
        assert_eq!(names, ["http/1.1"]);
        assert_eq!(
            said,
            [
                "securitySettings.forceAlpn: the transport needs its own protocol, which is offered all the same"
            ]
        );
        for force in [json!("UTLS_PRESET"), json!(0), json!(null)] {
            assert_eq!(alpn("tcp", force).0, ["h2", "http/1.1"]);
        }
    }
}
