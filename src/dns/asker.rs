//! For whom a task resolves names.
//!
//! Names are resolved deep inside of dialling, but only the code that began the session knows whose it is. So
//! the owner is a property of the task, like a span of a log. What runs in a task of its own, such as the
//! shared connection to a DNS server, asks for the process.

use std::future::Future;

use crate::session::Owner;

tokio::task_local! {
    static ASKER: Owner;
    static ON_ITS_WAY: ();
}

/// Runs `work`; the names in it are resolved for `owner`.
pub fn asking<F: Future>(owner: Owner, work: F) -> impl Future<Output = F::Output> {
    ASKER.scope(owner, work)
}

/// For whom this task resolves names.
pub fn asker() -> Owner {
    ASKER.try_with(Owner::clone).unwrap_or(Owner::Process)
}

/// Runs `work`, which opens a way to a DNS server: names in it cannot be asked of the built-in DNS.
pub fn on_its_way<F: Future>(work: F) -> impl Future<Output = F::Output> {
    ON_ITS_WAY.scope((), work)
}

/// Whether this task opens a way to a DNS server.
pub fn is_on_its_way() -> bool {
    ON_ITS_WAY.try_with(|()| ()).is_ok()
}
