//! `mobula test`: whether a config is good, and if not all that is wrong with it.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::TestArgs;
use super::load::{Meant, load};
use super::{BAD_CONFIG, inputs, say};
use crate::report::Message;

pub(super) fn run(args: &TestArgs) -> ExitCode {
    if !args.gost.is_empty() {
        return super::gost::test(&args.gost);
    }
    let inputs = match inputs::find(&args.config) {
        Ok(inputs) if inputs.is_empty() => {
            eprintln!("there is no config to test, give one with `-c FILE`");
            return ExitCode::from(BAD_CONFIG);
        }
        Ok(inputs) => inputs,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let meant = load(&inputs, args.config.options());
    match args.json {
        true => say(format_args!("{:#}", for_editors(&meant))),
        false => for_people(&meant),
    }
    match meant.loaded.config {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(BAD_CONFIG),
    }
}

/// A line for each warning and, where a person reads them, the place: a config that is good as it is may have many.
fn for_people(meant: &Meant) {
    let loaded = &meant.loaded;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
        if std::io::stderr().is_terminal() {
            show(warning);
        }
    }
    for line in &meant.left_out {
        eprintln!("left out: {line}");
    }
    for error in &loaded.errors {
        eprintln!("{error}");
        show(error);
    }
    if loaded.config.is_some() {
        if meant.is_foreign {
            meant.understood.iter().for_each(say);
        }
        say("Configuration OK.");
    }
}

/// The line of the file, with a mark below.
pub(super) fn show(message: &Message) {
    if let Some(excerpt) = message.excerpt() {
        eprintln!("{excerpt}");
    }
}

fn for_editors(meant: &Meant) -> Value {
    let errors = meant.loaded.errors.iter().map(|m| one(m, "error"));
    let warnings = meant.loaded.warnings.iter().map(|m| one(m, "warning"));
    let left_out = meant.left_out.iter().map(|line| {
        let text = format!("left out: {line}");
        one(&Message::of_text(text), "warning")
    });
    errors.chain(warnings).chain(left_out).collect()
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
