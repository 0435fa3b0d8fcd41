//! The way to services of this process itself, such as the API: it is for its operator, and not for those
//! who may use a proxy here.

use tracing::debug;

use super::route::Chosen;
use super::{Dispatcher, OutboundRef, Session};
use crate::log;

/// Whether an inbound leads to a service of this process itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// It is there for nothing else.
    Always,
    /// By rules that ask for more than the inbound, or round some corners.
    Perhaps,
}

impl Dispatcher {
    /// Whether sessions of the inbound tagged `tag` may come to a service of this process, such as the API;
    /// `None` when there is no such service.
    pub fn leads_to_control(&self, tag: Option<&str>) -> Option<Leads> {
        let is_control = |tag: &str| {
            let outbound = self.outbounds.get(tag);
            outbound.is_some_and(|outbound| outbound.protocol.is_control())
        };
        if !self.outbounds.have_control() {
            return None;
        }
        let leads = tag.is_some_and(|tag| self.router.now().leads_all_streams(tag, is_control));
        Some(if leads { Leads::Always } else { Leads::Perhaps })
    }

    /// A session that came out of this process goes to none of its own services: whoever may use a proxy
    /// would be its operator.
    pub(super) fn keep_out(&self, session: &Session, outbound: &OutboundRef) -> Option<Chosen> {
        let inbound = session.inbound.tag.as_deref().unwrap_or("an inbound");
        debug!(
            id = session.id,
            inbound,
            outbound = outbound.name,
            "kept out"
        );
        log::repeated(&format!(
            "{}: a session that this process itself had sent to `{inbound}` is kept out, only others may come in there",
            **outbound
        ));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Destination, Network};
    use crate::dispatch::route::Asked;
    use crate::dispatch::{Origin, Outbound, Parts};
    use crate::dns::Resolver;
    use crate::protocol::{self, Endpoint, OutboundSettings, freedom, in_process};
    use crate::routing::{Conditions, HealthTables, LiveRouter, Rule, Settings, Target};
    use crate::session::Source;
    use crate::transport;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_session_of_our_own_is_kept_from_a_service_of_ours() {
        let (alive, _) = mpsc::channel(1);
        let dispatcher = Dispatcher::new(parts(&["panel"]), alive.downgrade());
        let aim = "127.0.0.1:1".parse::<Destination>().unwrap().into();
        for (tag, from_here, leads) in [
            ("panel", false, Some("api")),
            ("panel", true, None),
            ("vmess", true, Some("direct")),
        ] {
            let inbound = Origin {
                tag: Some(tag.into()),
                from_here,
                ..Origin::default()
            };
            let session = dispatcher.session(Source::Unix, inbound, None);
            let chosen = dispatcher
                .route(&session, Asked::new(Network::Tcp, &aim))
                .await;
            let outbound = chosen.and_then(|chosen| chosen.outbound.tag.clone());
            assert_eq!(outbound.as_deref(), leads, "{tag}");
        }
        let leads = |tag| dispatcher.leads_to_control(tag);
        assert_eq!(leads(Some("panel")), Some(Leads::Always));
        assert_eq!(leads(Some("vmess")), Some(Leads::Perhaps));
        assert_eq!(leads(None), Some(Leads::Perhaps));
        dispatcher.outbounds.remove("direct").unwrap();
        assert_eq!(dispatcher.outbounds.tags(), [], "for no balancer");
        let session = dispatcher.session(Source::Unix, Origin::default(), None);
        let asked = Asked::new(Network::Tcp, &aim);
        assert!(dispatcher.route(&session, asked).await.is_none());
        dispatcher.outbounds.remove("api").unwrap();
        assert_eq!(leads(Some("panel")), None);
    }

    /// A first outbound, and a service that a rule leads `inbounds` to.
    fn parts(inbounds: &[&str]) -> Parts {
        let freedom = OutboundSettings::Freedom(freedom::OutboundSettings::default());
        let (service, _links) = in_process::Outbound::new();
        let protocols = [
            ("direct", protocol::Outbound::new(freedom)),
            ("api", Endpoint::InProcess(service).into()),
        ];
        let outbounds = protocols.into_iter().map(|(tag, protocol)| {
            let mut outbound = Outbound::new(transport::Outbound::default(), protocol);
            outbound.tag = Some(tag.into());
            outbound
        });
        let tags: Vec<String> = inbounds.iter().map(ToString::to_string).collect();
        let rule = Rule {
            tag: String::new(),
            conditions: Conditions {
                inbounds: tags.into(),
                ..Conditions::default()
            },
            target: Target::Outbound("api".into()).into(),
        };
        let routing = Settings {
            rules: vec![rule],
            ..Settings::default()
        };
        Parts {
            outbounds: outbounds.collect(),
            router: LiveRouter::new(routing, HealthTables::default()),
            resolver: Resolver::default(),
            policy: Default::default(),
            limits: Default::default(),
            metrics: None,
            state: Default::default(),
            count: false,
        }
    }
}
