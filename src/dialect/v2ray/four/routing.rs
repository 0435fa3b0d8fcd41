//! `routing` and `dns`, whose lists are texts.

use serde_json::{Map, Value, json};

use super::services::span;
use crate::dialect::v2ray::five::part::Part;

pub(super) fn write(router: Part<'_>) -> Value {
    let mut four = Map::new();
    let strategy = match &*router.word(&["domainStrategy"]) {
        "ipifnonmatch" | "use_ip" => Some("IPIfNonMatch"),
        "ipondemand" => Some("IPOnDemand"),
        "asis" => Some("AsIs"),
        _ => None,
    };
    four.extend(strategy.map(|word| ("domainStrategy".to_owned(), word.into())));
    let rules: Vec<Value> = router
        .parts(&["rule", "rules"])
        .into_iter()
        .filter_map(rule)
        .collect();
    let balancers = router.parts(&["balancingRule", "balancers"]).into_iter();
    let balancers: Vec<Value> = balancers.map(balancer).collect();
    for (key, list) in [("rules", rules), ("balancers", balancers)] {
        if !list.is_empty() {
            four.insert(key.to_owned(), list.into());
        }
    }
    router.finish();
    Value::Object(four)
}

/// A rule without one of its conditions would take too much.
fn rule(rule: Part<'_>) -> Option<Value> {
    let mut four = Map::from_iter([("type".to_owned(), "field".into())]);
    rule.keep(&mut four, &["outboundTag", "tag"]);
    rule.keep(&mut four, &["balancerTag", "balancingTag"]);
    let mut domains: Vec<Value> = Vec::new();
    for item in rule.items(&["domain", "domains"]) {
        domains.push(domain(item, "value"));
    }
    if !domains.is_empty() && !rule.items(&["geoDomain"]).is_empty() {
        rule.gone("`domain` and `geoDomain`, which both have to hold");
        return None;
    }
    domains.extend(
        rule.items(&["geoDomain"])
            .into_iter()
            .map(|item| list(item, "geosite")),
    );
    let mut put = |key: &str, list: Vec<Value>| {
        if !list.is_empty() {
            four.insert(key.to_owned(), list.into());
        }
    };
    put("domain", domains);
    put("ip", networks(&rule.items(&["geoip", "ip"])));
    put("source", networks(&rule.items(&["sourceGeoip", "source"])));
    for (key, from) in [
        ("port", "portList"),
        ("sourcePort", "sourcePortList"),
        ("network", "networks"),
        ("user", "userEmail"),
        ("inboundTag", "inboundTag"),
        ("protocol", "protocol"),
        ("attrs", "attributes"),
    ] {
        rule.keep(&mut four, &[key, from]);
    }
    rule.finish();
    Some(Value::Object(four))
}

/// `{"type": "Full", "value": "a.test"}` as `full:a.test`.
fn domain(item: &Value, key: &str) -> Value {
    let Some(name) = item[key].as_str() else {
        return item.clone();
    };
    let kind = item["type"]
        .as_str()
        .unwrap_or("Plain")
        .to_ascii_lowercase();
    let kind = match &*kind {
        "full" => "full",
        "rootdomain" | "subdomain" => "domain",
        "regex" => "regexp",
        _ => "keyword",
    };
    format!("{kind}:{name}").into()
}

/// `{"code": "cn"}` as `geosite:cn`, or as `ext:FILE:cn`.
fn list(item: &Value, kind: &str) -> Value {
    let text = |names: [&str; 2]| names.iter().find_map(|name| item[*name].as_str());
    let code = text(["code", "countryCode"]).unwrap_or_default();
    let not = match item["inverseMatch"]
        .as_bool()
        .or(item["inverse_match"].as_bool())
    {
        Some(true) => "!",
        _ => "",
    };
    match text(["filePath", "file_path"]) {
        Some(file) if !file.is_empty() => format!("ext:{file}:{not}{code}").into(),
        _ => format!("{kind}:{not}{code}").into(),
    }
}

fn networks(items: &[&Value]) -> Vec<Value> {
    let mut texts = Vec::new();
    for item in items {
        let Some(cidrs) = item["cidr"].as_array() else {
            texts.push(match item.is_object() {
                true => list(item, "geoip"),
                false => (*item).clone(),
            });
            continue;
        };
        let not = if item["inverseMatch"] == true {
            "!"
        } else {
            ""
        };
        texts.extend(cidrs.iter().map(|cidr| match cidr.as_str() {
            Some(text) => format!("{not}{text}").into(),
            None => {
                let ip = ["ipAddr", "ip_addr", "ip"]
                    .iter()
                    .find_map(|key| cidr[*key].as_str());
                let ip = ip.unwrap_or_default();
                Value::String(match cidr["prefix"].as_u64() {
                    Some(prefix) => format!("{not}{ip}/{prefix}"),
                    None => format!("{not}{ip}"),
                })
            }
        }));
    }
    texts
}

