//! `tlsSettings` (V2Ray 4) and `securitySettings` (V2Ray 5): one reader for both spellings.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::address::Host;
use crate::dialect::v2ray::json::{Node, Object, Report, Setting, StringList, one_of};
use crate::transport::tls::{
    Authorities, Broken, BuildError, ClientAuth, ClientSettings, KeyPair, Pem, SelfSigned,
    ServerSettings, Unreadable, Versions,
};

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

/// Reads the settings of a server; `stream` is the `streamSettings` that they are missing from, if they are.
/// `over_ws`: a WebSocket comes on top, and needs HTTP/1.1.
pub(super) fn server(
    stream: &Node,
    settings: Option<&Node>,
    over_ws: bool,
) -> Option<ServerSettings> {
    let Some(node) = settings else {
        stream.error("`tlsSettings` is missing, a TLS server needs `certificates`");
        return None;
    };
    let object = node.object()?;
    let read = Both::read(&object, over_ws);
    object.finish();
    let certificates = read.certificates;
    let self_signed = read
        .self_signed
        .then(|| SelfSigned::new(read.server_name.as_ref()));
    if let Some(self_signed) = &self_signed {
        make(node, self_signed)?;
    }
    for issuer in &certificates.issuers {
        if let Err(e) = issuer.check_issuer() {
            node.error(e.to_string());
        }
    }
    if certificates.own.is_empty() && certificates.issuers.is_empty() && self_signed.is_none() {
        // What is there and of no use has been reported already.
        if !certificates.are_there {
            node.error(BuildError::NoCertificate.to_string());
        }
        return None;
    }
    let client_auth = match read.verify_client {
        true if certificates.client_authorities.0.is_empty() => {
            ClientAuth::Required(certificates.authorities)
        }
        true => ClientAuth::Required(certificates.client_authorities),
        false => ClientAuth::None,
    };
    if let Err(e) = client_auth.verifier() {
        node.error(e.to_string());
        return None;
    }
    Some(ServerSettings {
        certificates: certificates.own,
        issuers: certificates.issuers,
        self_signed,
        client_auth,
        reject_unknown_sni: read.reject_unknown_sni,
        alpn: read.alpn,
        versions: read.versions,
    })
}

/// Reads the settings of a client; absent ones are the defaults, as those of an empty object.
pub(super) fn client(settings: Option<&Node>, over_ws: bool) -> Option<ClientSettings> {
    let (empty, report) = (Value::Object(Map::new()), Report::default());
    let defaults = Node::root(&empty, &report);
    let object = settings.unwrap_or(&defaults).object()?;
    let read = Both::read(&object, over_ws);
    if read.allow_insecure
        && let Some(node) = object.get("allowInsecure")
    {
        node.warn(
            "any certificate is taken, so anyone in between can read and change what passes; \
             `pinnedPeerCertificateChainSha256` or a certificate with `usage: verify` is safe",
        );
    }
    object.finish();
    Some(ClientSettings {
        server_name: read.server_name,
        authorities: read.certificates.authorities,
        disable_system_root: read.disable_system_root,
        allow_insecure: read.allow_insecure,
        pins: read.pins,
        certificate: read.certificates.own.into_iter().next(),
        alpn: read.alpn,
        versions: read.versions,
    })
}

/// What either side may say.
struct Both {
    alpn: Vec<String>,
    versions: Versions,
    server_name: Option<Host>,
    certificates: Certificates,
    allow_insecure: bool,
    disable_system_root: bool,
    pins: Vec<[u8; 32]>,
    self_signed: bool,
    verify_client: bool,
    reject_unknown_sni: bool,
}

/// `certificates`, by their usage.
#[derive(Default)]
struct Certificates {
    /// Something stands there, good or bad.
    are_there: bool,
    own: Vec<KeyPair>,
    issuers: Vec<KeyPair>,
    authorities: Authorities,
    client_authorities: Authorities,
}

