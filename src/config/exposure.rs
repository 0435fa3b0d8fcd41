//! What a config lays open to strangers, or to the users of a server. All of it may be meant, so it is told and no more.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Api, Inbound, Listen, Metrics, Outbound};
use crate::address::Host;
use crate::protocol::Unsealed;
use crate::report::{Path, Report};
use crate::routing::{Conditions, Rule, Settings, Target};

/// Who may come to the API by an inbound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leads {
    Nobody,
    /// Those whom a rule names.
    Chosen,
    /// Everybody whom the inbound lets in.
    All,
}

/// A proxy that anybody may use. A private address is no protection: that of a rented machine often is one, with a
/// public one in front.
pub(crate) fn warn_of_open_proxy(inbound: &Inbound, report: &Report) {
    let traits = inbound.protocol.traits();
    if let Some(ip) = outside(&inbound.listen)
        && traits.is_proxy_for_anybody()
        && !inbound.transport.requires_client_certificate()
    {
        let text = format!(
            "whoever reaches {ip} may use this proxy: set `listen` to 127.0.0.1, or {}",
            traits.auth_hint
        );
        report.warn(&inbound.at, text);
    }
}

/// Users whose payload is not sealed by anything. Another outbound in between (`proxySettings`) seals the way to its
/// own server alone.
pub(crate) fn warn_of_readable(outbound: &Outbound, report: &Report) {
    if outbound.transport.has_tls() || outbound.transport.stays_here() {
        return;
    }
    for Unsealed {
        at,
        says,
        instead,
        server,
    } in outbound.protocol.unsealed()
    {
        if !is_here(server) {
            let instead = instead.map_or_else(String::new, |word| format!("`{word}`, or "));
            let text = format!(
                "`{says}` without TLS: what passes on the way to {server} can be read and changed by everybody in between, expected {instead}`security: tls` in `streamSettings`"
            );
            report.warn(at, text);
        }
    }
}

/// Whoever reaches the API may add users of their own, and take others away. Whether there was cause to warn.
pub(crate) fn warn_of_api(inbound: &Inbound, leads: Leads, report: &Report) -> bool {
    let Some(ip) = outside(&inbound.listen) else {
        return false;
    };
    let known =
        inbound.protocol.traits().requires_auth || inbound.transport.requires_client_certificate();
    match (leads, known) {
        (Leads::Nobody, _) | (Leads::Chosen, true) => return false,
        (_, false) => warn_of_open_api(&inbound.at, ip, report),
        (Leads::All, true) => report.warn(&inbound.at, format!(
            "leads to the API and listens on {ip}: every user of this inbound can read and change everything, expected a rule with its own `inboundTag`, or with `user`"
        )),
    }
    true
}

pub(crate) fn warn_of_open_api(at: &Path, ip: IpAddr, report: &Report) {
    let text = format!(
        "leads to the API and listens on {ip}: whoever reaches it can read and change everything, expected 127.0.0.1"
    );
    report.warn(at, text);
}

/// Whoever reads the metrics knows who the users are; without a token only this machine may.
pub(crate) fn check_metrics(metrics: &Metrics, inbound: &Inbound, leads: Leads, report: &Report) {
    if leads != Leads::Nobody
        && metrics.token.is_none()
        && let Some(ip) = outside(&inbound.listen)
    {
        let text = format!(
            "{} leads here and listens on {ip}: whoever comes in there could read who uses this server and how much, expected a `token`, or 127.0.0.1",
            *inbound.at
        );
        report.error(&metrics.at, text);
    }
}

/// Warns of a rule by which a user of any inbound comes to the API.
pub(crate) fn warn_of_open_rules(api: &Api, routing: &Settings, report: &Report) {
    let is_open = |rule: &Rule| {
        let Conditions {
            inbounds,
            users,
            sources,
            ..
        } = &rule.conditions;
        let asks_who = !inbounds.is_empty() || !users.is_empty() || sources.is_some();
        !asks_who && matches!(&*rule.target, Target::Outbound(to) if *to == api.tag)
    };
    if routing.rules.iter().any(is_open) {
        report.warn(
            &api.at,
            "a rule leads sessions of every inbound here: whoever may use one can read and change everything, expected an `inboundTag` in it",
        );
    }
}

