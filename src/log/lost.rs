//! Lines that a log file does not take, as on a full disk: told on standard error when that begins, and in the file when it is over.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A disk that is full now and again is told of no more often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Lost {
    lines: u64,
    reason: String,
    told: Option<Instant>,
}

impl Lost {
    /// After `lines` were written to `path` or were not; what the file should say now that it takes lines again.
    pub(super) fn note(
        &mut self,
        path: &Path,
        lines: &[u8],
        written: io::Result<()>,
    ) -> Option<String> {
        match written {
            Ok(()) if self.lines == 0 => None,
            Ok(()) => {
                let lost = std::mem::take(&mut self.lines);
                Some(format!("{lost} log lines were lost: {}", self.reason))
            }
            Err(e) => {
                self.reason = e.kind().to_string();
                if self.lines == 0 && self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                    self.told = Some(Instant::now());
                    let path = path.display();
                    let reason = &self.reason;
                    // There is nowhere else to say it.
                    // And nobody may be there to hear it.
                    let _ = writeln!(
                        io::stderr(),
                        "{path}: {reason}: log lines are lost until it can be written to"
                    );
                }
                self.lines += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_counted_and_told_once() {
        let mut lost = Lost::default();
        let path = Path::new("error.log");
        let full = || Err(io::Error::from_raw_os_error(nix::libc::ENOSPC));
        assert_eq!(lost.note(path, b"one\n", Ok(())), None);
        assert_eq!(lost.note(path, b"two\nthree\n", full()), None);
        assert_eq!(lost.note(path, b"four\n", full()), None);
        let told = lost.note(path, b"five\n", Ok(()));
        assert_eq!(
            told.as_deref(),
            Some("3 log lines were lost: no storage space")
        );
        assert_eq!(lost.note(path, b"six\n", Ok(())), None);
    }
}
