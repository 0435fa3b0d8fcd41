//! The command line: a file for each command, in V2Ray 5's spelling and in V2Ray 4's.

mod api;
mod args;
mod backend;
mod convert;
mod doctor;
mod example;
mod explain;
mod format;
mod given;
mod gost;
mod init;
mod inputs;
mod link;
mod listening;
mod load;
mod man;
mod notify;
mod parent;
mod pid_file;
mod plugin;
mod probe;
mod reload;
mod run;
mod signals;
mod stands_in;
mod successor;
mod test;
mod top;
mod tunnel;
mod ws;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use args::{Args, Command, ConfigArgs};
use stands_in::Original;
use successor::Program;

use crate::aead;
use crate::probe::script;

/// Without any argument a config that is there is run, as V2Ray 4 and Xray do.
fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let is_there = || inputs::find(&ConfigArgs::default()).is_ok_and(|inputs| !inputs.is_empty());
    if args.len() == 1 && is_there() {
        args.push("run".into());
    }
    args
}

/// Runs what the arguments ask for; `args` begins with the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Not for people: a back end starts itself with it.
    if args.get(1).is_some_and(|arg| arg == script::WORD) {
        return script::main();
    }
    if let Err(e) = settle_aead() {
        eprintln!("{e}");
        return ExitCode::from(2);
    }
    if plugin::is_meant(&args) {
        return plugin::run(args.get(1..).unwrap_or_default());
    }
    if gost::is_meant(&args) {
        return gost::run(args.get(1..).unwrap_or_default());
    }
    // Its flags are Go's, and not to be put in order.
    if args.get(1).is_some_and(|arg| arg == "gost") {
        return gost::run(args.get(2..).unwrap_or_default());
    }
    if let Some(text) = args.get(1).and_then(|arg| not_built(arg.to_str()?)) {
        eprintln!("{text}");
        return ExitCode::from(2);
    }
    let args = with_command(stands_in::with_command(args));
    let program = Program::of(args.clone());
    let args = match Args::try_parse_from(args::normalise(args)) {
        Ok(args) => args,
        Err(e) => {
            // Help goes to standard output, mistakes to standard error.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    match args.command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args, &program),
        Command::Test(args) => test::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Format(args) => format::run(&args),
        Command::Schema => schema(),
        Command::Completions { shell } => completions(shell),
        Command::Man(args) => man::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Uuid { input } => uuid(input.as_deref()),
        Command::Link(args) => link::run(&args),
        Command::Api(args) => api::run(args),
        Command::Tunnel { end, file } => tunnel::run(end, &file),
        Command::Plugin { flags } => plugin::run(&flags),
        Command::Gost { flags } => gost::run(&flags),
        Command::Probe(args) => probe::run(&args),
        Command::Backend(args) => backend::run(&args),
        Command::Ws(args) => ws::run(&args),
        Command::Version => version(),
    }
}

/// What to say to a command of Xray's that is for what is not here.
fn not_built(command: &str) -> Option<&'static str> {
    Some(match command {
        "x25519" | "mldsa65" => {
            "these would be keys of REALITY, which is not built: `security: tls` takes its place, and `mobula init` writes both ends"
        }
        "vlessenc" | "mlkem768" => {
            "these would be keys of VLESS Encryption, which is not built: `security: tls` takes its place"
        }
        "wg" => "these would be keys of WireGuard, which is not built",
        "tls" => {
            "there is no `tls` here: `mobula init --tls self-signed` makes a certificate, `mobula doctor` looks at a server's"
        }
        _ => return None,
    })
}

/// For measuring one library of ciphers beside the other: which is to seal, whatever the CPU.
fn settle_aead() -> Result<(), String> {
    const NAME: &str = "MOBULA_AEAD";
    let Some(name) = std::env::var_os(NAME) else {
        return Ok(());
    };
    let library: aead::Library = name
        .to_string_lossy()
        .parse()
        .map_err(|e| format!("{NAME}: {e}"))?;
    library.settle();
    Ok(())
}

/// What a command that waits for the network runs on.
fn threads() -> Result<Runtime, ExitCode> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| {
        eprintln!("cannot start threads: {e}");
        ExitCode::FAILURE
    })
}

/// A line on standard output; nobody may be reading it any more.
fn say(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// What `docs/config.schema.json` has; a test holds it against the tables of the documents.
fn schema() -> ExitCode {
    let _ = io::stdout().write_all(include_bytes!("../../docs/config.schema.json"));
    ExitCode::SUCCESS
}

/// A script for the shell, of this program's commands and flags.
fn completions(shell: Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Args::command(), "mobula", &mut io::stdout());
    ExitCode::SUCCESS
}

/// A random UUID, or the one that a text of up to 30 bytes stands for. V2Ray makes random ones alone; `-i` is
/// Xray's, which has no answer to longer texts either: as an `id` they are read as UUIDs.
fn uuid(input: Option<&str>) -> ExitCode {
    match input {
        None => say(Uuid::new_v4()),
        Some(text) if (1..=30).contains(&text.len()) => {
            say(Uuid::new_v5(&Uuid::nil(), text.as_bytes()));
        }
        Some(text) if Uuid::parse_str(text).is_ok() => {
            eprintln!(
                "`{text}` is a UUID already, expected a text of 1 to 30 bytes to make one of"
            );
            return ExitCode::from(2);
        }
        Some(text) => {
            eprintln!(
                "the text has {} bytes, expected 1 to 30: longer ones are read as UUIDs",
                text.len()
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn version() -> ExitCode {
    let (own, system) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    let machine = std::env::consts::ARCH;
    match Original::of_program() {
        // Panels look for the name and the number at the beginning.
        Some(original) => say(format_args!(
            "{original} (mobula {own} in its place) mobula (rust {system}/{machine})"
        )),
        None => say(format_args!("mobula {own} ({system} {machine})")),
    }
    say(env!("CARGO_PKG_DESCRIPTION"));
    ExitCode::SUCCESS
}

/// V2Ray's exit code for a config that cannot be used.
const BAD_CONFIG: u8 = 23;
