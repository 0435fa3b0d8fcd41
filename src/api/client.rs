//! The other end: asks an API, ours or V2Ray's.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::{DecodeError, Message};
use serde_json::Value;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::{Service, StdError};
use tonic::{Code, Status};

use super::raw::RawCodec;
use crate::wire::app::log::command::{FollowLogRequest, FollowLogResponse, RestartLoggerRequest};
use crate::wire::app::proxyman::command::{
    AddUserOperation, AlterInboundRequest, RemoveInboundRequest, RemoveOutboundRequest,
    RemoveUserOperation,
};
use crate::wire::app::router::command::{
    BalancerMsg, GetBalancerInfoRequest, GetBalancerInfoResponse,
};
use crate::wire::app::stats::command::{
    GetStatsRequest, GetStatsResponse, QueryStatsRequest, QueryStatsResponse, SysStatsRequest,
};
use crate::wire::common::protocol::User;
use crate::wire::common::serial::TypedMessage;
use crate::wire::{descriptors, json, typed};

pub use super::methods::Family;
pub use crate::wire::app::stats::command::{Stat, SysStatsResponse};

/// A connection to an API.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    origin: Uri,
}

/// What [`Client::query_stats`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub patterns: Vec<String>,
    pub regexp: bool,
    pub reset: bool,
}

