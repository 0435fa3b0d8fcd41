//! Where a value stands in a config: `inbounds[0].settings.clients[2].id`.

use std::fmt;

/// A JSON path; the root prints as `config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let plain = key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        match (plain, self.0.is_empty()) {
            (true, true) => Self(key.to_owned()),
            (true, false) => Self(format!("{self}.{key}")),
            (false, true) => Self(format!("[{key:?}]")),
            (false, false) => Self(format!("{self}[{key:?}]")),
        }
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "config" } else { &self.0 })
    }
}
