//! From what was read to any form.

use serde_json::Value;

use super::{Form, Read};
use crate::config::{Config, LogTarget, Outbound};
use crate::dialect::clients::parts::distinguish;
use crate::dialect::clients::{groups, lost};
use crate::dialect::v2ray::json::{Text, tidy};
use crate::dialect::{clash, gost, links, singbox, v2ray};
use crate::routing::Strategy;
use crate::sniffing::{Protocol, Settings};

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// A `config.json`.
    #[default]
    Config,
    /// One in V2Ray 5's own form.
    V5,
    /// sing-box's JSON.
    SingBox,
    /// mihomo's YAML.
    Clash,
    /// Share links.
    Links,
    /// gost's YAML.
    Gost,
}

/// A text in another form.
#[derive(Debug, Default)]
pub struct Written {
    /// It.
    pub text: String,
    /// What this form has no word for, a line for each.
    pub left_out: Vec<String>,
}

/// Writes what was read, `text`, as something else.
///
/// # Errors
///
/// When nothing of it has a word there.
pub fn write(read: &Read, text: &str, target: Target) -> Result<Written, Vec<String>> {
    let mut left_out = match target {
        Target::Config | Target::V5 => Vec::new(),
        _ => read.no_effect.clone(),
    };
    let config = &read.config;
    let text = match target {
        // Nothing is lost of what is one already.
        Target::Config if read.form == Form::V2ray && v2ray::is_text_of_five(text) => {
            let parsed = Text::new(text.to_owned()).parse();
            let value = parsed.map_err(|e| vec![e.to_string()])?.0;
            format!("{:#}\n", v2ray::write_four(&value, &mut left_out))
        }
        Target::Config if read.form == Form::V2ray => {
            tidy(text).map_err(|e| vec![e.to_string()])?
        }
        Target::Config => {
            let value = in_words_of_v2ray(read, &mut left_out);
            tell_own_strategies(config, &mut left_out);
            tell_own_servers(read, &mut left_out);
            tell_newer_words(read, &mut left_out);
            format!("{value:#}\n")
        }
        Target::V5 => {
            let value = match read.form {
                Form::V2ray => {
                    let parsed = Text::new(text.to_owned()).parse();
                    parsed.map_err(|e| vec![e.to_string()])?.0
                }
                _ => {
                    tell_own_servers(read, &mut left_out);
                    in_words_of_v2ray(read, &mut left_out)
                }
            };
            format!("{:#}\n", v2ray::write_five(&value, &mut left_out))
        }
        Target::SingBox => {
            let config = tagged(config, &mut left_out);
            groups::tell_rest(&config, "sing-box", &mut left_out);
            singbox::write(&config, &mut left_out)
        }
        Target::Clash => {
            let config = tagged(config, &mut left_out);
            groups::tell_rest(&config, "Clash", &mut left_out);
            clash::write(&config, &mut left_out)
        }
        Target::Gost => {
            let before = left_out.len();
            let ungrouped;
            let config = match read.form {
                Form::Clash | Form::SingBox => {
                    ungrouped = groups::first_in_place(config, &mut left_out);
                    &ungrouped
                }
                _ => config,
            };
            let text = gost::write(config, &mut left_out);
            // Rules are part of what leads where; what else there is gets lost.
            let mut rest = Config {
                routing: Default::default(),
                ..config.clone()
            };
            // gost keeps no access log.
            if rest.log.access == LogTarget::None {
                rest.log.access = LogTarget::default();
            }
            lost::rest(&rest, "gost", &mut left_out);
            match text.contains("services:") {
                true => text,
                false => return Err(left_out.split_off(before)),
            }
        }
        Target::Links => {
            lost::rest(config, "links", &mut left_out);
            let mut text = String::new();
            if matches!(read.form, Form::V2ray | Form::V2rayList | Form::Gost) {
                let names = config.all_inbounds().map(|inbound| &inbound.name);
                left_out.extend(
                    names.map(|name| format!("{name}: there are links for outbounds alone")),
                );
            }
            for outbound in &config.outbounds {
                match links::write(outbound, links::Form::Json) {
                    Ok(written) => {
                        left_out.extend(written.left_out);
                        text.extend(written.links.iter().map(|link| format!("{link}\n")));
                    }
                    Err(line) => left_out.push(format!("{line}: it is left out")),
                }
            }
            text
        }
    };
    let is_empty = match target {
        Target::Config | Target::V5 | Target::Gost => false,
        Target::Links => text.is_empty(),
        Target::SingBox => !text.contains("\"server\""),
        Target::Clash => !text.contains("server:"),
    };
    if is_empty && config.outbounds.iter().any(Outbound::leads_away) || text.is_empty() {
        left_out.push("nothing that leads to a server can be carried over".to_owned());
        return Err(left_out);
    }
    Ok(Written { text, left_out })
}

/// What a config.json has words for that are mobula's own, of groups.
fn tell_own_strategies(config: &Config, lines: &mut Vec<String>) {
    for balancer in &config.routing.balancers {
        if *balancer.strategy == Strategy::FirstAlive {
            lines.push(format!(
                "`{}`: the strategy `firstAlive` is mobula's own, and V2Ray and Xray refuse it: they have `leastPing`, the fastest",
                balancer.tag.escape_debug()
            ));
        }
    }
}