/// Whom the rules lead from `inbound` to the outbound tagged `api`; `loopbacks` are the tags of outbounds that
/// send sessions through the rules again, with the `inboundTag` that they have then.
pub(crate) fn leads(
    routing: &Settings,
    inbound: &Inbound,
    api: &str,
    loopbacks: &[(Arc<str>, Arc<str>)],
) -> Leads {
    let mut names = vec![inbound.tag.clone()];
    let mut met = HashSet::new();
    let mut found = Leads::Nobody;
    while let Some(name) = names.pop() {
        if !met.insert(name.clone()) {
            continue;
        }
        for Rule {
            conditions, target, ..
        } in &routing.rules
        {
            if !takes(conditions, name.as_deref(), inbound) {
                continue;
            }
            let to = |tag: &str| match &**target {
                Target::Outbound(to) => **to == *tag,
                Target::Balancer(name) => routing.balancer(name).is_some_and(|balancer| {
                    let falls_back = balancer.fallback.as_ref().is_some_and(|to| ***to == *tag);
                    balancer.selects(tag) || falls_back
                }),
            };
            if to(api) {
                let chosen = !conditions.inbounds.is_empty() || !conditions.users.is_empty();
                found = found.max(if chosen { Leads::Chosen } else { Leads::All });
            }
            let again = loopbacks.iter().filter(|(outbound, _)| to(outbound));
            names.extend(again.map(|(_, name)| Some(name.clone())));
        }
    }
    found
}

/// Whether a rule may take a stranger's session that came in under `name`.
fn takes(conditions: &Conditions, name: Option<&str>, inbound: &Inbound) -> bool {
    let inbounds = &conditions.inbounds;
    let named = inbounds.is_empty() || inbounds.iter().any(|tag| Some(tag.as_str()) == name);
    // Who has no name is none of `user`; whoever wrote `source` has thought of who may come.
    let has_user = conditions.users.is_empty() || inbound.protocol.traits().requires_auth;
    named && has_user && conditions.sources.is_none()
}

/// The address of an inbound that others than this machine's own programs may reach.
pub(super) fn outside(listen: &Listen) -> Option<IpAddr> {
    match listen {
        Listen::Ip(ip) => Some(*ip).filter(|ip| !ip.to_canonical().is_loopback()),
        Listen::Unix(_) | Listen::Abstract(_) | Listen::Published => None,
    }
}

