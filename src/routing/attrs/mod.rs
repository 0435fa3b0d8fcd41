//! `attrs`: a Starlark expression about the attributes of an HTTP request.
//!
//! The words that people use: strings, lists and tuples of them, `attrs['name']`, `attrs.get('name')`,
//! comparisons, `in`, `and`, `or`, `not`, and five methods of strings. As in Starlark, asking for an attribute
//! that is not there is an error, and an expression with an error holds for nothing.
//!
//! Xray has an object of names and regular expressions instead, each of which its attribute must match.

mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;

use thiserror::Error;

use crate::matching::{PatternError, Regex};
use crate::session::Attributes;

pub use parse::ParseError;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Attrs,
    Literal(Value<'static>),
    List {
        tuple: bool,
        items: Vec<Self>,
    },
    Index(Box<Self>, Box<Self>),
    Call(Box<Self>, Method, Vec<Self>),
    Not(Box<Self>),
    /// However many: one inside the other would be as deep as a text is long.
    And(Vec<Self>),
    Or(Vec<Self>),
    Compare(Box<Self>, Operator, Box<Self>),
    /// Each of the attribute's value, which must be there.
    Match(Vec<(String, Regex)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    StartsWith,
    EndsWith,
    Lower,
    Upper,
    Strip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    NotIn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value<'a> {
    None,
    Bool(bool),
    Text(Cow<'a, str>),
    List { tuple: bool, items: Vec<Self> },
    Attrs(&'a Attributes),
}

/// More attributes than a request is asked for.
const MAX_MATCHES: usize = 64;

/// Why an object of attributes cannot be matched.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EachError {
    #[error("these are {0} attributes, expected {MAX_MATCHES} at most")]
    TooMany(usize),
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Expression {
    /// Xray's form: each of these attributes is there and matches. Nothing asks for nothing.
    ///
    /// # Errors
    ///
    /// When a regular expression cannot be compiled, or there are too many.
    pub fn of_each<'t>(
        named: impl ExactSizeIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Option<Self>, EachError> {
        if named.len() > MAX_MATCHES {
            return Err(EachError::TooMany(named.len()));
        }
        let mut all = Vec::new();
        for (name, pattern) in named {
            all.push((name.to_ascii_lowercase(), Regex::new(pattern)?));
        }
        Ok((!all.is_empty()).then_some(Self(Node::Match(all))))
    }

    /// Whether it is true of `attrs`.
    pub fn holds(&self, attrs: &Attributes) -> bool {
        self.0.value(attrs).is_some_and(|value| value.is_true())
    }
}

impl Node {
    /// `None` is Starlark's error.
    fn value<'a>(&'a self, attrs: &'a Attributes) -> Option<Value<'a>> {
        Some(match self {
            Self::Attrs => Value::Attrs(attrs),
            Self::Literal(value) => value.clone(),
            Self::List { tuple, items } => Value::List {
                tuple: *tuple,
                items: items
                    .iter()
                    .map(|i| i.value(attrs))
                    .collect::<Option<_>>()?,
            },
            Self::Index(of, key) => match (of.value(attrs)?, key.value(attrs)?) {
                (Value::Attrs(attrs), Value::Text(name)) => Value::of(attrs.get(name.as_ref())?),
                _ => return None,
            },
            Self::Call(of, method, arguments) => {
                let values: Option<Vec<_>> = arguments.iter().map(|a| a.value(attrs)).collect();
                call(of.value(attrs)?, *method, values?)?
            }
            Self::Not(of) => Value::Bool(!of.value(attrs)?.is_true()),
            Self::And(all) => decisive(all, attrs, false)?,
            Self::Or(all) => decisive(all, attrs, true)?,
            Self::Match(all) => {
                Value::Bool(all.iter().all(|(name, regex)| {
                    attrs.get(name).is_some_and(|value| regex.is_match(value))
                }))
            }
            Self::Compare(a, operator, b) => {
                Value::Bool(compare(&a.value(attrs)?, *operator, &b.value(attrs)?)?)
            }
        })
    }
}

/// The first value that is `truth`, else the last one; what follows is not looked at.
fn decisive<'a>(all: &'a [Node], attrs: &'a Attributes, truth: bool) -> Option<Value<'a>> {
    let mut last = Value::None;
    for node in all {
        last = node.value(attrs)?;
        if last.is_true() == truth {
            break;
        }
    }
    Some(last)
}

impl<'a> Value<'a> {
    fn of(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(value) => *value,
            Self::Text(text) => !text.is_empty(),
            Self::List { items, .. } => !items.is_empty(),
            Self::Attrs(attrs) => !attrs.is_empty(),
        }
    }

    /// Only values of one kind have an order.
    fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::List { tuple: a, items: x }, Self::List { tuple: b, items: y }) if a == b => {
                match x.iter().zip(y).find(|(x, y)| x != y) {
                    Some((x, y)) => x.order(y),
                    None => Some(x.len().cmp(&y.len())),
                }
            }
            _ => None,
        }
    }

    fn contains(&self, item: &Self) -> Option<bool> {
        match (self, item) {
            (Self::Text(text), Self::Text(part)) => Some(text.contains(part.as_ref())),
            (Self::List { items, .. }, _) => Some(items.contains(item)),
            (Self::Attrs(attrs), Self::Text(name)) => Some(attrs.contains_key(name.as_ref())),
            // As in V2Ray, asking for a key that is not a string is not an error here.
            (Self::Attrs(_), _) => Some(false),
            _ => None,
        }
    }
}

fn compare(a: &Value, operator: Operator, b: &Value) -> Option<bool> {
    Some(match operator {
        Operator::Equal => a == b,
        Operator::Unequal => a != b,
        Operator::Less => a.order(b)?.is_lt(),
        Operator::AtMost => a.order(b)?.is_le(),
        Operator::Greater => a.order(b)?.is_gt(),
        Operator::AtLeast => a.order(b)?.is_ge(),
        Operator::In => b.contains(a)?,
        Operator::NotIn => !b.contains(a)?,
    })
}

fn call<'a>(of: Value<'a>, method: Method, arguments: Vec<Value<'a>>) -> Option<Value<'a>> {
    Some(match (of, method, arguments.as_slice()) {
        (Value::Attrs(attrs), Method::Get, [Value::Text(name), default @ ..]) => {
            match attrs.get(name.as_ref()) {
                Some(text) => Value::of(text),
                None => default.first().cloned().unwrap_or(Value::None),
            }
        }
        (Value::Text(text), Method::StartsWith, [part]) => {
            Value::Bool(any(part, |part| text.starts_with(part))?)
        }
        (Value::Text(text), Method::EndsWith, [part]) => {
            Value::Bool(any(part, |part| text.ends_with(part))?)
        }
        (Value::Text(text), Method::Lower, []) => Value::Text(text.to_lowercase().into()),
        (Value::Text(text), Method::Upper, []) => Value::Text(text.to_uppercase().into()),
        (Value::Text(text), Method::Strip, []) => Value::Text(text.trim().to_owned().into()),
        _ => return None,
    })
}

/// Whether `test` holds for a string, or for one of a tuple of strings.
fn any(part: &Value, test: impl Fn(&str) -> bool) -> Option<bool> {
    match part {
        Value::Text(part) => Some(test(part)),
        Value::List { tuple: true, items } => {
            for item in items {
                let Value::Text(part) = item else { return None };
                if test(part) {
                    return Some(true);
                }
            }
            Some(false)
        }
        _ => None,
    }
}
