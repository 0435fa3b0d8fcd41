//! From what the program says (`tracing`'s events) to lines.
//!
//! A line ends with what is known of the session and of the connection that it is about, from the spans it was said in.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use tracing::field::{Field as Name, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::line::{Field, Kind, Line, Value};
use super::outlet::Weight;
use super::{NOTICE, WRITER};

/// The field that a code comes in.
pub(super) const CODE: &str = "cause_code";

/// Which events become lines: those up to a level, which may change. Who asks is remembered for each place that says
/// something, so nobody waits for the lock.
pub(super) struct Threshold;

static LEVEL: RwLock<LevelFilter> = RwLock::new(LevelFilter::OFF);

impl Threshold {
    /// From here on.
    pub(super) fn set(level: LevelFilter) {
        *LEVEL.write().unwrap_or_else(PoisonError::into_inner) = level;
        tracing::callsite::rebuild_interest_cache();
    }

    fn level() -> LevelFilter {
        *LEVEL.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lets(metadata: &Metadata<'_>) -> bool {
        let (level, most) = (*metadata.level(), Self::level());
        let is_ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
        // What the libraries have to say is for those who debug them: a stranger has h2 warn of each of his frames.
        let of_others = match most >= LevelFilter::DEBUG {
            true => Level::WARN,
            false => Level::ERROR,
        };
        let is_notice = metadata.target() == NOTICE && most >= LevelFilter::WARN;
        (level <= most && (is_ours || level <= of_others)) || is_notice
    }
}

impl<S: Subscriber> Layer<S> for Threshold {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match Self::lets(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Self::lets(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let most = Self::level();
        Some(match most >= LevelFilter::WARN {
            true => most.max(LevelFilter::INFO),
            false => most,
        })
    }
}

/// Turns events into lines.
pub(super) struct Lines;

/// What a span knows, in the order in which it came to know it.
#[derive(Default)]
struct Known(Vec<(&'static str, Value)>);

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
        let kind = match *event.metadata().level() {
            Level::ERROR => Kind::Error,
            Level::WARN => Kind::Warning,
            Level::INFO => Kind::Info,
            _ => Kind::Debug,
        };
        let mut said = Said(Line::new(kind, String::new()));
        event.record(&mut said);
        let Said(mut line) = said;
        line.note_what_is_said();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Known(known)) = span.extensions().get() {
                line.add(known);
            }
        }
        // A line for each session takes no room from those that somebody should see.
        let weight = match kind {
            Kind::Debug => Weight::Minor,
            _ => Weight::Major,
        };
        writer.error(&line, weight);
    }
}

impl Line {
    /// What the message says itself is not said again.
    fn note_what_is_said(&mut self) {
        for field in &mut self.fields {
            field.said = match field.name {
                "inbound" | "source" | "listen" => self.message.contains(field.value.as_text()),
                "step" | "ms" => true,
                _ => false,
            };
        }
    }

    /// What the line knows itself counts before what its spans know.
    fn add(&mut self, known: &[(&'static str, Value)]) {
        for (name, value) in known {
            if self.get(name).is_none() {
                self.fields.push(Field {
                    name,
                    value: value.clone(),
                    said: false,
                });
            }
        }
    }
}

impl Visit for Known {
    fn record_f64(&mut self, name: &Name, value: f64) {
        self.put(name.name(), Value::Float(value));
    }

    fn record_u64(&mut self, name: &Name, value: u64) {
        self.put(name.name(), Value::Number(value));
    }

    fn record_str(&mut self, name: &Name, value: &str) {
        self.put(name.name(), quoted(value));
    }

    fn record_debug(&mut self, name: &Name, value: &dyn fmt::Debug) {
        self.put(name.name(), Value::Text(printable(value)));
    }
}

impl Known {
    fn put(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }
}

/// A value on one line.
fn printable(value: &dyn fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    text.retain(|c| !c.is_control());
    text
}

fn quoted(value: &str) -> Value {
    Value::Quoted(value.chars().filter(|c| !c.is_control()).collect())
}

struct Said(Line);

impl Said {
    fn put(&mut self, name: &'static str, value: Value) {
        self.0.fields.push(Field {
            name,
            value,
            said: false,
        });
    }
}

impl Visit for Said {
    fn record_f64(&mut self, name: &Name, value: f64) {
        self.put(name.name(), Value::Float(value));
    }

    fn record_u64(&mut self, name: &Name, value: u64) {
        self.put(name.name(), Value::Number(value));
    }

    fn record_str(&mut self, name: &Name, value: &str) {
        match name.name() {
            CODE => self.0.code = Some(value.to_owned()),
            "message" => self.record_debug(name, &format_args!("{value}")),
            name => self.put(name, quoted(value)),
        }
    }

    fn record_debug(&mut self, name: &Name, value: &dyn fmt::Debug) {
        let text = printable(value);
        match name.name() {
            "message" => self.0.message.push_str(&text),
            name => self.put(name, Value::Text(text)),
        }
    }
}