fn balancer(balancer: Part<'_>) -> Value {
    let mut four = Map::new();
    balancer.keep(&mut four, &["tag"]);
    balancer.keep(&mut four, &["selector", "outboundSelector"]);
    balancer.keep(&mut four, &["fallbackTag"]);
    let name = match &*balancer.word(&["strategy"]) {
        "leastping" => "leastPing",
        "leastload" => "leastLoad",
        "roundrobin" => "roundRobin",
        _ => "random",
    };
    let mut strategy = json!({ "type": name });
    if let Some(Value::Object(settings)) = balancer.get(&["strategySettings"]) {
        let mut settings = settings.clone();
        for (key, value) in &mut settings {
            match (&*key.to_ascii_lowercase(), value) {
                ("maxrtt" | "max_rtt", value) => *value = span(value),
                ("baselines", Value::Array(all)) => all.iter_mut().for_each(|one| *one = span(one)),
                _ => {}
            }
        }
        strategy["settings"] = Value::Object(settings);
    }
    four.insert("strategy".to_owned(), strategy);
    balancer.finish();
    Value::Object(four)
}

pub(super) fn dns(dns: Part<'_>) -> Value {
    let mut four = Map::new();
    let servers = dns.parts(&["nameServer"]).into_iter().map(server);
    let mut servers: Vec<Value> = servers.collect();
    servers.extend(dns.items(&["servers"]).into_iter().cloned());
    if !servers.is_empty() {
        four.insert("servers".to_owned(), servers.into());
    }
    let mut hosts = Map::new();
    for item in dns.items(&["staticHosts"]) {
        // Without a kind in front it is the whole name there.
        let name = match domain(item, "domain") {
            Value::String(text) => text.strip_prefix("full:").unwrap_or(&text).to_owned(),
            _ => continue,
        };
        let to = match item["proxiedDomain"]
            .as_str()
            .or(item["proxied_domain"].as_str())
        {
            Some(other) => other.into(),
            None => item["ip"].clone(),
        };
        hosts.insert(name, to);
    }
    if let Some(Value::Object(more)) = dns.get(&["hosts"]) {
        hosts.extend(more.clone());
    }
    if !hosts.is_empty() {
        four.insert("hosts".to_owned(), Value::Object(hosts));
    }
    for key in [
        "clientIp",
        "tag",
        "disableCache",
        "disableFallback",
        "disableFallbackIfMatch",
    ] {
        dns.keep(&mut four, &[key]);
    }
    strategy(&dns, &mut four);
    dns.finish();
    Value::Object(four)
}

fn strategy(part: &Part<'_>, four: &mut Map<String, Value>) {
    let word = match &*part.word(&["queryStrategy"]) {
        "use_ip" | "useip" => "UseIP",
        "use_ip4" | "useip4" | "useipv4" => "UseIPv4",
        "use_ip6" | "useip6" | "useipv6" => "UseIPv6",
        _ => return,
    };
    four.insert("queryStrategy".to_owned(), word.into());
}

fn server(server: Part<'_>) -> Value {
    let mut four = Map::new();
    if let Some(address) = server.part(&["address"]) {
        address.keep(&mut four, &["address"]);
        address.keep(&mut four, &["port"]);
        let network = address.word(&["network"]);
        if network == "tcp"
            && let Some(Value::String(text)) = four.get_mut("address")
        {
            text.insert_str(0, "tcp://");
        }
    } else {
        server.keep(&mut four, &["address"]);
        server.keep(&mut four, &["port"]);
    }
    let domains = server.items(&["prioritizedDomain", "domains"]).into_iter();
    let sites = server.items(&["geoDomain"]).into_iter();
    let domains: Vec<Value> = domains
        .map(|item| domain(item, "domain"))
        .chain(sites.map(|item| list(item, "geosite")))
        .collect();
    for (key, list) in [
        ("domains", domains),
        ("expectIPs", networks(&server.items(&["geoip"]))),
    ] {
        if !list.is_empty() {
            four.insert(key.to_owned(), list.into());
        }
    }
    for key in ["clientIp", "skipFallback"] {
        server.keep(&mut four, &[key]);
    }
    strategy(&server, &mut four);
    server.finish();
    Value::Object(four)
}
