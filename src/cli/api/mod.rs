//! `mobula api`: asks a running mobula, or V2Ray, over its API.

mod print;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::say;
use crate::api::client::{Client, Query, Stat};
use crate::cause::system_words;
use crate::dialect::messages::{WITH_USERS, account_of};

use print::{pretty, stat_json, sys_json, sys_table, table};

#[derive(Debug, ClapArgs)]
pub(super) struct ApiArgs {
    #[command(subcommand)]
    command: ApiCommand,
    /// The API's address
    #[arg(
        short,
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080"
    )]
    server: String,
    /// How many seconds an answer may take
    #[arg(
        short,
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 3
    )]
    timeout: u64,
    /// Print JSON, as V2Ray does
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ApiCommand {
    /// Counters whose names have one of the patterns in them; without a pattern, all
    #[command(visible_alias = "statsquery")]
    Stats {
        /// Part of a counter's name
        patterns: Vec<String>,
        /// One more pattern, as Xray has it
        #[arg(long, value_name = "TEXT")]
        pattern: Option<String>,
        /// The counter of exactly this name
        #[arg(long, value_name = "NAME", conflicts_with_all = ["patterns", "pattern", "regexp"])]
        name: Option<String>,
        /// The patterns are regular expressions (V2Ray 5 and mobula know them)
        #[arg(long)]
        regexp: bool,
        /// Let the counters begin at 0 again
        #[arg(long)]
        reset: bool,
        /// How the process itself is
        #[arg(long)]
        runtime: bool,
    },
    /// How the process itself is
    Statssys,
    /// Add a user to an inbound
    #[command(visible_alias = "adu")]
    Adduser {
        /// The inbound's tag
        #[arg(long)]
        tag: String,
        /// The user's id, a UUID; of a Trojan user the password, of one of Shadowsocks 2022 the key
        #[arg(long, visible_aliases = ["uuid", "password"])]
        id: String,
        /// What counters and `rmuser` call the user
        #[arg(long)]
        email: String,
        #[arg(long, default_value_t = 0)]
        level: u32,
        /// The inbound's protocol
        #[arg(long, value_parser = WITH_USERS, default_value = WITH_USERS[0])]
        protocol: String,
        /// Ignored: AEAD is used
        #[arg(long = "alterId", value_name = "NUMBER", hide = true)]
        alter_id: Option<u32>,
    },
    /// Take a user away from an inbound; running sessions go on
    #[command(visible_alias = "rmu")]
    Rmuser {
        /// The inbound's tag
        #[arg(long)]
        tag: String,
        #[arg(long)]
        email: String,
    },
    /// Stop inbounds; their tunnels go on
    Rmi {
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Take outbounds away; their sessions go on
    Rmo {
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Open the log files anew, as after a rotation
    #[command(visible_alias = "logger")]
    Restartlogger,
    /// Print every line of the log from here on
    Log {
        /// Open the log files anew
        #[arg(long)]
        restart: bool,
    },
}

pub(super) fn run(args: ApiArgs) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("cannot start: {}", system_words(&e))),
    };
    match runtime.block_on(ask(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => fail(&text),
    }
}

async fn ask(args: ApiArgs) -> Result<(), String> {
    let ApiArgs {
        command,
        server,
        timeout: secs,
        json,
    } = args;
    let limit = Duration::from_secs(secs);
    let no_answer = || format!("{server}: no answer for {secs} s");
    let client = timeout(limit, Client::connect(&server));
    let client = client.await.map_err(|_| no_answer())?;
    let client = client.map_err(|e| format!("{server}: {}", system_words(&e)))?;
    if matches!(command, ApiCommand::Log { restart: false }) {
        let lines = client.follow_log(|line| say(line));
        return lines.await.map_err(|status| explain(&server, &status));
    }
    let answer = timeout(limit, answer(&client, command, json));
    let answer = answer.await.map_err(|_| no_answer())?;
    let text = answer.map_err(|status| explain(&server, &status))?;
    if !text.is_empty() {
        say(text.trim_end());
    }
    Ok(())
}

/// Does what the command says; the text to print.
async fn answer(client: &Client, command: ApiCommand, json: bool) -> Result<String, Status> {
    match command {
        ApiCommand::Stats { runtime: true, .. } | ApiCommand::Statssys => {
            let sys = client.sys_stats().await?;
            Ok(if json {
                pretty(&sys_json(&sys))
            } else {
                sys_table(&sys)
            })
        }
        ApiCommand::Stats {
            name: Some(name),
            reset,
            ..
        } => {
            let stats = client.get_stats(name, reset).await?;
            let one = |stat: &Stat| pretty(&json!({"stat": stat_json(stat)}));
            Ok(if json {
                stats.first().map(one).unwrap_or_default()
            } else {
                table(&stats)
            })
        }
        ApiCommand::Stats {
            mut patterns,
            pattern,
            regexp,
            reset,
            ..
        } => {
            patterns.extend(pattern);
            let query = Query {
                patterns,
                regexp,
                reset,
            };
            let stats = client.query_stats(query).await?;
            let all: Vec<Value> = stats.iter().map(stat_json).collect();
            Ok(if json {
                pretty(&json!({"stat": all}))
            } else {
                table(&stats)
            })
        }
        ApiCommand::Adduser {
            tag,
            id,
            email,
            level,
            protocol,
            alter_id: _,
        } => {
            let wrong = || Status::invalid_argument("no such protocol");
            let account = account_of(&protocol, id).ok_or_else(wrong)?;
            done(client.add_user(tag, email, level, account), json).await
        }
        ApiCommand::Rmuser { tag, email } => done(client.remove_user(tag, email), json).await,
        ApiCommand::Rmi { tags } => {
            for tag in tags {
                client.remove_inbound(tag).await?;
            }
            Ok(empty(json))
        }
        ApiCommand::Rmo { tags } => {
            for tag in tags {
                client.remove_outbound(tag).await?;
            }
            Ok(empty(json))
        }
        ApiCommand::Restartlogger | ApiCommand::Log { .. } => {
            done(client.restart_logger(), json).await
        }
    }
}

async fn done(
    doing: impl Future<Output = Result<(), Status>>,
    json: bool,
) -> Result<String, Status> {
    doing.await.map(|()| empty(json))
}

/// An answer that has nothing to say.
fn empty(json: bool) -> String {
    if json { "{}" } else { "" }.to_owned()
}

fn explain(server: &str, status: &Status) -> String {
    let text = status.message();
    match status.code() {
        // The connection itself; hyper has the reason.
        Code::Unknown if std::error::Error::source(status).is_some() => {
            format!("{server}: this does not speak gRPC, is it the API's port?")
        }
        Code::Unknown => text.to_owned(),
        code => format!("{code:?}: {text}"),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
