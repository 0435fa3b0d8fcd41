//! `mobula gost`, and the program called `gost`: GOST's command line.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::reload::Fresh;
use super::run::{self, Again, Ending};
use super::say;
use crate::cause::system_words;
use crate::dialect::gost::{self, Form, Launch};
use crate::dialect::{contents, encoding};

/// Whether it is asked for by the program's name.
pub(super) fn is_meant(args: &[OsString]) -> bool {
    let program = args
        .first()
        .and_then(|program| Path::new(program).file_name());
    program.is_some_and(|name| name == "gost")
}

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Flags {
    services: Vec<String>,
    hops: Vec<String>,
    files: Vec<String>,
    form: Option<Print>,
    debug: bool,
}

/// What `-O` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Print {
    Gost(Form),
    /// A `config.json`.
    Config,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Run(Flags),
    Help,
    Version,
}

/// Runs with `args`, those behind the program's name.
pub(super) fn run(args: &[OsString]) -> ExitCode {
    let flags = match read(args) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Help) => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            say(format_args!(
                "gost {GOST} (mobula {} in its place)",
                env!("CARGO_PKG_VERSION")
            ));
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("{e}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let form = flags.form;
    let again = again(&flags);
    let launch = match launch(flags) {
        Ok(launch) => launch,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(CANNOT_START);
        }
    };
    if form == Some(Print::Config) {
        return print_config(&launch);
    }
    if let Some(Print::Gost(form)) = form {
        return match gost::print(&launch, form) {
            Ok(text) => {
                say(text.trim_end());
                ExitCode::SUCCESS
            }
            Err(errors) => {
                errors.iter().for_each(|error| eprintln!("{error}"));
                ExitCode::from(CANNOT_START)
            }
        };
    }
    let loaded = gost::load(&launch);
    for error in &loaded.errors {
        eprintln!("{error}");
    }
    let Some(config) = loaded.config else {
        return ExitCode::from(CANNOT_START);
    };
    let ending = Ending {
        grace: Duration::from_secs(2),
        parent: None,
        cannot_start: CANNOT_START,
        cannot_log: CANNOT_START,
    };
    run::serve(config, &loaded.warnings, &ending, &again, || ())
}

/// Reads the files again, where there are some.
fn again(flags: &Flags) -> Again<'static> {
    let is_file = |name: &String| name != "-" && !is_text(name);
    let is_found = flags.files.is_empty() && flags.services.is_empty() && flags.hops.is_empty();
    if !is_found && (flags.files.is_empty() || !flags.files.iter().all(is_file)) {
        return Again::Never;
    }
    let flags = flags.clone();
    Again::Config(Arc::new(move || {
        let launch = launch(flags.clone()).map_err(|text| vec![text])?;
        let loaded = gost::load(&launch);
        Fresh::of(loaded.config, &loaded.errors, &loaded.warnings, Vec::new())
    }))
}

/// The same as a `config.json`, and what that has no word for.
fn print_config(launch: &Launch) -> ExitCode {
    let loaded = gost::load(launch);
    let Some((value, lines)) = loaded.to_config_json() else {
        loaded.errors.iter().for_each(|error| eprintln!("{error}"));
        return ExitCode::from(CANNOT_START);
    };
    lines.iter().for_each(|line| eprintln!("left out: {line}"));
    say(format_args!("{value:#}"));
    ExitCode::SUCCESS
}

/// Says of files whether they are good.
pub(super) fn test(files: &[PathBuf], json: bool) -> ExitCode {
    let files = files.iter().map(|file| file.display().to_string());
    let flags = Flags {
        files: files.collect(),
        ..Flags::default()
    };
    let launch = match launch(flags) {
        Ok(launch) => launch,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(super::BAD_CONFIG);
        }
    };
    let loaded = gost::load(&launch);
    match json {
        true => super::test::say_to_editors(&loaded.errors, &loaded.warnings, &[]),
        false => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            for error in &loaded.errors {
                eprintln!("{error}");
                super::test::show_to_person(error);
            }
        }
    }
    match loaded.config {
        Some(_) => {
            if !json {
                say("the config is good");
            }
            ExitCode::SUCCESS
        }
        None => ExitCode::from(super::BAD_CONFIG),
    }
}

fn launch(flags: Flags) -> Result<Launch, String> {
    let mut names = flags.files;
    if names.is_empty() && flags.services.is_empty() && flags.hops.is_empty() {
        names.extend(found());
    }
    let files: Result<_, String> = names.into_iter().map(file).collect();
    Ok(Launch {
        services: flags.services,
        hops: flags.hops,
        files: files?,
        debug: flags.debug,
    })
}

/// Where gost looks when it is told nothing.
fn found() -> Option<String> {
    let home = env::home_dir().map(|home| home.join(".gost"));
    let folders = [
        Some(PathBuf::from(".")),
        home,
        Some(PathBuf::from("/etc/gost")),
    ];
    let files = folders.into_iter().flatten();
    let mut files =
        files.flat_map(|dir| ["gost.yaml", "gost.yml", "gost.json"].map(|name| dir.join(name)));
    let found = files.find(|file| file.is_file());
    found.map(|file| file.display().to_string())
}

