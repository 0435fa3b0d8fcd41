//! A client's TLS handshake that failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::address::Host;

/// Why a client has no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// The name to ask for cannot be one of TLS.
    ServerName(String),
    /// The certificate is for others, as far as they are known.
    WrongName {
        /// Who was asked for.
        host: Host,
        /// Whom it is for.
        presented: Vec<String>,
    },
    /// It was valid.
    Expired,
    /// It will be valid.
    NotYetValid,
    /// Nobody who is believed has issued it.
    UnknownIssuer,
    /// The server signs with another key.
    WrongKey,
    /// What makes the certificate unusable, short of being allowed to be anything.
    Unusable(Unusable),
    /// What the settings say of the certificate, or the system.
    Untrusted(Untrusted),
    /// What else is wrong with the certificate.
    Certificate(String),
    /// The server speaks something else.
    NotTls,
    /// The server ends the handshake, with this alert.
    Alert {
        /// Who was asked for.
        host: Host,
        /// rustls' name for it.
        alert: String,
    },
    /// The server closed the connection.
    Closed,
    /// The connection failed.
    Broken(io::Error),
    /// What else went wrong in the handshake.
    Failed(io::Error),
    /// It was not over in this time.
    Slow(Duration),
    /// The same, whose cure has other keys.
    In(Words, Box<Self>),
}

/// The keys of the file that the settings come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Words {
    /// Those of a config.json.
    #[default]
    Config,
    /// GOST's.
    Gost,
    /// Those of a reverse tunnel's file.
    Tunnel,
    /// Of the proxy that a tunnel goes through.
    TunnelProxy,
}

impl Words {
    fn server_name(self) -> &'static str {
        match self {
            Self::Config | Self::Gost => "serverName",
            Self::Tunnel => "server_name",
            Self::TunnelProxy => "proxy",
        }
    }

    /// Whose certificate it is.
    fn whose(self) -> &'static str {
        match self {
            Self::Config | Self::Gost | Self::Tunnel => "server's",
            Self::TunnelProxy => "proxy's",
        }
    }

    /// How a certificate is pinned that nobody has to vouch for, where it can be.
    fn pin(self) -> Option<&'static str> {
        match self {
            Self::Config => Some("pinnedPeerCertificateChainSha256"),
            Self::Gost | Self::Tunnel => Some("pin"),
            Self::TunnelProxy => None,
        }
    }

    /// The same as a cure behind others, with more about it.
    fn or_pin(self, more: &str) -> String {
        let cure = |pin| format!(", or pin it by `{pin}`{more}");
        self.pin().map(cure).unwrap_or_default()
    }

    /// How its issuer is made known.
    fn issuer(self) -> &'static str {
        match self {
            Self::Config => "give its issuer as a certificate with `usage: verify`",
            Self::Gost => "give its issuer by `caFile`",
            Self::Tunnel | Self::TunnelProxy => "give its issuer by `ca_cert_path`",
        }
    }
}

/// Why a certificate cannot be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It has an extension that must be understood, and is not.
    CriticalExtension,
    /// It is not one of X.509.
    Malformed,
    /// Before 3.
    Version,
}

/// Why a certificate is not believed, whatever stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// It is none of those that are pinned.
    Pins,
    /// None of it is one that Xray's key pins.
    CertificatePins,
    /// The settings leave nobody to believe.
    Nobody,
    /// The system has no authorities.
    NoSystem,
    /// Nobody knows yet whom the system believes.
    Late,
    /// What the verifier could not be made of.
    Other(String),
}