pub(super) fn is_here(host: &Host) -> bool {
    match host {
        Host::Ip(ip) => ip.to_canonical().is_loopback(),
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::dialect::v2ray::{Format, Input, load};

    fn warnings(config: &Value) -> Vec<String> {
        let text = Input::Text {
            name: "c.json".to_owned(),
            text: config.to_string(),
        };
        let loaded = load(&[text], Format::V4);
        assert_eq!(loaded.errors, []);
        loaded.warnings.iter().map(ToString::to_string).collect()
    }

    fn of_inbound(inbound: Value) -> Vec<String> {
        warnings(&json!({"inbounds": [inbound], "outbounds": [{"protocol": "freedom"}]}))
    }

    fn of_outbound(outbound: Value) -> Vec<String> {
        let inbound = json!({"listen": "127.0.0.1", "port": 1080, "protocol": "socks"});
        warnings(&json!({"inbounds": [inbound], "outbounds": [outbound]}))
    }

    #[test]
    fn a_proxy_for_everybody_is_told_wherever_others_reach_it() {
        for protocol in ["socks", "http"] {
            let at = |listen: &str| {
                of_inbound(json!({"listen": listen, "port": 1080, "protocol": protocol}))
            };
            for open in [
                "0.0.0.0",
                "::",
                "192.168.1.1",
                "203.0.113.5",
                "2001:db8::1",
                "::ffff:10.0.0.1",
            ] {
                let told = at(open);
                assert!(
                    told.len() == 1 && told[0].starts_with("inbounds[0]: whoever reaches "),
                    "{open}: {told:?}"
                );
            }
            for own in [
                "127.0.0.1",
                "127.9.9.9",
                "::1",
                "::ffff:127.0.0.1",
                "localhost",
                "/run/a.sock",
                "@a",
            ] {
                assert_eq!(at(own), [""; 0], "{own}");
            }
            // V2Ray listens everywhere where nothing is said.
            assert_eq!(
                of_inbound(json!({"port": 1080, "protocol": protocol})).len(),
                1
            );
        }
        let accounts = json!({"auth": "password", "accounts": [{"user": "a", "pass": "b"}]});
        for protocol in ["socks", "http"] {
            let closed = json!({"port": 1080, "protocol": protocol, "settings": accounts});
            assert_eq!(of_inbound(closed), [""; 0]);
        }
        // Accounts that nobody is asked for.
        let settings = json!({"auth": "noauth", "accounts": [{"user": "a", "pass": "b"}]});
        let open = of_inbound(json!({"port": 1080, "protocol": "socks", "settings": settings}));
        assert!(open[0].ends_with("`auth: password`"), "{open:?}");
    }

    #[test]
    fn an_unsealed_user_without_tls_is_told_with_the_place() {
        let user = |security: &str| json!([{"id": "7ab3c5f0-52a1-4b3e-9d0c-3c2f1e0d9a87", "security": security}]);
        let vnext = |address: &str, security: &str| {
            json!({"protocol": "vmess", "settings": {"vnext": [
                {"address": "127.0.0.1", "port": 1, "users": user("none")},
                {"address": address, "port": 1, "users": user(security)},
            ]}})
        };
        for security in ["none", "zero", "Zero"] {
            let told = of_outbound(vnext("192.0.2.1", security));
            let start = "outbounds[0].settings.vnext[1].users[0].security: `";
            assert!(told.len() == 1 && told[0].starts_with(start), "{told:?}");
            assert!(told[0].contains("without TLS"), "{told:?}");
            for address in ["127.0.0.1", "::1", "localhost"] {
                assert_eq!(of_outbound(vnext(address, security)), [""; 0]);
            }
            let mut sealed = vnext("a.test", security);
            sealed["streamSettings"] = json!({"network": "ws"});
            assert_eq!(
                of_outbound(sealed.clone()).len(),
                1,
                "a WebSocket seals nothing"
            );
            sealed["streamSettings"]["security"] = json!("tls");
            assert_eq!(of_outbound(sealed), [""; 0]);
        }
        for security in ["auto", "aes-128-gcm", "chacha20-poly1305", ""] {
            assert_eq!(of_outbound(vnext("a.test", security)), [""; 0]);
        }
        let flat = json!({"protocol": "vmess", "settings": {
            "address": "a.test", "port": 1, "security": "none",
            "id": "7ab3c5f0-52a1-4b3e-9d0c-3c2f1e0d9a87",
        }});
        let told = of_outbound(flat);
        assert!(
            told[0].starts_with("outbounds[0].settings.security: `none`"),
            "{told:?}"
        );
    }

    fn api(listen: &str, protocol: &str, rules: Value) -> Vec<String> {
        let settings = match protocol {
            "vmess" => {
                json!({"clients": [{"id": "7ab3c5f0-52a1-4b3e-9d0c-3c2f1e0d9a87", "email": "a"}]})
            }
            _ => json!({"address": "127.0.0.1"}),
        };
        warnings(&json!({
            "api": {"tag": "api", "services": ["StatsService"]},
            "inbounds": [{"tag": "in", "listen": listen, "port": 1, "protocol": protocol, "settings": settings}],
            "outbounds": [
                {"tag": "direct", "protocol": "freedom"},
                {"tag": "again", "protocol": "loopback", "settings": {"inboundTag": "inner"}},
            ],
            "routing": {
                "rules": rules,
                "balancers": [{"tag": "any", "selector": ["ap"]}],
            },
        }))
    }

    #[test]
    fn every_way_to_the_api_from_outside_is_told() {
        let to_api = |condition: Value| {
            let mut rule = json!({"type": "field", "outboundTag": "api"});
            for (key, value) in condition.as_object().unwrap() {
                rule[key] = value.clone();
            }
            json!([rule])
        };
        let told = "inbounds[0]: leads to the API and listens on 0.0.0.0: whoever";
        let ways = [
            to_api(json!({"inboundTag": ["in"]})),
            to_api(json!({"network": "tcp"})),
            to_api(json!({"domain": ["full:api"]})),
            json!([{"type": "field", "inboundTag": ["in"], "balancerTag": "any"}]),
            json!([
                {"type": "field", "inboundTag": ["in"], "outboundTag": "again"},
                {"type": "field", "inboundTag": ["inner"], "outboundTag": "api"},
            ]),
        ];
        for rules in ways {
            let all = api("0.0.0.0", "dokodemo-door", rules.clone());
            assert!(
                all.len() == 1 && all[0].starts_with(told),
                "{rules}: {all:?}"
            );
            // From here a web server in front may come for others, wherever no rule asks by what inbound.
            let own = api("127.0.0.1", "dokodemo-door", rules.clone());
            let asks = rules[0].get("inboundTag").is_some();
            assert!(own.iter().all(|line| line.starts_with("api: a rule")));
            assert_eq!(own.is_empty(), asks, "{rules}: {own:?}");
        }
        for condition in [json!({"user": ["a"]}), json!({"source": ["10.0.0.0/8"]})] {
            let all = api("0.0.0.0", "dokodemo-door", to_api(condition));
            assert!(all.iter().all(|line| !line.contains("API")), "{all:?}");
        }
    }

    #[test]
    fn the_users_of_a_server_are_let_to_the_api_by_name_alone() {
        let rule =
            |key: &str, value: Value| json!([{"type": "field", "outboundTag": "api", key: value}]);
        assert_eq!(
            api("0.0.0.0", "vmess", rule("inboundTag", json!(["in"]))),
            [""; 0]
        );
        assert_eq!(api("0.0.0.0", "vmess", rule("user", json!(["a"]))), [""; 0]);
        let all = api("0.0.0.0", "vmess", rule("port", json!(8080)));
        assert!(
            all.len() == 1
                && all[0].contains("every user of this inbound can read and change everything"),
            "{all:?}"
        );
    }
}
