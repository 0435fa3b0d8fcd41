//! The bytes of a file as text.

/// The text, and the line of what cannot be read in it: a comment in GBK, say.
///
/// # Errors
///
/// When it is text of another kind altogether.
pub(super) fn decoded(bytes: Vec<u8>) -> Result<(String, Option<usize>), String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("this is UTF-16 text, save it as UTF-8".to_owned());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, None)),
        Err(e) => {
            let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|b| **b == b'\n').count();
            let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
            Ok((text, Some(line)))
        }
    }
}

/// The text where all of it can be read.
///
/// # Errors
///
/// When some cannot; the text says what.
pub fn whole(bytes: Vec<u8>) -> Result<String, String> {
    match decoded(bytes)? {
        (text, None) => Ok(text),
        (_, Some(line)) => Err(format!(
            "line {line} is no UTF-8 text, save the file as UTF-8"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_utf_8_is_told_with_its_line() {
        assert_eq!(whole(b"a\nb".to_vec()).unwrap(), "a\nb");
        let gbk = b"a: 1\n# \xd6\xd0\xce\xc4\n".to_vec();
        assert_eq!(
            whole(gbk).unwrap_err(),
            "line 2 is no UTF-8 text, save the file as UTF-8"
        );
        let utf_16 = b"\xff\xfea\0".to_vec();
        assert!(whole(utf_16).unwrap_err().contains("UTF-16"));
    }
}
