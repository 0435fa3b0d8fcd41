//! A file, YAML or JSON, into a tree.
//!
//! gost refuses a YAML file that is indented with tabs, among them one of its own documentation. Here a tab in front of a
//! line stands for four columns (or for two or eight, where the file makes sense with these alone).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{At, Node, Value};
use crate::dialect::surrogates::mended;
use crate::dialect::v2ray::json::Text as Json;
use crate::report::Message;

/// Levels inside each other.
const MAX_DEPTH: usize = 64;

/// Values of a file that aliases repeat.
const MAX_REPEATED: usize = 100_000;

/// Values of a file.
const MAX_NODES: usize = 1_000_000;

/// Reads a file, which `source` is called.
///
/// # Errors
///
/// When it is neither; the text says where.
pub(in crate::dialect) fn read(text: &str, source: &Arc<str>) -> Result<Node, Box<Message>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let at = At {
        source: source.clone(),
        ..At::default()
    };
    if text.trim_start().starts_with('{') {
        let read: Result<serde_json::Value, _> = serde_json::from_str(&mended(text));
        match read {
            Ok(value) => return bounded(value, &at),
            // A YAML file may begin like that, too; where it does not, this says more.
            Err(e) => {
                return yaml(text, &at).map_err(|_| {
                    let text = e.to_string();
                    let text = text.split(" at line ").next().unwrap_or_default();
                    at.on(e.line(), e.column()).message(text).into()
                });
            }
        }
    }
    let text = &with_quoted_colons(text);
    if !text.lines().any(|line| indent(line).contains('\t')) {
        return yaml(text, &at);
    }
    let mut first = None;
    for width in [4, 2, 8] {
        match yaml(&without_tabs(text, width), &at) {
            Ok(node) => return Ok(node),
            Err(e) => first = first.or(Some(e)),
        }
    }
    let tab = text.lines().position(|line| indent(line).contains('\t'));
    let hint = tab.map(|n| format!("; line {} is indented with a tab, expected blanks", n + 1));
    let first = first.map_or_else(|| at.message(""), |first| *first);
    Err(first.with(&hint.unwrap_or_default()).into())
}

/// Reads JSON, in which comments may stand.
///
/// # Errors
///
/// When it is none; the text says where.
pub(in crate::dialect) fn read_json(text: &str, source: &Arc<str>) -> Result<Node, Box<Message>> {
    let at = At {
        source: source.clone(),
        ..At::default()
    };
    let parsed = Json::with_commas(text.to_owned()).parse();
    match parsed {
        Ok((value, _)) => bounded(value, &at),
        Err(e) => {
            let line = format!("{source}: {e}");
            let message = Message::of_file(source, e.text).at(e.place, text);
            Err(Message { line, ..message }.into())
        }
    }
}

/// `addr: :` is any address and port to gost, whose reader takes a bare colon for a text.
fn with_quoted_colons(text: &str) -> String {
    let quoted = |line: &str| match line.trim_end().strip_suffix(": :") {
        Some(front) => format!("{front}: ':'\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(quoted).collect()
}

fn indent(line: &str) -> &str {
    let end = line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len());
    &line[..end]
}

fn without_tabs(text: &str, width: usize) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        let front = indent(line);
        let columns = front.chars().fold(0, |columns, c| match c {
            '\t' => (columns / width + 1) * width,
            _ => columns + 1,
        });
        whole.extend(std::iter::repeat_n(' ', columns));
        whole.push_str(&line[front.len()..]);
        whole.push('\n');
    }
    whole
}

fn bounded(value: serde_json::Value, at: &At) -> Result<Node, Box<Message>> {
    if values(&value) > MAX_NODES {
        let text = format_args!("there are more than {MAX_NODES} values in it");
        return Err(at.message(text).into());
    }
    Ok(of_json(value, at.clone()))
}

fn values(value: &serde_json::Value) -> usize {
    use serde_json::Value as Json;
    1 + match value {
        Json::Array(items) => items.iter().map(values).sum(),
        Json::Object(map) => map.values().map(values).sum(),
        _ => 0,
    }
}

fn of_json(value: serde_json::Value, at: At) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(on) => Value::Text(on.to_string()),
        Json::Number(n) => Value::Text(n.to_string()),
        Json::String(text) => Value::Text(text),
        Json::Array(items) => {
            let items = items.into_iter().enumerate();
            Value::List(items.map(|(n, item)| of_json(item, at.item(n))).collect())
        }
        Json::Object(map) => {
            let entries = map.into_iter();
            let entries = entries.map(|(key, value)| {
                let at = at.key(&key);
                (key, of_json(value, at))
            });
            Value::Map(entries.collect())
        }
    };
    Node { value, at }
}

/// What a tree does not say of a file in YAML.
#[derive(Default)]
pub(in crate::dialect) struct Marks {
    /// Where scalars without quotes stand.
    plain: HashSet<(usize, usize)>,
    /// The lines of names, by where their values stand.
    names: HashMap<(usize, usize), usize>,
}

impl Marks {
    /// Whether a text has no quotes, and may be a number.
    pub(in crate::dialect) fn is_plain(&self, node: &Node) -> bool {
        node.at.line.is_some_and(|at| self.plain.contains(&at))
    }

    /// The line of the name of a value.
    pub(in crate::dialect) fn key_line(&self, node: &Node) -> Option<usize> {
        self.names.get(&node.at.line?).copied()
    }
}

