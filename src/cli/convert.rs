//! `mobula convert`: a config, links or a subscription in another program's words.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, ValueEnum};

use super::given::Given;
use super::{BAD_CONFIG, test};
use crate::cause::system_words;
use crate::dialect::form::{self, Target};
use crate::report::Message;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
What is given is known by what stands in it: a config of V2Ray or Xray, of sing-box, of Clash or mihomo, of Shadowsocks (SIP008), of gost, links, or a
subscription of any of these. What has no word in the other form is told on standard error, item by item, and the exit code is 0 all the
same; with --strict it is 23, as it is where nothing can be carried over.

A URL is asked for as `mobula/VERSION`: some hosts give another form to a User-Agent that they know.")]
pub(super) struct ConvertArgs {
    /// A file, an http:// or https:// URL, a share link, or `-` for standard input
    #[arg(value_name = "FILE|URL|LINK|-")]
    from: String,
    /// What to write
    #[arg(long, value_enum, default_value_t = To::Config)]
    to: To,
    /// Write it to this file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite the file
    #[arg(long, requires = "out")]
    force: bool,
    /// Fail where something cannot be carried over
    #[arg(long)]
    strict: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// V2Ray's and Xray's config.json
    Config,
    /// V2Ray 5's own form of it (-format jsonv5)
    V5,
    /// sing-box's JSON
    SingBox,
    /// Clash's and mihomo's YAML
    Clash,
    /// Share links, one in a line
    Links,
    /// gost's YAML
    Gost,
}

impl From<To> for Target {
    fn from(to: To) -> Self {
        match to {
            To::Config => Self::Config,
            To::V5 => Self::V5,
            To::SingBox => Self::SingBox,
            To::Clash => Self::Clash,
            To::Links => Self::Links,
            To::Gost => Self::Gost,
        }
    }
}

pub(super) fn run(args: &ConvertArgs) -> ExitCode {
    match converted(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(messages) => {
            for message in messages {
                eprintln!("{message}");
                test::show(&message);
            }
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn converted(args: &ConvertArgs) -> Result<(), Vec<Message>> {
    let one = |text: String| vec![Message::of_text(text)];
    let given = Given::of(&args.from).map_err(one)?;
    let read = given.read()?.with_inbounds(form::PORTS);
    let written = form::write(&read, &given.text, args.to.into());
    let lines = |lines: Vec<String>| lines.into_iter().map(Message::of_text).collect::<Vec<_>>();
    let mut left_out = read.left_out;
    match written {
        Err(more) => {
            left_out.extend(lines(more));
            Err(left_out)
        }
        Ok(written) => {
            left_out.extend(lines(written.left_out));
            if args.strict && !left_out.is_empty() {
                return Err(left_out);
            }
            for message in left_out {
                eprintln!("left out: {message}");
            }
            put(args, &written.text).map_err(one)
        }
    }
}

/// There are keys and passwords in it, so a file is for its owner alone.
fn put(args: &ConvertArgs, text: &str) -> Result<(), String> {
    let Some(path) = &args.out else {
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(());
    };
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match args.force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let written = options.open(path).and_then(|mut file| {
        // One that was there keeps its mode otherwise.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        file.write_all(text.as_bytes())
    });
    written.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            format!(
                "{}: it is there already: nothing was written, `--force` overwrites",
                path.display()
            )
        }
        _ => format!("{}: {}", path.display(), system_words(&e)),
    })
}
