//! What a reader of settings has to say: mistakes, and things without effect.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use super::Path;

/// One line for the user: where, and what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    pub path: Path,
    pub text: String,
    /// It is the last key of the path that should be looked at, not the value.
    pub is_the_key: bool,
    /// Of a mistake.
    pub kind: Kind,
}

/// What a mistake means for the part of a config that it stands in, an inbound or an outbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nobody knows what is meant.
    #[default]
    Mistake,
    /// It is known what is meant, and that it cannot work: the part is as good as not there.
    Dead,
    /// It is known what is meant, and it is not built.
    Unbuilt,
}

/// Collects problems while settings are read; shared by all readers of one config.
#[derive(Debug, Default)]
pub struct Report {
    errors: RefCell<List>,
    warnings: RefCell<List>,
    protobuf_names: bool,
}

/// Each is said once.
#[derive(Debug, Default)]
struct List {
    all: Vec<Problem>,
    said: HashSet<Problem>,
}

impl Report {
    /// Whether keys may be written as the fields of a protobuf are, with underscores.
    #[must_use]
    pub fn with_protobuf_names(self, protobuf_names: bool) -> Self {
        Self {
            protobuf_names,
            ..self
        }
    }

    pub fn has_protobuf_names(&self) -> bool {
        self.protobuf_names
    }

    #[cold]
    #[inline(never)]
    pub fn error(&self, path: &Path, text: impl Into<String>) {
        self.errors.borrow_mut().push(Problem::new(path, text));
    }

    /// As [`Self::error`], of this kind.
    #[cold]
    #[inline(never)]
    pub fn error_of(&self, kind: Kind, path: &Path, text: impl Into<String>) {
        let problem = Problem::new(path, text);
        self.errors.borrow_mut().push(Problem { kind, ..problem });
    }

    /// How many errors there are.
    pub fn count(&self) -> usize {
        self.errors.borrow().all.len()
    }

    /// Makes warnings of the errors from the `first` on, with `fate` at their end, if there are any and all are of
    /// `kinds`; says whether it did.
    pub fn forgive(&self, first: usize, kinds: &[Kind], fate: &str) -> bool {
        let mut errors = self.errors.borrow_mut();
        let new = &errors.all[first..];
        if new.is_empty() || !new.iter().all(|problem| kinds.contains(&problem.kind)) {
            return false;
        }
        for mut problem in errors.take(first) {
            problem.text = format!("{}; {fate}", problem.text);
            self.warnings.borrow_mut().push(problem);
        }
        true
    }

    #[cold]
    #[inline(never)]
    pub fn warn(&self, path: &Path, text: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem::new(path, text));
    }

    /// Warns of the key that ends `path`, whatever its value.
    #[cold]
    #[inline(never)]
    pub fn warn_of_key(&self, path: &Path, text: impl Into<String>) {
        let problem = Problem::new(path, text);
        let is_the_key = true;
        self.warnings.borrow_mut().push(Problem {
            is_the_key,
            ..problem
        });
    }

    pub fn errors(&self) -> Vec<Problem> {
        self.errors.borrow().all.clone()
    }

    pub fn warnings(&self) -> Vec<Problem> {
        self.warnings.borrow().all.clone()
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.borrow().all.is_empty()
    }
}

impl Problem {
    fn new(path: &Path, text: impl Into<String>) -> Self {
        Self {
            path: path.clone(),
            text: text.into(),
            is_the_key: false,
            kind: Kind::default(),
        }
    }
}

impl List {
    fn push(&mut self, problem: Problem) {
        if self.said.insert(problem.clone()) {
            self.all.push(problem);
        }
    }

    /// Those from the `first` on, as if they had never been said.
    fn take(&mut self, first: usize) -> Vec<Problem> {
        let taken = self.all.split_off(first);
        for problem in &taken {
            self.said.remove(problem);
        }
        taken
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}
