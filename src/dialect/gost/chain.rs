//! Chains: hops one behind the other, each of one node or of several.

use std::sync::Arc;

use super::accounts::account;
use super::addresses::destination;
use super::carrier::{self, Carrier, Kind};
use super::made::Made;
use super::part::check_keys;
use super::part::{Asked, Part, place_of_type, type_of};
use super::past::{self, Past, Ways};
use super::{Problems, security, selector};
use crate::config::{Outbound, Through};
use crate::dialect::tree::Node;
use crate::protocol::servers::ServerSettings;
use crate::protocol::{OutboundSettings, freedom, http, relay, socks};
use crate::report::{Place, either};
use crate::routing::{BalancerSettings, Target};
use crate::transport::ClientCarrier;
use crate::{dns, transport};

/// Ways through a chain whose hops have several nodes.
const MAX_WAYS: usize = 256;

/// A chain that is there: where its sessions go, and what does not go through it.
#[derive(Clone)]
pub(super) struct Chain {
    pub target: Target,
    /// The outbounds of its last hop.
    pub ends: Vec<Arc<str>>,
    /// What goes elsewhere, by the bypasses of its hops and nodes.
    pub past: Vec<Past>,
}

/// The chain of this name, made when it is asked for first.
pub(super) fn find(
    name: &Node,
    root: &Node,
    made: &mut Made,
    problems: &Problems,
) -> Option<Chain> {
    let text = name.as_text().unwrap_or_default();
    if let Some(chain) = made.chains.get(text) {
        return Some(chain.clone());
    }
    let mut chains = root
        .get("chains")
        .map(Node::items)
        .unwrap_or_default()
        .iter();
    let Some(node) = chains.find(|chain| name_of(chain) == text) else {
        problems.error(
            &name.at,
            &format!("there is no chain `{}`", text.escape_debug()),
        );
        return None;
    };
    let Some(chain) = read(node, text, root, made, problems) else {
        problems.lost(&node.at, "this chain");
        return None;
    };
    made.chains.insert(text.to_owned(), chain.clone());
    Some(chain)
}

/// Reads a chain that no service has asked for.
pub(super) fn check(node: &Node, root: &Node, made: &mut Made, problems: &Problems) {
    let name = name_of(node);
    if name.is_empty() {
        return problems.error(&node.at, "a chain needs a `name`: services name it");
    }
    if !made.chains.contains_key(name) {
        find(&Node::text(name, &node.at), root, made, problems);
    }
}

fn name_of(node: &Node) -> &str {
    node.get("name").and_then(Node::as_text).unwrap_or_default()
}

