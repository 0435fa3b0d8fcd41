//! What the arguments name: a file, standard input, a URL or a link; and its text.

mod fetch;
mod pages;
mod socket;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cause::system_words;
use crate::dialect::contents;
use crate::dialect::form::{self, Form};
use crate::dialect::v2ray::json::Text;
use crate::dialect::v2ray::languages::Language;
use crate::report::Message;

use fetch::is_url;
pub(super) use pages::read;
use pages::{fetch, fetch_from};
use socket::Asked;

/// One place that a config comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Stdin,
    /// Of a text on the web.
    Url(String),
    /// Of a program of this machine.
    Socket(Asked),
    /// A share link, which is the text itself.
    Link(String),
}

impl Source {
    pub(super) fn of(path: &Path) -> Self {
        match path.to_str() {
            Some("stdin:" | "-") => Self::Stdin,
            Some(text) if is_url(text) => Self::Url(text.to_owned()),
            Some(text) if form::is_link(text) => Self::Link(text.to_owned()),
            text => match text.and_then(Asked::of) {
                Some(asked) => Self::Socket(asked),
                None => Self::File(path.to_owned()),
            },
        }
    }

    /// What messages call it: links and the rest of a URL are as good as a password.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "stdin".to_owned(),
            Self::Url(url) => form::shown(url),
            Self::Socket(asked) => asked.to_string(),
            Self::Link(_) => "the link".to_owned(),
        }
    }

    /// Whether somebody else's machine is where it comes from.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Url(_))
    }

    /// Standard input can be read once.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
        let read = match self {
            Self::File(path) => contents::of_file(path),
            Self::Stdin => contents::of_stdin(),
            Self::Url(url) => return fetch(url),
            Self::Socket(asked) => return fetch_from(asked),
            Self::Link(link) => return Ok(link.clone().into_bytes()),
        };
        let name = || self.name().escape_debug().to_string();
        read.map_err(|e| format!("{}: {}", name(), system_words(&e)))
    }
}

/// Of links it may be in another encoding, for the names in them: these are spoiled then, and nothing else.
fn text_of(bytes: Vec<u8>) -> Option<String> {
    let spoiled = match String::from_utf8(bytes) {
        Ok(text) => return Some(text),
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    };
    let (form, _) = form::recognise(&spoiled);
    (form == Form::Links).then_some(spoiled)
}

/// A text that was given, and what it is called.
pub(super) struct Given {
    pub(super) name: String,
    pub(super) text: String,
    is_remote: bool,
}

impl Given {
    /// The text behind a file's name, a URL, a link or `-`.
    pub(super) fn of(from: &str) -> Result<Self, String> {
        let source = Source::of(Path::new(from));
        let name = source.name();
        let mut text = text_of(source.bytes()?)
            .ok_or_else(|| format!("{}: this is not UTF-8 text", name.escape_debug()))?;
        if let Source::File(path) = &source
            && let Some(language) = Language::of_name(path)
            && form::recognise(&text).0 == Form::V2ray
        {
            let json = language.json(&name, text);
            text = json.map_err(|message| message.to_string())?;
        }
        Ok(Self {
            name,
            text,
            is_remote: source.is_remote(),
        })
    }

    pub(super) fn read(&self) -> Result<form::Read, Vec<Message>> {
        let (form, text) = form::recognise(&self.text);
        if form == Form::Gost && self.is_remote {
            let text =
                "a config of gost names files of its machine and is not fetched, expected a file";
            return Err(vec![Message::of_file(&self.name, text.to_owned())]);
        }
        if self.is_remote
            && let Some(message) = certificates_of_this_machine(&self.name, &text)
        {
            return Err(vec![message]);
        }
        read(form, &text, &self.name, self.is_remote)
    }
}

fn bytes_of_file(path: &Path) -> Result<Vec<u8>, String> {
    // Another may never end.
    let is_file = fs::metadata(path).map(|of| of.is_file());
    if !is_file.map_err(|e| system_words(&e))? {
        return Err("it is no file".to_owned());
    }
    contents::of_file(path).map_err(|e| system_words(&e))
}

/// What is wrong with a config of V2Ray that was fetched and names files of certificates, which would be opened as it is read.
pub(super) fn certificates_of_this_machine(name: &str, text: &str) -> Option<Message> {
    fn is_named(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.iter().any(|(key, value)| {
                let key = key.replace('_', "").to_ascii_lowercase();
                let is_key = matches!(&*key, "certificatefile" | "keyfile");
                is_key && value.as_str().is_some_and(|path| !path.is_empty()) || is_named(value)
            }),
            Value::Array(items) => items.iter().any(is_named),
            _ => false,
        }
    }
    let (value, _) = Text::with_commas(text.to_owned()).parse().ok()?;
    is_named(&value).then(|| of_this_machine(name, "certificates"))
}

/// What is said of a config that was fetched and names something here.
pub(super) fn of_this_machine(name: &str, part: &str) -> Message {
    let text =
        format!("{part}: what was fetched may name no file, folder or socket of this machine");
    Message::of_file(name, text)
}

/// More than the longest subscriptions there are: the most that is fetched.
const LONGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_known_by_its_scheme() {
        let of = |text: &str| Source::of(Path::new(text));
        assert_eq!(of("-"), Source::Stdin);
        assert_eq!(of("stdin:"), Source::Stdin);
        assert_eq!(of("a.json"), Source::File("a.json".into()));
        let url = of("https://a.example/secret");
        assert!(url.is_remote() && !url.name().contains("secret"));
        let link = of("vless://secret@a.example:1");
        assert!(matches!(link, Source::Link(_)) && !link.name().contains("secret"));
    }

    #[test]
    fn fetched_configs_open_no_certificates() {
        let told = |text: &str| certificates_of_this_machine("x", text).is_some();
        for key in ["certificateFile", "KeyFile", "certificate_file"] {
            let inner = format!(r#"[{{"a": {{"b": [{{"{key}": "/etc/x"}}]}}}}]"#);
            assert!(told(&inner), "{inner}");
        }
        for text in [
            r#"{"certificateFile": ""}"#,
            r#"{"certificate": ["x"]}"#,
            "vless://x",
        ] {
            assert!(!told(text), "{text}");
        }
    }
}
