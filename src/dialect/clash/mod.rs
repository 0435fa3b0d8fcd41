//! Clash's and mihomo's YAML, as far as it is about the ways into and out of this process: ports, `listeners` of SOCKS and HTTP,
//! `proxies`, and `rules` that say which of them carries what.
//!
//! What a provider names is read once, and then stands in the file. Groups are balancers, those that somebody chooses in are
//! their first choice. What is lost is told item by item.

mod conditions;
mod dns;
mod door;
mod files;
mod groups;
mod mrs;
mod provided;
mod providers;
pub(in crate::dialect) mod proxy;
mod rules;
mod sets;
mod sniffer;
mod write;
mod yaml;

use std::sync::Arc;

use super::clients::beside::Beside;
use super::clients::parts::{Parts, Whole};
use super::form::Outside;
use super::tree::keys::{Keys, Notes};
use super::tree::text;
use crate::config::LogLevel;
use crate::report::Message;

pub(super) use write::write;

/// Reads a config, which `source` is called.
///
/// # Errors
///
/// When it is no YAML.
pub(super) fn read(
    text: &str,
    source: &Arc<str>,
    outside: Outside<'_>,
    notes: &Notes,
) -> Result<Whole, Box<Message>> {
    let mut root = text::read(text, source)?.or_list_of("proxies");
    let ways = files::take_in(&mut root, &Beside::new(outside, source), notes);
    provided::settle(&mut root, notes);
    let Some(keys) = Keys::of(&root, notes) else {
        return Ok(Whole::default());
    };
    let (inbounds, bound) = door::read(&keys);
    let mut parts = Parts {
        level: level(&keys),
        inbounds,
        ..Parts::default()
    };
    for node in keys.items("proxies") {
        parts
            .outbounds
            .extend(proxy::read(&proxy::plain(node), notes));
    }
    let providers = providers::read(&keys);
    for node in providers.iter().flat_map(|one| one.proxies) {
        parts
            .outbounds
            .extend(proxy::read(&proxy::plain(node), notes));
    }
    if let Some(sniffing) = sniffer::read(&keys) {
        for inbound in &mut parts.inbounds {
            inbound.sniffing = Some(sniffing.clone());
        }
        parts.sniffing = Some(sniffing);
    }
    let rules = rules::read(&keys, &providers, (&bound, &ways), &mut parts);
    keys.silent(&[
        "ipv6",
        "unified-delay",
        "tcp-concurrent",
        "find-process-mode",
        "global-client-fingerprint",
        "profile",
        "geodata-mode",
        "geodata-loader",
        "geox-url",
        "geo-auto-update",
        "geo-update-interval",
        "keep-alive-interval",
        "keep-alive-idle",
        "disable-keep-alive",
        "rule-providers",
        "log-file",
        // Where everything goes to a server nobody asks for addresses.
        "dns",
        "hosts",
    ]);
    keys.no_word(
        &["external-controller", "external-ui", "secret"],
        "it is not carried over",
    );
    keys.no_way(
        &["sub-rules", "interface-name", "routing-mark", "tunnels"],
        "it is not carried over",
    );
    keys.no_way(
        &["tun"],
        "this machine's traffic is not caught here: programs must be told of the ports",
    );
    keys.finish_whole();
    Ok(parts.into_whole(rules, notes))
}

fn level(keys: &Keys) -> LogLevel {
    match keys.word("log-level").as_deref() {
        Some("silent") => LogLevel::None,
        Some("error") => LogLevel::Error,
        Some("info") => LogLevel::Info,
        Some("debug") => LogLevel::Debug,
        _ => LogLevel::Warning,
    }
}
