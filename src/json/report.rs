//! What a reader of settings has to say: mistakes, and things without effect.

use std::cell::RefCell;
use std::fmt;

use super::Path;

/// One line for the user: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: Path,
    pub text: String,
}

/// Collects problems while settings are read; shared by all readers of one config.
#[derive(Debug, Default)]
pub struct Report {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    pub fn error(&self, path: &Path, text: impl Into<String>) {
        push(&self.errors, path, text.into());
    }

    pub fn warn(&self, path: &Path, text: impl Into<String>) {
        push(&self.warnings, path, text.into());
    }

    pub fn errors(&self) -> Vec<Problem> {
        self.errors.borrow().clone()
    }

    pub fn warnings(&self) -> Vec<Problem> {
        self.warnings.borrow().clone()
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }
}

fn push(list: &RefCell<Vec<Problem>>, path: &Path, text: String) {
    let problem = Problem {
        path: path.clone(),
        text,
    };
    if !list.borrow().contains(&problem) {
        list.borrow_mut().push(problem);
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}
