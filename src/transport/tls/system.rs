//! The system's authorities, read once for all outbounds by a thread of its own: their files may hang as any others.

use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;

type Authorities = Arc<Vec<CertificateDer<'static>>>;

/// How long a handshake waits for them.
const LIMIT: Duration = Duration::from_secs(3);

static READ: LazyLock<watch::Receiver<Option<Authorities>>> = LazyLock::new(|| {
    let (done, read) = watch::channel(None);
    // Without a thread the channel is closed, and nobody waits for it.
    let _ = thread::Builder::new()
        .name("authorities".to_owned())
        .spawn(move || {
            let found = rustls_native_certs::load_native_certs().certs;
            done.send_replace(Some(Arc::new(found)));
        });
    read
});

/// Waits until they are read, but not for ever.
pub(super) async fn wait() {
    let mut read = READ.clone();
    let _ = timeout(LIMIT, read.wait_for(Option::is_some)).await;
}

/// `None` as long as they are not read.
pub(super) fn authorities() -> Option<Authorities> {
    READ.borrow().clone()
}
