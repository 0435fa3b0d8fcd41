//! Where a setting stands in the text that it was read from.

#![warn(missing_docs)]

use std::fmt;
use std::ops::Deref;

use super::Path;

/// A part of settings that is no setting: all places are equal, so that settings compare by what they mean. Those
/// written by hand have the default.
#[derive(Clone, Default)]
pub struct Place(Path);

impl From<Path> for Place {
    fn from(path: Path) -> Self {
        Self(path)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self(path.clone())
    }
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl PartialEq for Place {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
