//! From files to a [`Config`], or to all that is wrong with them.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::languages::Language;
use super::merge::{Merged, Origins};
use super::message;
use super::{foreign, global, read};
use crate::cause::system_words;
use crate::config::Config;
use crate::dialect::contents;
use crate::dialect::encoding::decoded;
use crate::dialect::v2ray::json::{Node, Report, Text, found, is_spelling_of};
use crate::report::Message;

/// One place that a config comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    File(PathBuf),
    Stdin,
    /// A config that is part of the program.
    Text {
        name: String,
        text: String,
    },
    /// What was read already.
    Bytes {
        name: String,
        bytes: Vec<u8>,
    },
}

/// How several files become one. What a single file may say is the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    V4,
    V5,
}

/// How a config is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub format: Format,
    /// Inbounds and outbounds that are not built are left out; what is meant for such an outbound goes nowhere.
    pub skip_unbuilt: bool,
    /// Warnings are errors.
    pub strict: bool,
    /// What all files are written in; else their names say so, and JSON is what does not.
    pub language: Option<Language>,
}

impl From<Format> for Options {
    fn from(format: Format) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }
}

/// What came out of reading: the config unless there are errors, and lines for the user.
#[derive(Default)]
pub struct Loaded {
    pub config: Option<Config>,
    pub errors: Vec<Message>,
    pub warnings: Vec<Message>,
}

/// Reads `inputs` in their order. Nothing stops at the first mistake.
pub fn load(inputs: &[Input], options: impl Into<Options>) -> Loaded {
    let options = options.into();
    let mut loaded = lenient(inputs, options);
    if options.strict && loaded.config.is_some() && !loaded.warnings.is_empty() {
        loaded.config = None;
        loaded.errors = std::mem::take(&mut loaded.warnings);
    }
    loaded
}

/// One config of all `inputs`, in the words in which they stand there.
///
/// # Errors
///
/// When one of them cannot be read.
pub fn merge(inputs: &[Input], options: Options) -> Result<Value, Vec<Message>> {
    let mut loaded = Loaded::default();
    match gather(inputs, options, &mut loaded) {
        Some((merged, _)) => Ok(Value::Object(merged.value)),
        None => Err(loaded.errors),
    }
}

/// Reads `inputs` into one; `None` when one of them cannot be read.
fn gather(
    inputs: &[Input],
    options: Options,
    loaded: &mut Loaded,
) -> Option<(Merged, Vec<Source>)> {
    let mut merged = Merged::default();
    let mut sources = Vec::new();
    for input in inputs {
        match Source::read(input, options.language) {
            Ok((source, map, rest)) => {
                loaded.warnings.extend(rest);
                match options.format {
                    Format::V4 => merged.overlay(&source.name, map),
                    Format::V5 => merged.join(map),
                }
                sources.push(source);
            }
            Err(message) => loaded.errors.push(*message),
        }
    }
    merged.finish(options.format, inputs.len());
    loaded.errors.is_empty().then_some((merged, sources))
}

/// Warnings are no errors.
fn lenient(inputs: &[Input], options: Options) -> Loaded {
    let format = options.format;
    let mut loaded = Loaded::default();
    let Some((mut merged, sources)) = gather(inputs, options, &mut loaded) else {
        return loaded;
    };
    global::spread(&mut merged.value);
    let merging = merged.warnings.into_iter().map(Message::of_text);
    loaded.warnings.extend(merging);
    let several = inputs.len() > 1;
    let origins = if several {
        merged.origins
    } else {
        Origins::default()
    };
    let of_five = format == Format::V5 || is_of_five(&merged.value);
    let report = Report::default().with_protobuf_names(of_five);
    let value = Value::Object(merged.value);
    if let Some(root) = Node::root(&value, &report).object() {
        loaded.config = read::config(root, &origins, options.skip_unbuilt);
    }
    let placed = |problems| message::placed(problems, &sources, &origins);
    loaded.warnings.extend(placed(report.warnings()));
    loaded.errors = placed(report.errors());
    if report.has_errors() {
        loaded.config = None;
    }
    loaded
}

