//! `tlsSettings` (V2Ray 4) and `securitySettings` (V2Ray 5): one reader for both spellings.

mod acme;
mod certificates;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::address::Host;
use crate::dialect::v2ray::json::{Node, Object, Report, StringList, one_of_or};
use crate::dialect::v2ray::protocols::parts_of_address;
use crate::transport::tls::{
    BuildError, ClientAuth, ClientSettings, NOT_BROWSERS, SelfSigned, ServerSettings, Versions,
};
use certificates::Certificates;

/// Reads the settings of a server; `stream` is the `streamSettings` that they are missing from, if they are.
/// `http_1_1`: an upgrade comes on top, and needs it.
pub(super) fn server(
    stream: &Node,
    settings: Option<&Node>,
    http_1_1: bool,
) -> Option<ServerSettings> {
    let Some(node) = settings else {
        stream.dead("`tlsSettings` is missing, a TLS server needs `certificates`");
        return None;
    };
    let object = node.object()?;
    let read = Both::read(&object, http_1_1);
    let acme = object.get("acme");
    let is_issued = acme.is_some();
    let acme = acme.and_then(|node| acme::read(&node));
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
    let is_bare = certificates.own.is_empty() && certificates.issuers.is_empty();
    if is_issued && acme.is_none() {
        return None;
    }
    if is_bare && self_signed.is_none() && acme.is_none() {
        // What is there and of no use has been reported already.
        if !node.report().has_errors() {
            node.dead(BuildError::NoCertificate.to_string());
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
        acme: acme.into_iter().collect(),
        client_auth,
        reject_unknown_sni: read.reject_unknown_sni,
        alpn: read.alpn,
        versions: read.versions,
        early_data: read.early_data,
    })
}

