//! `mobula backend`: tests nodes for the fronts of MiaoSpeed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use jiff::Zoned;
use tokio::signal::unix::{SignalKind, signal};

use super::listening::{self, TlsArgs};
use super::{say, threads};
use crate::http::Net;
use crate::io::open_files;
use crate::probe::backend::{Backend, Settings};
use crate::probe::codec::{BUILD_TOKEN, Tokens, Unsigned};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
FullTclash knows the token as `public-key`, koipy as `token`; either has `path` beside it, and `type: miaospeed`.
Whoever has the token may have this machine connect to anything that it can reach.")]
pub(super) struct BackendArgs {
    /// Where fronts connect to: HOST:PORT, `:PORT` for every address, or the path of a unix socket
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// What fronts must know; without it nothing starts. `MOBULA_TOKEN` of the environment stands for it
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// The path of the WebSocket; others are not found
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// Nodes that are pinged at a time, of all tasks together
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Decline tasks that download something
    #[arg(long)]
    no_speed: bool,
    /// The most that a download may take, in bytes a second; 0 is as much as comes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    speed_limit: u64,
    /// The addresses and networks that fronts may come from
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    allow: Vec<String>,
    /// The ids of the bots that may ask
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    invoker: Vec<String>,
    /// The build token, if it is not the public one
    #[arg(long, value_name = "A|B|C", default_value = BUILD_TOKEN, hide_default_value = true)]
    build_token: String,
    /// Take requests that sign no nodes, as FullTclash's old client sends them: who has seen one can send others with it
    #[arg(long)]
    fulltclash: bool,
}

pub(super) fn run(args: &BackendArgs) -> ExitCode {
    let settings = match settings(args) {
        Ok(settings) => settings,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let _ = open_files::raise();
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let served = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(Duration::from_millis(500));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), String> {
    let no_signals = |e| format!("cannot listen for signals: {e}");
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let scheme = if settings.tls.is_some() { "wss" } else { "ws" };
    let (listen, path) = (settings.listen.clone(), settings.path.clone());
    let backend = Backend::bind(settings, |line| tell(&line)).await?;
    let place = match (backend.local_addr(), &listen) {
        (Some(address), _) => format!("{scheme}://{address}{path}"),
        (None, listen) => format!("{scheme}, {listen}"),
    };
    tell(&format!("fronts are served at {place}"));
    backend
        .serve(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// A line of the log.
fn tell(line: &str) {
    let now = Zoned::now();
    say(format_args!("{} {line}", now.strftime("%Y/%m/%d %H:%M:%S")));
}

fn settings(args: &BackendArgs) -> Result<Settings, String> {
    let token = args
        .token
        .clone()
        .or_else(|| std::env::var("MOBULA_TOKEN").ok());
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or(
        "--token: a back end without one would test for everybody, expected a long random text",
    )?;
    let allow = args.allow.iter().map(|text| {
        let nets = Net::read(text.trim());
        nets.ok_or_else(|| {
            let text = text.escape_debug();
            format!("--allow: `{text}` is neither an address nor a network such as 192.0.2.0/24")
        })
    });
    let allow: Vec<Vec<Net>> = allow.collect::<Result<_, _>>()?;
    let slash = if args.path.starts_with('/') { "" } else { "/" };
    Ok(Settings {
        listen: listening::address(&args.listen)?,
        tokens: Tokens {
            token: token.into(),
            build: args.build_token.clone(),
        },
        path: format!("{slash}{}", args.path),
        tls: args.tls.settings()?,
        concurrency: args.concurrency.into(),
        no_speed: args.no_speed,
        speed_limit: args.speed_limit,
        allow: allow.concat(),
        invokers: args.invoker.clone(),
        unsigned: match args.fulltclash {
            true => Unsigned::Taken,
            false => Unsigned::Refused,
        },
        // It is this program also when its file has been replaced.
        program: "/proc/self/exe".into(),
    })
}
