//! The other way: a config as mihomo's YAML.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::groups::MAX_FAILED;
use super::{proxy, yaml};
use crate::config::{Config, LogLevel, Outbound};
use crate::dialect::clients::groups::{self, Ways, Written};
use crate::dialect::clients::lost::{self, Door};
use crate::dialect::links::said::Said;
use crate::protocol::accounts::Account;
use crate::routing::Strategy;

/// Writes what mihomo has words for; the rest is told.
pub(in crate::dialect) fn write(config: &Config, lines: &mut Vec<String>) -> String {
    let mut proxies = Vec::new();
    let ways = Ways::of(config);
    for outbound in config.outbounds.iter().filter(|one| !ways.has(one)) {
        proxies.extend(self::outbound(outbound, lines));
    }
    let open = ways.open(&names_of(&proxies));
    lost::dangling(&mut proxies, "dialer-proxy", "name", &open, lines);
    let mut root = json!({"mode": "rule", "log-level": level(config.log.level), "proxies": []});
    doors(config, &mut root, lines);
    // The first one is chosen: not one that goes straight there, where the config's own first could not be carried over.
    if config.outbounds.first().is_some_and(Outbound::leads_away)
        && let Some(server) = proxies
            .iter()
            .position(|proxy| proxy.get("server").is_some())
    {
        proxies[..=server].rotate_right(1);
    }
    let names = names_of(&proxies);
    let chosen = groups::written(config, &names, lines);
    ways.name(&mut proxies, "dialer-proxy", &chosen);
    root["proxies"] = json!(proxies);
    let names = groups::in_front(&chosen, names);
    let group = (1..)
        .map(|n| {
            if n == 1 {
                "PROXY".to_owned()
            } else {
                format!("PROXY {n}")
            }
        })
        .find(|name| !names.contains(name));
    if let Some(group) = group.filter(|_| !names.is_empty()) {
        let mut groups = vec![json!({"name": group, "type": "select", "proxies": names})];
        groups.extend(chosen.iter().map(|chosen| self::group(chosen, lines)));
        root["proxy-groups"] = groups.into();
        root["rules"] = json!([format!("MATCH,{group}")]);
    }
    rename(&mut root, lines);
    yaml::text(&root)
}

/// Names that are mihomo's own.
const OWN: [&str; 5] = ["COMPATIBLE", "DIRECT", "PASS", "REJECT", "REJECT-DROP"];

/// Gives others to proxies that have one of these; nothing that is written leads to mihomo's own.
fn rename(root: &mut Value, lines: &mut Vec<String>) {
    let names = names_of(
        root["proxies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default(),
    );
    for own in OWN
        .into_iter()
        .filter(|own| names.iter().any(|name| name == own))
    {
        let mut others = (2..).map(|n| format!("{own} {n}"));
        let Some(other) = others.find(|other| !names.contains(other)) else {
            continue;
        };
        lines.push(format!(
            "outbound `{own}`: the name is mihomo's own, there it is `{other}`"
        ));
        let give = |place: &mut Value| {
            if place == own {
                *place = other.as_str().into();
            }
        };
        for proxy in root["proxies"].as_array_mut().into_iter().flatten() {
            for key in ["name", "dialer-proxy"] {
                proxy.get_mut(key).into_iter().for_each(give);
            }
        }
        let groups = root.get_mut("proxy-groups").and_then(Value::as_array_mut);
        for group in groups.into_iter().flatten() {
            let members = group["proxies"].as_array_mut();
            members.into_iter().flatten().for_each(give);
        }
    }
}

fn names_of(proxies: &[Value]) -> Vec<String> {
    let names = proxies.iter().filter_map(|proxy| proxy["name"].as_str());
    names.map(str::to_owned).collect()
}

/// mihomo passes over those that are dead, whatever the group is.
fn group(group: &Written, lines: &mut Vec<String>) -> Value {
    let mut instead = |word: &str| lines.push(groups::instead(&group.place, &group.strategy, word));
    let (kind, strategy) = match &group.strategy {
        Strategy::LeastPing { .. } => ("url-test", None),
        Strategy::LeastLoad(_) => {
            instead("the one that answers soonest carries everything (`url-test`)");
            ("url-test", None)
        }
        Strategy::First | Strategy::FirstAlive => ("fallback", None),
        Strategy::Random(_) => {
            instead("they take turns (`load-balance`)");
            ("load-balance", Some("round-robin"))
        }
        Strategy::RoundRobin(_) => ("load-balance", Some("round-robin")),
    };
    let mut value = json!({"name": group.name, "type": kind, "proxies": group.members});
    if let Some(strategy) = strategy {
        value["strategy"] = strategy.into();
    }
    if group.tolerance() > 0 {
        value["tolerance"] = group.tolerance().into();
    }
    if let Some(probe) = &group.probe {
        if !probe.expected.is_any() {
            value["expected-status"] = probe.expected.to_string().into();
        }
        if let Some(max) = probe.max_failed.filter(|max| max.get() != MAX_FAILED) {
            value["max-failed-times"] = max.get().into();
        }
        value["url"] = probe.url.to_string().into();
        // There are whole seconds alone.
        value["interval"] = json!(probe.interval.as_millis().div_ceil(1000));
        if let Some(timeout) = probe.timeout {
            value["timeout"] = json!(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
    }
    value
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::None => "silent",
        LogLevel::Error => "error",
        LogLevel::Warning => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

/// The first of each kind has a key of its own as long as they are alike; others are `listeners`.
fn doors(config: &Config, root: &mut Value, lines: &mut Vec<String>) {
    let mut first: Option<(IpAddr, &[Account])> = None;
    let mut listeners = Vec::new();
    for (n, inbound) in config.all_inbounds().enumerate() {
        let mut said = Said::of_outbound(&inbound.name);
        let door = Door::of(inbound, &mut said);
        lost::take(said, lines);
        let Some(door) = door else { continue };
        let key = if door.has_socks { "mixed-port" } else { "port" };
        let alike = (door.listen, door.accounts);
        if first.is_none_or(|first| first == alike) && root.get(key).is_none() {
            first = Some(alike);
            root[key] = door.port.into();
            continue;
        }
        let tag = inbound.tag.as_deref().map(str::to_owned);
        let mut listener = json!({
            "name": tag.unwrap_or_else(|| format!("in-{n}")), "type": if door.has_socks { "mixed" } else { "http" },
            "listen": door.listen.to_string(), "port": door.port,
        });
        // Without it those of `authentication` hold.
        let users = door.accounts.iter();
        listener["users"] = users
            .map(|user| json!({"username": user.user, "password": *user.pass}))
            .collect();
        listeners.push(listener);
    }
    if !listeners.is_empty() {
        root["listeners"] = listeners.into();
    }
    let Some((listen, accounts)) = first else {
        return;
    };
    if listen != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        root["allow-lan"] = true.into();
        root["bind-address"] = match listen.is_unspecified() {
            true => "*".into(),
            false => listen.to_string().into(),
        };
    }
    if !accounts.is_empty() {
        let pairs = accounts.iter();
        root["authentication"] = pairs
            .map(|one| format!("{}:{}", one.user, *one.pass))
            .collect();
    }
}

fn outbound(outbound: &Outbound, lines: &mut Vec<String>) -> Vec<Value> {
    let mut said = Said::of_outbound(&outbound.name);
    let mut values = proxy::write(outbound, &mut said);
    if !said.errors.is_empty() {
        values.clear();
    }
    lost::take(said, lines);
    values
}
