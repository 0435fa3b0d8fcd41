//! For whom a task resolves names.
//!
//! The question comes up deep inside of dialling, while only whoever began a session knows whose it is. So
//! the owner belongs to the task, as a span of a log does; what runs in a task of its own, such as the
//! connection to a DNS server that all share, asks for the process.

use std::future::Future;

use crate::session::Owner;

tokio::task_local! {
    static ASKER: Owner;
}

/// `work`, whose names are resolved for `owner`.
pub fn asking<F: Future>(owner: Owner, work: F) -> impl Future<Output = F::Output> {
    ASKER.scope(owner, work)
}

/// For whom this task resolves names.
pub fn asker() -> Owner {
    ASKER.try_with(Owner::clone).unwrap_or(Owner::Process)
}
