//! A text from the web: one GET, redirects followed a few times, never from `https` to `http`.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::lookup_host;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::LONGEST;
use crate::address::{Destination, Host};
use crate::cause::system_words;
use crate::dialect::form::{Page, shown};
use crate::dns::Lookup;
use crate::http::client::reason;
use crate::http::gzip::{self, gunzip};
use crate::io::Link;
use crate::matching::geodata;
use crate::observatory::Url;
use crate::transport::tcp;
use crate::transport::tls::{ClientSettings, Outbound};

/// For all of it.
const LIMIT: Duration = Duration::from_secs(30);

/// For each of the pages that a text names, which are fetched together.
const PAGE_LIMIT: Duration = Duration::from_secs(15);

/// More than a config names.
const MOST_PAGES: usize = 64;

/// Of each page that a stranger names: all are held at once.
const LONGEST_OF_STRANGERS: u64 = 4 << 20;

const MOST_REDIRECTS: usize = 5;

/// Whether this is the address of something on the web.
pub(super) fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    })
}

/// Fetches what stands there.
pub(super) fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let page = Page {
        url: url.to_owned(),
        headers: Vec::new(),
    };
    let fetched = aside(async move { within(LIMIT, &page, Whither::Anywhere).await });
    fetched.unwrap_or_else(Err)
}

/// Where a request may go.
#[derive(Clone, Copy, PartialEq)]
enum Whither {
    Anywhere,
    /// By `https`, and to no address of a private network: a stranger has written it.
    Outside,
}

/// Fetches what stands at each place, all at once. What a text names that came from the web itself is fetched from outside this
/// network alone.
pub(super) fn fetch_all(pages: Vec<Page>, is_remote: bool) -> Vec<Result<Vec<u8>, String>> {
    let whither = match is_remote {
        true => Whither::Outside,
        false => Whither::Anywhere,
    };
    let one = move |(n, page): (usize, Page)| async move {
        match n < MOST_PAGES {
            true => within(PAGE_LIMIT, &page, whither).await,
            false => Err(format!("no more than {MOST_PAGES} are fetched")),
        }
    };
    let len = pages.len();
    let all = join_all(pages.into_iter().enumerate().map(one));
    aside(all).unwrap_or_else(|e| vec![Err(e); len])
}

/// Runs what waits for others by a thread of its own, so that it may be called from anywhere.
fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let working = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
        let done = runtime.block_on(work);
        // A look-up of a name that hangs is not waited for.
        runtime.shutdown_background();
        Ok(done)
    });
    working
        .join()
        .unwrap_or_else(|_| Err("it was given up".to_owned()))
}

async fn within(limit: Duration, page: &Page, whither: Whither) -> Result<Vec<u8>, String> {
    let fetched = timeout(limit, follow(page, whither)).await;
    let late = |_| Err(format!("no answer within {} s", limit.as_secs()));
    let fetched = fetched.unwrap_or_else(late);
    fetched.map_err(|e| format!("{}: {e}", shown(&page.url)))
}

async fn follow(page: &Page, whither: Whither) -> Result<Vec<u8>, String> {
    let mut own = headers(page)?;
    let mut url = parsed(&page.url)?;
    let mut credentials = basic(&url);
    for _ in 0..=MOST_REDIRECTS {
        let to = match whither {
            Whither::Anywhere => url.to().clone(),
            Whither::Outside => outside(&url).await?,
        };
        let response = ask(&url, &to, &own, credentials.as_ref()).await?;
        let status = response.status();
        if status.is_success() {
            let longest = match whither {
                Whither::Anywhere => LONGEST,
                Whither::Outside => LONGEST_OF_STRANGERS,
            };
            return body(response, longest).await;
        }
        let is_redirect = matches!(
            status,
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok());
        let Some(to) = location.filter(|_| is_redirect) else {
            return Err(format!("the server answers {status}, expected 200"));
        };
        let next = parsed(&resolved(&url, to))?;
        if url.is_https() && !next.is_https() {
            return Err("it leads from `https` to `http`, where everybody on the way could read it: it is not followed".to_owned());
        }
        // Whoever else it leads to is not told.
        let is_same = next.to() == url.to() && next.is_https() == url.is_https();
        credentials = basic(&next).or(credentials.filter(|_| is_same));
        if !is_same {
            let agent = own.remove(USER_AGENT);
            own = agent.map(|agent| (USER_AGENT, agent)).into_iter().collect();
        }
        url = next;
    }
    Err(format!(
        "it leads on and on, after {MOST_REDIRECTS} redirects"
    ))
}

/// Without what belongs to a page's reader, and to nobody else.
fn parsed(url: &str) -> Result<Url, String> {
    let url = url.split('#').next().unwrap_or_default();
    // The text of a URL may be as good as a password.
    Url::parse(url).map_err(|_| "this is no URL, expected `https://HOST/PATH`".to_owned())
}

/// Where a `Location` leads that may be relative (RFC 9110, section 10.2.2).
fn resolved(from: &Url, to: &str) -> String {
    if to.contains("://") {
        return to.to_owned();
    }
    let scheme = if from.is_https() { "https" } else { "http" };
    if let Some(rest) = to.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    let host = String::from_utf8_lossy(from.host().as_bytes()).into_owned();
    let path = from.target().path();
    match to.starts_with('/') {
        true => format!("{scheme}://{host}{to}"),
        false if to.starts_with('?') => format!("{scheme}://{host}{path}{to}"),
        false => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{host}{folder}/{to}")
        }
    }
}

