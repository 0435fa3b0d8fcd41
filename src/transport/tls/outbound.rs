//! The client side.

use std::io;
use std::sync::Arc;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, InvalidMessage};

use super::certificates::Keyed;
use super::key_pair::KeyPair;
use super::p_521::PROVIDER_WITH_P521;
use super::settings::ClientSettings;
use super::stream::Stream;
use super::system;
use super::verify::Verifier;
use super::{BuildError, HANDSHAKE_LIMIT, PROVIDER};
use crate::address::{Destination, Host};
use crate::io::Link;

/// The client side.
pub struct Outbound {
    connector: TlsConnector,
    verifier: Arc<Verifier>,
    /// The name to ask for and to check; without one, the address that is dialled.
    server_name: Option<Host>,
    /// The system's authorities must be known before a handshake.
    asks_system: bool,
    /// Nothing in a config says whom to believe here.
    is_fixed: bool,
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
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            asks_system: verifier.asks_system(),
            verifier,
            server_name: settings.server_name.clone(),
            is_fixed: false,
        })
    }

    /// For HTTPS of our own, which believes the system's authorities alone.
    pub fn https() -> Result<Self, BuildError> {
        let client = Self::new(&ClientSettings::default())?;
        Ok(Self {
            is_fixed: true,
            ..client
        })
    }

    /// Reads whom to believe.
    pub fn warm_up(&self) {
        self.verifier.warm_up();
    }

    /// As [`Outbound::wrap`]; `true` when the server speaks HTTP/2.
    pub async fn dress_https(&self, link: Link, server: &Destination) -> io::Result<(Link, bool)> {
        let stream = self.handshake(link, server).await?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok((Link::other(Stream::new(stream)), is_h2))
    }

    /// The client's handshake with `server`.
    pub async fn wrap(&self, link: Link, server: &Destination) -> io::Result<Link> {
        let stream = self.handshake(link, server).await?;
        Ok(Link::other(Stream::new(stream)))
    }

    async fn handshake(&self, link: Link, server: &Destination) -> io::Result<TlsStream<Link>> {
        let host = self.server_name.as_ref().unwrap_or(&server.host);
        let name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| {
                let text = format!("`{name}` cannot be a server name of TLS, set `serverName`");
                io::Error::new(io::ErrorKind::InvalidInput, text)
            })?,
        };
        if self.asks_system {
            system::wait().await;
        }
        match timeout(HANDSHAKE_LIMIT, self.connector.connect(name, link)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) if self.is_fixed => Err(plainly(e)),
            Ok(Err(e)) => Err(explain(e, host)),
            Err(_) => {
                let text = format!("no TLS handshake within {} s", HANDSHAKE_LIMIT.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }
}

/// The reason where no setting could cure it.
fn plainly(e: io::Error) -> io::Error {
    let tls = e.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let text = match tls {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "no authority that this system believes has issued its certificate".to_owned()
        }
        Some(other) => format!("TLS handshake: {other}"),
        None => format!("during the TLS handshake: {e}"),
    };
    io::Error::new(e.kind(), text)
}

const HTTP_2: &[u8] = b"h2";

/// The reason in plain words, with its likeliest cure.
fn explain(e: io::Error, host: &Host) -> io::Error {
    let tls = e.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let text = match tls {
        Some(Error::InvalidCertificate(error)) => certificate(error, host),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "the server does not speak TLS on this port".to_owned()
        }
        Some(Error::AlertReceived(alert)) => {
            format!("the server ends the TLS handshake: {alert:?}, does it know the name {host}?")
        }
        Some(other) => format!("TLS handshake: {other}"),
        None if e.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection during the TLS handshake, is this a TLS port?"
                .to_owned()
        }
        None => return io::Error::new(e.kind(), format!("during the TLS handshake: {e}")),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

const UNKNOWN_ISSUER: &str = "nobody we believe has issued the server's certificate: give its issuer as a \
    certificate with `usage: verify`, or pin it by `pinnedPeerCertificateChainSha256`";

const CURE: &str =
    "make another one, or pin it by `pinnedPeerCertificateChainSha256`, which takes any";

fn certificate(error: &CertificateError, host: &Host) -> String {
    match error {
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names: Vec<&str> = presented
                .iter()
                .map(|name| {
                    name.trim_start_matches("DnsName(\"")
                        .trim_end_matches("\")")
                })
                .collect();
            format!(
                "the certificate is for {}, not for {host}: set `serverName` to the name it is for",
                names.join(", ")
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate is not for {host}: set `serverName` to the name it is for")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired (or our clock is wrong)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet (or our clock is wrong)".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            UNKNOWN_ISSUER.to_owned()
        }
        CertificateError::ApplicationVerificationFailure => {
            "the server has not the key of its certificate: somebody sits in between, or its files do not belong together"
                .to_owned()
        }
        CertificateError::UnhandledCriticalExtension => {
            format!("the server's certificate has a critical extension that is not known, {CURE}")
        }
        CertificateError::BadEncoding => format!("the server's certificate is malformed, {CURE}"),
        CertificateError::Other(other) => match other.to_string() {
            // A self-signed certificate that nobody gave us, and that may sign others.
            text if text.contains("CaUsedAsEndEntity") => UNKNOWN_ISSUER.to_owned(),
            text if text.contains("UnsupportedCertVersion") => {
                format!("the server's certificate is of a version before 3, {CURE}")
            }
            text => text,
        },
        other => format!("the server's certificate is not taken: {other}"),
    }
}
