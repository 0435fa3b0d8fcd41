//! What a visitor sees who is not a tunnel: the short error pages of an ordinary web server.
//!
//! They name no product: hyper's own answers to broken requests (400, 431) carry no `Server` header
//! either, so all answers of one server look alike.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{HeaderMap, Response, StatusCode};

pub(super) type Answer = Response<Full<Bytes>>;

/// The page of an error, with the headers that its status asks for.
pub(super) fn error(status: StatusCode) -> Answer {
    let title = format!(
        "{} {}",
        status.as_str(),
        status.canonical_reason().unwrap_or_default()
    );
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    let headers: &[(HeaderName, &str)] = match status {
        StatusCode::METHOD_NOT_ALLOWED => &[(ALLOW, "GET")],
        StatusCode::UPGRADE_REQUIRED => &[
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
        ],
        _ => &[],
    };
    let mut answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/html");
    for (name, value) in headers {
        answer = answer.header(name, *value);
    }
    answer
        .body(Full::from(page))
        .expect("these headers are valid")
}

/// The answer that opens a tunnel.
pub(super) fn switch(accept: &str, protocol: Option<&[u8]>, more: &HeaderMap) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    let mut put = |name, value: &[u8]| {
        if let Ok(value) = value.try_into() {
            headers.insert::<HeaderName>(name, value);
        }
    };
    put(UPGRADE, b"websocket");
    put(CONNECTION, b"Upgrade");
    put(hyper::header::SEC_WEBSOCKET_ACCEPT, accept.as_bytes());
    if let Some(protocol) = protocol {
        put(hyper::header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    for (name, value) in more {
        headers.append(name, value.clone());
    }
    answer
}
