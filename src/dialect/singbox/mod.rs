//! sing-box's JSON, as far as it is about the ways into and out of this process: `inbounds` of SOCKS and HTTP, and `outbounds`.
//!
//! `route`, `dns` and what else there is has no word here; what is lost is told item by item.

mod inbound;
mod outbound;
mod tls;
mod transport;
mod write;

use std::sync::Arc;

use super::form::Files;
use super::keys::{Keys, Notes};
use super::nodes::Parts;
use super::text;
use super::tree::Node;
use crate::config::{Config, LogLevel, Outbound};

pub(super) use write::write;

/// Reads a config, which `source` is called.
///
/// # Errors
///
/// When it is no JSON.
pub(super) fn read(
    text: &str,
    source: &Arc<str>,
    files: Files<'_>,
    notes: &Notes,
) -> Result<Config, String> {
    let root = text::read_json(text, source)?;
    let Some(keys) = Keys::of(&root, notes) else {
        return Ok(Config::default());
    };
    let mut parts = Parts {
        level: keys.map("log").map(level).unwrap_or_default(),
        ..Parts::default()
    };
    for node in keys.items("inbounds") {
        parts.inbounds.extend(inbound::read(node, notes));
    }
    let mut groups = Vec::new();
    for node in keys.items("outbounds") {
        match node.get("type").and_then(Node::as_text) {
            Some("selector" | "urltest") => groups.push(group(node, notes)),
            _ => parts.outbounds.extend(outbound::read(node, files, notes)),
        }
    }
    parts.first = first(&keys, &groups, &parts);
    keys.silent(&["$schema"]);
    keys.no_word(
        &[
            "dns",
            "ntp",
            "endpoints",
            "services",
            "experimental",
            "certificate",
        ],
        "it is not carried over",
    );
    keys.finish();
    Ok(parts.into_config(notes))
}

/// Reads Shadowsocks' own JSON, whose servers have sing-box's words: SIP008's `servers`, or one by itself.
///
/// # Errors
///
/// When it is no JSON.
pub(super) fn read_shadowsocks(
    text: &str,
    source: &Arc<str>,
    files: Files<'_>,
    notes: &Notes,
) -> Result<Config, String> {
    let mut root = text::read_json(text, source)?;
    let alone = root.get("servers").is_none();
    let at = root.at.clone();
    let mut servers = match alone {
        true => vec![root],
        false => root
            .take("servers")
            .map(|list| list.items().to_vec())
            .unwrap_or_default(),
    };
    let mut parts = Parts::default();
    for server in &mut servers {
        // What is about the client's own machine, or about the list.
        for key in [
            "id",
            "local_address",
            "local_port",
            "timeout",
            "fast_open",
            "mode",
            "bytes_used",
            "bytes_remaining",
        ] {
            server.take(key);
        }
        if let Some(name) = server.take("remarks") {
            server.set("tag", name);
        }
        server.set("type", Node::text("shadowsocks", &at));
        parts.outbounds.extend(outbound::read(server, files, notes));
    }
    Ok(parts.into_config(notes))
}

fn level(log: Keys) -> LogLevel {
    let level = match log.word("level").as_deref() {
        Some("trace" | "debug") => LogLevel::Debug,
        Some("info") => LogLevel::Info,
        Some("error" | "fatal" | "panic") => LogLevel::Error,
        _ => LogLevel::Warning,
    };
    log.silent(&["timestamp"]);
    let is_off = log.switch("disabled");
    log.no_word(&["output"], "lines go to the console");
    log.finish();
    match is_off {
        true => LogLevel::None,
        false => level,
    }
}

/// A choice between outbounds.
struct Group<'a> {
    tag: &'a str,
    /// The one that is chosen first.
    chosen: &'a str,
}

fn group<'a>(node: &'a Node, notes: &'a Notes) -> Option<Group<'a>> {
    let keys = Keys::of(node, notes)?;
    let kind = keys.text("type").unwrap_or_default();
    let tag = keys.text("tag").unwrap_or_default();
    let members = keys.list("outbounds");
    let chosen = keys.text("default").or_else(|| Some(members.first()?.1));
    let chosen = chosen.unwrap_or_default();
    let text = format!(
        "nothing chooses between outbounds here while it runs: `{}` takes the place of `{}`",
        chosen.escape_debug(),
        tag.escape_debug()
    );
    notes.left_out(&node.at, format_args!("`{kind}`: {text}"));
    keys.silent(&[
        "url",
        "interval",
        "tolerance",
        "idle_timeout",
        "interrupt_exist_connections",
    ]);
    keys.finish();
    Some(Group { tag, chosen })
}

/// The outbound that `route.final` names, or the first one, whichever its groups choose.
fn first(keys: &Keys, groups: &[Option<Group<'_>>], parts: &Parts) -> Option<String> {
    let named = keys.map("route").and_then(|route| {
        let rules = route.items("rules");
        let actions = ["sniff", "hijack-dns", "resolve"];
        let kept: Vec<&Node> = rules
            .iter()
            .filter(|rule| {
                let action = rule.get("action").and_then(Node::as_text);
                !action.is_some_and(|action| actions.contains(&action))
            })
            .collect();
        if let Some(rule) = kept.first() {
            let text = "rules are not carried over: everything goes by the first outbound";
            keys.notes().left_out(
                &rule.at,
                format_args!(
                    "{} of `route`, beginning here: {text}",
                    counted(kept.len(), "rule")
                ),
            );
        }
        route.silent(&[
            "auto_detect_interface",
            "default_domain_resolver",
            "rule_set",
        ]);
        route.no_word(
            &["default_interface", "default_mark", "override_android_vpn"],
            "it is not carried over",
        );
        let named = route.text("final");
        route.finish();
        named
    });
    let all = keys.items("outbounds");
    let tag_of = |node: &'_ Node| node.get("tag").and_then(Node::as_text).map(str::to_owned);
    let mut tag = named.map(str::to_owned).or_else(|| tag_of(all.first()?))?;
    // A group may choose a group; one that chooses itself leads nowhere.
    for _ in groups {
        let found = groups.iter().flatten().find(|group| group.tag == tag);
        let Some(group) = found else { break };
        tag = group.chosen.to_owned();
    }
    let found = parts
        .outbounds
        .iter()
        .find(|outbound| outbound.tag.as_deref() == Some(&*tag));
    if found.is_some_and(Outbound::leads_away) {
        return Some(tag);
    }
    // Without its rules nothing would go to a server.
    let server = parts
        .outbounds
        .iter()
        .find(|outbound| outbound.leads_away());
    let server = server.and_then(|server| server.tag.as_deref());
    if let (Some(server), Some(_)) = (server, found) {
        keys.notes().left_out(
            keys.at(),
            format_args!(
                "what no rule sends elsewhere goes by `{}`: without its rules that would be everything, so `{}` takes its place",
                tag.escape_debug(),
                server.escape_debug()
            ),
        );
    }
    Some(server.map_or(tag, str::to_owned))
}

/// `1 rule`, `2 rules`.
pub(super) fn counted(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}
