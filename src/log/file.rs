//! A log file that survives its rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a line makes us look whether the path still names our file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            looked: Instant::now(),
        })
    }

    pub(super) fn write(&mut self, line: &[u8]) {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            if self.was_rotated() {
                self.reopen();
            }
        }
        let _ = self.file.write_all(line);
    }

    /// Opens the path anew; the old file stays in use where that fails.
    pub(super) fn reopen(&mut self) {
        if let Ok(file) = open(&self.path) {
            self.file = file;
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

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_file_is_left_to_whoever_moved_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (
            dir.path().join("access.log"),
            dir.path().join("access.log.1"),
        );
        let mut log = LogFile::open(&path).unwrap();
        log.write(b"one\n");
        std::fs::rename(&path, &old).unwrap();
        log.looked -= LOOK_EVERY;
        log.write(b"two\n");
        assert_eq!(std::fs::read(&old).unwrap(), b"one\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
    }

    #[test]
    fn reopening_does_not_wait_for_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("error.log");
        let mut log = LogFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        log.reopen();
        log.write(b"here\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"here\n");
    }
}
