//! Where a value stands in a config: `inbounds[0].settings.clients[2].id`.

#![warn(missing_docs)]

use std::fmt;
use std::sync::Arc;

/// A JSON path; the root prints as `config`. Paths share the beginning that they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Option<Arc<(Self, Step)>>);

/// From a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A key of an object.
    Key(Box<str>),
    /// An element of an array, from 0.
    Index(usize),
}

impl Path {
    /// The key that it ends with, past the indexes of lists.
    pub fn last_key(&self) -> Option<&str> {
        self.steps().iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(&**key),
            Step::Index(_) => None,
        })
    }

    /// The value under a key of the one here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.into()))
    }

    /// An element of the array here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// From the root down.
    pub fn steps(&self) -> Vec<&Step> {
        let mut steps = Vec::new();
        let mut at = self;
        while let Some(inner) = &at.0 {
            steps.push(&inner.1);
            at = &inner.0;
        }
        steps.reverse();
        steps
    }

    fn step(&self, step: Step) -> Self {
        Self(Some(Arc::new((self.clone(), step))))
    }
}

impl FromIterator<Step> for Path {
    fn from_iter<T: IntoIterator<Item = Step>>(steps: T) -> Self {
        let root = Self::default();
        steps.into_iter().fold(root, |path, step| path.step(step))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps();
        if steps.is_empty() {
            return f.write_str("config");
        }
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Key(key) if !is_plain(key) => write!(f, "[{key:?}]")?,
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Whether a key needs no quotes to be told from what surrounds it.
fn is_plain(key: &str) -> bool {
    key.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_javascript_would_reach_the_value() {
        let inbound = Path::default().key("inbounds").index(0);
        let path = inbound.key("settings").key("a b").key("id");
        assert_eq!(path.to_string(), "inbounds[0].settings[\"a b\"].id");
        assert_eq!(Path::default().to_string(), "config");
        assert_eq!(Path::default().key("a.b").to_string(), "[\"a.b\"]");
        assert_eq!(Path::default().index(3).key("x").to_string(), "[3].x");
    }

    #[test]
    fn a_path_is_the_steps_that_lead_to_it() {
        let path = Path::default().key("a").index(1).key("b");
        assert_eq!(path.steps().into_iter().cloned().collect::<Path>(), path);
    }
}
