//! `\u` escapes of JSON that stand for half a character: JavaScript writes them for a name that was cut in the middle of an
//! emoji, and Go reads U+FFFD there, which serde_json takes for a mistake.

use std::borrow::Cow;

/// What takes the place of a half; as long as the escape, so that what follows keeps its place.
const REPLACEMENT: &str = "\\ufffd";

/// The text with U+FFFD for each half that has no other.
pub(in crate::dialect) fn mended(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        let Some(half) = escaped(text, at) else {
            // The character behind the mark is not the mark of another.
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
            continue;
        };
        let is_pair = is_high(half) && escaped(text, at + REPLACEMENT.len()).is_some_and(is_low);
        if !is_pair && (is_high(half) || is_low(half)) {
            out.push_str(&text[kept..at]);
            out.push_str(REPLACEMENT);
            kept = at + REPLACEMENT.len();
        }
        at += REPLACEMENT.len() * if is_pair { 2 } else { 1 };
    }
    match kept {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(out + &text[kept..]),
    }
}

/// The number of the `\u` escape at this byte, if one is there.
fn escaped(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
    let is_number = digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_number
        .then(|| u16::from_str_radix(digits, 16).ok())
        .flatten()
}

fn is_high(half: u16) -> bool {
    (0xd800..0xdc00).contains(&half)
}

fn is_low(half: u16) -> bool {
    (0xdc00..0xe000).contains(&half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_as_go_reads_them() {
        for (text, read) in [
            (r#""a \ud83d""#, "a \u{fffd}"),
            (r#""\ude00b""#, "\u{fffd}b"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud83d\ud83d\ude00\n""#, "\u{fffd}\u{1f600}\n"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\ud83dü\\""#, "\u{fffd}ü\\"),
        ] {
            let mended = mended(text);
            assert_eq!(mended.len(), text.len());
            assert_eq!(serde_json::from_str::<String>(&mended).unwrap(), read);
        }
        for broken in ["\\", "\\u", "\\ud8", "\"\\ud83d", "\\ü"] {
            assert_eq!(mended(broken).len(), broken.len());
        }
    }
}
