//! What is said of a link, or an outbound, while it is read or written.

use std::fmt::Display;

/// Lines, each with the part that it is about. None of them has an id or a password in it.
#[derive(Default)]
pub(in crate::dialect) struct Said {
    /// What stands in front of a part.
    place: String,
    /// Why there is nothing.
    pub(in crate::dialect) errors: Vec<String>,
    /// What is not carried over.
    pub(in crate::dialect) left_out: Vec<String>,
}

impl Said {
    /// `vless://…: port: `, which shows nothing of the link.
    pub(in crate::dialect) fn of_link(scheme: &str) -> Self {
        Self::at(format!("{}://…: ", scheme.escape_debug()))
    }

    /// `outbounds[0].mux: `.
    pub(in crate::dialect) fn of_outbound(name: &str) -> Self {
        Self::at(format!("{name}."))
    }

    /// `server: `: whoever reads several knows which proxy it is.
    pub(in crate::dialect) fn of_proxy() -> Self {
        Self::at(String::new())
    }

    pub(in crate::dialect) fn at(place: String) -> Self {
        Self {
            place,
            errors: Vec::new(),
            left_out: Vec::new(),
        }
    }

    pub(in crate::dialect) fn error(&mut self, part: &str, text: impl Display) {
        let line = format!("{}{}: {text}", self.place, part.escape_debug());
        push(&mut self.errors, line);
    }

    pub(in crate::dialect) fn left_out(&mut self, part: &str, text: impl Display) {
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
