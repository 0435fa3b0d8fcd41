//! Files below a folder, and no others: whatever links lead out of it, they are not followed.

use std::fs::{self, Metadata};
use std::future::Future;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::spawn_blocking;
use tower_http::services::fs::{Backend, File};

/// The files that may be served.
#[derive(Clone, Debug)]
pub(super) struct Beneath(Arc<Path>);

/// One of them.
pub(super) struct Opened(tokio::fs::File);

type Later<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

impl Beneath {
    pub(super) fn new(root: &Path) -> Self {
        Self(root.into())
    }

    /// Where a path leads when all links are followed. The folder is one that may be replaced while we run.
    fn find(&self, path: &Path) -> io::Result<(PathBuf, Metadata)> {
        let root = fs::canonicalize(&self.0)?;
        let real = fs::canonicalize(path)?;
        let metadata = fs::metadata(&real)?;
        let is_served = metadata.is_file() || metadata.is_dir();
        match real.starts_with(root) && is_served {
            true => Ok((real, metadata)),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open_now(&self, path: &Path) -> io::Result<Opened> {
        let (real, _) = self.find(path)?;
        // What was a file a moment ago may be a pipe that nobody writes to.
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK)
            .open(real)?;
        match opened.metadata()?.is_file() {
            true => Ok(Opened(opened.into())),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Backend for Beneath {
    type File = Opened;
    type Metadata = Metadata;
    type OpenFuture = Later<'static, Opened>;
    type MetadataFuture = Later<'static, Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let beneath = self.clone();
        Box::pin(blocking(move || beneath.open_now(&path)))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let beneath = self.clone();
        Box::pin(blocking(move || {
            beneath.find(&path).map(|(_, metadata)| metadata)
        }))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl File for Opened {
    type Metadata = Metadata;
    type MetadataFuture<'a> = Later<'a, Metadata>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        Box::pin(self.0.metadata())
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, to: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(to)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(cx)
    }
}
