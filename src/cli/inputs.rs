//! Which files make the config, where the arguments leave it open.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cause::system_words;
use crate::dialect::v2ray::languages::Language;

use super::args::ConfigArgs;
use super::given::Source;

/// The files named by `-c` and found in `-confdir`, or in the folder that the environment names; else `./config.json`; else
/// the file that the environment names; else the one beside the program; else what stands on standard input. Nothing when
/// there is none of these.
pub(super) fn find(args: &ConfigArgs) -> Result<Vec<Source>, String> {
    let mut inputs: Vec<Source> = args.config.iter().map(|path| Source::of(path)).collect();
    if inputs.iter().filter(|i| **i == Source::Stdin).count() > 1 {
        return Err("`stdin:` is given more than once, it can be read only once".to_owned());
    }
    for dir in &args.confdir {
        inputs.extend(in_dir(dir)?);
    }
    // As in V2Ray and Xray it counts beside `-c`.
    if args.confdir.is_empty()
        && let Some(dir) = location("confdir").filter(|dir| dir.is_dir())
    {
        inputs.extend(in_dir(&dir)?);
    }
    if !inputs.is_empty() {
        return Ok(inputs);
    }
    if !args.confdir.is_empty() {
        let dir = args.confdir[0].display();
        return Err(format!(
            "{dir}: there is no `*.json`, `*.yaml` or `*.toml` file in this directory"
        ));
    }
    if let Some(here) = in_folder(Path::new("")) {
        return Ok(vec![Source::File(here)]);
    }
    if let Some(path) = location("config") {
        // V2Ray means a directory that holds `config.json`.
        let file = if path.is_dir() {
            path.join("config.json")
        } else {
            path
        };
        return Ok(vec![Source::File(file)]);
    }
    if let Some(dir) = location("confdir") {
        return in_dir(&dir);
    }
    let beside = env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent);
    if let Some(beside) = beside.and_then(in_folder) {
        return Ok(vec![Source::File(beside)]);
    }
    Ok(Vec::from_iter(has_input().then_some(Source::Stdin)))
}

/// The config of a folder that nobody has named: where one works, or where the program was unpacked.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let names = [
        "config.json",
        "config.jsonc",
        "config.toml",
        "config.yaml",
        "config.yml",
    ];
    let mut paths = names.into_iter().map(|name| folder.join(name));
    paths.find(|path| path.exists())
}

/// Whether somebody writes to standard input: a file with something in it, or a pipe that something comes by soon. A pipe
/// by which nothing comes is what many a program starts another one with.
fn has_input() -> bool {
    let stdin = std::io::stdin();
    let Ok(file) = stdin.as_fd().try_clone_to_owned().map(File::from) else {
        return false;
    };
    let Ok(kind) = file.metadata() else {
        return false;
    };
    if kind.is_file() {
        return kind.len() > 0;
    }
    if !kind.file_type().is_fifo() {
        return false;
    }
    let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    let is_ready = poll(&mut polled, PollTimeout::from(SOON)).is_ok_and(|n| n > 0);
    is_ready
        && polled[0]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLIN))
}

/// How long is waited for the first byte of a config, in milliseconds.
const SOON: u8 = 250;

/// The configs of a directory, in the order of their names.
fn in_dir(dir: &Path) -> Result<Vec<Source>, String> {
    let fail = |e: std::io::Error| format!("{}: {}", dir.display(), system_words(&e));
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if Language::of_name(&path).is_some() && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files.into_iter().map(Source::File).collect())
}

/// What the environment names, in V2Ray's words or in Xray's: `v2ray.location.config`, `XRAY_LOCATION_CONFIG`.
fn location(what: &str) -> Option<PathBuf> {
    let named = |program: &str| {
        let dotted = format!("{program}.location.{what}");
        let shouted = dotted.to_uppercase().replace('.', "_");
        let value = env::var_os(dotted).or_else(|| env::var_os(shouted))?;
        (!value.is_empty()).then(|| value.into())
    };
    named("v2ray").or_else(|| named("xray"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_configs_in_order_behind_the_named_ones() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["20.json", "10.yaml", "notes.txt"] {
            fs::write(dir.path().join(name), "{}").unwrap();
        }
        let args = ConfigArgs {
            config: vec!["stdin:".into()],
            confdir: vec![dir.path().to_owned()],
            ..ConfigArgs::default()
        };
        let file = |name: &str| Source::File(dir.path().join(name));
        assert_eq!(
            find(&args).unwrap(),
            [Source::Stdin, file("10.yaml"), file("20.json")]
        );
    }

    #[test]
    fn standard_input_can_be_read_once() {
        let args = ConfigArgs {
            config: vec!["stdin:".into(), "stdin:".into()],
            ..ConfigArgs::default()
        };
        assert!(find(&args).is_err());
    }
}
