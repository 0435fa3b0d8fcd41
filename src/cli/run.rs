//! `mobula run`: the service, from its config to its end by a signal.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;
use tracing::{info, warn};

use super::args::ConfigArgs;
use super::example::Example;
use super::parent::Parent;
use super::reload::reload;
use super::signals::{Asked, Signals};
use super::{BAD_CONFIG, XRAY, inputs, say, stands_in_for_xray, test};
use crate::cause::system_words;
use crate::config::Config;
use crate::dialect::v2ray::{self, Loaded};
use crate::io::open_files;
use crate::log;
use crate::report::Message;
use crate::server::Server;

pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    let inputs = match inputs::find(args) {
        Ok(inputs) => inputs,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if inputs.is_empty() {
        return example();
    }
    let loaded = v2ray::load(&inputs, args.options());
    if print_errors(&loaded) {
        return ExitCode::from(BAD_CONFIG);
    }
    match loaded.config {
        Some(config) => serve(config, &loaded.warnings, &ALONE, Some(args), || {
            if stands_in_for_xray() {
                // marzban-node waits for these words.
                let own = env!("CARGO_PKG_VERSION");
                say(format_args!(
                    "Xray {XRAY} started (mobula {own} in its place)"
                ));
            }
        }),
        None => ExitCode::from(BAD_CONFIG),
    }
}

/// The embedded config.
fn example() -> ExitCode {
    let example = Example::new();
    serve(example.config(), &[], &ALONE, None, || say(example))
}

/// One line for each error; whether there was one. The file itself is shown to a person alone: what a service
/// prints ends up in a log, which is no place for the keys in a config.
fn print_errors(loaded: &Loaded) -> bool {
    for error in &loaded.errors {
        if stands_in_for_xray() {
            // PasarGuard's node listens to the standard output alone, and for these words.
            say(format_args!("Failed to start: {error}"));
        }
        eprintln!("{error}");
        if std::io::stderr().is_terminal() {
            test::show(error);
        }
    }
    loaded.config.is_none()
}

/// How a service ends.
pub(super) struct Ending {
    /// How long tunnels may take to finish.
    pub(super) grace: Duration,
    /// The process that it ends with.
    pub(super) parent: Option<Parent>,
    /// The exit code when it cannot start.
    pub(super) cannot_start: u8,
}

/// A service that nobody else's life is about.
const ALONE: Ending = Ending {
    grace: Duration::from_secs(2),
    parent: None,
    // V2Ray's -1.
    cannot_start: 255,
};

/// Starts, waits for a signal, and stops; `started` is called when all is listened on. By `args` the config can be read
/// again.
pub(super) fn serve(
    config: Config,
    warnings: &[Message],
    ending: &Ending,
    args: Option<&ConfigArgs>,
    started: impl FnOnce(),
) -> ExitCode {
    match served(config, warnings, ending, args, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            log::flush();
            eprintln!("{text}");
            ExitCode::from(ending.cannot_start)
        }
    }
}

/// As [`serve`]; what it says when it cannot start.
fn served(
    config: Config,
    warnings: &[Message],
    ending: &Ending,
    args: Option<&ConfigArgs>,
    started: impl FnOnce(),
) -> Result<(), String> {
    let waiting = log::start(&config.log)?;
    for warning in waiting {
        // The log itself may be what does not open.
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    for warning in warnings {
        warn!("{warning}");
    }
    raise_limit();
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start threads: {e}"))?;
    let handle = runtime.handle().clone();
    let signals = {
        let _inside = handle.enter();
        Signals::new()
    };
    let signals = signals.map_err(|e| format!("cannot listen for signals: {e}"))?;
    let mut server = Server::start_on(runtime, config).map_err(|e| e.to_string())?;
    started();
    handle.block_on(until_end(&mut server, signals, ending, args));
    server.cut_off();
    log::flush();
    Ok(())
}

/// Every tunnel takes two files, so as many may be open as the system lets us.
fn raise_limit() {
    let open_files::Raised { from, to } = match open_files::raise() {
        Ok(raised) => raised,
        Err(e) => {
            return warn!("cannot raise the limit of open files: {}", system_words(&e));
        }
    };
    if from < to {
        info!("open files: the limit is raised from {from} to {to}");
    }
    if to < FEW_FILES {
        warn!(
            "at most {to} files may be open, and a tunnel takes two: a server wants more \
             (`LimitNOFILE=` in its systemd unit, `ulimit -Hn` in a shell)"
        );
    }
}

/// Waits for a signal, or for the end of whoever it ends with, and then for the tunnels, unless another signal comes.
async fn until_end(
    server: &mut Server,
    mut signals: Signals,
    ending: &Ending,
    args: Option<&ConfigArgs>,
) {
    let parent = async {
        match &ending.parent {
            Some(parent) => parent.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(parent);
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End => break,
                Asked::Reload => tokio::select! {
                    () = reload(server, args) => {}
                    () = signals.end() => break,
                },
            },
            () = &mut parent => {
                info!("the program that started this one is gone");
                break;
            }
        }
    }
    if ending.grace.is_zero() {
        return info!("stopping");
    }
    info!(
        "stopping, tunnels have {} s to finish",
        ending.grace.as_secs()
    );
    tokio::select! {
        () = server.drain(ending.grace) => {}
        () = signals.end() => {}
    }
}

/// A hard limit below this was set by somebody; Linux has 4096 where nobody says anything else.
const FEW_FILES: u64 = 4096;
