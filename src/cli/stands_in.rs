//! Which program it is called for, by its own name.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use clap::CommandFactory;

use super::args::Args;

/// A program that panels and clients run, and whose place this one takes under a name of its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Original {
    Xray,
    V2ray,
}

/// The versions whose messages the API speaks.
const XRAY: &str = "26.7.28";
const V2RAY: &str = "5.52.0";

impl Original {
    pub(super) fn of_program() -> Option<Self> {
        let program = std::env::args_os().next()?;
        Self::of(Path::new(&program))
    }

    /// `xray` and `xray-linux-amd64` of 3x-ui, Marzban and PasarGuard, Remnawave's `rw-core`, `hiddify-xray`; `v2ray` of v2rayN,
    /// `v2raya_core`.
    fn of(program: &Path) -> Option<Self> {
        let name = program.file_name()?.to_str()?.to_ascii_lowercase();
        match &*name {
            "rw-core" => Some(Self::Xray),
            name if name.contains("plugin") => None,
            name if name.contains("xray") => Some(Self::Xray),
            name if name.contains("v2ray") => Some(Self::V2ray),
            _ => None,
        }
    }

    pub(super) fn is_xray() -> bool {
        Self::of_program() == Some(Self::Xray)
    }
}

impl fmt::Display for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xray => write!(f, "Xray {XRAY}"),
            Self::V2ray => write!(f, "V2Ray {V2RAY}"),
        }
    }
}

/// v2rayN gives V2Ray nothing but the name of a config: V2Ray 4 passes over it, and finds the config where it runs.
pub(super) fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let is_config = |arg: &OsString| {
        let word = arg.to_str().unwrap_or_default();
        let command = Args::command();
        let is_command = command.get_subcommands().any(|one| one.get_name() == word);
        !word.starts_with('-') && !is_command && Path::new(arg).is_file()
    };
    if Original::of_program() == Some(Original::V2ray) && args.get(1).is_some_and(is_config) {
        args.splice(1..1, ["run".into(), "-c".into()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_who_is_meant() {
        for (name, expected) in [
            ("/usr/local/bin/xray", Some(Original::Xray)),
            ("xray-linux-amd64", Some(Original::Xray)),
            ("Xray", Some(Original::Xray)),
            ("hiddify-xray", Some(Original::Xray)),
            ("rw-core", Some(Original::Xray)),
            ("v2ray", Some(Original::V2ray)),
            ("v2raya_core", Some(Original::V2ray)),
            ("v2ray-plugin", None),
            ("xray-plugin", None),
            ("xray/mobula", None),
            ("mobula", None),
        ] {
            assert_eq!(Original::of(Path::new(name)), expected, "{name}");
        }
    }
}