fn read(
    node: &Node,
    name: &str,
    root: &Node,
    made: &mut Made,
    problems: &Problems,
) -> Option<Chain> {
    check_keys(node, &["name", "hops"], problems);
    let hops: Vec<&Node> = node
        .get("hops")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .collect();
    let named = root.get("hops").map(Node::items).unwrap_or_default();
    let mut ways: Vec<Vec<(String, Outbound)>> = vec![Vec::new()];
    let (mut selector, mut skipped, mut counts) = (None, Vec::new(), Vec::new());
    for (place, hop) in hops.iter().enumerate() {
        let hop = match hop.get("nodes") {
            Some(_) => hop,
            None => match named.iter().find(|one| name_of(one) == name_of(hop)) {
                Some(found) => found,
                None => {
                    problems.error(
                        &hop.at,
                        "this hop has no `nodes`, and there is none of its name in `hops`",
                    );
                    return None;
                }
            },
        };
        check_keys(
            hop,
            &[
                "name", "nodes", "selector", "bypass", "bypasses", "metadata",
            ],
            problems,
        );
        let nodes = hop.get("nodes").map(Node::items).unwrap_or_default();
        skipped.extend(past::of_hop(place, hop, nodes, problems));
        counts.push(nodes.len());
        let outbounds: Vec<_> = nodes
            .iter()
            .filter_map(|node| outbound(node, place == 0, hop.get("metadata"), problems))
            .collect();
        if outbounds.len() < nodes.len() || nodes.is_empty() {
            if nodes.is_empty() {
                problems.error(&hop.at, "this hop has no node");
            }
            return None;
        }
        let chosen = selector::read(hop.get("selector"), problems);
        if nodes.len() > 1 {
            selector = Some(chosen);
        }
        ways = ways
            .iter()
            .flat_map(|way| {
                outbounds.iter().map(|one| {
                    let mut way = way.clone();
                    way.push(one.clone());
                    way
                })
            })
            .collect();
        if ways.len() > MAX_WAYS {
            problems.error(
                &node.at,
                &format!("this chain has more than {MAX_WAYS} ways through its nodes"),
            );
            return None;
        }
    }
    if hops.is_empty() {
        problems.error(&node.at, "this chain has no hop");
        return None;
    }
    let several = ways.len() > 1;
    let (mut ends, mut begins): (Vec<Arc<str>>, Vec<Arc<str>>) = (Vec::new(), Vec::new());
    for (n, way) in ways.into_iter().enumerate() {
        let mut through: Option<Arc<str>> = None;
        let (count, mut path) = (way.len(), name.to_owned());
        for (hop, (called, outbound)) in way.into_iter().enumerate() {
            path = format!("{path}/{called}");
            let tag: Arc<str> = match hop + 1 == count {
                true => format!("{name}#{n}/{called}").into(),
                false => path.as_str().into(),
            };
            if made
                .outbounds
                .iter()
                .all(|one| one.tag.as_ref() != Some(&tag))
            {
                made.outbounds.push(Outbound {
                    name: tag.to_string(),
                    tag: Some(tag.clone()),
                    through: through.map(|tag| Through {
                        at: Place::default(),
                        tag,
                    }),
                    ..outbound
                });
            }
            if hop + 1 == count {
                ends.push(tag.clone());
            }
            if n == 0 {
                begins.push(tag.clone());
            }
            through = Some(tag);
        }
    }
    let chosen = match several {
        false => None,
        true => {
            let (strategy, failing) = selector?;
            Some(BalancerSettings {
                tag: name.to_owned(),
                strategy: strategy.into(),
                selectors: vec![format!("{name}#")].into(),
                failing: Some(failing),
                ..BalancerSettings::default()
            })
        }
    };
    made.balancers.extend(chosen.clone());
    let target = match &chosen {
        None => Target::Outbound(ends.first()?.clone()),
        Some(_) => Target::Balancer(name.to_owned()),
    };
    let ways = Ways {
        name,
        nodes: &counts,
        ends: &ends,
        begins: &begins,
        chosen,
    };
    let past = ways.past(skipped, made, problems);
    Some(Chain { target, ends, past })
}

/// Connectors that are built.
const CONNECTORS: [&str; 6] = ["http", "socks5", "socks4", "socks4a", "relay", "forward"];

/// A node, and what it is called. Where it is the `first` of its chain, it is dialled from here. gost's `-O` gives its keys
/// to its hop as well (`of_hop`).
fn outbound(
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
    let servers = |to| {
        vec![ServerSettings {
            to,
            accounts: accounts.clone(),
        }]
    };
    let protocol = match &*connector_word {
        "http" | "https" => {
            of_connector.silent(&["userAgent", "header"]);
            OutboundSettings::Http(http::OutboundSettings {
                servers: servers(to),
                udp_tunnel: true,
                ..http::OutboundSettings::default()
            })
        }
        "socks5" | "socks" | "socks5h" | "socks4" | "socks4a" => {
            // TLS is never spoken inside: over what is multiplexed or sealed it ends gost's sessions.
            of_connector.silent(&["udpTimeout", "udpBufferSize"]);
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
        "relay" => OutboundSettings::Relay(relay::OutboundSettings {
            servers: servers(to),
            ..relay::OutboundSettings::default()
        }),
        "forward" | "tcp" => OutboundSettings::Freedom(freedom::OutboundSettings {
            redirect: freedom::Redirect {
                host: Some(to.host),
                port: Some(to.port),
            },
            ..freedom::OutboundSettings::default()
        }),
        other => {
            let text = format!(
                "the connector `{}` is not built, expected {}",
                other.escape_debug(),
                either(&CONNECTORS)
            );
            problems.error(&place(connector).at, &text);
            return None;
        }
    };
    of_connector.silent(&["nodelay", "notls", "connectTimeout", "timeout"]);
    let security = match kind.has_tls {
        true => Some(security::client(&of_dialer, problems)?),
        false => {
            of_dialer.silent(&[
                "secure",
                "serverName",
                "caFile",
                "ca",
                "certFile",
                "cert",
                "keyFile",
                "key",
                "pin",
            ]);
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
        mux: None,
    };
    Some((called.to_owned(), outbound))
}
