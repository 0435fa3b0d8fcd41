//! A text from the web: one GET, redirects followed a few times, never from `https` to `http`.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::LONGEST;
use super::pages::LONGEST_OF_STRANGERS;
use super::socket::Asked;
use crate::address::{Destination, Host};
use crate::app::Outlets;
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

const MOST_REDIRECTS: usize = 5;

/// Whether this is the address of something on the web.
pub(super) fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    })
}

/// Where a request may go, and how.
#[derive(Clone, Copy)]
pub(super) enum Reach<'a> {
    Anywhere,
    /// By `https`, and to no address of a private network: a stranger has written it.
    Outside,
    /// By the ways out of the config that names it, as from this inbound.
    Through(&'a Outlets, &'a str),
}

/// Fetches a page within this time.
pub(super) async fn within(
    limit: Duration,
    page: &Page,
    reach: Reach<'_>,
) -> Result<Vec<u8>, String> {
    let fetched = timeout(limit, follow(page, reach)).await;
    let late = |_| Err(format!("no answer within {} s", limit.as_secs()));
    let fetched = fetched.unwrap_or_else(late);
    fetched.map_err(|e| format!("{}: {e}", shown(&page.url)))
}

/// What a program of this machine answers.
pub(super) async fn answer(asked: &Asked) -> Result<Vec<u8>, String> {
    let link = asked.socket.connect().await.map_err(|e| system_words(&e))?;
    let url = parsed(&format!("http://localhost{}", asked.target))?;
    let response = ask(Link::other(link), &url, &HeaderMap::new(), None).await?;
    match response.status() {
        StatusCode::OK => body(response, LONGEST).await,
        status => Err(format!("the server answers {status}, expected 200")),
    }
}

async fn follow(page: &Page, reach: Reach<'_>) -> Result<Vec<u8>, String> {
    let mut own = headers(page)?;
    let mut url = parsed(&page.url)?;
    let mut credentials = basic(&url);
    for _ in 0..=MOST_REDIRECTS {
        let link = connect(&url, reach).await?;
        let response = ask(link, &url, &own, credentials.as_ref()).await?;
        let status = response.status();
        if status.is_success() {
            let longest = match reach {
                Reach::Anywhere | Reach::Through(..) => LONGEST,
                Reach::Outside => LONGEST_OF_STRANGERS,
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

/// A stream to the place.
async fn connect(url: &Url, reach: Reach<'_>) -> Result<Link, String> {
    let to = match reach {
        Reach::Anywhere => url.to().clone(),
        Reach::Outside => outside(url).await?,
        Reach::Through(outlets, inbound) => {
            let link = outlets.open(inbound, url.to()).await;
            return link.map_err(|e| e.to_string());
        }
    };
    let sockopt = tcp::SockOpt::default();
    let stream = tcp::connect(&to, &Lookup::System, &sockopt).await;
    Ok(Link::Tcp(stream.map_err(|e| e.to_string())?))
}

const REFUSED: &str =
    "what was fetched names pages by `https` alone, and none of a private network";

/// Whether an address may lead to this machine or its network, by what stands in it as well: `::` is this machine, and some of
/// IPv6 have one of IPv4 inside (RFC 4291, RFC 6052, RFC 3056).
fn is_near(private: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let inner = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0, 0, 0, 0, 0, 0, a, b] => Some((a, b)),
            [0x2002, a, b, ..] => Some((a, b)),
            [0x64, 0xff9b, 1, ..] | [0xfec0..=0xfeff, ..] => return true,
            _ => None,
        },
    };
    let inner = inner.map(|(a, b)| {
        let bytes = (u32::from(a) << 16) | u32::from(b);
        IpAddr::V4(bytes.into())
    });
    let is_named = |ip: &IpAddr| private.iter().any(|net| net.contains(ip));
    ip.is_unspecified()
        || ip.is_multicast()
        || is_named(&ip)
        || inner.is_some_and(|ip| ip.is_unspecified() || is_named(&ip))
}

/// An address of the place, where it has one that is nobody's own.
async fn outside(url: &Url) -> Result<Destination, String> {
    if !url.is_https() {
        return Err(REFUSED.to_owned());
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
    let ip = found.into_iter().find(|ip| !is_near(&private, *ip));
    let ip = ip.ok_or_else(|| REFUSED.to_owned())?;
    Ok(Destination::new(Host::Ip(ip), to.port))
}

async fn ask(
    mut link: Link,
    url: &Url,
    own: &HeaderMap,
    credentials: Option<&HeaderValue>,
) -> Result<Response<Incoming>, String> {
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
            "https://[::]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:c0a8:1::]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
            "https://127.1/",
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
