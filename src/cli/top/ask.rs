//! Asks a server for its state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use crate::address::Destination;
use crate::cause::system_words;
use crate::cli::args::ConfigArgs;
use crate::cli::inputs;
use crate::cli::load::load;
use crate::config::{ApiListen, Metrics};
use crate::http::client::reason;
use crate::observatory::Url;
use crate::seam::FallbackTarget;
use crate::secret::Secret;
use crate::transport::{tcp, tls};

/// How long an answer may take; a rate that nobody has measured for a while takes half a second.
const LIMIT: Duration = Duration::from_secs(10);

/// The most that an answer may have: ten thousand tunnels have less.
const LONGEST: usize = 16 * 1024 * 1024;

/// The default of `--url`.
const URL: &str = "http://127.0.0.1:9191";

/// Who is asked.
#[derive(Debug)]
pub(super) struct Server {
    to: FallbackTarget,
    /// Of an `https` URL.
    tls: Option<Destination>,
    host: HeaderValue,
    /// In front of `/status.json`.
    path: String,
    token: Option<Secret<String>>,
    name: String,
}

impl Server {
    /// The one that the command line names.
    ///
    /// # Errors
    ///
    /// In words, when it names none.
    pub(super) fn find(
        config: &ConfigArgs,
        url: Option<&str>,
        token: Option<Secret<String>>,
    ) -> Result<Self, String> {
        let has_config = !(config.config.is_empty() && config.confdir.is_empty());
        let metrics = has_config.then(|| metrics(config)).transpose()?;
        let of_config = metrics.as_ref().and_then(|metrics| metrics.token.as_ref());
        let token = token.or_else(|| of_config.map(|token| Secret(token.to_string())));
        match (url, metrics.and_then(|metrics| metrics.listen)) {
            (None, Some(listen)) => Ok(Self::at(listen, token)),
            (None, None) if has_config => Err(
                "`metrics` of the config has a tag and no `listen`, expected `--url` with where rules lead there".to_owned(),
            ),
            (url, _) => Self::by_url(url.unwrap_or(URL), token),
        }
    }

