//! The place of v2ray-plugin: what ss-local and ss-server start with `--plugin` (SIP003).

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::parent::Parent;
use super::run::{self, Again, Ending};
use super::{BAD_CONFIG, say};
use crate::dialect::plugin::flags::Asked;
use crate::dialect::plugin::{self, Environment, Launch, is_flag, usage};

/// Whether a plugin is asked for: by the program's name, `v2ray-plugin` or what Debian and the releases make of it; or,
/// where a Shadowsocks program has started it, by no argument at all or by a flag that it may pass.
pub(super) fn is_meant(args: &[OsString]) -> bool {
    let name = args
        .first()
        .and_then(|program| Path::new(program).file_name());
    let name = name.and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_prefix("ss-").unwrap_or(name);
    if name.starts_with("v2ray-plugin") {
        return true;
    }
    let like_a_flag = |arg: &OsString| arg.to_str().is_some_and(is_flag);
    args.get(1).is_none_or(like_a_flag) && environment().is_there()
}

/// Runs with `args` as flags, those behind the program's name.
pub(super) fn run(args: &[OsString]) -> ExitCode {
    let parent = Parent::now();
    let flags = match Asked::read(args) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Version) => return version(),
        Ok(Asked::Help) => {
            say(usage());
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("{e}\n\n{}", usage());
            return ExitCode::from(BAD_FLAGS);
        }
    };
    let environment = environment();
    // Who starts it by hand, with flags, may leave it behind.
    let parent = environment.is_there().then_some(parent);
    let loaded = plugin::load(&Launch {
        flags,
        environment,
        home: env::home_dir().filter(|home| !home.as_os_str().is_empty()),
    });
    for error in &loaded.errors {
        eprintln!("{error}");
    }
    let Some(config) = loaded.config else {
        return ExitCode::from(BAD_CONFIG);
    };
    let ending = Ending {
        // Both ends of its tunnels are the Shadowsocks program, which waits for it to end.
        grace: Duration::ZERO,
        parent,
        cannot_start: CANNOT_START,
        cannot_log: CANNOT_START,
    };
    run::serve(config, &loaded.warnings, &ending, &Again::Never, || ())
}

fn environment() -> Environment {
    Environment::read(|name| env::var_os(name))
}

fn version() -> ExitCode {
    let own = env!("CARGO_PKG_VERSION");
    say(format_args!(
        "v2ray-plugin {V2RAY_PLUGIN} (mobula {own} in its place)"
    ));
    ExitCode::SUCCESS
}

/// The version whose options are known.
const V2RAY_PLUGIN: &str = "1.3.2";

/// Exit codes of v2ray-plugin, beside [`BAD_CONFIG`].
const BAD_FLAGS: u8 = 2;
const CANNOT_START: u8 = 1;
