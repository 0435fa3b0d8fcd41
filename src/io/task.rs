//! Tasks.

use std::future::Future;
use std::pin::Pin;

use tokio::task::JoinHandle;
use tracing::Instrument;

/// Spawns a task that goes on with what its starter does: its log lines name the same session and connection. It belongs
/// to the runtime that it is started in, and ends with that.
///
/// It is boxed, for tokio's part of a task is compiled anew for each type of future.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let future: Pin<Box<dyn Future<Output = F::Output> + Send>> = Box::pin(future);
    #[expect(
        clippy::disallowed_methods,
        reason = "this is what stands in its place"
    )]
    tokio::spawn(future.in_current_span())
}
