//! `geoip.dat` and `geosite.dat`: networks and names by category.
//!
//! A file is searched where V2Ray searches it, and read once for a config. Its bytes are dropped with this value: only
//! the sets made of it stay in memory.

pub mod codec;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::LazyLock;
use std::{env, fs, io};

use ipnet::IpNet;
use thiserror::Error;

use super::{Ips, Pattern, parse_network};
use crate::report::did_you_mean;
use codec::{Category, Malformed};

/// The files of one config.
#[derive(Default)]
pub struct Geodata {
    folders: Vec<PathBuf>,
    files: RefCell<HashMap<String, Rc<File>>>,
}

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Why a category cannot be read.
#[derive(Debug, Error)]
pub enum GeoError {
    #[error("there is no `{file}` in {}, `V2RAY_LOCATION_ASSET` may name another folder", .folders.join(", "))]
    NoFile { file: String, folders: Vec<String> },
    #[error("{path}: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{path}: {Malformed}")]
    Malformed { path: String },
    #[error("{path} has no category `{category}`{guess}")]
    NoCategory {
        path: String,
        category: String,
        guess: String,
    },
}

impl Geodata {
    /// Looks in `folders`, in their order.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            files: RefCell::default(),
        }
    }

    /// The networks of a category. If there is no `geoip.dat`, its `private` is built in.
    ///
    /// # Errors
    ///
    /// When there is no such file, or no such category in it.
    pub fn networks(&self, file: &str, category: &str) -> Result<Vec<IpNet>, GeoError> {
        let found = self.category(file, category, |c| c.networks());
        match found {
            Err(GeoError::NoFile { .. }) if is_private(file, category) => Ok(private()),
            other => other,
        }
    }

    /// Whether there is such a category.
    pub fn has(&self, file: &str, category: &str) -> bool {
        is_private(file, category) || self.category(file, category, |_| Ok(())).is_ok()
    }

    /// The patterns of a category that have all of `marks` (`@ads`).
    ///
    /// # Errors
    ///
    /// As those of [`Geodata::networks`].
    pub fn patterns(
        &self,
        file: &str,
        category: &str,
        marks: &[&str],
    ) -> Result<Vec<Pattern>, GeoError> {
        self.category(file, category, |c| c.patterns(marks))
    }

    fn category<T>(
        &self,
        file: &str,
        category: &str,
        read: impl FnOnce(Category) -> Result<T, Malformed>,
    ) -> Result<T, GeoError> {
        let file = self.file(file)?;
        let path = file.path.display().to_string();
        let found = find(&file.bytes, category).and_then(|found| found.map(read).transpose());
        match found {
            Ok(Some(value)) => Ok(value),
            Ok(None) => {
                let known = codec::categories(&file.bytes).filter_map(|c| c.ok().map(|c| c.name));
                Err(GeoError::NoCategory {
                    path,
                    category: category.to_owned(),
                    guess: did_you_mean(category, known).to_lowercase(),
                })
            }
            Err(Malformed) => Err(GeoError::Malformed { path }),
        }
    }

    fn file(&self, name: &str) -> Result<Rc<File>, GeoError> {
        if let Some(file) = self.files.borrow().get(name) {
            return Ok(file.clone());
        }
        // An absolute name takes the place of the folder.
        let mut places = self.folders.iter().map(|folder| folder.join(name));
        let path = places
            .find(|path| path.is_file())
            .ok_or_else(|| GeoError::NoFile {
                file: name.to_owned(),
                folders: self.folders.iter().map(|f| shown(f)).collect(),
            })?;
        let bytes = fs::read(&path).map_err(|source| GeoError::Unreadable {
            path: shown(&path),
            source,
        })?;
        let file = Rc::new(File { path, bytes });
        let mut files = self.files.borrow_mut();
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn find<'f>(file: &'f [u8], category: &str) -> Result<Option<Category<'f>>, Malformed> {
    for found in codec::categories(file) {
        let found = found?;
        if found.name.eq_ignore_ascii_case(category) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Where V2Ray and Xray look: the folder that the environment names, else the program's own; then the folders
/// that packages use, and the user's.
pub fn folders() -> Vec<PathBuf> {
    let named = [
        "V2RAY_LOCATION_ASSET",
        "v2ray.location.asset",
        "XRAY_LOCATION_ASSET",
        "xray.location.asset",
    ];
    let named = named.iter().find_map(env::var_os).map(PathBuf::from);
    let mut folders = named.map_or_else(beside_program, |folder| vec![folder]);
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/share"));
    folders.extend(data.or_else(home).map(|data| data.join("v2ray")));
    for name in ["v2ray", "xray"] {
        for share in ["/usr/local/share", "/usr/share", "/opt/share"] {
            folders.push(Path::new(share).join(name));
        }
    }
    folders
}

/// The folder of the program, in front of it that of a link by which it was called: panels put their files there.
fn beside_program() -> Vec<PathBuf> {
    let called = env::args_os().next().map(PathBuf::from);
    let called = called.filter(|path| path.is_file());
    let programs = called.into_iter().chain(env::current_exe());
    let mut folders: Vec<PathBuf> = programs
        .filter_map(|path| Some(path.parent()?.to_owned()))
        .collect();
    folders.dedup();
    folders
}

fn is_private(file: &str, category: &str) -> bool {
    file == "geoip.dat" && category.eq_ignore_ascii_case("private")
}

/// The addresses that Xray calls private.
pub static PRIVATE: LazyLock<Ips> = LazyLock::new(|| {
    let six = ["::/127", "ff00::/8"].map(parse_network);
    let all = private().into_iter();
    all.chain(six.into_iter().flatten()).collect()
});

/// What the category `private` of V2Ray's `geoip.dat` holds: a server that keeps its users out of its
/// own network should not need the file for it.
pub fn private() -> Vec<IpNet> {
    const PRIVATE: [&str; 17] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    ];
    let networks = PRIVATE.iter().map(|text| parse_network(text));
    networks.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_places_searched() {
        let folder = tempfile::tempdir().unwrap();
        let geodata = Geodata::new(vec!["/nowhere".into(), folder.path().into()]);
        let error = geodata.networks("geoip.dat", "cn").unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "there is no `geoip.dat` in /nowhere, {}, `V2RAY_LOCATION_ASSET` may name another folder",
                folder.path().display()
            )
        );
        let path = folder.path().join("my.dat");
        fs::write(&path, b"\x0a\x08\x0a\x06GOOGLE").unwrap();
        let path = path.display();
        let error = |category| {
            let found = geodata.patterns("my.dat", category, &[]);
            found.unwrap_err().to_string()
        };
        assert_eq!(
            error("gogle"),
            format!("{path} has no category `gogle`, did you mean `google`?")
        );
        fs::write(folder.path().join("other.dat"), b"<html>").unwrap();
        let error = geodata.patterns("other.dat", "x", &[]).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("other.dat: this is not geodata in V2Ray's format")
        );
    }

    #[test]
    fn private_networks_need_no_file() {
        let geodata = Geodata::new(Vec::new());
        assert_eq!(geodata.networks("geoip.dat", "Private").unwrap().len(), 17);
        assert!(geodata.networks("other.dat", "private").is_err());
    }
}
