//! A view that is drawn anew every two seconds and with every key.

use std::io::{self, Read, stdin};
use std::pin::pin;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::ask::Server;
use super::screen::Screen;
use super::table::{clean, cut};
use super::view::{Order, View, bars, is_hidden, rate, summary};
use crate::cause::system_words;

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(2);

/// Tunnels that are asked for: more than there is room for, so that another order has something to choose from.
const TUNNELS: usize = 500;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Next,
    View(View),
    Order(Order),
    /// Rows down, or up.
    Scroll(isize),
    Page(isize),
    Top,
    Pause,
}

/// What is on the screen.
struct Shown<'a> {
    server: &'a Server,
    status: Value,
    /// Why there is no newer one.
    fault: Option<String>,
    view: View,
    order: Order,
    is_turned: bool,
    /// Rows that are scrolled over.
    above: usize,
    is_paused: bool,
}

/// Shows what the server does until somebody quits.
///
/// # Errors
///
/// In words, when there is no terminal.
pub(super) async fn run(server: &Server) -> Result<(), String> {
    let words = |e: io::Error| format!("the terminal: {}", system_words(&e));
    let mut shown = Shown {
        server,
        // What is wrong from the beginning is told where it stays.
        status: server.ask(TUNNELS).await?,
        fault: None,
        view: View::Tunnels,
        order: Order::Rate,
        is_turned: false,
        above: 0,
        is_paused: false,
    };
    let mut size = signal(SignalKind::window_change()).map_err(words)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(words)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(words)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(words)?;
    let screen = Screen::enter().map_err(words)?;
    let mut keys = keys();
    let mut next = pin!(ask_later(server));
    loop {
        screen.show(&shown.lines(screen.size())).map_err(words)?;
        tokio::select! {
            answer = &mut next, if !shown.is_paused => {
                match answer {
                    Ok(status) => (shown.status, shown.fault) = (status, None),
                    Err(text) => shown.fault = Some(text),
                }
                next.set(ask_later(server));
            }
            key = keys.recv() => match key {
                None | Some(Key::Quit) => return Ok(()),
                Some(key) => shown.follow(key, screen.size()),
            },
            _ = size.recv() => {}
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

async fn ask_later(server: &Server) -> Result<Value, String> {
    sleep(EVERY).await;
    server.ask(TUNNELS).await
}

/// What is typed, by a thread that waits for it; it ends with the process.
fn keys() -> mpsc::UnboundedReceiver<Key> {
    let (sender, keys) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let mut buf = [0; 64];
        while let Ok(n @ 1..) = stdin().lock().read(&mut buf) {
            for key in read(&buf[..n]) {
                if sender.send(key).is_err() {
                    return;
                }
            }
        }
    });
    keys
}

/// The keys in what a terminal sends. What has no meaning here is passed over.
fn read(mut bytes: &[u8]) -> Vec<Key> {
    // By itself, not in the middle of what a longer key sends.
    if bytes == b"\x1b" {
        return vec![Key::Quit];
    }
    let mut keys = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let (key, len) = match (first, rest) {
            (0x1b, []) => (None, 1),
            (0x1b, [b'[' | b'O', rest @ ..]) => {
                let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
                let end = end.unwrap_or(rest.len().saturating_sub(1));
                let key = match &rest[..rest.len().min(end + 1)] {
                    b"A" => Some(Key::Scroll(-1)),
                    b"B" => Some(Key::Scroll(1)),
                    b"5~" => Some(Key::Page(-1)),
                    b"6~" => Some(Key::Page(1)),
                    b"H" | b"1~" => Some(Key::Top),
                    _ => None,
                };
                (key, 3 + end)
            }
            (byte, _) => (of(*byte), 1),
        };
        keys.extend(key);
        bytes = bytes.get(len..).unwrap_or_default();
    }
    keys
}

fn of(byte: u8) -> Option<Key> {
    const CTRL_C: u8 = 3;
    Some(match byte {
        b'q' | b'Q' | CTRL_C => Key::Quit,
        b'\t' => Key::Next,
        b'1'..=b'5' => Key::View(View::ALL[usize::from(byte - b'1')]),
        b'r' => Key::Order(Order::Rate),
        b'd' => Key::Order(Order::Down),
        b'u' => Key::Order(Order::Up),
        b'a' => Key::Order(Order::Age),
        b'n' => Key::Order(Order::Name),
        b'j' => Key::Scroll(1),
        b'k' => Key::Scroll(-1),
        b'g' => Key::Top,
        b' ' | b'p' => Key::Pause,
        _ => return None,
    })
}