impl Both {
    fn read(object: &Object, over_ws: bool) -> Self {
        let mut both = Self {
            alpn: read_alpn(object, over_ws),
            versions: read_versions(object),
            server_name: read_server_name(object),
            certificates: Certificates::default(),
            allow_insecure: object.read_or("allowInsecure", false),
            disable_system_root: object.read_or("disableSystemRoot", false),
            pins: read_pins(object),
            self_signed: object.read_or("selfSigned", false),
            verify_client: object.read_or("verifyClientCertificate", false),
            reject_unknown_sni: object.read_or("rejectUnknownSni", false),
        };
        if let Some(list) = object.first(&["certificates", "certificate"]) {
            for node in list.array() {
                both.certificates.are_there = true;
                if let Some(certificate) = node.object() {
                    both.certificates.read(&certificate);
                    certificate.finish();
                }
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
        both
    }
}

impl Certificates {
    fn read(&mut self, object: &Object) {
        let usage = object.get("usage").map(|node| one_of(&node, &USAGES));
        let cert = Source::read(object, ["certificateFile", "certificate"]);
        let key = Source::read(object, ["keyFile", "key"]);
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
        match cert.pem.authorities() {
            Ok(read) => authorities.0.extend(read.0),
            Err(e @ Unreadable::Broken(_)) => cert.node.error(e.to_string()),
            Err(e @ Unreadable::Late(_)) => {
                let text = format!("{e} it is not believed until the next start");
                cert.node.warn(text);
            }
        }
    }

    /// A certificate that comes with its key.
    fn read_own(&mut self, object: &Object, usage: Usage, cert: &Source, key: Option<&Source>) {
        let Some(key) = key else {
            return object.node.error("`keyFile` (or `key`) is missing");
        };
        let pair = KeyPair::new(cert.pem.clone(), key.pem.clone());
        let remarks = match pair.check() {
            Ok(remarks) => remarks,
            Err(e @ Broken::Certificate(_)) => return cert.node.error(e.to_string()),
            Err(e @ Broken::Key(_)) => return key.node.error(e.to_string()),
        };
        if let Some(late) = remarks.late {
            cert.node.warn(format!(
                "{late} a server takes the certificate when it has been read, a client shows none until the next start"
            ));
        }
        if usage == Usage::Issue {
            return self.issuers.push(pair);
        }
        if let Some(text) = remarks.invalid {
            cert.node.warn(text);
        }
        self.own.push(pair);
    }
}

/// A certificate for this start only; clients that pin it need its hash, so the log has that.
fn make(node: &Node, self_signed: &SelfSigned) -> Option<()> {
    let made = self_signed.make().map_err(|e| node.error(e.to_string()));
    let pin = STANDARD.encode(made.ok()?);
    node.warn(format!(
        "a certificate was made for this start only; a client believes it with \
         \"pinnedPeerCertificateChainSha256\": [\"{pin}\"]"
    ));
    Some(())
}

/// A certificate or a key in the config: the file, or the text itself (PEM as a list of lines or as
/// one string).
struct Source<'a> {
    node: Node<'a>,
    pem: Pem,
}

impl<'a> Source<'a> {
    fn read(object: &Object<'a>, [file, inline]: [&'static str; 2]) -> Option<Self> {
        let file = object.get(file);
        let inline = object.get(inline);
        if let Some(node) = file.filter(|node| node.value != "") {
            let path: String = node.read()?;
            let pem = Pem::File(PathBuf::from(path));
            return Some(Self { node, pem });
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
        let pem = Pem::Inline(text);
        Some(Self { node, pem })
    }
}

struct Lines(String);

impl Setting for Lines {
    fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self(text.clone())),
            other => StringList::parse(other).map(|list| Self(list.0.join("\n"))),
        }
    }
}

fn read_alpn(object: &Object, over_ws: bool) -> Vec<String> {
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
    names
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::process::Command;

    #[test]
    fn what_is_not_read_in_time_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let authority = dir.path().join("authority.pem");
        let made = Command::new("mkfifo").arg(&authority).status().unwrap();
        assert!(made.success());
        let settings = json!({"certificates": [{"usage": "verify", "certificateFile": authority}]});
        let report = Report::default();
        let read = client(Some(&Node::root(&settings, &report)), true).unwrap();
        assert_eq!(read.authorities, Authorities::default());
        assert_eq!(report.errors(), []);
        let warning = report.warnings()[0].to_string();
        assert!(
            warning.starts_with("certificates[0].certificateFile: "),
            "{warning}"
        );
        assert!(
            warning.contains("authority.pem cannot be read in time"),
            "{warning}"
        );
    }

    #[test]
    fn the_hash_of_a_certificate_made_at_start_is_in_the_warning() {
        let settings = json!({"selfSigned": true, "serverName": "example.com"});
        let report = Report::default();
        let node = Node::root(&settings, &report);
        let read = server(&node, Some(&node), true).unwrap();
        assert_eq!(read.self_signed.unwrap().names[0], "example.com");
        let warning = report.warnings()[0].text.clone();
        let pin = warning.split('"').rev().nth(1).unwrap();
        let settings = json!({"pinnedPeerCertificateChainSha256": [pin]});
        let read = client(Some(&Node::root(&settings, &report)), false).unwrap();
        assert_eq!(read.pins.len(), 1);
        assert_eq!(report.errors(), []);
    }

    #[test]
    fn settings_are_equal_when_they_mean_the_same() {
        let file = |kind: &str| {
            let root = env!("CARGO_MANIFEST_DIR");
            format!("{root}/testdata/certs/odd/ed25519.{kind}")
        };
        let keys = json!([{"certificateFile": file("crt"), "keyFile": file("key")}]);
        let settings = |more: Value| {
            let mut value = json!({"certificates": keys.clone()});
            value
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let report = Report::default();
            let node = Node::root(&value, &report);
            server(&node, Some(&node), false).unwrap()
        };
        let one = settings(json!({}));
        assert_eq!(
            one,
            settings(json!({"minVersion": "1.2", "alpn": ["h2", "http/1.1"]}))
        );
        assert_ne!(one, settings(json!({"minVersion": "1.3"})));
        assert!(!format!("{one:?}").contains("ed25519.key"));
    }
}
