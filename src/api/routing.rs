//! RoutingService: the rules, asked and watched.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tonic::Status;

use super::watch::{Answers, answers};
use super::{Server, unknown};
use crate::address::{Destination, Host, Network};
use crate::dispatch::Routed;
use crate::dns::Known;
use crate::routing::{Program, RouteInput};
use crate::session::{Attributes, Source};
use crate::wire::app::router::command::{
    RoutingContext, SubscribeRoutingStatsRequest, TestRouteRequest,
};
use crate::wire::common::net::Network as WireNetwork;
use crate::wire::net::{address, bytes};

impl Server {
    pub(super) fn subscribe_routing_stats(
        &self,
        request: SubscribeRoutingStatsRequest,
    ) -> Result<Answers, Status> {
        let wanted = request.field_selectors;
        let events = self.dispatcher.routed.subscribe();
        Ok(answers(events, move |routed| {
            select(context(&routed), &wanted)
        }))
    }

    pub(super) async fn test_route(
        &self,
        request: TestRouteRequest,
    ) -> Result<RoutingContext, Status> {
        let asked = request
            .routing_context
            .ok_or_else(|| unknown("Invalid routing request."))?;
        let ips: Vec<IpAddr> = asked
            .target_i_ps
            .iter()
            .filter_map(|ip| address(ip))
            .collect();
        let host = match &*asked.target_domain {
            "" => ips.first().map(|ip| Host::Ip(*ip)),
            name => Host::parse(name).ok(),
        };
        let to = Destination::new(
            host.unwrap_or(Host::Ip(Ipv4Addr::UNSPECIFIED.into())),
            asked.target_port as u16,
        );
        let end = |ips: &[Vec<u8>], port: u32| {
            let ip = ips.first().and_then(|ip| address(ip));
            let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            Source::Ip(SocketAddr::new(ip, port as u16))
        };
        let text = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        let (inbound, user) = (text(&asked.inbound_tag), text(&asked.user));
        let protocol = text(&asked.protocol);
        let attributes: Attributes = asked.attributes.clone().into_iter().collect();
        let facts = RouteInput {
            inbound: inbound.as_deref(),
            source: end(&asked.source_i_ps, asked.source_port),
            local: end(&asked.local_i_ps, asked.local_port),
            vless_route: asked.vless_route as u16,
            program: Program::Unasked,
            network: match asked.network() {
                WireNetwork::Udp => Network::Udp,
                _ => Network::Tcp,
            },
            to: &to,
            named: None,
            resolves_named: false,
            user: user.as_deref(),
            protocol: protocol.as_deref(),
            attributes: Some(&attributes).filter(|all| !all.is_empty()),
        };
        let resolved = (!ips.is_empty()).then_some(&*ips);
        let picked = self
            .dispatcher
            .ask(&facts, resolved, &mut Known::Unasked, &mut Known::Unasked)
            .await;
        // V2Ray's words for "no rule takes it".
        let (tag, balancer) =
            picked.ok_or_else(|| unknown("not enough information for making a decision"))?;
        if request.publish_result {
            self.dispatcher
                .publish(&facts, tag.clone(), balancer.clone());
        }
        let answer = RoutingContext {
            outbound_tag: tag.as_deref().unwrap_or_default().to_owned(),
            outbound_group_tags: balancer.into_iter().collect(),
            ..asked
        };
        Ok(select(answer, &request.field_selectors))
    }
}

fn context(routed: &Routed) -> RoutingContext {
    let (ips, domain) = match &routed.to.host {
        Host::Ip(ip) => (vec![bytes(*ip)], String::new()),
        Host::Domain(name) => (Vec::new(), name.clone()),
    };
    let end = |end| match end {
        Source::Ip(addr) => (vec![bytes(addr.ip())], addr.port().into()),
        Source::Unix => (Vec::new(), 0),
    };
    let (source_i_ps, source_port) = end(routed.source);
    let (local_i_ps, local_port) = end(routed.local);
    let network = match routed.network {
        Network::Tcp => WireNetwork::Tcp,
        Network::Udp => WireNetwork::Udp,
    };
    RoutingContext {
        inbound_tag: routed.inbound.clone().unwrap_or_default(),
        network: network.into(),
        source_i_ps,
        target_i_ps: ips,
        local_i_ps,
        source_port,
        local_port,
        // Xray does not tell it.
        vless_route: 0,
        target_port: routed.to.port.into(),
        target_domain: domain,
        protocol: routed.protocol.clone().unwrap_or_default(),
        user: routed.user.clone().unwrap_or_default(),
        attributes: routed.attributes.clone().into_iter().collect(),
        outbound_group_tags: routed.balancer.clone().into_iter().collect(),
        outbound_tag: routed.outbound.as_deref().unwrap_or_default().to_owned(),
    }
}

/// Leaves the fields whose names begin with one of `wanted`; without any, all.
fn select(context: RoutingContext, wanted: &[String]) -> RoutingContext {
    let is = |field: &str| wanted.is_empty() || wanted.iter().any(|w| field.starts_with(&**w));
    let mut out = RoutingContext::default();
    macro_rules! take {
        ($($field:ident: $name:literal),*) => {
            $(if is($name) { out.$field = context.$field; })*
        };
    }
    take! {
        inbound_tag: "inbound", network: "network", source_i_ps: "ip_source", target_i_ps: "ip_target",
        local_i_ps: "ip_local", source_port: "port_source", target_port: "port_target",
        local_port: "port_local", target_domain: "domain",
        protocol: "protocol", user: "user", attributes: "attributes",
        outbound_group_tags: "outbound_group", outbound_tag: "outbound"
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_the_beginning_of_a_fields_name() {
        let context = || RoutingContext {
            source_i_ps: vec![vec![1, 2, 3, 4]],
            target_port: 5,
            outbound_tag: "o".to_owned(),
            ..RoutingContext::default()
        };
        assert_eq!(select(context(), &[]), context());
        let ip = select(context(), &["ip".to_owned()]);
        assert_eq!((ip.source_i_ps.len(), ip.target_port), (1, 0));
        let outbound = select(context(), &["outbound".to_owned()]);
        assert_eq!((&*outbound.outbound_tag, outbound.target_port), ("o", 0));
    }
}
