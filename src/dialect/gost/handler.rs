//! Handlers: what is spoken where a service listens.

use std::net::Ipv4Addr;

use super::Problems;
use super::carrier::{Carrier, Kind, mux};
use super::part::Part;
use crate::address::{Destination, Host};
use crate::dialect::tree::Node;
use crate::protocol::accounts::Account;
use crate::protocol::socks::Taken;
use crate::protocol::{InboundSettings, dokodemo, http, relay, socks};
use crate::report::{did_you_mean, either};

/// Handlers that are built.
const HANDLERS: [&str; 9] = [
    "auto", "http", "socks4", "socks4a", "socks5", "relay", "forward", "tcp", "udp",
];

/// The name of a handler that hears from its clients where they want to go.
pub(super) fn proxy(word: &str) -> Option<&'static str> {
    Some(match word {
        "auto" => "HTTP and SOCKS",
        "socks" | "socks5" | "socks5h" => "SOCKS 5",
        "socks4" | "socks4a" => "SOCKS 4",
        "http" | "https" => "HTTP",
        "relay" => "relay",
        _ => return None,
    })
}

/// What is spoken.
pub(super) fn protocol(
    word: &str,
    kind: Kind,
    part: &Part,
    accounts: Option<Vec<Account>>,
    (targets, has_chain): (&[Destination], bool),
    place: &Node,
    problems: &Problems,
) -> Option<InboundSettings> {
    part.silent(&[
        "nodelay",
        "notls",
        "udpBufferSize",
        "timeout",
        "sniffing",
        "sniffing.timeout",
        // Nobody asks here for what it counts.
        "enableStats",
        // Of a selector that is an error by itself.
        "hash",
    ]);
    let udp = part.switch(&["udp"]).unwrap_or(false);
    let is_bare = kind.carrier == Carrier::Tcp && !kind.has_tls;
    if udp && matches!(word, "socks4" | "socks4a") {
        part.refuse(
            &["udp"],
            "SOCKS 4 carries no datagrams: `http`, `socks5` and `relay` carry them over all",
        );
    }
    match word {
        "auto" | "socks" | "socks4" | "socks4a" | "socks5" | "socks5h" => {
            part.silent(&["compatibilityMode"]);
            mux(part, problems);
            part.refuse(&["bind"], "BIND of SOCKS 5 is not built");
            Some(InboundSettings::Socks(socks::InboundSettings {
                accounts,
                // A port for datagrams stands beside a bare one.
                udp: udp && is_bare,
                udp_tunnel: udp,
                taken: match word {
                    "auto" => Taken::All,
                    "socks4" | "socks4a" => Taken::Four,
                    _ => Taken::Five,
                },
                ..socks::InboundSettings::default()
            }))
        }
        "http" | "https" => {
            for key in ["probeResist", "knock"] {
                part.refuse(&[key], "a site in front of a proxy is `fallback` of a config.json, not a key of this dialect");
            }
            part.silent(&["header", "proxyAgent"]);
            Some(InboundSettings::Http(http::InboundSettings {
                accounts: accounts.unwrap_or_default(),
                udp_tunnel: udp,
                ..http::InboundSettings::default()
            }))
        }
        "relay" => {
            part.silent(&["readTimeout", "enableCompression"]);
            let bind = part.switch(&["bind"]).unwrap_or(false);
            // Beside that of its carrier: by it visitors are led to clients.
            let inside = mux(part, problems);
            let service = match targets {
                [] => relay::Service::AsAsked {
                    connect: true,
                    bind: bind.then(|| relay::BindSettings {
                        mux: inside.version,
                        ..relay::BindSettings::default()
                    }),
                },
                targets => relay::Service::Forward(targets.to_vec()),
            };
            Some(InboundSettings::Relay(relay::InboundSettings {
                accounts: accounts.unwrap_or_default(),
                service,
                ..relay::InboundSettings::default()
            }))
        }
        "forward" | "tcp" | "udp" => {
            // A server at the end of the chain has a target of its own.
            let of_server =
                has_chain.then(|| Destination::new(Host::Ip(Ipv4Addr::UNSPECIFIED.into()), 0));
            let Some(to) = targets.first().or(of_server.as_ref()) else {
                problems.error(&place.at, &format!("`{word}` leads nowhere, expected a target: `{word}://:8080/host:port`, or `forwarder`"));
                return None;
            };
            let datagrams = kind.carrier == Carrier::Udp;
            Some(InboundSettings::Dokodemo(dokodemo::InboundSettings {
                to: Some(to.clone()),
                tcp: !datagrams,
                udp: datagrams,
                prompt_end: kind.carrier == Carrier::Ws,
                ..dokodemo::InboundSettings::default()
            }))
        }
        other => {
            let text = format!(
                "the handler `{}` is not built, expected {}{}",
                other.escape_debug(),
                either(&HANDLERS),
                did_you_mean(other, HANDLERS.into_iter())
            );
            problems.error(&place.at, &text);
            None
        }
    }
}
