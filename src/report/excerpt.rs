//! The line of a file that a message is about, with a mark below, as compilers show it.
//!
//! ```text
//!  --> config.json:3:31
//!   |
//! 3 |   "outbounds": [{ "protocol": "freedon" }]
//!   |                               ^^^^^^^^^
//! ```

use super::span::Span;

/// What of a long line is shown: a config may be one line.
const MOST: usize = 100;

/// What is shown in front of a place far behind.
const BEFORE: usize = 40;

pub(super) fn excerpt(file: &str, text: &str, place: &Span) -> String {
    let start = text[..place.bytes.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    // The end of a line is no part of it, and may be what is meant.
    let (front, behind) = line.split_at((place.bytes.start - start).min(line.len()));
    let marked = text[place.bytes.clone()].lines().next().unwrap_or_default();

    // Only what is shown is counted: a file of one line may have thousands of mistakes.
    let most = match line.char_indices().nth(MOST) {
        Some(_) => BEFORE,
        None => MOST,
    };
    let before = last(front, most);
    let shown = before.chars().count();
    let behind_shown = first(behind, MOST - shown);
    let front = if before.len() < front.len() {
        "..."
    } else {
        ""
    };
    let back = if behind_shown.len() < behind.len() {
        "..."
    } else {
        ""
    };
    let room = behind_shown.chars().count();
    let mark: usize = marked.chars().take(room).map(width).sum();
    let blanks: String = before.chars().map(blank).collect();

    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    let gap = " ".repeat(front.len());
    format!(
        "{margin}--> {file}:{number}:{}\n{margin} |\n{number} | {front}{before}{behind_shown}{back}\n{margin} | {gap}{blanks}{}",
        place.column,
        "^".repeat(mark.max(1)),
    )
}

/// At most so many characters from the front.
fn first(text: &str, most: usize) -> &str {
    let end = text.char_indices().nth(most);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// At most so many characters up to the end.
fn last(text: &str, most: usize) -> &str {
    let starts = text.char_indices().rev().map(|(at, _)| at);
    &text[starts.take(most).last().unwrap_or(text.len())..]
}

/// What takes as much room as `c`.
fn blank(c: char) -> &'static str {
    match width(c) {
        _ if c == '\t' => "\t",
        1 => " ",
        _ => "  ",
    }
}

/// How many columns of a terminal a character takes: those of East Asia take two.
fn width(c: char) -> usize {
    match c {
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' => 2,
        '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' => 2,
        '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_what_it_marks() {
        let text = "{\n\t\"名\": \"é\", \"x\": 12 }";
        assert_eq!(
            at(text, "12"),
            " --> c.json:2:17\n  |\n2 | \t\"名\": \"é\", \"x\": 12 }\n  | \t                ^^"
        );
        assert_eq!(at("", ""), " --> c.json:1:1\n  |\n1 | \n  | ^");
    }

    #[test]
    fn the_end_of_a_line_can_be_marked() {
        for end in ["\r\n", "\n", "\r\r\n"] {
            let text = format!("a{end}b");
            let shown = at(&text, end);
            assert!(shown.ends_with("^"), "{shown:?}");
            assert!(shown.starts_with(" --> c.json:1:2\n"), "{shown:?}");
        }
        let text = format!("{}\r\n", "x".repeat(500));
        assert!(at(&text, "\r\n").ends_with(" ^"));
    }

    #[test]
    fn of_a_long_line_the_place_is_shown() {
        let text = format!("{}\"bad\"{}", " ".repeat(500), "y".repeat(500));
        let shown = at(&text, "\"bad\"");
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[2].starts_with("1 | ...   ") && lines[2].ends_with("yyy..."));
        assert_eq!(lines[2].find("\"bad\""), lines[3].find("^^^^^"));
        // What is marked may be longer than what is shown.
        let long = "z".repeat(300);
        assert_eq!(at(&long, &long).lines().nth(3).unwrap().len(), 4 + MOST);
    }

    fn at(text: &str, what: &str) -> String {
        let start = text.find(what).unwrap();
        excerpt("c.json", text, &Span::new(text, start..start + what.len()))
    }
}
