//! The client's side: what a browser is asked for in the place of a WebSocket of our own.

use std::io;
use std::sync::Arc;

use super::dialer::{Dialer, Wanted};
use super::stream::Piped;
use super::{Naming, Takes};
use crate::address::{Destination, Host};
use crate::cause::{BrowserError, DialError};
use crate::http::lazy_handshake::LazyHandshake;
use crate::http::request::{Target, host_of, without_port};
use crate::http::{EarlyData, EarlyDataIn, early_data};
use crate::io::{Closing, Link, Step};
use crate::transport::ws::ClientSettings;

/// WebSockets that a browser opens.
#[derive(Clone, Debug)]
pub struct Outbound(Arc<Client>);

#[derive(Debug)]
struct Client {
    dialer: Dialer,
    target: Target,
    naming: Naming,
    settings: ClientSettings,
    /// Over TLS, and by what name the server was to be known, if that is not the address.
    tls: Option<Option<String>>,
}

impl Outbound {
    /// A client of these settings; `tls` is the name that TLS was to ask for, where there is TLS. With `asked` it goes
    /// through the browser because its settings say so.
    pub fn new(
        dialer: Dialer,
        settings: ClientSettings,
        tls: Option<Option<String>>,
        asked: bool,
    ) -> Self {
        Self(Arc::new(Client {
            naming: naming(dialer.takes(), asked),
            target: Target::new(&settings.path),
            dialer,
            settings,
            tls,
        }))
    }

    /// A tunnel to `server`. With early data it begins with the first write, of which it carries the beginning.
    ///
    /// # Errors
    ///
    /// When the browser opens none.
    pub async fn open(&self, server: &Destination, closing: &Closing) -> io::Result<Link> {
        let client = self.0.clone();
        let (server, closing) = (client.named(server)?, closing.clone());
        match client.settings.early_data {
            None => {
                let opened = client.dial(&server, &[], closing).await;
                Ok(Link::other(opened?))
            }
            Some(EarlyData { max, .. }) => Ok(Link::other(LazyHandshake::new(
                max,
                move |early: Vec<u8>| {
                    Box::pin(async move { client.dial(&server, &early, closing).await })
                },
            ))),
        }
    }
}

/// How the server is called: as the program whose way of switching it on was taken does it.
pub(super) fn naming(takes: Takes, asked: bool) -> Naming {
    match (takes, asked) {
        (_, true) | (Takes::Asked, _) => Naming::ByAddress,
        (Takes::All, false) => Naming::ByHost,
    }
}

/// The name that stands in a Host header.
pub(super) fn host_named(settings: &ClientSettings) -> Option<&str> {
    let host = settings.host.as_ref()?.to_str().ok()?;
    Some(without_port(host)).filter(|host| !host.is_empty())
}

impl Client {
    /// The server, as the browser is to call it.
    fn named(&self, server: &Destination) -> Result<Destination, DialError> {
        let sni = self.tls.as_ref().and_then(Option::as_deref);
        let name = match self.naming {
            Naming::ByHost => host_named(&self.settings).or(sni),
            Naming::ByAddress => match sni {
                // Whoever is there could show any certificate that is good for the address.
                Some(name) if !is_named(server, name) => {
                    let (server, name) = (server.clone(), name.to_owned());
                    return Err(BrowserError::OtherName { server, name }.into());
                }
                _ => None,
            },
        };
        let host = name.and_then(|name| Host::parse(name).ok());
        let host = host.unwrap_or_else(|| server.host.clone());
        Ok(Destination::new(host, server.port))
    }

    async fn dial(
        &self,
        server: &Destination,
        early: &[u8],
        closing: Closing,
    ) -> io::Result<Piped> {
        let host = host_of(server, self.tls.is_some());
        let host = String::from_utf8_lossy(host.as_bytes()).into_owned();
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let early_text = early_data::encode(early);
        let carried_in = self
            .settings
            .early_data
            .as_ref()
            .map(|early| &early.carried_in);
        let (behind, protocol) = match carried_in {
            Some(EarlyDataIn::Path) => (&*early_text, None),
            _ => ("", Some(early_text.clone()).filter(|text| !text.is_empty())),
        };
        let wanted = Wanted {
            url: format!("{scheme}://{host}{}", self.target.with(behind)),
            host: format!("{scheme}://{host}"),
            protocol,
            is_early: !early.is_empty(),
            closing,
        };
        let mut step = Step::begin("browser");
        let opened = self.dialer.dial(&wanted).await.map_err(DialError::from)?;
        step.done(format_args!("open at {}{}", wanted.host, self.target.path));
        Ok(opened)
    }
}

/// Whether a server is dialled by this name.
pub(super) fn is_named(server: &Destination, name: &str) -> bool {
    match (&server.host, Host::parse(name)) {
        (Host::Domain(host), _) => host.eq_ignore_ascii_case(name),
        (ip, Ok(named)) => *ip == named,
        _ => false,
    }
}
