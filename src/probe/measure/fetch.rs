//! A request as a script makes one, through a node, and the whole of its answer.
//!
//! What is not said here is as Go's client has it, with which MiaoSpeed asks: where an answer leads is followed, by GET but
//! for 307 and 308, and what only the first place may know is not told to another. An answer may come packed by gzip unless the
//! script itself says in what it may come: then it is opened, and its head is that of the plain one.

use std::fmt::Write;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH};
use http::header::{
    COOKIE, HOST, HeaderName, HeaderValue, RANGE, SET_COOKIE, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::super::lab::Mounted;
use super::exchange::{Exchange, Progress};
use crate::http::gzip::{self, gunzip};
use crate::observatory::Url;

/// The longest body of an answer.
const MAX_BODY: usize = 4 << 20;

/// How many other places it may be at.
const MAX_REDIRECTS: usize = 64;

/// What a script asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Fetch {
    /// Where it is.
    pub(crate) url: String,
    /// `GET`, …
    pub(crate) method: String,
    /// What is sent.
    pub(crate) body: String,
    /// Names with their values.
    pub(crate) headers: Vec<(String, String)>,
    /// Likewise.
    pub(crate) cookies: Vec<(String, String)>,
    /// An answer that leads elsewhere is the answer.
    pub(crate) no_redir: bool,
    /// How often it is tried.
    pub(crate) retry: u32,
    /// How long a try may take, in milliseconds.
    pub(crate) timeout: u32,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Fetched {
    status: StatusCode,
    headers: HeaderMap,
    /// Each `Location` that was followed.
    redirects: Vec<String>,
    method: String,
    url: String,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// Asks; `None` when nothing came.
pub(crate) async fn fetch(node: &Mounted, asked: &Fetch) -> Option<Fetched> {
    let limit = Duration::from_millis(asked.timeout.into());
    for _ in 0..asked.retry.clamp(1, 10) {
        match timeout(limit, once(node, asked)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(why)) => tracing::debug!("a script's request failed: {why}"),
            Err(_) => tracing::debug!("a script's request timed out"),
        }
    }
    None
}

async fn once(node: &Mounted, asked: &Fetch) -> Result<Fetched, String> {
    let mut url = Url::parse(&asked.url).map_err(|e| e.to_string())?;
    let mut request = Request::of(asked)?;
    let mut redirects = Vec::new();
    loop {
        let mut exchange = Exchange::open(node, &url, &Progress::default()).await?;
        let mut answer = exchange.ask(&request.to(&url)).await?;
        let leads_to = match asked.no_redir || redirects.len() > MAX_REDIRECTS {
            true => None,
            false => answer.leads_to(&url),
        };
        let Some(other) = leads_to else {
            let body = match request.method == Method::HEAD {
                true => Vec::new(),
                false => exchange.body(&answer, MAX_BODY).await?,
            };
            let body = match request.takes_gzip() && gzip::is_said(&answer.headers) {
                true => {
                    answer.headers.remove(CONTENT_ENCODING);
                    answer.headers.remove(CONTENT_LENGTH);
                    gunzip(&body, MAX_BODY)?
                }
                false => body,
            };
            exchange.close();
            return Ok(Fetched {
                status: answer.status,
                headers: answer.headers,
                redirects,
                method: asked.method.clone(),
                url: asked.url.clone(),
                body,
            });
        };
        exchange.close();
        let location = answer.headers.get(http::header::LOCATION);
        let location = location.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        redirects.extend(location);
        let other = other?;
        request.follow(answer.status, other.host() == url.host());
        url = other;
    }
}

/// What is sent.
struct Request {
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Request {
    fn of(asked: &Fetch) -> Result<Self, String> {
        let method = Method::from_bytes(asked.method.as_bytes()).map_err(|e| e.to_string())?;
        if method == Method::CONNECT {
            return Err("CONNECT asks for no page".to_owned());
        }
        let mut headers = Vec::new();
        for (name, value) in &asked.headers {
            let name: HeaderName = name.parse().map_err(|e| format!("{name:?}: {e}"))?;
            let value = HeaderValue::from_str(value).map_err(|e| format!("{name}: {e}"))?;
            // What says where a message ends is not for others to say.
            let is_own = [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name);
            if !is_own {
                headers.push((name, value));
            }
        }
        let mut cookies = String::new();
        for (name, value) in &asked.cookies {
            let between = if cookies.is_empty() { "" } else { "; " };
            let _ = write!(cookies, "{between}{name}={value}");
        }
        if !cookies.is_empty() {
            let value = HeaderValue::from_str(&cookies).map_err(|e| format!("cookies: {e}"))?;
            headers.push((COOKIE, value));
        }
        Ok(Self {
            method,
            headers,
            body: asked.body.clone().into_bytes(),
        })
    }

    /// Becomes the one that follows an answer.
    fn follow(&mut self, status: StatusCode, is_same_host: bool) {
        let keeps = matches!(
            status,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        if !keeps {
            if self.method != Method::HEAD {
                self.method = Method::GET;
            }
            self.body.clear();
            self.headers
                .retain(|(name, _)| !name.as_str().starts_with("content-"));
        }
        if !is_same_host {
            self.headers
                .retain(|(name, _)| ![AUTHORIZATION, COOKIE].contains(name));
        }
    }

    fn says(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|(said, _)| said == name)
    }

    /// Whether the answer may be packed without the script's knowing: parts of a page are parts of what they are packed as.
    fn takes_gzip(&self) -> bool {
        self.method != Method::HEAD && !self.says(&ACCEPT_ENCODING) && !self.says(&RANGE)
    }

    fn to(&self, url: &Url) -> Vec<u8> {
        let host = String::from_utf8_lossy(url.host().as_bytes());
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\n",
            self.method,
            url.target()
        );
        if !self.says(&USER_AGENT) {
            let _ = write!(head, "User-Agent: mobula/{}\r\n", env!("CARGO_PKG_VERSION"));
        }
        if self.takes_gzip() {
            head.push_str("Accept-Encoding: gzip\r\n");
        }
        let needs_length = [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if needs_length || !self.body.is_empty() {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        let mut bytes = head.into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(as_go_has_it(name).as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Fetched {
    /// All but the body, as a script finds it.
    pub(crate) fn head(&self) -> Value {
        let mut headers = Map::new();
        for name in self.headers.keys() {
            let values = self.headers.get_all(name).iter();
            let values: Vec<String> = values.map(text).collect();
            headers.insert(as_go_has_it(name), values.into());
        }
        let cookies = self.headers.get_all(SET_COOKIE).iter();
        let reason = self.status.canonical_reason().unwrap_or_default();
        let status = format!("{} {reason}", self.status.as_u16());
        json!({
            "status": status.trim_end(),
            "statusCode": self.status.as_u16(),
            "headers": headers,
            "cookies": cookies.map(text).filter_map(|line| cookie(&line)).collect::<Vec<_>>(),
            "method": self.method,
            "url": self.url,
            "redirects": self.redirects,
        })
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// A name as Go spells it: `Content-Type`.
fn as_go_has_it(name: &HeaderName) -> String {
    let parts = name.as_str().split('-').map(|part| {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        first.to_ascii_uppercase() + rest
    });
    parts.collect::<Vec<_>>().join("-")
}

/// A cookie in the words of Go's `http.Cookie`; `None` of what is none.
fn cookie(line: &str) -> Option<Value> {
    let mut parts = line.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    if name.is_empty() {
        return None;
    }
    let mut cookie = json!({
        "Name": name.trim(), "Value": value.trim().trim_matches('"'), "Path": "", "Domain": "", "RawExpires": "", "MaxAge": 0,
        "Secure": false, "HttpOnly": false, "Raw": line,
    });
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match &*key.to_ascii_lowercase() {
            "path" => cookie["Path"] = value.into(),
            "domain" => cookie["Domain"] = value.trim_start_matches('.').into(),
            "expires" => cookie["RawExpires"] = value.into(),
            // Go has a number below 0 for a cookie that is to be forgotten.
            "max-age" => {
                let seconds = value.parse::<i64>().unwrap_or_default();
                cookie["MaxAge"] = if seconds > 0 { seconds } else { -1 }.into();
            }
            "secure" => cookie["Secure"] = true.into(),
            "httponly" => cookie["HttpOnly"] = true.into(),
            _ => {}
        }
    }
    Some(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(asked: &Fetch) -> Result<String, String> {
        let url = Url::parse("http://example.com/a?b").unwrap();
        Ok(String::from_utf8(Request::of(asked)?.to(&url)).unwrap())
    }

    #[test]
    fn a_request_is_as_the_script_says() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let asked = Fetch {
            method: "POST".to_owned(),
            body: "{}".to_owned(),
            headers: vec![
                pair("user-agent", "curl/8"),
                pair("HOST", "other"),
                pair("content-length", "7"),
                pair("x-a", "b"),
            ],
            cookies: vec![pair("a", "1"), pair("b", "2")],
            ..Fetch::default()
        };
        assert_eq!(
            sent(&asked).unwrap(),
            "POST /a?b HTTP/1.1\r\nHost: example.com\r\nAccept-Encoding: gzip\r\nContent-Length: 2\r\nUser-Agent: curl/8\r\n\
             X-A: b\r\nCookie: a=1; b=2\r\nConnection: close\r\n\r\n{}"
        );
        for (method, headers, cookies) in [
            ("GET /\r\nX: y", vec![], vec![]),
            ("", vec![], vec![]),
            ("CONNECT", vec![], vec![]),
            ("GET", vec![pair("a b", "c")], vec![]),
            ("GET", vec![pair("a", "b\r\nc: d")], vec![]),
            ("GET", vec![], vec![pair("a", "b\r\nc: d")]),
        ] {
            let broken = Fetch {
                method: method.to_owned(),
                headers,
                cookies,
                ..Fetch::default()
            };
            assert!(sent(&broken).is_err(), "{broken:?}");
        }
    }

    /// As Go's transport does: who has said what may come, or wants a part, or no body, gets what there is.
    #[test]
    fn gzip_is_asked_for_where_the_script_need_not_know() {
        for (method, header, packed) in [
            ("GET", "X-A", true),
            ("POST", "X-A", true),
            ("HEAD", "X-A", false),
            ("GET", "Range", false),
            ("GET", "accept-encoding", false),
        ] {
            let asked = Fetch {
                method: method.to_owned(),
                headers: vec![(header.to_owned(), "identity".to_owned())],
                ..Fetch::default()
            };
            let says = sent(&asked).unwrap().contains("Accept-Encoding: gzip");
            assert_eq!(says, packed, "{method} {header}");
        }
    }

    #[test]
    fn what_follows_a_redirect_says_no_more_than_it_must() {
        let pair = |name: &str| (name.to_owned(), "x".to_owned());
        let asked = Fetch {
            method: "POST".to_owned(),
            body: "{}".to_owned(),
            headers: vec![pair("Authorization"), pair("Content-Type"), pair("X-A")],
            cookies: vec![pair("a")],
            ..Fetch::default()
        };
        let names = |request: &Request| -> Vec<String> {
            let names = request.headers.iter().map(|(name, _)| name.to_string());
            names.collect()
        };
        let mut request = Request::of(&asked).unwrap();
        request.follow(StatusCode::TEMPORARY_REDIRECT, true);
        assert_eq!(
            (request.method.as_str(), &*request.body),
            ("POST", &b"{}"[..])
        );
        assert_eq!(names(&request).len(), 4);
        request.follow(StatusCode::FOUND, false);
        assert_eq!((request.method.as_str(), &*request.body), ("GET", &b""[..]));
        assert_eq!(names(&request), ["x-a"]);
    }

    #[test]
    fn an_answer_is_in_gos_words() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/html"),
            ("x-a", "1"),
            ("x-a", "2"),
            (
                "set-cookie",
                "id=\"7\"; Path=/x; Domain=.example.com; Max-Age=0; Secure; HttpOnly",
            ),
            ("set-cookie", "nonsense"),
        ] {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        let answer = Fetched {
            status: StatusCode::NOT_FOUND,
            headers,
            redirects: vec!["/a".to_owned()],
            method: "GET".to_owned(),
            url: "http://example.com/".to_owned(),
            body: Vec::new(),
        };
        let head = answer.head();
        assert_eq!(
            (&head["status"], &head["statusCode"]),
            (&json!("404 Not Found"), &json!(404))
        );
        assert_eq!(head["headers"]["Content-Type"], json!(["text/html"]));
        assert_eq!(head["headers"]["X-A"], json!(["1", "2"]));
        assert_eq!(head["redirects"], json!(["/a"]));
        let cookies = head["cookies"].as_array().unwrap();
        assert_eq!(cookies.len(), 1);
        for (key, value) in [
            ("Name", json!("id")),
            ("Value", json!("7")),
            ("Path", json!("/x")),
            ("Domain", json!("example.com")),
            ("MaxAge", json!(-1)),
            ("HttpOnly", json!(true)),
        ] {
            assert_eq!(cookies[0][key], value, "{key}");
        }
    }
}
