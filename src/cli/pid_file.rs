//! `-pidfile`: where the id of the process that serves stands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

/// Removed at the end, unless another process has written its own id there.
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// A file that is there is replaced as a whole, so that nobody reads half a number.
    pub(super) fn write(path: &Path) -> io::Result<Self> {
        let id = process::id();
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{id}"));
        fs::write(&new, format!("{id}\n"))?;
        fs::rename(&new, path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let there = fs::read_to_string(&self.0);
        if there.is_ok_and(|id| id.trim() == process::id().to_string()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_gone_with_its_process_unless_another_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mobula.pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", process::id())
        );
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
        assert!(PidFile::write(&dir.path().join("no/folder")).is_err());
    }
}
