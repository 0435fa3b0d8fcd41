//! Arguments, as clap knows them, and V2Ray's spellings turned into those.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::api::ApiArgs;
use super::backend::BackendArgs;
use super::convert::ConvertArgs;
use super::doctor::DoctorArgs;
use super::explain::ExplainArgs;
use super::format::FormatArgs;
use super::init::InitArgs;
use super::link::LinkArgs;
use super::man::ManArgs;
use super::probe::ProbeArgs;
use super::top::TopArgs;
use super::ws::WsArgs;
use crate::dialect::v2ray::languages::Language;
use crate::dialect::{plugin, v2ray};

/// A V2Ray-compatible proxy: VMess over WebSocket, server and client.
#[derive(Debug, Parser)]
#[command(name = "mobula", version, arg_required_else_help = true)]
#[command(
    after_help = "V2Ray's spellings work as well: `mobula -config FILE`, `mobula -test -config FILE`. Started by ss-local or \
                  ss-server, or called `v2ray-plugin`, it is a plugin."
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a server's config, its clients', and what else it takes, from a name
    Init(InitArgs),
    /// Run a config; without one, ./config.json, else an example that needs nothing
    Run(RunArgs),
    /// Say whether a config is good, and what is wrong with it
    Test(TestArgs),
    /// Write a config, links or a subscription in the words of another program
    Convert(ConvertArgs),
    /// Make a config tidy, comments kept; print it, or write it in its place
    Format(FormatArgs),
    /// Print the JSON Schema of a config, for editors
    Schema,
    /// Print what a shell needs to complete commands and flags
    Completions {
        /// For this shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print a manual page, or write all of them into a folder
    Man(ManArgs),
    /// Walk the way of a client, or around a server, and say where it breaks
    Doctor(DoctorArgs),
    /// Say what the code at the end of a log line means, and what to do
    Explain(ExplainArgs),
    /// Show what a running server does: tunnels, users, traffic, the last errors
    Top(TopArgs),
    /// Print a new UUID
    Uuid {
        /// Print the UUID that this text stands for, the same each time
        #[arg(short, long, value_name = "TEXT")]
        input: Option<String>,
    },
    /// Print the share links of a config, or the outbounds that links mean
    Link(LinkArgs),
    /// Ask a running mobula or V2Ray over its API: counters, users, logs
    Api(ApiArgs),
    /// Carry Shadowsocks in the place of v2ray-plugin; `--plugin mobula` of ss-local and ss-server does so (SIP003)
    #[command(disable_help_flag = true, after_help = plugin::usage())]
    Plugin {
        /// v2ray-plugin's flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
    /// Run what GOST's command line or its files say; called `gost`, the program does so by itself
    #[command(disable_help_flag = true, after_help = super::gost::USAGE)]
    Gost {
        /// gost's flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
    /// Publish services of this machine at a server with an address of its own, over WebSocket and TLS
    Tunnel {
        /// Which end this is
        #[arg(value_enum)]
        end: TunnelEnd,
        /// Its file, in TOML
        #[arg(value_name = "FILE.toml")]
        file: PathBuf,
    },
    /// Test nodes: which answer, how fast, and why the others do not; from here, or from back ends elsewhere
    Probe(ProbeArgs),
    /// Test nodes for fronts of MiaoSpeed, such as FullTclash and koipy: a WebSocket server that they connect to
    Backend(BackendArgs),
    /// Speak WebSocket: as a client, as a server that shows or returns messages, or as a hub of rooms
    Ws(WsArgs),
    /// Print the version
    Version,
}

/// An end of a reverse tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TunnelEnd {
    /// Where ports are published
    Server,
    /// Where services are
    Client,
}

#[derive(Debug, Default, ClapArgs)]
pub(super) struct ConfigArgs {
    /// A config, a subscription or a link, in any form that `convert` reads: a file, `-` or `stdin:`, an http:// or https:// URL, or the
    /// link itself; several configs of V2Ray are merged, later ones win
    #[arg(short, long = "config", value_name = "FILE|URL|LINK")]
    pub(super) config: Vec<PathBuf>,
    /// A directory whose configs (*.json, *.jsonc, *.yaml, *.yml, *.toml) are read in the order of their names
    #[arg(short = 'd', long, value_name = "DIR")]
    pub(super) confdir: Vec<PathBuf>,
    /// What the files are written in, whatever their names say, and how several are merged: as V2Ray 4 does, or as V2Ray 5 does (jsonv5)
    #[arg(long, value_enum, default_value_t = Format::Auto, ignore_case = true)]
    pub(super) format: Format,
    /// Leave out inbounds and outbounds that are not built; what is meant for such an outbound is blocked. Of other forms: rules, too
    #[arg(long)]
    pub(super) skip_unbuilt: bool,
    /// Take warnings for errors
    #[arg(long)]
    pub(super) strict: bool,
}

#[derive(Debug, Default, ClapArgs)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// After SIGUSR2: how long tunnels of this process may take to finish, while the next one serves
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(super) drain: u32,
    /// Print the config as it is when all files are merged, and run nothing
    #[arg(long)]
    pub(super) dump: bool,
    /// Write the process id here as soon as everything is listened on
    #[arg(long, value_name = "FILE")]
    pub(super) pidfile: Option<PathBuf>,
}

