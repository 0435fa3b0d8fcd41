//! Regular expressions as Go reads them, where the `regex` crate reads them otherwise or not at all.
//!
//! | Go | here |
//! |---|---|
//! | `[\w-.]`: a dash that begins no range is a dash | `[0-9A-Za-z_\-.]` |
//! | `[[]`, `[a&&b]`: in a class these are letters like others | `[\[]`, `[a\&\&b]` |
//! | `a{,2}`, `{`: what is no repetition is its text | `a\{,2}`, `\{` |
//! | `\Q.\E`: a text as it is | `\.` |
//! | `\pL`, `[一-龥]`: of Unicode, where `\w` and `\d` are ASCII's all the same | `(?u:…)` |

use std::iter::Peekable;
use std::str::Chars;

/// Whether the crate would read something, and something else.
pub(super) fn means_another(text: &str) -> bool {
    ["&&", "--", "~~"].iter().any(|both| text.contains(both))
}

/// What `text` means, in words of the `regex` crate that begin with no flag for Unicode.
pub(super) fn translated(text: &str) -> String {
    let mut out = String::from("(?u:");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.peek() == Some(&'Q') => {
                rest.next();
                quoted(&mut rest, &mut out);
            }
            '\\' => {
                let kind = rest.next();
                escape(kind, false, &mut out);
                property(kind, &mut rest, &mut out);
            }
            '[' => class(&mut rest, &mut out),
            '{' if !is_repetition(rest.clone()) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out.push(')');
    out
}

/// Text up to `\E`.
fn quoted(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(c) = rest.next() {
        if c == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            return;
        }
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// Perl's classes are ASCII's in Go; the others are written alike.
fn escape(kind: Option<char>, in_class: bool, out: &mut String) {
    let Some(kind) = kind else {
        return out.push('\\');
    };
    let set = match kind.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        'b' if !in_class => return out.push_str(&format!(r"(?-u:\{kind})")),
        _ => {
            out.push('\\');
            return out.push(kind);
        }
    };
    match (kind.is_ascii_uppercase(), in_class) {
        (true, _) => out.push_str(&format!("[^{set}]")),
        (false, true) => out.push_str(set),
        (false, false) => out.push_str(&format!("[{set}]")),
    }
}

/// The name of a property of Unicode's, behind `\p`.
fn property(kind: Option<char>, rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    if matches!(kind, Some('p' | 'P')) && rest.peek() == Some(&'{') {
        through('}', rest, out);
    }
}

/// As it is, up to `end` and with it.
fn through(end: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    for c in rest.by_ref() {
        out.push(c);
        if c == end {
            return;
        }
    }
}

/// What stands behind `{`, whether it is `n}`, `n,}` or `n,m}`.
fn is_repetition(rest: Peekable<Chars<'_>>) -> bool {
    let rest: String = rest.collect();
    let Some((inside, _)) = rest.split_once('}') else {
        return false;
    };
    let (from, to) = inside.split_once(',').unwrap_or((inside, ""));
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    !from.is_empty() && is_number(from) && is_number(to)
}

/// A class, behind its `[`.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    if rest.peek() == Some(&'^') {
        out.extend(rest.next());
    }
    let mut is_first = true;
    // Whether a dash here would make a range of what was last.
    let mut may_begin_range = false;
    while let Some(c) = rest.next() {
        match c {
            ']' if !is_first => return out.push(']'),
            '[' if rest.peek() == Some(&':') => {
                // `[:alpha:]`, which ends like a class.
                out.push('[');
                through(']', rest, out);
                may_begin_range = false;
            }
            '-' if may_begin_range && rest.peek().is_some_and(|next| *next != ']') => {
                out.push('-');
                one_of_class(rest, out);
                may_begin_range = false;
            }
            '\\' => {
                let kind = rest.next();
                may_begin_range =
                    !matches!(kind, Some('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'p' | 'P'));
                escape(kind, true, out);
                property(kind, rest, out);
            }
            c => {
                letter(c, out);
                may_begin_range = true;
            }
        }
        is_first = false;
    }
}

/// The end of a range.
fn one_of_class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    match rest.next() {
        Some('\\') => escape(rest.next(), true, out),
        Some(c) => letter(c, out),
        None => {}
    }
}

/// A letter of a class, whatever it means elsewhere.
fn letter(c: char, out: &mut String) {
    if "[]&~-^".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use crate::matching::{Domains, Name, Pattern, Regex};

    /// Each was asked of Go's `regexp`.
    #[test]
    fn what_go_reads_is_read() {
        for (text, takes, not) in [
            (r"[\w-.]+\.com$", "a-b.c.com", "a-b.c.net"),
            (r"^[\w-_]+$", "a-b_c", "a.b"),
            (r"^[a-z\d-_]+$", "a-0_", "a.b"),
            (r"^[[]$", "[", "]"),
            (r"^[]a-]+$", "]a-", "b"),
            (r"^[^]a]$", "b", "]"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{2,3}[\w-]$", "aaa-", "a-"),
            (r"^\Qa.b\E.$", "a.bc", "axbc"),
            (r"^[a&&b~-]+$", "a&b~-", "c"),
            (r"^\p{Han}\pL$", "中a", "a1"),
            (r"^[一-龥]+\d$", "中1", "中中"),
            (r"^[[:alpha:]-9]+$", "a-9", "a8"),
            (r"^[+--]$", ",", "/"),
            (r"\bcn\b[一]?", "a.cn", "acn"),
            (r"^[a-c-e]+$", "b-e", "d"),
            (r"^[\W-x]+$", "-x", "y"),
            (r"a{2", "a{2", "aa"),
        ] {
            let regex = Regex::new(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(regex.is_match(takes) && !regex.is_match(not), "{text}");
            assert_eq!(regex.as_str(), text, "as it is written");
        }
        assert!(Regex::new("a(").is_err() && Regex::new("[a").is_err());
    }

    #[test]
    fn what_only_go_reads_stands_beside_others() {
        let texts = [r"^a[\w-.]\.example$", "^b+$"];
        let patterns = texts.map(|text| Pattern::Regex(text.to_owned()));
        let domains = Domains::new(patterns.to_vec()).unwrap();
        let takes = |name: &str| domains.contains(&Name::new(name));
        assert!(takes("a-.example") && takes("bb") && !takes("c"));
    }
}
