//! `tlsSettings` (V2Ray 4) and `securitySettings` (V2Ray 5): one reader for both spellings.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Versions;
use super::certificates::{Broken, Keyed, Origin};
use super::files::{Text, in_time};
use crate::address::Host;
use crate::json::{Node, Object, Setting, StringList, one_of};

/// What both sides may say.
pub(super) struct Settings {
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) versions: Versions,
    pub(super) server_name: Option<Host>,
    /// Something stands in `certificates`, good or bad.
    pub(super) has_certificates: bool,
    /// Own certificates, in the order of the config.
    pub(super) keyed: Vec<Keyed>,
    /// Authorities that issue our own certificates.
    pub(super) issuers: Vec<Keyed>,
    /// DER of the authorities that a peer's certificate may come from.
    pub(super) authorities: Vec<Vec<u8>>,
    /// The same, for the certificates of clients.
    pub(super) client_authorities: Vec<Vec<u8>>,
    pub(super) allow_insecure: bool,
    pub(super) disable_system_root: bool,
    pub(super) pins: Vec<[u8; 32]>,
    pub(super) self_signed: bool,
    pub(super) verify_client: bool,
    pub(super) reject_unknown_sni: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Usage {
    Encipherment,
    Verify,
    VerifyClient,
    Issue,
}

const USAGES: [(&str, Usage); 7] = [
    ("encipherment", Usage::Encipherment),
    ("verify", Usage::Verify),
    ("issue", Usage::Issue),
    ("verifyclient", Usage::VerifyClient),
    // V2Ray 5 writes the names of its protocol buffer.
    ("AUTHORITY_VERIFY", Usage::Verify),
    ("AUTHORITY_ISSUE", Usage::Issue),
    ("AUTHORITY_VERIFY_CLIENT", Usage::VerifyClient),
];

impl Settings {
    /// Reads the settings of one side. `over_ws`: a WebSocket comes on top, and needs HTTP/1.1.
    pub(super) fn read(object: &Object, side: Side, over_ws: bool) -> Self {
        let mut settings = Self {
            alpn: read_alpn(object, over_ws),
            versions: read_versions(object),
            server_name: read_server_name(object),
            has_certificates: false,
            keyed: Vec::new(),
            issuers: Vec::new(),
            authorities: Vec::new(),
            client_authorities: Vec::new(),
            allow_insecure: object.read_or("allowInsecure", false),
            disable_system_root: object.read_or("disableSystemRoot", false),
            pins: read_pins(object),
            self_signed: object.read_or("selfSigned", false),
            verify_client: object.read_or("verifyClientCertificate", false),
            reject_unknown_sni: object.read_or("rejectUnknownSni", false),
        };
        if let Some(list) = object.first(&["certificates", "certificate"]) {
            for node in list.array() {
                settings.has_certificates = true;
                if let Some(certificate) = node.object() {
                    settings.read_certificate(&certificate);
                    certificate.finish();
                }
            }
        }
        if side == Side::Client && settings.allow_insecure {
            let text = "any certificate is taken, so anyone in between can read and change what passes; \
                        `pinnedPeerCertificateChainSha256` or a certificate with `usage: verify` is safe";
            if let Some(node) = object.get("allowInsecure") {
                node.warn(text);
            }
        }
        object.no_effect(&[
            "allowInsecureCiphers",
            "fingerprint",
            "cipherSuites",
            "preferServerCipherSuites",
            "curvePreferences",
            "masterKeyLog",
            "echConfig",
            "echDohServer",
            "imitate",
        ]);
        // rustls resumes sessions where both ends can, which is what either value asks for at best.
        object.silent(&["disableSessionResumption", "enableSessionResumption"]);
        settings
    }

    fn read_certificate(&mut self, object: &Object) {
        let usage = object.get("usage").map(|node| one_of(&node, &USAGES));
        let cert = Place::read(object, ["certificateFile", "certificate"]);
        let key = Place::read(object, ["keyFile", "key"]);
        object.no_effect(&["ocspStapling", "oneTimeLoading", "buildChain"]);
        let Some(cert) = cert else {
            return object
                .node
                .error("`certificateFile` (or `certificate`) is missing");
        };
        let authorities = match usage.unwrap_or(Some(Usage::Encipherment)) {
            None => return,
            Some(Usage::Verify) => &mut self.authorities,
            Some(Usage::VerifyClient) => &mut self.client_authorities,
            Some(own) => return self.read_own(object, own, &cert, key.as_ref()),
        };
        let text = cert.text.clone();
        match in_time(move || text.certificates()) {
            Ok(Ok(chain)) => authorities.extend(chain.into_iter().map(|der| der.to_vec())),
            Ok(Err(text)) => cert.node.error(text),
            Err(_) => cert.node.warn(format!(
                "{} cannot be read in time, is it a pipe that nobody writes to, or on a mount that hangs? it is not believed until the next start",
                cert.text.name("certificate")
            )),
        }
    }