/// The user and the password of a URL, as a server asks for them (RFC 7617).
fn basic(url: &Url) -> Option<HeaderValue> {
    let userinfo = percent_decode_str(url.userinfo()?).collect::<Vec<u8>>();
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(userinfo))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a page's own request says.
fn headers(page: &Page) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &page.headers {
        let name = HeaderName::try_from(name).map_err(|_| wrong(name))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong(name.as_str()))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn wrong(name: &str) -> String {
    format!("`{}` is no header that could be sent", name.escape_debug())
}

/// An address of the place, where it has one that is nobody's own.
async fn outside(url: &Url) -> Result<Destination, String> {
    let refused = "what was fetched names pages by `https` alone, and none of a private network";
    if !url.is_https() {
        return Err(refused.to_owned());
    }
    let to = url.to();
    let found: Vec<IpAddr> = match &to.host {
        Host::Ip(ip) => vec![*ip],
        Host::Domain(name) => {
            let found = lookup_host((name.as_str(), to.port)).await;
            let found = found.map_err(|e| system_words(&e))?;
            found.map(|at| at.ip()).collect()
        }
    };
    let private = geodata::private();
    let is_own = |ip: &IpAddr| private.iter().any(|net| net.contains(&ip.to_canonical()));
    let ip = found.into_iter().find(|ip| !is_own(ip));
    let ip = ip.ok_or_else(|| refused.to_owned())?;
    Ok(Destination::new(Host::Ip(ip), to.port))
}

async fn ask(
    url: &Url,
    to: &Destination,
    own: &HeaderMap,
    credentials: Option<&HeaderValue>,
) -> Result<Response<Incoming>, String> {
    let sockopt = tcp::SockOpt::default();
    let stream = tcp::connect(to, &Lookup::System, &sockopt).await;
    let mut link = Link::Tcp(stream.map_err(|e| e.to_string())?);
    if url.is_https() {
        let tls = ClientSettings {
            alpn: vec!["http/1.1".to_owned()],
            ..ClientSettings::default()
        };
        let tls = Outbound::new(&tls).map_err(|e| e.to_string())?;
        link = tls.wrap(link, url.to()).await.map_err(|e| e.plain())?;
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(link))
        .await
        .map_err(|e| reason(&e))?;
    crate::io::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = url.target().clone();
    let headers = request.headers_mut();
    headers.insert(HOST, url.host().clone());
    if let Some(credentials) = credentials {
        headers.insert(AUTHORIZATION, credentials.clone());
    }
    let agent = concat!("mobula/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    for name in own.keys() {
        headers.remove(name);
    }
    for (name, value) in own {
        headers.append(name, value.clone());
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    sender.send_request(request).await.map_err(|e| reason(&e))
}

async fn body(response: Response<Incoming>, most: u64) -> Result<Vec<u8>, String> {
    let longest = usize::try_from(most).unwrap_or(usize::MAX);
    let is_packed = gzip::is_said(response.headers());
    let body = Limited::new(response.into_body(), longest).collect().await;
    let body = body.map_err(|e| match e.downcast::<hyper::Error>() {
        Ok(e) => reason(&e),
        Err(_) => format!("it has more than {} MiB", most >> 20),
    })?;
    let body = body.to_bytes();
    // Some have it packed for everybody, asked or not.
    match is_packed {
        true => gunzip(&body, longest),
        false => Ok(body.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_stranger_wrote_leads_to_no_private_network() {
        for url in [
            "http://192.0.2.1/",
            "https://127.0.0.1:8443/",
            "https://[::ffff:10.0.0.1]/",
            "https://localhost/",
        ] {
            let url = parsed(url).unwrap();
            assert!(outside(&url).await.is_err(), "{:?}", url.to());
        }
        let url = parsed("https://9.9.9.9/").unwrap();
        assert_eq!(outside(&url).await.as_ref(), Ok(url.to()));
    }

    #[test]
    fn a_location_is_read_from_where_it_was_found() {
        let from = parsed("https://a.example:8443/x/y?z#part").unwrap();
        for (to, expected) in [
            ("http://b.example/", "http://b.example/"),
            ("//b.example/c", "https://b.example/c"),
            ("/c?d", "https://a.example:8443/c?d"),
            ("c", "https://a.example:8443/x/c"),
            ("?d", "https://a.example:8443/x/y?d"),
        ] {
            assert_eq!(resolved(&from, to), expected);
        }
    }

    #[test]
    fn a_url_may_say_who_asks() {
        let of = |url| basic(&parsed(url).unwrap());
        assert_eq!(of("https://a.example/u:p@x"), None);
        let value = of("http://us%40er:p%3Aw@a.example/x").unwrap();
        assert_eq!(value, "Basic dXNAZXI6cDp3");
        assert!(value.is_sensitive());
    }

    #[test]
    fn nothing_shows_what_is_as_good_as_a_password() {
        assert_eq!(
            shown("https://u:p@a.example:1/secret?token=x"),
            "https://a.example:1/…"
        );
        for url in [
            "https://a.example/x y",
            "https:///secret",
            "ftp://a.example/secret",
        ] {
            assert!(!parsed(url).unwrap_err().contains("secret"));
        }
        assert!(
            is_url("HTTPS://a") && is_url("http://a") && !is_url("vmess://a") && !is_url("a.json")
        );
    }
}
