//! `mobula run`: the service, from its config to its end by a signal.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tracing::{error, info, warn};

use super::args::RunArgs;
use super::example::Example;
use super::load::{Meant, choose_ports, load, merged};
use super::parent::Parent;
use super::pid_file::PidFile;
use super::reload::{Reader, reload};
use super::signals::{Asked, Signals};
use super::stands_in::Original;
use super::successor::{Predecessor, Program};
use super::{BAD_CONFIG, inputs, notify, say, test};
use crate::aead::Library;
use crate::cause::system_words;
use crate::config::Config;
use crate::dialect::v2ray::Loaded;
use crate::io::open_files;
use crate::log::{self, NOTICE};
use crate::report::Message;
use crate::server::{Server, Threads};
use crate::transport::tcp::handed;

pub(super) fn run(args: &RunArgs, program: &Program) -> ExitCode {
    // Before there are threads.
    let predecessor = handed::take_over().map(Predecessor::new);
    let inputs = match inputs::find(&args.config) {
        Ok(inputs) => inputs,
        Err(text) => {
            tell_failure(&text);
            eprintln!("{text}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if inputs.is_empty() {
        if args.dump {
            let text = "there is no config to print, give one with `-c FILE`";
            tell_failure(text);
            eprintln!("{text}");
            return ExitCode::from(BAD_CONFIG);
        }
        return example();
    }
    let options = args.config.options();
    if args.dump {
        return match merged(&inputs, options) {
            Ok(text) => {
                say(text);
                ExitCode::SUCCESS
            }
            Err(errors) => {
                for error in errors {
                    tell_failure(&error);
                    eprintln!("{error}");
                }
                ExitCode::from(BAD_CONFIG)
            }
        };
    }
    choose_ports();
    let Meant {
        loaded,
        left_out,
        understood,
        is_foreign,
    } = load(&inputs, options);
    // Among them is why something could not be read.
    for line in left_out {
        eprintln!("left out: {line}");
    }
    if print_errors(&loaded) {
        return ExitCode::from(BAD_CONFIG);
    }
    let Some(config) = loaded.config else {
        return ExitCode::from(BAD_CONFIG);
    };
    let again = Again::Program(args, program);
    serve(config, &loaded.warnings, &ALONE, &again, || {
        if let Some(predecessor) = predecessor {
            predecessor.let_go();
        }
        if Original::is_xray() {
            // marzban-node waits for these words.
            let own = env!("CARGO_PKG_VERSION");
            say(format_args!(
                "{} started (mobula {own} in its place)",
                Original::Xray
            ));
        }
        for line in understood {
            match is_foreign {
                true => say(line),
                false => info!(target: NOTICE, "{line}"),
            }
        }
    })
}

/// How the config is read again, and the program started again.
pub(super) enum Again<'a> {
    /// Neither.
    Never,
    /// The config alone, as this reads it.
    Config(Reader),
    /// Both, by the arguments of the start.
    Program(&'a RunArgs, &'a Program),
}

impl<'a> Again<'a> {
    fn program(&self) -> Option<(&'a RunArgs, &'a Program)> {
        match self {
            Self::Program(args, program) => Some((args, program)),
            Self::Never | Self::Config(_) => None,
        }
    }
}

/// The embedded config.
fn example() -> ExitCode {
    let example = Example::new();
    serve(example.config(), &[], &ALONE, &Again::Never, || {
        say(example)
    })
}

/// One line for each error; whether there was one. The file itself is shown to a person alone: what a service
/// prints ends up in a log, which is no place for the keys in a config.
fn print_errors(loaded: &Loaded) -> bool {
    for error in &loaded.errors {
        tell_failure(error);
        eprintln!("{error}");
        test::show_to_person(error);
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
    /// And when its log files cannot be opened.
    pub(super) cannot_log: u8,
}

/// A service that nobody else's life is about.
pub(super) const ALONE: Ending = Ending {
    grace: Duration::from_secs(2),
    parent: None,
    // V2Ray's -1.
    cannot_start: 255,
    // V2Ray opens its logs as it reads the config.
    cannot_log: BAD_CONFIG,
};

/// Starts, waits for a signal, and stops; `started` is called when all is listened on. By `again` the config can be read
/// again, and the program started again.
pub(super) fn serve(
    config: Config,
    warnings: &[Message],
    ending: &Ending,
    again: &Again<'_>,
    started: impl FnOnce(),
) -> ExitCode {
    match served(config, warnings, ending, again, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { text, code }) => {
            log::flush();
            tell_failure(&text);
            eprintln!("{text}");
            ExitCode::from(code.unwrap_or(ending.cannot_start))
        }
    }
}

/// Tells a panel why nothing starts: PasarGuard's node listens to the standard output alone, and for these words.
pub(super) fn tell_failure(text: impl fmt::Display) {
    if Original::is_xray() {
        say(format_args!("Failed to start: {text}"));
    }
}

/// Why a service does not start.
struct Failed {
    text: String,
    /// The exit code, where it is another than that of what cannot start.
    code: Option<u8>,
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self { text, code: None }
    }
}

