//! A place in a message, and the report that its mistakes go to.

use prost::Message;

use super::MessageError;
use crate::report::{Path, Report};
use crate::wire::common::serial::TypedMessage;
use crate::wire::typed;

#[derive(Clone)]
pub(super) struct At<'r> {
    path: Path,
    report: &'r Report,
}

impl<'r> At<'r> {
    pub(super) fn root(report: &'r Report) -> Self {
        let path = Path::default();
        Self { path, report }
    }

    #[inline(never)]
    pub(super) fn key(&self, key: &str) -> Self {
        let path = self.path.key(key);
        Self {
            path,
            ..self.clone()
        }
    }

    pub(super) fn index(&self, index: usize) -> Self {
        let path = self.path.index(index);
        Self {
            path,
            ..self.clone()
        }
    }

    /// Notes a mistake here.
    #[inline(never)]
    pub(super) fn error<T>(&self, text: impl ToString) -> Option<T> {
        self.report.error(&self.path, text.to_string());
        None
    }

    /// Notes what is odd here.
    #[inline(never)]
    pub(super) fn warn(&self, text: impl ToString) {
        self.report.warn(&self.path, text.to_string());
    }

    /// Notes the mistake, if it is one.
    pub(super) fn ok<T, E: ToString>(&self, read: Result<T, E>) -> Option<T> {
        read.map_err(|e| self.error::<()>(e)).ok()
    }

    /// What must be there.
    pub(super) fn required<'m, T>(&self, value: Option<&'m T>) -> Option<&'m T> {
        value.or_else(|| self.error("it is missing"))
    }

    /// The message itself; the caller has looked at its name.
    #[inline(never)]
    pub(super) fn open<M: Message + Default>(&self, message: &TypedMessage) -> Option<M> {
        self.ok(typed::open(message))
    }

    #[inline(never)]
    pub(super) fn not_built<T>(&self, what: &str, name: &str) -> Option<T> {
        self.error(format!("{what} `{}` is not built", name.escape_debug()))
    }
}

/// All of them, or none: each is looked at, so that every mistake is told.
pub(super) fn all<T>(read: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = read.collect();
    read.into_iter().collect()
}

/// What was read, unless there were mistakes.
pub(super) fn whole<T>(read: Option<T>, report: &Report) -> Result<T, MessageError> {
    match read {
        Some(read) if !report.has_errors() => Ok(read),
        _ => Err(MessageError::Wrong(report.errors())),
    }
}
