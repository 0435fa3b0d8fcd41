//! `dns` of V2Ray 4 and 5: servers, hosts, strategies.

pub(super) mod fake;
mod hosts;
mod server;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::Host;
use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, Report, did_you_mean, either, one_of, one_of_or};
use crate::dns::{FakePool, Fallback, Families, HOSTS_FILE, Settings, Strategy};
use crate::matching::{Geodata, Pattern};

/// What the whole section says to each of its servers.
struct Common {
    client_ip: Option<IpAddr>,
    tag: Option<Arc<str>>,
    caches: bool,
    families: Families,
    /// Out of which names are given addresses, where the config says it.
    fakes: Option<Vec<FakePool>>,
}

/// Reads the section by itself.
///
/// # Errors
///
/// All that is wrong with it, and what would do nothing in it.
pub(in crate::dialect) fn alone(text: &Value, geodata: &Geodata) -> Result<Settings, Vec<String>> {
    let report = Report::default();
    let node = Node::root(text, &report);
    let read = node.object().map(|object| {
        let settings = read(&object, None, geodata);
        object.finish();
        settings
    });
    let problems = [report.errors(), report.warnings()].concat();
    read.filter(|_| problems.is_empty())
        .ok_or_else(|| problems.into_iter().map(|problem| problem.text).collect())
}

/// Reads the section; every mistake is reported. `fakes` are the pools that the top level has.
pub(super) fn read(dns: &Object, fakes: Option<Vec<FakePool>>, geodata: &Geodata) -> Settings {
    let disable_cache = dns.read_or("disableCache", false);
    let common = Common {
        client_ip: dns.first(&["clientIp"]).and_then(|node| ip(&node)),
        tag: tag(dns),
        caches: caches(dns).unwrap_or(!disable_cache),
        families: query_strategy(dns).unwrap_or_default(),
        fakes: match dns.get("fakeDns") {
            Some(node) => fake::pools(&node),
            None => fakes,
        },
    };
    let mut all_fakes = common.fakes.clone().unwrap_or_default();
    let mut servers = Vec::new();
    let nodes = [dns.array("servers"), dns.array("nameServer")].concat();
    for node in &nodes {
        let server = server::read(node, &common, geodata);
        if let Some(server) = &server {
            fake::apart(node, &mut all_fakes, &server.fakes);
        }
        servers.extend(server);
    }
    // Nor is the system asked when all of them are left out.
    if servers.is_empty() && !nodes.is_empty() {
        servers.push(server::nobody());
    }
    let settings = Settings {
        hosts: hosts::read(dns, geodata),
        system_hosts: dns.read_or("useSystemHosts", false),
        servers,
        families: common.families,
        fallback: fallback(dns),
        fakes: common.fakes.unwrap_or_default(),
    };
    // How V2Ray 5 makes its tables.
    dns.silent(&["domainMatcher"]);
    if settings.system_hosts
        && let Err(e) = fs::metadata(HOSTS_FILE)
        && let Some(node) = dns.get("useSystemHosts")
    {
        node.warn(format!("no name is found in {HOSTS_FILE}: {e}"));
    }
    dns.no_effect(&["serveStale", "serveExpiredTTL", "enableParallelQuery"]);
    settings
}

/// A `domainStrategy` in V2Ray 4's spelling (`UseIPv4`), V2Ray 5's (`USE_IP4`) or Xray's. `ForceIP…` differs from
/// `UseIP…` in Xray by what a name without addresses leads to: an error, as here with both.
pub(super) fn domain_strategy(node: &Node) -> Option<Strategy> {
    const NAMES: [&str; 6] = [
        "AsIs",
        "UseIP",
        "UseIPv4",
        "UseIPv6",
        "PreferIPv4",
        "PreferIPv6",
    ];
    strategy(node, &NAMES, |word| {
        Some(match word {
            "asis" | "" => Strategy::AsIs,
            "useip" | "forceip" => Strategy::UseIp,
            "useipv4" | "useip4" | "forceipv4" => Strategy::UseIpv4,
            "useipv6" | "useip6" | "forceipv6" => Strategy::UseIpv6,
            "preferipv4" | "preferip4" | "useipv4v6" | "forceipv4v6" => Strategy::PreferIpv4,
            "preferipv6" | "preferip6" | "useipv6v4" | "forceipv6v4" => Strategy::PreferIpv6,
            _ => return None,
        })
    })
}

