//! `tls`, and the certificates that belong to it.

use std::path::{Path, PathBuf};

use super::options::Options;
use crate::address::Host;
use crate::transport::tls::{self, Broken, KeyPair, Pem};

pub(super) fn warn_without_tls(options: &mut Options) {
    for name in ["cert", "certRaw", "key"] {
        if options.some(name).is_some() {
            options.warn(name, "without `tls` this has no effect");
        }
    }
}

/// The certificate that was given, and the option that gave it; `cert` goes before `certRaw`.
fn given_certificate(options: &Options) -> Option<(&'static str, Pem)> {
    if let Some(file) = options.some("cert") {
        return Some(("cert", Pem::File(PathBuf::from(file))));
    }
    // What stands between the lines of a PEM file, as Android's settings have it.
    let raw = options.some("certRaw")?;
    let text = format!("-----BEGIN CERTIFICATE-----\n{raw}\n-----END CERTIFICATE-----");
    Some(("certRaw", Pem::Inline(text)))
}

pub(super) fn client(options: &mut Options, host: &str) -> Option<tls::ClientSettings> {
    if !options.is_on("tls") {
        warn_without_tls(options);
        return None;
    }
    let mut settings = tls::ClientSettings {
        server_name: read_name(options, host),
        ..tls::ClientSettings::default()
    };
    if let Some((name, pem)) = given_certificate(options) {
        match pem.authorities() {
            Ok(authorities) => settings.authorities = authorities,
            Err(e) => options.error(name, &e.to_string()),
        }
    }
    Some(settings)
}

/// The name in TLS; without one, the server's address.
fn read_name(options: &mut Options, host: &str) -> Option<Host> {
    if host.is_empty() {
        return None;
    }
    Host::parse(host)
        .map_err(|e| {
            let text = format!("`{}` cannot be a name in TLS: {e}", host.escape_debug());
            options.error("host", &text);
        })
        .ok()
}

pub(super) fn server(
    options: &mut Options,
    host: &str,
    home: Option<&Path>,
) -> Option<tls::ServerSettings> {
    // Where acme.sh puts what it has got for a name.
    let acme = |file: String| home.map(|home| home.join(".acme.sh").join(host).join(file));
    let (cert_at, certificate) = match given_certificate(options) {
        Some(given) => given,
        None => (
            "cert",
            Pem::File(found(options, "cert", acme("fullchain.cer".into()))?),
        ),
    };
    let key = match options.some("key") {
        Some(file) => PathBuf::from(file),
        None => found(options, "key", acme(format!("{host}.key")))?,
    };
    let pair = KeyPair::new(certificate, Pem::File(key));
    match pair.check() {
        Ok(remarks) => {
            let remarks = remarks.late.into_iter().chain(remarks.invalid);
            remarks.for_each(|text| options.warn(cert_at, &text));
        }
        Err(Broken::Certificate(text)) => options.error(cert_at, &or_give(options, cert_at, text)),
        Err(Broken::Key(text)) => options.error("key", &or_give(options, "key", text)),
    }
    Some(tls::ServerSettings {
        certificates: vec![pair],
        ..tls::ServerSettings::default()
    })
}

/// acme.sh's file, if anybody is at home.
fn found(options: &mut Options, name: &'static str, file: Option<PathBuf>) -> Option<PathBuf> {
    if file.is_none() {
        let text = format!(
            "this is missing, and there is no home that acme.sh could have a file in, expected `{name}=FILE`"
        );
        options.error(name, &text);
    }
    file
}

/// Who gave no file may not know where one was looked for.
fn or_give(options: &Options, name: &'static str, text: String) -> String {
    match options.some(name) {
        Some(_) => text,
        None => format!("{text}; it is acme.sh's for this `host`, `{name}=FILE` names another"),
    }
}
