//! What becomes of services and chains.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::bypass;
use super::chain::Chain;
use crate::config::{Config, Inbound, Log, Outbound};
use crate::dialect::names::Names;
use crate::policy::{Policy, Seconds};
use crate::protocol::{OutboundSettings, blackhole, freedom};
use crate::report::Place;
use crate::reverse::{self, PublishSettings};
use crate::routing::{self, BalancerSettings, Conditions, Rule, Target};
use crate::{dns, transport};

/// What was made of services and chains so far.
pub(super) struct Made {
    pub(super) names: Names,
    pub(super) inbounds: Vec<Inbound>,
    pub(super) outbounds: Vec<Outbound>,
    pub(super) balancers: Vec<BalancerSettings>,
    pub(super) chains: HashMap<String, Chain>,
    pub(super) publish: Vec<PublishSettings>,
    /// How long sessions may be silent.
    policy: Policy,
    rules: Vec<Rule>,
    texts: Vec<Json>,
}

/// The outbound of what goes through no chain, and that of what goes nowhere.
pub(super) const DIRECT: &str = "direct";
pub(super) const BLOCKED: &str = "blocked";

impl Made {
    /// Nothing yet; what services listen on may be one of `names`.
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            inbounds: Vec::new(),
            outbounds: Vec::new(),
            balancers: Vec::new(),
            chains: HashMap::new(),
            publish: Vec::new(),
            policy: Policy::patient(),
            rules: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// The settings, and `routing` of them.
    pub(super) fn into_config(self, log: Log) -> (Config, Json) {
        let balancers: Vec<Json> = self.balancers.iter().map(balancer).collect();
        let mut routing = json!({"rules": self.texts});
        if !balancers.is_empty() {
            routing["balancers"] = balancers.into();
        }
        let direct = OutboundSettings::Freedom(freedom::OutboundSettings::default());
        let blocked = OutboundSettings::Blackhole(blackhole::OutboundSettings::default());
        let mut outbounds = vec![plain(DIRECT, direct), plain(BLOCKED, blocked)];
        outbounds.extend(self.outbounds);
        let config = Config {
            log,
            policy: self.policy,
            inbounds: self.inbounds,
            outbounds,
            routing: routing::Settings {
                rules: self.rules,
                balancers: self.balancers,
                ..routing::Settings::default()
            },
            reverse: reverse::Settings {
                publish: self.publish,
                ..reverse::Settings::default()
            },
            ..Config::default()
        };
        (config, routing)
    }

    /// The level whose sessions may be silent for so long.
    pub(super) fn level(&mut self, idle: Duration) -> u32 {
        let idle = Seconds(u32::try_from(idle.as_secs()).unwrap_or(u32::MAX).max(1));
        let mut levels = self.policy.levels.iter();
        if let Some((number, _)) = levels.find(|(_, level)| level.limits.idle == idle) {
            return *number;
        }
        let mut level = self.policy.level(0).clone();
        level.limits.idle = idle;
        let number = self.policy.levels.len() as u32;
        self.policy.levels.insert(number, level);
        number
    }

    /// What chooses, of this tag.
    pub(super) fn balancer(&self, tag: &str) -> Option<&BalancerSettings> {
        self.balancers.iter().find(|one| one.tag == tag)
    }

    /// Whether the server of an outbound may have a target of its own, whatever it is asked for.
    pub(super) fn knows_target(&self, tag: &str) -> bool {
        let mut outbounds = self.outbounds.iter();
        let found = outbounds.find(|one| one.tag.as_deref() == Some(tag));
        let leads = |outbound: &Outbound| {
            let protocol = &outbound.protocol;
            matches!(
                protocol,
                OutboundSettings::Freedom(_) | OutboundSettings::Relay(_)
            )
        };
        found.is_some_and(leads)
    }

    /// Sessions of `service` for which `conditions` hold go to `target`.
    pub(super) fn rule(&mut self, service: &str, asked: bypass::Asked, target: Target) {
        let mut text = asked.text;
        text.insert("type".to_owned(), "field".into());
        text.insert("inboundTag".to_owned(), json!([service]));
        match &target {
            Target::Outbound(tag) => text.insert("outboundTag".to_owned(), json!(&**tag)),
            Target::Balancer(tag) => text.insert("balancerTag".to_owned(), json!(tag)),
        };
        self.texts.push(text.into());
        self.rules.push(Rule {
            tag: String::new(),
            conditions: Conditions {
                inbounds: vec![service.to_owned()].into(),
                ..asked.conditions
            },
            target: target.into(),
        });
    }
}

/// As a config.json has it. What has no word there is told by `v2ray::write_config`.
fn balancer(balancer: &BalancerSettings) -> Json {
    let strategy = match *balancer.strategy {
        routing::Strategy::RoundRobin(_) => "roundRobin",
        _ => "random",
    };
    json!({"tag": balancer.tag, "selector": *balancer.selectors, "strategy": {"type": strategy}})
}

pub(super) fn plain(tag: &str, protocol: OutboundSettings) -> Outbound {
    Outbound {
        at: Place::default(),
        name: tag.to_owned(),
        tag: Some(tag.into()),
        transport: transport::ClientSettings::default(),
        protocol,
        through: None,
        strategy: dns::Strategy::AsIs,
        must_resolve: false,
        mux: None,
        plugin_mux: None,
    }
}
