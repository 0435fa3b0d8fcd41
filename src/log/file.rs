//! A log file that survives its rotation, and a pipe in its place.
//!
//! What we create is for our user alone (0600), from its first moment; a file that is there already keeps the rights
//! that somebody gave it. All of this runs in a log's own thread, where a mount that hangs stops nobody else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc;

/// How often a line makes us look whether the path still names our file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a pipe that nobody reads, or that is full, is left alone.
const PIPE_PAUSE: Duration = Duration::from_millis(50);

/// Nobody else may read who talks to whom.
const MODE: u32 = 0o600;

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
    /// The last line there is half a line.
    torn: bool,
}

impl LogFile {
    /// Opens `path`. A pipe is waited for until somebody reads it, and `waiting` is called before.
    pub(super) fn open(path: &Path, waiting: impl FnOnce()) -> io::Result<Self> {
        let mut waiting = Some(waiting);
        let file = loop {
            match open(path) {
                Err(e) if is_unread(path, &e) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    sleep(PIPE_PAUSE);
                }
                opened => break opened?,
            }
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            looked: Instant::now(),
            torn: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes whole lines. A log that cannot be written to must not end the service.
    ///
    /// # Errors
    ///
    /// Where the rest of them is lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            if self.was_rotated() {
                self.reopen();
            }
        }
        if self.torn {
            self.write_whole(b"\n")?;
            self.torn = false;
        }
        self.write_whole(lines)
    }

    fn write_whole(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            match self.file.write(lines) {
                Ok(n) => {
                    self.torn = n < lines.len() && !lines[..n].ends_with(b"\n");
                    lines = &lines[n..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A pipe that is full: its reader may come back to it.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => sleep(PIPE_PAUSE),
                // A pipe whose reader has gone: there may be another.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    match Self::open(&self.path, || ()) {
                        Ok(again) => *self = again,
                        Err(e) => return Err(e),
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Opens the path anew; the old file stays in use where that fails.
    pub(super) fn reopen(&mut self) {
        if let Ok(file) = open(&self.path) {
            self.file = file;
            self.torn = false;
        }
    }

    fn was_rotated(&self) -> bool {
        let id = |m: std::fs::Metadata| (m.dev(), m.ino());
        let now = std::fs::metadata(&self.path).map(id);
        let ours = self.file.metadata().map(id);
        match (now, ours) {
            (Ok(now), Ok(ours)) => now != ours,
            _ => true,
        }
    }
}

/// `O_NONBLOCK` means nothing to a file; a pipe that nobody reads is refused instead of waited for.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn is_unread(path: &Path, error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENXIO)
        && std::fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn opened(path: &Path) -> LogFile {
        LogFile::open(path, || panic!("nothing to wait for")).unwrap()
    }

    #[test]
    fn a_moved_file_is_left_to_whoever_moved_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (
            dir.path().join("access.log"),
            dir.path().join("access.log.1"),
        );
        let mut log = opened(&path);
        log.write(b"one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        log.looked -= LOOK_EVERY;
        log.write(b"two\n").unwrap();
        assert_eq!(std::fs::read(&old).unwrap(), b"one\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
    }

    #[test]
    fn reopening_does_not_wait_for_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("error.log");
        let mut log = opened(&path);
        std::fs::remove_file(&path).unwrap();
        log.reopen();
        log.write(b"here\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"here\n");
    }

    #[test]
    fn what_is_created_is_ours_alone_and_what_was_there_keeps_its_rights() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        let path = dir.path().join("new.log");
        let mut log = opened(&path);
        assert_eq!(mode(&path), 0o600);
        std::fs::remove_file(&path).unwrap();
        log.reopen();
        assert_eq!(mode(&path), 0o600);

        let path = dir.path().join("old.log");
        File::create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        opened(&path).write(b"line\n").unwrap();
        assert_eq!(mode(&path), 0o640);
    }
}
