//! How many files the process may have open; every connection is one, and a tunnel is two.

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

static LIMIT: OnceLock<usize> = OnceLock::new();

/// What became of the limit at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    pub from: u64,
    pub to: u64,
}

/// Raises the soft limit to the hard one: the soft one is kept low for programs that use `select`.
pub fn raise() -> io::Result<Raised> {
    let (from, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if from < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(Raised { from, to: hard })
}

/// The limit as it is when it is first asked for.
pub fn limit() -> usize {
    *LIMIT.get_or_init(|| {
        let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        usize::try_from(soft).unwrap_or(usize::MAX)
    })
}

/// Files that are kept free for tunnels that are being opened: their targets, names to be resolved, datagrams.
pub(super) fn reserve(limit: usize) -> usize {
    (limit / 16).clamp(4, 1024)
}

/// Whether the limit is near when a new file has this number: the system gives out the lowest that is free.
pub(super) fn is_near(new: RawFd) -> bool {
    let limit = limit();
    usize::try_from(new).is_ok_and(|new| new >= limit.saturating_sub(reserve(limit)))
}

/// Whether an error says that no more files can be opened, by this process or by all of the machine.
pub fn are_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_sixteenth_within_bounds() {
        assert_eq!(reserve(32), 4);
        assert_eq!(reserve(1024), 64);
        assert_eq!(reserve(usize::MAX), 1024);
    }

    #[test]
    fn a_file_with_a_small_number_is_far_from_the_limit() {
        assert!(!is_near(0));
        let most = RawFd::try_from(limit()).unwrap_or(RawFd::MAX);
        assert!(is_near(most) || most == RawFd::MAX);
    }

    #[test]
    fn only_a_want_of_files_is_one() {
        for (number, is) in [
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::EINTR, false),
        ] {
            assert_eq!(are_exhausted(&io::Error::from_raw_os_error(number)), is);
        }
        assert!(!are_exhausted(&io::Error::other("too many open files")));
    }
}
