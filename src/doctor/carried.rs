//! One request through an outbound, and what became of it.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use tokio::time::timeout;

use crate::address::Destination;
use crate::cause::{AnswerError, DialError, Fault, StreamError, TlsError, UpgradeError, code_of};
use crate::dispatch::Dispatcher;
use crate::http::request::{Target, host_of};
use crate::http::upgrade;
use crate::io::{Link, PeerClock};
use crate::observatory::Url;
use crate::transport::tls;

/// How a request fared.
#[derive(Debug)]
pub(super) enum Carried {
    /// The target has answered.
    Answered { status: u16, took: Duration },
    /// The target has said something else.
    Talks(Fault, String),
    /// The way to it is broken, or the server says that there is none.
    Failed(io::Error),
    /// It ended without a word.
    Ended,
    /// Nothing came.
    Silent,
}

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// The client of targets that speak HTTPS.
static TLS: LazyLock<tls::Outbound> = LazyLock::new(|| {
    let settings = tls::ClientSettings {
        alpn: vec!["http/1.1".to_owned()],
        ..tls::ClientSettings::default()
    };
    tls::Outbound::new(&settings).expect("the defaults need no files")
});

/// Asks for `url` by the outbound with this tag.
pub(super) async fn carry(dispatcher: &Arc<Dispatcher>, tag: &str, url: &Url) -> Carried {
    let began = Instant::now();
    match timeout(PATIENCE, open(dispatcher, tag, url)).await {
        Err(_) => Carried::Silent,
        Ok(Err(carried)) => carried,
        Ok(Ok((link, status))) => {
            crate::io::spawn(link.close());
            let took = began.elapsed();
            Carried::Answered { status, took }
        }
    }
}

/// Asks a place that is no web server for anything at all.
pub(super) async fn knock(dispatcher: &Arc<Dispatcher>, tag: &str, to: &Destination) -> Carried {
    let began = Instant::now();
    let asked = async {
        let opened = dispatcher.open_by_tag(tag, to).await;
        let link = opened.map_err(Carried::Failed)?;
        ask(link, host_of(to, false), "/").await
    };
    match timeout(PATIENCE, asked).await {
        Err(_) => Carried::Silent,
        Ok(Err(carried)) => carried,
        Ok(Ok((_, status))) => Carried::Answered {
            status,
            took: began.elapsed(),
        },
    }
}

/// The link, with the head of an answer read from it.
pub(super) async fn open(
    dispatcher: &Arc<Dispatcher>,
    tag: &str,
    url: &Url,
) -> Result<(Link, u16), Carried> {
    let opened = dispatcher.open_by_tag(tag, url.to()).await;
    let mut link = opened.map_err(Carried::Failed)?;
    if url.is_https() {
        link = TLS.wrap(link, url.to()).await.map_err(in_tls)?;
    }
    ask(link, url.host().clone(), &url.target().to_string()).await
}

async fn ask(mut link: Link, host: HeaderValue, path: &str) -> Result<(Link, u16), Carried> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static("Go-http-client/1.1"));
    let request = Target::new(path).get("", &headers);
    let asked = upgrade::ask(&mut link, &request, &PeerClock::default()).await;
    match asked {
        Ok((answer, _)) => Ok((link, answer.status().as_u16())),
        Err(UpgradeError::Broken(e)) => Err(Carried::Failed(e)),
        Err(UpgradeError::Closed) => Err(Carried::Ended),
        Err(_) => {
            let text = "the target's answer is not HTTP".to_owned();
            Err(Carried::Talks(Fault::TargetNotHttp, text))
        }
    }
}

/// What the target's TLS says, unless it is the tunnel below.
fn in_tls(error: TlsError) -> Carried {
    match error {
        TlsError::Broken(e) => Carried::Failed(e),
        TlsError::Failed(e) if code_of(&e).is_some() => Carried::Failed(e),
        TlsError::Closed => Carried::Ended,
        TlsError::Slow(_) => Carried::Silent,
        other => Carried::Talks(Fault::TargetTls, format!("the target: {}", other.plain())),
    }
}

impl Carried {
    /// Whether the server has taken the request for one of its users'.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Self::Answered { .. } | Self::Talks(..) => true,
            Self::Failed(e) => matches!(AnswerError::of(e), Some(AnswerError::Unreached(_))),
            Self::Ended | Self::Silent => false,
        }
    }

    /// What is wrong with the way to the server, and not behind it.
    pub(super) fn on_the_way(&self) -> Option<&io::Error> {
        match self {
            Self::Failed(e) if DialError::of(e).is_some() || StreamError::of(e).is_some() => {
                Some(e)
            }
            _ => None,
        }
    }
}
