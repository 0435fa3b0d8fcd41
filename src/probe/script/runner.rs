//! The process of one script.

use std::cell::Cell;
use std::io::{self, stdin, stdout};
use std::process::ExitCode;
use std::thread;

use nix::sys::resource::{Resource, setrlimit};

use super::{Ask, Order, engine, frames};

/// The argument by which this program is told to be one.
pub const WORD: &str = "run-a-script";

/// Address space: what the engine may keep, what is on its way through the pipes, and the program itself.
const SPACE: u64 = 512 << 20;

/// Runs the script that standard input brings.
pub fn main() -> ExitCode {
    let thread = thread::Builder::new().stack_size(engine::THREAD_STACK);
    let running = thread.spawn(|| match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    });
    let ended = running.map(thread::JoinHandle::join);
    ended.map_or(ExitCode::FAILURE, |ended| {
        ended.unwrap_or(ExitCode::FAILURE)
    })
}

fn serve() -> io::Result<()> {
    let order: Order = serde_json::from_slice(&frames::read(stdin())?)?;
    forgo(order.millis)?;
    // Whoever has gone away has nothing more to say.
    let is_over = Cell::new(false);
    let said = engine::run(&order, move |asked| {
        if is_over.get() || asked.len() > frames::MAX_ASKED {
            return None;
        }
        let heard = exchange(asked.as_bytes());
        is_over.set(heard.is_err());
        heard.ok().flatten()
    });
    let done = serde_json::to_vec(&Ask::Done(said))?;
    frames::write(stdout(), &done)
}

/// Asks, and waits for the answer: what came, and its body; an empty one of nothing.
fn exchange(asked: &[u8]) -> io::Result<Option<(String, String)>> {
    frames::write(stdout(), asked)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let head = text(frames::read(stdin())?);
    if head.is_empty() {
        return Ok(None);
    }
    Ok(Some((head, text(frames::read(stdin())?))))
}

/// Gives up what a script has no need of, so that an engine that is led astray has no use of it either.
fn forgo(millis: u64) -> io::Result<()> {
    let seconds = millis / 1000 + 2;
    for (what, most) in [
        (Resource::RLIMIT_NOFILE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_AS, SPACE),
        // Should nobody be left to end it.
        (Resource::RLIMIT_CPU, seconds),
    ] {
        setrlimit(what, most, most)?;
    }
    Ok(())
}
