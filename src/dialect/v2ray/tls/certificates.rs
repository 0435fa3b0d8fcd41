//! `certificates` of `tlsSettings`: what each is for, and where it is.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::dialect::v2ray::json::{Node, Object, Setting, StringList, one_of_or};
use crate::transport::tls::{Authorities, Broken, KeyPair, Pem, Unreadable};

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

/// `certificates`, by their usage.
#[derive(Default)]
pub(super) struct Certificates {
    pub(super) own: Vec<KeyPair>,
    pub(super) issuers: Vec<KeyPair>,
    pub(super) authorities: Authorities,
    pub(super) client_authorities: Authorities,
}

impl Certificates {
    pub(super) fn read(&mut self, object: &Object) {
        let usage = object
            .get("usage")
            .map(|node| one_of_or(&node, &USAGES, "encipherment"));
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
            let text = "`keyFile` (or `key`) is missing, the certificate is left out";
            return object.node.warn(text);
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
