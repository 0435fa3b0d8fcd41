//! A client's way to a WebSocket: a proxy if there is one, TCP, TLS, the upgrade.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::Response;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE, USER_AGENT,
};
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{Address, MAX_RECEIVED, Proxy};
use crate::address::Destination;
use crate::cause::{DialError, TcpError, TlsError, UpgradeError};
use crate::dns::Lookup;
use crate::http::head::{self, items};
use crate::http::request::{host_of, value_of};
use crate::http::upgrade::{self, LIMIT};
use crate::io::{Link, PeerClock};
use crate::transport::{tcp, tls};

/// What a client asks for, and how it comes there.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where the WebSocket is.
    pub address: Address,
    /// Headers of the request, in place of its own ones of the same name.
    pub headers: HeaderMap,
    /// The subprotocols that are offered, the one that is liked best first.
    pub protocols: Vec<HeaderValue>,
    /// A proxy on the way.
    pub proxy: Option<Proxy>,
    /// Whom to believe, where there is TLS.
    pub tls: tls::ClientSettings,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Opened {
    /// Its messages.
    pub socket: WebSocketStream<Link>,
    /// The subprotocol that was agreed on.
    pub protocol: Option<String>,
    /// From the request to its answer.
    pub answered_in: Duration,
}

/// How far it has come, for whoever wants to see.
#[derive(Debug)]
pub enum Step<'a> {
    /// TCP is connected, to the server or to the proxy.
    Connected(&'a Destination),
    /// The proxy has opened a way to the server.
    Through(&'a Proxy),
    /// TLS is agreed on.
    Sealed,
    /// The request, as it was sent.
    Asked(&'a [u8]),
    /// The head of the answer, and the beginning of what came behind it.
    Answered(&'a Response<()>, &'a [u8]),
}

/// Why there is no WebSocket.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The server, or what is on the way to it.
    #[error("{}", words(.0))]
    Dial(#[from] DialError),
    /// The server answers something else, and says why in a line of text.
    #[error("{}; it says: {said}", words(.error))]
    Said {
        /// What it answers.
        error: DialError,
        /// What it says.
        said: String,
    },
    /// There is no connection to the proxy.
    #[error("the proxy: {0}")]
    NoProxy(#[source] DialError),
    /// The proxy says no.
    #[error("the proxy at {at}: {error}")]
    Proxy {
        /// Where it is.
        at: Destination,
        /// What it says.
        error: io::Error,
    },
}

impl ConnectError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> Cow<'static, str> {
        match self {
            Self::Dial(error) | Self::NoProxy(error) | Self::Said { error, .. } => error.code(),
            Self::Proxy { .. } => Cow::Borrowed("not-carried"),
        }
    }
}

/// How long TCP may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a proxy may take to reach the server.
const PROXY_LIMIT: Duration = Duration::from_secs(15);

/// Opens a WebSocket; `tell` hears of every step.
///
/// # Errors
///
/// When none is opened.
pub async fn connect(
    settings: &ClientSettings,
    tell: impl Fn(Step<'_>),
) -> Result<Opened, ConnectError> {
    let to = &settings.address.to;
    let mut link = match &settings.proxy {
        None => dial(to).await?,
        Some(proxy) => dial(&proxy.at).await.map_err(ConnectError::NoProxy)?,
    };
    tell(Step::Connected(
        settings.proxy.as_ref().map_or(to, |proxy| &proxy.at),
    ));
    if let Some(proxy) = &settings.proxy {
        let opened = proxy.open(link, to, PROXY_LIMIT).await;
        link = opened.map_err(|error| {
            let at = proxy.at.clone();
            ConnectError::Proxy { at, error }
        })?;
        tell(Step::Through(proxy));
    }
    if settings.address.tls {
        let tls = tls::Outbound::new(&settings.tls);
        let tls = tls.map_err(|e| TlsError::Failed(io::Error::other(e.to_string())));
        let sealed = tls.map_err(DialError::from)?.wrap(link, to).await;
        link = sealed.map_err(DialError::from)?;
        tell(Step::Sealed);
    }
    let upgraded = timeout(LIMIT, ask(settings, link, &tell)).await;
    let refused = match upgraded {
        Ok(Ok(opened)) => return Ok(opened),
        Ok(Err(refused)) => refused,
        Err(_) => UpgradeError::Slow(LIMIT).into(),
    };
    let error = DialError::from(refused.error);
    Err(match refused.said {
        Some(said) => ConnectError::Said { error, said },
        None => error.into(),
    })
}

/// An upgrade that was not granted.
struct NotOpened {
    error: UpgradeError,
    /// The line of text that came with it.
    said: Option<String>,
}

impl From<UpgradeError> for NotOpened {
    fn from(error: UpgradeError) -> Self {
        Self { error, said: None }
    }
}

async fn dial(to: &Destination) -> Result<Link, DialError> {
    let sockopt = tcp::SockOpt::default();
    let connected = timeout(CONNECT_LIMIT, tcp::connect(to, &Lookup::System, &sockopt)).await;
    let slow = |_| TcpError::Slow {
        to: to.clone(),
        limit: CONNECT_LIMIT,
    };
    Ok(Link::Tcp(connected.map_err(slow)??))
}

async fn ask(
    settings: &ClientSettings,
    mut link: Link,
    tell: &impl Fn(Step<'_>),
) -> Result<Opened, NotOpened> {
    let key = generate_key();
    let headers = headers(settings, &key)?;
    let target = &settings.address.target;
    let mut request = format!("GET {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        head::line(&mut request, name, value.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    tell(Step::Asked(&request));
    let began = Instant::now();
    let (answer, read): (_, BytesMut) =
        upgrade::ask(&mut link, &request, &PeerClock::default()).await?;
    let answered_in = began.elapsed();
    tell(Step::Answered(&answer, &read));
    let path = target.split('?').next().unwrap_or_default();
    if let Err(error) = upgrade::granted(&answer, path) {
        let said = said(&answer, read, &mut link).await;
        return Err(NotOpened { error, said });
    }
    let protocol = verify(&answer, &headers, &key)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_RECEIVED))
        .max_frame_size(Some(MAX_RECEIVED));
    let (read, role) = (read.to_vec(), Role::Client);
    Ok(Opened {
        socket: WebSocketStream::from_partially_read(link, read, role, Some(config)).await,
        protocol,
        answered_in,
    })
}

/// What an answer says in plain text: its first line, as far as it has come.
async fn said(answer: &Response<()>, mut read: BytesMut, link: &mut Link) -> Option<String> {
    let kind = answer.headers().get(CONTENT_TYPE)?.as_bytes();
    if !kind.starts_with(b"text/plain") {
        return None;
    }
    if read.is_empty() {
        let _ = timeout(SAID_LIMIT, link.read_more(&mut read)).await;
    }
    let text = String::from_utf8_lossy(&read[..read.len().min(MAX_SAID)]).into_owned();
    let line = text.lines().next().unwrap_or_default().trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// How long what an answer says may take to come behind its head, and how much of it is shown.
const SAID_LIMIT: Duration = Duration::from_millis(500);
const MAX_SAID: usize = 200;

/// Those of the request, in the order in which they are sent.
fn headers(settings: &ClientSettings, key: &str) -> Result<HeaderMap, UpgradeError> {
    let address = &settings.address;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host_of(&address.to, address.tls));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, value_of(key.as_bytes())?);
    if let Some(login) = &address.login {
        headers.insert(AUTHORIZATION, value_of(login.as_bytes())?);
    }
    if !settings.protocols.is_empty() {
        let all: Vec<&[u8]> = settings
            .protocols
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value_of(&all.join(&b", "[..]))?);
    }
    for name in settings.headers.keys() {
        headers.remove(name);
        for value in settings.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    Ok(headers)
}

const AGENT: &str = concat!("mobula/", env!("CARGO_PKG_VERSION"));

/// Whether the answer opens what was asked for (RFC 6455, section 4.1); and the subprotocol.
fn verify(
    answer: &Response<()>,
    asked: &HeaderMap,
    key: &str,
) -> Result<Option<String>, UpgradeError> {
    let headers = answer.headers();
    // Whoever gives a key of their own has its answer, too.
    let key = asked
        .get(SEC_WEBSOCKET_KEY)
        .map_or(key.as_bytes(), HeaderValue::as_bytes);
    let accept = derive_accept_key(key);
    if headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes) != Some(accept.as_bytes()) {
        return Err(UpgradeError::Accept);
    }
    if let Some(extension) = items(headers, &SEC_WEBSOCKET_EXTENSIONS).next() {
        let text = String::from_utf8_lossy(extension);
        let text: String = text.escape_debug().take(100).collect();
        return Err(UpgradeError::Extensions(format!(
            "`{text}` is not spoken here"
        )));
    }
    let mut agreed = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let Some(protocol) = agreed.next() else {
        return Ok(None);
    };
    let mut offered = items(asked, &SEC_WEBSOCKET_PROTOCOL);
    if agreed.next().is_some() || !offered.any(|offered| offered == protocol.as_bytes()) {
        return Err(UpgradeError::Protocol);
    }
    Ok(Some(
        String::from_utf8_lossy(protocol.as_bytes()).into_owned(),
    ))
}