impl ConfigArgs {
    pub(super) fn options(&self) -> v2ray::Options {
        v2ray::Options {
            format: self.format.into(),
            skip_unbuilt: self.skip_unbuilt,
            strict: self.strict,
            language: match self.format {
                Format::Auto => None,
                Format::Json | Format::Jsonv5 => Some(Language::Json),
                Format::Yaml => Some(Language::Yaml),
                Format::Toml => Some(Language::Toml),
            },
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct TestArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// A config of GOST, in YAML or JSON
    #[arg(short = 'C', value_name = "FILE")]
    pub(super) gost: Vec<PathBuf>,
    /// Print a JSON array for editors: file, path, line, column, severity and message of each
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// What their names say
    #[default]
    Auto,
    #[value(aliases = ["jsonv4", "jsonc"])]
    Json,
    Jsonv5,
    #[value(alias = "yml")]
    Yaml,
    Toml,
}

impl From<Format> for v2ray::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Auto | Format::Json | Format::Yaml | Format::Toml => Self::V4,
            Format::Jsonv5 => Self::V5,
        }
    }
}

/// Go's flags have one dash or two, and V2Ray 4 has no subcommands: `-test -config FILE`.
pub(super) fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    for arg in args.iter_mut().skip(1) {
        let dashes = arg.to_str().and_then(|text| text.strip_prefix('-'));
        let name = dashes.map(|flag| flag.split_once('=').map_or(flag, |(name, _)| name));
        if let Some(short) = dashes.and_then(|flag| flag.strip_prefix('-'))
            && short.split('=').next().is_some_and(|name| name.len() == 1)
        {
            *arg = format!("-{short}").into();
            continue;
        }
        if name.is_some_and(|name| LONG.contains(&name)) {
            let mut two = OsString::from("-");
            two.push(&*arg);
            *arg = two;
        }
    }
    args.retain_mut(|arg| !is_switched_off(arg));
    // Xray's way to test a config.
    if args.get(1).is_some_and(|arg| arg == "run") {
        let before = args.len();
        args.retain(|arg| arg != "--test" && arg != "--test=true");
        if args.len() < before {
            args[1] = "test".into();
        }
    }
    let begins_with_flag = args
        .get(1)
        .and_then(|arg| arg.to_str())
        .is_some_and(|arg| arg.starts_with('-'));
    if begins_with_flag {
        let mut test = false;
        let mut version = false;
        let mut help = false;
        args.retain(|arg| match arg.to_str() {
            Some("--test" | "--test=true") => {
                test = true;
                false
            }
            Some("--test=false") => false,
            Some("--version" | "-V") => {
                version = true;
                false
            }
            Some("--help" | "-h") => {
                help = true;
                true
            }
            _ => true,
        });
        let command = match (help, version, test) {
            (true, _, _) => None,
            (_, true, _) => {
                args.truncate(1);
                Some("version")
            }
            (_, _, true) => Some("test"),
            _ => Some("run"),
        };
        if let Some(command) = command {
            args.insert(1, command.into());
        }
    }
    args
}

