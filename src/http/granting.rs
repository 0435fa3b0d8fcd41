//! A WebSocket that hyper's server grants: for servers whose visitors may know what they are.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::head::has_token;
use super::responses;

/// The key of a request for a WebSocket (RFC 6455, section 4.2.1); `None` is one for something else.
pub(crate) fn key<B>(request: &Request<B>) -> Option<&HeaderValue> {
    let headers = request.headers();
    let is_upgrade = request.method() == Method::GET
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
        && headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version == "13");
    headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_upgrade)
}

/// The answer that opens it, with the subprotocol that is agreed on.
pub(crate) fn switch(key: &HeaderValue, protocol: Option<HeaderValue>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = derive_accept_key(key.as_bytes());
    let out = answer.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        out.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        out.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    answer
}

/// The answer to a request that asks for no WebSocket where only a WebSocket is.
pub(crate) fn not_asked_for() -> Response<Full<Bytes>> {
    let mut answer = page(StatusCode::BAD_REQUEST);
    let version = HeaderValue::from_static("13");
    answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
    answer
}

/// A web server's page of an error.
pub(crate) fn page(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(responses::page(status))));
    *answer.status_mut() = status;
    let html = HeaderValue::from_static("text/html");
    answer.headers_mut().insert(CONTENT_TYPE, html);
    answer
}