impl Client {
    /// Connects to `host:port`.
    pub async fn connect(server: &str) -> io::Result<Self> {
        let origin: Uri = format!("http://{server}")
            .parse()
            .map_err(|_| io::Error::other("this is not `host:port`"))?;
        let link = TcpStream::connect(server).await?;
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(link))
            .await
            .map_err(io::Error::other)?;
        // Its end is met by whoever waits for an answer.
        crate::io::spawn(connection);
        let channel = Channel(requests);
        Ok(Self { channel, origin })
    }

    pub async fn get_stats(&self, name: String, reset: bool) -> Result<Vec<Stat>, Status> {
        let request = GetStatsRequest { name, reset };
        let answer: GetStatsResponse = self.ask(STATS, "GetStats", &request).await?;
        Ok(answer.stat.into_iter().collect())
    }

    /// Counters by name. Each pattern travels by itself, as V2Ray 4 understands it, and a counter is as
    /// the first of them found it.
    pub async fn query_stats(&self, query: Query) -> Result<Vec<Stat>, Status> {
        let Query {
            mut patterns,
            regexp,
            reset,
        } = query;
        if patterns.is_empty() {
            patterns.push(String::new());
        }
        let mut found = BTreeMap::new();
        for pattern in patterns {
            let request = QueryStatsRequest {
                pattern,
                patterns: Vec::new(),
                regexp,
                reset,
            };
            let answer: QueryStatsResponse = self.ask(STATS, "QueryStats", &request).await?;
            for stat in answer.stat {
                found.entry(stat.name.clone()).or_insert(stat);
            }
        }
        Ok(found.into_values().collect())
    }

    pub async fn sys_stats(&self) -> Result<SysStatsResponse, Status> {
        self.ask(STATS, "GetSysStats", &SysStatsRequest {}).await
    }

    pub async fn restart_logger(&self) -> Result<(), Status> {
        let request = RestartLoggerRequest {};
        self.tell(LOGGER, "RestartLogger", &request).await
    }

    /// Hands every line to `line`, until the server ends.
    pub async fn follow_log(&self, line: impl Fn(&str)) -> Result<(), Status> {
        let path = path(Family::V2ray, LOGGER, "FollowLog")?;
        let mut grpc = self.ready().await?;
        let request = tonic::Request::new(FollowLogRequest {}.encode_to_vec().into());
        let answer = grpc.server_streaming(request, path, RawCodec).await?;
        let mut lines = answer.into_inner();
        while let Some(message) = lines.message().await? {
            let answer = FollowLogResponse::decode(message).map_err(unreadable)?;
            line(&answer.message);
        }
        Ok(())
    }

    /// One more user for the inbound tagged `tag`, of the protocol that the account is of.
    pub async fn add_user(&self, tag: &str, user: &User) -> Result<(), Status> {
        self.alter_inbound(tag, |family| {
            let account = user.account.clone().map(|account| family.name(account));
            let user = Some(User {
                account,
                ..user.clone()
            });
            let name = "app.proxyman.command.AddUserOperation";
            typed::seal(name, &AddUserOperation { user })
        })
        .await
    }

    pub async fn remove_user(&self, tag: &str, email: &str) -> Result<(), Status> {
        let name = "app.proxyman.command.RemoveUserOperation";
        let email = email.to_owned();
        let operation = typed::seal(name, &RemoveUserOperation { email });
        self.alter_inbound(tag, |_| operation.clone()).await
    }

    pub async fn remove_inbound(&self, tag: String) -> Result<(), Status> {
        let request = RemoveInboundRequest { tag };
        self.tell(HANDLER, "RemoveInbound", &request).await
    }

    pub async fn remove_outbound(&self, tag: String) -> Result<(), Status> {
        let request = RemoveOutboundRequest { tag };
        self.tell(HANDLER, "RemoveOutbound", &request).await
    }

    async fn alter_inbound(
        &self,
        tag: &str,
        operation: impl Fn(Family) -> TypedMessage,
    ) -> Result<(), Status> {
        let request = |family: Family| {
            let operation = Some(family.name(operation(family)));
            let tag = tag.to_owned();
            Ok(AlterInboundRequest { tag, operation }.encode_to_vec())
        };
        // Xray has V2Ray's name of the service as well, and not V2Ray's of the messages.
        let asked = self.either(XRAY_FIRST, HANDLER, "AlterInbound", request);
        asked.await.map(drop)
    }

    /// What a method of `service` answers, as JSON in Xray's form. It is asked for under Xray's name, and where nobody
    /// knows that under V2Ray's.
    pub async fn show(
        &self,
        service: &str,
        method: &str,
        request: impl Fn(Family) -> Result<Vec<u8>, Status>,
    ) -> Result<Value, Status> {
        let (_, answer) = self.either(XRAY_FIRST, service, method, request).await?;
        let name = descriptors::answer_of(&format!("xray.{service}"), method);
        let name = name.ok_or_else(|| Status::internal("a method has a wrong name"))?;
        json::message(name, &answer).map_err(unreadable)
    }

    /// What a balancer chooses among, and what it has been told to choose.
    pub async fn balancer(&self, tag: &str) -> Result<(BalancerMsg, Value), Status> {
        let tag = tag.to_owned();
        let request = GetBalancerInfoRequest { tag }.encode_to_vec();
        let request = |_| Ok(request.clone());
        let asked = self.either(XRAY_FIRST, ROUTING, "GetBalancerInfo", request);
        let (_, bytes) = asked.await?;
        let name = "xray.app.router.command.GetBalancerInfoResponse";
        let shown = json::message(name, &bytes).map_err(unreadable)?;
        let answer = GetBalancerInfoResponse::decode(bytes).map_err(unreadable)?;
        Ok((answer.balancer.unwrap_or_default(), shown))
    }

    /// A request whose answer says nothing.
    async fn tell(
        &self,
        service: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<(), Status> {
        let request = |_| Ok(request.encode_to_vec());
        let asked = self.either(V2RAY_FIRST, service, method, request);
        asked.await.map(drop)
    }

    async fn ask<A: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<A, Status> {
        let request = |_| Ok(request.encode_to_vec());
        let asked = self.either(V2RAY_FIRST, service, method, request);
        A::decode(asked.await?.1).map_err(unreadable)
    }

    /// Asks under one program's name of a service, and where nobody knows that under the other's.
    async fn either(
        &self,
        [first, second]: [Family; 2],
        service: &str,
        method: &str,
        request: impl Fn(Family) -> Result<Vec<u8>, Status>,
    ) -> Result<(Family, Bytes), Status> {
        let answer = self.call(first, service, method, request(first)?).await;
        let unknown = match answer {
            Err(status) if status.code() == Code::Unimplemented => status,
            other => return other.map(|answer| (first, answer)),
        };
        let answer = self.call(second, service, method, request(second)?).await;
        match answer {
            // Who knows the service, but not the method, says more.
            Err(status)
                if status.code() == Code::Unimplemented
                    && unknown.message().contains("unknown method") =>
            {
                Err(unknown)
            }
            other => other.map(|answer| (second, answer)),
        }
    }

    async fn call(
        &self,
        family: Family,
        service: &str,
        method: &str,
        request: Vec<u8>,
    ) -> Result<Bytes, Status> {
        let path = path(family, service, method)?;
        let mut grpc = self.ready().await?;
        let request = tonic::Request::new(request.into());
        let answer = grpc.unary(request, path, RawCodec).await?;
        Ok(answer.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::with_origin(self.channel.clone(), self.origin.clone());
        let ready = grpc.ready().await;
        ready.map_err(|e| Status::unknown(format!("the connection is gone: {e}")))?;
        Ok(grpc)
    }
}

pub const STATS: &str = "app.stats.command.StatsService";
pub const LOGGER: &str = "app.log.command.LoggerService";
pub const HANDLER: &str = "app.proxyman.command.HandlerService";
pub const ROUTING: &str = "app.router.command.RoutingService";

const V2RAY_FIRST: [Family; 2] = [Family::V2ray, Family::Xray];
const XRAY_FIRST: [Family; 2] = [Family::Xray, Family::V2ray];

impl Family {
    /// The same message under this program's name of it.
    fn name(self, message: TypedMessage) -> TypedMessage {
        match self {
            Self::V2ray => typed::as_v2ray(message),
            Self::Xray => typed::as_xray(message),
        }
    }
}

fn path(family: Family, service: &str, method: &str) -> Result<PathAndQuery, Status> {
    let program = match family {
        Family::V2ray => "v2ray.core",
        Family::Xray => "xray",
    };
    let path = format!("/{program}.{service}/{method}");
    path.parse()
        .map_err(|_| Status::internal("a service has a wrong name"))
}

fn unreadable(error: DecodeError) -> Status {
    Status::internal(format!("an answer cannot be read: {error}"))
}

/// hyper's HTTP/2 connection, as tonic wants to call it.
#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, StdError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.0.poll_ready(cx).map_err(StdError::from)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async move { Ok(answer.await?) })
    }
}