/// Go's switches may have a value: `-reset=false` is as good as nothing, and `-reset=true` is `-reset`.
fn is_switched_off(arg: &mut OsString) -> bool {
    const SWITCHES: [&str; 9] = [
        "all",
        "append",
        "dump",
        "include-traffic",
        "json",
        "regexp",
        "remove",
        "reset",
        "runtime",
    ];
    let switch = arg.to_str().and_then(|text| text.strip_prefix("--"));
    let switch = switch.and_then(|text| text.split_once('='));
    match switch.filter(|(name, _)| SWITCHES.contains(name)) {
        Some((name, "true" | "1")) => {
            *arg = format!("--{name}").into();
            false
        }
        Some((_, "false" | "0")) => true,
        _ => false,
    }
}

const LONG: [&str; 80] = [
    "address",
    "alive",
    "all",
    "allow",
    "alterId",
    "append",
    "backend",
    "backends",
    "balancer",
    "binary",
    "build-token",
    "ca",
    "cert",
    "concurrency",
    "confdir",
    "config",
    "count",
    "download",
    "drain",
    "dump",
    "duration",
    "echo",
    "email",
    "format",
    "fulltclash",
    "header",
    "help",
    "hub",
    "id",
    "idle",
    "inbound",
    "include-traffic",
    "input",
    "insecure",
    "invoker",
    "isOnlyTags",
    "jobs",
    "json",
    "key",
    "level",
    "listen",
    "name",
    "no-speed",
    "once",
    "origin",
    "outbound",
    "path",
    "pattern",
    "pidfile",
    "ping",
    "png",
    "port",
    "protocol",
    "proxy",
    "qr",
    "regexp",
    "remove",
    "reset",
    "restart",
    "ruletag",
    "runtime",
    "self-signed",
    "server",
    "skip-unbuilt",
    "speed-limit",
    "strict",
    "subprotocol",
    "svg",
    "tag",
    "test",
    "threads",
    "timeout",
    "tls",
    "token",
    "url",
    "uuid",
    "verbose",
    "version",
    "wait",
    "watch",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2ray_4_needs_no_subcommand() {
        assert_eq!(of("-config a.json"), "run --config a.json");
        assert_eq!(of("-test -config=a.json"), "test --config=a.json");
        assert_eq!(of("-c a.json -test"), "test -c a.json");
        assert_eq!(of("-version"), "version");
        assert_eq!(of("--test --config a.json"), "test --config a.json");
    }

    #[test]
    fn v2ray_5_writes_one_dash_behind_the_subcommand() {
        assert_eq!(
            of("run -config a.json -confdir d -format jsonv5 -c b.json"),
            "run --config a.json --confdir d --format jsonv5 -c b.json"
        );
        assert_eq!(of("uuid -i text"), "uuid -i text");
        assert_eq!(of("uuid -input text"), "uuid --input text");
        assert_eq!(of("uuid --i=text"), "uuid -i=text");
        assert_eq!(of("run --c a.json"), "run -c a.json");
        assert_eq!(of("run"), "run");
        assert_eq!(of("run -test -c a.json"), "test -c a.json");
    }

    #[test]
    fn a_switch_may_have_a_value_as_in_go() {
        assert_eq!(
            of("api stats -reset=true -json=false a"),
            "api stats --reset a"
        );
        assert_eq!(of("api adrules -append=1 a"), "api adrules --append a");
    }

    #[test]
    fn what_is_normalised_is_understood() {
        let args = Args::try_parse_from(normalise(words("-test -c a -config b -format jsonv5")));
        let Command::Test(args) = args.unwrap().command else {
            panic!("expected `test`");
        };
        assert_eq!(args.config.config, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(args.config.format, Format::Jsonv5);
        assert!(Args::try_parse_from(normalise(words("run -format pb"))).is_err());
    }

    fn of(text: &str) -> String {
        let args = normalise(words(text));
        let words: Vec<&str> = args.iter().skip(1).filter_map(|a| a.to_str()).collect();
        words.join(" ")
    }

    fn words(text: &str) -> Vec<OsString> {
        let words = text.split(' ').map(OsString::from);
        std::iter::once("mobula".into()).chain(words).collect()
    }
}
