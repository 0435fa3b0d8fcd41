//! The vocabulary for reading settings: every room reads its own `config.rs` with these words.
//!
//! A [`Node`] is a JSON value that knows its path. Reading never stops at the first mistake: what is
//! wrong goes into the [`Report`], with its path, and the reader goes on with a default, so that a
//! user sees all mistakes at once. An [`Object`] remembers which keys were asked for; those nobody
//! asked for are warned about when it is finished.

mod duration;
mod lexer;
mod misplaced;
mod object;
mod rate;
mod scalar;
mod spans;
mod text;
mod tidy;

pub(in crate::dialect::v2ray) use object::is_spelling_of;
pub use object::{NO_EFFECT, Object};
pub use rate::Rate;
pub use scalar::{Port, PortList, PortRanges, Setting, StringList, found, from_environment};
pub use spans::Spans;
pub use text::{SyntaxError, Text};
pub use tidy::tidy;

pub use crate::address::PortRange;
pub use crate::report::{Kind, Path, Problem, Report, Step, did_you_mean, either};

use serde_json::Value;

// Settings are read once, in hundreds of places: that what reads them is not copied into each makes the program smaller.

/// A JSON value, its path, and the report that mistakes go to.
#[derive(Clone)]
pub struct Node<'a> {
    pub path: Path,
    pub value: &'a Value,
    report: &'a Report,
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value, report: &'a Report) -> Self {
        Self::at(Path::default(), value, report)
    }

    pub fn at(path: Path, value: &'a Value, report: &'a Report) -> Self {
        Self {
            path,
            value,
            report,
        }
    }

    /// Notes a mistake here; say what was found and what was expected.
    #[cold]
    #[inline(never)]
    pub fn error(&self, text: impl Into<String>) {
        self.report.error(&self.path, text);
    }

    /// Notes a mistake with which V2Ray starts, and by which this part cannot work.
    #[cold]
    #[inline(never)]
    pub fn dead(&self, text: impl Into<String>) {
        self.report.error_of(Kind::Dead, &self.path, text);
    }

    /// Notes what is not built, and must not be passed over.
    #[cold]
    #[inline(never)]
    pub fn unbuilt(&self, text: impl Into<String>) {
        self.report.error_of(Kind::Unbuilt, &self.path, text);
    }

    /// Notes something that works, though perhaps not as its writer believes.
    #[cold]
    #[inline(never)]
    pub fn warn(&self, text: impl Into<String>) {
        self.report.warn(&self.path, text);
    }

    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// This value as `T`; a mistake is reported and `None` returned.
    #[inline(never)]
    pub fn read<T: Setting>(&self) -> Option<T> {
        T::parse(self.value).map_err(|text| self.error(text)).ok()
    }

    /// This value as an object; a mistake is reported and `None` returned.
    #[inline(never)]
    pub fn object(&self) -> Option<Object<'a>> {
        match self.value {
            Value::Object(map) => Some(Object::new(self.clone(), map)),
            other => {
                self.error(format!("{} is not an object", found(other)));
                None
            }
        }
    }

    /// The elements of this array; a mistake is reported and nothing returned.
    #[inline(never)]
    pub fn array(&self) -> Vec<Self> {
        match self.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| Self::at(self.path.index(i), item, self.report))
                .collect(),
            other => {
                self.error(format!("{} is not an array", found(other)));
                Vec::new()
            }
        }
    }
}

/// One of a closed set of words, such as a cipher or a network; the error lists what there is.
pub fn one_of<T: Copy>(node: &Node, words: &[(&str, T)]) -> Option<T> {
    let text: String = node.read()?;
    let known = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(&text));
    if known.is_none() {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        node.error(format!(
            "`{text}` is unknown, expected {}{}",
            either(&names),
            did_you_mean(&text, names.iter().copied())
        ));
    }
    known.map(|(_, value)| *value)
}

/// As [`one_of`], where V2Ray takes an unknown word for `usual`: a warning says so.
pub fn one_of_or<T: Copy>(node: &Node, words: &[(&str, T)], usual: &str) -> Option<T> {
    let text: String = node.read()?;
    let find = |text: &str| {
        words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
    };
    let known = find(&text).or_else(|| {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        node.warn(format!(
            "`{}` is unknown, `{usual}` takes its place as in V2Ray, expected {}{}",
            text.escape_debug(),
            either(&names),
            did_you_mean(&text, names.iter().copied())
        ));
        find(usual)
    });
    known.map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_may_stand_in_the_environment() {
        assert_eq!(from_environment("::1").unwrap(), "::1");
        let there = from_environment("env:CARGO_MANIFEST_DIR").unwrap();
        assert_eq!(there, env!("CARGO_MANIFEST_DIR"));
        assert_eq!(
            from_environment("env:MOBULA_NOT\n").unwrap_err(),
            "the environment variable `MOBULA_NOT\\n` is not set"
        );
    }

    #[test]
    fn a_comment_ends_behind_its_mark_and_one_without_an_end_is_named() {
        let (value, _) = Text::new("/*/ x */ 1 /**/".to_owned()).parse().unwrap();
        assert_eq!(value, 1);
        let error = Text::new("{\n \"a\": \"/*\", /* b".to_owned()).parse();
        assert_eq!(
            error.unwrap_err().to_string(),
            "line 2, column 13: this comment has no end, expected */"
        );
        let error = Text::new("\u{feff}/* {}".to_owned()).parse();
        assert!(error.unwrap_err().text.contains("has no end"));
        let error = Text::new("{ /* b */ \"a\":".to_owned()).parse();
        assert!(error.unwrap_err().text.starts_with("the text ends inside"));
    }

    #[test]
    fn every_mistake_is_reported_with_its_path() {
        let value = json!({"inbounds": [{"port": "x", "Listen": 5, "prot": "vmess"}]});
        let report = Report::default();
        let root = Node::root(&value, &report).object().unwrap();
        for inbound in root.get("inbounds").unwrap().array() {
            let inbound = inbound.object().unwrap();
            let _: Option<PortRange> = inbound.read("port");
            let _: Option<String> = inbound.read("listen");
            let _: Option<String> = inbound.read("protocol");
            inbound.finish();
        }
        root.finish();
        let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "inbounds[0].port: `x` is not a port, expected 0 to 65535, a range such as `1000-1010` or `env:NAME`",
                "inbounds[0].Listen: the number 5 is not a string",
            ]
        );
        let warnings: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["inbounds[0].prot: unknown key, it has no effect, did you mean `port`?"]
        );
    }
}
