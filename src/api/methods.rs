//! From the name of a method to what answers it.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};

use super::raw::{RawCodec, read, written};
use super::watch::Answers;
use super::{MAX_MESSAGE, Server, reflection};
use crate::config::Services;

/// By whose name a service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V2ray,
    Xray,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Handler,
    Logger,
    Observatory,
    Reflection,
    Routing,
    Stats,
}

impl Service {
    const ALL: [Self; 6] = [
        Self::Handler,
        Self::Logger,
        Self::Observatory,
        Self::Reflection,
        Self::Routing,
        Self::Stats,
    ];

    /// The service of a full name.
    pub(super) fn find(name: &str) -> Option<(Family, Self)> {
        if reflection::NAMES.contains(&name) {
            return Some((Family::Xray, Self::Reflection));
        }
        let mut all = Self::ALL.into_iter();
        all.find_map(|service| {
            let [v2ray, xray] = service.names()?;
            if name == v2ray {
                return Some((Family::V2ray, service));
            }
            (name == xray).then_some((Family::Xray, service))
        })
    }

    /// V2Ray's and Xray's full name of it.
    fn names(self) -> Option<[&'static str; 2]> {
        Some(match self {
            Self::Handler => [
                "v2ray.core.app.proxyman.command.HandlerService",
                "xray.app.proxyman.command.HandlerService",
            ],
            Self::Logger => [
                "v2ray.core.app.log.command.LoggerService",
                "xray.app.log.command.LoggerService",
            ],
            Self::Observatory => [
                "v2ray.core.app.observatory.command.ObservatoryService",
                "xray.core.app.observatory.command.ObservatoryService",
            ],
            Self::Routing => [
                "v2ray.core.app.router.command.RoutingService",
                "xray.app.router.command.RoutingService",
            ],
            Self::Stats => [
                "v2ray.core.app.stats.command.StatsService",
                "xray.app.stats.command.StatsService",
            ],
            Self::Reflection => return None,
        })
    }

    /// What `api.services` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Handler => "HandlerService",
            Self::Logger => "LoggerService",
            Self::Observatory => "ObservatoryService",
            Self::Reflection => "ReflectionService",
            Self::Routing => "RoutingService",
            Self::Stats => "StatsService",
        }
    }

    pub(super) fn is_in(self, services: Services) -> bool {
        match self {
            Self::Handler => services.handler,
            Self::Logger => services.logger,
            Self::Observatory => services.observatory,
            Self::Reflection => services.reflection,
            Self::Routing => services.routing,
            Self::Stats => services.stats,
        }
    }

    /// The full names of all that are in `services`.
    pub(super) fn all_names(services: Services) -> impl Iterator<Item = &'static str> {
        let named = Self::ALL.into_iter();
        let named = named.filter(move |service| service.is_in(services));
        let reflection = reflection::NAMES.into_iter();
        named
            .filter_map(Self::names)
            .flatten()
            .chain(reflection.filter(move |_| services.reflection))
    }
}

/// Reads the request, and answers it.
pub(super) async fn call(
    server: Arc<Server>,
    family: Family,
    service: Service,
    method: String,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut grpc = Grpc::new(RawCodec).apply_max_message_size_config(Some(MAX_MESSAGE), None);
    let call = Call {
        server,
        family,
        service,
        method,
    };
    match (service, call.method.as_str()) {
        (Service::Reflection, "ServerReflectionInfo") => grpc.streaming(call, request).await,
        (Service::Logger, "FollowLog") | (Service::Routing, "SubscribeRoutingStats") => {
            grpc.server_streaming(call, request).await
        }
        _ => grpc.unary(call, request).await,
    }
}

struct Call {
    server: Arc<Server>,
    family: Family,
    service: Service,
    method: String,
}

