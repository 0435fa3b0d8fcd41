//! Questions on a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::ValueEnum;

/// Whether somebody is there to answer.
pub(super) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Asks until the answer is one; an empty one is the default.
pub(super) fn ask<T>(
    question: &str,
    default: Option<&str>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, String> {
    loop {
        let hint = default.map(|text| format!(" [{text}]")).unwrap_or_default();
        print!("{question}{hint}: ");
        let _ = io::stdout().flush();
        let mut line = String::new();
        let len = io::stdin().lock().read_line(&mut line);
        if len.map_err(|e| e.to_string())? == 0 {
            return Err("the questions were not answered".to_owned());
        }
        let answer = match (line.trim(), default) {
            ("", Some(default)) => default,
            (answer, _) => answer,
        };
        match read(answer) {
            Ok(value) => return Ok(value),
            Err(text) => println!("  {text}"),
        }
    }
}

/// Asks for one of the values of a flag.
pub(super) fn choose<T: ValueEnum>(question: &str, default: &str) -> Result<T, String> {
    let names: Vec<String> = T::value_variants()
        .iter()
        .filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned()))
        .collect();
    let all = names.join(", ");
    ask(&format!("{question} ({all})"), Some(default), |answer| {
        T::from_str(answer, true).map_err(|_| format!("expected one of: {all}"))
    })
}
