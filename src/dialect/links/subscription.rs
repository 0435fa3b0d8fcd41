//! Many links: a line for each, as they are or all of them in base64.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::SCHEMES;

/// The links in a text, one in a line or several with blanks or commas between them; a line that begins with `#` or `//` is passed over.
pub fn links(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let decoded = (!text.contains("://")).then(|| decode(text)).flatten();
    let decoded = decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let decoded = decoded.filter(|text| text.contains("://"));
    let lines = decoded.as_deref().unwrap_or(text).lines().map(str::trim);
    let links =
        lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//"));
    links.flat_map(apart).map(str::to_owned).collect()
}

/// The links of a line. A name may have blanks and commas, and what follows them is another link if it begins like one.
fn apart(line: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        let scheme = rest.split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| {
            SCHEMES
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
        })
    };
    let is_between = |c: char| c.is_whitespace() || c == ',' || c == '|';
    let (mut links, mut start) = (Vec::new(), 0);
    for (at, c) in line.char_indices().filter(|(_, c)| is_between(*c)) {
        let rest = at + c.len_utf8();
        if begins(&line[rest..]) {
            links.push(line[start..at].trim_end_matches(is_between));
            start = rest;
        }
    }
    links.push(&line[start..]);
    links
}

/// Base64 of either alphabet, padded or not, with line breaks or not.
pub(in crate::dialect) fn decode(text: &str) -> Option<Vec<u8>> {
    let is_url = text.contains(['-', '_']);
    let text: String = text.split_whitespace().collect();
    let text = text.trim_end_matches('/');
    let engine = if is_url { &URL } else { &STANDARD };
    engine.decode(text.trim_end_matches('=')).ok()
}

const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    #[test]
    fn plain_text_and_base64_of_any_kind_hold_the_same_links() {
        let text = "trojan://p@a.example:1#ÿ?>\r\n\n# a remark\nss://YTpi@b.example:2\n";
        let expected = ["trojan://p@a.example:1#ÿ?>", "ss://YTpi@b.example:2"];
        let whole = STANDARD.encode(text);
        let lines: Vec<&str> = [&whole[..20], &whole[20..]].to_vec();
        for form in [
            text.to_owned(),
            format!("\u{feff}{text}"),
            whole.clone(),
            lines.join("\n"),
            URL_SAFE_NO_PAD.encode(text),
        ] {
            assert_eq!(links(&form), expected);
        }
        assert_eq!(links("nonsense"), ["nonsense"]);
        let several =
            "vless://a@b:1#Tokyo, or ssh://x  trojan://p@a:1,VMESS://e30= | ss://YTpi@b:2#a|b";
        let expected = [
            "vless://a@b:1#Tokyo, or ssh://x",
            "trojan://p@a:1",
            "VMESS://e30=",
            "ss://YTpi@b:2#a|b",
        ];
        assert_eq!(links(several), expected);
    }
}