/// Whether it is one of Xray's `ForceIP…`.
pub(super) fn forces(node: &Node) -> bool {
    let text = node.value.as_str().unwrap_or_default();
    text.to_ascii_lowercase().starts_with("force")
}

fn query_strategy(object: &Object) -> Option<Families> {
    const NAMES: [&str; 3] = ["UseIP", "UseIPv4", "UseIPv6"];
    strategy(&object.get("queryStrategy")?, &NAMES, |word| {
        Some(match word {
            // Xray's last one asks for the families that this machine can reach.
            "useip" | "usesystem" | "usesys" | "" => Families::BOTH,
            "useipv4" | "useip4" => Families::V4,
            "useipv6" | "useip6" => Families::V6,
            _ => return None,
        })
    })
}

/// What `meaning` finds for the word in lower case, without what V2Ray 5 puts between its parts; one of
/// `names` is expected, and the first one is what nothing found stands for.
fn strategy<T>(node: &Node, names: &[&str], meaning: fn(&str) -> Option<T>) -> Option<T> {
    let text: String = node.read()?;
    let word = text.to_ascii_lowercase().replace(['_', '-'], "");
    let found = meaning(&word);
    if found.is_none() {
        node.warn(format!(
            "`{}` is unknown, `{}` takes its place as in V2Ray, expected {}{}",
            text.escape_debug(),
            names[0],
            either(names),
            did_you_mean(&text, names.iter().copied())
        ));
    }
    found
}

/// V2Ray 5's `cacheStrategy`.
fn caches(object: &Object) -> Option<bool> {
    let node = object.get("cacheStrategy")?;
    let words = [
        ("Enabled", true),
        ("CacheEnabled", true),
        ("Disabled", false),
        ("CacheDisabled", false),
    ];
    one_of_or(&node, &words, "Enabled")
}

fn fallback(dns: &Object) -> Fallback {
    let never = dns.read_or("disableFallback", false);
    let without_match = dns.read_or("disableFallbackIfMatch", false);
    let strategy = fallback_strategy(dns);
    match (strategy, never, without_match) {
        (_, true, _) => Fallback::Never,
        (_, _, true) => Fallback::WithoutMatch,
        (Some(strategy), ..) => strategy,
        (None, ..) => Fallback::Always,
    }
}

/// V2Ray 5's, of the section or of one server.
fn fallback_strategy(object: &Object) -> Option<Fallback> {
    let words = [
        ("Enabled", Fallback::Always),
        ("Disabled", Fallback::Never),
        ("DisabledIfAnyMatch", Fallback::WithoutMatch),
    ];
    let node = object.get("fallbackStrategy")?;
    let text = node.value.as_str().unwrap_or_default();
    match &*text.to_ascii_lowercase().replace(['_', '-'], "") {
        "disabledifanymatch" => Some(Fallback::WithoutMatch),
        _ => one_of(&node, &words),
    }
}

fn tag(object: &Object) -> Option<Arc<str>> {
    let tag: Option<String> = object.read("tag");
    tag.filter(|tag| !tag.is_empty()).map(Into::into)
}

fn ip(node: &Node) -> Option<IpAddr> {
    let text: String = node.read()?;
    if text.is_empty() {
        return None;
    }
    match Host::parse(text.trim()) {
        Ok(Host::Ip(ip)) => Some(ip),
        _ => {
            node.error(format!("`{}` is not an IP address", text.escape_debug()));
            None
        }
    }
}

/// V2Ray 5's `{"type": "Full", "domain": "example.com"}`.
fn typed_pattern(entry: &Object) -> Option<Pattern> {
    type Kind = fn(String) -> Pattern;
    let kinds: [(&str, Kind); 4] = [
        ("Full", Pattern::Full),
        ("Subdomain", Pattern::Domain),
        ("Keyword", Pattern::Keyword),
        ("Regex", Pattern::Regex),
    ];
    let make = match entry.get("type") {
        Some(node) => one_of(&node, &kinds)?,
        None => Pattern::Full,
    };
    let domain: String = entry.require("domain")?;
    let pattern = make(domain);
    let check = pattern.check().map_err(|e| entry.node.error(e.to_string()));
    check.ok().map(|()| pattern)
}