/// Whether a text has anything that V2Ray 4 and Xray do not understand, and V2Ray 5 does.
pub(in crate::dialect) fn is_text_of_five(text: &str) -> bool {
    let parsed = Text::new(text.to_owned()).parse();
    let Ok((Value::Object(root), _)) = parsed else {
        return false;
    };
    let log = root.get("log").and_then(Value::as_object);
    let is_object = |key: &str| log.is_some_and(|log| log.get(key).is_some_and(Value::is_object));
    let ends = ["inbounds", "outbounds"].map(|key| root.get(key).and_then(Value::as_array));
    let mut ends = ends.into_iter().flatten().flatten();
    is_of_five(&root)
        || is_object("access")
        || is_object("error")
        || ends.any(|end| end.as_object().is_some_and(has_settings_of_five))
}

fn has_settings_of_five(end: &Map<String, Value>) -> bool {
    let Some(Value::Object(settings)) = in_any_spelling(end, "settings") else {
        return false;
    };
    let is_there = |key: &str| in_any_spelling(settings, key).is_some();
    let lists = ["vnext", "servers", "clients", "accounts"];
    let users = in_any_spelling(settings, "users").and_then(Value::as_array);
    let has_own = [
        "uuid",
        "psk",
        "udpEnabled",
        "networks",
        "destinationOverride",
    ];
    !lists.iter().any(|key| is_there(key))
        && (users.is_some_and(|users| users.iter().any(Value::is_string))
            || has_own.iter().any(|key| is_there(key)))
}

/// Whether a config has what only V2Ray 5's own form has.
pub(super) fn is_of_five(root: &Map<String, Value>) -> bool {
    let ends = ["inbounds", "outbounds"].map(|key| root.get(key).and_then(Value::as_array));
    let ends = ends.into_iter().flatten().flatten();
    let mut streams = ends.filter_map(|end| in_any_spelling(end.as_object()?, "streamSettings"));
    root.contains_key("router")
        || root.get("services").is_some_and(Value::is_object)
        || streams.any(|stream| {
            let Some(stream) = stream.as_object() else {
                return false;
            };
            let transport = in_any_spelling(stream, "transport");
            let own = ["transportSettings", "securitySettings", "socketSettings"];
            transport.is_some_and(Value::is_string)
                || own.iter().any(|key| in_any_spelling(stream, key).is_some())
        })
}

fn in_any_spelling<'v>(map: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    let mut entries = map.iter();
    let found = entries.find(|(written, value)| is_spelling_of(written, key) && !value.is_null());
    found.map(|(_, value)| value)
}

impl Input {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "stdin".to_owned(),
            Self::Text { name, .. } | Self::Bytes { name, .. } => name.clone(),
        }
    }

    /// What its name says.
    fn language(&self) -> Option<Language> {
        match self {
            Self::File(path) => Language::of_name(path),
            Self::Bytes { name, .. } => Language::of_name(Path::new(name)),
            Self::Stdin | Self::Text { .. } => None,
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => read_file(path),
            Self::Stdin => contents::of_stdin(),
            Self::Text { text, .. } => Ok(text.clone().into_bytes()),
            Self::Bytes { bytes, .. } => Ok(bytes.clone()),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if path.is_dir() {
        return Err(io::Error::other(
            "this is a directory, expected a file (`-confdir` takes a directory)",
        ));
    }
    contents::of_file(path)
}

/// What one input holds.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: Text,
}

/// The file, its object, and warnings of what is odd about it.
pub(super) type Found = (Source, Map<String, Value>, Vec<Message>);

