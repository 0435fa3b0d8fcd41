//! sing-box's JSON, as far as it is about the ways into and out of this process: `inbounds` of SOCKS and HTTP, and `outbounds`.
//!
//! Of `route` the rules are carried over that V2Ray has words for, and of `dns` who is asked for which names; groups are balancers, those
//! that somebody chooses in their first choice. What is lost is told item by item.

mod conditions;
mod dns;
mod files;
mod hijack;
mod inbound;
mod outbound;
mod route;
mod sniff;
mod srs;
mod tls;
mod transport;
mod write;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::clients::beside::Beside;
use super::clients::groups::{Group, Groups, Kind, probe};
use super::clients::parts::{Parts, Whole};
use super::clients::rules::Rules;
use super::form::Outside;
use super::tree::Node;
use super::tree::keys::{Keys, Notes};
use super::tree::text;
use crate::config::LogLevel;
use crate::report::Message;

pub(super) use write::write;

/// Reads a config, which `source` is called.
///
/// # Errors
///
/// When it is no JSON.
pub(super) fn read(
    text: &str,
    source: &Arc<str>,
    outside: Outside<'_>,
    notes: &Notes,
) -> Result<Whole, Box<Message>> {
    let mut root = text::read_json(text, source)?.or_list_of("outbounds");
    let ways = files::take_in(&mut root, &Beside::new(outside, source), notes);
    let Some(keys) = Keys::of(&root, notes) else {
        return Ok(Whole::default());
    };
    let mut parts = Parts {
        level: keys.map("log").map(level).unwrap_or_default(),
        ..Parts::default()
    };
    for node in keys.items("inbounds") {
        let mark = notes.mark();
        let read = inbound::read(node, |tag| hijack::takes_all_of(&keys, tag), notes);
        if read.is_none() {
            notes.all_astray(mark);
        }
        parts.inbounds.extend(read);
    }
    sniff::by_rules(&keys, &mut parts.inbounds);
    parts.sniffing = sniff::of_any(&keys);
    let mut groups = Vec::new();
    for node in keys.items("outbounds") {
        match node.get("type").and_then(Node::as_text) {
            Some("selector" | "urltest") => groups.extend(group(node, notes)),
            _ if hijack::is_of_dns(node) => {}
            _ => parts.outbounds.extend(outbound::read(node, outside, notes)),
        }
    }
    let names: HashSet<&str> = groups.iter().map(|one| one.name).collect();
    parts.forget_lost(|name| names.contains(name), notes);
    let groups = Groups::new(groups, &parts.outbounds, |_| None, notes);
    let rules = route::read(&keys, groups, &ways, &mut parts);
    keys.silent(&["$schema"]);
    keys.no_word(
        &[
            "ntp",
            "endpoints",
            "services",
            "experimental",
            "certificate",
        ],
        "it is not carried over",
    );
    keys.finish();
    Ok(parts.into_whole(rules, notes))
}

/// Reads Shadowsocks' own JSON, whose servers have sing-box's words: SIP008's `servers`, or one by itself.
///
/// # Errors
///
/// When it is no JSON.
pub(super) fn read_shadowsocks(
    text: &str,
    source: &Arc<str>,
    outside: Outside<'_>,
    notes: &Notes,
) -> Result<Whole, Box<Message>> {
    let mut root = text::read_json(text, source)?.or_list_of("servers");
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
        parts
            .outbounds
            .extend(outbound::read(server, outside, notes));
    }
    Ok(parts.into_whole(Rules::new(notes), notes))
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

fn group<'n>(node: &'n Node, notes: &'n Notes) -> Option<Group<'n>> {
    let keys = Keys::of(node, notes)?;
    let word = keys.text("type").unwrap_or_default();
    let name = keys.required("tag")?;
    let mut members: Vec<&str> = keys
        .list("outbounds")
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    let kind = match word {
        "urltest" => Kind::Fastest(tolerance(&keys)),
        _ => Kind::ByHand,
    };
    let probe = probe(&keys, Duration::from_secs(1), Duration::from_secs(180));
    if kind == Kind::ByHand
        && let Some(chosen) = keys.text("default")
    {
        if members.contains(&chosen) {
            members.insert(0, chosen);
        } else {
            let text = "it is none of `outbounds`, of which the first is chosen";
            keys.astray("default", text);
        }
    }
    keys.silent(&[
        "url",
        "interval",
        "tolerance",
        "idle_timeout",
        "interrupt_exist_connections",
    ]);
    keys.finish();
    Some(Group {
        at: &node.at,
        name,
        word,
        kind,
        members,
        probe,
    })
}

/// Zero is the program's own, and 1 the least that there is.
fn tolerance(keys: &Keys) -> Duration {
    let ms = keys.number("tolerance").filter(|ms| *ms != 0);
    match ms.unwrap_or(TOLERANCE) {
        1 => Duration::ZERO,
        ms => Duration::from_millis(ms),
    }
}

/// `urltest`'s own, in milliseconds.
const TOLERANCE: u64 = 50;

/// `1 rule`, `2 rules`.
pub(super) fn counted(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}
