//! A config that was written by hand.

use super::{Tags, inbounds, observers, outbounds, reverse, routing, ways_round};
use crate::config::browser;
use crate::config::{Config, Draft, Inbound, Outbound, Through};
use crate::report::{Path, Problem, Report};

impl Config {
    /// What contradicts itself: two parts with one tag or at one place, names that nobody has, outbounds that go through
    /// themselves. A dialect has said so already of what it has read.
    pub fn mistakes(&self) -> Vec<Problem> {
        let report = Report::default();
        let list = |name: &str, i| Path::default().key(name).index(i);
        let all = self.all_inbounds().enumerate();
        let ins: Vec<_> = all.map(|(i, x)| inbound(list("inbounds", i), x)).collect();
        let all = self.outbounds.iter().enumerate();
        let outs: Vec<_> = all
            .map(|(i, x)| outbound(list("outbounds", i), x))
            .collect();
        let api = self.api.as_ref().map(|api| &*api.tag);
        let tags = Tags::of(&ins, &outs, &self.dns, &self.reverse, api);
        inbounds(&ins, &report);
        outbounds(&outs, &self.reverse, &report);
        ways_round(&outs, &self.routing, &report);
        reverse::mistakes(&self.reverse, &outs, &report);
        for draft in &outs {
            let through = draft.through.as_ref().map(|through| &*through.at);
            if let Some(outbound) = &draft.part {
                browser::check(outbound, through, self.browser.as_ref(), &report);
            }
        }
        observers(&self.observers, &tags, &report);
        routing(&self.routing, &self.observers, &tags, &report);
        report.errors()
    }
}

fn inbound(at: Path, inbound: &Inbound) -> Draft<Inbound> {
    Draft {
        at: at.into(),
        tag: inbound.tag.clone(),
        through: None,
        part: Some(inbound.clone()),
    }
}

fn outbound(at: Path, outbound: &Outbound) -> Draft<Outbound> {
    let through = outbound.through.clone().map(|through| Through {
        at: at.key("through").into(),
        ..through
    });
    Draft {
        at: at.into(),
        tag: outbound.tag.clone(),
        through,
        part: Some(outbound.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{OutboundSettings, freedom};
    use crate::routing::{Rule, Target};
    use crate::transport;

    #[test]
    fn what_contradicts_itself_is_told_with_its_place() {
        let outbound = |tag: &str, through: Option<&str>| Outbound {
            at: Default::default(),
            name: tag.to_owned(),
            tag: Some(tag.into()),
            transport: transport::ClientSettings::default(),
            protocol: OutboundSettings::Freedom(freedom::OutboundSettings::default()),
            through: through.map(|tag| Through {
                at: Default::default(),
                tag: tag.into(),
            }),
            strategy: Default::default(),
            must_resolve: false,
            mux: None,
            plugin_mux: None,
        };
        let mut config = Config {
            outbounds: vec![outbound("a", Some("b")), outbound("b", None)],
            ..Config::default()
        };
        assert_eq!(config.mistakes(), []);
        config.outbounds.push(outbound("b", None));
        config.outbounds[1].through = Some(Through {
            at: Default::default(),
            tag: "a".into(),
        });
        config.routing.rules.push(Rule {
            tag: String::new(),
            conditions: Default::default(),
            target: Target::Balancer("nobody".to_owned()).into(),
        });
        let said: Vec<String> = config.mistakes().iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("outbounds[2].tag: `b` is the tag of"));
        assert!(said[1].starts_with("outbounds[0].through: goes round in a circle"));
    }
}
