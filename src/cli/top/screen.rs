//! A terminal that is ours for a while: every key comes by itself, and what stood there comes back whatever happens.

use std::io::{self, Write, stdin, stdout};
use std::panic;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// As it was before.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Another screen, without a cursor and without lines that go on below.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal is ours as long as this is kept.
pub(super) struct Screen(());

impl Screen {
    /// # Errors
    ///
    /// When there is no terminal.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *lock() = Some(before);
        let screen = Self(());
        // A panic says something, which is to be read.
        let said = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            leave();
            said(panicked);
        }));
        tcsetattr(stdin(), OptionalActions::Flush, &raw)?;
        write(ENTER)?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    /// Shows lines in the place of what is there; those that there is no room for are not.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let (_, rows) = self.size();
        let mut text = String::from("\x1b[?2026h\x1b[H");
        for (i, line) in lines.iter().take(rows).enumerate() {
            text += &format!("\x1b[{};1H{line}\x1b[0m\x1b[K", i + 1);
        }
        if lines.len() < rows {
            text += &format!("\x1b[{};1H\x1b[J", lines.len() + 1);
        }
        text += "\x1b[?2026l";
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Puts everything back, once.
fn leave() {
    if let Some(before) = lock().take() {
        let _ = write(LEAVE);
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}
