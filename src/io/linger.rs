//! The polite end of a connection that will not become a tunnel.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Link;

/// Ends a link in order. A socket that is dropped with unread bytes is reset, and the reset may
/// overtake the answer that was sent; so what the peer still says is read, within bounds.
pub async fn linger(mut link: Link) {
    const LIMIT: Duration = Duration::from_secs(1);
    const MAX: usize = 64 * 1024;
    let _ = tokio::time::timeout(LIMIT, async {
        link.shutdown().await?;
        let mut rest = [0; 512];
        let mut left = MAX;
        loop {
            match link.read(&mut rest).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
            if left == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    })
    .await;
}
