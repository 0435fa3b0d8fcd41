//! The certificate of a server: files that were named, or one that was made at the first start and is kept beside the
//! file of the server, so that a client that pins it finds it again.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::text::Table;
use crate::cause::system_words;
use crate::transport::tls::{self, Broken, KeyPair, Pem};

/// Made once, for this machine.
const CERTIFICATE: &str = "tunnel-cert.pem";
const KEY: &str = "tunnel-key.pem";

pub(super) fn read(
    server: &Table<'_, '_>,
    folder: Option<&Path>,
    notes: &mut Vec<String>,
) -> Option<tls::ServerSettings> {
    let cert_at = server.get("cert_path");
    let key_at = server.get("key_path");
    let pair = match (&cert_at, &key_at) {
        (None, None) => match own(folder) {
            Ok(pair) => pair,
            Err(e) => {
                server.error(format!(
                    "no certificate can be kept beside this file: {}; name one with `cert_path` and `key_path`",
                    system_words(&e)
                ));
                return None;
            }
        },
        (Some(cert), Some(key)) => {
            let (cert, key) = (cert.word(), key.word());
            let file = |path: String| Pem::File(PathBuf::from(path));
            KeyPair::new(file(cert?), file(key?))
        }
        (Some(one), None) | (None, Some(one)) => {
            one.error("`cert_path` and `key_path` go together, one of them is missing");
            return None;
        }
    };
    match pair.check() {
        Ok(remarks) => {
            for text in remarks.late.into_iter().chain(remarks.invalid) {
                if let Some(at) = &cert_at {
                    at.warn(text);
                }
            }
        }
        Err(broken) => {
            let (at, text) = match broken {
                Broken::Certificate(text) => (&cert_at, text),
                Broken::Key(text) => (&key_at, text),
            };
            match at {
                Some(at) => at.error(text),
                None => server.error(text),
            }
            return None;
        }
    }
    if let Some(pin) = pair.shown().and_then(|shown| shown.pin) {
        let hex: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
        notes.push(format!(
            "nobody vouches for this certificate; a client believes it with `pin = \"{hex}\"` (SHA-256)"
        ));
    }
    Some(tls::ServerSettings {
        certificates: vec![pair],
        ..tls::ServerSettings::default()
    })
}

/// The one that is there, or a new one.
fn own(folder: Option<&Path>) -> io::Result<KeyPair> {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    if !certificate.exists() || !key.exists() {
        let names = ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec();
        let (certificate_pem, key_pem) = tls::self_signed_pem(names).map_err(io::Error::other)?;
        write(&key, &key_pem, 0o600)?;
        write(&certificate, &certificate_pem, 0o644)?;
    }
    Ok(KeyPair::new(Pem::File(certificate), Pem::File(key)))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // Not over what somebody else has put there.
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())
}
