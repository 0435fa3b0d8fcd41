//! What a handshake has shown, for whoever wants to tell a person.

use std::fmt;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::CommonState;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificates::names;
use super::version;

/// What was agreed on, and what the server has shown.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `TLS 1.3`.
    pub version: &'static str,
    /// The protocol that was agreed on, if there is one.
    pub alpn: Option<String>,
    /// The server's certificate, where it can be read.
    pub leaf: Option<Leaf>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The DNS names that it is for.
    pub names: Vec<String>,
    /// Who has issued it.
    pub issuer: String,
    /// From when on it is valid, in seconds of Unix time.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

impl Seen {
    pub(super) fn of(connection: &CommonState) -> Self {
        let alpn = connection.alpn_protocol();
        let leaf = connection.peer_certificates().and_then(|all| all.first());
        Self {
            version: version(connection),
            alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
            leaf: leaf.and_then(|leaf| Leaf::read(leaf)),
        }
    }
}

impl Leaf {
    /// The issuer of one that nobody else has issued.
    pub const ITSELF: &str = "itself";

    /// Reads what is of interest in a certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(der).ok()?;
        let issuer = leaf.issuer();
        let named = issuer.iter_organization().next();
        let named = named.or_else(|| issuer.iter_common_name().next());
        let named = named.and_then(|name| name.as_str().ok());
        let own = leaf.issuer() == leaf.subject();
        Some(Self {
            names: names(der),
            issuer: match (own, named) {
                (true, _) => Self::ITSELF.to_owned(),
                (false, Some(name)) => name.escape_debug().take(60).collect(),
                (false, None) => "nobody with a name".to_owned(),
            },
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
        })
    }

    /// Whole days that are left; less than 0 when it has expired.
    pub fn days_left(&self) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        (self.not_after - now).div_euclid(24 * 3600)
    }
}

/// `for a.test, issued by X, valid until 2026-12-01 (5 days)`.
impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match &self.names[..] {
            [] => "no name".to_owned(),
            names => names.join(", "),
        };
        let until = day(self.not_after);
        write!(f, "for {names}, issued by {}, valid ", self.issuer)?;
        match self.days_left() {
            -1 => write!(f, "until {until}: it has expired today"),
            -2 => write!(f, "until {until}: it has expired a day ago"),
            days @ ..0 => write!(f, "until {until}: it has expired {} days ago", -days - 1),
            days => write!(
                f,
                "from {} until {until} ({days} days)",
                day(self.not_before)
            ),
        }
    }
}

/// As RFC 3339 has it.
fn day(timestamp: i64) -> String {
    let span = Duration::from_secs(timestamp.unsigned_abs());
    let at = match timestamp {
        0.. => SystemTime::UNIX_EPOCH.checked_add(span),
        _ => SystemTime::UNIX_EPOCH.checked_sub(span),
    };
    // `Sun, 06 Nov 1994 08:49:37 GMT`; years of four digits are all that it can write.
    let four_digits = (0..253_402_300_799).contains(&timestamp);
    let at = at.filter(|_| four_digits).map(httpdate::fmt_http_date);
    at.map_or_else(
        || "no day that can be said".to_owned(),
        |at| at[5..16].to_owned(),
    )
}
