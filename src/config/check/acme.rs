//! What inbounds say about the same certificates and accounts of authorities.

use crate::config::{Draft, Inbound};
use crate::report::{Path, Report};
use crate::transport::tls::acme::Settings;

/// One certificate for the same names, and one account in a folder.
pub(super) fn inbounds(inbounds: &[Draft<Inbound>], report: &Report) {
    let mut earlier: Vec<(Path, &Settings)> = Vec::new();
    for draft in inbounds {
        let security = draft.part.as_ref().map(|part| &part.transport.security);
        let Some(Some(tls)) = security else { continue };
        let at = draft
            .at
            .key("streamSettings")
            .key("tlsSettings")
            .key("acme");
        for own in &tls.acme {
            let told = earlier.iter().find_map(|(there, other)| {
                let (key, what) = contradiction(own, other)?;
                Some((there.key(key), key, what))
            });
            if let Some((there, key, what)) = told {
                let text = format!("is not as {there} has it, {what}: expected the same");
                report.error(&at.key(key), text);
            }
            earlier.push((at.clone(), own));
        }
    }
}

/// The key that two differ in though they may not, and why they may not.
fn contradiction(a: &Settings, b: &Settings) -> Option<(&'static str, &'static str)> {
    let one_certificate = "and both are for the same names";
    let one_account = "and both ask the same authority with one account";
    let is_one_certificate = a.domains == b.domains;
    let is_one_authority = a.directory == b.directory;
    if is_one_certificate && !is_one_authority {
        return Some(("directory", one_certificate));
    }
    if is_one_certificate && a.folder != b.folder {
        return Some(("folder", one_certificate));
    }
    if is_one_certificate && a.http_port != b.http_port {
        return Some(("httpPort", one_certificate));
    }
    if !is_one_authority {
        return None;
    }
    if a.authorities != b.authorities {
        return Some(("ca", "and both ask the same authority"));
    }
    let is_other = a.folder == b.folder && a.email != b.email;
    is_other.then_some(("email", one_account))
}
