//! Text in columns. What others have a say in is made harmless before it comes to a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A column: its heading, and on which side its cells stand.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) heading: &'static str,
    pub(super) is_number: bool,
}

pub(super) const fn text(heading: &'static str) -> Column {
    Column {
        heading,
        is_number: false,
    }
}

pub(super) const fn number(heading: &'static str) -> Column {
    Column {
        heading,
        is_number: true,
    }
}

/// Lines of a table, its headings first. With a `width` the widest columns of text are cut until it fits.
pub(super) fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|column| column.heading.width())
        .collect();
    for row in rows {
        for (most, cell) in widths.iter_mut().zip(row) {
            *most = cell.width().max(*most);
        }
    }
    if let Some(width) = width {
        narrow(columns, &mut widths, width);
    }
    let headings = columns
        .iter()
        .map(|column| column.heading.to_owned())
        .collect();
    let all = std::iter::once(&headings).chain(rows);
    all.map(|row: &Vec<String>| {
        let cells = row.iter().zip(columns).zip(&widths);
        let cells = cells.map(|((cell, column), width)| fit(cell, *width, column.is_number));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    })
    .collect()
}

/// Takes from the widest column of text, one after the other.
fn narrow(columns: &[Column], widths: &mut [usize], width: usize) {
    const LEAST: usize = 6;
    let gaps = 2 * columns.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let texts = widths.iter_mut().zip(columns);
        let texts = texts.filter(|(width, column)| !column.is_number && **width > LEAST);
        let Some((widest, _)) = texts.max_by_key(|(width, _)| **width) else {
            break;
        };
        *widest -= 1;
    }
}

/// A cell that is `width` wide.
fn fit(cell: &str, width: usize, is_number: bool) -> String {
    let cell = cut(cell, width);
    let space = " ".repeat(width.saturating_sub(cell.width()));
    match is_number {
        true => space + &cell,
        false => cell + &space,
    }
}

/// As much of a text as fits.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut cut, mut left) = (String::new(), width.saturating_sub(1));
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.width().unwrap_or(0)) else {
            break;
        };
        cut.push(c);
        left = rest;
    }
    cut.push('…');
    cut
}

/// A text without anything that a terminal acts on, or that turns what stands beside it round.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        c if c.is_control() => '\u{fffd}',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_the_letters() {
        let columns = [text("USER"), number("UP")];
        let row = |user: &str, up: &str| vec![user.to_owned(), up.to_owned()];
        let rows = [row("ann", "1 B"), row("李明", "200 kB")];
        let lines = lines(&columns, &rows, None);
        assert_eq!(lines, ["USER      UP", "ann      1 B", "李明  200 kB"]);
        assert!(lines.iter().all(|line| line.width() == 12));
    }

    #[test]
    fn what_is_too_wide_is_cut_and_numbers_are_not() {
        let columns = [text("TARGET"), number("UP")];
        let rows = [vec![
            "a-very-long-name.example:443".to_owned(),
            "200 kB".to_owned(),
        ]];
        let lines = lines(&columns, &rows, Some(20));
        assert_eq!(lines[1], "a-very-long…  200 kB");
        assert_eq!(cut("李明李明", 5), "李明…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn nothing_of_a_strangers_moves_the_cursor() {
        let said = clean("a\u{1b}[2J\u{7}\u{9b}31m\u{202e}b\r\n\u{7f}é李🇨🇳");
        assert!(!said.contains(|c: char| c.is_control() || c == '\u{202e}'));
        assert!(said.ends_with("é李🇨🇳"), "{said}");
    }
}
