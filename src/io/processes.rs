//! Whose socket is whose, as `/proc` has it.
//!
//! ```text
//! /proc/net/tcp   sl  local_address rem_address   st …                    inode
//!                 0: 0100007F:1F90 00000000:0000 0A …                    12345
//! /proc/PID/fd/7  -> socket:[12345]
//! /proc/PID/exe   -> /usr/bin/curl
//! ```

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::address::Network;
use crate::session::Process;

/// A socket of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub local: SocketAddr,
    /// Others can reach it: no peer was connected to, or is.
    pub listens: bool,
    pub inode: u64,
}

/// Who has the socket at the other end, for one that comes from `source`. None for another machine's, and for the sockets
/// of users whose files must not be looked at.
pub fn behind(network: Network, source: SocketAddr) -> Option<Process> {
    let ip = source.ip().to_canonical();
    if !is_here(ip) {
        return None;
    }
    let inode = find(network, |row| {
        let local = row.local.ip().to_canonical();
        // Datagrams are sent from sockets that say nothing of where.
        let from_anywhere = network == Network::Udp && local.is_unspecified();
        let listens = network == Network::Tcp && row.listens;
        // One that is closed has no inode.
        let is_open = row.inode != 0 && !listens;
        is_open && row.local.port() == source.port() && (local == ip || from_anywhere)
    });
    owner(inode?)
}

/// The inode of the first socket that is looked for.
pub fn find(network: Network, is: impl Fn(&Row) -> bool) -> Option<u64> {
    let tables = match network {
        Network::Tcp => ["tcp", "tcp6"],
        Network::Udp => ["udp", "udp6"],
    };
    tables.iter().find_map(|table| {
        let text = fs::read_to_string(format!("/proc/net/{table}")).ok()?;
        let mut rows = text.lines().skip(1).filter_map(|line| row(line, network));
        rows.find(|found| is(found)).map(|found| found.inode)
    })
}

/// The process that has a socket; that of another user cannot be seen.
pub fn owner(inode: u64) -> Option<Process> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find_map(|id| {
        let files = fs::read_dir(format!("/proc/{id}/fd")).ok()?;
        let has = files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str())
        });
        has.then(|| Process {
            id,
            path: program(id),
        })
    })
}

/// The file of a program, also when another has taken its place since.
fn program(id: u32) -> String {
    let link = fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
    let path = link.to_string_lossy();
    path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
}

/// Whether an address is one of this machine: only those can be listened on.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

fn row(line: &str, network: Network) -> Option<Row> {
    let mut columns = line.split_whitespace().skip(1);
    let local = address(columns.next()?)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    let listens = match network {
        Network::Tcp => state == "0A",
        // Of those that are connected each has one peer.
        Network::Udp => state == "07",
    };
    Some(Row {
        local,
        listens,
        inode,
    })
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

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
    fn the_process_at_the_other_end_is_found_on_this_machine_alone() {
        let own = std::env::current_exe().unwrap();
        let is_own = |found: Option<Process>| {
            let found = found.expect("it is this process");
            assert_eq!(found.id, std::process::id());
            assert_eq!(found.path, own.to_str().unwrap());
            assert_eq!(found.name(), own.file_name().unwrap().to_str().unwrap());
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        // One who listens is no visitor.
        assert_eq!(behind(Network::Tcp, at), None);
        let client = TcpStream::connect(at).unwrap();
        let source = client.local_addr().unwrap();
        is_own(behind(Network::Tcp, source));
        assert_eq!(behind(Network::Udp, source), None);
        let elsewhere = SocketAddr::new([192, 0, 2, 1].into(), source.port());
        assert_eq!(behind(Network::Tcp, elsewhere), None);
        // IPv4 by a socket of IPv6, and datagrams from a socket without an address.
        if let Ok(listener) = TcpListener::bind("[::]:0") {
            let at = SocketAddr::new([127, 0, 0, 1].into(), listener.local_addr().unwrap().port());
            let client = TcpStream::connect(("::ffff:127.0.0.1", at.port())).unwrap();
            let source = client.local_addr().unwrap();
            let source = SocketAddr::new(source.ip().to_canonical(), source.port());
            is_own(behind(Network::Tcp, source));
        }
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        is_own(behind(
            Network::Udp,
            SocketAddr::new([127, 0, 0, 1].into(), port),
        ));
    }
}