    fn at(listen: ApiListen, token: Option<Secret<String>>) -> Self {
        let (to, name) = match listen {
            ApiListen::Tcp(mut at) => {
                match at.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => at.set_ip(Ipv4Addr::LOCALHOST.into()),
                    IpAddr::V6(ip) if ip.is_unspecified() => at.set_ip(Ipv6Addr::LOCALHOST.into()),
                    _ => {}
                }
                (FallbackTarget::Tcp(at.into()), at.to_string())
            }
            ApiListen::Unix(path) => {
                let name = path.display().to_string();
                (FallbackTarget::Unix(path), name)
            }
            ApiListen::Abstract(name) => {
                let shown = format!("@{}", String::from_utf8_lossy(&name));
                (FallbackTarget::Abstract(name), shown)
            }
        };
        let host = match &to {
            FallbackTarget::Tcp(_) => HeaderValue::try_from(&name).ok(),
            _ => None,
        };
        Self {
            to,
            tls: None,
            host: host.unwrap_or_else(|| HeaderValue::from_static("localhost")),
            path: String::new(),
            token,
            name,
        }
    }

    fn by_url(url: &str, token: Option<Secret<String>>) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|e| format!("--url: {e}"))?;
        let path = url.target().path().trim_end_matches('/');
        let path = path.strip_suffix("/status.json").unwrap_or(path);
        Ok(Self {
            to: FallbackTarget::Tcp(url.to().clone()),
            tls: url.is_https().then(|| url.to().clone()),
            host: url.host().clone(),
            path: path.to_owned(),
            token,
            name: url.to().to_string(),
        })
    }

    /// What it is called on the screen.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its state, with so many tunnels.
    ///
    /// # Errors
    ///
    /// In words, when it does not tell.
    pub(super) async fn ask(&self, tunnels: usize) -> Result<Value, String> {
        let at = &self.name;
        let asked = timeout(LIMIT, self.request(tunnels)).await;
        let late = || Err(format!("no answer within {} s", LIMIT.as_secs()));
        let (status, body) = asked
            .unwrap_or_else(|_| late())
            .map_err(|why| format!("{at}: {why}"))?;
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(format!(
                    "{at}: the token is missing or another one, expected that of the server's `metrics.token` by `--token`, MOBULA_TOKEN or `-c FILE`"
                ));
            }
            StatusCode::NOT_FOUND => {
                return Err(format!(
                    "{at}: there is no {}/status.json, expected the address of `metrics.listen`",
                    self.path
                ));
            }
            _ => {
                let text = String::from_utf8_lossy(&body);
                let text: String = text.chars().take(300).collect();
                return Err(format!("{at}: {status}: {}", text.trim().escape_debug()));
            }
        }
        serde_json::from_slice(&body)
            .ok()
            .filter(|status: &Value| status["tunnels"]["list"].is_array())
            .ok_or_else(|| format!("{at}: what answers there is no mobula, expected the address of `metrics.listen`"))
    }

    async fn request(&self, tunnels: usize) -> Result<(StatusCode, Bytes), String> {
        let connected = tcp::connect_behind(&self.to).await;
        let mut link = connected.map_err(|e| {
            format!(
                "{} (is `metrics.listen` in the server's config, and this its address?)",
                system_words(&e)
            )
        })?;
        if let Some(server) = &self.tls {
            let settings = tls::ClientSettings {
                alpn: vec!["http/1.1".to_owned()],
                ..tls::ClientSettings::default()
            };
            let tls = tls::Outbound::new(&settings).map_err(|e| e.to_string())?;
            link = tls.wrap(link, server).await.map_err(|e| e.plain())?;
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(link))
            .await
            .map_err(|e| reason(&e))?;
        crate::io::spawn(connection);
        let path = format!("{}/status.json?tunnels={tunnels}", self.path);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::try_from(path).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(token) = &self.token {
            let shown = HeaderValue::try_from(format!("Bearer {}", &**token));
            let shown =
                shown.map_err(|_| "the token has a character that no header may have".to_owned());
            request.headers_mut().insert(AUTHORIZATION, shown?);
        }
        let answer = sender.send_request(request).await;
        let (parts, body) = answer.map_err(|e| reason(&e))?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        Ok((parts.status, body))
    }
}

/// `metrics` of a config.
fn metrics(args: &ConfigArgs) -> Result<Metrics, String> {
    let inputs = inputs::find(args)?;
    let loaded = load(&inputs, args.options()).loaded;
    let Some(config) = loaded.config else {
        let lines: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(lines.join("\n"));
    };
    let example = "expected such as `\"metrics\": {\"listen\": \"127.0.0.1:9191\"}`";
    config
        .metrics
        .ok_or_else(|| format!("the config has no `metrics`, {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_url(url: &str) -> Server {
        Server::by_url(url, None).unwrap()
    }

    #[test]
    fn a_url_may_lead_to_the_page_or_to_its_state() {
        for (url, path) in [
            ("http://127.0.0.1:9191", ""),
            ("http://127.0.0.1:9191/", ""),
            ("http://127.0.0.1:9191/status.json", ""),
            ("https://a.example/watch/", "/watch"),
            ("https://a.example/watch/status.json", "/watch"),
        ] {
            assert_eq!(by_url(url).path, path, "{url}");
        }
        let server = by_url("https://a.example/");
        assert_eq!(
            (server.tls.is_some(), server.name()),
            (true, "a.example:443")
        );
        assert!(
            Server::by_url("a.example", None)
                .unwrap_err()
                .starts_with("--url: ")
        );
    }

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        let at = |listen: &str| Server::at(ApiListen::Tcp(listen.parse().unwrap()), None).name;
        assert_eq!(at("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(at("[::]:1"), "[::1]:1");
        assert_eq!(at("192.0.2.1:1"), "192.0.2.1:1");
    }
}