/// Reads the settings of a client; absent ones are the defaults, as those of an empty object.
pub(super) fn client(settings: Option<&Node>, http_1_1: bool) -> Option<ClientSettings> {
    let (empty, report) = (Value::Object(Map::new()), Report::default());
    let defaults = Node::root(&empty, &report);
    let object = settings.unwrap_or(&defaults).object()?;
    let read = Both::read(&object, http_1_1);
    if read.allow_insecure
        && let Some(node) = object.get("allowInsecure")
    {
        node.warn(
            "any certificate is taken, so anyone in between can read and change what passes; \
             `pinnedPeerCertificateChainSha256` or a certificate with `usage: verify` is safe",
        );
    }
    object.refuse(
        "acme",
        "an authority issues certificates to servers: it belongs to the `tlsSettings` of an inbound",
    );
    object.finish();
    Some(ClientSettings {
        server_name: read.server_name,
        authorities: read.certificates.authorities,
        disable_system_root: read.disable_system_root,
        allow_insecure: read.allow_insecure,
        pins: read.pins,
        certificate_pins: read.certificate_pins,
        fingerprint: read.fingerprint,
        verify_names: read.verify_names,
        certificate: read.certificates.own.into_iter().next(),
        alpn: read.alpn,
        versions: read.versions,
        early_data: read.early_data,
        ..ClientSettings::default()
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
    certificate_pins: Vec<[u8; 32]>,
    fingerprint: Option<String>,
    verify_names: Vec<Host>,
    self_signed: bool,
    verify_client: bool,
    reject_unknown_sni: bool,
    early_data: bool,
}

impl Both {
    fn read(object: &Object, http_1_1: bool) -> Self {
        let pins = read_pins(object);
        // V2Ray 5's word for both together.
        let if_pinned = object.read_or("allowInsecureIfPinnedPeerCertificate", false);
        let mut both = Self {
            alpn: read_alpn(object, http_1_1),
            versions: read_versions(object),
            server_name: read_server_name(object),
            certificates: Certificates::default(),
            allow_insecure: object.read_or("allowInsecure", false) || if_pinned && !pins.is_empty(),
            disable_system_root: object.read_or("disableSystemRoot", false),
            pins,
            certificate_pins: read_certificate_pins(object),
            fingerprint: read_fingerprint(object),
            verify_names: read_verify_names(object),
            self_signed: object.read_or("selfSigned", false),
            verify_client: object.read_or("verifyClientCertificate", false),
            reject_unknown_sni: object.read_or("rejectUnknownSni", false),
            early_data: object.read_or("earlyData", false),
        };
        if let Some(node) = object.get("earlyData")
            && both.early_data
            && both.versions == Versions::Only12
        {
            node.error("early data is of TLS 1.3, which `maxVersion` rules out");
        }
        if let Some(list) = object.first(&["certificates", "certificate"]) {
            for node in list.array() {
                if let Some(certificate) = node.object() {
                    both.certificates.read(&certificate);
                    certificate.finish();
                }
            }
        }
        object.no_effect(&[
            "allowInsecureCiphers",
            "cipherSuites",
            "preferServerCipherSuites",
            "curvePreferences",
            "masterKeyLog",
            "imitate",
        ]);
        refuse_unchecked(object);
        // Sessions are taken up again where both ends can, which is what either value asks for at best.
        object.silent(&["disableSessionResumption", "enableSessionResumption"]);
        both
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

/// That of a program that imitates nobody is none.
fn read_fingerprint(object: &Object) -> Option<String> {
    let node = object.get("fingerprint")?;
    let text = node.value.as_str()?.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("unsafe") {
        return None;
    }
    node.warn(NOT_BROWSERS);
    Some(text.to_ascii_lowercase())
}

fn read_alpn(object: &Object, http_1_1: bool) -> Vec<String> {
    let node = object.first(&["alpn", "nextProtocol"]);
    let mut names = match &node {
        Some(node) => node.read::<StringList>().unwrap_or_default().0,
        None => Vec::new(),
    };
    if names.is_empty() {
        names = match http_1_1 {
            true => vec!["http/1.1".to_owned()],
            false => vec!["h2".to_owned(), "http/1.1".to_owned()],
        };
    }
    if http_1_1 && names.iter().any(|name| name != "http/1.1") {
        if let Some(node) = node {
            node.warn("an upgrade needs `http/1.1`, nothing else is offered");
        }
        names = vec!["http/1.1".to_owned()];
    }
    names
}

fn read_versions(object: &Object) -> Versions {
    let bound = |key| {
        let node = object.get(key)?;
        let known = [
            ("1.0", 10),
            ("1.1", 11),
            ("1.2", 12),
            ("1.3", 13),
            ("TLS1_0", 10),
            ("TLS1_1", 11),
            ("TLS1_2", 12),
            ("TLS1_3", 13),
        ];
        let usual = match key {
            "minVersion" => "1.2",
            _ => "1.3",
        };
        if node.value == "Default" {
            return None;
        }
        // The words of one form are those that are expected there.
        let word = node.value.as_str().unwrap_or_default();
        let known = match word.to_ascii_uppercase().starts_with("TLS") {
            true => &known[4..],
            false => &known[..4],
        };
        let version = one_of_or(&node, known, usual)?;
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
            let why = parts_of_address(&text).unwrap_or_else(|| e.to_string());
            node.dead(format!(
                "`{}` is no name of a server: {why}",
                text.escape_debug()
            ));
        })
        .ok()
}

/// Whom to believe, and who can read the name that is asked for: never passed over.
fn refuse_unchecked(object: &Object) {
    for key in [
        "echConfig",
        "echConfigList",
        "echDohServer",
        "echServerKeys",
    ] {
        object.refuse(
            key,
            "Encrypted Client Hello is not built, and without it everybody on the way could read the server's name: take the key out",
        );
    }
    object.refuse(
        "pinnedPeerCertificatePublicKeySha256",
        "pins of public keys are not built: pin the certificate by `pinnedPeerCertSha256`",
    );
    object.silent(&["echForceQuery", "echSockopt"]);
}

/// Xray's SHA-256 of certificates, in hex, with OpenSSL's colons if they are there.
fn read_certificate_pins(object: &Object) -> Vec<[u8; 32]> {
    let Some(node) = object.get("pinnedPeerCertSha256") else {
        return Vec::new();
    };
    let texts = node.read::<StringList>().unwrap_or_default().0;
    let pins = texts.iter().filter(|text| !text.trim().is_empty());
    pins.filter_map(|text| {
        let pin = hash_of_hex(text);
        if pin.is_none() {
            node.error(format!(
                "`{}` is not a SHA-256 hash, it is 64 hex digits, as `openssl x509 -fingerprint -sha256` prints them",
                text.escape_debug()
            ));
        }
        pin
    })
    .collect()
}

pub(in crate::dialect) fn hash_of_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text
        .trim()
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let pair = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).ok();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(pair).collect::<Option<_>>()?;
    bytes.try_into().ok().filter(|_| digits.len() == 64)
}

/// `verifyPeerCertByName`; Xray called it otherwise before.
fn read_verify_names(object: &Object) -> Vec<Host> {
    let keys = ["verifyPeerCertByName", "verifyPeerCertInNames"];
    let Some(node) = object.first(&keys) else {
        return Vec::new();
    };
    let names = node.read::<StringList>().unwrap_or_default().0;
    let names = names.iter().filter(|name| !name.trim().is_empty());
    names
        .filter_map(|name| {
            let host = Host::parse(name.trim());
            host.map_err(|e| {
                let name = name.escape_debug();
                node.error(format!("`{name}` is no name of a server: {e}"));
            })
            .ok()
        })
        .collect()
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
mod tests;
