//! `mobula test`: whether a config is good, and if not all that is wrong with it.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};

use super::args::TestArgs;
use super::load::{Meant, load};
use super::run::tell_failure;
use super::{BAD_CONFIG, inputs, say};
use crate::cause::system_words;
use crate::config::{Config, LogTarget};
use crate::report::Message;

pub(super) fn run(args: &TestArgs) -> ExitCode {
    if !args.gost.is_empty() {
        return super::gost::test(&args.gost, args.json);
    }
    let inputs = match inputs::find(&args.config) {
        Ok(inputs) if inputs.is_empty() => {
            eprintln!("there is no config to test, give one with `-c FILE`");
            return ExitCode::from(BAD_CONFIG);
        }
        Ok(inputs) => inputs,
        Err(text) => {
            tell_failure(&text);
            eprintln!("{text}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let mut meant = load(&inputs, args.config.options());
    if let Some(config) = &meant.loaded.config {
        let unopened = unopened_logs(config);
        match args.config.strict && !unopened.is_empty() {
            true => {
                meant.loaded.errors.extend(unopened);
                meant.loaded.config = None;
            }
            false => meant.loaded.warnings.extend(unopened),
        }
    }
    match args.json {
        true => say_to_editors(
            &meant.loaded.errors,
            &meant.loaded.warnings,
            &meant.left_out,
        ),
        false => for_people(&meant),
    }
    match meant.loaded.config {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(BAD_CONFIG),
    }
}

/// What keeps `run` from starting here, which may be another machine than the one where it is to run: files of the log for which
/// there is no folder, or which are somebody else's. None is made.
fn unopened_logs(config: &Config) -> Vec<Message> {
    let (log, mut unopened) = (&config.log, Vec::new());
    for (key, target) in [(log.keys.access, &log.access), (log.keys.error, &log.error)] {
        let LogTarget::File(path) = target else {
            continue;
        };
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let opened = match fs::metadata(path) {
            Ok(there) if there.is_file() || there.is_dir() => {
                OpenOptions::new().append(true).open(path).map(|_| ())
            }
            // A pipe waits for its reader.
            Ok(_) => Ok(()),
            Err(_) => match fs::metadata(folder) {
                Ok(there) if !there.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
                Ok(_) => access(folder, AccessFlags::W_OK).map_err(io::Error::from),
                Err(e) => Err(e),
            },
        };
        if let Err(e) = opened {
            let (path, e) = (path.display(), system_words(&e));
            let text = format!("{key}: cannot open {path}: {e}; nothing starts here without it");
            unopened.push(Message::of_text(text));
        }
    }
    unopened
}

/// A line for each warning and, where a person reads them, the place: a config that is good as it is may have many.
fn for_people(meant: &Meant) {
    let loaded = &meant.loaded;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
        show_to_person(warning);
    }
    for message in &meant.left_out {
        eprintln!("left out: {message}");
    }
    for error in &loaded.errors {
        tell_failure(error);
        eprintln!("{error}");
        match meant.is_foreign {
            true => show_to_person(error),
            false => show(error),
        }
    }
    if loaded.config.is_some() {
        if meant.is_foreign {
            meant.understood.iter().for_each(say);
        }
        say("Configuration OK.");
    }
}

/// As [`show`], where a person reads it. A file of another program's may be one line with all its keys.
pub(super) fn show_to_person(message: &Message) {
    if io::stderr().is_terminal() {
        show(message);
    }
}

/// The line of the file, with a mark below.
pub(super) fn show(message: &Message) {
    if let Some(excerpt) = message.excerpt() {
        eprintln!("{excerpt}");
    }
}

/// A list of all that is said.
pub(super) fn say_to_editors(errors: &[Message], warnings: &[Message], left_out: &[Message]) {
    let errors = errors.iter().map(|m| one(m, "error"));
    let warnings = warnings.iter().map(|m| one(m, "warning"));
    let left_out = left_out.iter().map(|message| {
        let text = format!("left out: {}", message.text);
        let message = Message {
            text,
            ..message.clone()
        };
        one(&message, "warning")
    });
    let all: Value = errors.chain(warnings).chain(left_out).collect();
    say(format_args!("{all:#}"));
}

fn one(message: &Message, severity: &str) -> Value {
    let place = message.place.as_ref();
    json!({
        "file": message.file,
        "path": message.path,
        "line": place.map(|p| p.line),
        "column": place.map(|p| p.column),
        "severity": severity,
        "message": message.text,
    })
}
