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
use tokio::net::TcpStream;
use tonic::Status;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::{Service, StdError};

use super::raw::RawCodec;
use crate::wire::app::log::command::{FollowLogRequest, FollowLogResponse, RestartLoggerRequest};
use crate::wire::app::proxyman::command::{
    AddUserOperation, AlterInboundRequest, RemoveInboundRequest, RemoveOutboundRequest,
    RemoveUserOperation,
};
use crate::wire::app::stats::command::{
    GetStatsRequest, GetStatsResponse, QueryStatsRequest, QueryStatsResponse, SysStatsRequest,
};
use crate::wire::common::protocol::User;
use crate::wire::common::serial::TypedMessage;
use crate::wire::typed;

pub use crate::wire::app::stats::command::{Stat, SysStatsResponse};

/// A connection to an API.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    origin: Uri,
}

/// What [`Client::query_stats`] asks for.
#[derive(Clone, Debug, Default)]
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
        let path = path(LOGGER, "FollowLog")?;
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

    /// One more user for the inbound tagged `tag`, of the protocol that `account` is of.
    pub async fn add_user(
        &self,
        tag: String,
        email: String,
        level: u32,
        account: TypedMessage,
    ) -> Result<(), Status> {
        let user = Some(User {
            level,
            email,
            account: Some(account),
        });
        let name = "app.proxyman.command.AddUserOperation";
        let operation = typed::seal(name, &AddUserOperation { user });
        self.alter_inbound(tag, operation).await
    }

    pub async fn remove_user(&self, tag: String, email: String) -> Result<(), Status> {
        let name = "app.proxyman.command.RemoveUserOperation";
        let operation = typed::seal(name, &RemoveUserOperation { email });
        self.alter_inbound(tag, operation).await
    }

    pub async fn remove_inbound(&self, tag: String) -> Result<(), Status> {
        let request = RemoveInboundRequest { tag };
        self.tell(HANDLER, "RemoveInbound", &request).await
    }

    pub async fn remove_outbound(&self, tag: String) -> Result<(), Status> {
        let request = RemoveOutboundRequest { tag };
        self.tell(HANDLER, "RemoveOutbound", &request).await
    }

    async fn alter_inbound(&self, tag: String, operation: TypedMessage) -> Result<(), Status> {
        let operation = Some(operation);
        let request = AlterInboundRequest { tag, operation };
        self.tell(HANDLER, "AlterInbound", &request).await
    }

    /// A request whose answer says nothing.
    async fn tell(
        &self,
        service: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<(), Status> {
        self.call(service, method, request.encode_to_vec())
            .await
            .map(drop)
    }

    async fn ask<A: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<A, Status> {
        let answer = self.call(service, method, request.encode_to_vec()).await?;
        A::decode(answer).map_err(unreadable)
    }

    async fn call(&self, service: &str, method: &str, request: Vec<u8>) -> Result<Bytes, Status> {
        let path = path(service, method)?;
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

const STATS: &str = "app.stats.command.StatsService";
const LOGGER: &str = "app.log.command.LoggerService";
const HANDLER: &str = "app.proxyman.command.HandlerService";

fn path(service: &str, method: &str) -> Result<PathAndQuery, Status> {
    let path = format!("/v2ray.core.{service}/{method}");
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
