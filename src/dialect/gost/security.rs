//! `tls`, and the keys that belong to it.
//!
//! gost's clients verify no certificate unless they are told to, and its commands rely on it; so here too, with a line in
//! the log that says whose certificate nobody vouched for, and how it is pinned.

use std::path::{Path, PathBuf};

use super::Problems;
use super::part::{Part, check_keys};
use crate::address::Host;
use crate::cause::Words;
use crate::dialect::tree::Node;
use crate::transport::tls::{
    Broken, ClientAuth, ClientSettings, KeyPair, Pem, SelfSigned, ServerSettings, Versions,
};

/// What a line about a certificate that nobody vouched for says of the cure.
const PIN: &str = "`pin=` with it (`-F …?pin=`, or `tls.pin` of the dialer) has no other taken, `secure=true` verifies it";

const CERTIFICATE: [&str; 2] = ["certFile", "cert"];
const KEY: [&str; 2] = ["keyFile", "key"];
const AUTHORITY: [&str; 2] = ["caFile", "ca"];

/// Every key that may stand beside others in a URL; where it stands in `tls` of a file, and how it is called there.
pub(super) const TLS_KEYS: [(&str, (&[&str], &str)); 11] = [
    ("certFile", (&[], "certFile")),
    ("cert", (&[], "certFile")),
    ("keyFile", (&[], "keyFile")),
    ("key", (&[], "keyFile")),
    ("caFile", (&[], "caFile")),
    ("ca", (&[], "caFile")),
    ("secure", (&[], "secure")),
    ("serverName", (&[], "serverName")),
    ("pin", (&[], "pin")),
    ("minVersion", (&["options"], "minVersion")),
    ("maxVersion", (&["options"], "maxVersion")),
];

const CIPHER_SUITES: &str = "cipher suites cannot be chosen";

/// A server's. Without a certificate it takes `cert.pem` and `key.pem` of the working directory, else it makes one.
pub(super) fn server(
    part: &Part,
    global: Option<&Node>,
    problems: &Problems,
) -> Option<ServerSettings> {
    let text = |names: &[&str]| {
        let own = part.text(names);
        own.or_else(|| {
            let mut names = names.iter();
            let found = names.find_map(|name| global?.get(name)?.as_text());
            found.map(str::to_owned)
        })
    };
    part.silent(&["validity", "commonName", "organization", "serverName"]);
    let mut settings = ServerSettings {
        alpn: Vec::new(),
        versions: versions(part, problems),
        ..ServerSettings::default()
    };
    let beside = [Path::new("cert.pem"), Path::new("key.pem")];
    match (text(&CERTIFICATE), text(&KEY)) {
        (Some(certificate), Some(key)) => {
            settings
                .certificates
                .push(pair(part, certificate, key, problems)?);
        }
        (None, None) if beside.iter().all(|file| file.is_file()) => {
            let [certificate, key] = beside.map(|file| file.display().to_string());
            settings
                .certificates
                .push(pair(part, certificate, key, problems)?);
        }
        (None, None) => {
            let name = Host::parse("gost.run").ok();
            settings.self_signed = Some(SelfSigned::new(name.as_ref()));
        }
        (Some(_), None) => problems.error(&part.at, "`certFile` needs `keyFile` as well"),
        (None, Some(_)) => problems.error(&part.at, "`keyFile` needs `certFile` as well"),
    }
    if let Some(file) = text(&AUTHORITY) {
        match Pem::File(PathBuf::from(file)).authorities() {
            Ok(authorities) => settings.client_auth = ClientAuth::Required(authorities),
            Err(e) => problems.error(&part.at, &e.to_string()),
        }
    }
    Some(settings)
}

/// `tls` of a file: the certificate of services that name none.
pub(super) fn check_global(node: &Node, problems: &Problems) {
    let made = ["validity", "commonName", "organization"];
    let known = [CERTIFICATE, KEY, AUTHORITY].concat();
    let known: Vec<&str> = known.into_iter().chain(made).collect();
    check_keys(node, &known, problems);
}

