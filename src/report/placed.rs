//! A setting that a later check may have something to say about.

#![warn(missing_docs)]

use std::fmt;
use std::ops::Deref;

use super::Place;

/// A value, and where it stands in the text that it was read from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Place,
}

impl<T> Placed<T> {
    /// A value that stands somewhere.
    pub fn new(value: T, at: impl Into<Place>) -> Self {
        Self {
            value,
            at: at.into(),
        }
    }
}

impl<T> From<T> for Placed<T> {
    /// Of a setting that was written by hand.
    fn from(value: T) -> Self {
        Self::new(value, Place::default())
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Placed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
