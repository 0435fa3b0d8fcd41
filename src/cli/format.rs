//! `mobula format`: a config made tidy, with its comments.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;

use super::BAD_CONFIG;
use crate::cause::system_words;
use crate::dialect::v2ray::json::tidy;
use crate::dialect::{contents, encoding};
use crate::report::Message;

#[derive(Debug, ClapArgs)]
pub(super) struct FormatArgs {
    /// The files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write the files in the place of printing them
    #[arg(short, long, conflicts_with = "check")]
    write: bool,
    /// Only name the files that are not tidy, and exit with 1 if there are any
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &FormatArgs) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        match one(file, args) {
            Ok(true) => {}
            Ok(false) => code = ExitCode::from(1),
            Err(message) => {
                eprintln!("{message}");
                super::test::show(&message);
                code = ExitCode::from(BAD_CONFIG);
            }
        }
    }
    code
}

/// Whether there is nothing to be done about a file.
fn one(file: &Path, args: &FormatArgs) -> Result<bool, Box<Message>> {
    let name = file.display().to_string();
    let told = |text| Box::new(Message::of_file(&name, text));
    let failed = |e: io::Error| told(system_words(&e));
    let is_stdin = matches!(file.to_str(), Some("-" | "stdin:"));
    let bytes = match is_stdin {
        true => contents::of_stdin(),
        false => contents::of_file(file),
    };
    let text = encoding::whole(bytes.map_err(failed)?).map_err(told)?;
    let tidied = tidy(&text).map_err(|error| {
        let message = Message::of_file(&name, error.to_string());
        Box::new(message.at(error.place, &text))
    })?;
    if args.check {
        if tidied != text {
            super::say(&name);
        }
        return Ok(tidied == text);
    }
    if args.write && !is_stdin {
        if tidied != text {
            replace(file, &tidied).map_err(failed)?;
        }
        return Ok(true);
    }
    let _ = io::stdout().write_all(tidied.as_bytes());
    Ok(true)
}

/// The new text stands beside the file until it is whole, so that a full disk takes nothing away.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    // A link stays a link.
    let file = file.canonicalize()?;
    let was = fs::metadata(&file)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let written = fs::File::create_new(&new).and_then(|mut out| {
        // Whoever may read the file may read the new one; who cannot give it away leaves the old one.
        fchown(&out, Some(was.uid()), Some(was.gid()))?;
        out.set_permissions(was.permissions())?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, &file)
    });
    if written
        .as_ref()
        .is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists)
    {
        let _ = fs::remove_file(&new);
    }
    written
}
