//! The error log's lines, and the time in front of every line.
//!
//! A line ends with what is known of the session and of the connection that it is about, from the spans it was said in.

use std::fmt::{self, Write};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::WRITER;
use super::outlet::Weight;

/// Local time as V2Ray writes it: `2026/11/21 03:34:24`.
pub(super) fn now() -> impl fmt::Display {
    Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string()
}

/// The first `len` bytes of a text, or fewer where a letter would be cut.
pub(super) fn cut(text: &str, len: usize) -> &str {
    let mut len = len.min(text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}

/// Turns events into lines: `[Level] message key=value`.
pub(super) struct Lines;

/// What a span knows, in the order in which it came to know it.
#[derive(Default)]
struct Known(Vec<(&'static str, String)>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut known = Known::default();
        attributes.record(&mut known);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(known);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(known) = span.extensions_mut().get_mut::<Known>()
        {
            values.record(known);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(writer) = WRITER.get().filter(|w| w.has_error()) else {
            return;
        };
        // What the libraries have to say is for those who debug them.
        let ours = event
            .metadata()
            .target()
            .starts_with(env!("CARGO_PKG_NAME"));
        if !ours && *event.metadata().level() > Level::WARN {
            return;
        }
        let level = match *event.metadata().level() {
            Level::ERROR => "Error",
            Level::WARN => "Warning",
            Level::INFO => "Info",
            _ => "Debug",
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Known(known)) = span.extensions().get() {
                fields.add(known);
            }
        }
        let line = format!("{} [{level}] {}{}", now(), fields.message, fields.rest);
        // A line for each session takes no room from those that somebody should see.
        let weight = match level {
            "Debug" => Weight::Minor,
            _ => Weight::Major,
        };
        writer.error(line, weight);
    }
}

#[derive(Default)]
struct Fields {
    names: Vec<&'static str>,
    message: String,
    rest: String,
}

impl Fields {
    /// What the line says itself is not said again.
    fn add(&mut self, known: &[(&'static str, String)]) {
        for (name, value) in known {
            if !self.names.contains(name) {
                self.names.push(name);
                let _ = write!(self.rest, " {name}={value}");
            }
        }
    }
}

impl Visit for Known {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = printable(value);
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, known)) => *known = text,
            None => self.0.push((field.name(), text)),
        }
    }
}

/// A value on one line.
fn printable(value: &dyn fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    text.retain(|c| !c.is_control());
    text
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = printable(value);
        if field.name() == "message" {
            self.message.push_str(&text);
        } else {
            self.names.push(field.name());
            let _ = write!(self.rest, " {}={text}", field.name());
        }
    }
}