/// As [`serve`]; what it says when it cannot start.
fn served(
    config: Config,
    warnings: &[Message],
    ending: &Ending,
    again: &Again<'_>,
    started: impl FnOnce(),
) -> Result<(), Failed> {
    let waiting = log::start(&config.log).map_err(|text| Failed {
        text,
        code: Some(ending.cannot_log),
    })?;
    for warning in waiting {
        // The log itself may be what does not open.
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    for warning in warnings {
        warn!("{warning}");
    }
    info!("AES-GCM is sealed by {}", Library::of_aes());
    raise_limit();
    let threads = Threads::start().map_err(|e| format!("cannot start threads: {e}"))?;
    let handle = threads.handle().clone();
    let signals = {
        let _inside = handle.enter();
        Signals::new()
    };
    let signals = signals.map_err(|e| format!("cannot listen for signals: {e}"))?;
    let mut server = Server::start_with(threads, config).map_err(|e| e.to_string())?;
    for unused in handed::close_unused() {
        warn!("{unused} was handed over, but no inbound listens there: it is closed");
    }
    let pid_file = again.program().and_then(|(args, _)| args.pidfile.as_ref());
    let pid_file = pid_file.map(|path| {
        PidFile::write(path)
            .map_err(|e| format!("-pidfile: {}: {}", path.display(), system_words(&e)))
    });
    let _pid_file = pid_file.transpose()?;
    started();
    notify::ready();
    let alive = handle.spawn(notify::keep_alive());
    handle.block_on(until_end(&mut server, signals, ending, again));
    alive.abort();
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
async fn until_end(server: &mut Server, mut signals: Signals, ending: &Ending, again: &Again<'_>) {
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
                    () = reload(server, again) => {}
                    () = signals.end() => break,
                },
                Asked::Succeed => {
                    let succeeded = tokio::select! {
                        succeeded = succeed(again) => succeeded,
                        () = signals.end() => break,
                    };
                    if let Some(args) = succeeded {
                        return drain(server, signals, args.drain).await;
                    }
                }
            },
            () = &mut parent => {
                info!("the program that started this one is gone");
                break;
            }
        }
    }
    notify::stopping();
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

/// Has another process take this one's place; `None` when there is none, and all goes on as it was.
async fn succeed<'a>(again: &Again<'a>) -> Option<&'a RunArgs> {
    let Some((args, program)) = again.program() else {
        log::repeated(
            "SIGUSR2 is ignored: the config is in no file that another process could read",
        );
        return None;
    };
    match program.start_again().await {
        Ok(pid) => {
            notify::succeeded_by(pid);
            Some(args)
        }
        Err(why) => {
            error!("{why}");
            warn!("no other process has taken over, this one goes on as it was");
            None
        }
    }
}

/// Waits for the tunnels of a process that another one has taken the place of.
async fn drain(server: &mut Server, mut signals: Signals, seconds: u32) {
    handed::leave_files();
    info!(target: NOTICE, "the next process serves; this one has {seconds} s for its tunnels, and then it ends");
    tokio::select! {
        () = server.drain(Duration::from_secs(seconds.into())) => {}
        () = signals.end() => {}
    }
    info!("the tunnels of this process have ended");
}

/// A hard limit below this was set by somebody; Linux has 4096 where nobody says anything else.
const FEW_FILES: u64 = 4096;
