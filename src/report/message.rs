//! What reading a config has to say, with the place in the file that it is about.

#![warn(missing_docs)]

use std::fmt;

use super::excerpt::excerpt;
use super::span::Span;

/// One mistake, or one warning. It prints as a line: the file where there are several, the JSON path, the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The file that it is about, where that is known.
    pub file: Option<String>,
    /// The JSON path, as that file counts.
    pub path: Option<String>,
    /// Where that stands in the file.
    pub place: Option<Span>,
    /// What is to be said.
    pub text: String,
    /// The same with its file and path in front.
    pub line: String,
    /// The line of the file, with a mark below.
    pub excerpt: Option<String>,
}

impl Message {
    /// About nothing that has a place.
    pub fn of_text(text: String) -> Self {
        Self {
            file: None,
            path: None,
            place: None,
            line: text.clone(),
            text,
            excerpt: None,
        }
    }

    /// About a file as a whole.
    pub fn of_file(name: &str, text: String) -> Self {
        Self {
            file: Some(name.to_owned()),
            line: format!("{name}: {text}"),
            ..Self::of_text(text)
        }
    }

    /// Gives it its place in `text`, which the file holds.
    pub fn at(mut self, place: Span, text: &str) -> Self {
        let name = self.file.as_deref().unwrap_or_default();
        self.excerpt = Some(excerpt(name, text, &place));
        self.place = Some(place);
        self
    }

    /// The same with its line and column behind the file's name in its line, where it has a place.
    #[must_use]
    pub fn located(mut self) -> Self {
        if let (Some(file), Some(place)) = (&self.file, &self.place)
            && let Some(rest) = self.line.strip_prefix(&format!("{file}: "))
        {
            self.line = format!("{file}:{}:{}: {rest}", place.line, place.column);
        }
        self
    }

    /// With more behind its text.
    #[must_use]
    pub fn with(mut self, more: &str) -> Self {
        self.text.push_str(more);
        self.line.push_str(more);
        self
    }

    /// Gives it the place that `text`, which the file holds, has at a line and a column, both counted from 1.
    pub fn in_text(self, line: usize, column: usize, text: &str) -> Self {
        self.at(Span::word(text, line, column), text)
    }

    /// The line of the file that it is about, with a mark below. It shows what the file says, keys and
    /// passwords too: it is for whoever wrote the file, not for a log.
    pub fn excerpt(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}
