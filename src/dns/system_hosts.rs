//! Xray's `useSystemHosts`: the names of the system's hosts file are names of `hosts`.
//!
//! The file is read when it is first asked for and whenever it is another one than before; Xray reads it once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::HostValue;
use super::hosts_file::{self, Stamp, entry, stamp};
use crate::log;

/// Where the system has it.
pub const HOSTS_FILE: &str = "/etc/hosts";

pub(super) struct SystemHosts {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By name in lower case.
    addresses: HashMap<String, Vec<HostValue>>,
    /// The file that these are of, if it was ever looked for.
    stamp: Option<Stamp>,
}

impl SystemHosts {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            known: Mutex::default(),
        }
    }

    /// The addresses of `name`, which is in lower case.
    pub(super) fn values(&self, name: &str) -> Vec<HostValue> {
        let now = stamp(&self.path);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamp != Some(now) {
            known.addresses = self.read();
            known.stamp = Some(now);
        }
        known.addresses.get(name).cloned().unwrap_or_default()
    }

    fn read(&self) -> HashMap<String, Vec<HostValue>> {
        let mut addresses: HashMap<String, Vec<HostValue>> = HashMap::new();
        if let Some(text) = hosts_file::too_big(&self.path) {
            log::repeated_cause("useSystemHosts", &format!("useSystemHosts: {text}"), None);
        }
        let text = hosts_file::read(&self.path);
        for (ip, names) in text.lines().filter_map(entry) {
            for name in names {
                let name = name.strip_suffix('.').unwrap_or(name);
                let values = addresses.entry(name.to_ascii_lowercase()).or_default();
                values.push(HostValue::Ip(ip.to_canonical()));
            }
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_file_as_it_is_now_is_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let hosts = SystemHosts::new(&path);
        let ips = |name| -> Vec<String> {
            let values = hosts.values(name);
            let ips = values.iter().map(|value| match value {
                HostValue::Ip(ip) => ip.to_string(),
                other => panic!("{other:?}"),
            });
            ips.collect()
        };
        assert!(ips("nas").is_empty());
        fs::write(
            &path,
            "192.0.2.1 NAS nas.lan. # box\n2001:db8::1 nas\nnas2 192.0.2.9\n",
        )
        .unwrap();
        assert_eq!(ips("nas"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(ips("nas.lan"), ["192.0.2.1"]);
        assert!(ips("nas2").is_empty() && ips("box").is_empty());
        fs::write(&path, "192.0.2.22 nas\n").unwrap();
        assert_eq!(ips("nas"), ["192.0.2.22"]);
        assert_eq!(hosts_file::too_big(&path), None);
        let size = 16 * 1024 * 1024 + 1;
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        assert!(ips("nas").is_empty());
        let said = hosts_file::too_big(&path).unwrap();
        assert!(
            said.contains("has 16777217 bytes and is passed over"),
            "{said}"
        );
        fs::remove_file(&path).unwrap();
        assert!(ips("nas").is_empty());
    }
}