/// Reads YAML, and what its values alone do not say.
///
/// # Errors
///
/// When it is none; the text says where.
pub(in crate::dialect) fn marked(
    text: &str,
    source: &Arc<str>,
) -> Result<(Node, Marks), Box<Message>> {
    let at = At {
        source: source.clone(),
        ..At::default()
    };
    built(text.strip_prefix('\u{feff}').unwrap_or(text), &at)
}

fn yaml(text: &str, at: &At) -> Result<Node, Box<Message>> {
    built(text, at).map(|(root, _)| root)
}

fn built(text: &str, at: &At) -> Result<(Node, Marks), Box<Message>> {
    let mut builder = Builder {
        source: at.source.clone(),
        stack: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        nodes: 0,
        repeated: 0,
        failed: None,
        marks: Marks::default(),
    };
    // Event by event, so that no depth is the stack's.
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            let marker = e.marker();
            at.on(marker.line(), marker.col() + 1).message(e.info())
        })?;
        builder.on_event(event, span);
        if let Some(failed) = builder.failed {
            return Err(failed.into());
        }
    }
    let mut root = builder.root.unwrap_or_else(|| Node::new(Value::Null, at));
    place(&mut root, String::new());
    Ok((root, builder.marks))
}

/// Tells every value what leads to it.
fn place(node: &mut Node, path: String) {
    match &mut node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let name = short(key);
                let path = match path.is_empty() {
                    true => name.to_owned(),
                    false => format!("{path}.{name}"),
                };
                place(value, path);
            }
        }
        Value::List(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                place(item, format!("{path}[{n}]"));
            }
        }
        Value::Null | Value::Text(_) => {}
    }
    node.at.path = path;
}

/// A name as it stands in a path, of which each value has one.
pub(super) fn short(name: &str) -> &str {
    let mut ends = name.char_indices().map(|(at, _)| at);
    ends.nth(128).map_or(name, |end| &name[..end])
}

/// Puts events together.
struct Builder {
    source: Arc<str>,
    stack: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Those of them that aliases repeat.
    repeated: usize,
    failed: Option<Message>,
    marks: Marks,
}

/// A list or a map that has begun.
struct Open {
    node: Node,
    anchor: usize,
    /// The name of a map's next value.
    key: Option<String>,
    /// Where that stands.
    key_line: usize,
    /// What `<<` brings, unless the map has it itself.
    merged: Vec<(String, Node)>,
}

impl Builder {
    fn at(&self, span: Span) -> At {
        At {
            source: self.source.clone(),
            path: String::new(),
            line: Some((span.start.line(), span.start.col() + 1)),
        }
    }

    fn fail(&mut self, span: Span, text: &str) {
        let at = self.at(span);
        self.failed.get_or_insert_with(|| at.message(text));
    }

    fn add(&mut self, node: Node, anchor: usize, span: Span) {
        self.nodes += count(&node);
        if self.nodes > MAX_NODES || self.repeated > MAX_REPEATED {
            return self.fail(span, "there is more in it than a config can have");
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                // One map or several, of which the first has its way.
                Some(key) if key == "<<" => {
                    let maps = node.items().iter();
                    open.merged
                        .extend(maps.flat_map(|map| map.entries().iter().cloned()));
                }
                Some(key)
                    if entries
                        .iter()
                        .any(|(known, _)| known.eq_ignore_ascii_case(&key)) =>
                {
                    let text = format!("`{}` is there twice", key.escape_debug());
                    self.fail(span, &text);
                }
                Some(key) => {
                    if let Some(at) = node.at.line {
                        self.marks.names.insert(at, open.key_line);
                    }
                    entries.push((key, node));
                }
                None => match node.value {
                    Value::Text(text) => {
                        open.key = Some(text);
                        open.key_line = span.start.line();
                    }
                    _ => self.fail(span, "this is no name, expected `name: value`"),
                },
            },
            Value::Null | Value::Text(_) => {}
        }
    }

    fn begin(&mut self, value: Value, anchor: usize, span: Span) {
        if self.stack.len() >= MAX_DEPTH {
            return self.fail(span, "there are too many levels inside each other");
        }
        let at = self.at(span);
        self.stack.push(Open {
            node: Node { value, at },
            anchor,
            key: None,
            key_line: 0,
            merged: Vec::new(),
        });
    }
}

fn count(node: &Node) -> usize {
    let inside: usize = match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|(_, node)| count(node)).sum(),
        // A long text counts for more, for an alias repeats it.
        Value::Text(text) => text.len() / 64,
        Value::Null => 0,
    };
    1 + inside
}

impl Builder {
    fn on_event(&mut self, event: Event<'_>, span: Span) {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_plain = style == ScalarStyle::Plain;
                let is_null = is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = match is_null {
                    true => Value::Null,
                    false => Value::Text(text.into_owned()),
                };
                let node = Node::new(value, &self.at(span));
                if is_plain {
                    self.marks.plain.extend(node.at.line);
                }
                self.add(node, anchor, span);
            }
            Event::SequenceStart(anchor, _) => self.begin(Value::List(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => self.begin(Value::Map(Vec::new()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut open) = self.stack.pop() {
                    // Its parts were counted when they came, and what is merged is counted here.
                    self.nodes -= count(&open.node) - 1;
                    open.node.add_missing(open.merged);
                    self.add(open.node, open.anchor, span);
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.repeated += count(&node);
                    self.add(node, 0, span);
                }
                None => self.fail(span, "there is nothing that this `*name` repeats"),
            },
            _ => {}
        }
    }
}