impl Source {
    /// The input's text, the one object that it is to hold, and a warning of what follows it; an error names the
    /// input and the place in it.
    pub(super) fn read(input: &Input, language: Option<Language>) -> Result<Found, Box<Message>> {
        let name = input.name();
        let fail = |text: String| Box::new(Message::of_file(&name, text));
        let bytes = input
            .bytes()
            .map_err(|e| fail(foreign::of_link(&name).unwrap_or_else(|| system_words(&e))))?;
        let (text, odd) = decoded(bytes).map_err(fail)?;
        let odd = odd.map(|line| {
            let said = format!(
                "line {line}: this is not UTF-8 text, what cannot be read is U+FFFD, as in V2Ray"
            );
            Message::of_file(&name, said)
        });
        if text.trim().is_empty() {
            return Err(fail("this is empty, expected a JSON object".to_owned()));
        }
        let language = language.or_else(|| input.language());
        let text = language.unwrap_or(Language::Json).json(&name, text)?;
        let mut text = Text::new(text);
        match text.parse() {
            Ok((Value::Object(map), rest)) => {
                if let Some(kind) = foreign::of_object(&map) {
                    return Err(fail(kind));
                }
                let rest = rest.map(|place| {
                    let said = "what follows the config is passed over, is a brace too many?";
                    Message::of_file(&name, said.to_owned()).at(place, text.as_str())
                });
                let warnings = odd.into_iter().chain(rest).collect();
                Ok((Self { name, text }, map, warnings))
            }
            Ok((other, _)) => Err(fail(format!(
                "{} stands at the top, expected an object",
                found(&other)
            ))),
            Err(e) => {
                if let Some(kind) = foreign::of_text(text.as_str()) {
                    return Err(fail(kind));
                }
                let message = fail(e.to_string());
                Err(Box::new(message.at(e.place, text.as_str())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::OutboundSettings;

    #[test]
    fn one_file_of_v2ray_5_is_taken_as_it_stands() {
        let config = r#"{"outbounds": [{"protocol": "freedom", "tag": "a"}, {"protocol": "blackhole", "tag": "a"}]}"#;
        let loaded = load(&[text("c.json", config)], Format::V5);
        let warning = loaded.warnings[0].to_string();
        assert!(
            warning.starts_with("outbounds[1].tag: `a` is the tag of outbounds[0] as well"),
            "{warning}"
        );
        assert_eq!(loaded.config.unwrap().outbounds.len(), 2);
    }

    /// Each is by itself enough for the names of V2Ray 5's messages.
    #[test]
    fn v2ray_5_s_own_form_is_known_by_its_words_for_streams() {
        let unknown = |stream: &str| {
            let config =
                r#"{"outbounds": [{"protocol": "freedom", "send_through": "127.0.0.1", STREAM}]}"#;
            let config = config.replace("STREAM", stream);
            let warnings = load(&[text("c.json", &config)], Format::V4).warnings;
            let warnings = warnings.iter().map(ToString::to_string);
            warnings
                .filter(|line| line.contains("send_through"))
                .count()
        };
        for stream in [
            r#""streamSettings": {"transport": "tcp"}"#,
            r#""streamSettings": {"transportSettings": {}}"#,
            r#""streamSettings": {"security_settings": {}}"#,
            r#""stream_settings": {"SocketSettings": {}}"#,
        ] {
            assert_eq!(unknown(stream), 0, "{stream}");
        }
        for stream in [
            r#""streamSettings": {"network": "tcp", "tcpSettings": {}, "sockopt": {}}"#,
            r#""streamSettings": {"socketSettings": null}"#,
            r#""streamSettings": {"_socketSettings": {}}"#,
        ] {
            assert_eq!(unknown(stream), 1, "{stream}");
        }
    }

    #[test]
    fn parts_that_are_not_built_are_left_out_by_choice_and_nothing_leaks_past_them() {
        let config = r#"{
            "inbounds": [{"tag": "in", "port": 1, "protocol": "wireguard"}, {"port": 2, "protocol": "socks"}],
            "outbounds": [
                {"tag": "a", "protocol": "wireguard", "settings": {}},
                {"tag": "b", "protocol": "freedom", "proxySettings": {"tag": "a"}},
                {"tag": "d", "protocol": "vmess", "streamSettings": {"network": "rrpit", "security": "tlsmirror"},
                 "settings": {"address": "d.example", "port": 1, "id": "27848739-7e62-4138-9fd3-098a63964b6b"}},
                {"tag": "c", "protocol": "vmess", "streamSettings": {"network": "kcp", "security": "reality"},
                 "settings": {"address": "c.example", "port": 1, "id": "27848739-7e62-4138-9fd3-098a63964b6b"}}
            ],
            "routing": {
                "balancers": [{"tag": "x", "selector": ["c"]}, {"tag": "y", "selector": ["a", "b"]}],
                "rules": [{"type": "field", "inboundTag": "in", "outboundTag": "a"}]
            }
        }"#;
        let inputs = [text("c.json", config)];
        assert!(load(&inputs, Format::V4).config.is_none());
        let skipping = Options {
            skip_unbuilt: true,
            ..Options::default()
        };
        let loaded = load(&inputs, skipping);
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        let loud = warnings.iter().filter(|line| line.contains("LEFT OUT"));
        assert_eq!(loud.count(), 6, "{warnings:?}");
        let config = loaded.config.unwrap();
        assert_eq!(config.inbounds.len(), 1);
        let stands_in = |i: usize| match &config.outbounds[i].protocol {
            OutboundSettings::Blackhole(settings) => settings.stands_in,
            _ => false,
        };
        assert_eq!([0, 1, 2, 3].map(stands_in), [true, false, true, true]);
        assert_eq!(config.outbounds[0].tag.as_deref(), Some("a"));
        let fallbacks = config.routing.balancers.iter().map(|b| b.fallback.as_ref());
        let fallbacks: Vec<_> = fallbacks.map(|tag| Some(tag?.value.to_string())).collect();
        assert_eq!(fallbacks, [Some("c".to_owned()), None]);

        let mistaken = config_with_a_mistake();
        assert!(
            load(&[text("c.json", &mistaken)], skipping)
                .config
                .is_none()
        );
    }

    fn config_with_a_mistake() -> String {
        r#"{"outbounds": [{"protocol": "wireguard", "sendThrough": "nonsense"}]}"#.to_owned()
    }

    #[test]
    fn warnings_are_errors_by_choice() {
        let strict = Options {
            strict: true,
            ..Options::default()
        };
        let of = |config: &str| load(&[text("c.json", config)], strict);
        let good = r#"{"inbounds": [{"port": 1, "listen": "127.0.0.1", "protocol": "socks"}], "outbounds": [{"protocol": "freedom"}]}"#;
        assert!(of(good).config.is_some());
        let loaded = of(&good.replace("port", "prot\": 1, \"port").replace('\\', ""));
        assert!(loaded.config.is_none() && loaded.warnings.is_empty());
        assert!(loaded.errors[0].to_string().contains("unknown key"));
    }

    #[test]
    fn a_syntax_error_names_file_line_and_column() {
        let errors = errors(&[text("c.json", "{\n  // x\n  \"log\" {} }")], Format::V4);
        assert_eq!(errors, ["c.json: line 3, column 9: expected `:`"]);
    }

    #[test]
    fn what_is_not_an_object_is_no_config() {
        let one = |t: &str| errors(&[text("c.json", t)], Format::V4);
        assert_eq!(
            one("[]"),
            ["c.json: an array stands at the top, expected an object"]
        );
        assert_eq!(
            one(" \n"),
            ["c.json: this is empty, expected a JSON object"]
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = Input::File("no/such.json".into());
        assert_eq!(
            errors(&[missing], Format::V4),
            ["no/such.json: no such file or directory"]
        );
        let errors = errors(&[Input::File("src".into())], Format::V4);
        assert_eq!(
            errors,
            ["src: this is a directory, expected a file (`-confdir` takes a directory)"]
        );
    }

    #[test]
    fn with_several_files_a_message_names_the_file_and_counts_as_it_does() {
        let inputs = [
            text("a.json", r#"{"outbounds": [{"protocol": "x"}]}"#),
            text(
                "b.json",
                r#"{"outbounds": [{"tag": "b", "protocol": "y"}], "log": 5}"#,
            ),
        ];
        let errors = errors(&inputs, Format::V4);
        assert_eq!(errors[0], "b.json: log: the number 5 is not an object");
        assert!(errors[1].starts_with("b.json: outbounds[0].protocol: "));
        assert!(errors[2].starts_with("a.json: outbounds[0].protocol: "));
    }

    fn errors(inputs: &[Input], format: Format) -> Vec<String> {
        let errors = load(inputs, format).errors;
        errors.iter().map(ToString::to_string).collect()
    }

    fn text(name: &str, text: &str) -> Input {
        Input::Text {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }
}
