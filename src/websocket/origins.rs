//! Which pages a server takes.
//!
//! A browser says with each request which page's script makes it (`Origin`), and lets any page reach any server, those of
//! its own machine included. So a server that does not look is every page's.

use std::fmt;

use thiserror::Error;

/// The origin of pages, as browsers write it: `https://a.example`, `http://127.0.0.1:8000`, `null` (a file, or a frame that a
/// page of any site has put into a sandbox), or `file://` (a file, of embedded browsers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// Those that are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    Any,
    /// These.
    Only(Vec<Origin>),
}

/// Why a text is no origin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{}` is no origin of pages, expected such as `https://example.com`, `http://127.0.0.1:8000`, `null` or `file://` (a file), or `*`", .0.escape_debug()
)]
pub struct OriginError(String);

impl Origin {
    /// Reads what people write: the URL of a page is one of its origin.
    ///
    /// # Errors
    ///
    /// When there is no host in it.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let lower = text.trim().to_ascii_lowercase();
        if lower == "null" {
            return Ok(Self(lower));
        }
        // Files have no host that tells them apart.
        if lower.starts_with("file://") {
            return Ok(Self("file://".to_owned()));
        }
        let wrong = || OriginError(text.to_owned());
        let (scheme, rest) = lower.split_once("://").ok_or_else(wrong)?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_bad = |c: char| c.is_whitespace() || c == '@' || c == '*';
        if scheme.is_empty() || host.is_empty() || host.contains(is_bad) {
            return Err(wrong());
        }
        // Browsers leave the usual port out.
        let usual = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let host = host.strip_suffix(usual).unwrap_or(host);
        Ok(Self(format!("{scheme}://{host}")))
    }
}

impl Origins {
    /// Reads the values of `--origin`; there is none without any.
    ///
    /// # Errors
    ///
    /// When one of them is no origin.
    pub fn parse(texts: &[String]) -> Result<Self, OriginError> {
        if texts.iter().any(|text| text.trim() == "*") {
            return Ok(Self::Any);
        }
        let each = texts.iter().map(|text| Origin::parse(text));
        each.collect::<Result<_, _>>().map(Self::Only)
    }

    /// Whether a request with this `Origin` is taken.
    pub fn take(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(some) => Origin::parse(origin).is_ok_and(|one| some.contains(&one)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        let origins = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
            Origins::parse(&texts)
        };
        let some = origins(&[
            "https://A.example:443/page",
            "http://127.0.0.1:8000",
            "null",
        ])
        .unwrap();
        for (origin, taken) in [
            ("https://a.example", true),
            ("http://a.example", false),
            ("https://a.example:8443", false),
            ("https://a.example.evil", false),
            ("http://127.0.0.1:8000", true),
            ("http://127.0.0.1:80001", false),
            ("null", true),
            ("", false),
        ] {
            assert_eq!(some.take(origin), taken, "{origin}");
        }
        assert!(origins(&["https://a.example", "*"]).unwrap().take("null"));
        assert!(!origins(&[]).unwrap().take("null"));
        let files = origins(&["file:///home/page.html"]).unwrap();
        assert!(files.take("file://") && !files.take("null"));
        for wrong in ["a.example", "https://", "https://u@a", "http://*.a"] {
            assert!(origins(&[wrong]).is_err(), "{wrong}");
        }
    }
}
