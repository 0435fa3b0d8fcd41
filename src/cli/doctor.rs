//! `mobula doctor`: walks the way of a client, or around a server, and says where it breaks.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::args::ConfigArgs;
use super::load::{Meant, load};
use super::{inputs, say};
use crate::cause::Fault;
use crate::dialect::v2ray::Loaded;
use crate::doctor::{
    Client, Finding, Outcome, Server, Walk, choose, step_of, walk_client, walk_server,
};
use crate::observatory::Url;

/// What is asked for through a tunnel when nothing is said: an answer without a body.
const URL: &str = "http://www.gstatic.com/generate_204";

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A client is walked in the steps config, dns, tcp, tls, upgrade, early_data, auth, request and idle; a server in config,
ports, certificates, paths, clock, descriptors, dns and url. The exit code is 1 where something is wrong.
`mobula explain CODE` says more about a code.")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look at a server's config, and at this machine
    #[arg(long)]
    server: bool,
    /// The outbound to walk; the first that leads to a server by default
    #[arg(long, value_name = "TAG", conflicts_with = "server")]
    outbound: Option<String>,
    /// What is asked for through the tunnel; with --server, what clients connect to: https://NAME/PATH
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Try how long a tunnel lives in which nothing passes, for at most so long
    #[arg(long, value_name = "SECONDS", conflicts_with = "server")]
    idle: Option<u64>,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let url = match args.url.as_deref() {
        None if args.server => None,
        None => Some(URL),
        Some(text) => Some(text),
    };
    let url = match url.map(Url::parse).transpose() {
        Ok(url) => url,
        Err(e) => {
            eprintln!("--url: {e}");
            return ExitCode::from(2);
        }
    };
    let runtime = match Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("cannot start threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    let tell = |finding: &Finding| {
        if !args.json {
            say(finding);
        }
    };
    let mut walk = Walk::new(tell);
    runtime.block_on(all(args, url, &mut walk));
    runtime.shutdown_background();
    let is_ok = walk.breaks_at().is_none();
    match args.json {
        true => say(format_args!("{:#}", as_json(walk.findings(), is_ok))),
        false => sum_up(&walk),
    }
    match is_ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn all(args: &DoctorArgs, url: Option<Url>, walk: &mut Walk<'_>) {
    let inputs = match inputs::find(&args.config) {
        Ok(inputs) if inputs.is_empty() => {
            return walk.fault(
                "config",
                Fault::Config,
                "there is none, give one with `-c FILE`",
            );
        }
        Ok(inputs) => inputs,
        Err(text) => return walk.fault("config", Fault::Config, text),
    };
    let options = args.config.options();
    let meant = tokio::task::spawn_blocking(move || load(&inputs, options)).await;
    let Meant {
        loaded, left_out, ..
    } = meant.unwrap_or_default();
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        1 => format!("; one warning: {}", loaded.warnings[0]),
        n => format!("; {n} warnings, `mobula test` has them"),
    };
    let warnings = match left_out.len() {
        0 => warnings,
        1 => format!("{warnings}; left out: {}", left_out[0]),
        n => format!("{warnings}; {n} things are left out, `mobula test` has them"),
    };
    let Loaded {
        config: Some(config),
        ..
    } = loaded
    else {
        return mistakes(&loaded, args.server, walk);
    };
    match (args.server, url) {
        (true, url) => {
            let n = config.all_inbounds().count();
            walk.well(
                "config",
                format_args!("it is good, with {n} inbounds{warnings}"),
            );
            walk_server(Server { config, url }, walk).await;
        }
        (false, Some(url)) => {
            let outbound = match choose(&config, args.outbound.as_deref()) {
                Ok(outbound) => outbound,
                Err(text) => return walk.fault("config", Fault::NoServer, text),
            };
            let servers = outbound.protocol.servers();
            let to = servers.first().map(ToString::to_string).unwrap_or_default();
            let more = match servers.len() {
                0 | 1 => String::new(),
                n => format!(" (the first of {n} servers)"),
            };
            let found = format!(
                "it is good; {} leads to {to}{more} by {}{warnings}",
                outbound.tag.as_deref().unwrap_or(&outbound.name),
                outbound.protocol.name(),
            );
            walk.well("config", found);
            let client = Client {
                config,
                outbound,
                url,
                idle: args.idle.map(Duration::from_secs),
            };
            walk_client(client, walk).await;
        }
        (false, None) => {}
    }
}

/// What is wrong with a config that cannot be used: all that is about one thing together.
fn mistakes(loaded: &Loaded, is_server: bool, walk: &mut Walk<'_>) {
    let of = |message| match is_server {
        true => step_of(message),
        false => ("config", Fault::Config),
    };
    let mut steps: Vec<(&'static str, Fault)> = Vec::new();
    for message in &loaded.errors {
        if !steps.iter().any(|(step, _)| *step == of(message).0) {
            steps.push(of(message));
        }
    }
    // Where the rest of the config is read, it is good.
    if !steps.iter().any(|(step, _)| *step == "config") {
        walk.skip("config", "it cannot be used before what follows is mended");
    }
    for (step, fault) in steps {
        let about = loaded.errors.iter().filter(|message| of(message).0 == step);
        let lines: Vec<String> = about.map(ToString::to_string).collect();
        walk.fault(step, fault, lines.join("; "));
    }
}

fn sum_up(walk: &Walk<'_>) {
    say("");
    let broken: Vec<&Finding> = walk.findings().iter().filter(|one| !one.is_ok()).collect();
    match &broken[..] {
        [] => say("all is well"),
        [one] => say(format_args!("it breaks at `{}`", one.step)),
        [one, others @ ..] => {
            let others: Vec<String> = others.iter().map(|one| format!("`{}`", one.step)).collect();
            say(format_args!(
                "it breaks at `{}`, and at {}",
                one.step,
                others.join(", ")
            ));
        }
    }
}

fn as_json(findings: &[Finding], is_ok: bool) -> Value {
    let steps = findings.iter().map(|one| {
        let (code, cure) = match &one.outcome {
            Outcome::Broken { code, cure } => (Some(&**code), Some(&**cure)),
            Outcome::Well | Outcome::Skipped => (None, None),
        };
        let found = match one.outcome {
            Outcome::Skipped => format!("skipped: {}", one.found),
            _ => one.found.clone(),
        };
        json!({
            "step": one.step,
            "ok": one.is_ok(),
            "ms": u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX),
            "found": found,
            "code": code,
            "cure": cure,
        })
    });
    json!({"ok": is_ok, "steps": steps.collect::<Vec<_>>()})
}
