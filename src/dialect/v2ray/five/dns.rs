//! `dns`: servers with their addresses as objects, names with their kinds.

use serde_json::{Map, Value, json};

use super::part::{NO_WORD, Part};
use super::routing::networks;

pub(super) fn write(dns: Part<'_>) -> Value {
    let mut five = Map::new();
    let mut servers = Vec::new();
    let at = dns.at("servers");
    let items = dns
        .items(&["servers"])
        .into_iter()
        .chain(dns.items(&["nameServer"]));
    for (i, item) in items.enumerate() {
        match item {
            Value::String(text) => servers.push(json!({"address": {"address": text}})),
            other => {
                let part = Part::of(other, format!("{at}[{i}]"), dns.lines);
                servers.extend(part.map(server));
            }
        }
    }
    if !servers.is_empty() {
        five.insert("nameServer".to_owned(), servers.into());
    }
    let mut hosts = Vec::new();
    if let Some(Value::Object(map)) = dns.get(&["hosts"]) {
        for (name, value) in map {
            match host(name, value) {
                Some(host) => hosts.push(host),
                None => dns.lost(
                    "hosts",
                    format_args!("`{}`: {NO_WORD}", name.escape_debug()),
                ),
            }
        }
    }
    hosts.extend(dns.items(&["staticHosts"]).into_iter().cloned());
    if !hosts.is_empty() {
        five.insert("staticHosts".to_owned(), hosts.into());
    }
    for keys in [
        "clientIp",
        "tag",
        "disableCache",
        "disableFallback",
        "disableFallbackIfMatch",
        "cacheStrategy",
        "fallbackStrategy",
        "fakeDns",
    ] {
        dns.keep(&mut five, &[keys]);
    }
    strategy(&dns, &mut five);
    dns.silent(&["domainMatcher"]);
    dns.finish();
    Value::Object(five)
}

fn strategy(part: &Part<'_>, five: &mut Map<String, Value>) {
    let lower = part.word(&["queryStrategy"]).replace('_', "");
    let word = match &*lower {
        "" => return,
        "useip" => "USE_IP",
        "useip4" | "useipv4" => "USE_IP4",
        "useip6" | "useipv6" => "USE_IP6",
        _ => return part.lost("queryStrategy", NO_WORD),
    };
    five.insert("queryStrategy".to_owned(), word.into());
}

fn server(server: Part<'_>) -> Value {
    let mut five = Map::new();
    let port = server.get(&["port"]).cloned();
    let address = match server.get(&["address"]) {
        Some(Value::String(text)) => {
            let mut address = json!({"address": text});
            if let Some(port) = port {
                address["port"] = port;
            }
            address
        }
        other => {
            let mut address = other.cloned().unwrap_or_default();
            if let Some(Value::String(network)) = address.get_mut("network") {
                network.make_ascii_uppercase();
            }
            address
        }
    };
    five.insert("address".to_owned(), address);
    for key in [
        "clientIp",
        "skipFallback",
        "tag",
        "fallbackStrategy",
        "cacheStrategy",
    ] {
        server.keep(&mut five, &[key]);
    }
    strategy(&server, &mut five);
    let mut domains: Vec<Value> = Vec::new();
    let mut sites: Vec<Value> = server.items(&["geoDomain"]).into_iter().cloned().collect();
    for item in server.items(&["domains"]) {
        let Some(text) = item.as_str() else { continue };
        match text.split_once(':') {
            Some(("geosite", code)) => sites.push(json!({"code": code})),
            Some(("ext" | "ext-domain", rest)) => match rest.split_once(':') {
                Some((file, code)) => sites.push(json!({"filePath": file, "code": code})),
                None => server.lost("domains", NO_WORD),
            },
            _ => domains.push(typed(text, "Keyword")),
        }
    }
    domains.extend(server.items(&["prioritizedDomain"]).into_iter().cloned());
    if !domains.is_empty() {
        five.insert("prioritizedDomain".to_owned(), domains.into());
    }
    if !sites.is_empty() {
        five.insert("geoDomain".to_owned(), sites.into());
    }
    match networks(&server.items(&["expectIPs", "expectedIPs", "geoip"])) {
        Ok(list) if list.is_empty() => {}
        Ok(list) => drop(five.insert("geoip".to_owned(), list.into())),
        Err(why) => server.lost("expectIPs", why),
    }
    server.finish();
    Value::Object(five)
}

/// `{"type": "Full", "domain": "example.com"}`; without a kind in front it is `plain`.
fn typed(text: &str, plain: &str) -> Value {
    let (kind, name) = match text.split_once(':') {
        Some(("full", name)) => ("Full", name),
        Some(("domain", name)) => ("Subdomain", name),
        Some(("keyword", name)) => ("Keyword", name),
        Some(("regexp", name)) => ("Regex", name),
        _ => (plain, text),
    };
    json!({"type": kind, "domain": name})
}

fn host(name: &str, value: &Value) -> Option<Value> {
    if matches!(
        name.split_once(':'),
        Some(("geosite" | "ext" | "ext-domain" | "dotless", _))
    ) {
        return None;
    }
    let mut entry = typed(name, "Full");
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let is_address = |text: &&&str| text.parse::<std::net::IpAddr>().is_ok();
    match texts.iter().find(|text| !is_address(text)) {
        Some(other) if texts.len() == 1 => entry["proxiedDomain"] = (**other).into(),
        Some(_) => return None,
        None => entry["ip"] = json!(texts),
    }
    Some(entry)
}
