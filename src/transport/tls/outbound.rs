//! The client side.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, CommonState, Error, InvalidMessage, OtherError,
};

use super::certificates::Keyed;
use super::early;
use super::key_pair::KeyPair;
use super::p_521::PROVIDER_WITH_P521;
use super::record;
use super::seen::Seen;
use super::settings::ClientSettings;
use super::stream::Stream;
use super::system;
use super::verify::Verifier;
use super::{BuildError, HANDSHAKE_LIMIT, PROVIDER, version};
use crate::address::{Destination, Host};
use crate::cause::{TlsError, Untrusted, Unusable, Words};
use crate::io::{Link, Step};

/// The client side.
pub struct Outbound {
    config: Arc<ClientConfig>,
    /// What is written first may go along with the handshake.
    early_data: bool,
    verifier: Arc<Verifier>,
    /// The name to ask for and to check; without one, the address that is dialled.
    server_name: Option<Host>,
    /// The name to check in the place of that one; there may be more.
    verified_name: Option<Host>,
    words: Words,
    /// The system's authorities must be known before a handshake.
    asks_system: bool,
}

impl Outbound {
    /// A client of these settings.
    ///
    /// # Errors
    ///
    /// When its own certificate cannot be used.
    pub fn new(settings: &ClientSettings) -> Result<Self, BuildError> {
        let verifier = Arc::new(Verifier::new(settings));
        let provider = match verifier.takes_any() {
            true => PROVIDER_WITH_P521.clone(),
            false => PROVIDER.clone(),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(settings.versions.list())?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let own = settings.certificate.as_ref().map(KeyPair::load);
        let own = own.transpose()?;
        let mut config = match own.as_ref().and_then(Keyed::loaded) {
            // For a server that asks for one.
            Some(own) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.key.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        let alpn = settings.alpn.iter().cloned().map(String::into_bytes);
        config.alpn_protocols = alpn.collect();
        config.resumption = Resumption::in_memory_sessions(32);
        config.enable_early_data = settings.early_data;
        config.enable_secret_extraction = true;
        Ok(Self {
            config: Arc::new(config),
            early_data: settings.early_data,
            asks_system: verifier.asks_system(),
            verifier,
            server_name: settings.server_name.clone(),
            verified_name: settings.verify_names.first().cloned(),
            words: settings.words,
        })
    }

    /// Reads whom to believe.
    pub fn warm_up(&self) {
        self.verifier.warm_up();
    }

    /// As [`Outbound::wrap`]; with the protocol that was agreed on, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Outbound::wrap`].
    pub async fn wrap_with_alpn(
        &self,
        link: Link,
        server: &Destination,
    ) -> Result<(Link, Option<Vec<u8>>), TlsError> {
        let agreed = |session: &CommonState| session.alpn_protocol().map(<[u8]>::to_vec);
        self.handshake(link, server, agreed).await
    }

    /// The client's handshake with `server`. With early data it may only begin with the first write, and what becomes of it is told
    /// by the link then, as a [`DialError`](crate::cause::DialError).
    ///
    /// # Errors
    ///
    /// When it fails, or when the server is not to be believed.
    pub async fn wrap(&self, link: Link, server: &Destination) -> Result<Link, TlsError> {
        if !self.early_data {
            return Ok(self.handshake(link, server, |_| ()).await?.0);
        }
        let host = self.asked_for(server);
        let connector = TlsConnector::from(self.config.clone()).early_data(true);
        let shake = |name| async {
            let stream = connector.connect(name, link).await?;
            let said = said(stream.get_ref().1, host);
            Ok((stream, said))
        };
        let stream = self.shake(host, shake).await?;
        if !stream.get_ref().1.is_handshaking() {
            return Ok(Link::other(Stream::new(stream)));
        }
        let verified = self.verified_name.as_ref().unwrap_or(host);
        Ok(Link::other(early::OfClient::new(stream, verified.clone())))
    }

    /// As [`Outbound::wrap`]; with what the server has shown.
    ///
    /// # Errors
    ///
    /// As [`Outbound::wrap`].
    pub async fn examine(
        &self,
        link: Link,
        server: &Destination,
    ) -> Result<(Link, Seen), TlsError> {
        self.handshake(link, server, Seen::of).await
    }

    /// The name that a server is asked for.
    pub fn name(&self, server: &Destination) -> String {
        match self.asked_for(server) {
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            host => host.to_string(),
        }
    }

    /// A handshake that is done, and what `look` sees in it.
    async fn handshake<T>(
        &self,
        link: Link,
        server: &Destination,
        look: impl FnOnce(&CommonState) -> T,
    ) -> Result<(Link, T), TlsError> {
        let host = self.asked_for(server);
        let look = |session: &CommonState| (look(session), said(session, host));
        let shake = |name| async {
            let shaken = record::of_client(link, name, self.config.clone(), look).await;
            shaken.map(|(link, (seen, said))| ((link, seen), said))
        };
        self.shake(host, shake).await
    }

    fn asked_for<'a>(&'a self, server: &'a Destination) -> &'a Host {
        self.server_name.as_ref().unwrap_or(&server.host)
    }

    async fn shake<T, F: Future<Output = io::Result<(T, String)>>>(
        &self,
        host: &Host,
        shake: impl FnOnce(ServerName<'static>) -> F,
    ) -> Result<T, TlsError> {
        let shaken = self.shaken(host, shake).await;
        shaken.map_err(|e| e.said_in(self.words))
    }

    async fn shaken<T, F: Future<Output = io::Result<(T, String)>>>(
        &self,
        host: &Host,
        shake: impl FnOnce(ServerName<'static>) -> F,
    ) -> Result<T, TlsError> {
        let name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|_| TlsError::ServerName(name.clone()))?,
        };
        if self.asks_system {
            system::wait().await;
        }
        let mut step = Step::begin("tls");
        match timeout(HANDSHAKE_LIMIT, shake(name)).await {
            Ok(shaken) => {
                let verified = self.verified_name.as_ref().unwrap_or(host);
                let (shaken, said) = shaken.map_err(|e| cause(e, verified))?;
                step.done(said);
                Ok(shaken)
            }
            Err(_) => Err(TlsError::Slow(HANDSHAKE_LIMIT)),
        }
    }
}

/// How far a handshake is, for people.
fn said(session: &CommonState, host: &Host) -> String {
    match session.is_handshaking() {
        false => format!("{} with {host}", version(session)),
        true => format!("a ticket for early data with {host}"),
    }
}

/// Why a handshake failed.
pub(super) fn cause(e: io::Error, host: &Host) -> TlsError {
    let tls = e.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(error)) => certificate(error, host),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => TlsError::NotTls,
        Some(Error::AlertReceived(alert)) => TlsError::Alert {
            host: host.clone(),
            alert: format!("{alert:?}"),
        },
        Some(_) => TlsError::Failed(e),
        None if e.kind() == io::ErrorKind::UnexpectedEof => TlsError::Closed,
        None => TlsError::Broken(e),
    }
}

