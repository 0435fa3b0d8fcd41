//! The error log's lines, and the time in front of every line.

use std::fmt::{self, Write};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

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

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
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
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = format!("{value:?}");
        text.retain(|c| !c.is_control());
        let _ = if field.name() == "message" {
            self.message.write_str(&text)
        } else {
            write!(self.rest, " {}={text}", field.name())
        };
    }
}
