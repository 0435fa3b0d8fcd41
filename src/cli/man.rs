//! `mobula man`: manual pages, of the same words as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as ClapArgs, Command, CommandFactory};
use clap_mangen::Man;

use super::args::Args;
use crate::cause::system_words;
use crate::report::did_you_mean;

#[derive(Debug, ClapArgs)]
pub(super) struct ManArgs {
    /// The command whose page is printed; without one, the program's
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder, which is made when it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> ExitCode {
    let mut program = Args::command().disable_help_subcommand(true);
    // What a command below calls itself, it knows only then.
    program.build();
    let done = match &args.out {
        Some(folder) => write_all(program, folder),
        None => print(&program, &args.command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn write_all(program: Command, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(program, folder))
        .map_err(|e| format!("{}: {}", folder.display(), system_words(&e)))
}

fn print(program: &Command, names: &[String]) -> Result<(), String> {
    let mut page = program;
    for name in names {
        page = page.find_subcommand(name).ok_or_else(|| {
            let known = page.get_subcommands().map(Command::get_name);
            let guess = did_you_mean(name, known);
            format!("there is no command `{}`{guess}", name.escape_debug())
        })?;
    }
    let mut text = Vec::new();
    let rendered = Man::new(page.clone()).render(&mut text);
    rendered.map_err(|e| system_words(&e))?;
    // Nobody may be reading it any more.
    let _ = io::stdout().write_all(&text);
    Ok(())
}
