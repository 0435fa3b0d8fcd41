//! The status page: one file, and a policy by which a browser runs what is in it and nothing else.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

pub(super) const PAGE: &str = include_str!("page.html");

/// The style and the script of the page are named by their hashes; it asks nobody but who served it.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |element: &str| {
        let inside = between(PAGE, &format!("<{element}>"), &format!("</{element}>"));
        STANDARD.encode(digest(&SHA256, inside.as_bytes()))
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style"),
    );
    HeaderValue::try_from(policy).expect("it is ASCII")
});

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let inside = text.split_once(begin).map_or("", |(_, rest)| rest);
    inside.split_once(end).map_or("", |(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids() {
        for forbidden in [
            " style=\"",
            " onclick",
            " onload",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "@import",
            "url(",
            "<script src",
            "<link rel=\"stylesheet",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
        // The icon's picture, and what names the language of drawings.
        let addresses: Vec<_> = PAGE
            .match_indices("http")
            .map(|(at, _)| &PAGE[at..at + 17])
            .collect();
        assert!(
            addresses
                .iter()
                .all(|one| one.starts_with("http://www.w3.org")),
            "{addresses:?}"
        );
        let policy = POLICY.to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(!between(PAGE, "<script>", "</script>").is_empty());
        assert!(!between(PAGE, "<style>", "</style>").is_empty());
    }
}