/// A cause in the words of a command line, which has no config.
fn words(error: &DialError) -> String {
    match error {
        DialError::Tls(error) => error.plain(),
        DialError::Upgrade(UpgradeError::Refused(refused)) => {
            let cure = match (refused.status, &refused.location) {
                (300..=399, Some(to)) => {
                    let to = match to.split_once("://") {
                        Some(("https", rest)) => format!("wss://{rest}"),
                        Some(("http", rest)) => format!("ws://{rest}"),
                        _ => to.clone(),
                    };
                    return format!(
                        "{}: redirected, which a WebSocket does not follow: ask {to}",
                        refused.status
                    );
                }
                (401, _) => ": `-H 'Authorization: …'`, or USER:PASSWORD@ in front of the host",
                (403, _) => "; it may want the Origin of a page (`-o`)",
                _ => "",
            };
            format!("{refused}{cure}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::ORIGIN;

    fn settings(url: &str) -> ClientSettings {
        ClientSettings {
            address: Address::parse(url).unwrap(),
            headers: HeaderMap::new(),
            protocols: Vec::new(),
            proxy: None,
            tls: tls::ClientSettings::default(),
        }
    }

    #[test]
    fn the_users_headers_stand_in_the_place_of_ours() {
        let mut settings = settings("ws://u:p@a.example:81/x");
        settings
            .headers
            .append(HOST, HeaderValue::from_static("b.example"));
        settings
            .headers
            .append("x-a", HeaderValue::from_static("1"));
        settings
            .headers
            .append("x-a", HeaderValue::from_static("2"));
        settings
            .headers
            .append(ORIGIN, HeaderValue::from_static("https://c.example"));
        settings.protocols = vec![HeaderValue::from_static("a"), HeaderValue::from_static("b")];
        let headers = headers(&settings, "key").unwrap();
        assert_eq!(headers[HOST], "b.example");
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "a, b");
        assert_eq!(headers[AUTHORIZATION], "Basic dTpw");
    }

    #[test]
    fn an_answer_must_be_one_to_the_request() {
        let asked = headers(&settings("ws://a.example"), "key").unwrap();
        let accept = derive_accept_key(b"key");
        let verified = |more: &[(&'static str, &'static str)]| {
            let mut answer = Response::new(());
            let value = HeaderValue::try_from(&accept).unwrap();
            answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, value);
            for (name, value) in more {
                answer
                    .headers_mut()
                    .insert(*name, HeaderValue::from_static(value));
            }
            verify(&answer, &asked, "key").map_err(|e| e.code().into_owned())
        };
        assert_eq!(verified(&[]), Ok(None));
        let code = |code: &str| Err(code.to_owned());
        assert_eq!(
            verified(&[("sec-websocket-accept", "x")]),
            code("ws-upgrade")
        );
        assert_eq!(
            verified(&[("sec-websocket-protocol", "x")]),
            code("ws-not-offered")
        );
        assert_eq!(
            verified(&[("sec-websocket-extensions", "permessage-deflate")]),
            code("ws-not-offered")
        );
    }

    #[test]
    fn a_redirect_says_what_to_ask() {
        let refused = |status, location: Option<&str>| {
            let refused = crate::cause::Refused {
                status,
                path: "/x".to_owned(),
                location: location.map(str::to_owned),
                server: None,
            };
            words(&DialError::Upgrade(refused.into()))
        };
        assert_eq!(
            refused(301, Some("https://a.example/x")),
            "301: redirected, which a WebSocket does not follow: ask wss://a.example/x"
        );
        assert!(refused(404, None).contains("does not know path /x"));
    }
}
