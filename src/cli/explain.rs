//! `mobula explain`: what the code at the end of a log line means, and what to do.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::say;
use crate::cause::explained::{Explained, all, explain};

#[derive(Debug, ClapArgs)]
#[command(after_help = "Without a code, all of them are listed.")]
pub(super) struct ExplainArgs {
    /// `ws-404`, `clock-skew`: what stands in brackets at the end of a line
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExplainArgs) -> ExitCode {
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for code in &args.codes {
        match explain(code) {
            Some(one) => found.push((code.trim().trim_matches(['[', ']']).to_lowercase(), one)),
            None => unknown.push(code),
        }
    }
    for code in &unknown {
        eprintln!("{}", not_known(code));
    }
    match (args.json, args.codes.is_empty()) {
        (true, true) => {
            let all = all().flat_map(|one| one.codes.iter().map(move |code| (code, one)));
            let all: Vec<Value> = all.map(|(code, one)| as_json(code, one)).collect();
            say(format_args!("{:#}", Value::Array(all)));
        }
        (true, false) => {
            let found: Vec<Value> = found.iter().map(|(code, one)| as_json(code, one)).collect();
            say(format_args!("{:#}", Value::Array(found)));
        }
        (false, true) => {
            for one in all() {
                say(format_args!("{}: {}", one.codes.join(", "), one.what));
            }
        }
        (false, false) => {
            for (i, (code, one)) in found.iter().enumerate() {
                if i > 0 {
                    say("");
                }
                show(code, one);
            }
        }
    }
    match unknown.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    }
}

fn show(code: &str, one: &Explained) {
    say(format_args!("{code} (log: {})", one.at));
    say(format_args!("  what: {}", one.what));
    say(format_args!("  cure: {}", one.cure));
    if let Some(more) = one.more {
        say(format_args!("  more: docs/{more}"));
    }
}

fn as_json(code: &str, one: &Explained) -> Value {
    json!({"code": code, "at": one.at, "what": one.what, "cure": one.cure, "more": one.more})
}

fn not_known(code: &str) -> String {
    let all = all().flat_map(|one| one.codes);
    let near = all
        .map(|known| (strsim::damerau_levenshtein(known, code), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let hint = near.map_or_else(
        || "`mobula explain` lists all".to_owned(),
        |(_, known)| format!("did you mean `{known}`?"),
    );
    format!("no code is called `{}`: {hint}", code.escape_debug())
}