impl Shown<'_> {
    fn follow(&mut self, key: Key, (_, rows): (usize, usize)) {
        let view = self.view;
        match key {
            Key::Quit => {}
            Key::Next => {
                let at = View::ALL.iter().position(|one| *one == view).unwrap_or(0);
                self.view = View::ALL[(at + 1) % View::ALL.len()];
            }
            Key::View(view) => self.view = view,
            Key::Order(order) => {
                self.is_turned = order == self.order && !self.is_turned;
                self.order = order;
            }
            Key::Scroll(by) => self.above = self.above.saturating_add_signed(by),
            Key::Page(by) => {
                let page = rows.saturating_sub(ABOVE + 2).max(1);
                self.above = self.above.saturating_add_signed(by * page as isize);
            }
            Key::Top => self.above = 0,
            Key::Pause => self.is_paused = !self.is_paused,
        }
        if self.view != view {
            self.above = 0;
        }
    }

    fn lines(&mut self, (width, rows): (usize, usize)) -> Vec<String> {
        let status = &self.status;
        let [about, sums] = summary(status, self.server.name());
        let state = match (&self.fault, self.is_paused) {
            (Some(fault), _) => format!("{RED}{}{PLAIN}", cut(&clean(fault), width)),
            (None, true) => format!("{REVERSE} paused {PLAIN}"),
            (None, false) => String::new(),
        };
        let mut all = vec![
            format!("{BOLD}{}{PLAIN}", cut(&about, width)),
            cut(&sums, width),
        ];
        for (direction, sign, colour) in [("down", "↓", BLUE), ("up", "↑", YELLOW)] {
            let (bars, most) = bars(status, direction, width.saturating_sub(24));
            let rest = format!("  most {}", rate(most));
            all.push(format!("{colour}{sign} {bars}{PLAIN}{rest}"));
        }
        all.push(state);
        all.push(self.views(status));
        let order = (self.order, self.is_turned);
        let mut table = self.view.lines(status, order, Some(width));
        let headings = usize::from(self.view != View::Errors).min(table.len());
        let body = table.split_off(headings);
        all.extend(
            table
                .iter()
                .map(|line| format!("{DIM}{}{PLAIN}", cut(line, width))),
        );
        let room = rows.saturating_sub(all.len() + 1);
        self.above = self.above.min(body.len().saturating_sub(room));
        if body.is_empty() {
            let none = match is_hidden(status, "users") && self.view == View::Users {
                true => "hidden",
                false => "none",
            };
            all.push(none.to_owned());
        }
        let seen = body.iter().skip(self.above).take(room);
        all.extend(seen.map(|line| cut(line, width)));
        all.resize(rows.saturating_sub(1), String::new());
        all.push(format!("{DIM}{}{PLAIN}", cut(HELP, width)));
        all
    }

    /// The names of the tables, the one that is shown in reverse.
    fn views(&self, status: &Value) -> String {
        let one = |(i, view): (usize, &View)| {
            let name = format!(" {} {} {} ", i + 1, view.name(), view.count(status));
            match *view == self.view {
                true => format!("{REVERSE}{name}{PLAIN}"),
                false => name,
            }
        };
        View::ALL.iter().enumerate().map(one).collect()
    }
}

/// Lines above the rows of a table.
const ABOVE: usize = 7;

const HELP: &str = "q quit · Tab, 1-5 table · r rate  d down  u up  a age  n name, again: turned · ↑↓ scroll · Space pause";

const PLAIN: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const REVERSE: &str = "\x1b[7m";
const RED: &str = "\x1b[31m";
const BLUE: &str = "\x1b[34m";
const YELLOW: &str = "\x1b[33m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_whatever_comes_with_them() {
        assert_eq!(read(b"q"), [Key::Quit]);
        assert_eq!(read(b"\x03"), [Key::Quit]);
        assert_eq!(read(b"\x1b"), [Key::Quit]);
        assert_eq!(
            read(b"\x1b[B\x1b[A\x1bOB"),
            [Key::Scroll(1), Key::Scroll(-1), Key::Scroll(1)]
        );
        assert_eq!(read(b"\x1b[6~\x1b[5~"), [Key::Page(1), Key::Page(-1)]);
        assert_eq!(read(b"\x1b[1;5C\x1b[<0;1;1Mr"), [Key::Order(Order::Rate)]);
        assert_eq!(
            read(b"\t5 "),
            [Key::Next, Key::View(View::Errors), Key::Pause]
        );
        for cut_off in [&b"\x1b["[..], b"\x1bO", b"\x1b[1", b"x\xff\x00"] {
            assert_eq!(read(cut_off), [], "{cut_off:?}");
        }
    }
}
