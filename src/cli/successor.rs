//! SIGUSR2: another process of the same program takes this one's place, with the sockets that listen.
//!
//! It is started by the path that this one was started by, so that it is the new program where that was replaced. It loads
//! its config, serves, and says so; only then this process accepts nothing more. Whatever happens before that leaves this
//! one as it was.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use tokio::task::spawn_blocking;

use crate::cause::system_words;
use crate::transport::tcp::handed;

/// How long the next process may take until it serves.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The first descriptor that is handed over; sd_listen_fds(3).
const FIRST: i32 = 3;

/// What the next process says when it serves.
const READY: &[u8] = b"ready";

/// How this process was started.
pub(super) struct Program {
    path: PathBuf,
    name: OsString,
    args: Vec<OsString>,
}

/// The process that this one takes the place of.
pub(super) struct Predecessor(UnixStream);

impl Program {
    /// To be asked at the start: later the path may mean another file, which is then the one that is wanted.
    pub(super) fn of(mut args: Vec<OsString>) -> Self {
        let rest = args.split_off(args.len().min(1));
        let name = args.pop().unwrap_or_default();
        let own = env::current_exe().unwrap_or_default();
        // Who was called by a name that is not its own cannot be found by it.
        let path = called(&name).filter(|path| is_same(path, &own));
        Self {
            path: path.unwrap_or(own),
            name,
            args: rest,
        }
    }

    /// Starts the next process with all sockets, and waits until it serves; gives its id.
    ///
    /// # Errors
    ///
    /// Says why it does not; it is gone then.
    pub(super) async fn start_again(&self) -> Result<u32, String> {
        let (ours, theirs) = UnixStream::pair().map_err(|e| system_words(&e))?;
        let mut child = self.spawn(theirs).map_err(|e| {
            format!(
                "{} cannot be started: {}",
                self.path.display(),
                system_words(&e)
            )
        })?;
        let waiting = spawn_blocking(move || {
            let serves = serves(ours);
            let end = match &serves {
                Ok(()) => None,
                Err(_) => Some(end(&mut child)),
            };
            (child, serves, end)
        });
        let (mut child, serves, end) = waiting.await.map_err(|e| e.to_string())?;
        let pid = child.id();
        match serves {
            Ok(()) => {
                // It outlives us; until then its end must not leave a zombie.
                let waiting = std::thread::Builder::new().name("successor".to_owned());
                let _ = waiting.spawn(move || child.wait());
                Ok(pid)
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                let end = end.unwrap_or_default();
                Err(format!(
                    "the next process ({pid}) ended before it was ready: {end}"
                ))
            }
            Err(_) => Err(format!(
                "the next process ({pid}) was not ready within {} s and was ended",
                READY_LIMIT.as_secs()
            )),
        }
    }

    fn spawn(&self, parent: UnixStream) -> io::Result<Child> {
        let all = handed::all(parent)?;
        let count = all.sockets.len();
        let mappings = all.sockets.into_iter().zip(FIRST..);
        let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.args);
        let (name, value) = all.told;
        command
            .env(name, value)
            .env("LISTEN_FDS", count.to_string());
        // They are about this process; the next one cannot know its id before it is there.
        for about_us in [
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "LISTEN_FDS_FIRST_FD",
            "WATCHDOG_PID",
        ] {
            command.env_remove(about_us);
        }
        command
            .fd_mappings(mappings.collect())
            .map_err(io::Error::other)?;
        command.spawn()
    }
}

impl Predecessor {
    /// The one at the other end of what was handed over.
    pub(super) fn new(way: UnixStream) -> Self {
        Self(way)
    }

    /// From here on we serve.
    pub(super) fn let_go(mut self) {
        // It may be gone; then we serve all the same.
        let _ = self.0.write_all(READY);
    }
}

/// Waits until the next process serves; an end without a word is `UnexpectedEof`.
fn serves(mut way: UnixStream) -> io::Result<()> {
    way.set_read_timeout(Some(READY_LIMIT))?;
    way.read_exact(&mut [0; READY.len()])
}

/// Ends a process, if it still runs, and says how it ended.
fn end(child: &mut Child) -> String {
    for _ in 0..100 {
        if let Ok(Some(status)) = child.try_wait() {
            return status.to_string();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let ended = child.wait();
    ended.map_or_else(|e| system_words(&e), |status| status.to_string())
}

/// The file that the first argument of a process names, as a shell finds it.
fn called(name: &OsString) -> Option<PathBuf> {
    let name = Path::new(name);
    if name.components().count() > 1 {
        return std::path::absolute(name).ok();
    }
    let folders = env::var_os("PATH")?;
    let mut files = env::split_paths(&folders).map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path| fs::metadata(path).map(|file: fs::Metadata| (file.dev(), file.ino()));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_started_by_the_path_that_it_was_called_by() {
        let own = env::current_exe().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("v2ray");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let of = |name: &Path| Program::of(vec![name.into(), "run".into(), "-c".into()]);
        let program = of(&link);
        assert_eq!(
            (&program.path, &program.args),
            (&link, &vec!["run".into(), "-c".into()])
        );
        for other in ["/bin/sh", "no-such-program", ""] {
            assert_eq!(of(Path::new(other)).path, own, "{other}");
        }
        assert_eq!(Program::of(Vec::new()).path, own);
    }
}
