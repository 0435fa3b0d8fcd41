//! The files of a folder: tower-http serves them, below a door that lets nothing out.

use std::fmt;
use std::io;
use std::path::PathBuf;

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use nix::libc::{EINVAL, ELOOP, ENAMETOOLONG, ENOTDIR};
use percent_encoding::percent_decode_str;
use tower_http::services::ServeDir;
use tower_http::services::fs::DefaultServeDirFallback;
use tracing::warn;

use super::beneath::Beneath;
use super::{Body, full, page};
use crate::http::responses;

/// A folder whose files are served.
pub(super) struct Folder {
    root: PathBuf,
    files: ServeDir<DefaultServeDirFallback, Beneath>,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        // Other pieces than one are answered with the whole, as a server may (RFC 9110, section 14.2).
        let files =
            ServeDir::with_backend(&root, Beneath::new(&root)).ignore_multi_range_requests(true);
        Self { root, files }
    }

    pub(super) async fn answer(&self, request: &Parts) -> Response<Body> {
        let Some(uri) = target(&request.uri) else {
            return page(match request.method {
                Method::GET | Method::HEAD => StatusCode::NOT_FOUND,
                _ => StatusCode::METHOD_NOT_ALLOWED,
            });
        };
        let mut headers = request.headers.clone();
        // Of another unit none is known here.
        if let Some(range) = headers.remove(RANGE).as_ref().and_then(in_bytes) {
            headers.insert(RANGE, range);
        }
        let response = self.ask(&request.method, &uri, headers.clone()).await;
        if !is_still(headers.get(IF_RANGE), &response) {
            headers.remove(RANGE);
            return self.ask(&request.method, &uri, headers).await;
        }
        match whole_of(headers.get(RANGE), &response) {
            Some(Whole::Range) => {
                headers.insert(RANGE, HeaderValue::from_static("bytes=0-"));
                self.ask(&request.method, &uri, headers).await
            }
            Some(Whole::Nothing) => {
                headers.remove(RANGE);
                self.ask(&request.method, &uri, headers).await
            }
            None => response,
        }
    }

    async fn ask(&self, method: &Method, uri: &Uri, headers: HeaderMap) -> Response<Body> {
        let mut request = Request::new(Empty::<bytes::Bytes>::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        match self.files.clone().try_call(request).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                // Nobody shall know one server's words for "moved" from another's.
                if parts.status == StatusCode::TEMPORARY_REDIRECT {
                    parts.status = StatusCode::MOVED_PERMANENTLY;
                }
                let is_page =
                    !parts.status.is_success() && parts.status != StatusCode::NOT_MODIFIED;
                if !is_page {
                    let body = body.map_err(Into::into).boxed_unsync();
                    return Response::from_parts(parts, body);
                }
                let text = responses::page(parts.status);
                let html = HeaderValue::from_static("text/html");
                parts.headers.insert(CONTENT_TYPE, html);
                parts.headers.insert(CONTENT_LENGTH, text.len().into());
                Response::from_parts(parts, full(text))
            }
            Err(e) => page(self.status(uri, &e)),
        }
    }

    /// What is not there, or not for everybody, is not there.
    fn status(&self, uri: &Uri, e: &io::Error) -> StatusCode {
        let is_nothing = matches!(
            e.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
        );
        let odd = [ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL];
        match is_nothing || e.raw_os_error().is_some_and(|code| odd.contains(&code)) {
            true => StatusCode::NOT_FOUND,
            false => {
                warn!(path = %uri.path(), "a file of the site cannot be read: {e}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Folder").field(&self.root).finish()
    }
}

/// The path and query of a request, if it may name a file: nothing that leads upwards, in any spelling, and nothing
/// hidden but `.well-known` (RFC 8615).
fn target(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.starts_with('/') || path.to_ascii_lowercase().contains("%2f") {
        return None;
    }
    let mut clean = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let name: Vec<u8> = percent_decode_str(part).collect();
        let is_hidden = name.starts_with(b".") && name != b".well-known";
        let is_odd = name
            .iter()
            .any(|byte| byte.is_ascii_control() || *byte == b'\\');
        if is_hidden || is_odd {
            return None;
        }
        clean.push('/');
        clean.push_str(part);
    }
    if path.ends_with('/') {
        clean.push('/');
    }
    if let Some(query) = uri.query() {
        clean.push('?');
        clean.push_str(query);
    }
    clean.parse().ok()
}

/// A range of bytes, in the spelling that the library knows.
fn in_bytes(range: &HeaderValue) -> Option<HeaderValue> {
    let (unit, ranges) = range.to_str().ok()?.split_once('=')?;
    let is_known = unit.eq_ignore_ascii_case("bytes");
    HeaderValue::try_from(format!("bytes={ranges}"))
        .ok()
        .filter(|_| is_known)
}

/// Whether a part is one of what the visitor has the rest of (`If-Range`; RFC 9110, section 13.1.5).
fn is_still(had: Option<&HeaderValue>, response: &Response<Body>) -> bool {
    let (Some(had), StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) =
        (had, response.status())
    else {
        return true;
    };
    let mut is = [ETAG, LAST_MODIFIED].into_iter();
    is.any(|name| response.headers().get(name) == Some(had))
}

/// What is asked for anew where the library answers a range otherwise than RFC 9110, section 14.1.2, has it.
enum Whole {
    /// The last bytes, more than there are: those that there are.
    Range,
    /// An empty file has no first byte.
    Nothing,
}

fn whole_of(range: Option<&HeaderValue>, response: &Response<Body>) -> Option<Whole> {
    let last = range?.to_str().ok()?.strip_prefix("bytes=-");
    let last: Option<u64> = last.and_then(|last| last.trim().parse().ok());
    let size = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let is_empty = size.ends_with("/0");
    match response.status() {
        StatusCode::PARTIAL_CONTENT if is_empty => Some(Whole::Nothing),
        StatusCode::RANGE_NOT_SATISFIABLE if last.is_some_and(|last| last > 0) => match is_empty {
            true => Some(Whole::Nothing),
            false => Some(Whole::Range),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_upwards() {
        for path in [
            "/..",
            "/../etc/passwd",
            "/a/../../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/.%2E/etc/passwd",
            "/..%2fetc/passwd",
            "/..%2Fetc%2Fpasswd",
            "/a%2fb",
            "/..\\etc\\passwd",
            "/..%5cetc",
            "/a%00.html",
            "/a%0a",
            "/.git/config",
            "/a/.env",
            "*",
        ] {
            // What is no path for the library is none for a visitor either.
            if let Ok(uri) = path.parse::<Uri>() {
                assert_eq!(target(&uri), None, "{path}");
            }
        }
        for (path, clean) in [
            ("/", "/"),
            ("/a/b.html", "/a/b.html"),
            ("//a//b/", "/a/b/"),
            ("//evil.example", "/evil.example"),
            ("http://a.example/b?c=d", "/b?c=d"),
            ("/a..b", "/a..b"),
            ("/%C3%A4", "/%C3%A4"),
            ("/.well-known/x", "/.well-known/x"),
        ] {
            assert_eq!(target(&path.parse().unwrap()).unwrap(), clean);
        }
    }
}
