//! What a line says, before it is written in one form or another.

use std::fmt::{self, Write};

use jiff::Zoned;

use super::rate_limit::Count;

/// The field for what Xray has between the tags of inbound and outbound: `->` where a rule led there, `>>` where none did.
pub(super) const ARROW: &str = "arrow";

/// One line of a log, without its time.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) message: String,
    /// What stays when the message gets better.
    pub(super) code: Option<String>,
    /// What is known beside, in the order in which it is written.
    pub(super) fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Warning,
    Info,
    Debug,
    /// A session, in the access log.
    Accepted,
    /// None, in the access log.
    Rejected,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: Value,
    /// The message says it as well.
    pub(super) said: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// In quotes, where a line is no object.
    Quoted(String),
    Number(u64),
    Float(f64),
}

/// How lines are written at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As V2Ray writes them.
    Plain,
    /// The same, for a terminal.
    Colour,
    /// As Xray writes them.
    Xray,
    /// One object for each.
    Json,
}

impl Line {
    pub(super) fn new(kind: Kind, message: String) -> Self {
        Self {
            kind,
            message,
            code: None,
            fields: Vec::new(),
        }
    }

    /// With one more field.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.fields.push(Field {
            name,
            value,
            said: true,
        });
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let field = self.fields.iter().find(|field| field.name == name);
        field.map(|field| &field.value)
    }

    /// The whole line, and how many more of its kind it stands for.
    pub(super) fn written(&self, style: Style, at: &Zoned, count: Option<&Count>) -> String {
        match style {
            Style::Plain | Style::Colour | Style::Xray => self.text(style, at, count),
            Style::Json => self.json(at, count),
        }
    }

    /// Xray has a word in front of a source, a fraction of the second, and the inbound beside the outbound.
    fn text(&self, style: Style, at: &Zoned, count: Option<&Count>) -> String {
        let paint = Paint(style == Style::Colour);
        let (format, from) = match style {
            Style::Xray => ("%Y/%m/%d %H:%M:%S%.6f", "from "),
            _ => ("%Y/%m/%d %H:%M:%S", ""),
        };
        let mut text = paint.dim(at.strftime(format));
        match self.kind {
            Kind::Accepted => self.write_accepted(&mut text, style, paint, from),
            Kind::Rejected => {
                let source = self.get("source").map_or("", Value::as_text);
                // The two spaces stand where an accepted session names its target, as V2Ray writes it.
                let rejected = paint.bright(self.kind, "rejected");
                let _ = write!(text, " {from}{source} {rejected}  {}", self.message);
            }
            kind => {
                let level = paint.bright(kind, format_args!("[{}]", kind.name()));
                let _ = write!(text, " {level} {}", self.message);
            }
        }
        if let Some(code) = &self.code {
            let _ = write!(text, " [{code}]");
        }
        for field in self.fields.iter().filter(|field| !field.said) {
            let shown = format_args!(" {}={}", field.name, field.value);
            text.push_str(&paint.dim(shown));
        }
        if let Some(count) = count {
            let _ = write!(text, " {count}");
        }
        text
    }

    fn write_accepted(&self, text: &mut String, style: Style, paint: Paint, from: &str) {
        let value = |name| self.get(name).map_or("", Value::as_text);
        let accepted = paint.bright(self.kind, "accepted");
        let (source, network, to) = (value("source"), value("network"), value("to"));
        let _ = write!(text, " {from}{source} {accepted} {network}:{to}");
        if let Some(tag) = self.get("tag") {
            let _ = match self.get(ARROW).filter(|_| style == Style::Xray) {
                Some(arrow) => write!(text, " [{} {arrow} {tag}]", value("inbound")),
                None => write!(text, " [{tag}]"),
            };
        }
        if let Some(email) = self.get("email") {
            let _ = write!(text, " email: {email}");
        }
    }

    fn json(&self, at: &Zoned, count: Option<&Count>) -> String {
        let mut object = Object::default();
        object.text("time", &at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string());
        object.text("level", self.kind.level());
        match self.kind {
            Kind::Accepted => object.text("event", "accepted"),
            Kind::Rejected => object.text("event", "rejected"),
            _ => {}
        }
        if let Some(code) = &self.code {
            object.text("code", code);
        }
        for field in &self.fields {
            match (field.name, &field.value) {
                // The tag is what `outbound` says already.
                ("tag" | ARROW, _) => {}
                ("id", Value::Number(id)) => object.number("session", *id),
                (name @ ("inbound" | "outbound"), Value::Text(part) | Value::Quoted(part)) => {
                    object.text(name, tag_of(part));
                }
                (name, Value::Text(text) | Value::Quoted(text)) => object.text(name, text),
                (name, Value::Number(number)) => object.number(name, *number),
                (name, Value::Float(number)) => object.number(name, *number),
            }
        }
        if let Some(count) = count {
            object.number("more", count.more);
            object.number("seconds", count.seconds);
            if let Some(of) = count.of {
                object.text("of", of);
            }
        }
        let message = match self.kind {
            Kind::Accepted => "accepted",
            _ => &self.message,
        };
        object.text("message", message);
        object.end()
    }
}

