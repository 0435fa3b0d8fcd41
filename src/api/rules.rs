//! RoutingService: rules and balancers that come and go while sessions run.

use std::sync::Arc;

use tonic::Status;

use super::{Server, unknown};
use crate::config::exposure;
use crate::dialect::messages::{self, MessageError};
use crate::report::Report;
use crate::routing::Balancer;
use crate::wire::app::router::command::{
    BalancerMsg, GetBalancerInfoRequest, GetBalancerInfoResponse, OverrideBalancerTargetRequest,
    OverrideBalancerTargetResponse, OverrideInfo, PrincipleTargetInfo,
};
use crate::wire::xray::app::router::command::{
    AddRuleRequest, AddRuleResponse, ListRuleItem, ListRuleRequest, ListRuleResponse,
    RemoveRuleRequest, RemoveRuleResponse,
};

impl Server {
    pub(super) fn add_rule(&self, request: AddRuleRequest) -> Result<AddRuleResponse, Status> {
        let config = request.config.unwrap_or_default();
        let settings = messages::routing(&config).map_err(|error| match error {
            MessageError::Unreadable(e) => Status::invalid_argument(e.to_string()),
            other => unknown(other),
        })?;
        let report = Report::default();
        exposure::warn_of_open_rules(&self.config(), &settings, &report);
        for warning in report.warnings() {
            tracing::warn!("a rule of the API: {}", warning.text);
        }
        let router = &self.dispatcher.router;
        match request.should_append {
            true => router.append(settings),
            false => router.replace(settings),
        }
        .map_err(unknown)?;
        Ok(AddRuleResponse {})
    }

    pub(super) fn remove_rule(
        &self,
        request: RemoveRuleRequest,
    ) -> Result<RemoveRuleResponse, Status> {
        let router = &self.dispatcher.router;
        router.remove(&request.rule_tag).map_err(unknown)?;
        Ok(RemoveRuleResponse {})
    }

    pub(super) fn list_rule(&self, _: ListRuleRequest) -> Result<ListRuleResponse, Status> {
        let router = self.dispatcher.router.now();
        let rules = router.rules().map(|(rule_tag, outbound)| ListRuleItem {
            tag: outbound.map(ToString::to_string).unwrap_or_default(),
            rule_tag: rule_tag.to_owned(),
        });
        let rules = rules.collect();
        Ok(ListRuleResponse { rules })
    }

    pub(super) fn get_balancer_info(
        &self,
        request: GetBalancerInfoRequest,
    ) -> Result<GetBalancerInfoResponse, Status> {
        let balancer = self.balancer(&request.tag)?;
        let target = balancer.overridden();
        let tags = self.dispatcher.outbounds.tags();
        let candidates = balancer.candidates(tags.iter()).into_iter();
        let balancer = BalancerMsg {
            r#override: Some(OverrideInfo {
                target: target.as_deref().unwrap_or_default().to_owned(),
            }),
            principle_target: Some(PrincipleTargetInfo {
                tag: candidates.map(ToString::to_string).collect(),
            }),
        };
        let balancer = Some(balancer);
        Ok(GetBalancerInfoResponse { balancer })
    }

    /// Xray takes any tag; one that nobody has would lead sessions to the first outbound.
    pub(super) fn override_balancer_target(
        &self,
        request: OverrideBalancerTargetRequest,
    ) -> Result<OverrideBalancerTargetResponse, Status> {
        let balancer = self.balancer(&request.balancer_tag)?;
        let target = request.target;
        if !target.is_empty() && !self.dispatcher.may_be_chosen(&target) {
            let target = target.escape_debug();
            return Err(unknown(format!("no outbound is tagged `{target}`")));
        }
        balancer.set_override(Some(target.into()).filter(|tag: &Arc<str>| !tag.is_empty()));
        Ok(OverrideBalancerTargetResponse {})
    }

    fn balancer(&self, tag: &str) -> Result<Arc<Balancer>, Status> {
        let router = self.dispatcher.router.now();
        let found = router.balancer(tag).cloned();
        // The words of both programs.
        found.ok_or_else(|| unknown("cannot find tag"))
    }
}
