//! A node: who is dialled, by what, and what is spoken there.

use super::accounts::account;
use super::addresses::destination;
use super::carrier::{self, Carrier, Kind, mux};
use super::chain::name_of;
use super::part::{Asked, Part, check_keys, place_of_type, type_of};
use super::{Problems, security};
use crate::config::Outbound;
use crate::dialect::tree::Node;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{OutboundSettings, freedom, http, relay, socks};
use crate::report::{Place, did_you_mean, either};
use crate::transport::ClientCarrier;
use crate::{dns, transport};

/// Connectors that are built.
const CONNECTORS: [&str; 6] = ["http", "socks5", "socks4", "socks4a", "relay", "forward"];

/// A node, and what it is called. Where it is the `first` of its chain, it is dialled from here. gost's `-O` gives its keys
/// to its hop as well (`of_hop`).
pub(super) fn outbound(
    node: &Node,
    first: bool,
    of_hop: Option<&Node>,
    problems: &Problems,
) -> Option<(String, Outbound)> {
    check_keys(
        node,
        &[
            "name",
            "addr",
            "connector",
            "dialer",
            "metadata",
            "bypass",
            "bypasses",
        ],
        problems,
    );
    let (asked, at) = (Asked::default(), &node.at);
    let (connector, dialer) = (node.get("connector"), node.get("dialer"));
    let shared = node.get("metadata");
    if let Some(connector) = connector {
        check_keys(connector, &["type", "auth", "metadata"], problems);
    }
    // Accounts of dialers are SSH's.
    if let Some(dialer) = dialer {
        check_keys(dialer, &["type", "tls", "metadata"], problems);
    }
    let inside = |part: Option<&Node>, name: &str| part.and_then(|part| part.get(name)).cloned();
    let connector_keys = inside(connector, "metadata");
    let (dialer_tls, dialer_keys) = (inside(dialer, "tls"), inside(dialer, "metadata"));
    let of_connector = Part::new([connector_keys.as_ref(), shared], at, &asked, problems);
    let of_dialer = Part::new(
        [dialer_tls.as_ref(), dialer_keys.as_ref(), shared],
        at,
        &asked,
        problems,
    );
    let (connector_word, dialer_word) = (type_of(connector, "http"), type_of(dialer, "tcp"));
    let place = |part| place_of_type(part, node);
    let kind = Kind::read(&place(dialer), &dialer_word, problems)?;
    if matches!(kind.carrier, Carrier::Udp | Carrier::Bind { .. }) {
        problems.error(at, &format!("a node cannot be dialled by `{dialer_word}`"));
        return None;
    }
    let addr = node.get("addr").and_then(Node::as_text).unwrap_or_default();
    let to = match destination(addr) {
        Ok(to) => to,
        Err(text) => {
            problems.error(at, &text);
            return None;
        }
    };
    let accounts: Vec<_> = connector
        .and_then(|part| account(part, problems))
        .into_iter()
        .collect();
    if !accounts.is_empty() {
        // What gost makes the account of it prints as well.
        of_connector.silent(&["auth"]);
    }
    let servers = |to| {
        vec![ServerSettings {
            to,
            accounts: accounts.clone(),
        }]
    };
    let protocol = match &*connector_word {
        "http" | "https" => {
            // Those of a node, as of a URL, are the WebSocket's. The `Host` is that of the target, whatever is said.
            let own = Part::new([connector_keys.as_ref()], at, &asked, problems);
            let (headers, _) = carrier::headers(&own, problems, true);
            OutboundSettings::Http(http::OutboundSettings {
                servers: servers(to),
                headers,
                udp_tunnel: true,
            })
        }
        "socks5" | "socks" | "socks5h" | "socks4" | "socks4a" => {
            // TLS is never spoken inside: over what is multiplexed or sealed it ends gost's sessions.
            of_connector.silent(&["udpTimeout", "udpBufferSize"]);
            // Of BIND, which is not built.
            mux(&of_connector, problems);
            // A port for datagrams stands beside a bare one, and what goes there is seen by everybody in between; behind another hop
            // it would be gone to past that one.
            let is_bare = first && kind.carrier == Carrier::Tcp && !kind.has_tls;
            let beside = match of_connector.text(&["relay"]).as_deref() {
                None | Some("") => is_bare,
                Some("udp") if is_bare => true,
                Some("udp") => {
                    of_connector.refuse(&["relay"], "with `relay=udp` datagrams go beside the carrier or the hops before, to be read by everybody: leave it out");
                    false
                }
                Some(other) => {
                    let text = format!("`{}` is unknown, expected `udp`", other.escape_debug());
                    of_connector.refuse(&["relay"], &text);
                    false
                }
            };
            let version = match &*connector_word {
                "socks4" => socks::Version::Four,
                "socks4a" => socks::Version::FourA,
                _ => socks::Version::Five,
            };
            OutboundSettings::Socks(socks::OutboundSettings {
                servers: servers(to),
                version,
                udp_tunnel: version == socks::Version::Five && !beside,
                offers_none: true,
            })
        }
        // Its request goes at once and nobody waits for the answer, so `nodelay` is as it is.
        "relay" => {
            // Who visits a port of the server comes by whatever version that one speaks.
            mux(&of_connector, problems);
            OutboundSettings::Relay(relay::OutboundSettings {
                servers: servers(to),
                ..relay::OutboundSettings::default()
            })
        }
        "forward" | "tcp" => OutboundSettings::Freedom(freedom::OutboundSettings {
            redirect: freedom::Redirect {
                host: Some(to.host),
                port: Some(to.port),
            },
            ..freedom::OutboundSettings::default()
        }),
        other => {
            let text = format!(
                "the connector `{}` is not built, expected {}{}",
                other.escape_debug(),
                either(&CONNECTORS),
                did_you_mean(other, CONNECTORS.into_iter())
            );
            problems.error(&place(connector).at, &text);
            return None;
        }
    };
    of_connector.silent(&["nodelay", "notls", "connectTimeout", "timeout"]);
    let security = match kind.has_tls {
        true => Some(security::client(&of_dialer, problems)?),
        false => {
            // gost prints it for every node.
            of_dialer.silent(&["serverName"]);
            let words = [
                "secure", "caFile", "ca", "certFile", "cert", "keyFile", "key", "pin",
            ];
            of_dialer.without_tls(&words, &dialer_word);
            None
        }
    };
    let mut carrier = carrier::client(kind, &of_dialer, problems);
    if let ClientCarrier::Ws(ws) = &mut carrier {
        ws.ends_silently = true;
    }
    asked.finish(
        [
            connector_keys.as_ref(),
            dialer_tls.as_ref(),
            dialer_keys.as_ref(),
            shared,
            of_hop,
        ],
        problems,
    );
    let called = Some(name_of(node))
        .filter(|name| !name.is_empty())
        .unwrap_or(addr);
    let outbound = Outbound {
        at: Place::default(),
        name: called.to_owned(),
        tag: None,
        transport: transport::ClientSettings {
            security,
            carrier,
            ..transport::ClientSettings::default()
        },
        protocol,
        through: None,
        strategy: dns::Strategy::AsIs,
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    };
    Some((called.to_owned(), outbound))
}
