//! `headers.http`, the head in front of plain TCP.

use super::at::{At, all};
use crate::transport::http_header::{Header, Request, Response, Settings};
use crate::wire::transport::internet::headers::http;

/// What is not said is V2Ray's default.
pub(super) fn http_header(config: http::Config, at: &At) -> Option<Settings> {
    let request = config
        .request
        .map(|request| of_request(request, &at.key("request")));
    let response = config
        .response
        .map(|response| of_response(response, &at.key("response")));
    Some(Settings {
        request: request.unwrap_or_else(|| Some(Request::default()))?,
        response: response.unwrap_or_else(|| Some(Response::default()))?,
    })
}

fn of_request(config: http::RequestConfig, at: &At) -> Option<Request> {
    let default = Request::default();
    let uris = config.uri.into_iter().map(|uri| line(uri, &at.key("uri")));
    let paths = all(uris)?;
    Some(Request {
        version: match config.version {
            Some(version) => line(version.value, &at.key("version"))?,
            None => default.version,
        },
        method: match config.method {
            Some(method) => line(method.value, &at.key("method"))?,
            None => default.method,
        },
        paths: if paths.is_empty() {
            default.paths
        } else {
            paths
        },
        headers: headers(config.header, at)?,
    })
}

fn of_response(config: http::ResponseConfig, at: &At) -> Option<Response> {
    let default = Response::default();
    let status = config.status.unwrap_or(http::Status {
        code: default.status,
        reason: default.reason,
    });
    Some(Response {
        version: match config.version {
            Some(version) => line(version.value, &at.key("version"))?,
            None => default.version,
        },
        status: line(status.code, &at.key("status"))?,
        reason: line(status.reason, &at.key("status"))?,
        headers: headers(config.header, at)?,
    })
}

fn headers(headers: Vec<http::Header>, at: &At) -> Option<Vec<Header>> {
    all(headers.into_iter().enumerate().map(|(i, header)| {
        let at = at.key("header").index(i);
        let values = header.value.into_iter().map(|value| line(value, &at));
        Some(Header {
            name: line(header.name, &at)?,
            values: all(values)?,
        })
    }))
}

/// The message of settings.
pub(super) fn http_header_message(settings: &Settings) -> http::Config {
    let headers = |headers: &[Header]| {
        let headers = headers.iter().map(|header| http::Header {
            name: header.name.clone(),
            value: header.values.clone(),
        });
        headers.collect()
    };
    let version = |value: &str| {
        Some(http::Version {
            value: value.to_owned(),
        })
    };
    let Settings { request, response } = settings;
    http::Config {
        request: Some(http::RequestConfig {
            version: version(&request.version),
            method: Some(http::Method {
                value: request.method.clone(),
            }),
            uri: request.paths.clone(),
            header: headers(&request.headers),
        }),
        response: Some(http::ResponseConfig {
            version: version(&response.version),
            status: Some(http::Status {
                code: response.status.clone(),
                reason: response.reason.clone(),
            }),
            header: headers(&response.headers),
        }),
    }
}

/// What may stand in a line.
fn line(text: String, at: &At) -> Option<String> {
    match text.contains(['\r', '\n', '\0']) {
        true => at.error(format!("`{}` cannot stand in a line", text.escape_debug())),
        false => Some(text),
    }
}
