//! The server side.

use std::io;
use std::sync::Arc;

use tokio::time::timeout_at;
use tokio_rustls::rustls::crypto::aws_lc_rs::Ticketer;
use tokio_rustls::rustls::server::ClientHello;
use tokio_rustls::rustls::{CommonState, Error, InvalidMessage, PeerIncompatible, ServerConfig};

use super::certificates::Keyed;
use super::early;
use super::issue::Authority;
use super::key_pair::KeyPair;
use super::record;
use super::resolver::Resolver;
use super::settings::ServerSettings;
use super::{BuildError, HANDSHAKE_LIMIT, PROVIDER, version};
use crate::cause::TlsAcceptError;
use crate::io::{Link, Step};
use crate::seam::TlsFacts;

/// The server side: a config for each protocol that may be agreed on, and one for none. rustls ends a
/// handshake in which no protocol is common; V2Ray's users have clients that offer odd lists.
pub struct Inbound {
    plain: Arc<ServerConfig>,
    by_alpn: Vec<(Vec<u8>, Arc<ServerConfig>)>,
    resolver: Resolver,
    #[cfg(feature = "app")]
    acme: Vec<Arc<super::acme::Certificate>>,
}

impl Inbound {
    /// A server of these settings.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be used, or there is none.
    pub fn new(settings: &ServerSettings) -> Result<Self, BuildError> {
        let keyed = settings.certificates.iter().map(KeyPair::load);
        let mut keyed: Vec<Keyed> = keyed.collect::<Result<_, _>>()?;
        if let Some(self_signed) = &settings.self_signed {
            keyed.push(self_signed.load()?);
        }
        let mut authorities = Vec::new();
        for issuer in &settings.issuers {
            let authority = Authority::new(issuer.load()?).map_err(BuildError::Issuer)?;
            authorities.push(authority);
        }
        #[cfg(feature = "app")]
        let acme: Vec<_> = settings
            .acme
            .iter()
            .map(super::acme::Certificate::of)
            .collect();
        #[cfg(feature = "app")]
        let shared: Vec<_> = acme.iter().map(|one| one.keyed.clone()).collect();
        #[cfg(not(feature = "app"))]
        let shared = Vec::new();
        if keyed.is_empty() && authorities.is_empty() && shared.is_empty() {
            return Err(BuildError::NoCertificate);
        }
        let resolver = Resolver::new(keyed, authorities, shared, settings.reject_unknown_sni);
        let builder = ServerConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(settings.versions.list())?;
        let builder = match settings.client_auth.verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut plain = builder.with_cert_resolver(Arc::new(resolver.clone()));
        plain.enable_secret_extraction = true;
        // What is remembered of a client is with the client: a table here would be too small for its next visit, or cost memory.
        // Early data is another matter: its tickets are good for one time, and somebody has to know which were used.
        match settings.early_data {
            false => plain.ticketer = Ticketer::new()?,
            true => {
                plain.session_storage = Arc::new(early::Tickets::default());
                plain.max_early_data_size = early::MAX;
                plain.send_half_rtt_data = true;
            }
        }
        let by_alpn = settings.alpn.iter().map(|name| {
            let name = name.clone().into_bytes();
            let mut config = plain.clone();
            config.alpn_protocols = vec![name.clone()];
            (name, Arc::new(config))
        });
        let by_alpn = by_alpn.collect();
        Ok(Self {
            plain: Arc::new(plain),
            by_alpn,
            resolver,
            #[cfg(feature = "app")]
            acme,
        })
    }

    /// With the next handshake the files are looked at, however long ago they were; where an authority has not given a
    /// certificate, it is asked again.
    pub fn look_at_files(&self) {
        self.resolver.look_soon();
        #[cfg(feature = "app")]
        self.acme.iter().for_each(|one| one.look_soon());
    }

    /// What authorities issue is renewed until all that comes back is dropped.
    #[cfg(feature = "app")]
    pub fn keep(&self) -> Vec<Arc<super::acme::Keeping>> {
        self.acme
            .iter()
            .map(super::acme::Certificate::keep)
            .collect()
    }

    /// Its certificates: their names, and when they run out.
    #[cfg(feature = "app")]
    pub fn certificates(&self) -> Vec<(String, std::time::SystemTime)> {
        self.resolver.certificates()
    }

    /// The server's handshake; the client's time runs since `since`.
    ///
    /// # Errors
    ///
    /// When it fails; the connection is over then.
    pub async fn accept(
        &self,
        link: Link,
        since: tokio::time::Instant,
    ) -> Result<(Link, TlsFacts), TlsAcceptError> {
        let mut step = Step::begin("tls");
        match timeout_at(
            since + HANDSHAKE_LIMIT,
            self.shake(link, since + HANDSHAKE_LIMIT, &mut step),
        )
        .await
        {
            Ok(shaken) => shaken,
            Err(_) => Err(TlsAcceptError::Slow(HANDSHAKE_LIMIT)),
        }
    }

    async fn shake(
        &self,
        mut link: Link,
        until: tokio::time::Instant,
        step: &mut Step,
    ) -> Result<(Link, TlsFacts), TlsAcceptError> {
        let hello = early::hello(&mut link).await.map_err(cause)?;
        #[cfg(feature = "app")]
        if let Some(proof) = super::acme::by_tls(&hello.accepted.client_hello()) {
            let proved = early::accept(hello, link, proof, until, |_| ());
            let (mut link, ()) = Box::pin(proved).await.map_err(cause)?;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut link).await;
            step.done("a proof for an authority");
            return Err(TlsAcceptError::Proved);
        }
        self.resolver.refresh().await;
        let said = hello.accepted.client_hello();
        let config = self.choose(&said);
        let name = said.server_name().map(str::to_ascii_lowercase);
        let look = |session: &CommonState| facts(session, name, step);
        // Early data that is not taken has to be passed over, which rustls' own stream does alone.
        let accepted = match config.max_early_data_size > 0 || early::announces(&hello.received) {
            false => record::of_server(link, hello.into_received(), config, look).await,
            true => {
                let early = early::accept(hello, link, config, until, |session| look(session));
                Box::pin(early).await
            }
        };
        accepted.map_err(|e| match cause(e) {
            TlsAcceptError::NoCertificate if self.resolver.awaits() => TlsAcceptError::NotYet,
            other => other,
        })
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

/// What was agreed on.
fn facts(session: &CommonState, server_name: Option<String>, step: &mut Step) -> TlsFacts {
    let name = server_name.as_deref().unwrap_or("no name");
    let early = match session.is_handshaking() {
        true => ", with early data",
        false => "",
    };
    step.done(format_args!("{} for {name}{early}", version(session)));
    let alpn = session.alpn_protocol().map(String::from_utf8_lossy);
    TlsFacts {
        alpn: alpn.map(std::borrow::Cow::into_owned),
        server_name,
    }
}

/// Why a handshake failed.
fn cause(e: io::Error) -> TlsAcceptError {
    let tls = e.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => TlsAcceptError::NotTls,
        Some(Error::AlertReceived(alert)) => TlsAcceptError::Alert(format!("{alert:?}")),
        Some(Error::General(text)) if text == NO_CERTIFICATE => TlsAcceptError::NoCertificate,
        Some(Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)) => {
            TlsAcceptError::NoSuite
        }
        None if e.kind() == io::ErrorKind::UnexpectedEof => TlsAcceptError::Closed,
        _ => TlsAcceptError::Failed(e),
    }
}

/// rustls' words for a resolver that has nothing.
const NO_CERTIFICATE: &str = "no server certificate chain resolved";