/// Whether `-C` is the config itself.
fn is_text(name: &str) -> bool {
    name.trim_start().starts_with('{')
}

/// The name and the text of `-C`: a file, `-` for standard input, or JSON itself.
fn file(name: String) -> Result<(String, String), String> {
    if is_text(&name) {
        return Ok(("-C".to_owned(), name));
    }
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(format!("{name}: a config is not fetched, expected a file"));
    }
    let read = match &*name {
        "-" => contents::of_stdin(),
        name => contents::of_file(name.as_ref()),
    };
    let text = read
        .map_err(|e| system_words(&e))
        .and_then(encoding::whole)
        .map_err(|text| format!("{name}: {text}"))?;
    Ok((name, text))
}

/// Go's flags: with one dash or two, the value behind a blank or a `=`.
fn read(args: &[OsString]) -> Result<Asked, String> {
    let mut flags = Flags::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let arg = arg.to_str().ok_or("an argument is no text")?;
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            return Err(format!(
                "`{}` is unexpected, expected `-L URL`",
                arg.escape_debug()
            ));
        };
        let (name, mut value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let mut value = || {
            let given = value
                .take()
                .or_else(|| args.next()?.to_str().map(str::to_owned));
            given.ok_or_else(|| format!("`-{name}` needs a value"))
        };
        match name {
            "L" => match value()? {
                // Of a variable that is not set, and it would be a proxy for everybody.
                url if url.trim().is_empty() => {
                    return Err(
                        "`-L` is empty, expected a URL such as `-L http://:8080`".to_owned()
                    );
                }
                url => flags.services.push(url),
            },
            "F" => flags.hops.push(value()?),
            "C" => flags.files.push(value()?),
            "O" => {
                flags.form = Some(match &*value()? {
                    "yaml" | "yml" => Print::Gost(Form::Yaml),
                    "json" => Print::Gost(Form::Json),
                    "config" => Print::Config,
                    other => {
                        let other = other.escape_debug();
                        return Err(format!(
                            "`-O {other}` is unknown, expected `yaml`, `json` or `config`"
                        ));
                    }
                });
            }
            "D" | "DD" => flags.debug = true,
            "V" | "version" => return Ok(Asked::Version),
            "h" | "help" => return Ok(Asked::Help),
            "" => {
                return Err(
                    "several processes (` -- `) are not built: start the program twice".to_owned(),
                );
            }
            "R" => {
                return Err("`-R` is not built: SIGHUP has the files of `-C` read again".to_owned());
            }
            "api" | "metrics" => {
                return Err(format!(
                    "`-{name}` is not built: `api` and `metrics` are keys of a config.json"
                ));
            }
            other => {
                let other = other.escape_debug();
                return Err(format!("the flag `-{other}` is unknown"));
            }
        }
    }
    Ok(Asked::Run(flags))
}

/// The version whose command line is known.
const GOST: &str = "3.3.0";

/// gost's exit code when it cannot start.
const CANNOT_START: u8 = 1;

pub(super) const USAGE: &str = "\
Usage: mobula gost -L URL… [-F URL…] [-C FILE] [-O yaml|json|config]

  -L URL   a service: [HANDLER+]LISTENER://[USER:PASS@][HOST]:PORT[/TARGET][?KEY=VALUE&…]
           handlers auto, http, socks4, socks4a, socks5, relay, forward, tcp, udp
           listeners tcp, tls, ws, wss, mws, mwss, udp, rtcp, rudp
  -F URL   a hop that sessions go through; several are one behind the other
           connectors http, socks4, socks4a, socks5, relay, forward; dialers tcp, tls, ws, wss, mws, mwss
           wss, mwss and tls verify no certificate unless `secure=true` or `pin=SHA256` says so
  -C FILE  a config of gost, YAML or JSON; `-` is standard input
  -O FORM  print what would run as `yaml` or `json`, or as a config.json (`config`), and end
  -D       log every session
  -V       print the version

  gost -L http+wss://user:pass@:8443
  gost -L :8080 -F \"http+wss://user:pass@example.com:8443?secure=true\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Asked, String> {
        let args: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        read(&args)
    }

    #[test]
    fn flags_are_gos() {
        let expected = Flags {
            services: vec![":8080".to_owned(), "ws://:1".to_owned()],
            hops: vec!["wss://a:1?x=y".to_owned()],
            form: Some(Print::Gost(Form::Json)),
            ..Flags::default()
        };
        let read = of("-L :8080 --L=ws://:1 -F=wss://a:1?x=y -O json");
        assert_eq!(read, Ok(Asked::Run(expected)));
        assert_eq!(of("-V"), Ok(Asked::Version));
        for wrong in ["-L", "-X", "a", "-O toml", "-api :1", "--"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_programs_name_asks_for_it() {
        for (name, is) in [("gost", true), ("/usr/bin/gost", true), ("mobula", false)] {
            assert_eq!(is_meant(&[name.into()]), is);
        }
    }
}
