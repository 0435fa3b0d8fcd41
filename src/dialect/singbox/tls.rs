//! `tls` of an outbound.

use std::path::Path;

use crate::dialect::clients::beside::text_of;
use crate::dialect::clients::nodes::{self, NO_ECH, NO_REALITY};
use crate::dialect::form::Outside;
use crate::dialect::tree::keys::Keys;
use crate::transport::ClientCarrier;
use crate::transport::tls::{ClientSettings, Pem, Versions};

/// Reads what seals the tunnel; `Some(None)` is nothing.
pub(super) fn read(
    keys: &Keys,
    carrier: &ClientCarrier,
    outside: Outside<'_>,
) -> Option<Option<ClientSettings>> {
    let Some(tls) = keys.enabled("tls", "enabled") else {
        return Some(None);
    };
    let mut settings = nodes::tls(carrier, &tls);
    settings.allow_insecure = tls.switch("insecure");
    if let Some(name) = tls.text("server_name") {
        settings.server_name = nodes::host_of(&tls, "server_name", name);
    }
    settings.versions = versions(&tls);
    authorities(&tls, &mut settings, outside);
    tls.refuse(&["reality"], NO_REALITY);
    tls.refuse(&["ech"], NO_ECH);
    tls.refuse(
        &["certificate_public_key_sha256"],
        "pins of keys are not built, expected `certificate`: the server's own certificate, or its authority's",
    );
    let own = [
        "client_certificate",
        "client_certificate_path",
        "client_key",
        "client_key_path",
    ];
    tls.refuse(
        &own,
        "certificates of clients are not carried over, and the server asks for one",
    );
    if let Some(utls) = tls.enabled("utls", "enabled") {
        let named = utls.word("fingerprint");
        settings.fingerprint = Some(named.unwrap_or_else(|| "chrome".to_owned()));
        utls.finish();
    }
    tls.no_word(&["disable_sni"], "the server's name is always said");
    tls.no_word(
        &["cipher_suites", "curve_preferences"],
        "this program's own are offered",
    );
    tls.no_word(
        &["fragment", "record_fragment"],
        "this disguise is not built, whoever watches reads the server's name",
    );
    tls.silent(&[
        "fragment_fallback_delay",
        "kernel_tx",
        "kernel_rx",
        "engine",
    ]);
    tls.finish();
    Some(Some(settings))
}

fn versions(tls: &Keys) -> Versions {
    let [min, max] = ["min_version", "max_version"].map(|key| {
        let text = tls.text(key)?;
        match text {
            "1.0" | "1.1" | "1.2" => Some(2),
            "1.3" => Some(3),
            other => {
                let other = other.escape_debug();
                tls.error(
                    key,
                    format_args!("found `{other}`, expected `1.2` or `1.3`"),
                );
                None
            }
        }
    });
    match (min, max) {
        (Some(3), _) => Versions::Only13,
        (_, Some(2)) => Versions::Only12,
        _ => Versions::Both,
    }
}

/// Certificates that are believed: those of the system are not, then.
fn authorities(tls: &Keys, settings: &mut ClientSettings, outside: Outside<'_>) {
    let lines: Vec<&str> = tls
        .list("certificate")
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    let mut texts = Vec::new();
    if !lines.is_empty() {
        texts.push(("certificate", lines.join("\n")));
    }
    if let Some(path) = tls.text("certificate_path") {
        match (outside.file)(Path::new(path)).and_then(text_of) {
            Ok(text) => texts.push(("certificate_path", text)),
            Err(e) => tls.error(
                "certificate_path",
                format_args!("`{}`: {e}", path.escape_debug()),
            ),
        }
    }
    for (key, text) in texts {
        match Pem::Inline(text).authorities() {
            Ok(read) => settings.authorities.0.extend(read.0),
            Err(e) => tls.error(key, e),
        }
        settings.disable_system_root = true;
    }
}