fn certificate(error: &CertificateError, host: &Host) -> TlsError {
    let wrong_name = |presented| TlsError::WrongName {
        host: host.clone(),
        presented,
    };
    match error {
        CertificateError::NotValidForNameContext { presented, .. } => {
            // As rustls shows them: `DnsName("a.example")`, `IpAddress(192.0.2.1)`.
            let bare = |name: &String| {
                let inner = name.split_once('(').map_or(&**name, |(_, inner)| inner);
                inner.trim_end_matches(')').trim_matches('"').to_owned()
            };
            wrong_name(presented.iter().map(bare).collect())
        }
        CertificateError::NotValidForName => wrong_name(Vec::new()),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::NotYetValid
        }
        // The last two: somebody who is believed has the issuer's name, and another key.
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            TlsError::UnknownIssuer
        }
        CertificateError::ApplicationVerificationFailure => TlsError::WrongKey,
        CertificateError::UnhandledCriticalExtension => {
            TlsError::Unusable(Unusable::CriticalExtension)
        }
        CertificateError::BadEncoding => TlsError::Unusable(Unusable::Malformed),
        CertificateError::Other(OtherError(other)) => match other.downcast_ref::<Untrusted>() {
            Some(untrusted) => TlsError::Untrusted(untrusted.clone()),
            // What webpki says has no type that it shows.
            None => match other.to_string() {
                // A self-signed certificate that nobody gave us, and that may sign others.
                text if text.contains("CaUsedAsEndEntity") => TlsError::UnknownIssuer,
                text if text.contains("UnsupportedCertVersion") => {
                    TlsError::Unusable(Unusable::Version)
                }
                text => TlsError::Certificate(text),
            },
        },
        other => TlsError::Certificate(format!("the server's certificate is not taken: {other}")),
    }
}
