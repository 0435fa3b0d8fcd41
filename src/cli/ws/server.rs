//! The server's side: `--listen`.

use std::collections::HashSet;
use std::io::{ErrorKind, IsTerminal};
use std::process::ExitCode;
use std::sync::Mutex;

use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::super::listening;
use super::{Signals, WsArgs, lines_of, safe, tell, tell_lines};
use crate::http::request::with_slash;
use crate::session::Source;
use crate::websocket::server::{Event, Mode, Server, Settings};
use crate::websocket::{Input, Origin, Origins, meaning, shown};

pub(super) fn settings(args: &WsArgs, listen: &str) -> Result<Settings, String> {
    let mode = match (args.echo, args.hub) {
        (true, _) => Mode::Echo,
        (_, true) => Mode::Hub,
        _ => Mode::Print,
    };
    let origins = Origins::parse(&args.origin).map_err(|e| format!("--origin: {e}"))?;
    // Whoever is in a hub speaks with others: pages come in only by name.
    let are_checked = mode == Mode::Hub || !args.origin.is_empty();
    Ok(Settings {
        listen: listening::address(listen)?,
        mode,
        path: args.path.clone().map(with_slash),
        origins: are_checked.then_some(origins),
        protocols: args.protocols()?,
        tls: args.tls.settings()?,
    })
}

pub(super) async fn run(args: &WsArgs, settings: Settings, mut signals: Signals) -> ExitCode {
    let scheme = if settings.tls.is_some() { "wss" } else { "ws" };
    let (listen, path) = (settings.listen.clone(), settings.path.clone());
    let mode = settings.mode;
    let (verbose, told) = (args.verbose, Mutex::new(HashSet::new()));
    let server = match Server::bind(settings, move |event| tell_of(&event, verbose, &told)) {
        Ok(server) => server,
        Err(text) => {
            tell(text);
            return ExitCode::FAILURE;
        }
    };
    let path = path.unwrap_or_else(|| "/".to_owned());
    let what = match mode {
        Mode::Print => "messages are printed, lines go to all",
        Mode::Echo => "messages go back",
        Mode::Hub => "messages go to all others at the same path",
    };
    match server.local_addr() {
        Some(address) => tell(format_args!("{what}: {scheme}://{address}{path}")),
        None => tell(format_args!("{what}: {scheme}, {listen}")),
    }
    let form = args.form();
    let on_terminal = std::io::stdout().is_terminal();
    let (mut output, mut has_failed) = (tokio::io::stdout(), false);
    let print = async |message: Message| {
        let bytes = shown(&message, form, on_terminal);
        let written = async {
            output.write_all(&bytes).await?;
            output.flush().await
        };
        // Nobody may be reading it; who is connected goes on all the same.
        if let Err(error) = written.await
            && error.kind() != ErrorKind::BrokenPipe
            && !std::mem::replace(&mut has_failed, true)
        {
            let why = crate::cause::system_words(&error);
            tell(format_args!("standard output: {why}; messages are lost"));
        }
    };
    let input = Input::new(tokio::io::stdin(), form);
    let end = async {
        signals.next().await;
    };
    server.serve(input, print, end).await;
    ExitCode::SUCCESS
}

/// That a page was refused, and what would let it in.
fn refused(source: &Source, origin: &str) -> String {
    let of_whom = match origin {
        "null" => " (a file, or a sandboxed frame of any site)",
        _ => "",
    };
    let cure = match Origin::parse(origin) {
        Ok(_) => {
            let quoted = origin.replace('\'', "%27");
            format!("; if it is to come in, add: --origin '{quoted}'")
        }
        Err(_) => String::new(),
    };
    format!("{source}: a page of {origin}{of_whom} was refused{cure}")
}

/// Origins whose refusal is told; those that come later are not, for anybody may make up any number of them.
const ORIGINS: usize = 32;

fn tell_of(event: &Event<'_>, verbose: bool, told: &Mutex<HashSet<String>>) {
    match event {
        Event::Asked(_, line, headers) if verbose => {
            tell_lines('>', &lines_of(&format!("{line} HTTP/1.1"), headers));
        }
        Event::Answered(_, status, headers) if verbose => {
            tell_lines('<', &lines_of(&format!("HTTP/1.1 {status}"), headers));
        }
        Event::Joined(source, path) => {
            tell(format_args!("{source} has connected to {}", safe(path)));
        }
        Event::Left(source, code, reason) => {
            let colon = if reason.is_empty() { "" } else { ": " };
            let (meant, reason) = (meaning(*code), safe(reason));
            tell(format_args!(
                "{source} has left: {code} ({meant}){colon}{reason}"
            ));
        }
        Event::Foreign(source, origin) => {
            let origin = safe(origin);
            let Ok(mut told) = told.lock() else {
                return;
            };
            if told.len() < ORIGINS && told.insert(origin.clone()) {
                tell(refused(source, &origin));
            }
        }
        Event::Slow(source, path) => {
            let path = safe(path);
            tell(format_args!(
                "{source} at {path} has taken nothing for too long, and was dropped"
            ));
        }
        Event::Input(error) => tell(error),
        Event::Full => {
            let Ok(mut told) = told.lock() else {
                return;
            };
            if told.insert(String::new()) {
                tell(
                    "there are as many connections as are taken; more are closed until some have left",
                );
            }
        }
        Event::Asked(..) | Event::Answered(..) => {}
    }
}