    /// A certificate that comes with its key.
    fn read_own(&mut self, object: &Object, usage: Usage, cert: &Place, key: Option<&Place>) {
        let Some(key) = key else {
            return object.node.error("`keyFile` (or `key`) is missing");
        };
        let origin = Origin {
            cert: cert.text.clone(),
            key: key.text.clone(),
        };
        match Keyed::load(origin) {
            Ok((keyed, late)) if usage == Usage::Issue => {
                warn_of_late(cert, late);
                self.issuers.push(keyed);
            }
            Ok((keyed, late)) => {
                warn_of_late(cert, late);
                if let Some(text) = keyed.warning() {
                    cert.node.warn(text);
                }
                self.keyed.push(keyed);
            }
            Err(Broken::Certificate(text)) => cert.node.error(text),
            Err(Broken::Key(text)) => key.node.error(text),
        }
    }
}

fn warn_of_late(cert: &Place, late: Option<String>) {
    if let Some(text) = late {
        cert.node.warn(format!(
            "{text} a server takes the certificate when it has been read, a client shows none until the next start"
        ));
    }
}

/// A certificate or a key in the config: the file, or the text itself (PEM as a list of lines or as
/// one string).
struct Place<'a> {
    node: Node<'a>,
    text: Text,
}

impl<'a> Place<'a> {
    fn read(object: &Object<'a>, [file, inline]: [&'static str; 2]) -> Option<Self> {
        let file = object.get(file);
        let inline = object.get(inline);
        if let Some(node) = file.filter(|node| node.value != "") {
            let path: String = node.read()?;
            let text = Text::File(PathBuf::from(path));
            return Some(Self { node, text });
        }
        let node = inline?;
        let mut text = node.read::<Lines>()?.0;
        // V2Ray 5 may give the bytes of the PEM text in base64.
        if !text.contains("-----")
            && let Ok(bytes) = STANDARD.decode(text.trim())
            && let Ok(pem) = String::from_utf8(bytes)
        {
            text = pem;
        }
        let text = Text::Inline(text);
        Some(Self { node, text })
    }
}

struct Lines(String);

impl Setting for Lines {
    fn parse(value: &serde_json::Value) -> Result<Self, String> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text.clone())),
            other => StringList::parse(other).map(|list| Self(list.0.join("\n"))),
        }
    }
}

fn read_alpn(object: &Object, over_ws: bool) -> Vec<Vec<u8>> {
    let node = object.first(&["alpn", "nextProtocol"]);
    let mut names = match &node {
        Some(node) => node.read::<StringList>().unwrap_or_default().0,
        None => Vec::new(),
    };
    if names.is_empty() {
        names = match over_ws {
            true => vec!["http/1.1".to_owned()],
            false => vec!["h2".to_owned(), "http/1.1".to_owned()],
        };
    }
    if over_ws && names.iter().any(|name| name != "http/1.1") {
        if let Some(node) = node {
            node.warn("a WebSocket handshake needs `http/1.1`, nothing else is offered");
        }
        names = vec!["http/1.1".to_owned()];
    }
    names.into_iter().map(String::into_bytes).collect()
}

fn read_versions(object: &Object) -> Versions {
    let bound = |key| {
        let node = object.get(key)?;
        let known = [("1.0", 10), ("1.1", 11), ("1.2", 12), ("1.3", 13)];
        let version = one_of(&node, &known)?;
        if version < 12 {
            node.warn("TLS older than 1.2 is not built, 1.2 takes its place");
        }
        Some((version.max(12), node))
    };
    let min = bound("minVersion");
    let max = bound("maxVersion");
    match (min.map_or(12, |(v, _)| v), max) {
        (min, Some((max, node))) if max < min => {
            node.error("`maxVersion` is below `minVersion`");
            Versions::Both
        }
        (_, Some((12, _))) => Versions::Only12,
        (13, _) => Versions::Only13,
        _ => Versions::Both,
    }
}

fn read_server_name(object: &Object) -> Option<Host> {
    let node = object.get("serverName")?;
    let text: String = node.read()?;
    if text.is_empty() {
        return None;
    }
    Host::parse(&text)
        .map_err(|e| {
            node.error(format!(
                "`{}` is no name of a server: {e}",
                text.escape_debug()
            ))
        })
        .ok()
}

fn read_pins(object: &Object) -> Vec<[u8; 32]> {
    let Some(node) = object.get("pinnedPeerCertificateChainSha256") else {
        return Vec::new();
    };
    let texts = node.read::<StringList>().unwrap_or_default().0;
    let decode = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
    texts
        .iter()
        .enumerate()
        .filter_map(|(i, text)| {
            let pin = decode(text);
            if pin.is_none() {
                let text = text.escape_debug();
                let text = format!("`{text}` is not a SHA-256 hash, it is 32 bytes in base64");
                node.report().error(&node.path.index(i), text);
            }
            pin
        })
        .collect()
}
