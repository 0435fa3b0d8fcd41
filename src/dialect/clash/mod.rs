//! Clash's and mihomo's YAML, as far as it is about the ways into and out of this process: ports, `listeners` of SOCKS and HTTP, and
//! `proxies`.
//!
//! Groups, rules and DNS have no word here; what is lost is told item by item.

mod door;
mod proxy;
mod stream;
mod write;
mod yaml;

use std::sync::Arc;

use super::keys::{Keys, Notes};
use super::nodes::Parts;
use super::singbox::counted;
use super::text;
use super::tree::Node;
use crate::config::{Config, LogLevel};

pub(super) use write::write;

/// Reads a config, which `source` is called.
///
/// # Errors
///
/// When it is no YAML.
pub(super) fn read(text: &str, source: &Arc<str>, notes: &Notes) -> Result<Config, String> {
    let root = text::read(text, source)?;
    let Some(keys) = Keys::of(&root, notes) else {
        return Ok(Config::default());
    };
    let mut parts = Parts {
        level: level(&keys),
        inbounds: door::read(&keys),
        ..Parts::default()
    };
    for node in keys.items("proxies") {
        parts.outbounds.extend(proxy::read(node, notes));
    }
    // One that goes straight there would have everything go past the servers.
    let server = parts.outbounds.iter().find(|one| one.leads_away());
    parts.first = server.and_then(|server| server.tag.as_deref().map(str::to_owned));
    let groups = keys.items("proxy-groups");
    if !groups.is_empty() && !is_first_choice(groups, &parts) {
        let text = format!(
            "{}: nothing chooses between proxies here while it runs, the first proxy carries everything",
            counted(groups.len(), "group")
        );
        keys.left_out("proxy-groups", text);
    }
    for (key, what) in [
        ("rules", "rule"),
        ("rule", "rule"),
        ("sub-rules", "set of rules"),
    ] {
        let rules = keys.items(key);
        let kept = rules.iter().filter(|rule| !is_for_all(rule)).count();
        if kept > 0 {
            keys.left_out(
                key,
                format_args!(
                    "{} are not carried over: the first proxy carries everything",
                    counted(kept, what)
                ),
            );
        }
    }
    if keys.get("proxy-providers").is_some() {
        let text = "nothing is fetched for it: give its `url` to `mobula convert`";
        keys.left_out("proxy-providers", text);
    }
    keys.silent(&[
        "mode",
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
    ]);
    keys.no_word(
        &[
            "dns",
            "hosts",
            "tun",
            "sniffer",
            "external-controller",
            "external-ui",
            "secret",
        ],
        "it is not carried over",
    );
    keys.finish();
    Ok(parts.into_config(notes))
}

/// Whether the only group is one by hand that begins with the first proxy: then nothing is lost but the hand.
fn is_first_choice(groups: &[Node], parts: &Parts) -> bool {
    let [group] = groups else { return false };
    let text = |node: Option<&Node>| node.and_then(Node::as_text).map(str::to_owned);
    let first = group
        .get("proxies")
        .and_then(|list| text(list.items().first()));
    let tag = parts
        .outbounds
        .first()
        .and_then(|outbound| outbound.tag.as_deref());
    text(group.get("type")).as_deref() == Some("select")
        && first.is_some()
        && first.as_deref() == tag
}

/// `MATCH,…` says nothing that the order of outbounds does not.
fn is_for_all(rule: &Node) -> bool {
    let text = rule.as_text().unwrap_or_default();
    let kind = text.split(',').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("MATCH") || kind.eq_ignore_ascii_case("FINAL")
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
