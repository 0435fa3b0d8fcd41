//! What a service manager is told: that the service is ready, reads its config again, ends, and is alive.
//!
//! sd_notify(3): a datagram of `NAME=value` lines to the unix socket that `NOTIFY_SOCKET` names, by a path or, behind an
//! `@`, in the abstract namespace. Without the variable nobody is told.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tracing::warn;

/// The service does what its config says.
pub(super) fn ready() {
    tell("READY=1\nSTATUS=");
}

/// The config is about to be read again; [`ready`] follows.
pub(super) fn reloading() {
    tell(&match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(now) => {
            let usec = i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1_000;
            format!("RELOADING=1\nMONOTONIC_USEC={usec}")
        }
        Err(_) => "RELOADING=1".to_owned(),
    });
}

/// The config was not taken over, and the service does what it did.
pub(super) fn not_reloaded() {
    tell("READY=1\nSTATUS=the config was not taken over, the log says why");
}

pub(super) fn stopping() {
    tell("STOPPING=1");
}

/// Another process is the service from here on.
pub(super) fn succeeded_by(pid: u32) {
    tell(&format!("MAINPID={pid}"));
}

/// Says that we are alive as often as the manager wants to hear it (`WATCHDOG_USEC`), from the threads that carry the
/// tunnels: it is to notice when these stand still.
pub(super) async fn keep_alive() {
    let Some(every) = watchdog(|name| env::var(name).ok(), std::process::id()) else {
        return;
    };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell("WATCHDOG=1");
    }
}

/// Half of the time after which the manager would end us. `WATCHDOG_PID` is whom it means; without it that is everybody.
fn watchdog(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let limit: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    let is_meant = variable("WATCHDOG_PID").is_none_or(|meant| meant == pid.to_string());
    let half = Duration::from_micros(limit / 2);
    Some(half).filter(|half| is_meant && !half.is_zero())
}

fn tell(lines: &str) {
    let Some(to) = env::var_os("NOTIFY_SOCKET").filter(|to| !to.is_empty()) else {
        return;
    };
    if let Err(e) = send(to.as_bytes(), lines) {
        warn!("the service manager at NOTIFY_SOCKET cannot be told: {e}");
    }
}

fn send(to: &[u8], lines: &str) -> io::Result<()> {
    let addr = match to.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(to))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold us up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(lines.as_bytes(), &addr).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_bites() {
        let with = |usec: Option<&str>, pid: Option<&str>| {
            let variable = |name: &str| match name {
                "WATCHDOG_USEC" => usec.map(str::to_owned),
                _ => pid.map(str::to_owned),
            };
            watchdog(variable, 42)
        };
        let ten = Some(Duration::from_secs(10));
        assert_eq!(with(Some("20000000"), None), ten);
        assert_eq!(with(Some("20000000"), Some("42")), ten);
        assert_eq!(with(Some("20000000"), Some("43")), None);
        assert_eq!(with(Some("0"), None), None);
        assert_eq!(with(Some("often"), None), None);
        assert_eq!(with(None, Some("42")), None);
    }

    #[test]
    fn a_manager_is_told_by_a_path_and_by_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("mobula-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let at = |name: String, socket: UnixDatagram| (name.into_bytes(), socket);
        for (to, socket) in [
            at(
                path.display().to_string(),
                UnixDatagram::bind(&path).unwrap(),
            ),
            at(
                format!("@{name}"),
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
            ),
        ] {
            send(&to, "READY=1").unwrap();
            let mut heard = [0; 64];
            let len = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..len], b"READY=1");
        }
        assert!(send(b"/nowhere", "READY=1").is_err());
    }
}
