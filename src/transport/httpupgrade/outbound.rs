//! The client's side.

use std::io;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::ahead::Ahead;
use super::{ClientSettings, EarlyData, EarlyHeader};
use crate::address::Destination;
use crate::cause::{DialError, UpgradeError};
use crate::http::early_data;
use crate::http::lazy_handshake::LazyHandshake;
use crate::http::request::{Target, host_of, of_chrome, value_of};
use crate::http::upgrade::{self, LIMIT};
use crate::io::{Link, PeerClock, Prefixed, Step};

/// The client side.
#[derive(Clone, Debug)]
pub struct Outbound(Arc<Client>);

#[derive(Debug)]
struct Client {
    settings: ClientSettings,
    target: Target,
    /// What time it is at the server, by its answers.
    clock: Arc<PeerClock>,
}

/// Whom a request asks.
struct Asked {
    host: HeaderValue,
    tls: bool,
}

impl Outbound {
    /// A client of these settings.
    pub fn new(settings: ClientSettings) -> Self {
        Self(Arc::new(Client {
            target: Target::new(&settings.path_in_url()),
            settings,
            clock: Arc::default(),
        }))
    }

    /// What time it is at the server, once it has answered.
    pub fn clock(&self) -> Arc<PeerClock> {
        self.0.clock.clone()
    }

    /// The client's handshake with `server`. With early data in a header it is delayed to the first write, of which it
    /// carries the beginning.
    ///
    /// # Errors
    ///
    /// When the server does not switch.
    pub async fn wrap(&self, link: Link, server: &Destination, tls: bool) -> io::Result<Link> {
        let client = Arc::clone(&self.0);
        let host = client.settings.host.clone();
        let host = host.unwrap_or_else(|| host_of(server, tls));
        let asked = Asked { host, tls };
        match &client.settings.early_data {
            None => client.handshake(link, &asked, None).await,
            Some(EarlyData::Ahead) => client.ahead(link, &asked).await,
            Some(EarlyData::Header(header)) => {
                let header = header.clone();
                let lazy = LazyHandshake::new(header.max, move |early: Vec<u8>| {
                    Box::pin(async move {
                        let early =
                            Some((&header, &early[..])).filter(|(_, early)| !early.is_empty());
                        client.handshake(link, &asked, early).await
                    })
                });
                Ok(Link::other(lazy))
            }
        }
    }
}

impl Client {
    /// Sends the request and waits for the answer.
    async fn handshake(
        &self,
        mut link: Link,
        asked: &Asked,
        early: Option<(&EarlyHeader, &[u8])>,
    ) -> io::Result<Link> {
        let mut step = Step::begin("upgrade");
        let upgrading = async {
            let request = self.request(asked, early)?;
            let (answer, read) = upgrade::ask(&mut link, &request, &self.clock).await?;
            upgrade::granted(&answer, &self.target.path)?;
            Ok(read.freeze())
        };
        let upgraded = timeout(LIMIT, upgrading).await;
        let read = upgraded.unwrap_or(Err(UpgradeError::Slow(LIMIT)));
        let read = read.map_err(DialError::from)?;
        step.done(format_args!("101 at {}", self.target.path));
        Ok(Prefixed::link(read, link))
    }

    /// Sends the request; the link that this makes waits for the answer when it is read.
    async fn ahead(&self, mut link: Link, asked: &Asked) -> io::Result<Link> {
        let sending = async {
            let request = self.request(asked, None)?;
            let sent = async {
                link.write_all(&request).await?;
                link.flush().await
            };
            sent.await.map_err(UpgradeError::Broken)
        };
        let sent = timeout(LIMIT, sending).await;
        let sent = sent.unwrap_or(Err(UpgradeError::Slow(LIMIT)));
        sent.map_err(DialError::from)?;
        Ok(Link::other(Ahead::new(
            link,
            self.target.path.clone(),
            self.clock.clone(),
        )))
    }

    /// What Chrome sends, but for the keys of a WebSocket: sing-box' server does not know a path where they are sent.
    /// The user's headers replace those of the same name.
    fn request(
        &self,
        asked: &Asked,
        early: Option<(&EarlyHeader, &[u8])>,
    ) -> Result<Vec<u8>, UpgradeError> {
        let mut headers: HeaderMap = of_chrome(asked.host.clone(), asked.tls)?;
        for (name, value) in &self.settings.headers {
            headers.insert(name, value.clone());
        }
        if let Some((EarlyHeader { name, .. }, early)) = early {
            let value = early_data::encode_padded(early);
            headers.insert(name, value_of(value.as_bytes())?);
        }
        Ok(self.target.get("", &headers))
    }
}
