//! How many columns a text takes in a terminal, and how wide it is in a picture.

/// Columns of a text. Chinese, Japanese and Korean letters and emoji take two, a flag is two letters that take two together.
pub(super) fn columns(text: &str) -> usize {
    let mut columns = 0;
    let mut flag = false;
    for c in text.chars() {
        if is_flag(c) {
            columns += if flag { 0 } else { 2 };
            flag = !flag;
            continue;
        }
        flag = false;
        columns += match c {
            '\u{200b}'..='\u{200f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{300}'..='\u{36f}' => 0,
            c if c.is_control() => 0,
            c if is_wide(c) => 2,
            _ => 1,
        };
    }
    columns
}

/// At most so many columns of a text, with `…` where it is cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if columns(&text) <= most {
        return text;
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if columns(&short) >= most {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}

/// A text, and blanks behind it up to so many columns.
pub(super) fn padded(text: &str, to: usize) -> String {
    let blanks = to.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(blanks))
}

fn is_flag(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

fn is_wide(c: char) -> bool {
    matches!(
        c,
        '\u{1100}'..='\u{115f}'
            | '\u{231a}'..='\u{231b}'
            | '\u{2600}'..='\u{27bf}'
            | '\u{2b50}'..='\u{2b55}'
            | '\u{2e80}'..='\u{303e}'
            | '\u{3041}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_take_the_columns_that_terminals_give_them() {
        for (text, expected) in [
            ("abc", 3),
            ("香港", 4),
            ("🇭🇰 香港", 7),
            ("🇭🇰🇯🇵", 4),
            ("a\u{200b}b", 2),
            ("🚀", 2),
            ("é", 1),
        ] {
            assert_eq!(columns(text), expected, "{text}");
        }
        assert_eq!(cut("香港 one", 5), "香港…");
        assert_eq!(cut("香港", 4), "香港");
        assert_eq!(cut("a\nb", 4), "ab");
        assert_eq!(columns(&padded("香", 6)), 6);
    }
}
