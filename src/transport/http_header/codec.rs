//! The heads as bytes. Which of several values is taken is chance's, an argument.

use percent_encoding::percent_decode_str;

use super::{Header, Request, Response};
use crate::http::request::encoded;

/// Chooses below a number.
pub(super) type Pick<'p> = &'p mut dyn FnMut(usize) -> usize;

impl Request {
    /// The head; what may not stand in a request line is percent-encoded.
    pub(super) fn head(&self, pick: Pick<'_>) -> Vec<u8> {
        let path = encoded(one_of(&self.paths, pick));
        let mut head = format!("{} {path} HTTP/{}\r\n", self.method, self.version);
        lines(&mut head, &self.headers, pick);
        (head + "\r\n").into_bytes()
    }

    /// Whether a request for this target is for one of the paths: V2Ray compares them with the decoded path alone, so
    /// that one with a query is never asked for there.
    pub(super) fn is_for(&self, path: &str, query: Option<&str>) -> bool {
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        let whole = query.map(|query| format!("{path}?{query}"));
        let mut paths = self.paths.iter();
        paths.any(|own| own.as_bytes() == decoded || Some(&encoded(own)) == whole.as_ref())
    }
}

impl Response {
    /// The head; `date` is written where no header says it.
    pub(super) fn head(&self, date: &str, pick: Pick<'_>) -> Vec<u8> {
        let mut head = format!("HTTP/{} {} {}\r\n", self.version, self.status, self.reason);
        lines(&mut head, &self.headers, pick);
        let mut names = self.headers.iter().map(|header| &header.name);
        if !names.any(|name| name.eq_ignore_ascii_case("date")) {
            head += &format!("Date: {date}\r\n");
        }
        (head + "\r\n").into_bytes()
    }
}

fn lines(head: &mut String, headers: &[Header], pick: Pick<'_>) {
    for Header { name, values } in headers {
        *head += &format!("{name}: {}\r\n", one_of(values, pick));
    }
}

fn one_of<'v>(values: &'v [String], pick: Pick<'_>) -> &'v str {
    match values {
        [] => "",
        [one] => one,
        _ => &values[pick(values.len()) % values.len()],
    }
}

/// The head of an answer at the front of what came: its length and its status. Whatever a server was told to write is
/// one, if it begins like it; V2Ray's client looks for the empty line alone.
///
/// # Errors
///
/// When it begins otherwise.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<(usize, u16)>, NotHttp> {
    const VERSION: &[u8] = b"HTTP/";
    let n = bytes.len().min(VERSION.len());
    if bytes[..n] != VERSION[..n] {
        return Err(NotHttp);
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let status = line.split(|b| *b == b' ').nth(1).unwrap_or_default();
    let status = std::str::from_utf8(status)
        .ok()
        .and_then(|s| s.parse().ok());
    Ok(Some((end + 4, status.unwrap_or(0))))
}

/// What comes is no answer of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotHttp;
