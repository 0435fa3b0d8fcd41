//! The page, and what stands in front of it.

use std::time::SystemTime;

/// It is one file, and asks nobody for another.
const PAGE: &str = include_str!("page.html");

/// The answer that holds the page; the connection ends with it. `nonce` is for this answer alone.
pub(super) fn answer(token: &str, nonce: &str, with_body: bool) -> Vec<u8> {
    let page = PAGE.replace("%TOKEN%", token).replace("%NONCE%", nonce);
    let date = httpdate::fmt_http_date(SystemTime::now());
    let len = page.len();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n\
         Date: {date}\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {len}\r\n\
         Cache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         img-src data:; connect-src ws: wss:; worker-src blob:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         X-Frame-Options: DENY\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes();
    if with_body {
        answer.extend_from_slice(page.as_bytes());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_the_token_and_nothing_of_anybody_else() {
        let answer = String::from_utf8(answer("TOKEN1", "NONCE1", true)).unwrap();
        let (head, page) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            page.contains("content=\"TOKEN1\"")
                && !page.contains('%'.to_string().as_str().repeat(2).as_str())
        );
        assert_eq!(page.matches("nonce=\"NONCE1\"").count(), 2);
        assert!(head.contains("script-src 'nonce-NONCE1'"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", page.len())));
        for foreign in [
            "http://",
            "https://",
            "src=",
            "@import",
            "fetch(",
            "innerHTML",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
