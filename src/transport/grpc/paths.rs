//! Where the calls of a service are.
//!
//! V2Ray writes the name as it is. Xray percent-encodes it, and takes one that begins with `/` for the path itself:
//! `/my/sub/Stream`, or `/my/sub/A|B` for `Tun` and `TunMulti`.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What Go's `url.PathEscape` encodes.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b',')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The paths of `Tun` and of `TunMulti`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `serviceName`, as it was written.
    name: String,
    pub(super) tun: String,
    pub(super) tun_multi: String,
}

impl Paths {
    /// Of `Tun` and of `TunMulti`.
    pub fn all(&self) -> [&str; 2] {
        [&self.tun, &self.tun_multi]
    }

    /// Those of a `serviceName`.
    pub fn new(name: &str) -> Self {
        let encoded = |segment: &str| utf8_percent_encode(segment, SEGMENT).to_string();
        let (tun, tun_multi) = match name.strip_prefix('/') {
            None => {
                let service = encoded(name);
                (format!("/{service}/Tun"), format!("/{service}/TunMulti"))
            }
            Some(path) => {
                let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
                // Of `/x` it is empty, and yet there: Xray's client asks for `//x`.
                let folder: String = folder
                    .split('/')
                    .map(|segment| format!("/{}", encoded(segment)))
                    .collect();
                let mut names = last.split('|');
                let tun = names.next().unwrap_or_default();
                let multi = names.next().unwrap_or(tun);
                (
                    format!("{folder}/{}", encoded(tun)),
                    format!("{folder}/{}", encoded(multi)),
                )
            }
        };
        Self {
            name: name.to_owned(),
            tun,
            tun_multi,
        }
    }

    /// Those of which the first is this, if there is a `serviceName` for it.
    pub fn of_path(path: &str) -> Option<Self> {
        let decoded = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .ok()
                .map(String::from)
        };
        let short = path.strip_prefix('/')?.strip_suffix("/Tun");
        let short = short.filter(|name| !name.contains('/')).and_then(decoded);
        [short, decoded(path)]
            .into_iter()
            .flatten()
            .map(|name| Self::new(&name))
            .find(|paths| paths.tun == path)
    }

    /// `serviceName` where it stands in the path as it is written, and not alone.
    pub fn plain_name(&self) -> Option<&str> {
        let is_plain = self.tun == format!("/{}/Tun", self.name);
        (is_plain && !self.name.is_empty()).then_some(&*self.name)
    }

    /// `serviceName`, as it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a request for `path` is one of ours, in anybody's spelling.
    pub(super) fn has(&self, path: &str) -> bool {
        if path == self.tun || path == self.tun_multi {
            return true;
        }
        let name = &self.name;
        let plain = |method: &str| {
            let ours = format!("/{name}/{method}");
            path == ours || percent_decode_str(path).eq(ours.bytes())
        };
        plain("Tun") || plain("TunMulti")
    }
}

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tun)
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self::new("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_as_v2ray_and_xray_have_them() {
        for (name, tun, multi) in [
            ("GunService", "/GunService/Tun", "/GunService/TunMulti"),
            ("a b/c", "/a%20b%2Fc/Tun", "/a%20b%2Fc/TunMulti"),
            ("/my/sub/Stream", "/my/sub/Stream", "/my/sub/Stream"),
            ("/my/sub/A|B", "/my/sub/A", "/my/sub/B"),
            ("/my/sub/A|B|C", "/my/sub/A", "/my/sub/B"),
            ("", "//Tun", "//TunMulti"),
            ("/grpc", "//grpc", "//grpc"),
            ("/", "//", "//"),
            ("/a//b", "/a//b", "/a//b"),
        ] {
            let paths = Paths::new(name);
            assert_eq!((&*paths.tun, &*paths.tun_multi), (tun, multi));
            assert!(paths.has(tun) && paths.has(multi));
        }
        let paths = Paths::new("a b/c");
        assert!(paths.has("/a%20b/c/Tun") && !paths.has("/a/Tun") && !paths.has("/"));
        // As V2Ray's client asks for it.
        assert!(Paths::new("/x").has("//x/Tun"));
    }
}
