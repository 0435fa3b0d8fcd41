//! Who listens where on this machine, as `/proc` has it.
//!
//! ```text
//! /proc/net/tcp   sl  local_address rem_address   st …                    inode
//!                 0: 0100007F:1F90 00000000:0000 0A …                    12345
//! /proc/PID/fd/7  -> socket:[12345]
//! ```

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

/// What is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
}

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
pub(super) fn look(kind: Kind, at: SocketAddr) -> Place {
    if let Some(inode) = socket_at(kind, at) {
        return Place::Held(Holder {
            process: owner(inode),
        });
    }
    let bound = match kind {
        Kind::Tcp => TcpListener::bind(at).map(drop),
        Kind::Udp => UdpSocket::bind(at).map(drop),
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

/// The inode of a socket that is in the way of one at `at`.
fn socket_at(kind: Kind, at: SocketAddr) -> Option<u64> {
    let tables = match kind {
        Kind::Tcp => ["tcp", "tcp6"],
        Kind::Udp => ["udp", "udp6"],
    };
    tables.iter().find_map(|table| {
        let text = fs::read_to_string(format!("/proc/net/{table}")).ok()?;
        text.lines().skip(1).find_map(|line| {
            let (local, inode) = row(line, kind)?;
            is_in_the_way(local, at).then_some(inode)
        })
    })
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

/// The local address and the inode of a row, if it is one of a listener.
fn row(line: &str, kind: Kind) -> Option<(SocketAddr, u64)> {
    let mut columns = line.split_whitespace().skip(1);
    let local = address(columns.next()?)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    let listens = match kind {
        Kind::Tcp => state == "0A",
        // Of those that are connected each has one peer.
        Kind::Udp => state == "07",
    };
    listens.then_some((local, inode))
}

/// `0100007F:1F90`: words of four bytes, each in the machine's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..ip.len() / 8).map(|n| {
        let word = u32::from_str_radix(ip.get(n * 8..n * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match (
        <[u8; 4]>::try_from(&bytes[..]),
        <[u8; 16]>::try_from(&bytes[..]),
    ) {
        (Ok(four), _) => IpAddr::V4(Ipv4Addr::from(four)),
        (_, Ok(sixteen)) => IpAddr::V6(Ipv6Addr::from(sixteen)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
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
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find_map(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let has = files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str())
        });
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        has.then(|| Process {
            pid,
            name: name.trim().escape_debug().to_string(),
        })
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
        }) = look(Kind::Tcp, at)
        else {
            panic!("it is held");
        };
        assert_eq!(process.pid, std::process::id());
        assert!(process.is_ours());
        assert!(process.open_files().is_some_and(|files| files > 0));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = look(Kind::Udp, udp.local_addr().unwrap());
        assert!(
            matches!(held, Place::Held(Holder { process: Some(_) })),
            "{held:?}"
        );
        let nowhere = look(Kind::Tcp, "192.0.2.1:80".parse().unwrap());
        assert!(matches!(nowhere, Place::Refused(_)), "{nowhere:?}");
    }

    #[test]
    fn addresses_are_words_in_the_machines_order() {
        if cfg!(target_endian = "little") {
            let at = |text| address(text).unwrap().to_string();
            assert_eq!(at("0100007F:1F90"), "127.0.0.1:8080");
            assert_eq!(at("00000000000000000000000001000000:0050"), "[::1]:80");
        }
        for text in ["", ":", "0100007F", "01:80", "0100007F:10000"] {
            assert_eq!(address(text), None, "{text}");
        }
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
