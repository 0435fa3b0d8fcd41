//! Which names the hosts file of the system answers for, so that the resolver, asked for one of them, is known
//! to answer at once.
//!
//! ```text
//! # /etc/hosts: an address and its names      # /etc/nsswitch.conf: who is asked, in this order
//! 192.0.2.1  nas.lan nas                      hosts: files mdns4_minimal [NOTFOUND=return] dns
//! ```
//! The answer itself is the resolver's: it knows about the order of addresses.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Lists of advertisers have some megabytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

pub(super) struct HostsFile {
    hosts: PathBuf,
    order: PathBuf,
    known: Mutex<Known>,
}

/// What the files said when they were last read.
#[derive(Default)]
struct Known {
    /// By hash: one in 2⁶⁴ strangers that is taken for one of them does no harm.
    names: HashSet<u64>,
    hasher: RandomState,
    stamps: Option<[Stamp; 2]>,
}

/// Tells one state of a file from the next; `None` is one that is not there.
pub(super) type Stamp = Option<(u64, u64, i64, i64)>;

impl HostsFile {
    pub(super) fn new(hosts: &str, order: &str) -> Self {
        Self {
            hosts: hosts.into(),
            order: order.into(),
            known: Mutex::default(),
        }
    }

    /// Whether the resolver finds `name` in the file before it asks anybody far away.
    pub(super) fn has(&self, name: &str) -> bool {
        let stamps = [stamp(&self.hosts), stamp(&self.order)];
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamps != Some(stamps) {
            let names = if is_first(&read(&self.order)) {
                read(&self.hosts)
            } else {
                String::new()
            };
            let hasher = &known.hasher;
            known.names = names
                .lines()
                .flat_map(names_of)
                .map(|name| hasher.hash_one(name.to_ascii_lowercase()))
                .collect();
            known.stamps = Some(stamps);
        }
        let hash = known.hasher.hash_one(name.to_ascii_lowercase());
        known.names.contains(&hash)
    }
}

pub(super) fn stamp(path: &Path) -> Stamp {
    let now = fs::metadata(path).ok()?;
    Some((now.ino(), now.len(), now.mtime(), now.mtime_nsec()))
}

pub(super) fn read(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(file) if file.is_file() && file.len() <= MAX_BYTES => {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => String::new(),
    }
}

/// What is to be said of a file that is too big to be read, and counts as empty.
pub(super) fn too_big(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    (file.is_file() && file.len() > MAX_BYTES).then(|| {
        format!(
            "{} has {} bytes and is passed over, expected at most {MAX_BYTES}: a list of names to block belongs to `routing`",
            path.display(),
            file.len()
        )
    })
}

/// The names in a line of the hosts file.
fn names_of(line: &str) -> impl Iterator<Item = &str> {
    entry(line).into_iter().flat_map(|(_, names)| names)
}

/// The address of a line of the hosts file, and its names.
pub(super) fn entry(line: &str) -> Option<(IpAddr, impl Iterator<Item = &str>)> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    // A scope behind the address is no part of it.
    let address = words.next().and_then(|word| word.split('%').next());
    Some((address?.parse().ok()?, words))
}

/// Whether all that is asked before the hosts file is on this machine and reads that file, too.
fn is_first(nsswitch: &str) -> bool {
    let mut lines = nsswitch.lines().map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.trim_start()
    });
    let Some(services) = lines.find_map(|line| line.strip_prefix("hosts:")) else {
        // What the C library does by itself: files, then dns.
        return true;
    };
    let mut services = services.split_ascii_whitespace().skip_while(|service| {
        matches!(*service, "mymachines" | "myhostname" | "resolve" | "db") || is_action(service)
    });
    services.next() == Some("files")
}

/// `[!UNAVAIL=return]`, which is about the answer of the service before it.
fn is_action(word: &str) -> bool {
    word.starts_with('[') || word.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_where_the_line_has_an_address() {
        let names = |line| names_of(line).collect::<Vec<_>>();
        assert_eq!(
            names("192.0.2.1\tnas.lan nas # the box"),
            ["nas.lan", "nas"]
        );
        assert_eq!(names("fe80::1%eth0 printer"), ["printer"]);
        for line in [
            "",
            "# 192.0.2.1 nas",
            "192.0.2 nas",
            "nas 192.0.2.1",
            "192.0.2.1",
        ] {
            assert!(names(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn the_file_counts_where_nobody_far_away_is_asked_before_it() {
        for order in [
            "",
            "passwd: files\n",
            "hosts: files dns",
            "# hosts: dns files\nhosts:\t\tfiles mdns4_minimal [NOTFOUND=return] dns",
            "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns",
        ] {
            assert!(is_first(order), "{order}");
        }
        for order in [
            "hosts: dns files",
            "hosts: mdns4 files",
            "hosts: dns",
            "hosts:",
        ] {
            assert!(!is_first(order), "{order}");
        }
    }

    #[test]
    fn a_change_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [hosts, order] = ["hosts", "order"].map(|name| dir.path().join(name));
        let file = HostsFile::new(hosts.to_str().unwrap(), order.to_str().unwrap());
        assert!(!file.has("nas"));
        fs::write(&hosts, "192.0.2.1 NAS\n").unwrap();
        assert!(file.has("nas") && file.has("Nas") && !file.has("nas.lan"));
        fs::write(&hosts, "192.0.2.1 nas.lan\n").unwrap();
        assert!(!file.has("nas") && file.has("nas.lan"));
        fs::write(&order, "hosts: dns files\n").unwrap();
        assert!(!file.has("nas.lan"));
        fs::remove_file(&order).unwrap();
        assert!(file.has("nas.lan"));
    }
}
