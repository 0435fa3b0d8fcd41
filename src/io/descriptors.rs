//! How many descriptors (sockets, files) this process may have open at a time.

use nix::sys::resource::{Resource, getrlimit};

/// What most systems give where nothing else is said.
const USUAL: usize = 1024;

/// The limit as it is now (`ulimit -n`).
pub fn limit() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    limit.map_or(USUAL, |(soft, _)| {
        usize::try_from(soft).unwrap_or(usize::MAX)
    })
}
