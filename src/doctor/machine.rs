//! Who listens where on this machine.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use crate::address::Network;
use crate::io::processes;

/// Who has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// Of another user's process neither is known.
    pub(super) process: Option<Process>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
}

/// Whether a place can be had.
#[derive(Debug)]
pub(super) enum Place {
    Free,
    Held(Holder),
    /// The system says no.
    Refused(io::Error),
}

/// Looks who listens at `at`, and else whether it can be listened on.
pub(super) fn look(network: Network, at: SocketAddr) -> Place {
    let in_the_way = |row: &processes::Row| row.listens && is_in_the_way(row.local, at);
    if let Some(inode) = processes::find(network, in_the_way) {
        return Place::Held(Holder {
            process: owner(inode),
        });
    }
    let bound = match network {
        Network::Tcp => TcpListener::bind(at).map(drop),
        Network::Udp => UdpSocket::bind(at).map(drop),
    };
    match bound {
        Ok(()) => Place::Free,
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Place::Held(Holder { process: None }),
        Err(e) => Place::Refused(e),
    }
}

impl Process {
    /// Whether it is a program of our own name.
    pub(super) fn is_ours(&self) -> bool {
        let own = std::env::current_exe().ok();
        let own = own
            .as_deref()
            .and_then(Path::file_name)
            .map(|name| name.to_owned());
        let exe = fs::read_link(format!("/proc/{}/exe", self.pid)).ok();
        let exe = exe
            .as_deref()
            .and_then(Path::file_name)
            .map(|name| name.to_owned());
        let is_same = own.is_some() && own == exe;
        is_same || self.name == "mobula"
    }

    /// How many files it may have open.
    pub(super) fn open_files(&self) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.pid)).ok()?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Who listens at a path.
pub(super) fn listener_at(path: &Path) -> Holder {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = path.to_string_lossy();
    let inode = text.lines().skip(1).find_map(|line| {
        // `Num: RefCount Protocol Flags Type St Inode Path`; this flag is that of listeners.
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "00010000", _, _, inode, at] = columns[..] else {
            return None;
        };
        (at == path).then(|| inode.parse().ok())?
    });
    Holder {
        process: inode.and_then(owner),
    }
}

/// An address is in the way of itself, and all addresses are in that of each.
fn is_in_the_way(one: SocketAddr, other: SocketAddr) -> bool {
    if one.port() != other.port() {
        return false;
    }
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let all = |ip: IpAddr| ip.is_unspecified();
    // `::` takes IPv4 as well, `0.0.0.0` no IPv6.
    let takes = |wide: IpAddr, narrow: IpAddr| all(wide) && (wide.is_ipv6() || narrow.is_ipv4());
    a == b || takes(a, b) || takes(b, a)
}

/// The process that has a socket; that of another user cannot be seen.
fn owner(inode: u64) -> Option<Process> {
    let pid = processes::owner(inode)?.id;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Process {
        pid,
        name: name.trim().escape_debug().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_found_and_by_which_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let Place::Held(Holder {
            process: Some(process),
        }) = look(Network::Tcp, at)
        else {
            panic!("it is held");
        };
        assert_eq!(process.pid, std::process::id());
        assert!(process.is_ours());
        assert!(process.open_files().is_some_and(|files| files > 0));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = look(Network::Udp, udp.local_addr().unwrap());
        assert!(
            matches!(held, Place::Held(Holder { process: Some(_) })),
            "{held:?}"
        );
        let nowhere = look(Network::Tcp, "192.0.2.1:80".parse().unwrap());
        assert!(matches!(nowhere, Place::Refused(_)), "{nowhere:?}");
    }

    #[test]
    fn all_addresses_are_in_the_way_of_each() {
        for (one, other, is) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
        ] {
            let [a, b] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(is_in_the_way(a, b), is, "{one} {other}");
        }
    }
}