impl TlsError {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ServerName(_) => "tls-server-name",
            Self::WrongName { .. } => "tls-name",
            Self::Expired => "tls-expired",
            Self::NotYetValid => "tls-not-yet-valid",
            Self::UnknownIssuer => "tls-issuer",
            Self::WrongKey => "tls-key",
            Self::Untrusted(Untrusted::Pins | Untrusted::CertificatePins) => "tls-pin",
            Self::Untrusted(_) => "tls-authorities",
            Self::Unusable(_) | Self::Certificate(_) => "tls-certificate",
            Self::NotTls => "tls-not-tls",
            Self::Alert { .. } => "tls-alert",
            Self::Closed => "tls-closed",
            Self::Broken(_) => "tls-broken",
            Self::Failed(_) => "tls-handshake",
            Self::Slow(_) => "tls-timeout",
            Self::In(_, error) => error.code(),
        }
    }

    /// As an [`io::Error`] has it.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::ServerName(_) => io::ErrorKind::InvalidInput,
            Self::Broken(e) => e.kind(),
            Self::Slow(_) => io::ErrorKind::TimedOut,
            Self::In(_, error) => error.kind(),
            _ => io::ErrorKind::InvalidData,
        }
    }

    /// What is wrong, without the setting that would cure it: for a connection that no setting is for.
    pub fn plain(&self) -> String {
        match self {
            Self::WrongName { host, presented } => not_for(host, presented),
            Self::UnknownIssuer => {
                "no authority that this system believes has issued its certificate".to_owned()
            }
            Self::Unusable(what) => what.to_string(),
            Self::In(_, error) => error.plain(),
            Self::Alert { alert, .. } => format!("the server ends the TLS handshake: {alert}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(Words::Config, f)
    }
}

impl TlsError {
    /// With cures in the words of whoever wrote the settings.
    #[must_use]
    pub fn said_in(self, words: Words) -> Self {
        match words {
            Words::Config => self,
            words => Self::In(words, Box::new(self)),
        }
    }

    fn say(&self, words: Words, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(words, error) => error.say(*words, f),
            Self::ServerName(name) => write!(
                f,
                "`{name}` cannot be a server name of TLS, set `{}`",
                words.server_name()
            ),
            Self::WrongName { host, presented } => write!(
                f,
                "{}: set `{}` to the name it is for",
                not_for(host, presented),
                words.server_name()
            ),
            Self::Expired => {
                f.write_str("the server's certificate has expired (or our clock is wrong)")
            }
            Self::NotYetValid => {
                f.write_str("the server's certificate is not valid yet (or our clock is wrong)")
            }
            Self::UnknownIssuer => write!(
                f,
                "nobody we believe has issued the {} certificate: {}{}",
                words.whose(),
                words.issuer(),
                words.or_pin("")
            ),
            Self::WrongKey => f.write_str(
                "the server has not the key of its certificate: somebody sits in between, or its files do not belong together",
            ),
            Self::Unusable(what) => write!(
                f,
                "{what}, make another one{}",
                words.or_pin(", which takes any")
            ),
            Self::Untrusted(Untrusted::CertificatePins) if words != Words::Config => write!(
                f,
                "none of the server's certificates is one of `{}`",
                words.pin().unwrap_or_default()
            ),
            Self::Untrusted(why) => fmt::Display::fmt(why, f),
            Self::Certificate(what) => f.write_str(what),
            Self::NotTls => f.write_str("the server does not speak TLS on this port"),
            Self::Alert { alert, .. } if alert == NO_PROTOCOL => write!(
                f,
                "the server ends the TLS handshake: {alert}, it speaks none of those that `alpn` offers (gRPC and `http` need `h2` there)"
            ),
            Self::Alert { alert, .. } if alert == NO_VERSION => write!(
                f,
                "the server ends the TLS handshake: {alert}, it speaks neither TLS 1.2 nor 1.3 (or other ones than `minVersion` and `maxVersion` leave)"
            ),
            Self::Alert { host, alert } => write!(
                f,
                "the server ends the TLS handshake: {alert}, does it know the name {host}?"
            ),
            Self::Closed => f.write_str(
                "the server closed the connection during the TLS handshake, is this a TLS port?",
            ),
            Self::Broken(e) => write!(f, "during the TLS handshake: {e}"),
            Self::Failed(e) => write!(f, "TLS handshake: {e}"),
            Self::Slow(limit) => write!(f, "no TLS handshake within {} s", limit.as_secs()),
        }
    }
}

/// rustls' name of the alert for protocols that have nothing in common.
const NO_PROTOCOL: &str = "NoApplicationProtocol";

/// That for versions.
const NO_VERSION: &str = "ProtocolVersion";

fn not_for(host: &Host, presented: &[String]) -> String {
    match presented {
        [] => format!("the certificate is not for {host}"),
        names => format!(
            "the certificate is for {}, not for {host}",
            names.join(", ")
        ),
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CriticalExtension => {
                "the server's certificate has a critical extension that is not known"
            }
            Self::Malformed => "the server's certificate is malformed",
            Self::Version => "the server's certificate is of a version before 3",
        })
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pins => {
                "the server's certificate chain is none of `pinnedPeerCertificateChainSha256`"
            }
            Self::CertificatePins => {
                "none of the server's certificates is one of `pinnedPeerCertSha256`"
            }
            Self::Nobody => {
                "there is no authority to believe: `disableSystemRoot` is set, and no certificate has `usage: verify`"
            }
            Self::NoSystem => {
                "the system has no certificate authorities, install its package `ca-certificates`"
            }
            Self::Late => {
                "the system's certificate authorities cannot be read in time, is their file on a mount that hangs?"
            }
            Self::Other(what) => what,
        })
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Broken(e) | Self::Failed(e) => Some(e),
            _ => None,
        }
    }
}

impl Error for Untrusted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cure_is_named_only_where_a_setting_may_be_changed() {
        let host = Host::Domain("a.test".to_owned());
        let wrong_name = TlsError::WrongName {
            host: host.clone(),
            presented: vec!["b.test".to_owned()],
        };
        let alert = TlsError::Alert {
            host,
            alert: "UnrecognisedName".to_owned(),
        };
        for (error, code, plain) in [
            (
                wrong_name,
                "tls-name",
                "the certificate is for b.test, not for a.test",
            ),
            (
                TlsError::UnknownIssuer,
                "tls-issuer",
                "no authority that this system believes has issued its certificate",
            ),
            (
                TlsError::Unusable(Unusable::Version),
                "tls-certificate",
                "the server's certificate is of a version before 3",
            ),
            (
                alert,
                "tls-alert",
                "the server ends the TLS handshake: UnrecognisedName",
            ),
            (
                TlsError::Expired,
                "tls-expired",
                "the server's certificate has expired (or our clock is wrong)",
            ),
        ] {
            assert_eq!(error.code(), code);
            assert_eq!(error.plain(), plain);
            assert!(error.to_string().len() >= plain.len());
        }
    }

    #[test]
    fn an_alert_for_protocols_is_no_matter_of_the_name() {
        let alert = |alert: &str| {
            let (host, alert) = (Host::Domain("a.test".to_owned()), alert.to_owned());
            TlsError::Alert { host, alert }.to_string()
        };
        let said = alert(NO_PROTOCOL);
        assert!(
            said.contains("`alpn`") && !said.contains("a.test"),
            "{said}"
        );
        assert!(alert("UnrecognisedName").contains("a.test"));
        let named = tokio_rustls::rustls::AlertDescription::NoApplicationProtocol;
        assert_eq!(format!("{named:?}"), NO_PROTOCOL);
    }
}
