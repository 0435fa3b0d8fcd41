//! The server side.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout_at;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{Acceptor, ClientHello, WebPkiClientVerifier};
use tokio_rustls::rustls::{Error, InvalidMessage, RootCertStore, ServerConfig};

use super::certificates::{Keyed, chain_hash};
use super::config::{Settings, Side};
use super::issue::{Authority, self_signed};
use super::resolver::Resolver;
use super::stream::Stream;
use super::{HANDSHAKE_LIMIT, PROVIDER};
use crate::address::Host;
use crate::io::{Link, Refusal};
use crate::json::Node;

/// The server side: a config for each protocol that may be agreed on, and one for none. rustls ends a
/// handshake in which no protocol is common; V2Ray's users have clients that offer odd lists.
pub struct Inbound {
    plain: Arc<ServerConfig>,
    by_alpn: Vec<(Vec<u8>, Arc<ServerConfig>)>,
    resolver: Resolver,
    requires_client_certificate: bool,
}

impl Inbound {
    /// Reads `tlsSettings`; `stream` is the `streamSettings` that they are missing from, if they are.
    pub fn read(stream: &Node, settings: Option<&Node>, over_ws: bool) -> Option<Self> {
        let Some(node) = settings else {
            stream.error("`tlsSettings` is missing, a TLS server needs `certificates`");
            return None;
        };
        let object = node.object()?;
        let settings = Settings::read(&object, Side::Server, over_ws);
        let inbound = Self::build(node, settings);
        object.finish();
        inbound
    }

    fn build(node: &Node, settings: Settings) -> Option<Self> {
        let mut keyed = settings.keyed;
        if settings.self_signed {
            keyed.push(make_self_signed(node, settings.server_name.as_ref())?);
        }
        let mut authorities = Vec::new();
        for issuer in settings.issuers {
            match Authority::new(issuer) {
                Ok(authority) => authorities.push(authority),
                Err(text) => node.error(text),
            }
        }
        if keyed.is_empty() && authorities.is_empty() {
            // What is there and of no use has been reported already.
            if !settings.has_certificates {
                node.error("`certificates` is missing, a TLS server needs one");
            }
            return None;
        }
        let resolver = Resolver::new(keyed, authorities, settings.reject_unknown_sni);
        let builder = ServerConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(settings.versions.list())
            .map_err(|e| node.error(e.to_string()))
            .ok()?;
        let builder = if settings.verify_client {
            let roots = roots(&settings.client_authorities, &settings.authorities);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone())
                    .build()
                    .map_err(|e| {
                        node.error(format!(
                    "`verifyClientCertificate` needs a certificate with `usage: verifyclient`: {e}"
                ));
                    })
                    .ok()?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let plain = builder.with_cert_resolver(Arc::new(resolver.clone()));
        let by_alpn = settings.alpn.into_iter().map(|name| {
            let mut config = plain.clone();
            config.alpn_protocols = vec![name.clone()];
            (name, Arc::new(config))
        });
        let by_alpn = by_alpn.collect();
        Some(Self {
            plain: Arc::new(plain),
            by_alpn,
            resolver,
            requires_client_certificate: settings.verify_client,
        })
    }

    /// Whether whoever comes must show a certificate.
    pub fn requires_client_certificate(&self) -> bool {
        self.requires_client_certificate
    }

    /// The server's handshake; the client's time runs since `since`.
    pub async fn accept(&self, link: Link, since: tokio::time::Instant) -> Result<Link, Refusal> {
        match timeout_at(since + HANDSHAKE_LIMIT, self.shake(link)).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(e)) => Err(Refusal::Done(explain(&e))),
            Err(_) => Err(Refusal::Done(format!(
                "no TLS handshake within {} s",
                HANDSHAKE_LIMIT.as_secs()
            ))),
        }
    }

    async fn shake(&self, link: Link) -> std::io::Result<Link> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), link).await?;
        self.resolver.refresh().await;
        let config = self.choose(&hello.client_hello());
        let stream = hello.into_stream(config).await?;
        Ok(Link::other(Stream::new(stream)))
    }

    /// Our first protocol that the client offers too.
    fn choose(&self, hello: &ClientHello) -> Arc<ServerConfig> {
        let offered: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        let ours = self
            .by_alpn
            .iter()
            .find(|(name, _)| offered.contains(&&name[..]));
        ours.map_or(&self.plain, |(_, config)| config).clone()
    }
}

/// A certificate for this start only; clients that pin it need its hash, so the log has that.
fn make_self_signed(node: &Node, name: Option<&Host>) -> Option<Keyed> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    match name {
        Some(Host::Domain(name)) => names.insert(0, name.clone()),
        Some(Host::Ip(ip)) => names.insert(0, ip.to_string()),
        None => {}
    }
    match self_signed(names) {
        Ok(key) => {
            let pin = STANDARD.encode(chain_hash(&key.cert));
            node.warn(format!(
                "a certificate was made for this start only; a client believes it with \
                 \"pinnedPeerCertificateChainSha256\": [\"{pin}\"]"
            ));
            Some(Keyed::made(Arc::new(key)))
        }
        Err(text) => {
            node.error(format!("cannot make a certificate: {text}"));
            None
        }
    }
}

fn roots(clients: &[Vec<u8>], others: &[Vec<u8>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let ders = if clients.is_empty() { others } else { clients };
    store.add_parsable_certificates(ders.iter().map(|der| CertificateDer::from(der.as_slice())));
    store
}

/// Why a handshake failed, for the log.
fn explain(e: &std::io::Error) -> String {
    let tls = e.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "this is not TLS: has the client no `security: tls`, or is it a plain HTTP request?"
                .to_owned()
        }
        Some(Error::AlertReceived(alert)) => {
            format!(
                "the client ends the TLS handshake: {alert:?}, does it believe the certificate?"
            )
        }
        Some(Error::General(text)) if text == NO_CERTIFICATE => {
            "the TLS client asks for a name that there is no certificate for, or its file is not read yet"
                .to_owned()
        }
        Some(other) => format!("TLS handshake: {other}"),
        None if e.kind() == std::io::ErrorKind::UnexpectedEof => String::new(),
        None => format!("TLS handshake: {e}"),
    }
}

/// rustls' words for a resolver that has nothing.
const NO_CERTIFICATE: &str = "no server certificate chain resolved";
