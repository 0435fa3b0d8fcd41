//! `mobula top`: what a running mobula does, in the terminal. It shows what the status page shows.

mod ask;
mod live;
mod screen;
mod table;
mod view;

use std::io::{IsTerminal, stdin, stdout};
use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::Value;
use tokio::runtime::Builder;

use super::args::ConfigArgs;
use super::say;
use crate::secret::Secret;

use ask::Server;

/// What holds the token where the command line does not.
const TOKEN: &str = "MOBULA_TOKEN";

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
In the terminal: Tab or 1 to 5 for tunnels, users, inbounds, outbounds and errors; r, d, u, a, n to sort by rate, down, up, age
and name, once more for the other way round; arrows to scroll, Space to pause, q to quit. Where the output is no terminal, or
with --once, what there is is printed once. The server's config must have `metrics.listen`.")]
pub(super) struct TopArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the status page is; by default that of the config, or http://127.0.0.1:9191
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// `metrics.token`; by default that of the config, or what MOBULA_TOKEN holds, which other users of the machine do not see
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Print what there is and end
    #[arg(long)]
    once: bool,
    /// Print it as JSON, as /status.json has it, and end
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TopArgs) -> ExitCode {
    let said = args.token.clone();
    let token = said.or_else(|| std::env::var(TOKEN).ok());
    let token = token.filter(|token| !token.is_empty()).map(Secret);
    let server = match Server::find(&args.config, args.url.as_deref(), token) {
        Ok(server) => server,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    // One thread asks, another waits for keys.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("cannot ask: {e}");
            return ExitCode::FAILURE;
        }
    };
    let once = args.once || args.json || !stdout().is_terminal() || !stdin().is_terminal();
    let ended = match once {
        true => runtime.block_on(print(&server, args.json)),
        false => runtime.block_on(live::run(&server)),
    };
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

async fn print(server: &Server, json: bool) -> Result<(), String> {
    let status: Value = server.ask(ALL).await?;
    match json {
        true => say(format_args!("{status:#}")),
        false => say(view::whole(&status, server.name()).join("\n")),
    }
    Ok(())
}

/// Tunnels that are asked for where they are printed once.
const ALL: usize = 10_000;