/// A client's.
pub(super) fn client(part: &Part, problems: &Problems) -> Option<ClientSettings> {
    let secure = part.switch(&["secure"]).unwrap_or(false);
    let mut settings = ClientSettings {
        alpn: Vec::new(),
        versions: versions(part, problems),
        words: Words::Gost,
        ..ClientSettings::default()
    };
    if let Some(name) = part.text(&["serverName"]).filter(|name| !name.is_empty()) {
        match Host::parse(&name) {
            Ok(host) => settings.server_name = Some(host),
            // gost's `-O` prints the addresses of several nodes here, as they were given.
            Err(_) if !secure => {
                let text = format!(
                    "`{}` is no name in TLS and is passed over: without `secure` nothing is compared with it",
                    name.escape_debug()
                );
                problems.warn(&part.at, &text);
            }
            Err(e) => {
                let text = format!("`{}` cannot be a name in TLS: {e}", name.escape_debug());
                problems.error(&part.at, &text);
            }
        }
    }
    if let Some(node) = part.get(&["pin"]) {
        for text in node
            .items()
            .iter()
            .filter_map(Node::as_text)
            .flat_map(|text| text.split(','))
        {
            match pin(text) {
                Some(pin) => settings.certificate_pins.push(pin),
                None => problems.error(
                    &node.at,
                    "this is no fingerprint, expected the SHA-256 of a certificate in 64 hex digits",
                ),
            }
        }
    }
    let ca = part.text(&AUTHORITY);
    if let Some(file) = &ca {
        match Pem::File(PathBuf::from(file)).authorities() {
            Ok(authorities) => settings.authorities = authorities,
            Err(e) => problems.error(&part.at, &e.to_string()),
        }
        // gost believes nobody else then.
        settings.disable_system_root = true;
        settings.any_name = !secure;
    }
    match (part.text(&CERTIFICATE), part.text(&KEY)) {
        (Some(certificate), Some(key)) => {
            settings.certificate = Some(pair(part, certificate, key, problems)?);
        }
        (None, None) => {}
        _ => problems.error(
            &part.at,
            "`certFile` and `keyFile` belong together, and one is missing",
        ),
    }
    let is_pinned = !settings.certificate_pins.is_empty();
    if !secure && ca.is_none() && !is_pinned {
        settings.allow_insecure = true;
        settings.told_unverified = Some(PIN);
    }
    Some(settings)
}

fn pair(part: &Part, certificate: String, key: String, problems: &Problems) -> Option<KeyPair> {
    let pair = KeyPair::new(Pem::File(certificate.into()), Pem::File(key.into()));
    match pair.check() {
        Ok(remarks) => {
            let remarks = remarks.late.into_iter().chain(remarks.invalid);
            remarks.for_each(|text| problems.warn(&part.at, &text));
            Some(pair)
        }
        Err(Broken::Certificate(text) | Broken::Key(text)) => {
            problems.error(&part.at, &text);
            None
        }
    }
}

/// 64 hex digits, with colons between them or without.
fn pin(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b": ".contains(b)).collect();
    let mut pin = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, two) in pin.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok()?;
    }
    Some(pin)
}

/// `minVersion` and `maxVersion`: `VersionTLS12`, `VersionTLS13`.
fn versions(part: &Part, problems: &Problems) -> Versions {
    part.refuse(&["cipherSuites"], CIPHER_SUITES);
    let options = part.get(&["options"]);
    for (key, node) in options.map(Node::entries).unwrap_or_default() {
        let text = match &*key.to_ascii_lowercase() {
            "minversion" | "maxversion" => continue,
            "ciphersuites" => CIPHER_SUITES,
            "alpn" => "ALPN is not chosen here: a WebSocket offers none, as gost's does by itself",
            _ => "this is not built here, expected `minVersion` or `maxVersion`",
        };
        problems.error(&node.at, text);
    }
    let version = |name: &str| {
        let node = options
            .and_then(|options| options.get(name))
            .or_else(|| part.get(&[name]))?;
        match node.as_text() {
            Some("VersionTLS10" | "VersionTLS11" | "VersionTLS12") => Some(12),
            Some("VersionTLS13") => Some(13),
            _ => {
                problems.error(
                    &node.at,
                    "this is no version, expected `VersionTLS12` or `VersionTLS13`",
                );
                None
            }
        }
    };
    match (version("minVersion"), version("maxVersion")) {
        (Some(13), _) => Versions::Only13,
        (_, Some(12)) => Versions::Only12,
        _ => Versions::Both,
    }
}
