//! A program of this machine that answers with a config over a unix socket: Remnawave's node has its core ask so.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::transport::tcp::UnixSocket;

/// Where it listens, and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Asked {
    pub(super) socket: UnixSocket,
    pub(super) target: String,
}

impl Asked {
    /// `@NAME:/TARGET` and `/PATH:/TARGET`, or without a target where a socket is there, and in Xray's older form
    /// `http+unix:///PATH.sock/TARGET`; `@@NAME` fills the whole address with zeros behind it.
    pub(super) fn of(text: &str) -> Option<Self> {
        let older = text.strip_prefix("http+unix://");
        let is_path = text.starts_with('/');
        let is_socket = |path: &str| {
            let there = fs::metadata(path);
            there.is_ok_and(|there| there.file_type().is_socket())
        };
        let is_file = Path::new(text).exists() && !is_socket(text);
        if is_file || is_path && !is_socket(text) && !text.contains(":/") {
            return None;
        }
        let canonical = older.map(|place| place.replacen(".sock/", ".sock:/", 1));
        let place = canonical.as_deref().unwrap_or(text);
        let (place, target) = match place.split_once(":/") {
            Some((place, target)) => (place, format!("/{target}")),
            None => (place, "/".to_owned()),
        };
        let socket = match place.strip_prefix('@') {
            Some(name) => UnixSocket::Abstract(name.as_bytes().to_vec()),
            None if is_path || older.is_some() => UnixSocket::Path(place.into()),
            None => return None,
        };
        Some(Self { socket, target })
    }
}

/// What is asked for may be as good as a password.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:/…", self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let _listener = std::os::unix::net::UnixListener::bind(path("a")).unwrap();
        fs::write(path("b:"), "").unwrap();
        let at = |name: &str| UnixSocket::Path(path(name).into());
        let named = |name: &str| UnixSocket::Abstract(name.as_bytes().to_vec());
        for (text, expected) in [
            (
                "@a:/b/c?token=d:/e".to_owned(),
                Some((named("a"), "/b/c?token=d:/e")),
            ),
            ("@@a".to_owned(), Some((named("@a"), "/"))),
            (path("a"), Some((at("a"), "/"))),
            (path("a:/b?c"), Some((at("a"), "/b?c"))),
            (
                format!("http+unix://{}", path("x.sock/b?c")),
                Some((at("x.sock"), "/b?c")),
            ),
            (path("gone"), None),
            (path("b:"), None),
            ("a:/b".to_owned(), None),
            ("config.json".to_owned(), None),
        ] {
            let expected = expected.map(|(socket, target)| Asked {
                socket,
                target: target.to_owned(),
            });
            assert_eq!(Asked::of(&text), expected, "{text}");
        }
        let shown = Asked::of("@a:/b?token=secret").unwrap().to_string();
        assert_eq!(shown, "@a:/…");
    }
}
