//! Go's flags: `-name value`, `-name=value`, with one dash or two; switches take a value behind `=` alone.

use std::ffi::OsString;

use thiserror::Error;

use super::known;
use crate::report::did_you_mean;

/// A flag by the name of its option, and its value unless it is a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub name: &'static str,
    pub value: Option<String>,
}

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Run(Vec<Flag>),
    Version,
    Help,
}

/// What is wrong with the arguments.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlagError {
    #[error("`{0}` is no flag, expected `-name value`{1}")]
    Unknown(String, String),
    #[error("{0}: the value is missing")]
    NoValue(String),
    #[error("{0}: `{1}` is neither `true` nor `false`")]
    NoSwitch(String, String),
}

impl Asked {
    /// Reads the arguments behind the program's name. Of a flag that is given twice, the last one counts.
    ///
    /// # Errors
    ///
    /// When there is something that is no flag. (Go stops reading there, and says nothing.)
    pub fn read(args: &[OsString]) -> Result<Self, FlagError> {
        let mut flags: Vec<Flag> = Vec::new();
        let mut args = args.iter().map(|arg| arg.to_string_lossy());
        while let Some(arg) = args.next() {
            let bare = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
            let (name, value) = match bare.unwrap_or_default().split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (bare.unwrap_or_default(), None),
            };
            match (bare.unwrap_or(&arg), name) {
                ("version", _) => return Ok(Self::Version),
                (_, "h" | "help") => return Ok(Self::Help),
                _ => {}
            }
            let Some(known) = known::find(name) else {
                let guess = did_you_mean(name, known::names());
                return Err(FlagError::Unknown(arg.into_owned(), guess));
            };
            let shown = || format!("-{}", known.flag);
            flags.retain(|flag| flag.name != known.name);
            let value = match (known.value, value) {
                (Some(_), Some(value)) => Some(value),
                (Some(_), None) => {
                    let next = args.next().ok_or_else(|| FlagError::NoValue(shown()))?;
                    Some(next.into_owned())
                }
                (None, value) => match value.as_deref() {
                    None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => None,
                    Some("0" | "f" | "F" | "false" | "FALSE" | "False") => continue,
                    Some(other) => return Err(FlagError::NoSwitch(shown(), other.to_owned())),
                },
            };
            flags.push(Flag {
                name: known.name,
                value,
            });
        }
        Ok(Self::Run(flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Asked, FlagError> {
        let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
        Asked::read(&words)
    }

    fn flag(name: &'static str, value: Option<&str>) -> Flag {
        Flag {
            name,
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn flags_are_written_as_go_reads_them() {
        assert_eq!(
            read("-server --fast-open -host a.example --path=/b?c=d -tls=false -V -mux 0 -mux=2"),
            Ok(Asked::Run(vec![
                flag("server", None),
                flag("fastOpen", None),
                flag("host", Some("a.example")),
                flag("path", Some("/b?c=d")),
                flag("__android_vpn", None),
                flag("mux", Some("2")),
            ]))
        );
        for text in ["-version", "--version", "version"] {
            assert_eq!(read(text), Ok(Asked::Version));
        }
        for text in ["-h", "--help", "-tls -help"] {
            assert_eq!(read(text), Ok(Asked::Help));
        }
    }

    #[test]
    fn what_is_no_flag_is_an_error() {
        let said = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            said("-tsl"),
            "`-tsl` is no flag, expected `-name value`, did you mean `tls`?"
        );
        assert_eq!(
            said("-tls false"),
            "`false` is no flag, expected `-name value`"
        );
        assert_eq!(said("-host"), "-host: the value is missing");
        assert_eq!(
            said("-tls=maybe"),
            "-tls: `maybe` is neither `true` nor `false`"
        );
        assert!(known::is_flag("--fast-open") && known::is_flag("-host=x"));
        assert!(!known::is_flag("-config") && !known::is_flag("host"));
    }
}