/// The tag of a part of the config, where messages call it `outbounds[0] (TAG)`; else what they call it.
fn tag_of(part: &str) -> &str {
    let tag = part
        .split_once(" (")
        .and_then(|(_, tag)| tag.strip_suffix(')'));
    tag.unwrap_or(part)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning | Self::Rejected => "Warning",
            Self::Info | Self::Accepted => "Info",
            Self::Debug => "Debug",
        }
    }

    /// As `loglevel` has it.
    fn level(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning | Self::Rejected => "warning",
            Self::Info | Self::Accepted => "info",
            Self::Debug => "debug",
        }
    }
}

impl Value {
    pub(super) fn as_text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Quoted(text) => text,
            Self::Number(_) | Self::Float(_) => "",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Quoted(text) => write!(f, "{text:?}"),
            Self::Number(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
        }
    }
}

/// Colours of a terminal, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn dim(self, text: impl fmt::Display) -> String {
        self.with("2", text)
    }

    fn bright(self, kind: Kind, text: impl fmt::Display) -> String {
        let colour = match kind {
            Kind::Error => "1;31",
            Kind::Warning | Kind::Rejected => "33",
            Kind::Info | Kind::Accepted => "32",
            Kind::Debug => "36",
        };
        self.with(colour, text)
    }

    fn with(self, colour: &str, text: impl fmt::Display) -> String {
        match self.0 {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

/// A JSON object on one line, its keys in the order in which they come; the first of two alike counts.
#[derive(Default)]
struct Object {
    text: String,
    keys: Vec<&'static str>,
}

impl Object {
    fn text(&mut self, key: &'static str, value: &str) {
        if self.key(key) {
            self.text
                .push_str(&serde_json::Value::from(value).to_string());
        }
    }

    fn number(&mut self, key: &'static str, value: impl fmt::Display) {
        if self.key(key) {
            let _ = write!(self.text, "{value}");
        }
    }

    fn key(&mut self, key: &'static str) -> bool {
        let is_new = !self.keys.contains(&key);
        if is_new {
            let comma = if self.keys.is_empty() { '{' } else { ',' };
            let _ = write!(self.text, "{comma}\"{key}\":");
            self.keys.push(key);
        }
        is_new
    }

    fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Zoned {
        let at: jiff::Timestamp = "2026-11-21T03:34:24.5Z".parse().unwrap();
        at.to_zoned(jiff::tz::TimeZone::UTC)
    }

    fn refusal() -> Line {
        let mut line = Line::new(Kind::Warning, "inbounds[0] (in): \"no\"".to_owned())
            .with("inbound", Value::Text("inbounds[0] (in)".to_owned()))
            .with("source", Value::Text("192.0.2.1:5".to_owned()));
        line.code = Some("ws-path".to_owned());
        line.fields.push(Field {
            name: "id",
            value: Value::Number(7),
            said: false,
        });
        line
    }

    #[test]
    fn one_line_in_three_forms() {
        let line = refusal();
        assert_eq!(
            line.written(Style::Plain, &at(), None),
            "2026/11/21 03:34:24 [Warning] inbounds[0] (in): \"no\" [ws-path] id=7"
        );
        let coloured = line.written(Style::Colour, &at(), None);
        assert!(coloured.contains("\x1b[33m[Warning]\x1b[0m"), "{coloured}");
        let count = Count {
            more: 3,
            seconds: 5,
            of: None,
        };
        assert_eq!(
            line.written(Style::Json, &at(), Some(&count)),
            r#"{"time":"2026-11-21T03:34:24.500+00:00","level":"warning","code":"ws-path","inbound":"in","source":"192.0.2.1:5","session":7,"more":3,"seconds":5,"message":"inbounds[0] (in): \"no\""}"#
        );
    }

    #[test]
    fn a_session_is_written_as_v2ray_and_xray_write_it() {
        let text = |text: &str| Value::Text(text.to_owned());
        let line = Line::new(Kind::Accepted, String::new())
            .with("source", text("192.0.2.1:5"))
            .with("network", text("tcp"))
            .with("to", text("a.test:443"))
            .with("outbound", text("direct"))
            .with("tag", text("direct"))
            .with("inbound", text("in"))
            .with(ARROW, text("->"))
            .with("email", text("a@b"));
        assert_eq!(
            line.written(Style::Plain, &at(), None),
            "2026/11/21 03:34:24 192.0.2.1:5 accepted tcp:a.test:443 [direct] email: a@b"
        );
        assert_eq!(
            line.written(Style::Xray, &at(), None),
            "2026/11/21 03:34:24.500000 from 192.0.2.1:5 accepted tcp:a.test:443 [in -> direct] email: a@b"
        );
        let json = line.written(Style::Json, &at(), None);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["outbound"], "direct");
        assert_eq!(value["message"], "accepted");
        assert!(value.get("tag").is_none() && value.get(ARROW).is_none());
    }
}
