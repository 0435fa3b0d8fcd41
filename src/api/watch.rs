//! Answers that go on until the client has enough.

use bytes::Bytes;
use prost::Message;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use super::raw::written;

pub(super) type Answers = ReceiverStream<Result<Bytes, Status>>;

/// Answers on their way to one client.
pub(super) const QUEUED: usize = 16;

/// Every event from here on as a message. A client that does not keep up misses some.
pub(super) fn answers<E, M>(
    mut events: broadcast::Receiver<E>,
    message: impl Fn(E) -> M + Send + 'static,
) -> Answers
where
    E: Clone + Send + 'static,
    M: Message,
{
    let (client, stream) = mpsc::channel(QUEUED);
    crate::io::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = client.closed() => return,
            };
            match event {
                Ok(event) => {
                    if client.send(Ok(written(&message(event)))).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    ReceiverStream::new(stream)
}
