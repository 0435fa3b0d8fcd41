//! What the system says.

use std::io;

/// A message of the system without Rust's ` (os error 2)`, in lower case.
pub fn system_words(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text
        .split_once(" (os error")
        .map_or(&*text, |(head, _)| head);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
