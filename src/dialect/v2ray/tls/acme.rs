//! `acme` of `tlsSettings`, ours: a certificate that an authority issues and renews.

use std::path::{Path, PathBuf};

use http::Uri;

use crate::address::Host;
use crate::dialect::v2ray::json::{Node, Object, StringList};
use crate::transport::tls::acme::{Folder, LETS_ENCRYPT, Settings};
use crate::transport::tls::{Authorities, Pem};

/// As many names as Let's Encrypt takes in one certificate.
const MAX_NAMES: usize = 100;

/// `None` when something is wrong, which is reported then. Nobody is asked, and nothing is made.
pub(super) fn read(node: &Node) -> Option<Settings> {
    let object = node.object()?;
    let domains = domains(node, &object);
    let email = email(&object);
    let directory = directory(&object);
    let folder = folder(node, &object);
    let authorities = authorities(&object);
    let http_port = match object.get("httpPort") {
        Some(port) => port.read::<u16>().filter(|number| {
            if *number == 0 {
                port.error("`0` is no port that anybody asks at, expected 1 to 65535");
            }
            *number != 0
        }),
        None => Some(80),
    };
    object.finish();
    Some(Settings {
        domains: domains?,
        email: email?,
        directory: directory?,
        folder: folder?,
        authorities: authorities?,
        http_port: http_port?,
    })
}

fn domains(node: &Node, object: &Object) -> Option<Vec<String>> {
    let Some(list) = object.get("domains") else {
        node.error("`domains` is missing, expected the names of the certificate");
        return None;
    };
    let texts = list.read::<StringList>()?.0;
    let mut names = Vec::new();
    let mut is_good = true;
    for text in &texts {
        match name(text) {
            Ok(name) => names.push(name),
            Err(why) => {
                list.error(format!(
                    "`{}` is no name for it: {why}",
                    text.escape_debug()
                ));
                is_good = false;
            }
        }
    }
    names.sort();
    names.dedup();
    if texts.is_empty() || names.len() > MAX_NAMES {
        let many = names.len();
        list.error(format!("{many} names, expected 1 to {MAX_NAMES}"));
        return None;
    }
    is_good.then_some(names)
}

/// A name that an authority can look for, in small letters.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
    if text.starts_with("*.") {
        let why = "a wildcard needs DNS-01, which is not built: list the names";
        return Err(why.to_owned());
    }
    if !text.is_ascii() {
        return Err("expected its form in ASCII, which begins with `xn--`".to_owned());
    }
    match Host::parse(&text) {
        Ok(Host::Domain(_)) => {}
        Ok(Host::Ip(_)) => return Err("it is an address".to_owned()),
        Err(e) => return Err(e.to_string()),
    }
    let is_label = |label: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text.len() <= 253 && text.split('.').all(is_label) {
        true => Ok(text),
        false => Err("expected letters, digits and hyphens between dots".to_owned()),
    }
}

/// `Some(None)`: there is none.
fn email(object: &Object) -> Option<Option<String>> {
    let Some(node) = object.get("email") else {
        return Some(None);
    };
    let text: String = node.read()?;
    let address = text.trim().trim_start_matches("mailto:");
    if address.is_empty() {
        return Some(None);
    }
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?' | '<' | '>' | '"');
    let parts = address.split_once('@');
    let is_good = parts.is_some_and(|(who, host)| {
        !who.is_empty() && !host.contains('@') && name(host).is_ok() && who.chars().all(is_plain)
    });
    if !is_good {
        let text = text.escape_debug();
        node.error(format!(
            "`{text}` is no address of mail, expected `me@example.com`"
        ));
        return None;
    }
    Some(Some(address.to_owned()))
}

fn directory(object: &Object) -> Option<String> {
    let Some(node) = object.get("directory") else {
        return Some(LETS_ENCRYPT.to_owned());
    };
    let text: String = node.read()?;
    if text.is_empty() {
        return Some(LETS_ENCRYPT.to_owned());
    }
    let url = text.parse::<Uri>();
    let is_good = url.as_ref().is_ok_and(|url| {
        url.scheme_str() == Some("https") && url.host().is_some_and(|host| !host.is_empty())
    });
    if !is_good {
        let text = text.escape_debug();
        node.error(format!(
            "`{text}` is no directory of an authority, expected a URL with `https://`, such as `{LETS_ENCRYPT}`"
        ));
        return None;
    }
    Some(text)
}

fn folder(node: &Node, object: &Object) -> Option<PathBuf> {
    let Some(at) = object.get("folder") else {
        node.error(
            "`folder` is missing, expected where the account and the certificate are kept, such as `/var/lib/mobula/acme`",
        );
        return None;
    };
    let text: String = at.read()?;
    if text.is_empty() {
        at.error("the name of the folder is empty, expected one such as `/var/lib/mobula/acme`");
        return None;
    }
    let checked = Folder::check(Path::new(&text));
    checked.map_err(|e| at.error(e)).ok()?;
    Some(text.into())
}

fn authorities(object: &Object) -> Option<Authorities> {
    let Some(node) = object.get("ca") else {
        return Some(Authorities::default());
    };
    let file: String = node.read()?;
    let read = Pem::File(file.into()).authorities();
    read.map_err(|e| node.error(e.to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_an_authority_can_look_for() {
        for (text, is_good) in [
            ("A.Example.", Some("a.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("localhost", Some("localhost")),
            ("*.a.example", None),
            ("192.0.2.1", None),
            ("::1", None),
            ("b\u{fc}cher.example", None),
            ("a..example", None),
            ("-a.example", None),
            ("a.example:443", None),
            ("https://a.example", None),
            ("a_b.example", None),
            ("", None),
        ] {
            assert_eq!(name(text).ok().as_deref(), is_good, "{text}");
        }
    }
}
