//! `mobula ws`: WebSocket for people and scripts, a client, a server and a hub.

mod args;
mod client;
mod server;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) use args::WsArgs;

use super::threads;
use crate::http::head;
use crate::io::open_files;
use crate::websocket::Form;

pub(super) fn run(args: &WsArgs) -> ExitCode {
    let task = match &args.listen {
        Some(listen) => server::settings(args, listen).map(|one| Task::Server(Box::new(one))),
        None => client::settings(args).map(|one| Task::Client(Box::new(one))),
    };
    let task = match task {
        Ok(task) => task,
        Err(text) => {
            tell(text);
            return ExitCode::from(2);
        }
    };
    let _ = open_files::raise();
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let code = runtime.block_on(async {
        let signals =
            Signals::new().map_err(|e| tell(format_args!("cannot listen for signals: {e}")));
        match (signals, task) {
            (Err(()), _) => ExitCode::FAILURE,
            (Ok(signals), Task::Client(settings)) => client::run(args, &settings, signals).await,
            (Ok(signals), Task::Server(settings)) => server::run(args, *settings, signals).await,
        }
    });
    // A thread may be waiting for standard input.
    runtime.shutdown_timeout(Duration::from_millis(50));
    code
}

enum Task {
    Client(Box<crate::websocket::ClientSettings>),
    Server(Box<crate::websocket::server::Settings>),
}

/// What ends it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one; the status that a shell expects of it.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 128 + 2,
            _ = self.terminate.recv() => 128 + 15,
        }
    }
}

impl WsArgs {
    fn form(&self) -> Form {
        match self.binary {
            true => Form::Bytes,
            false => Form::Lines,
        }
    }

    /// The values of `-s`.
    fn protocols(&self) -> Result<Vec<HeaderValue>, String> {
        let names = self.subprotocol.iter().flat_map(|text| text.split(','));
        let each = names.map(str::trim).map(|name| {
            let value = HeaderValue::from_str(name).ok();
            value.filter(|_| head::is_token(name.as_bytes())).ok_or_else(|| {
                let name = name.escape_debug();
                format!("--subprotocol: `{name}` is no name of one, expected letters, digits, `.`, `-` and the like")
            })
        });
        each.collect()
    }
}

/// Reads `-H`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = |why: &str| format!("-H: `{}`: {why}", text.escape_debug());
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| wrong("expected `Name: value`"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes());
    let name = name.map_err(|_| wrong("this is no name of a header"))?;
    let value = HeaderValue::from_str(value.trim());
    let value = value.map_err(|_| wrong("a value has no control characters"))?;
    Ok((name, value))
}

/// A line on standard error; nobody may be reading it any more.
fn tell(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Lines of a head, each behind a sign of its direction, as curl shows them.
fn tell_lines(sign: char, head: &[u8]) {
    let text = String::from_utf8_lossy(head);
    let mut lines = String::new();
    for line in text.trim_end().lines() {
        lines += &format!("{sign} {}\n", safe(line));
    }
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// The headers of a head as they are written.
fn lines_of(first: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut out = format!("{first}\r\n").into_bytes();
    for (name, value) in headers {
        head::line(&mut out, name, value.as_bytes());
    }
    out
}

/// What a stranger says, without what a terminal would obey.
fn safe(text: &str) -> String {
    let each = text.chars().map(|c| match c {
        '\t' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_name_and_a_value() {
        let (name, value) = header("X-Token:  a: b ").unwrap();
        assert_eq!(
            (name.as_str(), value.to_str().unwrap()),
            ("x-token", "a: b")
        );
        for (text, why) in [
            ("token", "-H: `token`: expected `Name: value`"),
            ("a b: c", "-H: `a b: c`: this is no name of a header"),
            (
                "a: b\nc",
                "-H: `a: b\\nc`: a value has no control characters",
            ),
        ] {
            assert_eq!(header(text).unwrap_err(), why);
        }
    }

    #[test]
    fn a_stranger_moves_no_cursor() {
        assert_eq!(safe("a\x1b[2J\tb\u{9b}"), "a\u{fffd}[2J\tb\u{fffd}");
    }
}
