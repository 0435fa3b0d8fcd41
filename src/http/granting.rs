//! A WebSocket that hyper's server grants: for servers whose visitors may know what they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::head::has_token;
use super::responses;

/// The key of a request for a WebSocket (RFC 6455, section 4.2.1); `None` is one for something else.
pub(crate) fn key<B>(request: &Request<B>) -> Option<&HeaderValue> {
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    let is_ours = is_upgrade(request) && version.is_some_and(|version| version == "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_ours)?;
    // Sixteen bytes that nobody else has chosen.
    let bytes = STANDARD.decode(key.as_bytes()).ok()?;
    (bytes.len() == 16).then_some(key)
}

fn is_upgrade<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::GET
        && request.version() >= Version::HTTP_11
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
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

/// The answer to a request that asks for no WebSocket where only a WebSocket is, or for one of another version (RFC 6455,
/// section 4.4).
pub(crate) fn not_asked_for<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let version = request.headers().get(SEC_WEBSOCKET_VERSION);
    let is_other = is_upgrade(request) && version.is_none_or(|version| version != "13");
    let mut answer = page(match is_other {
        true => StatusCode::UPGRADE_REQUIRED,
        false => StatusCode::BAD_REQUEST,
    });
    let headers = answer.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    if is_other {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_request_opens_a_websocket() {
        let answer = |version: Version, asked: &str, key_sent: &str| {
            let request = Request::get("/x")
                .version(version)
                .header(CONNECTION, "keep-alive, Upgrade")
                .header(UPGRADE, "WebSocket")
                .header(SEC_WEBSOCKET_VERSION, asked)
                .header(SEC_WEBSOCKET_KEY, key_sent);
            let request = request.body(()).unwrap();
            match key(&request) {
                Some(key) => switch(key, None),
                None => not_asked_for(&request),
            }
        };
        let good = "dGhlIHNhbXBsZSBub25jZQ==";
        for (version, asked, key_sent, status) in [
            (Version::HTTP_11, "13", good, 101),
            (Version::HTTP_10, "13", good, 400),
            (Version::HTTP_11, "13", "", 400),
            (Version::HTTP_11, "13", "dGhlIHNhbXBsZQ==", 400),
            (Version::HTTP_11, "13", "no base64 at all!!!!!!!!", 400),
            (Version::HTTP_11, "8", good, 426),
        ] {
            let answer = answer(version, asked, key_sent);
            assert_eq!(answer.status(), status, "{version:?} {asked} {key_sent}");
            if status != 101 {
                assert_eq!(answer.headers()[SEC_WEBSOCKET_VERSION], "13");
            }
        }
    }
}
