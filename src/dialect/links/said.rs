//! What is said of a link while it is read or written.

use std::fmt::Display;

/// Lines, each with the part that it is about. None of them has an id or a password in it.
pub(super) struct Said {
    /// What stands in front of a part.
    place: String,
    /// Why there is nothing.
    pub(super) errors: Vec<String>,
    /// What is not carried over.
    pub(super) left_out: Vec<String>,
}

impl Said {
    /// `vless://…: port: `, which shows nothing of the link.
    pub(super) fn of_link(scheme: &str) -> Self {
        Self::at(format!("{}://…: ", scheme.escape_debug()))
    }

    /// `outbounds[0].mux: `.
    pub(super) fn of_outbound(name: &str) -> Self {
        Self::at(format!("{name}."))
    }

    fn at(place: String) -> Self {
        Self {
            place,
            errors: Vec::new(),
            left_out: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, part: &str, text: impl Display) {
        let line = format!("{}{}: {text}", self.place, part.escape_debug());
        push(&mut self.errors, line);
    }

    pub(super) fn left_out(&mut self, part: &str, text: impl Display) {
        let line = format!("{}{}: {text}", self.place, part.escape_debug());
        push(&mut self.left_out, line);
    }
}

/// Several accounts of one outbound leave the same things out.
fn push(lines: &mut Vec<String>, line: String) {
    if !lines.contains(&line) {
        lines.push(line);
    }
}
