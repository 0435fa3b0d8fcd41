//! What a browser would see where a tunnel should be.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, SERVER};
use http::{Response, StatusCode};
use tokio::time::timeout;

use crate::http::request::Target;
use crate::http::upgrade;
use crate::io::{Link, PeerClock};

/// An answer that is no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    /// What the server calls itself.
    pub(super) server: Option<String>,
    /// The title of a web page.
    pub(super) title: Option<String>,
    /// The beginning of what is no web page.
    text: String,
}

/// How long is waited for it, and how many bytes of it are looked at.
const LIMIT: Duration = Duration::from_secs(4);
const MAX: usize = 16 * 1024;

/// Asks for `path` as a browser does that wants a page; `clock` hears what time it is there.
pub(super) async fn look(
    mut link: Link,
    host: HeaderValue,
    path: &str,
    clock: &PeerClock,
) -> Option<Page> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let request = Target::new(path).get("", &headers);
    let asked = upgrade::ask(&mut link, &request, clock);
    let (answer, body) = timeout(LIMIT, asked).await.ok()?.ok()?;
    Some(read(&answer, body, link).await)
}

/// Reads the beginning of an answer's body.
async fn read(answer: &Response<()>, mut body: BytesMut, mut link: Link) -> Page {
    let reading = async {
        while body.len() < MAX && title_in(&body).is_none() && link.read_more(&mut body).await? > 0
        {
        }
        io::Result::Ok(())
    };
    // Whatever has come is looked at.
    let _ = timeout(LIMIT, reading).await;
    let server = answer.headers().get(SERVER);
    let text = String::from_utf8_lossy(&body);
    Page {
        status: answer.status(),
        server: server.map(|name| said(&String::from_utf8_lossy(name.as_bytes()))),
        title: title_in(&body),
        text: said(text.trim()),
    }
}

impl Page {
    /// Whether a server of HTTPS says that it was asked in the clear: nginx' words, and Go's.
    pub(super) fn wants_tls(&self) -> bool {
        let words = [self.title.as_deref().unwrap_or_default(), &self.text];
        words.iter().any(|words| {
            let words = words.to_ascii_lowercase();
            words.contains("plain http request was sent to https")
                || words.contains("http request to an https server")
        })
    }
}

impl Page {
    /// What to do about words of nginx' that are about something else than their status tells.
    pub(super) fn cure(&self) -> Option<&'static str> {
        let title = self.title.as_deref()?.to_ascii_lowercase();
        if title.contains("ssl certificate was sent") || title.contains("ssl certificate error") {
            return Some(
                "the web server in front wants a certificate of the client's: take `ssl_verify_client` out of it",
            );
        }
        let is_large = title.contains("header or cookie too large");
        is_large.then_some("make `maxEarlyData` smaller: 2048 fits everywhere")
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a browser sees {} there", self.status.as_u16())?;
        match (&self.title, self.text.is_empty()) {
            (Some(title), _) => write!(f, ", a web page with the title `{title}`"),
            (None, false) if self.text.starts_with('<') => f.write_str(", a web page"),
            (None, false) => write!(f, ", `{}`", self.text.chars().take(60).collect::<String>()),
            (None, true) => Ok(()),
        }
    }
}

/// The title of a web page.
fn title_in(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let begins = lower.find("<title")?;
    let begins = begins + lower[begins..].find('>')? + 1;
    let ends = begins + lower[begins..].find("</title")?;
    Some(said(text[begins..ends].trim()))
}

/// Somebody else's words, short and without anything that a terminal would act on.
fn said(text: &str) -> String {
    text.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_nginx_tell_more_than_their_status() {
        let cure = |title: &str| {
            let page = Page {
                status: StatusCode::BAD_REQUEST,
                server: None,
                title: Some(title.to_owned()),
                text: String::new(),
            };
            page.cure().unwrap_or_default()
        };
        assert!(cure("400 No required SSL certificate was sent").contains("ssl_verify_client"));
        assert!(cure("400 Request Header Or Cookie Too Large").contains("maxEarlyData"));
        assert_eq!(cure("400 Bad Request"), "");
    }

    #[test]
    fn a_title_is_found_whatever_stands_around_it() {
        for (body, title) in [
            ("<html><head><TITLE> Welcome </TITLE>", Some("Welcome")),
            ("<title lang=\"en\">a\u{1b}[1m</title>", Some("a\\u{1b}[1m")),
            ("<title>cut", None),
            ("<titl", None),
            ("404 page not found", None),
            ("İ<title>İ</title>", Some("İ")),
        ] {
            assert_eq!(title_in(body.as_bytes()).as_deref(), title, "{body}");
        }
    }
}
