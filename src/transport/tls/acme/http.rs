//! Requests to an authority: each on a connection of its own, over HTTP/1.1 with TLS. There are about ten of them in
//! two months.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue, Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use super::Settings;
use crate::address::{Destination, Host};
use crate::cause::AcmeError;
use crate::dns::Lookup;
use crate::http::client::reason;
use crate::transport::tcp::{self, SockOpt};
use crate::transport::tls::{BuildError, ClientSettings, Outbound};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A chain of certificates is the longest that comes.
const LONGEST: usize = 1024 * 1024;

/// Asks an authority.
#[derive(Clone)]
pub(super) struct Http(Arc<Shared>);

struct Shared {
    tls: Outbound,
    /// Not before this moment, the authority said last.
    not_before: Mutex<Option<SystemTime>>,
}

type Answer = Result<BytesResponse, Error>;

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let client = ClientSettings {
            authorities: settings.authorities.clone(),
            alpn: vec!["http/1.1".to_owned()],
            ..ClientSettings::default()
        };
        Ok(Self(Arc::new(Shared {
            tls: Outbound::new(&client)?,
            not_before: Mutex::default(),
        })))
    }

    /// When the authority wants to be asked again, if it has said so.
    pub(super) fn not_before(&self) -> Option<SystemTime> {
        *self.0.lock()
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let url = request.uri().to_string();
            let failed = |why| {
                let url = url.clone();
                Error::Other(Box::new(AcmeError::Unreachable { url, why }))
            };
            match timeout(LIMIT, shared.ask(request)).await {
                Ok(answered) => answered.map_err(failed),
                Err(_) => Err(failed(format!("no answer within {} s", LIMIT.as_secs()))),
            }
        })
    }
}

impl Shared {
    async fn ask(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, String> {
        let uri = request.uri().clone();
        let to = destination(&uri)?;
        let sockopt = SockOpt::default();
        let dialled = tcp::connect(&to, &Lookup::System, &sockopt).await;
        let link = sockopt.link(dialled.map_err(|e| e.to_string())?);
        let link = self.tls.wrap(link, &to).await.map_err(|e| e.plain())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(link))
            .await
            .map_err(|e| reason(&e))?;
        crate::io::spawn(connection);
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(host).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, host);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::try_from(path).map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await;
        let (parts, body) = response.map_err(|e| reason(&e))?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        let problem = parts.headers.get(CONTENT_TYPE);
        let is_told =
            problem.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem"));
        if !parts.status.is_success() {
            *self.lock() = not_before(&parts.headers, SystemTime::now());
            if parts.status.is_server_error() && !is_told {
                return Err(format!("HTTP status {}", parts.status));
            }
        }
        let body = Box::new(body);
        Ok(BytesResponse { parts, body })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SystemTime>> {
        self.not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only over TLS: an account's requests are signed, but what comes back is not.
fn destination(uri: &Uri) -> Result<Destination, String> {
    if uri.scheme_str() != Some("https") {
        return Err("it is not `https`".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = Host::parse(host).map_err(|e| e.to_string())?;
    let port = uri.port_u16().unwrap_or(443);
    Ok(Destination { host, port })
}

/// `Retry-After` (RFC 9110, section 10.2.3).
fn not_before(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(secs) => now.checked_add(Duration::from_secs(secs)),
        Err(_) => httpdate::parse_http_date(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_says_when_it_is_to_be_asked_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let later = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let at = not_before(&headers, now)?;
            at.duration_since(now).ok().map(|left| left.as_secs())
        };
        assert_eq!(later("120"), Some(120));
        assert_eq!(later("Tue, 14 Nov 2023 22:14:20 GMT"), Some(60));
        assert_eq!(later("soon"), None);
        assert_eq!(later("18446744073709551615"), None);
        assert_eq!(not_before(&HeaderMap::new(), now), None);
    }

    #[test]
    fn an_authority_is_asked_over_tls_alone() {
        let to = |url: &str| destination(&url.parse().unwrap()).map(|to| to.to_string());
        assert_eq!(to("https://a.test/dir"), Ok("a.test:443".to_owned()));
        assert_eq!(to("https://[::1]:14000/dir"), Ok("[::1]:14000".to_owned()));
        assert!(to("http://a.test/dir").is_err());
    }
}
