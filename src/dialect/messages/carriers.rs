//! What begins with an upgrade: `websocket` and `httpupgrade`, as V2Ray and as Xray write them.

use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use super::at::At;
use crate::dialect::v2ray::httpupgrade::early_data_of_ed;
use crate::dialect::v2ray::upgrade::{client_path, header_name, server_path, whole_server_path};
use crate::dialect::v2ray::ws::early_data_of_ed as ws_early_data_of_ed;
use crate::http::{EarlyData, EarlyDataIn};
use crate::transport::httpupgrade::{self, EarlyHeader};
use crate::transport::ws;
use crate::wire::common::serial::TypedMessage;
use crate::wire::transport::internet::{
    httpupgrade as xray_upgrade, request::httpupgrade as v2ray_upgrade, websocket,
};
use crate::wire::typed;

/// All that one of the four messages may say.
#[derive(Default)]
pub(super) struct Upgrade {
    pub(super) accept_proxy_protocol: bool,
    pub(super) use_browser_forwarding: bool,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    max_early_data: i32,
    early_data_header_name: String,
    /// Xray's, as `?ed=` of the path.
    ed: u32,
    /// In seconds, where the message has it.
    heartbeat: Option<u32>,
}

/// A carrier's headers are all alike.
macro_rules! pairs {
    ($headers:expr) => {
        $headers.into_iter().map(|h| (h.key, h.value)).collect()
    };
}

impl Upgrade {
    /// A message of type `websocket`.
    pub(super) fn of_websocket(message: &TypedMessage, at: &At) -> Option<Self> {
        if typed::is_xray(message) {
            let config: websocket::XrayConfig = at.open(message)?;
            return Some(Self {
                accept_proxy_protocol: config.accept_proxy_protocol,
                path: config.path,
                host: config.host,
                headers: pairs!(config.header),
                ed: config.ed,
                heartbeat: Some(config.heartbeat_period),
                ..Self::default()
            });
        }
        let config: websocket::Config = at.open(message)?;
        Some(Self {
            accept_proxy_protocol: config.accept_proxy_protocol,
            path: config.path,
            headers: pairs!(config.header),
            max_early_data: config.max_early_data,
            early_data_header_name: config.early_data_header_name,
            use_browser_forwarding: config.use_browser_forwarding,
            ..Self::default()
        })
    }

    /// A message of type `httpupgrade`: V2Ray's, in whose name stands `request`, or Xray's.
    pub(super) fn of_httpupgrade(message: &TypedMessage, at: &At) -> Option<Self> {
        if typed::name(message) == V2RAY_UPGRADE {
            let config: v2ray_upgrade::Config = at.open(message)?;
            return Some(Self {
                path: config.path,
                host: config.host,
                headers: pairs!(config.header),
                max_early_data: config.max_early_data,
                early_data_header_name: config.early_data_header_name,
                ..Self::default()
            });
        }
        let config: xray_upgrade::Config = at.open(message)?;
        Some(Self {
            accept_proxy_protocol: config.accept_proxy_protocol,
            path: config.path,
            host: config.host,
            headers: pairs!(config.header),
            ed: config.ed,
            ..Self::default()
        })
    }

    pub(super) fn ws_server(self, at: &At) -> Option<ws::ServerSettings> {
        let heartbeat = self.heartbeat();
        let headers = self.headers(at)?;
        let early = self.early_data(at)?.map(|early| early.carried_in);
        let path = server_path(self.path);
        Some(ws::ServerSettings {
            early_data: early.or_else(|| path.early_data()),
            path: path.path,
            host: (!self.host.is_empty()).then_some(self.host),
            headers,
            heartbeat,
            ..ws::ServerSettings::default()
        })
    }

    pub(super) fn ws_client(self, at: &At) -> Option<ws::ClientSettings> {
        let heartbeat = self.heartbeat();
        let mut headers = self.headers(at)?;
        let host = self.host(&mut headers, at)?;
        let early = self.early_data(at)?;
        let ed = self.ed();
        let (path, from_path) = client_path(self.path);
        Some(ws::ClientSettings {
            path,
            host,
            headers,
            early_data: early.or_else(|| from_path.or(ed).map(ws_early_data_of_ed)),
            heartbeat,
            ends_silently: false,
        })
    }

    pub(super) fn server(self, at: &At) -> Option<httpupgrade::ServerSettings> {
        let headers = self.headers(at)?;
        let early = self.early_header(at)?;
        let path = whole_server_path(self.path);
        Some(httpupgrade::ServerSettings {
            early_data: early.or_else(|| early_data_of_ed(path.early_data())),
            path: path.path,
            host: (!self.host.is_empty()).then_some(self.host),
            headers,
            ..httpupgrade::ServerSettings::default()
        })
    }

    pub(super) fn client(self, at: &At) -> Option<httpupgrade::ClientSettings> {
        let mut headers = self.headers(at)?;
        let host = self.host(&mut headers, at)?;
        let in_header = self.early_header(at)?.map(httpupgrade::EarlyData::Header);
        let ed = self.ed();
        let (path, from_path) = client_path(self.path);
        let ahead = from_path.or(ed).map(|_| httpupgrade::EarlyData::Ahead);
        Some(httpupgrade::ClientSettings {
            path,
            host,
            headers,
            early_data: in_header.or(ahead),
        })
    }

    fn headers(&self, at: &At) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (i, (key, value)) in self.headers.iter().enumerate() {
            let at = at.key("header").index(i);
            let name = at.ok(header_name(key));
            let value = at.ok(HeaderValue::try_from(value));
            headers.insert(name?, value?);
        }
        Some(headers)
    }

    fn host(&self, headers: &mut HeaderMap, at: &At) -> Option<Option<HeaderValue>> {
        let old = headers.remove(HOST);
        match self.host.is_empty() {
            true => Some(old),
            false => at
                .key("host")
                .ok(HeaderValue::try_from(&self.host))
                .map(Some),
        }
    }

    fn ed(&self) -> Option<usize> {
        usize::try_from(self.ed).ok().filter(|ed| *ed > 0)
    }

    /// V2Ray's message has no heartbeat; 0 in Xray's is never, as in a file.
    fn heartbeat(&self) -> Option<Duration> {
        match self.heartbeat {
            None => Some(ws::HEARTBEAT),
            Some(0) => None,
            Some(secs) => Some(Duration::from_secs(secs.into())),
        }
    }

    fn early_data(&self, at: &At) -> Option<Option<EarlyData>> {
        let max = at.key("max_early_data");
        let max = max.ok(usize::try_from(self.max_early_data))?;
        let carried_in = match self.early_data_header_name.as_str() {
            "" => EarlyDataIn::Path,
            name => EarlyDataIn::Header(at.key("early_data_header_name").ok(name.parse())?),
        };
        Some((max > 0).then_some(EarlyData { carried_in, max }))
    }

    /// Without a name there is none.
    fn early_header(&self, at: &At) -> Option<Option<EarlyHeader>> {
        let early = self.early_data(at)?;
        Some(early.and_then(|early| match early.carried_in {
            EarlyDataIn::Header(name) => Some(EarlyHeader {
                name,
                max: early.max,
            }),
            EarlyDataIn::Path => None,
        }))
    }
}

/// V2Ray 5's message.
pub(super) const V2RAY_UPGRADE: &str = "transport.internet.request.httpupgrade.Config";
