//! The other end: asks an API, ours or V2Ray's.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, StdError};

use crate::wire::app::log::command::logger_service_client::LoggerServiceClient;
use crate::wire::app::log::command::{FollowLogRequest, RestartLoggerRequest};
use crate::wire::app::proxyman::command::handler_service_client::HandlerServiceClient;
use crate::wire::app::proxyman::command::{
    AddUserOperation, AlterInboundRequest, RemoveInboundRequest, RemoveOutboundRequest,
    RemoveUserOperation,
};
use crate::wire::app::stats::command::stats_service_client::StatsServiceClient;
use crate::wire::app::stats::command::{GetStatsRequest, QueryStatsRequest, SysStatsRequest};
use crate::wire::common::protocol::{SecurityConfig, SecurityType, User};
use crate::wire::common::serial::TypedMessage;
use crate::wire::proxy::{vless, vmess};
use crate::wire::typed;

pub use crate::wire::app::stats::command::{Stat, SysStatsResponse};

/// A connection to an API.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    origin: Uri,
}

/// What an inbound's protocol knows a user by.
pub struct Account(TypedMessage);

impl Account {
    pub fn vless(id: String) -> Self {
        let account = vless::Account {
            id,
            encryption: "none".to_owned(),
            ..vless::Account::default()
        };
        Self(typed::seal("proxy.vless.Account", &account))
    }

    pub fn vmess(id: String) -> Self {
        let account = vmess::Account {
            id,
            // V2Ray dislikes an account that does not say.
            security_settings: Some(SecurityConfig {
                r#type: SecurityType::Auto.into(),
            }),
            ..vmess::Account::default()
        };
        Self(typed::seal("proxy.vmess.Account", &account))
    }
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
        let answer = self.stats().get_stats(request).await?;
        Ok(answer.into_inner().stat.into_iter().collect())
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
            let answer = self.stats().query_stats(request).await?;
            for stat in answer.into_inner().stat {
                found.entry(stat.name.clone()).or_insert(stat);
            }
        }
        Ok(found.into_values().collect())
    }

    pub async fn sys_stats(&self) -> Result<SysStatsResponse, Status> {
        let answer = self.stats().get_sys_stats(SysStatsRequest {}).await?;
        Ok(answer.into_inner())
    }

    pub async fn restart_logger(&self) -> Result<(), Status> {
        let request = RestartLoggerRequest {};
        self.logger().restart_logger(request).await.map(drop)
    }

    /// Hands every line to `line`, until the server ends.
    pub async fn follow_log(&self, line: impl Fn(&str)) -> Result<(), Status> {
        let answer = self.logger().follow_log(FollowLogRequest {}).await?;
        let mut lines = answer.into_inner();
        while let Some(message) = lines.message().await? {
            line(&message.message);
        }
        Ok(())
    }

    /// One more user for the inbound tagged `tag`.
    pub async fn add_user(
        &self,
        tag: String,
        email: String,
        level: u32,
        account: Account,
    ) -> Result<(), Status> {
        let user = Some(User {
            level,
            email,
            account: Some(account.0),
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
        self.handler().remove_inbound(request).await.map(drop)
    }

    pub async fn remove_outbound(&self, tag: String) -> Result<(), Status> {
        let request = RemoveOutboundRequest { tag };
        self.handler().remove_outbound(request).await.map(drop)
    }

    async fn alter_inbound(&self, tag: String, operation: TypedMessage) -> Result<(), Status> {
        let operation = Some(operation);
        let request = AlterInboundRequest { tag, operation };
        self.handler().alter_inbound(request).await.map(drop)
    }

    fn stats(&self) -> StatsServiceClient<Channel> {
        StatsServiceClient::with_origin(self.channel.clone(), self.origin.clone())
    }

    fn logger(&self) -> LoggerServiceClient<Channel> {
        LoggerServiceClient::with_origin(self.channel.clone(), self.origin.clone())
    }

    fn handler(&self) -> HandlerServiceClient<Channel> {
        HandlerServiceClient::with_origin(self.channel.clone(), self.origin.clone())
    }
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