impl Call {
    /// The one answer to one request.
    async fn answer(&self, bytes: &Bytes) -> Result<Bytes, Status> {
        use Service::{Handler, Logger, Observatory, Routing, Stats};
        let (server, family) = (&*self.server, self.family);
        macro_rules! one {
            ($answer:expr) => {
                Ok(written(&$answer?))
            };
        }
        match (self.service, self.method.as_str()) {
            (Stats, "GetStats") => one!(server.get_stats(read(bytes)?, family)),
            (Stats, "QueryStats") => one!(server.query_stats(read(bytes)?)),
            (Stats, "GetSysStats") => one!(server.get_sys_stats(read(bytes)?)),
            (Stats, "GetStatsOnline") => one!(server.get_stats_online(read(bytes)?, family)),
            (Stats, "GetStatsOnlineIpList") => {
                one!(server.get_stats_online_ip_list(read(bytes)?, family))
            }
            (Stats, "GetAllOnlineUsers") => one!(server.get_all_online_users(read(bytes)?)),
            (Stats, "GetUsersStats") => one!(server.get_users_stats(read(bytes)?)),
            (Handler, "AddInbound") => one!(server.add_inbound(read(bytes)?).await),
            (Handler, "RemoveInbound") => one!(server.remove_inbound(read(bytes)?).await),
            (Handler, "AlterInbound") => one!(server.alter_inbound(read(bytes)?).await),
            (Handler, "ListInbounds") => one!(server.list_inbounds(read(bytes)?)),
            (Handler, "GetInboundUsers") => one!(server.get_inbound_users(read(bytes)?)),
            (Handler, "GetInboundUsersCount") => {
                one!(server.get_inbound_users_count(read(bytes)?))
            }
            (Handler, "AddOutbound") => one!(server.add_outbound(read(bytes)?).await),
            (Handler, "RemoveOutbound") => one!(server.remove_outbound(read(bytes)?)),
            (Handler, "AlterOutbound") => one!(server.alter_outbound(read(bytes)?)),
            (Handler, "ListOutbounds") => one!(server.list_outbounds(read(bytes)?)),
            (Routing, "TestRoute") => one!(server.test_route(read(bytes)?).await),
            (Routing, "GetBalancerInfo") => one!(server.get_balancer_info(read(bytes)?)),
            (Routing, "OverrideBalancerTarget") => {
                one!(server.override_balancer_target(read(bytes)?))
            }
            (Routing, "AddRule") => one!(server.add_rule(read(bytes)?)),
            (Routing, "RemoveRule") => one!(server.remove_rule(read(bytes)?)),
            (Routing, "ListRule") => one!(server.list_rule(read(bytes)?)),
            (Logger, "RestartLogger") => one!(server.restart_logger(read(bytes)?)),
            (Observatory, "GetOutboundStatus") => {
                one!(server.get_outbound_status(read(bytes)?))
            }
            (service, method) => Err(Status::unimplemented(format!(
                "unknown method {} for service {}",
                method.escape_debug(),
                service.name()
            ))),
        }
    }

    /// The answers that go on.
    fn answers(&self, bytes: &Bytes) -> Result<Answers, Status> {
        match self.service {
            Service::Logger => self.server.follow_log(read(bytes)?),
            _ => self.server.subscribe_routing_stats(read(bytes)?),
        }
    }
}

type Answering<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

impl UnaryService<Bytes> for Call {
    type Response = Bytes;
    type Future = Answering<Bytes>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let call = self.taken();
        Box::pin(async move {
            let answer = call.answer(&request.into_inner()).await?;
            Ok(tonic::Response::new(answer))
        })
    }
}

impl ServerStreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Answering<Answers>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let call = self.taken();
        Box::pin(async move {
            let answers = call.answers(&request.into_inner())?;
            Ok(tonic::Response::new(answers))
        })
    }
}

impl StreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Answering<Answers>;

    fn call(&mut self, request: tonic::Request<tonic::Streaming<Bytes>>) -> Self::Future {
        let services = self.server.config().services;
        Box::pin(async move {
            let answers = reflection::answers(services, request.into_inner());
            Ok(tonic::Response::new(answers))
        })
    }
}

impl Call {
    /// tonic calls a service once, and by reference.
    fn taken(&mut self) -> Self {
        Self {
            server: self.server.clone(),
            family: self.family,
            service: self.service,
            method: std::mem::take(&mut self.method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_both_names() {
        for (name, found) in [
            (
                "v2ray.core.app.stats.command.StatsService",
                Some((Family::V2ray, Service::Stats)),
            ),
            (
                "xray.app.stats.command.StatsService",
                Some((Family::Xray, Service::Stats)),
            ),
            (
                "xray.core.app.observatory.command.ObservatoryService",
                Some((Family::Xray, Service::Observatory)),
            ),
            (
                "grpc.reflection.v1alpha.ServerReflection",
                Some((Family::Xray, Service::Reflection)),
            ),
            ("xray.app.stats.command.Stats", None),
            ("", None),
        ] {
            assert_eq!(Service::find(name), found, "{name}");
        }
    }

    #[test]
    fn what_is_in_services_is_what_is_named() {
        let services = Services {
            stats: true,
            reflection: true,
            ..Services::default()
        };
        let names: Vec<_> = Service::all_names(services).collect();
        assert_eq!(
            names,
            [
                "v2ray.core.app.stats.command.StatsService",
                "xray.app.stats.command.StatsService",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ]
        );
    }
}
