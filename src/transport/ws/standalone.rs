//! Both halves of the transport over any byte stream, for programs of other people.

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::inbound::Tunnel;
use super::outbound::Client;
use super::{AcceptError, ClientSettings, ConnectError, ServerSettings, WsStream};
use crate::address::Destination;
use crate::http::visit::Visit;
use crate::io::Link;
use crate::session::Source;

/// What a server accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Bytes from and to the client.
    pub stream: WsStream,
    /// The first bytes from the client, which stand in front of all that is read; there are none unless it sends early
    /// data.
    pub early_data: Bytes,
    /// The head of the request that opened the WebSocket.
    pub request: Request<()>,
}

/// Where a client's stream leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What the request names as its host, unless [`ClientSettings::host`] does.
    pub address: Destination,
    /// Whether the stream is one of TLS.
    pub over_tls: bool,
}

/// Answers the requests on a stream until one of them opens a WebSocket as `settings` have it.
///
/// Requests that do not are refused as a web server refuses them, with an error page, and others may follow on the same
/// stream. A header must come within 4 s, and the WebSocket within 300 s.
///
/// # Errors
///
/// When the stream ends without a WebSocket. The client has been answered then, if there is an answer.
pub async fn accept(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    settings: &ServerSettings,
) -> Result<Accepted, AcceptError> {
    let now = Instant::now();
    let visit = Visit::new(Source::Unix, Link::foreign(stream), now);
    let (tunnel, stream) = Tunnel::open(settings, visit).await?;
    Ok(Accepted {
        stream,
        early_data: tunnel.early_data.into(),
        request: tunnel.request,
    })
}

/// Opens a WebSocket on a stream that leads to `server`. The request looks like a browser's.
///
/// [`ClientSettings::early_data`] is for [`connect_with_early_data`].
///
/// # Errors
///
/// When the server opens none, or has not within 8 s.
pub async fn connect(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    server: &Server,
    settings: &ClientSettings,
) -> Result<WsStream, ConnectError> {
    let (stream, _) = connect_with_early_data(stream, server, settings, &[]).await?;
    Ok(stream)
}

/// As [`connect`], with the first bytes for the server inside the request: as many of `data` as
/// [`ClientSettings::early_data`] allows. Returns how many that were; the rest is still to be written.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_with_early_data(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    server: &Server,
    settings: &ClientSettings,
    data: &[u8],
) -> Result<(WsStream, usize), ConnectError> {
    let allowed = settings.early_data.as_ref().map_or(0, |early| early.max);
    let early = &data[..data.len().min(allowed)];
    let client = Client::new(settings.clone());
    let host = client.host_header(&server.address, server.over_tls);
    let link = Link::foreign(stream);
    let stream = client.handshake(link, host, server.over_tls, early).await?;
    Ok((stream, early.len()))
}
