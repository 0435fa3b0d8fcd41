//! What an authority meets when it looks for us.
//!
//! Each attempt to get a certificate shows its proofs here for as long as it lasts. A handshake for TLS-ALPN-01 offers
//! `acme-tls/1` alone and asks for the name; it gets a certificate that is good for nothing else, and no byte is read
//! from it. A request for HTTP-01 names a token that only the authority and we know. So neither is in anybody's way,
//! and nobody else can see that something is proved.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::ClientHello;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::cause::RequestError;
use crate::http::visit;
use crate::io::{Link, Prefixed};
use crate::transport::tls::PROVIDER;

/// The protocol that an authority offers (RFC 8737, section 6.2).
const ALPN: &[u8] = b"acme-tls/1";

/// How a request begins that looks for a proof (RFC 8555, section 8.3).
const BEGINNING: &[u8] = b"GET /.well-known/acme-challenge/";

/// The head of such a request is short.
const MAX_HEAD: usize = 8 * 1024;

static ALL: Mutex<Vec<Arc<Proof>>> = Mutex::new(Vec::new());
/// How many of them are for requests: hardly ever any.
static REQUESTS: AtomicUsize = AtomicUsize::new(0);
/// Where requests without TLS come in, and by how many inbounds.
static DOORS: Mutex<Option<HashMap<u16, usize>>> = Mutex::new(None);

enum Proof {
    Tls {
        name: String,
        config: Arc<ServerConfig>,
    },
    Http {
        port: u16,
        token: String,
        text: String,
    },
}

/// A proof is shown until this is dropped.
#[must_use]
pub(super) struct Shown(Arc<Proof>);

impl Shown {
    /// `digest`: the SHA-256 of the key authorization.
    pub(super) fn by_tls(name: &str, digest: &[u8]) -> Result<Self, String> {
        let config = config(name, digest)?;
        let name = name.to_owned();
        Ok(Self::new(Proof::Tls { name, config }))
    }

    /// `text`: the key authorization; for requests to inbounds that listen on `port`.
    pub(super) fn by_http(port: u16, token: &str, text: &str) -> Self {
        let (token, text) = (token.to_owned(), text.to_owned());
        Self::new(Proof::Http { port, token, text })
    }

    fn new(proof: Proof) -> Self {
        if matches!(proof, Proof::Http { .. }) {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
        }
        let proof = Arc::new(proof);
        all().push(proof.clone());
        Self(proof)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if matches!(*self.0, Proof::Http { .. }) {
            REQUESTS.fetch_sub(1, Ordering::Relaxed);
        }
        all().retain(|proof| !Arc::ptr_eq(proof, &self.0));
    }
}

/// An inbound without TLS that listens on a port, until this is dropped.
#[must_use]
pub struct Door(u16);

impl Door {
    /// Requests come in at `port`.
    pub fn open(port: u16) -> Self {
        *doors().get_or_insert_default().entry(port).or_default() += 1;
        Self(port)
    }

    pub(super) fn is_open(port: u16) -> bool {
        doors().as_ref().is_some_and(|all| all.contains_key(&port))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut doors = doors();
        let all = doors.get_or_insert_default();
        if let Some(many) = all.get_mut(&self.0) {
            *many -= 1;
            if *many == 0 {
                all.remove(&self.0);
            }
        }
    }
}

/// What a handshake gets that looks for a proof which is shown.
pub(in crate::transport::tls) fn by_tls(hello: &ClientHello) -> Option<Arc<ServerConfig>> {
    let mut offered = hello.alpn()?;
    let is_asked = offered.next() == Some(ALPN) && offered.next().is_none();
    let asked = hello.server_name().filter(|_| is_asked)?;
    all().iter().rev().find_map(|proof| match &**proof {
        Proof::Tls { name, config } if name.eq_ignore_ascii_case(asked) => Some(config.clone()),
        _ => None,
    })
}

/// Whether requests to an inbound that listens on `ports` may look for a proof.
pub fn is_asked(ports: &[u16]) -> bool {
    let is_here = |proof: &Arc<Proof>| match &**proof {
        Proof::Http { port, .. } => ports.contains(port),
        Proof::Tls { .. } => false,
    };
    REQUESTS.load(Ordering::Relaxed) > 0 && all().iter().any(is_here)
}