/// What `dns` has that not every program has a word for.
fn tell_own_servers(read: &Read, lines: &mut Vec<String>) {
    let servers = read.dns.as_ref().and_then(|dns| dns["servers"].as_array());
    let servers: Vec<&Value> = servers.into_iter().flatten().collect();
    let has = |key: &str| servers.iter().any(|server| server.get(key).is_some());
    let addresses = servers
        .iter()
        .map(|server| server.get("address").unwrap_or(server));
    let mut addresses = addresses.filter_map(Value::as_str);
    let has_tls = addresses.any(|address| address.starts_with("tls"));
    for (is_there, text) in [
        (
            has("tag"),
            "a `tag` of one server is a word of Xray's: V2Ray sends the questions to all of them by its other rules",
        ),
        (
            has("finalQuery") || has("unexpectedIPs"),
            "`finalQuery` and `unexpectedIPs` are words of Xray's: V2Ray may ask the next server",
        ),
        (
            has_tls,
            "`tls://` is mobula's own, V2Ray and Xray have DNS over HTTPS",
        ),
    ] {
        if is_there {
            lines.push(format!("dns.servers: {text}"));
        }
    }
}

/// What V2Ray 4 refuses a whole config for.
fn tell_newer_words(read: &Read, lines: &mut Vec<String>) {
    let inbounds = read.config.inbounds.iter();
    let looked_for = inbounds.filter_map(|inbound| inbound.sniffing.as_ref());
    let looked_for: Vec<_> = looked_for.collect();
    let is_quic = |sniffing: &&Settings| sniffing.overriding.contains(&Protocol::Quic);
    let keeps_address = |sniffing: &&Settings| sniffing.route_only && !sniffing.resolves_named;
    if looked_for.iter().any(keeps_address) {
        let text = "sniffing: `noResolve` is mobula's own: in Xray rules about `ip` ask for the addresses of the name that is found as well";
        lines.push(text.to_owned());
    }
    if looked_for.iter().any(is_quic) {
        let text = "sniffing.destOverride: V2Ray 4 does not know `quic` and refuses it, V2Ray 5 and Xray do";
        lines.push(text.to_owned());
    }
    let rules = read
        .routing
        .as_ref()
        .and_then(|routing| routing["rules"].as_array());
    let rules: Vec<&Value> = rules.into_iter().flatten().collect();
    if rules.iter().any(|rule| rule.get("noResolve").is_some()) {
        let text = "routing.rules: `noResolve` is mobula's own: in V2Ray and Xray such a rule holds for the addresses of names as well";
        lines.push(text.to_owned());
    }
    let own = ["ssh", "rdp", "stun", "dtls", "ntp"];
    let is_own = |word: &Value| word.as_str().is_some_and(|word| own.contains(&word));
    let mut protocols = rules.iter().filter_map(|rule| rule["protocol"].as_array());
    if protocols.any(|words| words.iter().any(is_own)) {
        let text = "routing.rules: V2Ray and Xray find no session to be `ssh`, `rdp`, `stun`, `dtls` or `ntp`: there no rule takes it for that";
        lines.push(text.to_owned());
    }
    if rules.iter().any(|rule| rule.get("process").is_some()) {
        let text = "routing.rules: `process` is a word of Xray's: V2Ray passes over it, and refuses a rule with nothing else";
        lines.push(text.to_owned());
    }
}

fn in_words_of_v2ray(read: &Read, lines: &mut Vec<String>) -> Value {
    if let (Form::Gost | Form::V2rayList, Some(value)) = (read.form, &read.routing) {
        return value.clone();
    }
    let mut value = v2ray::write_config(&read.config, lines);
    if let Some(dns) = &read.dns {
        value["dns"] = dns.clone();
    }
    if let Some(routing) = &read.routing {
        value["routing"] = routing.clone();
        let balancers = &read.config.routing.balancers;
        if !balancers.is_empty() {
            value["routing"]["balancers"] = v2ray::write_balancers(balancers);
        }
    }
    value
}

/// Where tags are names, each outbound has one; and the first one leads to a server where rules are not carried over, or
/// nothing would.
fn tagged(config: &Config, lines: &mut Vec<String>) -> Config {
    let mut config = config.clone();
    distinguish(&mut config.outbounds);
    let is_lost = !config.routing.rules.is_empty() && config.routing.default_balancer().is_none();
    let server = config.outbounds.iter().position(Outbound::leads_away);
    if let Some(n) = server.filter(|n| is_lost && *n > 0) {
        config.outbounds[..=n].rotate_right(1);
        let tag = |n: usize| {
            let tag = config.outbounds[n].tag.as_deref().unwrap_or_default();
            tag.escape_debug().to_string()
        };
        lines.push(format!(
            "outbounds: `{}` takes the place of `{}`: without the rules everything would go there",
            tag(0),
            tag(1)
        ));
    }
    config
}
