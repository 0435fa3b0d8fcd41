//! `mobula api`: asks a running mobula, V2Ray or Xray, over its API.

mod files;
mod methods;
mod print;
mod routing;
mod stats;
mod users;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use prost::Message;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::say;
use crate::api::client::{Client, HANDLER, LOGGER};
use crate::cause::system_words;
use crate::wire::app::log::command::RestartLoggerRequest;
use crate::wire::xray::app::proxyman::command::{
    GetInboundUserRequest, ListInboundsRequest, ListOutboundsRequest,
};

use print::pretty;

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
    Stats(stats::Wanted),
    /// The same as JSON, as Xray prints it
    Statsquery(stats::Wanted),
    /// How the process itself is
    Statssys,
    /// From how many addresses a user's sessions come
    Statsonline {
        #[arg(long)]
        email: String,
    },
    /// From which addresses a user's sessions come, or with `--all` those of everybody
    Statsonlineiplist(stats::Online),
    /// Who is online
    Statsgetallonlineusers,
    /// Add the inbounds of files
    Adi {
        /// A config, or `stdin:`
        files: Vec<String>,
    },
    /// Add the outbounds of files
    Ado {
        /// A config, or `stdin:`
        files: Vec<String>,
    },
    /// Stop inbounds; their tunnels go on
    Rmi {
        /// A tag, or a config whose inbounds are meant
        tags: Vec<String>,
    },
    /// Take outbounds away; their sessions go on
    Rmo {
        /// A tag, or a config whose outbounds are meant
        tags: Vec<String>,
    },
    /// Print the inbounds
    Lsi {
        /// Only their tags
        #[arg(long = "isOnlyTags", value_name = "BOOL", num_args = 0..=1, require_equals = true,
              default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set)]
        only_tags: bool,
    },
    /// Print the outbounds
    Lso,
    /// Add a user to an inbound, or the users of files
    #[command(visible_alias = "adu")]
    Adduser(users::Added),
    /// Take users away from an inbound; running sessions go on
    #[command(visible_alias = "rmu")]
    Rmuser(users::Removed),
    /// Print the users of an inbound
    Inbounduser {
        /// The inbound's tag
        #[arg(long)]
        tag: String,
        /// This one alone
        #[arg(long, default_value = "")]
        email: String,
    },
    /// Print how many users an inbound has
    Inboundusercount {
        /// The inbound's tag
        #[arg(long)]
        tag: String,
    },
    /// Add the rules and balancers of files
    Adrules {
        /// A config, or `stdin:`
        files: Vec<String>,
        /// Behind those that there are, not in their place
        #[arg(long)]
        append: bool,
    },
    /// Take rules away by their `ruleTag`
    Rmrules {
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Print the rules
    Lsrules,
    /// Print what balancers choose among
    Bi {
        #[arg(required = true)]
        balancers: Vec<String>,
    },
    /// Have a balancer choose one outbound from now on
    Bo(routing::Override),
    /// Lead the sessions of some addresses to an outbound, by a rule
    Sib(routing::Block),
    /// Open the log files anew, as after a rotation
    #[command(visible_alias = "logger")]
    Restartlogger,
    /// V2Ray 4's `v2ctl api`: a counter
    #[command(
        name = "StatsService.GetStats",
        alias = "statsservice.getstats",
        hide = true
    )]
    GetStats(methods::Request),
    /// The same: counters
    #[command(
        name = "StatsService.QueryStats",
        alias = "statsservice.querystats",
        hide = true
    )]
    QueryStats(methods::Request),
    /// The same: how the process itself is
    #[command(
        name = "StatsService.GetSysStats",
        alias = "statsservice.getsysstats",
        hide = true
    )]
    GetSysStats(methods::Request),
    /// The same: open the log files anew
    #[command(
        name = "LoggerService.RestartLogger",
        alias = "loggerservice.restartlogger",
        hide = true
    )]
    RestartLogger(methods::Request),
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
    // Whoever has to type it may take their time.
    let command = files::read(command)?;
    let limit = Duration::from_secs(secs);
    let no_answer = || format!("{server}: no answer for {secs} s");
    let client = timeout(limit, Client::connect(&server));
    let client = client.await.map_err(|_| no_answer())?;
    let client = client.map_err(|e| format!("{server}: {}", system_words(&e)))?;
    if matches!(
        command,
        files::Read::Other(ApiCommand::Log { restart: false })
    ) {
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
async fn answer(client: &Client, command: files::Read, json: bool) -> Result<String, Status> {
    let command = match command {
        files::Read::Inbounds(inbounds) => return files::add_inbounds(client, &inbounds).await,
        files::Read::Outbounds(outbounds) => return files::add_outbounds(client, &outbounds).await,
        files::Read::Rules(rules, append) => return routing::add(client, &rules, append).await,
        files::Read::Users(users) => return users::add_all(client, &users).await,
        files::Read::Removed(what, tags) => return files::remove(client, what, tags).await,
        files::Read::Call(call) => return methods::call(client, call).await,
        files::Read::Other(command) => command,
    };
    match command {
        ApiCommand::Stats(wanted) => stats::query(client, wanted, json).await,
        ApiCommand::Statsquery(wanted) => stats::query(client, wanted, true).await,
        ApiCommand::Statssys => stats::of_process(client, true).await,
        ApiCommand::Statsonline { email } => stats::online(client, &email).await,
        ApiCommand::Statsonlineiplist(who) => stats::addresses(client, who).await,
        ApiCommand::Statsgetallonlineusers => stats::all_online(client).await,
        ApiCommand::Lsi { only_tags } => {
            let request = ListInboundsRequest {
                is_only_tags: only_tags,
            };
            shown(client, HANDLER, "ListInbounds", &request).await
        }
        ApiCommand::Lso => shown(client, HANDLER, "ListOutbounds", &ListOutboundsRequest {}).await,
        ApiCommand::Inbounduser { tag, email } => {
            let request = GetInboundUserRequest { tag, email };
            shown(client, HANDLER, "GetInboundUsers", &request).await
        }
        ApiCommand::Inboundusercount { tag } => {
            let email = String::new();
            let request = GetInboundUserRequest { tag, email };
            shown(client, HANDLER, "GetInboundUsersCount", &request).await
        }
        ApiCommand::Adduser(user) => users::add(client, user, json).await,
        ApiCommand::Rmuser(users) => users::remove(client, users, json).await,
        ApiCommand::Rmrules { tags } => routing::remove(client, tags).await,
        ApiCommand::Lsrules => routing::list(client).await,
        ApiCommand::Bi { balancers } => routing::balancers(client, balancers, json).await,
        ApiCommand::Bo(said) => routing::override_balancer(client, said).await,
        ApiCommand::Sib(block) => routing::block(client, block).await,
        ApiCommand::Restartlogger => {
            shown(client, LOGGER, "RestartLogger", &RestartLoggerRequest {}).await
        }
        ApiCommand::Log { .. } => client.restart_logger().await.map(|()| empty(json)),
        // They have been read before anybody was asked.
        ApiCommand::Adi { .. }
        | ApiCommand::Ado { .. }
        | ApiCommand::Rmi { .. }
        | ApiCommand::Rmo { .. }
        | ApiCommand::Adrules { .. }
        | ApiCommand::GetStats(_)
        | ApiCommand::QueryStats(_)
        | ApiCommand::GetSysStats(_)
        | ApiCommand::RestartLogger(_) => Ok(String::new()),
    }
}

/// What a method answers, as Xray prints it.
async fn shown(
    client: &Client,
    service: &str,
    method: &str,
    request: &impl Message,
) -> Result<String, Status> {
    let request = |_| Ok(request.encode_to_vec());
    let answer = client.show(service, method, request).await?;
    Ok(pretty(&answer))
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
        Code::Unknown | Code::FailedPrecondition => text.to_owned(),
        code => format!("{code:?}: {text}"),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
