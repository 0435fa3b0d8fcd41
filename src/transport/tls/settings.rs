//! What the two sides of TLS are told.

#![warn(missing_docs)]

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::key_pair::{KeyPair, SelfSigned};
use crate::address::Host;
use crate::cause::Words;

/// The server side.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `certificates` with `usage: encipherment`: a client gets the one that has the name which it asks for, else the
    /// first.
    pub certificates: Vec<KeyPair>,
    /// `certificates` with `usage: issue`: authorities that issue a certificate for whatever name is asked for.
    pub issuers: Vec<KeyPair>,
    /// `selfSigned`, ours: one more certificate, made for this start only.
    pub self_signed: Option<SelfSigned>,
    /// `acme`, ours: more certificates, which an authority issues and renews.
    #[cfg(feature = "app")]
    pub acme: Vec<super::acme::Settings>,
    /// `verifyClientCertificate`.
    pub client_auth: ClientAuth,
    /// `rejectUnknownSni`: a client that asks for a name without a certificate gets none.
    pub reject_unknown_sni: bool,
    /// `alpn`: the protocols that may be agreed on, the first is liked best. `h2` and `http/1.1` by default. A carrier
    /// that needs another one says so itself.
    pub alpn: Vec<String>,
    /// `minVersion` and `maxVersion`.
    pub versions: Versions,
    /// `earlyData`, ours: what a client sends along with its ClientHello is read at once, and answered. What tickets
    /// stand for is kept here then.
    pub early_data: bool,
}

/// The client side; by default one that believes the authorities of the system.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// `serverName`: the name to ask for and to check; without it the address that is dialled.
    pub server_name: Option<Host>,
    /// `certificates` with `usage: verify`: believed besides those of the system.
    pub authorities: Authorities,
    /// `disableSystemRoot`: those of the system are not believed.
    pub disable_system_root: bool,
    /// `allowInsecure`: any certificate is taken.
    pub allow_insecure: bool,
    /// Ours, with `allow_insecure`: whoever shows a certificate that nobody vouched for is named in the log, with its
    /// fingerprint and this about the cure.
    pub told_unverified: Option<&'static str>,
    /// Whose keys a failed handshake is told in.
    pub words: Words,
    /// gost's authority without a name: a chain counts whatever the name in it is.
    pub any_name: bool,
    /// `pinnedPeerCertificateChainSha256`: V2Ray's hashes of chains, of which the server's must be one.
    pub pins: Vec<[u8; 32]>,
    /// `pinnedPeerCertSha256`, Xray's: SHA-256 of certificates. The server's own is one of them, or an authority among
    /// them has issued it.
    pub certificate_pins: Vec<[u8; 32]>,
    /// `fingerprint`: whose handshake others imitate. It is kept for them; what is sent is this program's own.
    pub fingerprint: Option<String>,
    /// `verifyPeerCertByName`, Xray's: names of which the certificate must have one; without any, the server's name.
    pub verify_names: Vec<Host>,
    /// `certificates` with `usage: encipherment`: shown to a server that asks for one.
    pub certificate: Option<KeyPair>,
    /// `alpn`, as for [`ServerSettings::alpn`].
    pub alpn: Vec<String>,
    /// `minVersion` and `maxVersion`.
    pub versions: Versions,
    /// `earlyData`, ours: what is written first goes along with the ClientHello, where an earlier connection brought a ticket for that.
    /// Who records it can send it again, and it is the server that must not take it twice.
    pub early_data: bool,
}

/// What is said where [`ClientSettings::fingerprint`] is some browser's.
pub const NOT_BROWSERS: &str =
    "the handshakes of browsers are not imitated, this program's own takes its place";

/// Whether clients must show a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    None,
    /// One that one of these has issued (`usage: verifyclient`, or `verify`).
    Required(Authorities),
}

/// Certificates to believe, as they were read; `Debug` shows how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Authorities(pub Vec<CertificateDer<'static>>);

/// `minVersion` and `maxVersion`, as far as rustls goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2.
    Only12,
    /// TLS 1.3.
    Only13,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            issuers: Vec::new(),
            self_signed: None,
            #[cfg(feature = "app")]
            acme: Vec::new(),
            client_auth: ClientAuth::None,
            reject_unknown_sni: false,
            alpn: default_alpn(),
            versions: Versions::Both,
            early_data: false,
        }
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            server_name: None,
            authorities: Authorities::default(),
            disable_system_root: false,
            allow_insecure: false,
            told_unverified: None,
            words: Words::Config,
            any_name: false,
            pins: Vec::new(),
            certificate_pins: Vec::new(),
            fingerprint: None,
            verify_names: Vec::new(),
            certificate: None,
            alpn: default_alpn(),
            versions: Versions::Both,
            early_data: false,
        }
    }
}

fn default_alpn() -> Vec<String> {
    vec!["h2".to_owned(), "http/1.1".to_owned()]
}

impl Versions {
    pub(super) fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
        match self {
            Self::Both => &ALL,
            Self::Only12 => &ALL[..1],
            Self::Only13 => &ALL[1..],
        }
    }
}

impl Authorities {
    /// As PEM text.
    pub fn to_pem(&self) -> String {
        let block = |certificate: &CertificateDer| {
            let lines = STANDARD.encode(certificate);
            let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
            for line in lines.as_bytes().chunks(64) {
                text.extend(line.iter().map(|byte| char::from(*byte)));
                text.push('\n');
            }
            text + "-----END CERTIFICATE-----\n"
        };
        self.0.iter().map(block).collect()
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}
