//! One server: how it is asked, and for what.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::dialect::clients::groups::Lead;

/// A server as a file has it.
#[derive(Clone)]
pub(in crate::dialect) struct Server {
    pub(in crate::dialect) upstream: Upstream,
    pub(in crate::dialect) way: Way,
    /// The names that it alone is asked for; all, where there are none.
    pub(in crate::dialect) names: Vec<Value>,
    /// Its answer counts for these addresses alone.
    pub(in crate::dialect) expected: Vec<String>,
    /// And never for these.
    pub(in crate::dialect) unexpected: Vec<String>,
    /// It is asked for addresses of one family alone, in V2Ray's words.
    pub(in crate::dialect) families: Option<&'static str>,
    /// Where it is told that the asker is.
    pub(in crate::dialect) client_ip: Option<String>,
}

/// How a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Upstream {
    System,
    Udp {
        host: String,
        port: u16,
    },
    Tcp(String),
    Tls(String),
    /// The URL without its scheme.
    Https(String),
}

/// How its questions travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Way {
    Direct,
    /// As any session.
    ByRules,
    By(Lead),
}

/// Who is asked where a name has no other server.
const PORT: u16 = 53;

impl Upstream {
    /// Reads an address as Clash has it, and sing-box had it.
    ///
    /// # Errors
    ///
    /// What is not built.
    pub(in crate::dialect) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let scheme = scheme.to_ascii_lowercase();
        match &*scheme {
            "system" | "local" => Ok(Self::System),
            "udp" if ["system", "local"].contains(&rest) => Ok(Self::System),
            "udp" => Ok(Self::udp(rest)),
            "tcp" => Ok(Self::Tcp(rest.to_owned())),
            "tls" => Ok(Self::Tls(rest.to_owned())),
            "https" => Ok(Self::Https(rest.to_owned())),
            other => Err(unbuilt(other)),
        }
    }

    fn udp(text: &str) -> Self {
        let parted = text.rsplit_once(':');
        // An IPv6 address has more of them, unless brackets are around it.
        let parted = parted.filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let parted = parted.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parted.unwrap_or((text, PORT));
        let host = host.trim_matches(['[', ']']).to_owned();
        Self::Udp { host, port }
    }

    /// As V2Ray writes it, past the rules where it has a word for that.
    pub(super) fn written(&self, is_local: bool) -> Value {
        let local = if is_local { "+local" } else { "" };
        match self {
            Self::System => "localhost".into(),
            Self::Udp { host, port: PORT } => host.as_str().into(),
            Self::Udp { host, port } => json!({"address": host, "port": port}),
            Self::Tcp(rest) => format!("tcp{local}://{rest}").into(),
            Self::Tls(rest) => format!("tls{local}://{rest}").into(),
            Self::Https(rest) => format!("https{local}://{rest}").into(),
        }
    }
}

/// That servers of a kind are not built.
pub(in crate::dialect) fn unbuilt(kind: &str) -> String {
    let kind = match kind {
        "quic" => Cow::Borrowed("DNS over QUIC"),
        "h3" => "DNS over HTTP/3".into(),
        other => format!("`{}`", other.escape_debug()).into(),
    };
    format!(
        "{kind} is not built, expected UDP, `tcp`, `tls`, `https` or the system: the server is left out"
    )
}

impl Server {
    /// One that is asked for all names.
    pub(in crate::dialect) fn new(upstream: Upstream, way: Way) -> Self {
        Self {
            upstream,
            way,
            names: Vec::new(),
            expected: Vec::new(),
            unexpected: Vec::new(),
            families: None,
            client_ip: None,
        }
    }
}