/// Answers a request that looks for a proof which is shown; another one is given back, with what was read of it.
///
/// # Errors
///
/// When it was answered.
pub async fn answer(mut link: Link, since: Instant) -> Result<Link, RequestError> {
    let mut read = BytesMut::new();
    while let Some(token) = token(&read) {
        if let Some(text) = token.map(found) {
            let Some(text) = text else { break };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            );
            let _ = link.write_all((head + &text).as_bytes()).await;
            link.close().await;
            return Err(RequestError::Visited);
        }
        let reading = timeout_at(since + visit::HEADER_LIMIT, link.read_buf(&mut read));
        if !matches!(reading.await, Ok(Ok(n)) if n > 0) {
            break;
        }
    }
    let read: Bytes = read.freeze();
    Ok(Prefixed::link(read, link))
}

/// The token of a request of which this was read: `None` when it is another one, `Some(None)` when more is needed.
fn token(read: &[u8]) -> Option<Option<&str>> {
    let common = read.len().min(BEGINNING.len());
    if read[..common] != BEGINNING[..common] || read.len() > MAX_HEAD {
        return None;
    }
    if !read.windows(4).any(|end| end == b"\r\n\r\n") {
        return Some(None);
    }
    let rest = read.get(BEGINNING.len()..)?;
    let end = rest.iter().position(u8::is_ascii_whitespace)?;
    Some(Some(str::from_utf8(&rest[..end]).ok()?))
}

fn found(wanted: &str) -> Option<String> {
    all().iter().find_map(|proof| match &**proof {
        Proof::Http { token, text, .. } if token == wanted => Some(text.clone()),
        _ => None,
    })
}

fn all() -> MutexGuard<'static, Vec<Arc<Proof>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn doors() -> MutexGuard<'static, Option<HashMap<u16, usize>>> {
    DOORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server whose certificate holds the proof, and that speaks nothing but the authority's protocol.
fn config(name: &str, digest: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(|e| e.to_string())?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let certificate = params.self_signed(&key).map_err(|e| e.to_string())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = PROVIDER.key_provider.load_private_key(key);
    let key = key.map_err(|e| e.to_string())?;
    // rustls' own check does not know the extension, which is critical.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
    let builder = ServerConfig::builder_with_provider(PROVIDER.clone());
    let builder = builder.with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_request_for_a_token_is_one() {
        let request = b"GET /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(token(request), Some(Some("abc")));
        for end in 0..request.len() {
            assert_eq!(token(&request[..end]), Some(None), "{end}");
        }
        for other in [
            "GET /",
            "POST",
            "\u{16}\u{3}",
            "GET /.well-known/security.txt",
        ] {
            let is_begun = BEGINNING.starts_with(other.as_bytes());
            assert_eq!(token(other.as_bytes()).is_some(), is_begun, "{other}");
        }
        let long = [BEGINNING, &[b'a'; MAX_HEAD]].concat();
        assert_eq!(token(&long), None);
    }

    #[tokio::test]
    async fn a_request_is_answered_while_its_proof_is_shown_and_others_go_on() {
        let shown = Shown::by_http(8080, "token-of-a-test", "token-of-a-test.thumb");
        assert!(is_asked(&[443, 8080]) && !is_asked(&[443]));
        let ask = async |text: &str| {
            let (mut client, server) = tokio::io::duplex(4096);
            client.write_all(text.as_bytes()).await.unwrap();
            let answered = answer(Link::other(server), Instant::now()).await;
            let mut said = String::new();
            match answered {
                Ok(mut link) => {
                    let mut read = vec![0; text.len()];
                    link.read_exact(&mut read).await.unwrap();
                    assert_eq!(read, text.as_bytes());
                }
                Err(e) => {
                    assert!(matches!(e, RequestError::Visited));
                    client.read_to_string(&mut said).await.unwrap();
                }
            }
            said
        };
        let proof = "GET /.well-known/acme-challenge/token-of-a-test HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(ask(proof).await.ends_with("\r\n\r\ntoken-of-a-test.thumb"));
        let other = "GET /.well-known/acme-challenge/guess HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(ask(other).await, "");
        assert_eq!(ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
        drop(shown);
        assert_eq!(ask(proof).await, "");
    }
}
