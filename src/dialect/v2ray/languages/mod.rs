//! A config.json in another language: YAML and TOML, which V2Ray and Xray read as well. It becomes the JSON that says the same,
//! in which every value stands in the line where it stood, so that messages name it.

mod toml;
mod yaml;

use std::fmt::Write as _;
use std::path::Path;

use crate::report::Message;

/// What a config is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Json,
    Yaml,
    Toml,
}

/// The ends of names that say so, as Xray has them.
const ENDS: [(&str, Language); 5] = [
    ("json", Language::Json),
    ("jsonc", Language::Json),
    ("toml", Language::Toml),
    ("yaml", Language::Yaml),
    ("yml", Language::Yaml),
];

impl Language {
    /// What the name of a file says.
    pub fn of_name(path: &Path) -> Option<Self> {
        let end = path.extension()?.to_str()?;
        let found = ENDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(end));
        found.map(|(_, language)| *language)
    }

    /// The same text as JSON.
    ///
    /// # Errors
    ///
    /// When it is none of this language.
    pub fn json(self, name: &str, text: String) -> Result<String, Box<Message>> {
        let root = match self {
            Self::Json => return Ok(text),
            Self::Yaml => yaml::read(&text, name)?,
            Self::Toml => toml::read(&text, name)?,
        };
        let mut json = Json::default();
        json.value(&root);
        Ok(json.text)
    }
}

/// A value, and the line where it begins.
struct Placed {
    line: usize,
    value: Value,
}

enum Value {
    /// `null`, a number or a switch, as JSON has it.
    Plain(String),
    Text(String),
    List(Vec<Placed>),
    Map(Vec<Entry>),
}

struct Entry {
    line: usize,
    key: String,
    value: Placed,
}

#[derive(Default)]
struct Json {
    text: String,
    /// How many have ended.
    lines: usize,
}

impl Json {
    /// Goes on in this line, unless it is behind.
    fn line(&mut self, line: usize) {
        while self.lines + 1 < line {
            self.text.push('\n');
            self.lines += 1;
        }
    }

    fn quoted(&mut self, text: &str) {
        let _ = write!(self.text, "{}", serde_json::Value::from(text));
    }

    fn value(&mut self, placed: &Placed) {
        self.line(placed.line);
        match &placed.value {
            Value::Plain(text) => self.text.push_str(text),
            Value::Text(text) => self.quoted(text),
            Value::List(items) => self.all('[', ']', items, Self::value),
            Value::Map(entries) => self.all('{', '}', entries, |json, entry| {
                json.line(entry.line);
                json.quoted(&entry.key);
                json.text.push_str(": ");
                json.value(&entry.value);
            }),
        }
    }

    fn all<T>(&mut self, open: char, close: char, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.text.push(open);
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                self.text.push_str(", ");
            }
            write(self, item);
        }
        self.text.push(close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(language: Language, text: &str) -> Result<String, String> {
        let json = language.json("c", text.to_owned());
        json.map_err(|message| message.to_string())
    }

    #[test]
    fn each_value_keeps_its_line() {
        let yaml = "# a\nlog:\n  loglevel: \"info\"\n\ninbounds:\n- port: 0x50\n  tag: 'on'\n  sniffing: {enabled: true}\n- port: 1-5\nrouting:\n";
        let expected = "\n{\"log\": \n{\"loglevel\": \"info\"}, \n\n\"inbounds\": \n[{\"port\": 80, \n\"tag\": \"on\", \n\"sniffing\": {\"enabled\": true}}, \n{\"port\": \"1-5\"}], \n\"routing\": null}";
        assert_eq!(json(Language::Yaml, yaml).unwrap(), expected);
        let toml = "# a\n[log]\nloglevel = \"info\"\n\n[[inbounds]]\nport = 80\ntag = 'on'\nsniffing = {enabled = true}\n[[inbounds]]\nport = \"1-5\"\n";
        let expected = "{\n\"log\": {\n\"loglevel\": \"info\"}, \n\n\"inbounds\": [{\n\"port\": 80, \n\"tag\": \"on\", \n\"sniffing\": {\"enabled\": true}}, {\n\n\"port\": \"1-5\"}]}";
        assert_eq!(json(Language::Toml, toml).unwrap(), expected);
    }

    #[test]
    fn what_a_plain_scalar_of_yaml_is() {
        for (plain, expected) in [
            ("~", "null"),
            ("True", "true"),
            ("yes", "\"yes\""),
            ("-5", "-5"),
            ("0o17", "15"),
            ("1.50", "1.5"),
            ("1e3", "1000.0"),
            ("1.2.3.4", "\"1.2.3.4\""),
            ("007", "7"),
            ("'7'", "\"7\""),
            ("1s", "\"1s\""),
            (".inf", "\".inf\""),
            ("99999999999999999999", "1e+20"),
        ] {
            let read = json(Language::Yaml, &format!("a: {plain}\n")).unwrap();
            assert_eq!(read, format!("{{\"a\": {expected}}}"), "{plain}");
        }
    }

    #[test]
    fn mistakes_have_their_places() {
        let yaml = json(Language::Yaml, "a:\n  - b\n c: d\n").unwrap_err();
        assert!(yaml.starts_with("c:3:"), "{yaml}");
        let toml = json(Language::Toml, "a = 1\nb = \n").unwrap_err();
        assert!(toml.starts_with("c:2:"), "{toml}");
    }
}
